//! Dead letters fire once more, between two windows of their instance.

use std::sync::Arc;

use engine::{BucketId, BucketInfo, Lsn};
use model::{ColumnDef, ColumnType, RowKind, Schema, Timeframe};

use super::{EventOf, Letter, LetterId, Order};
use crate::calls::Effects;
use crate::commit::Committed;
use crate::dispatch::Dispatcher;
use crate::fire::Fired;
use crate::run::End;
use crate::timers::{DueTimer, Timer};
use crate::window::{Lane, Pending, What};

/// Hops of what a replayed letter writes: those of the commit it came from are forgotten.
const HOPS: u8 = 1;

impl Dispatcher {
    /// Does what an operator asked for.
    pub(crate) fn obey(&mut self) -> Result<(), End> {
        let orders = std::mem::take(&mut *self.orders.lock());
        for order in orders {
            match order {
                Order::Drop(gone) => {
                    let mut effects = Effects::new();
                    effects.letters_gone = gone;
                    self.commit_letters(effects)?;
                }
                Order::Replay(id, letter) => self.replay(id, letter)?,
                Order::Swap(swap) => self.swap(&swap),
                Order::Backfill => self.begin_backfill()?,
            }
        }
        Ok(())
    }

    /// Each letter is a window of its own: one that fails leaves the others alone.
    fn replay(&mut self, id: LetterId, letter: Letter) -> Result<(), End> {
        let what = match self.event_of(letter.event, letter.key.as_ref()) {
            Ok(what) => what,
            Err(why) => {
                tracing::error!(instance = &*self.id, "{why}; dead letter {id} stays");
                return Ok(());
            }
        };
        let event = Pending {
            what,
            first: Lsn(letter.first),
            last: Lsn(letter.last),
            letter: Some(id),
            is_stored: false,
        };
        let lane = Lane {
            events: [event].into(),
            ..Lane::default()
        };
        match self.fire_lanes(vec![lane], false)? {
            Fired::Done(effects) => self.commit_letters(effects),
            // A letter that is left stays.
            Fired::TooLarge | Fired::Overflow => Ok(()),
        }
    }

    fn commit_letters(&mut self, effects: Effects) -> Result<(), End> {
        if effects.is_idle() {
            return Ok(());
        }
        match self.commit_window(effects, self.cursor, HOPS)? {
            Committed::Yes => Ok(()),
            Committed::Refused(why) => {
                tracing::error!(instance = &*self.id, "{why}; the dead letters stay");
                Ok(())
            }
        }
    }

    fn event_of(&self, event: EventOf, key: Option<&model::BucketKey>) -> Result<What, String> {
        if let EventOf::Timer { due, key, payload } = event {
            let timer = Timer {
                due,
                lane: bytes::Bytes::new(),
                payload,
            };
            return Ok(What::Timer(DueTimer { key, timer }));
        }
        if let (EventOf::Deleted, Some(key)) = (&event, key) {
            let bucket = gone_bucket(key).ok_or_else(|| "its key is none".to_owned());
            return bucket.map(What::Deleted);
        }
        let bucket = key.and_then(|key| self.engine.bucket(key));
        let bucket = bucket.ok_or_else(|| "its bucket is gone".to_owned())?;
        match event {
            EventOf::Write(_, rows) => Ok(What::Write(bucket, vec![rows])),
            EventOf::Gap(from, to) => Ok(What::Gap(bucket, from, to)),
            EventOf::Large { from, to, .. } if self.policy.accepts_gap => {
                Ok(What::Gap(bucket, from, to))
            }
            EventOf::Large { from, to, .. } => Err(format!(
                "its rows were too many to keep and the plugin cannot read {from}..={to} again"
            )),
            EventOf::Deleted | EventOf::Timer { .. } => unreachable!("seen to above"),
        }
    }
}

/// A bucket that was dropped: only its key is known.
pub(crate) fn gone_bucket(key: &model::BucketKey) -> Option<Arc<BucketInfo>> {
    let timeframe = Timeframe::parse(key.timeframe()).ok()?;
    let schema = Schema::new(vec![ColumnDef::new("-", ColumnType::I64)]).ok()?;
    let bucket = BucketInfo::new(
        BucketId(u32::MAX),
        key.clone(),
        timeframe,
        RowKind::Bar,
        schema,
    );
    Some(Arc::new(bucket))
}
