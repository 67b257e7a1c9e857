//! Replies as bytes: columns go to the connection as they are, around them what protobuf says of them.
//!
//! A generated message would be encoded into one buffer, with a copy of every column. Field numbers are
//! those of the .proto files; a test decodes what is written here.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use client::wire::ColumnData;
use client_proto::mkts::v1::QueryPart;
use client_proto::proto::{MultiQueryResponse, NumpyDataset, NumpyMultiDataset};
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use crate::room::Held;

/// `MultiQueryResponse.responses`, `QueryResponse.result`, `NumpyMultiDataset.data`.
const RESPONSES: u32 = 1;
const RESULT: u32 = 1;
const DATA: u32 = 1;
/// `NumpyDataset.column_data`.
const COLUMN_DATA: u32 = 3;
/// `QueryPart.result`.
const PART_RESULT: u32 = 2;

/// Flag and length before each message.
const HEAD_BYTES: usize = 5;

/// Pieces below are joined: each piece becomes a frame of HTTP/2.
const JOINED_BYTES: usize = 4 << 10;

/// The result of one query.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Without its columns.
    pub(super) data: NumpyDataset,
    pub(super) columns: Vec<ColumnData>,
    /// Without its data.
    pub(super) slices: NumpyMultiDataset,
}

fn field_len(tag: u32, bytes: usize) -> usize {
    key_len(tag) + encoded_len_varint(bytes as u64) + bytes
}

impl Rows {
    fn data_len(&self) -> usize {
        let columns = self.columns.iter().map(|c| field_len(COLUMN_DATA, c.len()));
        self.data.encoded_len() + columns.sum::<usize>()
    }

    /// Bytes of the whole `NumpyMultiDataset`.
    fn len(&self) -> usize {
        field_len(DATA, self.data_len()) + self.slices.encoded_len()
    }

    fn write(self, out: &mut Encoded) {
        out.field(DATA, self.data_len());
        out.message(&self.data);
        for column in self.columns {
            out.field(COLUMN_DATA, column.len());
            column.into_chunks().into_iter().for_each(|c| out.push(c));
        }
        out.message(&self.slices);
    }
}

/// A message in pieces.
#[derive(Debug)]
pub(super) struct Encoded {
    pieces: Vec<Bytes>,
    small: Vec<u8>,
}

impl Encoded {
    /// A reply to `Query`. `last` has no responses.
    pub(super) fn reply(
        responses: Vec<Rows>,
        last: &MultiQueryResponse,
        most: usize,
    ) -> Result<Self, Status> {
        let inner = |rows: &Rows| field_len(RESULT, rows.len());
        let lengths = responses
            .iter()
            .map(|rows| field_len(RESPONSES, inner(rows)));
        let mut out = Self::start(lengths.sum::<usize>() + last.encoded_len(), most)?;
        for rows in responses {
            out.field(RESPONSES, inner(&rows));
            out.field(RESULT, rows.len());
            rows.write(&mut out);
        }
        out.message(last);
        Ok(out)
    }

    /// A part of the reply to `QueryStream`.
    pub(super) fn part(request: u32, rows: Rows, most: usize) -> Result<Self, Status> {
        let head = QueryPart {
            request,
            result: None,
        };
        let bytes = head.encoded_len() + field_len(PART_RESULT, rows.len());
        let mut out = Self::start(bytes, most)?;
        out.message(&head);
        out.field(PART_RESULT, rows.len());
        rows.write(&mut out);
        Ok(out)
    }

    fn start(bytes: usize, most: usize) -> Result<Self, Status> {
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= most);
        let Some(length) = length else {
            return Err(Status::out_of_range(format!(
                "the reply has {bytes} bytes, over the limit of {} (grpc_max_send_msg_size); ask for \
                 fewer rows, or with mkts.v1.Bulk/QueryStream",
                most.min(u32::MAX as usize)
            )));
        };
        let mut small = Vec::with_capacity(JOINED_BYTES);
        small.push(0);
        small.extend(length.to_be_bytes());
        debug_assert_eq!(small.len(), HEAD_BYTES);
        Ok(Self {
            pieces: Vec::new(),
            small,
        })
    }

    fn field(&mut self, tag: u32, bytes: usize) {
        encode_key(tag, WireType::LengthDelimited, &mut self.small);
        encode_varint(bytes as u64, &mut self.small);
    }

    fn message(&mut self, message: &impl Message) {
        message
            .encode(&mut self.small)
            .expect("a Vec grows with what is written");
    }

    fn push(&mut self, bytes: Bytes) {
        if bytes.len() < JOINED_BYTES {
            self.small.extend_from_slice(&bytes);
            return;
        }
        self.flush();
        self.pieces.push(bytes);
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).into());
        }
    }

    /// The pieces; the connection takes them long before it can write them, so it is the last of them
    /// that holds the room of the message.
    fn finish(mut self, held: Held) -> std::vec::IntoIter<Bytes> {
        self.flush();
        if let Some(last) = self.pieces.pop() {
            self.pieces.push(held.with(last));
        }
        self.pieces.into_iter()
    }
}

/// What comes of a stream.
pub(super) enum Step {
    Message(Encoded, Held),
    Failed(Status),
    /// All is said. A maker that goes away without saying so gave up.
    End,
}

/// The body of a reply: messages, then how it went.
pub(super) struct Messages {
    pieces: std::vec::IntoIter<Bytes>,
    /// Further messages.
    more: Option<mpsc::Receiver<Step>>,
    over: bool,
}

impl Messages {
    /// A reply of one message.
    pub(super) fn one(message: Encoded, held: Held) -> hyper::Response<Body> {
        Self::response(message.finish(held), None)
    }

    /// A reply of as many as come.
    pub(super) fn many(more: mpsc::Receiver<Step>) -> hyper::Response<Body> {
        Self::response(Vec::new().into_iter(), Some(more))
    }

    fn response(
        pieces: std::vec::IntoIter<Bytes>,
        more: Option<mpsc::Receiver<Step>>,
    ) -> hyper::Response<Body> {
        let over = false;
        let mut response = hyper::Response::new(Body::new(Self { pieces, more, over }));
        let kind = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.over = true;
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            if let Some(piece) = self.pieces.next() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let step = match &mut self.more {
                None => Some(Step::End),
                Some(more) => std::task::ready!(more.poll_recv(cx)),
            };
            match step {
                Some(Step::Message(message, held)) => self.pieces = message.finish(held),
                Some(Step::Failed(status)) => return self.end(&status),
                Some(Step::End) => return self.end(&Status::new(tonic::Code::Ok, "")),
                None => return self.end(&given_up()),
            }
        }
    }
}

/// Nobody else ends a stream without a word.
fn given_up() -> Status {
    Status::deadline_exceeded(
        "the reply was given up: its reader took nothing for too long (limits.call_time)",
    )
}

#[cfg(test)]
mod tests {
    use client_proto::proto::QueryResponse;

    use super::*;

    /// Two columns, one in several pieces, and slices.
    fn rows() -> (Rows, NumpyMultiDataset) {
        let long = Bytes::from(vec![7; 3 * JOINED_BYTES]);
        let short = Bytes::from_static(b"12345678");
        let mut pieces = ColumnData::default();
        for piece in [&short, &long, &short] {
            pieces.push(piece);
        }
        let mut one = ColumnData::default();
        one.push(&short);
        let data = NumpyDataset {
            column_types: vec!["i8".into(), "i1".into()],
            column_names: vec!["Epoch".into(), "A".into()],
            length: 5,
            ..NumpyDataset::default()
        };
        let slices = NumpyMultiDataset {
            data: None,
            start_index: [("A".to_owned(), 3)].into(),
            lengths: [("A".to_owned(), 2)].into(),
        };
        let column_data = vec![[&short[..], &long, &short].concat().into(), short];
        let wanted = NumpyMultiDataset {
            data: Some(NumpyDataset {
                column_data,
                ..data.clone()
            }),
            ..slices.clone()
        };
        let rows = Rows {
            data,
            columns: vec![pieces, one],
            slices,
        };
        (rows, wanted)
    }

    fn message(encoded: Encoded) -> Vec<u8> {
        let all: Vec<Bytes> = encoded.finish(Held::default()).collect();
        let all = all.concat();
        let length = u32::from_be_bytes(all[1..HEAD_BYTES].try_into().unwrap());
        assert_eq!((all[0], length as usize), (0, all.len() - HEAD_BYTES));
        all[HEAD_BYTES..].to_vec()
    }

    #[test]
    fn what_is_written_is_what_the_generated_code_reads() {
        let last = MultiQueryResponse {
            version: "v".into(),
            timezone: "UTC".into(),
            responses: Vec::new(),
        };
        let (first, one) = rows();
        let (second, two) = rows();
        let written = Encoded::reply(vec![first, second], &last, usize::MAX).unwrap();
        let read = MultiQueryResponse::decode(&message(written)[..]).unwrap();
        let response = |rows| QueryResponse { result: Some(rows) };
        let wanted = MultiQueryResponse {
            responses: vec![response(one), response(two)],
            ..last
        };
        assert_eq!(read, wanted);
        let (part, wanted) = rows();
        let written = Encoded::part(3, part, usize::MAX).unwrap();
        let read = QueryPart::decode(&message(written)[..]).unwrap();
        assert_eq!((read.request, read.result), (3, Some(wanted)));
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        let refused = Encoded::part(0, rows().0, 100).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::OutOfRange);
        assert!(refused.message().contains("grpc_max_send_msg_size"));
    }
}
