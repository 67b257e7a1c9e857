"""Errors of connections, as old code catches them.

pymarketstore lets those of `requests` through. Where that package is installed ours are those, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..client.errors import ConnectionFailed, LimitExceeded, MktsError, TimedOut

if TYPE_CHECKING:

    class HTTPError(OSError):
        """The server answered with a status other than 200."""

    class RequestsConnectionError(OSError):
        """The server cannot be reached."""

    class Timeout(OSError):
        """No answer in time."""

else:
    try:
        from requests.exceptions import ConnectionError as RequestsConnectionError
        from requests.exceptions import HTTPError, Timeout
    except ImportError:

        class HTTPError(OSError):
            """The server answered with a status other than 200."""

        class RequestsConnectionError(OSError):
            """The server cannot be reached."""

        class Timeout(OSError):
            """No answer in time."""


@contextmanager
def as_requests(text: str | None = None) -> Iterator[None]:
    """Errors of the transport as those of `requests`; `text` is that of a lost connection."""
    try:
        yield
    except TimedOut as error:
        raise Timeout(str(error)) from error
    except ConnectionFailed as error:
        raise RequestsConnectionError(text or str(error)) from error
    except LimitExceeded as error:
        raise HTTPError(f"503 Server Error: {error}") from error
    except MktsError as error:
        raise Exception(str(error)) from error
