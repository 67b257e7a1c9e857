//! The JSON-RPC envelope, the same for both codecs.

use bytes::Bytes;

use super::json;
use super::msgpack::{Reader, Writer};
use super::reply::Body;
use super::request::{Request, read_struct};

/// Code of a body that cannot be read.
pub const PARSE_ERROR: i64 = -32700;

/// Code of a wrong envelope and of parameters that cannot be read.
pub const REQUEST_ERROR: i64 = -32600;

/// Code of every error a method answers, and of unknown methods.
pub const SERVER_ERROR: i64 = -32000;

/// The two codecs of the RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `application/x-msgpack`
    MsgPack,
    /// `application/json`
    Json,
}

impl Codec {
    /// The codec of a request's content type. As in the reference the header is cut at the first
    /// `;`, put to lower case and not trimmed.
    pub fn of_content_type(header: &str) -> Option<Self> {
        let media = header.split(';').next().unwrap_or("");
        match media.to_ascii_lowercase().as_str() {
            "application/x-msgpack" => Some(Self::MsgPack),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The content type of a reply.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::MsgPack => "application/x-msgpack",
            Self::Json => "application/json; charset=utf-8",
        }
    }
}

/// The error object of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// One of [`PARSE_ERROR`], [`REQUEST_ERROR`], [`SERVER_ERROR`].
    pub code: i64,
    /// One line.
    pub message: String,
    /// What was not understood, as MessagePack; empty is nil.
    pub data: Bytes,
}

/// Longest piece of a request that an error echoes in `data`.
const DATA_BYTES_MAX: usize = 4096;

impl RpcError {
    /// An error of a method.
    pub fn server(message: impl Into<String>) -> Self {
        Self {
            code: SERVER_ERROR,
            message: message.into(),
            data: Bytes::new(),
        }
    }

    /// An error of the request, with the part that was not understood.
    pub(crate) fn request(message: impl Into<String>, data: Bytes) -> Self {
        let fits = data.len() <= DATA_BYTES_MAX;
        Self {
            code: REQUEST_ERROR,
            message: message.into(),
            data: if fits { data } else { Bytes::new() },
        }
    }

    fn parse(message: impl Into<String>) -> Self {
        Self {
            code: PARSE_ERROR,
            message: message.into(),
            data: Bytes::new(),
        }
    }

    /// The reply that carries the error.
    pub fn encode(&self, codec: Codec, id: &Bytes) -> Body {
        let mut writer = Writer::default();
        writer.map(3);
        writer.text("jsonrpc");
        writer.text("2.0");
        writer.text("error");
        writer.map(3);
        writer.text("code");
        writer.int(self.code);
        writer.text("message");
        writer.text(&self.message);
        writer.text("data");
        raw(&mut writer, &self.data);
        writer.text("id");
        raw(&mut writer, id);
        let bytes = Bytes::from(writer.out);
        match codec {
            Codec::MsgPack => Body::new(vec![bytes]),
            Codec::Json => Body::new(vec![json::reply(&bytes, false)]),
        }
    }
}

/// A value that was read as it is; nothing is nil.
pub(crate) fn raw(writer: &mut Writer, value: &Bytes) {
    if value.is_empty() {
        writer.nil();
    } else {
        writer.out.extend_from_slice(value);
    }
}

/// One call: a checked envelope around parameters that are still bytes.
#[derive(Debug, Clone)]
pub struct Call {
    /// The caller's id as MessagePack; empty is nil.
    pub id: Bytes,
    /// `DataService.Query`
    pub method: String,
    /// Parameters as MessagePack, whole and not nested too deeply; empty if absent.
    pub params: Bytes,
}

impl Call {
    /// Reads a body.
    ///
    /// # Errors
    /// [`PARSE_ERROR`] with an empty id if the body is no map; [`REQUEST_ERROR`] if its version or
    /// method is wrong.
    pub fn decode(codec: Codec, body: &Bytes) -> Result<Self, (Bytes, RpcError)> {
        let parse = |what: String| (Bytes::new(), RpcError::parse(what));
        let transcribed;
        let body = match codec {
            Codec::MsgPack => body,
            Codec::Json => {
                transcribed = json::to_msgpack(body).map_err(parse)?;
                &transcribed
            }
        };
        let mut reader = Reader::new(body);
        if !reader.is_map() {
            return Err(parse("the body is not a map".into()));
        }
        reader
            .clone()
            .skip()
            .map_err(|e| parse(format!("the body cannot be read: {e}")))?;
        let mut parts = [const { Bytes::new() }; 4];
        read_struct(
            &mut reader,
            &["jsonrpc", "method", "params", "id"],
            |at, reader| {
                parts[at] = reader.raw()?;
                Ok(())
            },
        )
        .map_err(|e| parse(format!("the body cannot be read: {e}")))?;
        let [version, method, params, id] = parts;
        let text = |part: &Bytes| Reader::new(part).text().map(str::to_owned);
        if text(&version).as_deref() != Ok("2.0") {
            let data = request_map(&version, &method, &params, &id);
            return Err((id, RpcError::request("jsonrpc must be 2.0", data)));
        }
        let method = match method.is_empty() {
            true => String::new(),
            false => text(&method).map_err(|e| {
                let error = RpcError::request(format!("method: {e}"), method.clone());
                (id.clone(), error)
            })?,
        };
        Ok(Self { id, method, params })
    }

    /// Reads the parameters of the method; at most `requests_max` requests.
    ///
    /// # Errors
    /// [`SERVER_ERROR`] if there is no such method, [`REQUEST_ERROR`] if the parameters are not its
    /// own.
    pub fn request(&self, requests_max: usize) -> Result<Request, RpcError> {
        let shown: String = self.method.chars().take(80).collect();
        let name = match self.method.split_once('.') {
            Some((_, name)) if name.contains('.') => None,
            other => other,
        };
        match name {
            None => Err(RpcError::server(format!(
                "rpc: service/method request ill-formed: {shown:?}"
            ))),
            Some(("DataService", name)) => {
                match Request::decode(name, &self.params, requests_max) {
                    None => Err(RpcError::server(format!(
                        "rpc: can't find method {shown:?}"
                    ))),
                    Some(Err(e)) => Err(RpcError::request(e.to_string(), self.params.clone())),
                    Some(Ok(request)) => Ok(request),
                }
            }
            Some(_) => Err(RpcError::server(format!(
                "rpc: can't find service {shown:?}"
            ))),
        }
    }
}

/// The request as it was understood, for the error about its version.
fn request_map(version: &Bytes, method: &Bytes, params: &Bytes, id: &Bytes) -> Bytes {
    let mut writer = Writer::default();
    writer.map(4);
    for (name, value, absent) in [
        ("jsonrpc", version, true),
        ("method", method, true),
        ("params", params, false),
        ("id", id, false),
    ] {
        writer.text(name);
        if value.is_empty() && absent {
            writer.text("");
        } else {
            raw(&mut writer, value);
        }
    }
    writer.out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(value: rmpv::Value) -> Result<Call, (Bytes, RpcError)> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        Call::decode(Codec::MsgPack, &bytes.into())
    }

    fn map(entries: &[(&str, rmpv::Value)]) -> rmpv::Value {
        let entries = entries.iter().map(|(k, v)| ((*k).into(), v.clone()));
        rmpv::Value::Map(entries.collect())
    }

    #[test]
    fn bodies_that_are_no_map_are_parse_errors() {
        for bad in [
            &b""[..],
            b"\xc1",
            b"\x93\x01\x02\x03",
            b"\x81\xa6meth",
            b"\xc0",
            b"{}",
        ] {
            let error = Call::decode(Codec::MsgPack, &Bytes::from_static(bad)).unwrap_err();
            assert_eq!((error.0.len(), error.1.code), (0, PARSE_ERROR), "{bad:?}");
        }
        for bad in [
            &b""[..],
            b"{",
            b"[1]",
            b"{\"a\":}",
            b"\xff",
            b"{\"\xff\":1}",
        ] {
            let error = Call::decode(Codec::Json, &Bytes::from_static(bad)).unwrap_err();
            assert_eq!((error.0.len(), error.1.code), (0, PARSE_ERROR), "{bad:?}");
        }
    }

    #[test]
    fn the_version_is_checked_and_the_id_kept() {
        let good = [
            ("jsonrpc", "2.0".into()),
            ("method", "DataService.X".into()),
            ("id", 7.into()),
        ];
        assert_eq!(&call(map(&good)).unwrap().id[..], [7]);
        for version in [rmpv::Value::from("1.0"), 2.into(), rmpv::Value::Nil] {
            let bad = [("jsonrpc", version), good[1].clone(), good[2].clone()];
            let (id, error) = call(map(&bad)).unwrap_err();
            assert_eq!((&id[..], error.code), (&[7][..], REQUEST_ERROR));
            assert!(!error.data.is_empty());
        }
        let nil = [good[0].clone(), good[1].clone(), ("id", rmpv::Value::Nil)];
        assert!(call(map(&nil)).unwrap().id.is_empty());
    }

    #[test]
    fn method_names_are_exact() {
        for (method, text) in [
            ("", "rpc: service/method request ill-formed: \"\""),
            ("Query", "rpc: service/method request ill-formed: \"Query\""),
            ("a.b.c", "rpc: service/method request ill-formed: \"a.b.c\""),
            ("Nope.Query", "rpc: can't find service \"Nope.Query\""),
            (
                "DataService.Nope",
                "rpc: can't find method \"DataService.Nope\"",
            ),
            (
                "DataService.query",
                "rpc: can't find method \"DataService.query\"",
            ),
        ] {
            let good = [("jsonrpc", "2.0".into()), ("method", method.into())];
            let error = call(map(&good)).unwrap().request(9).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (SERVER_ERROR, text));
        }
    }

    #[test]
    fn content_types_are_those_of_the_reference() {
        for (header, codec) in [
            ("application/x-msgpack", Some(Codec::MsgPack)),
            ("Application/X-MsgPack; charset=utf-8", Some(Codec::MsgPack)),
            ("application/json;charset=UTF-8", Some(Codec::Json)),
            ("application/msgpack", None),
            ("application/json ;x", None),
            ("", None),
        ] {
            assert_eq!(Codec::of_content_type(header), codec, "{header}");
        }
    }
}
