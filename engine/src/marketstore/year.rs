//! One year file, opened and checked against its name and its bucket.

use disk::{Source, SourceFile};
use model::{RowKind, Timeframe};

use super::clock::Clock;
use super::fault::Fault;
use super::header::{self, HEADER_BYTES, Header};
use super::tree::ReadOptions;

/// A year file that can be read.
#[derive(Debug)]
pub(super) struct YearFile {
    pub(super) path: String,
    pub(super) file: SourceFile,
    pub(super) header: Header,
    pub(super) clock: Clock,
}

impl YearFile {
    /// Opens a file that its name says is of `year`, in a bucket of `timeframe`.
    pub(super) fn open(
        source: &Source,
        path: &str,
        year: i16,
        timeframe: Timeframe,
        options: &ReadOptions,
    ) -> Result<Self, Fault> {
        let io = |error: std::io::Error| Fault::new(path, None, error.to_string());
        let file = source.open_file(path).map_err(io)?;
        let mut bytes = vec![0; HEADER_BYTES as usize];
        let read = file.read_at(0, &mut bytes).map_err(io)?;
        let wrong = |(offset, what): header::Wrong| {
            Fault::new(path, offset, format!("{what}; the file is left out"))
        };
        let header = header::parse(&bytes[..read]).map_err(wrong)?;
        if header.year != year {
            let what = format!("the header is of {}, the name of {year}", header.year);
            return Err(wrong((264, what)));
        }
        if header.timeframe != timeframe.nanos() {
            let what = format!(
                "the header has intervals of {} ns, the directory {timeframe} of {} ns",
                header.timeframe,
                timeframe.nanos()
            );
            return Err(wrong((272, what)));
        }
        let Some(clock) = Clock::new(year, header.timeframe, &options.zone) else {
            return Err(wrong((
                264,
                format!("the year {year} is outside 1678 to 2261"),
            )));
        };
        let opened = Self {
            path: path.to_owned(),
            file,
            header,
            clock,
        };
        opened.check_windows(timeframe, options)?;
        Ok(opened)
    }

    /// A bar must begin where mkts begins a bar of its timeframe.
    fn check_windows(&self, timeframe: Timeframe, options: &ReadOptions) -> Result<(), Fault> {
        if self.header.kind == RowKind::Tick || options.floor_bars {
            return Ok(());
        }
        // Intervals that are multiples of their length everywhere are so if the first one is.
        let looked_at = if timeframe.fixed(&options.zone).is_some() {
            1
        } else {
            366
        };
        let moved = (0..=looked_at)
            .filter_map(|index| self.clock.time(index))
            .find(|time| timeframe.floor(*time, &options.zone) != *time);
        let Some(time) = moved else { return Ok(()) };
        let text = |time: i64| {
            let (seconds, _) = model::epoch_and_nanos(time);
            format!("{seconds} s since 1970")
        };
        let what = format!(
            "MarketStore's {timeframe} bars of the zone {} begin between those of mkts (at {}, not \
             {}): left out, import finer bars and aggregate them anew, or say --floor-bars",
            options.zone.name(),
            text(time),
            text(timeframe.floor(time, &options.zone))
        );
        Err(Fault::new(&self.path, None, what))
    }

    /// Where the preallocated slots end.
    pub(super) fn slots_end(&self) -> u64 {
        HEADER_BYTES + self.clock.slots() as u64 * self.header.record_bytes as u64
    }

    /// Where the slot of an index lies.
    pub(super) fn slot_at(&self, index: i64) -> i64 {
        let record = self.header.record_bytes as i64;
        (index - 1)
            .saturating_mul(record)
            .saturating_add(HEADER_BYTES as i64)
    }

    /// What is wrong with the length of the file.
    pub(super) fn length_fault(&self) -> Option<Fault> {
        let (len, end) = (self.file.len(), self.slots_end());
        let record = self.header.record_bytes as u64;
        if len < end {
            let what =
                format!("the file ends here, its slots need {end} bytes: later rows are missing");
            return Some(Fault::new(&self.path, len, what));
        }
        let rest = (len - HEADER_BYTES) % record;
        let partial = self.header.kind == RowKind::Bar && rest != 0;
        partial.then(|| {
            let what = format!("{rest} bytes behind the last whole slot");
            Fault::new(&self.path, len - rest, what)
        })
    }

    /// The slot of 1 January of a daily bucket, which MarketStore writes in front of the first one
    /// and takes for empty. `None` if nothing is there.
    pub(super) fn first_january(&self) -> Result<Option<Vec<u8>>, Fault> {
        let record = self.header.record_bytes;
        let at = HEADER_BYTES - record as u64;
        if !self.clock.is_daily() || at < self.header.used_bytes {
            return Ok(None);
        }
        let mut slot = vec![0; record];
        let read = self.file.read_at(at, &mut slot);
        read.map_err(|error| Fault::new(&self.path, at, error.to_string()))?;
        if header::word(&slot, 0) != 0 {
            let what = "bytes that should be zero, and are no daily row of 1 January either";
            return Err(Fault::new(&self.path, at, what));
        }
        Ok(slot.iter().any(|byte| *byte != 0).then_some(slot))
    }
}
