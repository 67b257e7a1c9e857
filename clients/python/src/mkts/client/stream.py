"""What plugins publish, as it happens.

A subscription connects when it is iterated, and again when the connection is lost. Streams have no
past: what is published meanwhile is not sent later. `on_gap` is told; the rows are in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_sync

from .errors import ConnectionFailed, InvalidInput, MktsError, of_status
from .times import SECOND
from .transport import PAUSE, PAUSE_MAX, Transport

#: Largest message.
MESSAGE_MAX = 16 << 20
#: Longest wait for a connection and for the answer to a subscription.
OPEN_TIMEOUT = 10.0


@dataclass(frozen=True)
class Event:
    """A message: the newest row of a bucket, or what a plugin says."""

    key: str
    data: dict[str, Any]

    @property
    def symbol(self) -> str:
        """The first part of the key."""
        return self.key.split("/")[0]

    @property
    def time_ns(self) -> int | None:
        """Nanoseconds since 1970, if it is a row."""
        epoch = self.data.get("Epoch")
        if not isinstance(epoch, int):
            return None
        return epoch * SECOND + int(self.data.get("Nanoseconds", 0))

    @property
    def time(self) -> np.datetime64[Any] | None:
        """The same as datetime64[ns] in UTC."""
        nanos = self.time_ns
        return None if nanos is None else np.datetime64(nanos, "ns")


@dataclass(frozen=True)
class Gap:
    """The connection was lost: between the two times (`time.time()`) messages may be missing."""

    since: float
    until: float
    reason: str


class Subscription:
    """An iterator over events: `for event in ...`, or `async for event in ...`.

    One thread or task reads it; `close()` may come from any.
    """

    def __init__(
        self,
        transport: Transport,
        patterns: Sequence[str],
        on_gap: Callable[[Gap], None] | None,
        reconnect: bool,
    ) -> None:
        for pattern in patterns:
            if not isinstance(pattern, str) or pattern.count("/") != 2:
                raise InvalidInput(f"pattern {pattern!r}: three parts are needed, as in */1Min/OHLCV")
        if not patterns:
            raise InvalidInput("there is no pattern")
        self.patterns = tuple(patterns)
        #: Connections after the first one.
        self.reconnects = 0
        self._transport = transport
        self._on_gap = on_gap
        self._reconnect = reconnect
        self._closed = False
        self._connection: ClientConnection | None = None
        self._async_connection: AsyncConnection | None = None
        self._lost: tuple[float, str] | None = None

    # -- for threads

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.receive()
        if event is None:
            raise StopIteration
        return event

    def receive(self, timeout: float | None = None) -> Event | None:
        """The next event; `None` once it is closed. After `timeout` seconds a TimeoutError."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            try:
                if self._connection is None:
                    self._open(until)
                    continue
                left = None if until is None else max(until - time.monotonic(), 0)
                message = self._connection.recv(timeout=left)
            except ConnectionClosed as error:
                self._connection = None
                self._note(error)
                continue
            event = _event(message)
            if event is not None:
                return event
        return None

    def open(self) -> Subscription:
        """Connects now and returns when the server has subscribed; iterating does it, too."""
        if self._connection is None and not self._closed:
            self._open(None)
        return self

    def _open(self, until: float | None) -> None:
        pause = PAUSE
        while not self._closed:
            try:
                with self._errors():
                    # Entered, it is a connection in every version of websockets.
                    connection = connect_sync(self._url(), **self._options()).__enter__()
                    try:
                        connection.send(self._request())
                        _check(connection.recv(timeout=OPEN_TIMEOUT))
                    except BaseException:
                        connection.close()
                        raise
                self._connection = connection
                if self._closed:
                    connection.close()
                return self._recovered()
            except ConnectionFailed as error:
                if not self._again(error):
                    raise
            if until is not None and time.monotonic() + pause > until:
                raise TimeoutError(f"no connection to {self._transport.url}")
            time.sleep(pause)
            pause = min(pause * 2, PAUSE_MAX)

    # -- for tasks

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._closed:
            if self._async_connection is None:
                await self._open_async()
                continue
            try:
                event = _event(await self._async_connection.recv())
            except ConnectionClosed as error:
                self._async_connection = None
                self._note(error)
                continue
            if event is not None:
                return event
        raise StopAsyncIteration

    async def _open_async(self) -> None:
        pause = PAUSE
        while not self._closed:
            try:
                with self._errors():
                    connection = await connect_async(self._url(), **self._options())
                    try:
                        await connection.send(self._request())
                        _check(await asyncio.wait_for(connection.recv(), OPEN_TIMEOUT))
                    except BaseException:
                        await connection.close()
                        raise
                self._async_connection = connection
                if self._closed:
                    await connection.close()
                return self._recovered()
            except ConnectionFailed as error:
                if not self._again(error):
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MAX)

    async def aclose(self) -> None:
        """Ends the iteration of a task."""
        self._closed = True
        connection, self._async_connection = self._async_connection, None
        if connection is not None:
            await connection.close()

    # -- for both

    def close(self) -> None:
        """Ends the iteration."""
        self._closed = True
        connection = self._connection
        if connection is not None:
            connection.close()

    def __enter__(self) -> Subscription:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Subscription:
        if self._async_connection is None and not self._closed:
            await self._open_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _url(self) -> str:
        return "ws" + self._transport.url[len("http") :] + "/ws"

    def _options(self) -> dict[str, Any]:
        return {
            "additional_headers": self._transport.authorization(),
            "ssl": self._transport.context,
            "open_timeout": OPEN_TIMEOUT,
            "max_size": MESSAGE_MAX,
            "compression": None,
            "proxy": None,
        }

    def _request(self) -> bytes:
        packed: bytes = msgpack.packb({"streams": list(self.patterns)})
        return packed

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What can be tried again is a ConnectionFailed."""
        try:
            yield
        except InvalidStatus as error:
            status = error.response.status_code
            failure = of_status(status, (error.response.body or b"").decode("utf-8", "replace"))
            if status < 500:
                raise failure from None
            raise ConnectionFailed(failure.message) from None
        except (OSError, InvalidHandshake, WebSocketException, asyncio.TimeoutError) as error:
            raise ConnectionFailed(f"{self._transport.url}: {error}") from error

    def _note(self, error: ConnectionClosed) -> None:
        """The connection ended; the first time since it worked is kept."""
        if not self._closed:
            self._lost = self._lost or (time.time(), str(error))
            if not self._reconnect:
                self._closed = True
                raise ConnectionFailed(f"{self._transport.url}: {error}") from error

    def _again(self, error: ConnectionFailed) -> bool:
        # The very first connection must work: an address that is wrong stays wrong.
        return self._reconnect and self._lost is not None

    def _recovered(self) -> None:
        if self._lost is None:
            return
        (since, reason), self._lost = self._lost, None
        self.reconnects += 1
        if self._on_gap is not None:
            self._on_gap(Gap(since, time.time(), reason))


def _check(answer: str | bytes) -> None:
    """The server echoes what it accepts."""
    message = _decode(answer)
    if isinstance(message, dict) and "error" in message:
        raise InvalidInput(str(message["error"]))


def _event(message: str | bytes) -> Event | None:
    decoded = _decode(message)
    if not isinstance(decoded, dict) or "key" not in decoded:
        return None
    data = decoded.get("data")
    values = {name: _scalar(value) for name, value in data.items()} if isinstance(data, dict) else {}
    return Event(str(decoded["key"]), values)


def _scalar(value: Any) -> Any:
    # A text is 16 code points, filled up with zeros.
    if isinstance(value, list) and len(value) == 16 and all(isinstance(one, int) for one in value):
        return "".join(map(chr, value)).rstrip("\0")
    return value


def _decode(message: str | bytes) -> Any:
    try:
        return msgpack.unpackb(message.encode() if isinstance(message, str) else message)
    except ValueError as error:
        raise MktsError(f"a message is no MessagePack: {error}") from None
