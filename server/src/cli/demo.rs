//! `mkts demo`: the whole way of real bars, visible, in a directory that is removed at the end.

mod bars;
mod child;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use client::{Client, Query, Subscription};
use model::{BucketKey, ColumnBatch, RowKind};

use super::Failure;
use bars::{Bar, Symbol};
use child::Server;

/// Arguments of `mkts demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long the slow part takes, in which every bar is shown.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// Minutes shown one by one.
const SHOWN: usize = 45;
const COARSE: [&str; 4] = ["5Min", "15Min", "1H", "1D"];
/// A hang, not a measurement: everything that is waited for takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

type Done<T> = Result<T, Failure>;

/// Runs the demo.
pub(super) fn run(args: &Args) -> Done<()> {
    let interrupted = watch_for_interrupt()?;
    let symbols = bars::bundled()?;
    let server = Server::start()?;
    say(&format!(
        "mkts {} serves http://{} from {}\n\
         triggers: ondiskagg keeps 5Min, 15Min, 1H and 1D bars of */1Min/OHLCV, stream pushes */*/*\n",
        env!("CARGO_PKG_VERSION"),
        server.address(),
        server.directory().display()
    ));
    let mut demo = Demo {
        client: Client::new(server.address()),
        streamed: subscribe(server.address())?,
        symbols,
        interrupted,
        server,
    };
    demo.first_minutes(Duration::from_secs(args.seconds))?;
    if !demo.is_interrupted() {
        demo.the_rest()?;
    }
    if demo.is_interrupted() {
        return demo.server.stop();
    }
    demo.coarse_bars()?;
    demo.kill_and_restart()?;
    demo.server.stop()?;
    say("\nstopped, directory removed. Your own: mkts init && mkts start\n");
    Ok(())
}

struct Demo {
    client: Client,
    streamed: Receiver<Bar>,
    symbols: Vec<Symbol>,
    interrupted: Arc<AtomicBool>,
    server: Server,
}

impl Demo {
    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Slow enough to read.
    fn first_minutes(&mut self, time: Duration) -> Done<()> {
        say(&format!(
            "\nThe first {SHOWN} minutes of real bars, one write a minute; each line came back over \
             the WebSocket:\n\n"
        ));
        let pause = time / SHOWN as u32;
        for minute in 0..SHOWN {
            if self.is_interrupted() {
                break;
            }
            let began = Instant::now();
            write_minute(&mut self.client, &self.symbols, minute)?;
            show_streamed(&self.streamed, self.symbols.len(), began);
            if minute % 5 == 4 {
                show_last(&mut self.client, self.symbols[0].name, "5Min")?;
            }
            std::thread::sleep(pause.saturating_sub(began.elapsed()));
        }
        Ok(())
    }

    fn the_rest(&mut self) -> Done<()> {
        say("\nThe rest, still one durable write a minute, as fast as it goes:\n");
        let longest = self.symbols.iter().map(|s| s.batch.rows()).max();
        let began = Instant::now();
        let mut writes = 0;
        for minute in SHOWN..longest.unwrap_or(0) {
            if self.is_interrupted() {
                break;
            }
            write_minute(&mut self.client, &self.symbols, minute)?;
            writes += 1;
        }
        let seconds = began.elapsed().as_secs_f64();
        let pushed = self.streamed.try_iter().count();
        say(&format!(
            "{writes} writes in {seconds:.1} s, each on the disk before it was acknowledged; \
             {pushed} stream messages came back\n\n"
        ));
        Ok(())
    }

    /// Prints every timeframe, once it holds all that was written.
    fn coarse_bars(&mut self) -> Done<()> {
        say(
            "  bucket              bars  newest bar                                         volume of all\n",
        );
        for (key, batch) in self.caught_up()? {
            let newest = Bar::of("", &batch, batch.rows().saturating_sub(1));
            let newest = newest.map_or_else(String::new, |bar| bar.to_string());
            let (rows, volume) = (batch.rows(), bars::volume(&batch));
            say(&format!(
                "  {:<17} {rows:>6}  {newest:<50} {volume:>12}\n",
                key.as_str()
            ));
        }
        Ok(())
    }

    /// Waits until the volume of every timeframe is the sum of its minutes.
    fn caught_up(&mut self) -> Done<Vec<(BucketKey, ColumnBatch)>> {
        let mut all = Vec::new();
        for symbol in &self.symbols {
            let wanted = bars::volume(&symbol.batch);
            for timeframe in std::iter::once("1Min").chain(COARSE) {
                let key = coarse_key(symbol.name, timeframe)?;
                let batch = wait_for_volume(&mut self.client, &key, wanted)?;
                all.push((key, batch));
            }
        }
        Ok(all)
    }

    fn kill_and_restart(&mut self) -> Done<()> {
        let before = self.caught_up()?;
        say("\nkill -9, and start again:\n");
        self.server.kill()?;
        let began = Instant::now();
        self.server.spawn()?;
        let took = began.elapsed().as_millis();
        self.client = Client::new(self.server.address());
        if self.caught_up()? != before {
            return Err(Failure::new("the restart changed stored bars"));
        }
        let written: usize = self.symbols.iter().map(|symbol| symbol.batch.rows()).sum();
        for symbol in &self.symbols {
            if query(&mut self.client, &symbol.key)?.as_ref() != Some(&symbol.batch) {
                return Err(Failure::new(format!("{} lost bars", symbol.key)));
            }
        }
        say(&format!(
            "serving again after {took} ms; {written} of {written} minute bars are there, value for \
             value, and every aggregate\n"
        ));
        Ok(())
    }
}

/// Sets a flag on Ctrl-C, so that the directory is removed before the process ends.
fn watch_for_interrupt() -> Done<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error.to_string()))?;
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            seen.store(true, Ordering::Relaxed);
        }
    });
    Ok(flag)
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe does not want to know.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn failed(what: &str) -> impl Fn(client::Error) -> Failure {
    move |error| Failure::new(format!("{what}: {error}"))
}

/// Receives in a thread of its own; it ends with the server.
fn subscribe(address: &str) -> Done<Receiver<Bar>> {
    let mut subscription =
        Subscription::open(address, &["*/1Min/OHLCV"]).map_err(failed("subscribe"))?;
    subscription
        .set_timeout(None)
        .map_err(failed("subscribe"))?;
    let (send, receive) = channel();
    std::thread::spawn(move || {
        while let Ok(message) = subscription.receive() {
            let bar = Bar::decode(&message.key, &message.data);
            if bar.is_some_and(|bar| send.send(bar).is_err()) {
                return;
            }
        }
    });
    Ok(receive)
}

/// One request with this minute of every symbol that has one.
fn write_minute(client: &mut Client, symbols: &[Symbol], minute: usize) -> Done<()> {
    let tables: Vec<(BucketKey, ColumnBatch)> = symbols
        .iter()
        .filter(|symbol| minute < symbol.batch.rows())
        .map(|symbol| (symbol.key.clone(), symbol.batch.slice(minute..minute + 1)))
        .collect();
    client.write(&tables, RowKind::Bar).map_err(failed("write"))
}

fn show_streamed(streamed: &Receiver<Bar>, wanted: usize, began: Instant) {
    for _ in 0..wanted {
        match streamed.recv_timeout(Duration::from_secs(2)) {
            Ok(bar) => {
                let after = began.elapsed().as_secs_f64() * 1e3;
                say(&format!("  {bar}   {after:5.1} ms after the write began\n"));
            }
            Err(_) => return,
        }
    }
}

fn show_last(client: &mut Client, symbol: &str, timeframe: &str) -> Done<()> {
    let key = coarse_key(symbol, timeframe)?;
    let last = client.query(&Query::of(key.as_str()).last(1));
    let Ok(tables) = last else { return Ok(()) };
    if let Some(bar) = tables
        .first()
        .and_then(|t| Bar::of(key.as_str(), &t.batch, 0))
    {
        say(&format!("    aggregated on disk: {bar}\n"));
    }
    Ok(())
}

fn coarse_key(symbol: &str, timeframe: &str) -> Done<BucketKey> {
    BucketKey::new(symbol, timeframe, "OHLCV").map_err(|error| Failure::new(error.to_string()))
}

fn query(client: &mut Client, key: &BucketKey) -> Done<Option<ColumnBatch>> {
    match client.query(&Query::of(key.as_str())) {
        Ok(tables) => Ok(tables.into_iter().next().map(|table| table.batch)),
        Err(client::Error::Rpc(_)) => Ok(None),
        Err(error) => Err(failed("query")(error)),
    }
}

fn wait_for_volume(client: &mut Client, key: &BucketKey, wanted: i64) -> Done<ColumnBatch> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match query(client, key)? {
            Some(batch) if bars::volume(&batch) == wanted => return Ok(batch),
            other if Instant::now() > deadline => {
                let found = other.map_or(0, |batch| bars::volume(&batch));
                let what =
                    format!("{key} holds a volume of {found}, the minutes sum up to {wanted}");
                return Err(Failure::new(what));
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
