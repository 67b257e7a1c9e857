//! The bars of the demo and how they are shown.

use std::fmt;

use bytes::Bytes;
use client::wire::msgpack::Reader;
use flate2::read::MultiGzDecoder;
use model::{BucketKey, ColumnBatch, ColumnType, NANOS_PER_SECOND};

use super::super::Failure;
use super::super::load::table::{Options, Table};

/// One symbol with its minutes.
pub(super) struct Symbol {
    pub(super) name: &'static str,
    pub(super) key: BucketKey,
    pub(super) batch: ColumnBatch,
}

const FILES: [(&str, &[u8]); 2] = [
    (
        "SPY",
        include_bytes!("../../../../data/SPY_1Min_OHLCV.csv.gz"),
    ),
    (
        "AAPL",
        include_bytes!("../../../../data/AAPL_1Min_OHLCV.csv.gz"),
    ),
];

/// The bars that come with the binary.
pub(super) fn bundled() -> Result<Vec<Symbol>, Failure> {
    FILES.iter().map(|(name, file)| read(name, file)).collect()
}

fn read(name: &'static str, file: &'static [u8]) -> Result<Symbol, Failure> {
    let prices = ["Open", "High", "Low", "Close"].map(|name| (name.to_string(), ColumnType::F32));
    let mut types = prices.to_vec();
    types.push(("Volume".into(), ColumnType::I32));
    let options = Options {
        types,
        ..Options::default()
    };
    let batch = Table::open(MultiGzDecoder::new(file), options, None)
        .and_then(|mut table| table.next_batch())
        .map_err(Failure::new)?
        .ok_or_else(|| Failure::new("the bundled bars are empty"))?;
    let key = BucketKey::new(name, "1Min", "OHLCV").map_err(|e| Failure::new(e.to_string()))?;
    Ok(Symbol { name, key, batch })
}

/// Sum of the volumes: exact, and the same in every timeframe.
pub(super) fn volume(batch: &ColumnBatch) -> i64 {
    let Some(column) = batch.column("Volume") else {
        return 0;
    };
    let whole = column.cast(ColumnType::I64);
    let whole = whole.ok();
    whole
        .as_ref()
        .and_then(|column| column.values::<i64>())
        .unwrap_or(&[])
        .iter()
        .sum()
}

/// One bar for the screen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    key: String,
    epoch: i64,
    prices: [f64; 4],
    volume: i64,
}

impl Bar {
    /// A row of a batch.
    pub(super) fn of(key: &str, batch: &ColumnBatch, row: usize) -> Option<Self> {
        let price = |name: &str| {
            let column = batch
                .column(name)?
                .slice(row..row + 1)
                .cast(ColumnType::F64)
                .ok()?;
            column.values::<f64>()?.first().copied()
        };
        Some(Self {
            key: key.into(),
            epoch: batch.times().get(row)?.div_euclid(NANOS_PER_SECOND),
            prices: [
                price("Open")?,
                price("High")?,
                price("Low")?,
                price("Close")?,
            ],
            volume: volume(&batch.slice(row..row + 1)),
        })
    }

    /// The data of a stream message.
    pub(super) fn decode(key: &str, data: &Bytes) -> Option<Self> {
        let mut bar = Self {
            key: key.into(),
            epoch: 0,
            prices: [0.0; 4],
            volume: 0,
        };
        let mut reader = Reader::new(data);
        for _ in 0..reader.map().ok()? {
            match reader.text().ok()? {
                "Epoch" => bar.epoch = reader.int().ok()?,
                "Open" => bar.prices[0] = reader.float().ok()?,
                "High" => bar.prices[1] = reader.float().ok()?,
                "Low" => bar.prices[2] = reader.float().ok()?,
                "Close" => bar.prices[3] = reader.float().ok()?,
                "Volume" => bar.volume = reader.int().ok()?,
                _ => reader.skip().ok()?,
            }
        }
        Some(bar)
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_second(self.epoch).map_err(|_| fmt::Error)?;
        let time = time.strftime("%Y-%m-%d %H:%M").to_string();
        let [open, high, low, close] = self.prices;
        if !self.key.is_empty() {
            write!(f, "{:<16} ", self.key)?;
        }
        write!(
            f,
            "{time}  {open:.2} {high:.2} {low:.2} {close:.2}  {:>8}",
            self.volume
        )
    }
}
