//! An event as the message that a child, or a recording, has of it.

use model::{RowKind, Schema};
use plugin_proto::{encode_rows, v1};
use plugin_sdk::{Event, FireInfo};

/// Event and place; number, attempt, epoch and deadline are the sender's. `schema_id` gives the number
/// of a schema, and sends what the reader does not know.
pub(crate) fn fire(
    info: &FireInfo,
    event: &Event<'_>,
    schema_id: impl FnOnce(RowKind, &Schema) -> u32,
) -> v1::Fire {
    let mut fire = v1::Fire {
        first_lsn: info.first_lsn,
        last_lsn: info.last_lsn,
        now_ns: info.now,
        ..v1::Fire::default()
    };
    match event {
        Event::Write(batch) => {
            fire.r#type = 1;
            batch.key.as_str().clone_into(&mut fire.key);
            fire.schema_id = schema_id(batch.kind, batch.rows.schema());
            fire.rows = encode_rows(batch.rows);
        }
        Event::Gap { key, from, to } => {
            fire.r#type = 2;
            key.as_str().clone_into(&mut fire.key);
            (fire.from_ns, fire.to_ns) = (*from, *to);
        }
        Event::Deleted(key) => {
            fire.r#type = 3;
            key.as_str().clone_into(&mut fire.key);
        }
        Event::Timer { key, due, payload } => {
            fire.r#type = 4;
            fire.from_ns = *due;
            fire.timer_key = key.to_vec().into();
            fire.payload = payload.to_vec().into();
        }
    }
    fire
}
