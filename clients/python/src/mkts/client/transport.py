"""HTTP with connections that are kept and shared by threads.

A request is sent again only if that cannot do it twice: because it never left (the connection
could not be made, or the server had no room and said so), or because the caller says that it only
reads. After a time-out nothing is sent again: whoever asked has waited long enough.
"""

from __future__ import annotations

import http.client
import json
import random
import select
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import msgpack

from .errors import ConnectionFailed, InvalidInput, MktsError, TimedOut

#: Connections without a request that are kept.
IDLE_MAX = 16
#: First pause before another attempt, and the longest one.
PAUSE, PAUSE_MAX = 0.1, 5.0


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def reason(self) -> str:
        """What the body says about an error, whichever door it comes from."""
        kind = self.headers.get("content-type", "")
        try:
            if kind.startswith("application/x-msgpack"):
                error = msgpack.unpackb(self.body)["error"]
            elif kind.startswith("application/json"):
                error = json.loads(self.body)["error"]
            else:
                return self.text()
            return str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            return self.text()


def pauses(attempts: int) -> Iterator[float]:
    """Seconds before each further attempt: doubled each time, with chance against herds."""
    for attempt in range(attempts):
        yield min(PAUSE * 2**attempt, PAUSE_MAX) * random.uniform(0.5, 1.0)


class Transport:
    """One server. All threads may use it at once."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca: str | None = None,
        timeout: float | None = 60.0,
        retries: int = 3,
    ) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"url: {url!r} is no address of a server", hint="write http://localhost:5993")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise InvalidInput("url: only scheme, host, port and path", hint="pass token=...")
        if ca is not None and parts.scheme != "https":
            raise InvalidInput("ca: only https:// needs it")
        if retries < 0:
            raise InvalidInput("retries: at least 0")
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        try:
            self.port = parts.port or (443 if self.secure else 5993)
        except ValueError as error:
            raise InvalidInput(f"url: {error}") from None
        path = parts.path.rstrip("/")
        self.base = path[: -len("/rpc")] if path.endswith("/rpc") else path
        self.token = token
        self.timeout = timeout
        self.retries = retries
        self.context = self._tls(ca) if self.secure else None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    @staticmethod
    def _tls(ca: str | None) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"ca: {ca}: {error}") from None

    @property
    def url(self) -> str:
        """The address, without `/rpc`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.base}"

    def authorization(self) -> dict[str, str]:
        """The header that says who is calling."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool,
    ) -> Reply:
        """Sends a request and reads the answer, whatever its status is."""
        with self.open(method, path, body, headers, repeatable=repeatable) as response:
            data = self._read(response)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers, data)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool,
    ) -> Iterator[http.client.HTTPResponse]:
        """The same for answers that are read in parts. Left before the end, the connection is closed."""
        connection, response = self._exchange(method, path, body, dict(headers or {}), repeatable)
        try:
            yield response
        finally:
            keep = response.isclosed() and not response.will_close
            response.close()
            self._give_back(connection) if keep else connection.close()

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], repeatable: bool
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        headers.update(self.authorization())
        waits = pauses(self.retries)
        # Elsewhere "no room" is said before anything is done; a statement may have begun.
        refusable = path != "/health" and (repeatable or path != "/sql")
        while True:
            connection: http.client.HTTPConnection | None = None
            try:
                connection = self._take()
                response = self._send(connection, method, self.base + path, body, headers)
                wait = next(waits, None)
                if response.status not in (429, 503) or not refusable or wait is None:
                    return connection, response
            except (OSError, http.client.HTTPException) as failure:
                sent = connection is not None
                error = self._failure(failure, sent and not repeatable)
                again = not isinstance(error, TimedOut) and (not sent or repeatable)
                again = again and not isinstance(failure, ssl.SSLCertVerificationError)
                wait = next(waits, None) if again else None
                if wait is None:
                    if connection is not None:
                        connection.close()
                    raise error from failure
            if connection is not None:
                connection.close()
            time.sleep(wait)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, path, body, headers)
        except (BrokenPipeError, ConnectionResetError) as failure:
            # The server may have refused a body that it did not read; then it has said why.
            try:
                return connection.getresponse()
            except (OSError, http.client.HTTPException):
                raise failure from None
        return connection.getresponse()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as failure:
            raise self._failure(failure, False) from failure

    def _failure(self, failure: Exception, unsure: bool) -> MktsError:
        hint = "it may have been carried out all the same" if unsure else None
        if isinstance(failure, TimeoutError):
            return TimedOut(f"{self.url}: no answer within {self.timeout} s", hint=hint)
        if isinstance(failure, http.client.IncompleteRead):
            text = "the answer broke off: the server gave it up or the connection was lost"
            return ConnectionFailed(f"{self.url}: {text}", hint=hint)
        if isinstance(failure, socket.gaierror):
            return ConnectionFailed(f"{self.url}: {failure.strerror}")
        if isinstance(failure, ssl.SSLCertVerificationError):
            reason = getattr(failure, "verify_message", None) or failure
            text = f"the certificate is not trusted: {reason}"
            return ConnectionFailed(f"{self.url}: {text}", hint="Client(ca=...) names who signed it")
        text = str(failure) or type(failure).__name__
        if isinstance(failure, ConnectionRefusedError):
            text, hint = "nobody listens there", "is mkts running? (mkts start)"
        return ConnectionFailed(f"{self.url}: {text}", hint=hint)

    def _take(self) -> http.client.HTTPConnection:
        """A connection that is open, as far as one can know."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            if not _is_dropped(connection):
                return connection
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self.context is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout, context=self.context
            )
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        connection.connect()
        return connection

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes what is idle; the transport can still be used."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _is_dropped(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed it: then there is something to read."""
    if connection.sock is None:
        return True
    try:
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return bool(poll.poll(0))
    except AttributeError:  # No poll on this system.
        return bool(select.select([connection.sock], [], [], 0)[0])
