//! What is known of the rows before they are read: their order, what is the same in all of them, how many
//! there are.

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{Partitioning, PlanProperties};
use engine::{Limit, Scan};
use std::sync::Arc;

use super::{BucketScan, COUNTED_MAX};
use crate::Error;
use crate::range::Range;
use crate::table::{Source, key_part};
use crate::times::time_value;

impl BucketScan {
    pub(super) fn declared(&self) -> PlanProperties {
        let partitions = self.partitions.len().max(1);
        let mut properties = properties(&self.schema, self.ordering(), partitions);
        // Not worth failing for: without it rows may be sorted that are so already.
        let _ = properties.eq_properties.add_constants(self.constants());
        properties
    }

    /// The columns of the key that are the same in all rows, or in those of each partition.
    pub(super) fn constants(&self) -> Vec<ConstExpr> {
        let one_bucket = self.is_of_one_bucket();
        let constant = |(at, source): (usize, &Source)| {
            let Source::Key(part) = source else {
                return None;
            };
            let across = match self.is_same(*part) {
                true => AcrossPartitions::Uniform(None),
                false if one_bucket => AcrossPartitions::Heterogeneous,
                false => return None,
            };
            let column = ColumnExpr::new(self.schema.field(at).name(), at);
            Some(ConstExpr::new(Arc::new(column), across))
        };
        self.columns
            .iter()
            .enumerate()
            .filter_map(constant)
            .collect()
    }

    /// Whether each partition has rows of one bucket only.
    fn is_of_one_bucket(&self) -> bool {
        self.partitions.iter().all(|pieces| {
            let mut members = pieces.iter().map(|piece| piece.member);
            let first = members.next();
            members.all(|member| Some(member) == first)
        })
    }

    /// How the rows of each partition stand: by key, then by time.
    pub(super) fn ordering(&self) -> Option<Vec<PhysicalSortExpr>> {
        let one_bucket = self.is_of_one_bucket();
        // Backwards, keys would have to descend too.
        if self.backwards && !one_bucket {
            return None;
        }
        // What is the same everywhere orders nothing: bars of one timeframe are by symbol and time.
        let keys = (0..3).filter(|part| !one_bucket && !self.is_same(*part));
        let wanted = keys.map(Source::Key).chain([Source::Epoch]);
        let mut ordering = Vec::with_capacity(4);
        for source in wanted {
            let Some(at) = self.columns.iter().position(|column| *column == source) else {
                break;
            };
            let column = ColumnExpr::new(self.schema.field(at).name(), at);
            let options = SortOptions {
                descending: self.backwards && source == Source::Epoch,
                nulls_first: false,
            };
            ordering.push(PhysicalSortExpr::new(Arc::new(column), options));
        }
        (!ordering.is_empty()).then_some(ordering)
    }

    /// Whether all buckets have this part of the key in common.
    pub(crate) fn is_same(&self, part: usize) -> bool {
        let infos = self.snapshot.buckets();
        let members = self.wanted.members.iter();
        let mut parts = members.map(|member| key_part(&infos[member.index], part));
        let first = parts.next();
        parts.all(|other| Some(other) == first)
    }

    pub(super) fn counted(&self) -> Result<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if self.wanted.members.len() > COUNTED_MAX {
            return Ok(statistics);
        }
        let failed = |error: engine::Error| Error::from(error).wrap();
        let range = self.wanted.range;
        let mut rows = 0_u64;
        let mut times: Option<(i64, i64)> = None;
        for member in self.wanted.members.iter() {
            let count = self.snapshot.count(member.index, range.from, range.to);
            let count = count.map_err(failed)?;
            rows += count;
            if count > 0 {
                let [from, to] = self.ends(member.index).map_err(failed)?;
                times = Some(match times {
                    Some((min, max)) => (min.min(from), max.max(to)),
                    None => (from, to),
                });
            }
        }
        let limited = self.wanted.limit.is_some_and(|limit| rows > limit as u64);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        statistics.num_rows = match (limited, self.wanted.limit) {
            (true, Some(limit)) => Precision::Inexact(limit),
            _ => Precision::Exact(rows),
        };
        if !self.wanted.zones.is_empty() {
            statistics.num_rows = statistics.num_rows.to_inexact();
            return Ok(statistics);
        }
        if !limited && let Some((min, max)) = times {
            for (column, statistics) in self.columns.iter().zip(&mut statistics.column_statistics) {
                if *column == Source::Epoch {
                    *statistics = ColumnStatistics {
                        null_count: Precision::Exact(0),
                        min_value: Precision::Exact(time_value(min)),
                        max_value: Precision::Exact(time_value(max)),
                        ..ColumnStatistics::new_unknown()
                    };
                }
            }
        }
        Ok(statistics)
    }

    /// First and last time of a bucket that has rows in the range.
    fn ends(&self, index: usize) -> Result<[i64; 2], engine::Error> {
        let Range { from, to } = self.wanted.range;
        let range = self.snapshot.time_range(index).unwrap_or((from, to));
        let end = |limit, known: i64| -> Result<i64, engine::Error> {
            if (from..=to).contains(&known) {
                return Ok(known);
            }
            let scan = Scan {
                from,
                to,
                columns: Some(vec![0]),
                limit: Some(limit),
            };
            let row = self.snapshot.scan(index, &scan)?;
            Ok(row.times().first().copied().unwrap_or(known))
        };
        Ok([
            end(Limit::First(1), range.0)?,
            end(Limit::Last(1), range.1)?,
        ])
    }
}

pub(super) fn properties(
    schema: &SchemaRef,
    ordering: Option<Vec<PhysicalSortExpr>>,
    partitions: usize,
) -> PlanProperties {
    let mut equivalence = EquivalenceProperties::new(schema.clone());
    if let Some(ordering) = ordering {
        equivalence.add_ordering(ordering);
    }
    PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
}
