//! A source made of a channel that threads of the plugin send pieces into.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use crate::error::{Code, PluginError};
use crate::feed::{BatchOptions, Batching, Piece};
use crate::source::{More, SourceOut};

/// Longest wait for a piece: the bound on noticing that the source is to end.
const WAIT_MAX: Duration = Duration::from_millis(10);

/// What a sender does when the channel is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It waits: right for a feed that can wait, a file or a queue.
    #[default]
    Block,
    /// It drops the piece and counts it: right for a feed that closes on those who read slowly.
    Drop,
}

/// Makes batches of what threads of the plugin send. The channel is bounded, so a store that is slow
/// is felt by the sender and not by the memory.
///
/// ```
/// use std::time::Instant;
///
/// use plugin_sdk::{More, Piece, PluginError, PushSource, SourceOut, WhenFull};
///
/// # fn read_a_socket() -> Vec<Piece> { Vec::new() }
/// struct Ticker { push: Option<PushSource> }
///
/// impl Ticker {
///     fn open(&mut self) {
///         let (sender, push) = PushSource::new(10_000, WhenFull::Block);
///         self.push = Some(push);
///         std::thread::spawn(move || {
///             for piece in read_a_socket() {
///                 // An error says that the source was closed: the thread ends.
///                 if sender.send(piece).is_err() {
///                     return;
///                 }
///             }
///             // The last sender dropped ends the feed; `sender.fail(error)` would open it anew.
///         });
///     }
///
///     fn next_batch(
///         &mut self,
///         out: &mut SourceOut<'_>,
///         deadline: Instant,
///     ) -> Result<More, PluginError> {
///         let push = self.push.as_mut().ok_or("not open")?;
///         push.next_batch(out, deadline)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct PushSource {
    receiver: Receiver<Result<Piece, PluginError>>,
    options: BatchOptions,
    dropped: Arc<AtomicU64>,
}

/// Sends pieces into a [`PushSource`]; clone it for further threads.
#[derive(Debug, Clone)]
pub struct PushSender {
    sender: SyncSender<Result<Piece, PluginError>>,
    options: BatchOptions,
    when_full: WhenFull,
    dropped: Arc<AtomicU64>,
}

impl PushSource {
    /// A channel for `capacity` pieces, with the default [`BatchOptions`].
    pub fn new(capacity: usize, when_full: WhenFull) -> (PushSender, Self) {
        Self::with_options(capacity, when_full, BatchOptions::default())
    }

    /// With limits of one's own.
    pub fn with_options(
        capacity: usize,
        when_full: WhenFull,
        options: BatchOptions,
    ) -> (PushSender, Self) {
        let (sender, receiver) = sync_channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let handle = PushSender {
            sender,
            options,
            when_full,
            dropped: Arc::clone(&dropped),
        };
        let source = Self {
            receiver,
            options,
            dropped,
        };
        (handle, source)
    }

    /// What [`crate::Source::next_batch`] is to do.
    ///
    /// # Errors
    /// Those of [`PushSender::fail`]; a piece that the host refuses.
    pub fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        let mut batch = Batching::new(self.options, out, deadline);
        loop {
            if batch.is_full() {
                return Ok(More::Full);
            }
            let left = batch.left();
            match self.receiver.recv_timeout(left.min(WAIT_MAX)) {
                Ok(piece) => batch.add(piece?)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(More::End),
                Err(RecvTimeoutError::Timeout) if left <= WAIT_MAX || batch.is_cancelled() => {
                    return Ok(More::Timeout);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// How many pieces [`WhenFull::Drop`] has dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl PushSender {
    /// Sends a piece; whether it was taken, which only [`WhenFull::Drop`] denies.
    ///
    /// # Errors
    /// If the piece is too large, or the source was closed ([`Code::Cancelled`]): the sender's
    /// thread is to end.
    pub fn send(&self, piece: Piece) -> Result<bool, PluginError> {
        self.options.check(&piece)?;
        match self.when_full {
            WhenFull::Block => {
                self.sender.send(Ok(piece)).map_err(|_| closed())?;
                Ok(true)
            }
            WhenFull::Drop => match self.sender.try_send(Ok(piece)) {
                Ok(()) => Ok(true),
                Err(TrySendError::Full(_)) => {
                    self.dropped.fetch_add(1, Relaxed);
                    Ok(false)
                }
                Err(TrySendError::Disconnected(_)) => Err(closed()),
            },
        }
    }

    /// Ends the feed with an error, behind what was sent: the host opens it anew.
    ///
    /// # Errors
    /// If the source was closed.
    pub fn fail(self, error: PluginError) -> Result<(), PluginError> {
        self.sender.send(Err(error)).map_err(|_| closed())
    }

    /// How many pieces [`WhenFull::Drop`] has dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

fn closed() -> PluginError {
    PluginError::new(Code::Cancelled, "the source was closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::fake::{Host, late, piece};

    fn next(source: &mut PushSource, host: &mut Host) -> Result<More, PluginError> {
        source.next_batch(&mut SourceOut::new(host), late())
    }

    #[test]
    fn what_threads_send_becomes_batches_until_the_last_sender_is_gone() {
        let (sender, mut source) = PushSource::new(2, WhenFull::Block);
        let other = sender.clone();
        // The channel is smaller than what is sent: the threads wait for the batches.
        let threads = [(sender, 0), (other, 100)].map(|(sender, first)| {
            std::thread::spawn(move || {
                for n in 0..20 {
                    assert!(sender.send(piece(&[first + n])).unwrap());
                }
            })
        });
        let mut host = Host::new();
        host.rows_max = 5;
        assert_eq!(next(&mut source, &mut host).unwrap(), More::Full);
        assert_eq!(host.times.len(), 5);
        host.rows_max = 100;
        while next(&mut source, &mut host).unwrap() != More::End {}
        assert_eq!(host.times.len(), 40);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_full_channel_drops_and_counts_if_it_is_told_to() {
        let (sender, mut source) = PushSource::new(2, WhenFull::Drop);
        let sent: Vec<bool> = (0..5).map(|n| sender.send(piece(&[n])).unwrap()).collect();
        assert_eq!(sent, [true, true, false, false, false]);
        assert_eq!((sender.dropped(), source.dropped()), (3, 3));
        drop(sender);
        let mut host = Host::new();
        assert_eq!(next(&mut source, &mut host).unwrap(), More::End);
        assert_eq!(host.times, [0, 1]);
    }

    #[test]
    fn a_failure_comes_behind_what_was_sent() {
        let (sender, mut source) = PushSource::new(9, WhenFull::Block);
        let more = sender.clone();
        sender.send(piece(&[1])).unwrap();
        sender.fail("line lost".into()).unwrap();
        let mut host = Host::new();
        let error = next(&mut source, &mut host).unwrap_err();
        assert_eq!(
            (error.text.as_str(), &host.times[..]),
            ("line lost", &[1][..])
        );
        drop(source);
        // A sender that would wait for a closed source is told.
        let error = more.send(piece(&[2])).unwrap_err();
        assert_eq!(error.code, Code::Cancelled);
    }

    #[test]
    fn a_batch_ends_when_the_source_is_to_end_or_nothing_comes_in_time() {
        let (_sender, mut source) = PushSource::new(9, WhenFull::Block);
        let mut host = Host::new();
        host.is_cancelled = true;
        assert_eq!(next(&mut source, &mut host).unwrap(), More::Timeout);
        host.is_cancelled = false;
        let more = source.next_batch(&mut SourceOut::new(&mut host), Instant::now());
        assert_eq!(more.unwrap(), More::Timeout);
    }

    #[test]
    fn a_piece_that_is_too_large_is_refused_where_it_is_sent() {
        let options = BatchOptions {
            piece_bytes: 10,
            ..BatchOptions::default()
        };
        let (sender, _source) = PushSource::with_options(9, WhenFull::Drop, options);
        assert_eq!(sender.send(piece(&[1])).unwrap_err().code, Code::Limit);
        assert_eq!(sender.dropped(), 0);
    }
}
