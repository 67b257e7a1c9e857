"""A server made for tests: starts a child as the real one does and speaks the same messages."""

import concurrent.futures
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import time

import grpc
import numpy as np

from mkts.plugin.rows import Schema, encode
from mkts.plugin.v1 import plugin_pb2 as pb
from mkts.plugin.v1.plugin_pb2_grpc import PluginHostServicer, add_PluginHostServicer_to_server

HERE = pathlib.Path(__file__).resolve().parent
COOKIE = "a secret"
EPOCH = 7
# Longer than anything takes here; a test that waits so long has failed.
PATIENCE = 30
SIZES = [("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20)]


def environment():
    """What the server hands on, and where this run has the SDK from."""
    handed_on = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH")
    return {name: os.environ[name] for name in handed_on if name in os.environ}


class Server(PluginHostServicer):
    """One socket, one child."""

    def __init__(self, target, level="info", cookie=COOKIE, env=None, stdin=subprocess.PIPE):
        if ":" not in target:
            target = f"{HERE / 'plugins.py'}:{target}"
        self.folder = tempfile.TemporaryDirectory(prefix="mkts")
        self.came = queue.SimpleQueue()
        self.out = queue.SimpleQueue()
        self.calls = []
        self.metadata = []
        # What calls are answered with.
        self.state = {}
        self.rows = {}
        self.commit_code = 0
        self.schemas = {}
        self.heartbeats = []
        self.logs = []
        self.seq = 0
        self._grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=SIZES)
        add_PluginHostServicer_to_server(self, self._grpc)
        socket = os.path.join(self.folder.name, "s")
        self._grpc.add_insecure_port(f"unix:{socket}")
        self._grpc.start()
        scrubbed = environment() | (env or {})
        scrubbed |= {
            "MKTS_PLUGIN_SOCKET": socket,
            "MKTS_PLUGIN_COOKIE": cookie,
            "MKTS_PLUGIN_INSTANCE": "test-1",
            "MKTS_PLUGIN_EPOCH": str(EPOCH),
            "MKTS_PLUGIN_LOG": level,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mkts.plugin", target],
            env=scrubbed,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    # ---- the service ----

    def Session(self, incoming, context):
        first = next(incoming)
        if first.hello.cookie != COOKIE:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "wrong cookie")
        self.came.put(first)
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.submit(self._take, incoming)
        yield from iter(self.out.get, None)

    def _take(self, incoming):
        try:
            for message in incoming:
                which = message.WhichOneof("message")
                if which == "heartbeat":
                    self.heartbeats.append(message.heartbeat)
                elif which == "log":
                    self.logs.append((message.log.level, message.log.text))
                elif which == "schema":
                    self.schemas[message.schema.id] = message.schema
                    continue
                self.came.put(message)
        except grpc.RpcError:
            pass

    def _note(self, request, context):
        self.calls.append(request)
        metadata = dict(context.invocation_metadata())
        if metadata.get("mkts-cookie") != COOKIE:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "wrong cookie")

    def Query(self, request, context):
        self._note(request, context)
        if request.key not in self.rows:
            yield pb.QueryAnswer()
            return
        for at, part in enumerate(self.rows[request.key]):
            columns, data, _ = encode(part)
            schema = schema_message(1, columns) if at == 0 else None
            yield pb.QueryAnswer(schema=schema, rows=data)

    def StateGet(self, request, context):
        self._note(request, context)
        return pb.StateGetAnswer(value=value_message(self.state.get(request.key)))

    def StateScan(self, request, context):
        self._note(request, context)
        keys = sorted(key for key in self.state if key.startswith(request.prefix))
        entries = [pb.StateEntry(key=key, value=value_message(self.state[key])) for key in keys]
        return pb.StateScanAnswer(entries=entries[: request.limit])

    def Commit(self, request, context):
        self._note(request, context)
        return pb.CommitAnswer(code=self.commit_code, message="no" if self.commit_code else "")

    # ---- what tests do ----

    def send(self, **message):
        self.out.put(pb.ToChild(**message))

    def next(self, *wanted):
        """The next message of a kind; heartbeats and logs that come first are passed over."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                message = self.came.get(timeout=1)
            except queue.Empty:
                has_ended = self.process.poll() is not None
                assert not has_ended, self.process.communicate()
                assert time.monotonic() < until, f"no {wanted} came"
                continue
            which = message.WhichOneof("message")
            if which in wanted:
                return getattr(message, which)
            assert which in ("heartbeat", "log"), message

    def configure(self, kind="trigger", config="null", **fields):
        """Takes the hello, configures, and waits until the child is ready."""
        self.hello = self.next("hello")
        return self.configure_again(kind, config, **fields)

    def configure_again(self, kind="trigger", config="null", **fields):
        fields.setdefault("state_complete", True)
        configure = pb.Configure(
            kind=kind, instance="test-1", epoch=EPOCH, config_json=config, protocol=1, **fields
        )
        self.send(configure=configure)
        return self.next("ready")

    def fire(self, batch=None, wait=True, **fields):
        """Fires; a batch makes it a write of "AAPL/1Min/OHLCV"."""
        self.seq += 1
        fields = {"attempt": 1, "epoch": EPOCH, "deadline_ms": 5000, "now_ns": 1000} | fields
        if batch is not None:
            columns, data, _ = encode(batch)
            self.send(schema=schema_message(3, columns))
            fields = {"key": "AAPL/1Min/OHLCV", "type": 1, "schema_id": 3, "rows": data} | fields
        self.send(fire=pb.Fire(seq=self.seq, **fields))
        return self.next("ack") if wait else None

    def credit(self, **fields):
        self.seq += 1
        self.send(credit=pb.Credit(epoch=EPOCH, seq=self.seq, **fields))

    def stop(self):
        """Stops the child in an orderly way; its exit code."""
        self.send(stop=pb.Stop(reason=0))
        return self.process.wait(PATIENCE)

    def wait_for(self, what, condition):
        """Messages are taken until something has come."""
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, what
            try:
                self.came.get(timeout=0.1)
            except queue.Empty:
                pass

    def close(self):
        """Ends everything; what the child has printed."""
        if self.process.poll() is None:
            self.process.kill()
        self.out.put(None)
        self._grpc.stop(0)
        printed = self.process.communicate()
        self.folder.cleanup()
        return printed


def schema_message(number, columns, kind=0):
    described = [pb.Schema.Column(name=name, type=code) for name, code in columns]
    return pb.Schema(id=number, kind=kind, columns=described)


def value_message(value):
    if value is None:
        return None
    return pb.StateValue(counter=value) if isinstance(value, int) else pb.StateValue(bytes=value)


def written(server, write):
    """The rows of a write, by the schemas the child has sent."""
    from mkts.plugin.rows import Rows

    return Rows(Schema.of(server.schemas[write.schema_id]), [write.rows]).numpy()


def bars(count, start="2024-01-02T14:30"):
    """Made-up bars, one a minute."""
    times = np.datetime64(start, "ns") + np.arange(count) * np.timedelta64(60, "s")
    prices = np.arange(count, dtype="f4") + 100
    return {
        "Epoch": times,
        "Open": prices,
        "High": prices + 1,
        "Low": prices - 1,
        "Close": prices + np.float32(0.5),
        "Volume": np.arange(count, dtype="i4") * 10 + 10,
    }
