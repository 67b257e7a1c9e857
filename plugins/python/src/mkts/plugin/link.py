"""The session's other end: threads that move messages between socket and plugin.

The plugin has the main thread; a receiver, a sender (grpc's) and a heartbeat run beside it, so that
a plugin which computes for long still shows that it lives.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from . import guard
from .errors import PluginError
from .v1 import plugin_pb2 as pb
from .v1.plugin_pb2_grpc import PluginHostStub

PROTOCOL = 1
SDK = "mkts python 0.1.0"
HEARTBEAT_SECONDS = 1.0
# How long the last messages may take at the end.
CLOSE_SECONDS = 1.0
MESSAGE_BYTES_MAX = 64 << 20
# Messages that wait to be sent; log lines above are dropped and counted.
LINES_WAITING_MAX = 10_000

_OPTIONS = [
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # There is nowhere else to connect to, and a lost server ends the process.
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # Else it is the socket's path, which servers refuse as no name of a host.
    ("grpc.default_authority", "localhost"),
]


class Place:
    """What the server says in the environment."""

    def __init__(self, socket: str):
        self.socket = socket
        self.cookie = os.environ.get("MKTS_PLUGIN_COOKIE", "")
        self.instance = os.environ.get("MKTS_PLUGIN_INSTANCE", "")
        epoch = os.environ.get("MKTS_PLUGIN_EPOCH", "")
        self.epoch = int(epoch) if epoch.isdigit() else 0
        levels = {"error": 0, "warn": 1, "debug": 3}
        self.level = levels.get(os.environ.get("MKTS_PLUGIN_LOG", ""), 2)


class Gone:
    """The session has ended, and why: there is nobody to work for."""

    def __init__(self, why: str):
        self.why = why


class Shared:
    """What all threads look at."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # The fire, run or batch under way, and the one that is to end.
        self._running = 0
        self._cancelled = 0
        self._is_stopping = False
        # Resets that came; fires before one of them are of no use.
        self.resets = 0
        # Ends the work under way in the plugin's own way.
        self.cancel_hook: Callable[[], None] | None = None
        self._counted: dict[str, float] = {}
        self._health = (0, "")

    def begin(self, seq: int) -> None:
        self._running = seq

    def is_cancelled(self) -> bool:
        running = self._running
        return self._is_stopping or running != 0 and self._cancelled == running

    def sleep(self, seconds: float) -> bool:
        """Pauses; False if the work is to end."""
        with self._changed:
            return not self._changed.wait_for(self.is_cancelled, max(seconds, 0))

    def cancel(self, seq: int) -> None:
        # One that has not begun yet must find the mark when it does.
        running = self._running
        self._cancelled = seq or running
        if self._cancelled == running:
            self._tell()

    def stop(self) -> None:
        self._is_stopping = True
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
        hook = self.cancel_hook
        if hook is not None:
            hook()

    def count(self, metric: str, by: float) -> None:
        with self._changed:
            self._counted[metric] = self._counted.get(metric, 0.0) + by

    def set_health(self, health: int, text: str) -> None:
        self._health = (health, text)

    def heartbeat(self) -> pb.Heartbeat:
        with self._changed:
            counted, self._counted = self._counted, {}
        health, text = self._health
        metrics = [pb.Heartbeat.Metric(name=name, delta=by) for name, by in counted.items()]
        return pb.Heartbeat(metrics=metrics, health=health, health_text=text)


class Link:
    """The plugin's thread's way to the server."""

    def __init__(self, place: Place, manifest: str):
        self.epoch = place.epoch
        self.instance = place.instance
        self.shared = Shared()
        self.commands: queue.SimpleQueue[pb.ToChild | Gone] = queue.SimpleQueue()
        self._level = place.level
        self._lines_dropped = 0
        self._out: queue.SimpleQueue[pb.FromChild | None] = queue.SimpleQueue()
        self._metadata = (("mkts-cookie", place.cookie),)
        self._channel = grpc.insecure_channel(f"unix:{place.socket}", options=_OPTIONS)
        self._stub = PluginHostStub(self._channel)
        hello = pb.Hello(cookie=place.cookie, protocols=[PROTOCOL], sdk=SDK, manifest=manifest)
        self.send(hello=hello)
        self._is_drained = threading.Event()
        self._session = self._stub.Session(self._outgoing())
        guard.on_sigterm(self._terminated)
        for run in (self._receive, self._beat):
            threading.Thread(target=run, name=run.__name__[1:], daemon=True).start()

    def send(self, **message: Any) -> None:
        """Sends one message, named by its field."""
        self._out.put(pb.FromChild(**message))

    def close(self) -> None:
        """Ends the session once what was sent is on its way."""
        self._out.put(None)
        if self._session.is_active():
            self._is_drained.wait(CLOSE_SECONDS)
        self._session.cancel()
        self._channel.close()

    def _outgoing(self) -> Iterator[pb.FromChild]:
        while (message := self._out.get()) is not None:
            yield message
        # The next one is asked for when the last one is written.
        self._is_drained.set()

    def log(self, level: int, text: str) -> None:
        """A line of the server's log; a flood of them is dropped, not kept."""
        if level > self._level:
            return
        if self._out.qsize() >= LINES_WAITING_MAX:
            self._lines_dropped += 1
            return
        if self._lines_dropped:
            dropped, self._lines_dropped = self._lines_dropped, 0
            self.send(log=pb.Log(level=1, text=f"{dropped} log lines were dropped"))
        self.send(log=pb.Log(level=level, text=text))

    def query(self, request: pb.QueryRequest) -> Iterator[pb.QueryAnswer]:
        try:
            yield from self._stub.Query(request, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _refused(error) from error

    def state_get(self, request: pb.StateGetRequest) -> pb.StateGetAnswer:
        return self._call(self._stub.StateGet, request)

    def state_scan(self, request: pb.StateScanRequest) -> pb.StateScanAnswer:
        return self._call(self._stub.StateScan, request)

    def commit(self, request: pb.CommitRequest) -> pb.CommitAnswer:
        return self._call(self._stub.Commit, request)

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _refused(error) from error

    def _receive(self) -> None:
        why = "the server has ended the session"
        try:
            for message in self._session:
                which = message.WhichOneof("message")
                if which == "cancel":
                    # Acted upon at once: the plugin's thread may be busy.
                    self.shared.cancel(message.cancel.seq)
                    continue
                if which == "stop":
                    self.shared.stop()
                elif which == "state_reset":
                    self.shared.resets += 1
                if which is not None:
                    self.commands.put(message)
        except grpc.RpcError as error:
            why = f"{error.code().name}: {error.details()}"
        self.shared.stop()
        self.commands.put(Gone(why))

    def _beat(self) -> None:
        while self._session.is_active():
            self.send(heartbeat=self.shared.heartbeat())
            time.sleep(HEARTBEAT_SECONDS)

    def _terminated(self) -> None:
        self.shared.stop()
        self.commands.put(pb.ToChild(stop=pb.Stop()))


def _refused(error: grpc.RpcError) -> PluginError:
    return PluginError(f"the server refused the call: {error.code().name}: {error.details()}")
