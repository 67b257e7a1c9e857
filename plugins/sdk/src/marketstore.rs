//! Rows as MarketStore's `Fire(keyPath, records)` named them, for triggers that are ported from Go.
//!
//! The example of docs/porting-go-plugins.md:
//!
//! ```
//! use plugin_sdk::model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
//! use plugin_sdk::{Event, FireCtx, FireError, Init, Manifest, Plugin, PluginError, Trigger};
//!
//! struct Range;
//!
//! impl Plugin for Range {
//!     type Config = Option<()>;
//!     const MANIFEST: Manifest = Manifest::new("range", "1.0.0");
//!     fn new(_config: Option<()>, _init: &mut Init<'_>) -> Result<Self, PluginError> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Trigger for Range {
//!     fn fire(&mut self, ctx: &mut FireCtx<'_>, event: &Event<'_>) -> Result<(), FireError> {
//!         let Event::Write(batch) = event else { return Ok(()) };
//!         let prices = |name| batch.rows.column(name).and_then(|column| column.values::<f32>());
//!         let (Some(high), Some(low)) = (prices("High"), prices("Low")) else {
//!             return Err(FireError::Skip("no columns High and Low of f4".into()));
//!         };
//!         let range: Vec<f32> = high.iter().zip(low).map(|(high, low)| high - low).collect();
//!         let schema = Schema::new(vec![ColumnDef::new("Range", ColumnType::F32)])?;
//!         let times = Column::from_values(batch.rows.times().to_vec());
//!         let rows = ColumnBatch::new(schema, times, vec![Column::from_values(range)])?;
//!         let key = BucketKey::parse(&format!("{}/1Min/RANGE", batch.key.symbol()))?;
//!         ctx.write(&key, RowKind::Bar, rows)?;
//!         Ok(())
//!     }
//! }
//! ```

use model::{NANOS_PER_SECOND, Timeframe, Zone};

use crate::trigger::Batch;

/// One call of MarketStore's `Fire`: rows of a year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YearOfRows {
    /// `SYM/TF/AG/YEAR.bin`. There is no such file.
    pub path: String,
    /// Index of each row in that file, in the order of the rows.
    pub indexes: Vec<i64>,
}

impl Batch<'_> {
    /// The rows as MarketStore would fire them: one call for each year, in order of first appearance,
    /// with the index of each row. `zone` is the server's ([`crate::Init`]).
    ///
    /// The index is that of `TimeToIndex` in MarketStore's `timeindex.go`: with J, the first midnight
    /// of the row's local year, it is `1 + (time - J) / timeframe`, of elapsed time; days are counted
    /// by the calendar, from **0**.
    pub fn marketstore(&self, zone: &Zone) -> Vec<YearOfRows> {
        let mut years: Vec<(i16, YearOfRows)> = Vec::new();
        for &time in self.rows.times() {
            let (year, ..) = zone.local_date(time);
            let index = index(time, year, self.timeframe, zone);
            match years.iter_mut().find(|(of, _)| *of == year) {
                Some((_, rows)) => rows.indexes.push(index),
                None => years.push((
                    year,
                    YearOfRows {
                        path: format!("{}/{year}.bin", self.key),
                        indexes: vec![index],
                    },
                )),
            }
        }
        years.into_iter().map(|(_, rows)| rows).collect()
    }
}

fn index(time: i64, year: i16, timeframe: Timeframe, zone: &Zone) -> i64 {
    let first_day = Zone::year_start_day(year);
    match timeframe.nanos() {
        DAY => zone.local_day(time) - first_day,
        nanos => 1 + (time - zone.day_start(first_day)).div_euclid(nanos),
    }
}

const DAY: i64 = 86_400 * NANOS_PER_SECOND;

#[cfg(test)]
mod tests {
    use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};

    use super::*;

    fn seen(key: &str, zone: &str, seconds: &[i64]) -> Vec<(String, Vec<i64>)> {
        let key = BucketKey::parse(key).unwrap();
        let schema = Schema::new(vec![ColumnDef::new("V", ColumnType::F64)]).unwrap();
        let times: Vec<i64> = seconds.iter().map(|s| s * NANOS_PER_SECOND).collect();
        let values = Column::from_values(vec![1.0_f64; times.len()]);
        let rows = ColumnBatch::new(schema, Column::from_values(times), vec![values]).unwrap();
        let batch = Batch {
            key: &key,
            kind: RowKind::Bar,
            timeframe: Timeframe::parse(key.timeframe()).unwrap(),
            rows: &rows,
        };
        let years = batch.marketstore(&Zone::parse(zone).unwrap());
        years.into_iter().map(|y| (y.path, y.indexes)).collect()
    }

    fn year(path: &str, indexes: &[i64]) -> (String, Vec<i64>) {
        (path.to_owned(), indexes.to_vec())
    }

    /// 2020-01-01, its second minute, 2020-12-31 23:59 and the midnight after it.
    const TIMES: [i64; 4] = [1_577_836_800, 1_577_836_860, 1_609_459_140, 1_609_459_200];

    #[test]
    fn indexes_are_those_of_the_year_files() {
        assert_eq!(
            seen("A/1Min/X", "UTC", &TIMES),
            [
                year("A/1Min/X/2020.bin", &[1, 2, 366 * 1440]),
                year("A/1Min/X/2021.bin", &[1])
            ]
        );
        // Days are counted from 0.
        assert_eq!(
            seen("A/1D/X", "UTC", &TIMES),
            [
                year("A/1D/X/2020.bin", &[0, 0, 365]),
                year("A/1D/X/2021.bin", &[0])
            ]
        );
    }

    #[test]
    fn the_year_begins_at_the_local_midnight_and_hours_are_elapsed_time() {
        // 1 July 2020 00:00 in New York, which is an hour ahead of its winter.
        let july = 1_593_576_000;
        assert_eq!(
            seen("A/1H/X", "America/New_York", &[TIMES[0], july]),
            [
                year("A/1H/X/2019.bin", &[365 * 24 - 4]),
                year("A/1H/X/2020.bin", &[182 * 24])
            ]
        );
        assert_eq!(
            seen("A/1D/X", "America/New_York", &[july]),
            [year("A/1D/X/2020.bin", &[182])]
        );
    }
}
