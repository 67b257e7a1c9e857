//! The payloads of the log's frames (docs/format.md).

use std::sync::Arc;

use bytes::Bytes;
use model::{Column, ColumnBatch, Schema};
use wal::{Lsn, Payload};

use crate::Error;
use crate::catalog::{BucketId, BucketInfo, Origin};
use crate::fields::{Fields, put_text};

pub(crate) const KIND_ROWS: u8 = 1;
pub(crate) const KIND_DEFINE: u8 = 2;
pub(crate) const KIND_ALTER: u8 = 3;
pub(crate) const KIND_DROP: u8 = 4;
pub(crate) const KIND_DELETE: u8 = 5;
// 8 belongs to the log.
pub(crate) const KIND_ORIGIN: u8 = 6;
pub(crate) const KIND_PLUGIN: u8 = 7;

/// Bytes before the columns of a section.
const SECTION_HEADER_BYTES: usize = 24;

/// Rows of one bucket in a frame; the bytes are a view of the frame's.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) bucket: BucketId,
    pub(crate) schema_version: u32,
    rows: usize,
    columns: usize,
    data: Bytes,
}

impl Section {
    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of the times and of each column, for few rows: there a typed view of a column
    /// costs more than its values. `None` if they do not fit the schema.
    pub(crate) fn values<'a>(
        &'a self,
        schema: &'a Schema,
    ) -> Option<impl Iterator<Item = &'a [u8]>> {
        let columns = schema.columns().iter().map(|column| column.ty.size());
        let sizes = std::iter::once(size_of::<i64>()).chain(columns);
        let lengths = sizes.map(|size| self.rows * size);
        let bytes: usize = lengths.clone().map(|len| len.next_multiple_of(8)).sum();
        let mut rest = &self.data[..];
        (self.columns == schema.len() && bytes <= rest.len()).then(|| {
            lengths.map(move |len| {
                let (values, after) = rest.split_at(len.next_multiple_of(8));
                rest = after;
                &values[..len]
            })
        })
    }

    /// The rows, without a copy. `None` if they do not fit the schema.
    pub(crate) fn batch(&self, schema: &Schema) -> Option<ColumnBatch> {
        if self.columns != schema.len() {
            return None;
        }
        let mut at = 0;
        let mut next = |ty: model::ColumnType| {
            let len = self.rows.checked_mul(ty.size())?;
            let end = at + len;
            if end > self.data.len() {
                return None;
            }
            let column = Column::new(ty, self.data.slice(at..end)).ok();
            at = end.next_multiple_of(8);
            column
        };
        let times = next(model::ColumnType::I64)?;
        let columns: Option<Vec<_>> = schema.columns().iter().map(|c| next(c.ty)).collect();
        ColumnBatch::new(schema.clone(), times, columns?).ok()
    }
}

/// Bytes of a [`Range`] in a frame.
pub(crate) const RANGE_BYTES: usize = 24;

/// Flag of a [`Range`].
const EXPIRED: u32 = 1;

/// Rows of a bucket with `from <= time <= to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) bucket: BucketId,
    /// Deleted by a rule of retention: nothing that was made of the rows follows.
    pub(crate) expired: bool,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// What a frame of the log holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// Rows; `section` is the plugin's part of a plugin commit, and `deleted` goes before the rows.
    Rows {
        section: Option<Bytes>,
        deleted: Vec<Range>,
        rows: Vec<Section>,
    },
    Define(BucketInfo),
    /// A new version of a bucket's schema, and the one that it replaces: for followers, which may
    /// read this when nothing else knows the old one.
    Alter {
        after: BucketInfo,
        before: BucketInfo,
    },
    Delete(Vec<Range>),
    /// Whole definitions, so that a follower knows their names long after the catalog forgot them.
    Drop(Vec<BucketInfo>),
    Origin(Origin, String),
    /// A kind that a later version writes.
    Unknown,
}

/// What the frame at `lsn` holds; an error that names it if the bytes are not what the kind says.
pub(crate) fn read(lsn: Lsn, kind: u8, payload: &Bytes) -> Result<Content, Error> {
    decode(kind, payload).ok_or_else(|| bad(lsn, format!("is not of its kind {kind}")))
}

/// A frame that its checksums vouch for does not make sense.
pub(crate) fn bad(lsn: Lsn, what: impl std::fmt::Display) -> Error {
    Error::Corrupt {
        file: "wal".to_owned(),
        offset: lsn.0,
        what: format!("frame {lsn} {what}"),
    }
}

/// `None` if the bytes are not what the kind says.
pub(crate) fn decode(kind: u8, payload: &Bytes) -> Option<Content> {
    match kind {
        KIND_ROWS => Some(Content::Rows {
            section: None,
            deleted: Vec::new(),
            rows: sections(payload, 0)?,
        }),
        KIND_PLUGIN => {
            let parts = PluginParts::read(payload)?;
            Some(Content::Rows {
                section: Some(payload.slice(parts.section)),
                deleted: ranges(&payload[parts.deleted])?,
                rows: sections(payload, parts.rows)?,
            })
        }
        KIND_DEFINE => BucketInfo::decode(&mut Fields::new(payload)).map(Content::Define),
        KIND_DROP => {
            let mut fields = Fields::new(payload);
            let mut dropped = Vec::new();
            while !fields.is_empty() {
                dropped.push(BucketInfo::decode(&mut fields)?);
            }
            Some(Content::Drop(dropped))
        }
        KIND_ALTER => {
            let mut fields = Fields::new(payload);
            let after = BucketInfo::decode(&mut fields)?;
            let before = BucketInfo::decode(&mut fields)?;
            let follows = after.id == before.id
                && Some(after.schema_version) == before.schema_version.checked_add(1);
            (follows && fields.is_empty()).then_some(Content::Alter { after, before })
        }
        KIND_DELETE => ranges(payload).map(Content::Delete),
        KIND_ORIGIN => {
            let mut fields = Fields::new(payload);
            Some(Content::Origin(
                Origin(fields.u16()?),
                fields.text()?.to_owned(),
            ))
        }
        _ => Some(Content::Unknown),
    }
}

fn ranges(payload: &[u8]) -> Option<Vec<Range>> {
    let entries = payload.chunks_exact(RANGE_BYTES);
    if !entries.remainder().is_empty() {
        return None;
    }
    let range = |entry| {
        let mut fields = Fields::new(entry);
        let bucket = BucketId(fields.u32()?);
        let expired = match fields.u32()? {
            0 => false,
            EXPIRED => true,
            _ => return None,
        };
        let (from, to) = (fields.i64()?, fields.i64()?);
        (from <= to).then_some(Range {
            bucket,
            expired,
            from,
            to,
        })
    };
    entries.map(range).collect()
}

fn sections(payload: &Bytes, start: usize) -> Option<Vec<Section>> {
    let mut sections = Vec::new();
    let mut at = start;
    while at < payload.len() {
        let (section, end) = section_at(payload, at)?;
        sections.push(section);
        at = end;
    }
    Some(sections)
}

/// The section that begins here, and where it ends.
pub(crate) fn section_at(payload: &Bytes, at: usize) -> Option<(Section, usize)> {
    let header = SectionHeader::read(payload, at)?;
    let section = Section {
        bucket: header.bucket,
        schema_version: header.schema_version,
        rows: header.rows,
        columns: header.columns,
        data: payload.slice(header.from..header.end),
    };
    Some((section, header.end))
}

struct SectionHeader {
    bucket: BucketId,
    schema_version: u32,
    rows: usize,
    columns: usize,
    from: usize,
    end: usize,
}

impl SectionHeader {
    fn read(payload: &[u8], at: usize) -> Option<Self> {
        let mut fields = Fields::new(payload.get(at..)?);
        let bucket = BucketId(fields.u32()?);
        let schema_version = fields.u32()?;
        let rows = fields.u32()? as usize;
        let columns = usize::from(fields.u16()?);
        fields.u16()?;
        let bytes = usize::try_from(fields.u64()?).ok()?;
        fields.take(bytes)?;
        let from = at + SECTION_HEADER_BYTES;
        Some(Self {
            bucket,
            schema_version,
            rows,
            columns,
            from,
            end: from + bytes,
        })
    }
}

/// Buckets of the sections of a frame, and where each begins: what a follower looks at before it
/// reads any row.
pub(crate) type Index = Box<[(BucketId, u32)]>;

/// `None` if the bytes are not what the kind says.
pub(crate) fn index(kind: u8, payload: &[u8]) -> Option<Index> {
    let mut at = match kind {
        KIND_ROWS => 0,
        KIND_PLUGIN => PluginParts::read(payload)?.rows,
        _ => return Some(Index::default()),
    };
    let mut index = Vec::new();
    while at < payload.len() {
        let header = SectionHeader::read(payload, at)?;
        index.push((header.bucket, u32::try_from(at).ok()?));
        at = header.end;
    }
    Some(index.into())
}

/// Where the parts of a plugin commit are.
struct PluginParts {
    section: std::ops::Range<usize>,
    deleted: std::ops::Range<usize>,
    rows: usize,
}

impl PluginParts {
    fn read(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let len = fields.u32()? as usize;
        let ranges = fields.u32()? as usize;
        let from = len.checked_add(8)?.next_multiple_of(8);
        let rows = ranges.checked_mul(RANGE_BYTES)?.checked_add(from)?;
        (rows <= payload.len()).then_some(Self {
            section: 8..8 + len,
            deleted: from..rows,
            rows,
        })
    }
}

/// The ranges that the plugin commit deletes; none if it is something else.
pub(crate) fn deleted(kind: u8, payload: &[u8]) -> Option<Vec<Range>> {
    if kind != KIND_PLUGIN {
        return Some(Vec::new());
    }
    ranges(&payload[PluginParts::read(payload)?.deleted])
}

/// Bytes of the payload that [`encode_rows`] makes.
pub(crate) fn rows_bytes<'a>(
    section: Option<&Bytes>,
    deleted: usize,
    parts: impl Iterator<Item = &'a ColumnBatch>,
) -> usize {
    let section = section.map_or(0, |s| (8 + s.len()).next_multiple_of(8));
    section
        + deleted * RANGE_BYTES
        + parts
            .map(|batch| SECTION_HEADER_BYTES + columns_bytes(batch))
            .sum::<usize>()
}

fn columns_bytes(batch: &ColumnBatch) -> usize {
    let padded = |column: &Column| column.bytes().len().next_multiple_of(8);
    padded(batch.time_column()) + batch.columns().iter().map(padded).sum::<usize>()
}

/// The payload of a commit with rows, or of a plugin commit; only that can delete.
pub(crate) fn encode_rows(
    section: Option<&Bytes>,
    deleted: &[Range],
    parts: &[(BucketId, u32, &ColumnBatch)],
) -> Vec<u8> {
    let bytes = rows_bytes(section, deleted.len(), parts.iter().map(|part| part.2));
    let mut target = Vec::with_capacity(bytes);
    if let Some(section) = section {
        let len = u32::try_from(section.len()).expect("frames are far below 4 GiB");
        let ranges = u32::try_from(deleted.len()).expect("frames are far below 4 GiB");
        target.extend_from_slice(&len.to_le_bytes());
        target.extend_from_slice(&ranges.to_le_bytes());
        target.extend_from_slice(section);
        pad(&mut target);
    }
    put_ranges(&mut target, deleted);
    for (bucket, schema_version, batch) in parts {
        encode_section(&mut target, *bucket, *schema_version, batch);
    }
    assert!(target.len() == bytes, "the length was computed before");
    target
}

fn encode_section(target: &mut Vec<u8>, bucket: BucketId, version: u32, batch: &ColumnBatch) {
    let rows = u32::try_from(batch.rows()).expect("frames are far below 4 Gi rows");
    let columns = u16::try_from(batch.columns().len()).expect("at most 1024 columns");
    target.extend_from_slice(&bucket.0.to_le_bytes());
    target.extend_from_slice(&version.to_le_bytes());
    target.extend_from_slice(&rows.to_le_bytes());
    target.extend_from_slice(&columns.to_le_bytes());
    target.extend_from_slice(&[0; 2]);
    target.extend_from_slice(&(columns_bytes(batch) as u64).to_le_bytes());
    target.extend_from_slice(batch.time_column().bytes());
    for column in batch.columns() {
        target.extend_from_slice(column.bytes());
        pad(target);
    }
}

fn pad(target: &mut Vec<u8>) {
    target.resize(target.len().next_multiple_of(8), 0);
}

pub(crate) fn define(info: &BucketInfo) -> Payload {
    let mut target = Vec::new();
    info.encode(&mut target);
    Payload::new(KIND_DEFINE, 0, 0, target.into())
}

pub(crate) fn alter(after: &BucketInfo, before: &BucketInfo) -> Payload {
    let mut target = Vec::new();
    after.encode(&mut target);
    before.encode(&mut target);
    Payload::new(KIND_ALTER, 0, 0, target.into())
}

pub(crate) fn delete(ranges: &[Range]) -> Payload {
    delete_by(Origin::CLIENT, 0, ranges)
}

/// In the name of who is not a client.
pub(crate) fn delete_by(origin: Origin, hops: u8, ranges: &[Range]) -> Payload {
    let mut target = Vec::with_capacity(ranges.len() * RANGE_BYTES);
    put_ranges(&mut target, ranges);
    Payload::new(KIND_DELETE, hops, origin.0, target.into())
}

fn put_ranges(target: &mut Vec<u8>, ranges: &[Range]) {
    for range in ranges {
        target.extend_from_slice(&range.bucket.0.to_le_bytes());
        target.extend_from_slice(&(u32::from(range.expired) * EXPIRED).to_le_bytes());
        target.extend_from_slice(&range.from.to_le_bytes());
        target.extend_from_slice(&range.to.to_le_bytes());
    }
}

pub(crate) fn drop_buckets(dropped: &[Arc<BucketInfo>]) -> Payload {
    let mut target = Vec::new();
    for info in dropped {
        info.encode(&mut target);
    }
    Payload::new(KIND_DROP, 0, 0, target.into())
}

pub(crate) fn define_origin(origin: Origin, name: &str) -> Payload {
    let mut target = origin.0.to_le_bytes().to_vec();
    put_text(&mut target, name);
    Payload::new(KIND_ORIGIN, 0, 0, target.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ColumnDef, ColumnType};
    use proptest::prelude::*;

    fn schema() -> Schema {
        let columns = ColumnType::ALL.map(|ty| ColumnDef::new(ty.name(), ty));
        Schema::new(columns.to_vec()).unwrap()
    }

    /// Row `n` has bytes that depend on `n` and the column.
    fn batch(rows: usize) -> ColumnBatch {
        let column = |ty: ColumnType| {
            let bytes = (0..rows * ty.size()).map(|i| (i * 7 + ty.size()) as u8);
            Column::new(ty, bytes.collect::<Vec<u8>>().into()).unwrap()
        };
        let columns = ColumnType::ALL.map(column).to_vec();
        ColumnBatch::new(schema(), column(ColumnType::I64), columns).unwrap()
    }

    #[test]
    fn rows_and_plugin_sections_come_back() {
        for section in [
            None,
            Some(Bytes::new()),
            Some(Bytes::from_static(b"opaque")),
        ] {
            let (one, two) = (batch(3), batch(8));
            let parts = [(BucketId(7), 1, &one), (BucketId(9), 2, &two)];
            let kind = if section.is_some() {
                KIND_PLUGIN
            } else {
                KIND_ROWS
            };
            let range = Range {
                bucket: BucketId(7),
                expired: false,
                from: -1,
                to: 5,
            };
            let ranges = if section.is_some() {
                vec![range; 2]
            } else {
                Vec::new()
            };
            let payload = Bytes::from(encode_rows(section.as_ref(), &ranges, &parts));
            let Some(Content::Rows {
                section: found,
                deleted: gone,
                rows,
            }) = decode(kind, &payload)
            else {
                panic!("rows do not decode");
            };
            assert_eq!((found, &gone), (section, &ranges));
            assert_eq!(deleted(kind, &payload), Some(ranges));
            assert_eq!(rows.len(), 2);
            for ((bucket, version, batch), section) in parts.into_iter().zip(rows) {
                assert_eq!((section.bucket, section.schema_version), (bucket, version));
                assert!(section.batch(&schema()).unwrap() == *batch);
            }
            for cut in 1..payload.len() {
                // A shorter payload may end between two sections, nowhere else.
                let Some(Content::Rows { rows, .. }) = decode(kind, &payload.slice(..cut)) else {
                    continue;
                };
                assert!(rows.len() < 2);
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(kind in 0_u8..10, bytes in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..300)) {
            let payload = Bytes::from(bytes);
            if let Some(Content::Rows { rows, .. }) = decode(kind, &payload) {
                for section in rows {
                    let _ = section.batch(&schema());
                }
            }
        }
    }
}
