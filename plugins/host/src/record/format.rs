//! The bytes of a recording: `MKTSREC1`, then frames of u32 length, u32 CRC-32 and a `ToChild` message
//! with a schema or a fire, as a child would get them. A schema comes before the rows that have it.

use model::{BucketKey, ColumnBatch, RowKind};
use plugin_proto::v1::to_child::Message;
use plugin_proto::{MESSAGE_BYTES_MAX, Received, Sent, v1};
use plugin_sdk::{Event, FireInfo};
use prost::Message as _;

use crate::message;

/// First bytes of a recording.
pub const MAGIC: &[u8; 8] = b"MKTSREC1";

const FRAME_HEAD_BYTES: usize = 8;

/// An event of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Position of its first commit.
    pub first_lsn: u64,
    /// Position of its last commit.
    pub last_lsn: u64,
    /// Wall clock when it fired (ns).
    pub now: i64,
    /// What it is.
    pub event: RecordedEvent,
}

/// What an event of a recording is.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordedEvent {
    /// New rows of one bucket.
    Write {
        /// Bucket.
        key: BucketKey,
        /// Its kind.
        kind: RowKind,
        /// The rows.
        rows: ColumnBatch,
    },
    /// Rows of a range may have changed.
    Gap {
        /// Bucket.
        key: BucketKey,
        /// First time (ns).
        from: i64,
        /// Last time (ns).
        to: i64,
    },
    /// The bucket was dropped.
    Deleted(BucketKey),
    /// A timer was due.
    Timer {
        /// Its key.
        key: Vec<u8>,
        /// When it was due (ns).
        due: i64,
        /// Its payload.
        payload: Vec<u8>,
    },
}

/// Why bytes are no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(String);

impl RecordError {
    fn at(place: usize, why: impl std::fmt::Display) -> Self {
        Self(format!("byte {place}: {why}"))
    }
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    sent: Sent,
    events: u64,
}

impl Writer {
    /// An empty recording.
    pub fn new() -> Self {
        Self {
            out: MAGIC.to_vec(),
            sent: Sent::default(),
            events: 0,
        }
    }

    /// Adds an event.
    pub fn add(&mut self, info: &FireInfo, event: &Event<'_>) {
        self.events += 1;
        let mut new = None;
        let sent = &mut self.sent;
        let mut fire = message::fire(info, event, |kind, schema| {
            let (id, schema) = sent.id(kind, schema);
            new = schema;
            id
        });
        (fire.seq, fire.attempt) = (self.events, 1);
        if let Some(schema) = new {
            self.frame(Message::Schema(schema));
        }
        self.frame(Message::Fire(fire));
    }

    fn frame(&mut self, message: Message) {
        let message = v1::ToChild {
            message: Some(message),
        };
        let bytes = message.encode_to_vec();
        let length = u32::try_from(bytes.len()).expect("a window has 4 MiB of rows");
        self.out.extend(length.to_le_bytes());
        self.out.extend(crc32fast::hash(&bytes).to_le_bytes());
        self.out.extend(bytes);
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The bytes so far: a whole recording at any time.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// The recording.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// The events of a recording.
///
/// # Errors
/// If the bytes are no recording, are damaged, or were cut off; the place is named.
pub fn read(bytes: &[u8]) -> Result<Vec<Recorded>, RecordError> {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        let why = "this is no recording: it does not begin with MKTSREC1";
        return Err(RecordError::at(0, why));
    };
    let mut received = Received::default();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let place = bytes.len() - rest.len();
        let wrong = |why: String| RecordError::at(place, why);
        let frame = frame(&mut rest).map_err(|why| wrong(why.into()))?;
        let message = v1::ToChild::decode(frame).map_err(|error| wrong(error.to_string()))?;
        match message.message {
            Some(Message::Schema(schema)) => {
                let added = received.add(&schema);
                added.map_err(|error| wrong(error.to_string()))?;
            }
            Some(Message::Fire(fire)) => events.push(event(fire, &received).map_err(wrong)?),
            _ => return Err(wrong("a frame is neither a schema nor an event".into())),
        }
    }
    Ok(events)
}

/// Takes a frame off the front.
fn frame<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], &'static str> {
    let cut = "the recording is cut off in a frame";
    let (head, behind) = rest.split_at_checked(FRAME_HEAD_BYTES).ok_or(cut)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = usize::try_from(number(0)).expect("usize has 32 bits or more");
    if length > MESSAGE_BYTES_MAX {
        return Err("a frame is longer than 64 MiB");
    }
    let (frame, behind) = behind.split_at_checked(length).ok_or(cut)?;
    if crc32fast::hash(frame) != number(4) {
        return Err("the checksum of a frame does not match");
    }
    *rest = behind;
    Ok(frame)
}

fn event(fire: v1::Fire, received: &Received) -> Result<Recorded, String> {
    let key = || BucketKey::parse(&fire.key).map_err(|error| error.to_string());
    let event = match fire.r#type {
        1 => {
            let rows = received.rows(fire.schema_id, &fire.rows);
            let (kind, rows) = rows.map_err(|error| error.to_string())?;
            RecordedEvent::Write {
                key: key()?,
                kind,
                rows,
            }
        }
        2 => RecordedEvent::Gap {
            key: key()?,
            from: fire.from_ns,
            to: fire.to_ns,
        },
        3 => RecordedEvent::Deleted(key()?),
        4 => RecordedEvent::Timer {
            key: fire.timer_key.to_vec(),
            due: fire.from_ns,
            payload: fire.payload.to_vec(),
        },
        other => return Err(format!("no event has number {other}")),
    };
    Ok(Recorded {
        first_lsn: fire.first_lsn,
        last_lsn: fire.last_lsn,
        now: fire.now_ns,
        event,
    })
}

impl Recorded {
    /// Adds the event to another recording; not if its bucket's timeframe is none.
    pub fn add_to(&self, writer: &mut Writer) -> bool {
        let info = FireInfo {
            first_lsn: self.first_lsn,
            last_lsn: self.last_lsn,
            attempt: 1,
            is_replay: false,
            now: self.now,
            deadline: i64::MAX,
        };
        let event = match &self.event {
            RecordedEvent::Write { key, kind, rows } => {
                let Ok(timeframe) = model::Timeframe::parse(key.timeframe()) else {
                    return false;
                };
                Event::Write(plugin_sdk::Batch {
                    key,
                    kind: *kind,
                    timeframe,
                    rows,
                })
            }
            RecordedEvent::Gap { key, from, to } => Event::Gap {
                key,
                from: *from,
                to: *to,
            },
            RecordedEvent::Deleted(key) => Event::Deleted(key),
            RecordedEvent::Timer { key, due, payload } => Event::Timer {
                key,
                due: *due,
                payload,
            },
        };
        writer.add(&info, &event);
        true
    }
}
