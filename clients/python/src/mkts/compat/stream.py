"""Streams: handlers that are called with what arrives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
from websockets.sync.client import ClientConnection, connect

from ..client.transport import Transport

Handler = Callable[["StreamConn", Any], Any]


class StreamConn:
    """Calls the handlers whose expression matches the beginning of a key. It does not reconnect."""

    def __init__(self, endpoint: str, token: str | None = None, ca: str | None = None) -> None:
        self.endpoint = endpoint
        self._token = token
        self._ca = ca
        self._handlers: dict[re.Pattern[str], Handler] = {}

    def _connect(self) -> ClientConnection:
        http = re.sub("^ws", "http", self.endpoint)
        transport = Transport(http, token=self._token, ca=self._ca)
        # Entered, it is a connection in every version of websockets; `run` closes it.
        connection = connect(
            self.endpoint,
            additional_headers=transport.authorization(),
            ssl=transport.context,
            compression=None,
            max_size=None,
            proxy=None,
        )
        return connection.__enter__()

    def _subscribe(self, ws: ClientConnection, streams: Sequence[str]) -> None:
        ws.send(msgpack.packb({"streams": list(streams)}))

    def run(self, streams: Sequence[str]) -> None:
        """Subscribes and dispatches until the connection ends, which is an exception."""
        ws = self._connect()
        try:
            self._subscribe(ws, streams)
            while True:
                message = ws.recv()
                decoded = msgpack.unpackb(message.encode() if isinstance(message, str) else message)
                key = decoded.get("key")
                if key is not None:
                    self._dispatch(key, decoded)
        finally:
            ws.close()

    def _dispatch(self, stream: str, msg: Any) -> None:
        for pattern, handler in list(self._handlers.items()):
            if pattern.match(stream):
                handler(self, msg)

    def on(self, stream_pat: str | re.Pattern[str]) -> Callable[[Handler], Handler]:
        """Registers the function that follows."""

        def decorator(func: Handler) -> Handler:
            self.register(stream_pat, func)
            return func

        return decorator

    def register(self, stream_pat: str | re.Pattern[str], func: Handler) -> None:
        """Calls `func(conn, message)` for keys that match."""
        self._handlers[_compiled(stream_pat)] = func

    def deregister(self, stream_pat: str | re.Pattern[str]) -> None:
        """Takes a handler away."""
        del self._handlers[_compiled(stream_pat)]


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(pattern) if isinstance(pattern, str) else pattern
