"""What is sent again and what is not, and which error says what."""

import http.client
import json
import select
import socket
import ssl
import threading

import numpy as np
import pyarrow as pa
import pytest

from conftest import hang_up
from mkts.client import (
    Client,
    ConnectionFailed,
    Denied,
    InvalidInput,
    LimitExceeded,
    MktsError,
    NotFound,
    SqlError,
    TimedOut,
    Unauthorized,
    Unsupported,
    WriteError,
    rpc,
    sql,
    transport,
)

ROW = {"Epoch": np.array(["2020-01-02"], "M8[ns]"), "Price": [1.0]}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(transport, "PAUSE", 0.0)


def packed(**answer):
    body = rpc.msgpack.packb({"jsonrpc": "2.0", "id": 1, **answer})
    return 200, body, "application/x-msgpack"


LISTED = packed(result={"Results": ["A"]})
STORED = packed(result={"responses": None})


def test_reads_are_tried_again(scripted):
    server = scripted(hang_up, (503, b"busy"), hang_up, LISTED)
    assert Client(server.url, retries=3).symbols() == ["A"]
    assert len(server.requests) == 4


def test_there_is_an_end_to_it(scripted):
    server = scripted(hang_up, hang_up)
    with pytest.raises(ConnectionFailed):
        Client(server.url, retries=1).symbols()
    assert len(server.requests) == 2


def test_writes_are_not_sent_twice(scripted):
    server = scripted(hang_up, STORED)
    with pytest.raises(WriteError, match="it may have been carried out all the same"):
        Client(server.url).write("A/1Sec/X", ROW, kind="tick")
    assert len(server.requests) == 1


def test_a_write_that_was_refused_for_room_is_tried_again(scripted):
    server = scripted((503, b"too many requests at once"), STORED)
    assert Client(server.url).write("A/1Sec/X", ROW, kind="tick").rows == 1
    assert len(server.requests) == 2


def test_a_statement_that_writes_is_not_sent_again_for_room(scripted):
    """It may have begun; one that reads is tried again, and in the end the server's word counts."""
    busy = described(503, kind="busy", message="too many statements")
    server = scripted(busy, busy, busy, busy)
    for statement, requests in (("DELETE FROM x", 1), ("SELECT 1", 4)):
        with pytest.raises(LimitExceeded, match="^too many statements$"):
            Client(server.url, retries=2).sql(statement)
        assert len(server.requests) == requests


def test_many_buckets_go_in_one_request(scripted):
    buckets = [{"key": "A/1Sec/X", "rows": 1, "error": None}, {"key": "B/1Sec/X", "rows": 0, "error": "no"}]
    server = scripted((200, json.dumps({"rows": 1, "buckets": buckets}).encode(), "application/json"))
    report = Client(server.url).write_many({"A/1Sec/X": ROW, "B/1Sec/X": ROW}, kind="tick", on_error="report")
    assert report.rows == 1 and report.errors == {"B/1Sec/X": "no"}
    _, path, body, headers = server.requests[0]
    assert path == "/write?kind=tick" and headers["content-type"] == "application/vnd.apache.arrow.stream"
    sent = pa.ipc.open_stream(body).read_all().to_pylist()
    assert [(row["symbol"], row["timeframe"], row["attribute_group"], row["Price"]) for row in sent] == [
        ("A", "1Sec", "X", 1.0),
        ("B", "1Sec", "X", 1.0),
    ]


def test_a_server_without_it_gets_a_call_for_each_bucket(scripted):
    server = scripted((404, b"404 page not found"), STORED, STORED, STORED, STORED)
    client = Client(server.url)
    for _ in range(2):
        assert client.write_many({"A/1Sec/X": ROW, "B/1Sec/X": ROW}, kind="tick").rows == 2
    assert [request[1] for request in server.requests] == ["/write?kind=tick", "/rpc", "/rpc", "/rpc", "/rpc"]


def test_a_refused_body_is_the_error_of_all_its_buckets(scripted):
    error = {"error": {"kind": "request", "message": "row 1: Price is no number"}}
    server = scripted((400, json.dumps(error).encode(), "application/json"))
    report = Client(server.url).write_many({"A/1Sec/X": ROW, "B/1Sec/X": ROW}, kind="tick", on_error="report")
    assert report.errors == dict.fromkeys(["A/1Sec/X", "B/1Sec/X"], "row 1: Price is no number")


def test_a_write_that_finds_nobody_is_tried_again(scripted, monkeypatch):
    """The connection could not be made, so nothing was sent."""
    server = scripted(STORED)
    client, failures = Client(server.url), [ConnectionRefusedError(), TimeoutError()]
    connect = transport.Transport._connect

    def refuse(self):
        if failures:
            raise failures.pop(0)
        return connect(self)

    monkeypatch.setattr(transport.Transport, "_connect", refuse)
    with pytest.raises(WriteError, match="no answer within"):
        client.write("A/1Sec/X", ROW, kind="tick")
    assert client.write("A/1Sec/X", ROW, kind="tick").rows == 1


def test_a_connection_that_the_server_closed_is_not_used(scripted):
    """Even a write is safe after the server has closed an idle connection."""

    def last(handler):
        handler.close_connection = True
        handler.reply(*STORED)

    server = scripted(last, STORED, STORED)
    client = Client(server.url, retries=0)
    client.write("A/1Sec/X", ROW, kind="tick")
    # The end of the connection is on its way.
    assert select.select([client._transport._idle[0].sock], [], [], 30)[0]
    client.write("A/1Sec/X", ROW, kind="tick")
    client.write("A/1Sec/X", ROW, kind="tick")
    assert server.connections == 2


def test_connections_are_kept_and_shared(scripted):
    server = scripted(*[LISTED] * 60)
    client = Client(server.url)
    threads = [threading.Thread(target=lambda: [client.symbols() for _ in range(10)]) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(server.requests) == 60
    assert server.connections <= 6
    assert client._transport._idle
    client.close()
    assert not client._transport._idle


def test_a_server_that_does_not_answer(scripted):
    release = threading.Event()
    server = scripted(lambda handler: release.wait(30) and hang_up(handler))
    with pytest.raises(TimedOut, match="no answer within 0.05 s") as caught:
        Client(server.url, timeout=0.05, retries=5).symbols()
    release.set()
    assert isinstance(caught.value, TimeoutError) and caught.value.kind == "timeout"
    assert len(server.requests) == 1


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            ConnectionFailed, match=f"^{url}: nobody listens there; is mkts running"
        ) as caught:
            Client(url, retries=1).symbols()
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize(
    "status, kind",
    [
        (401, Unauthorized),
        (403, Denied),
        (404, Unsupported),
        (413, LimitExceeded),
        (400, InvalidInput),
        (500, MktsError),
    ],
)
def test_statuses(scripted, status, kind):
    server = scripted((status, b"the reason\nmore"))
    with pytest.raises(kind, match="^the reason") as caught:
        Client(server.url, retries=0).symbols()
    assert type(caught.value) is kind


def test_a_refused_body_says_why(scripted, monkeypatch):
    """The server says 413 and reads no more: sending breaks, and the answer is there."""
    request = http.client.HTTPConnection.request

    def broken(self, *args):
        request(self, *args)
        raise BrokenPipeError

    monkeypatch.setattr(http.client.HTTPConnection, "request", broken)
    with pytest.raises(LimitExceeded, match="^the limit$"):
        Client(scripted((413, b"the limit")).url, retries=0).symbols()
    with pytest.raises(ConnectionFailed):
        Client(scripted(hang_up).url, retries=0).symbols()


@pytest.mark.parametrize(
    "text, kind",
    [
        ("no files returned from query parse", NotFound),
        ("category: X not in catalog", NotFound),
        ("the result is over 5 bytes (limits.results_bytes)", LimitExceeded),
        ('the token "ci" has no right to read A/1Min/X', Denied),
        ("disk failed", MktsError),
    ],
)
def test_errors_of_methods(scripted, text, kind):
    server = scripted(packed(error={"code": -32000, "message": text, "data": None}))
    with pytest.raises(MktsError) as caught:
        Client(server.url).symbols()
    assert type(caught.value) is kind and caught.value.message == text


@pytest.mark.parametrize("body", [b"\xc1", b"[]", b"\x93", packed()[1]])
def test_answers_that_are_none(scripted, body):
    server = scripted((200, body))
    with pytest.raises(MktsError, match="the answer"):
        Client(server.url).symbols()


def test_the_token_goes_with_every_request(scripted, monkeypatch):
    server = scripted(LISTED, (200, b"{}"), LISTED)
    client = Client(server.url, token="secret")
    client.symbols(), client.health()
    assert "secret" not in repr(client)
    monkeypatch.setenv("MKTS_TOKEN", "other")
    monkeypatch.setenv("MKTS_URL", server.url)
    Client().symbols()
    sent = [request[3].get("authorization") for request in server.requests]
    assert sent == ["Bearer secret", "Bearer secret", "Bearer other"]


@pytest.mark.parametrize(
    "url, shown",
    [
        ("http://h", "http://h:5993"),
        ("h:80", "http://h:80"),
        ("https://h", "https://h:443"),
        ("http://h:1/rpc", "http://h:1"),
        ("http://h:1/mkts/", "http://h:1/mkts"),
        ("http://[::1]:7", "http://[::1]:7"),
    ],
)
def test_addresses(url, shown):
    assert Client(url).url == shown


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:port", "http://u:p@h", "http://h?x=1"])
def test_addresses_that_are_none(url):
    with pytest.raises(InvalidInput, match="^url: "):
        Client(url)


def test_wrong_options(tmp_path):
    with pytest.raises(InvalidInput, match="ca: only https"):
        Client("http://h", ca=tmp_path / "ca.pem")
    with pytest.raises(InvalidInput, match="ca: .*No such file"):
        Client("https://h", ca=tmp_path / "ca.pem")
    with pytest.raises(InvalidInput, match="retries"):
        Client("http://h", retries=-1)


def test_a_certificate_that_is_not_trusted_is_not_tried_again(monkeypatch):
    tries = []

    def refuse(self):
        tries.append(1)
        raise ssl.SSLCertVerificationError("self-signed certificate")

    monkeypatch.setattr(transport.Transport, "_connect", refuse)
    with pytest.raises(ConnectionFailed, match="is not trusted.*Client\\(ca=...\\)"):
        Client("https://h").symbols()
    assert len(tries) == 1


def described(status, **error):
    return status, json.dumps({"error": error}).encode(), "application/json"


def test_errors_of_statements_have_a_caret(scripted):
    error = {"kind": "unknown", "message": "no column Clos", "line": 2, "column": 8, "hint": "Close?"}
    server = scripted(described(400, **error))
    statement = 'SELECT 1,\n       Clos FROM "A/1Min/X"'
    with pytest.raises(SqlError) as caught:
        Client(server.url).sql(statement)
    failure = caught.value
    assert (failure.kind, failure.position, failure.hint) == ("unknown", (2, 8), "Close?")
    assert str(failure) == "no column Clos (line 2, column 8); Close?"
    assert failure.pretty().splitlines() == [
        "no column Clos",
        '2 |        Clos FROM "A/1Min/X"',
        "           ^",
        "hint: Close?",
    ]


@pytest.mark.parametrize(
    "status, kind, wanted",
    [
        (413, "limit", LimitExceeded),
        (403, "denied", Denied),
        (401, "unauthorized", Unauthorized),
        (400, "unsupported", SqlError),
        (400, "request", InvalidInput),
        (404, "off", Unsupported),
        (503, "cancelled", LimitExceeded),
        (500, "failed", SqlError),
    ],
)
def test_kinds_of_errors_of_statements(scripted, status, kind, wanted):
    server = scripted(described(status, kind=kind, message="the reason"))
    with pytest.raises(wanted, match="the reason"):
        Client(server.url, retries=0).sql("SELECT 1")


def test_statements_that_write_are_not_sent_twice(scripted):
    server = scripted(hang_up)
    with pytest.raises(ConnectionFailed):
        Client(server.url).sql("DELETE FROM \"A/1Min/X\" WHERE Epoch < '2020-01-01'")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "statement, reads",
    [
        ("SELECT 1", True),
        ("  -- a remark\n /* and \n another */ select 1", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", True),
        ("SHOW BUCKETS", True),
        ("EXPLAIN ANALYZE INSERT INTO `A/1Min/X` SELECT 1", False),
        ("INSERT INTO `A/1Min/X` SELECT 1", False),
        ("DELETE FROM x", False),
        ("", False),
    ],
)
def test_which_statements_only_read(statement, reads):
    assert sql.reads(statement) is reads


def test_parameters_are_sent_as_json(scripted):
    import datetime

    server = scripted(described(400, kind="syntax", message="x"), described(400, kind="syntax", message="x"))
    client = Client(server.url)
    values = [
        1,
        "a",
        None,
        np.float32(1.5),
        datetime.date(2020, 1, 2),
        np.datetime64("2020-01-02T00:00:00.000000001"),
    ]
    with pytest.raises(SqlError):
        client.sql("SELECT $1", values, zone="America/New_York")
    with pytest.raises(SqlError):
        client.sql("SELECT 1")
    (_, path, body, headers), (_, _, plain, plain_headers) = server.requests
    assert path == "/sql" and headers["accept"] == "application/vnd.apache.arrow.stream"
    assert json.loads(body) == {
        "sql": "SELECT $1",
        "parameters": [1, "a", None, 1.5, "2020-01-02", "2020-01-02T00:00:00.000000001Z"],
        "zone": "America/New_York",
    }
    assert plain == b"SELECT 1" and plain_headers["content-type"].startswith("text/plain")
    for bad in ("text", [object()]):
        with pytest.raises(InvalidInput, match="parameter"):
            client.sql("SELECT $1", bad)
    with pytest.raises(InvalidInput, match="a statement is needed"):
        client.sql(" ")


@pytest.mark.parametrize("less", [0, 8, 100])
def test_a_part_is_never_taken_for_the_whole(scripted, less):
    """A statement that fails while its result is sent: the body has no end mark.

    It ends behind the stream of Arrow, before the mark of its end (8 bytes), or within a batch.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema({"a": pa.int64()})) as writer:
        for _ in range(2):
            writer.write(pa.record_batch({"a": [1, 2]}))
    stream = sink.getvalue().to_pybytes()
    body = stream[: len(stream) - less]

    def breaks_off(handler):
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    server = scripted(breaks_off, breaks_off)
    client = Client(server.url, retries=0)
    with pytest.raises(ConnectionFailed, match="the answer broke off"):
        client.sql("SELECT 1")
    seen = []
    with pytest.raises(ConnectionFailed, match="the answer broke off"):
        for batch in client.sql_batches("SELECT 1"):
            seen.append(batch.num_rows)
    assert seen == [2, 2][: 2 if less < 100 else 1]
