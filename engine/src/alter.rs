//! Columns are added, widened, renamed and dropped while the bucket is in use.

use std::sync::Arc;

use model::{BucketKey, ColumnDef, ColumnType, Schema};

use crate::{BucketInfo, Engine, Error, frame};

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
        key: &BucketKey,
        changes: &[SchemaChange],
    ) -> Result<Arc<BucketInfo>, Error> {
        self.check_open()?;
        self.wait_for_checkpoint()?;
        let store = self.store();
        let _one_at_a_time = store.dropping.lock();
        let _no_rows_are_queued = store.schemas.write();
        let found = self.bucket(key);
        let before = found.ok_or_else(|| Error::NotFound(key.clone()))?;
        let after = changed(&before, changes)?;
        self.commit_alone(frame::alter(&after, &before))?;
        self.bucket(key).ok_or_else(|| Error::NotFound(key.clone()))
    }
}

/// The next version of a bucket.
fn changed(before: &BucketInfo, changes: &[SchemaChange]) -> Result<BucketInfo, Error> {
    let invalid = |what: String| Error::Invalid(format!("bucket {}: {what}", before.key));
    if changes.is_empty() {
        return Err(invalid("no change of a column is given".to_owned()));
    }
    let columns = before.schema.columns().iter().enumerate();
    let columns = columns.map(|(index, def)| NextColumn {
        def: def.clone(),
        id: before.column_ids[index],
        first: before.first_types[index],
    });
    let mut next = Next {
        columns: columns.collect(),
        next_column: before.next_column,
    };
    for change in changes {
        next.apply(change).map_err(invalid)?;
    }
    let version = before.schema_version.checked_add(1);
    let defs = next.columns.iter().map(|column| column.def.clone());
    Ok(BucketInfo {
        schema_version: version.ok_or_else(|| invalid("all versions are used up".to_owned()))?,
        schema: Schema::new(defs.collect()).map_err(|error| invalid(error.to_string()))?,
        column_ids: next.columns.iter().map(|column| column.id).collect(),
        first_types: next.columns.iter().map(|column| column.first).collect(),
        next_column: next.next_column,
        ..before.clone()
    })
}

/// The columns of a version to be.
struct Next {
    columns: Vec<NextColumn>,
    next_column: u16,
}

struct NextColumn {
    def: ColumnDef,
    id: u16,
    first: ColumnType,
}

impl Next {
    fn apply(&mut self, change: &SchemaChange) -> Result<(), String> {
        match change {
            SchemaChange::Add(def) => {
                self.check_free(&def.name)?;
                self.columns.push(NextColumn {
                    def: def.clone(),
                    id: self.next_column,
                    first: def.ty,
                });
                let next = self.next_column.checked_add(1);
                self.next_column = next.ok_or("all 65535 column numbers are used up")?;
            }
            SchemaChange::Widen { column, ty } => {
                let def = self.find(column)?;
                if !def.ty.widens_to(*ty) {
                    let (from, to) = (def.ty.name(), ty.name());
                    return Err(format!(
                        "column \"{column}\" cannot go from {from} to {to}, which does not hold every value of it"
                    ));
                }
                def.ty = *ty;
            }
            SchemaChange::Rename { from, to } => {
                self.find(from)?;
                self.check_free(to)?;
                to.clone_into(&mut self.find(from)?.name);
            }
            SchemaChange::Drop { column } => {
                self.find(column)?;
                if self.columns.len() == 1 {
                    return Err(format!(
                        "column \"{column}\" is the last one; drop the bucket instead"
                    ));
                }
                self.columns.retain(|next| next.def.name != *column);
            }
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> Result<&mut ColumnDef, String> {
        let mut defs = self.columns.iter_mut().map(|next| &mut next.def);
        let found = defs.find(|def| def.name == name);
        found.ok_or_else(|| format!("there is no column \"{name}\""))
    }

    fn check_free(&mut self, name: &str) -> Result<(), String> {
        match self.find(name) {
            Ok(_) => Err(format!("there is a column \"{name}\" already")),
            Err(_) => Ok(()),
        }
    }
}
