//! Columns are added, widened, renamed and dropped while the bucket is in use.

use std::sync::Arc;

use model::{BucketKey, ColumnDef, ColumnType};

use crate::{BucketInfo, Engine, Error};

/// One change of a bucket's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaChange {
    /// A new column, behind the others. Older rows have NaN, zero or empty text there.
    Add(ColumnDef),
    /// A type that holds every value of the present one ([`ColumnType::widens_to`]).
    Widen {
        /// The column.
        column: String,
        /// Its new type.
        ty: ColumnType,
    },
    /// Another name.
    Rename {
        /// Present name.
        from: String,
        /// New name.
        to: String,
    },
    /// The column and its values are gone.
    Drop {
        /// The column.
        column: String,
    },
}

impl Engine {
    /// Makes the changes in order, as one new version of the schema; durable when this returns.
    /// Rows stay where they are and are mapped when they are read.
    ///
    /// # Errors
    /// `Error::NotFound`; `Error::Invalid` for a change that is not allowed, which is named; or as
    /// [`Engine::write`].
    pub fn alter(
        &self,
        _key: &BucketKey,
        _changes: &[SchemaChange],
    ) -> Result<Arc<BucketInfo>, Error> {
        Err(Error::Invalid("alter: not yet".to_owned()))
    }
}
