//! Bucket key to `BucketId`, schemas, writer names to `Origin`.
//!
//! Holds what is visible: entries are made by frames of the log after their sync, in LSN order,
//! and saved as `catalog.<lsn>` at a checkpoint. Numbers are never given twice, so frames of a
//! dropped bucket can never reach a later one of the same name.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use model::{BucketKey, ColumnDef, ColumnType, RowKind, Schema, Timeframe};
use wal::Lsn;

use crate::Error;
use crate::fields::{Fields, put_text, seal, unseal};
use crate::mask::Mask;
use crate::view::Older;

const MAGIC: &[u8; 8] = b"MKTSCAT\0";
/// Major version in the high half; a newer major is refused.
const VERSION: u32 = 1 << 16;

/// Schemas that the next bucket is compared with.
const RECENT_MAX: usize = 8;

/// Number of a bucket, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub u32);

/// Who wrote a commit: 0 a client, else a plugin instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Origin(pub u16);

impl Origin {
    /// A client of the server.
    pub const CLIENT: Self = Self(0);
}

/// What the catalog knows of a bucket.
#[derive(Debug, Clone)]
pub struct BucketInfo {
    /// Number.
    pub id: BucketId,
    /// Name.
    pub key: BucketKey,
    /// One row per time, or every row.
    pub kind: RowKind,
    /// Parsed timeframe of the key.
    pub timeframe: Timeframe,
    /// Version of `schema`, from 1.
    pub schema_version: u32,
    /// Columns.
    pub schema: Schema,
    /// The number of each column of `schema`: it stays when the column is renamed or widened, and
    /// is never given twice in the bucket.
    pub column_ids: Arc<[u16]>,
    /// The type that each column of `schema` was added with: its absent value is of this type, so
    /// that it is the same however wide the column is by now.
    pub first_types: Arc<[ColumnType]>,
    /// The smallest column number never given.
    pub next_column: u16,
}

impl BucketInfo {
    /// A bucket's first version: its columns are numbered in order.
    pub fn new(
        id: BucketId,
        key: BucketKey,
        timeframe: Timeframe,
        kind: RowKind,
        schema: Schema,
    ) -> Self {
        let next_column = u16::try_from(schema.len()).expect("a schema has at most 1024 columns");
        Self {
            id,
            key,
            kind,
            timeframe,
            schema_version: 1,
            column_ids: (0..next_column).collect(),
            first_types: schema.columns().iter().map(|column| column.ty).collect(),
            schema,
            next_column,
        }
    }

    /// Whether all that is said of the columns is the same.
    fn is_alike(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.column_ids == other.column_ids
            && self.first_types == other.first_types
    }

    /// The bytes of a definition, in frames and in catalog files alike.
    pub(crate) fn encode(&self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.id.0.to_le_bytes());
        target.extend_from_slice(&self.schema_version.to_le_bytes());
        target.extend_from_slice(&[self.kind.code(), 0]);
        put_text(target, self.key.as_str());
        let count = u16::try_from(self.schema.len()).expect("a schema has at most 1024 columns");
        target.extend_from_slice(&count.to_le_bytes());
        target.extend_from_slice(&self.next_column.to_le_bytes());
        for (index, column) in self.schema.columns().iter().enumerate() {
            target.extend_from_slice(&self.column_ids[index].to_le_bytes());
            target.extend_from_slice(&[column.ty.code(), self.first_types[index].code()]);
            put_text(target, &column.name);
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let id = BucketId(fields.u32()?);
        let schema_version = fields.u32()?;
        let kind = RowKind::from_code(fields.u8()?)?;
        fields.u8()?;
        let key = BucketKey::parse(fields.text()?).ok()?;
        let count = fields.u16()?;
        let next_column = fields.u16()?;
        let mut columns = Vec::new();
        let mut ids = Vec::new();
        let mut first_types = Vec::new();
        for _ in 0..count {
            let id = fields.u16()?;
            if id >= next_column || ids.contains(&id) {
                return None;
            }
            ids.push(id);
            let ty = ColumnType::from_code(fields.u8()?)?;
            let first = ColumnType::from_code(fields.u8()?)?;
            if first != ty && !first.widens_to(ty) {
                return None;
            }
            first_types.push(first);
            columns.push(ColumnDef::new(fields.text()?, ty));
        }
        Some(Self {
            id,
            timeframe: Timeframe::parse(key.timeframe()).ok()?,
            key,
            kind,
            schema_version,
            schema: Schema::new(columns).ok()?,
            column_ids: ids.into(),
            first_types: first_types.into(),
            next_column,
        })
    }
}

/// What of a bucket's past is still in files: versions of its schema, and deletes. Belongs to the
/// bucket's view; here only on its way to the catalog file and back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past {
    pub(crate) older: Vec<Older>,
    pub(crate) masks: Vec<Mask>,
}

/// Of the buckets that have one.
pub(crate) type Pasts = HashMap<BucketId, Past>;

/// What a catalog file holds.
pub(crate) type Saved = (Catalog, Pasts);

/// Names and numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    by_key: HashMap<BucketKey, Arc<BucketInfo>>,
    by_id: HashMap<BucketId, Arc<BucketInfo>>,
    /// `origins[n]` is the name of `Origin(n + 1)`.
    origins: Vec<String>,
    next_bucket: u32,
    /// All buckets by key, made when asked for.
    sorted: Option<Arc<Vec<Arc<BucketInfo>>>>,
    /// Defined last, and not alike.
    recent: VecDeque<Arc<BucketInfo>>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            next_bucket: 1,
            ..Self::default()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn by_key(&self, key: &BucketKey) -> Option<&Arc<BucketInfo>> {
        self.by_key.get(key)
    }

    pub(crate) fn by_id(&self, id: BucketId) -> Option<&Arc<BucketInfo>> {
        self.by_id.get(&id)
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = &Arc<BucketInfo>> {
        self.by_id.values()
    }

    /// The smallest number never given.
    pub(crate) fn next_bucket(&self) -> u32 {
        self.next_bucket
    }

    /// The sorted list if it is up to date.
    pub(crate) fn sorted(&self) -> Option<Arc<Vec<Arc<BucketInfo>>>> {
        self.sorted.clone()
    }

    pub(crate) fn sort(&mut self) -> Arc<Vec<Arc<BucketInfo>>> {
        if let Some(sorted) = &self.sorted {
            return sorted.clone();
        }
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        let all = Arc::new(all);
        self.sorted = Some(all.clone());
        all
    }

    /// `None` if the number or the name is taken. Numbers need not come in order: they are given
    /// before the frames are queued.
    pub(crate) fn define(&mut self, info: BucketInfo) -> Option<Arc<BucketInfo>> {
        if self.by_id.contains_key(&info.id) || self.by_key.contains_key(&info.key) {
            return None;
        }
        self.next_bucket = self.next_bucket.max(info.id.0.saturating_add(1));
        Some(self.insert(info))
    }

    fn insert(&mut self, info: BucketInfo) -> Arc<BucketInfo> {
        let info = self.shared(info);
        self.by_key.insert(info.key.clone(), info.clone());
        self.by_id.insert(info.id, info.clone());
        self.sort_in(&info.key, Some(&info));
        info
    }

    /// Many buckets have the same columns: one value in memory for all of them, which is also
    /// quicker to compare.
    fn shared(&mut self, mut info: BucketInfo) -> Arc<BucketInfo> {
        let mut recent = self.recent.iter();
        if let Some(known) = recent.find(|known| known.is_alike(&info)) {
            info.schema = known.schema.clone();
            info.column_ids = known.column_ids.clone();
            info.first_types = known.first_types.clone();
            return Arc::new(info);
        }
        let info = Arc::new(info);
        self.recent.truncate(RECENT_MAX - 1);
        self.recent.push_front(info.clone());
        info
    }

    pub(crate) fn drop_bucket(&mut self, id: BucketId) -> Option<Arc<BucketInfo>> {
        let info = self.by_id.remove(&id)?;
        self.by_key.remove(&info.key);
        self.sort_in(&info.key, None);
        Some(info)
    }

    /// Takes over a new version of a bucket that is there.
    pub(crate) fn alter(&mut self, info: BucketInfo) -> Arc<BucketInfo> {
        self.insert(info)
    }

    /// Keeps the sorted list up to date, if there is one: a look after each of many definitions
    /// must not sort everything each time. Pointers are copied if somebody still has the list.
    fn sort_in(&mut self, key: &BucketKey, info: Option<&Arc<BucketInfo>>) {
        let Some(sorted) = &mut self.sorted else {
            return;
        };
        let list = Arc::make_mut(sorted);
        match (list.binary_search_by(|i| i.key.cmp(key)), info) {
            (Ok(at), Some(info)) => list[at] = info.clone(),
            (Ok(at), None) => drop(list.remove(at)),
            (Err(at), Some(info)) => list.insert(at, info.clone()),
            (Err(_), None) => {}
        }
    }

    pub(crate) fn origin(&self, name: &str) -> Option<Origin> {
        let index = self.origins.iter().position(|n| n == name)?;
        u16::try_from(index + 1).ok().map(Origin)
    }

    pub(crate) fn origin_name(&self, origin: Origin) -> Option<&str> {
        let index = usize::from(origin.0).checked_sub(1)?;
        self.origins.get(index).map(String::as_str)
    }

    pub(crate) fn origin_names(&self) -> impl Iterator<Item = (Origin, &str)> {
        (1..)
            .map(Origin)
            .zip(self.origins.iter().map(String::as_str))
    }

    pub(crate) fn origins(&self) -> usize {
        self.origins.len()
    }

    /// Origins are numbered in the order of their frames; one seen before changes nothing.
    pub(crate) fn define_origin(&mut self, origin: Origin, name: &str) {
        if usize::from(origin.0) == self.origins.len() + 1 {
            self.origins.push(name.to_owned());
        }
    }

    /// The name of the file that holds the catalog as it was at `lsn`.
    pub(crate) fn file_name(lsn: Lsn) -> String {
        format!("catalog.{:016x}", lsn.0)
    }

    /// The bytes of the catalog file. `pasts` are of buckets that are there.
    pub(crate) fn encode(&self, lsn: Lsn, pasts: &Pasts) -> Vec<u8> {
        let mut target = MAGIC.to_vec();
        target.extend_from_slice(&VERSION.to_le_bytes());
        target.extend_from_slice(&self.next_bucket.to_le_bytes());
        target.extend_from_slice(&lsn.0.to_le_bytes());
        let mut buckets: Vec<_> = self.by_id.values().collect();
        buckets.sort_by_key(|info| info.id);
        let count = |len: usize| u32::try_from(len).expect("numbers of buckets are 32 bits");
        target.extend_from_slice(&count(buckets.len()).to_le_bytes());
        target.extend_from_slice(&count(self.origins.len()).to_le_bytes());
        for info in buckets {
            info.encode(&mut target);
        }
        for name in &self.origins {
            put_text(&mut target, name);
        }
        let mut pasts: Vec<_> = pasts.iter().collect();
        pasts.sort_by_key(|(id, _)| **id);
        target.extend_from_slice(&count(pasts.len()).to_le_bytes());
        for (id, past) in pasts {
            target.extend_from_slice(&id.0.to_le_bytes());
            target.extend_from_slice(&count(past.older.len()).to_le_bytes());
            target.extend_from_slice(&count(past.masks.len()).to_le_bytes());
            past.encode(&mut target);
        }
        seal(target)
    }

    /// Inverse of [`Catalog::encode`].
    pub(crate) fn decode(file: &str, bytes: &[u8], lsn: Lsn) -> Result<Saved, Error> {
        let mut fields = Fields::new(bytes);
        check_start(file, &mut fields, MAGIC, VERSION)?;
        let Some(body) = unseal(bytes) else {
            return Err(Error::corrupt(file, 0, "the catalog fails its checksum"));
        };
        let mut fields = Fields::new(body);
        Self::decode_body(&mut fields, lsn)
            .filter(|_| fields.is_empty())
            .ok_or_else(|| Error::corrupt(file, fields.position(), "not a catalog entry"))
    }

    fn decode_body(fields: &mut Fields<'_>, lsn: Lsn) -> Option<(Self, Pasts)> {
        fields.take(12)?;
        let next_bucket = fields.u32()?;
        if fields.u64()? != lsn.0 {
            return None;
        }
        let (buckets, origins) = (fields.u32()?, fields.u32()?);
        let mut catalog = Self::new();
        for _ in 0..buckets {
            catalog.define(BucketInfo::decode(fields)?)?;
        }
        for _ in 0..origins {
            catalog.origins.push(fields.text()?.to_owned());
        }
        catalog.next_bucket = catalog.next_bucket.max(next_bucket);
        let mut pasts = Pasts::new();
        for _ in 0..fields.u32()? {
            let info = catalog.by_id(BucketId(fields.u32()?))?;
            let past = Past::decode(fields, info)?;
            pasts.insert(info.id, past);
        }
        Some((catalog, pasts))
    }
}

impl Past {
    fn encode(&self, target: &mut Vec<u8>) {
        for older in &self.older {
            target.extend_from_slice(&older.until.0.to_le_bytes());
            older.info.encode(target);
        }
        for mask in &self.masks {
            target.extend_from_slice(&mask.from.to_le_bytes());
            target.extend_from_slice(&mask.to.to_le_bytes());
            target.extend_from_slice(&mask.lsn.0.to_le_bytes());
        }
    }

    /// The past of `info`: older versions of the same bucket, ascending.
    fn decode(fields: &mut Fields<'_>, info: &BucketInfo) -> Option<Self> {
        let (versions, masks) = (fields.u32()?, fields.u32()?);
        let mut past = Self::default();
        for _ in 0..versions {
            let until = Lsn(fields.u64()?);
            let older = Arc::new(BucketInfo::decode(fields)?);
            let before = past.older.last().map_or(0, |o| o.info.schema_version);
            if older.id != info.id
                || !(before + 1..info.schema_version).contains(&older.schema_version)
            {
                return None;
            }
            past.older.push(Older { info: older, until });
        }
        for _ in 0..masks {
            let (from, to, lsn) = (fields.i64()?, fields.i64()?, Lsn(fields.u64()?));
            if from > to {
                return None;
            }
            past.masks.push(Mask { from, to, lsn });
        }
        Some(past)
    }
}

/// Checks magic and version at the start of a file; a newer major version is refused by name.
pub(crate) fn check_start(
    file: &str,
    fields: &mut Fields<'_>,
    magic: &[u8; 8],
    version: u32,
) -> Result<(), Error> {
    if fields.take(8) != Some(magic) {
        return Err(Error::corrupt(file, 0, "not a file of this kind"));
    }
    match fields.u32() {
        Some(found) if found >> 16 == version >> 16 => Ok(()),
        Some(found) if found >> 16 > version >> 16 => Err(Error::corrupt(
            file,
            8,
            format!(
                "format version {} is newer than {}, the newest this mkts reads",
                found >> 16,
                version >> 16
            ),
        )),
        _ => Err(Error::corrupt(file, 8, "no known format version")),
    }
}
