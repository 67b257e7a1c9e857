"""How calls fail.

Every error is a `MktsError` with `kind` (one word for programs), `message`, and where known the
`position` in a statement and a `hint` what to do. Those that Python has a class for are that, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .writes import WriteReport


class MktsError(Exception):
    """Something failed; `kind` says what."""

    kind = "failed"

    def __init__(
        self,
        message: str,
        *,
        kind: str | None = None,
        hint: str | None = None,
        position: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if kind:
            self.kind = kind
        self.hint = hint
        #: Line and column in a statement, both from 1.
        self.position = position

    def __str__(self) -> str:
        text = self.message
        if self.position:
            text += f" (line {self.position[0]}, column {self.position[1]})"
        return f"{text}; {self.hint}" if self.hint else text


class InvalidInput(MktsError, ValueError):
    """What was given makes no sense; nothing was sent, or the server refused it."""

    kind = "invalid"


class NotFound(MktsError, LookupError):
    """There is no such bucket."""

    kind = "not_found"


class ConnectionFailed(MktsError, ConnectionError):
    """The server cannot be reached, or the connection broke."""

    kind = "connection"


class TimedOut(MktsError, TimeoutError):
    """No answer within `timeout`."""

    kind = "timeout"


class Unauthorized(MktsError, PermissionError):
    """The token is missing or wrong."""

    kind = "unauthorized"


class Denied(MktsError, PermissionError):
    """The token does not allow this."""

    kind = "denied"


class LimitExceeded(MktsError):
    """A limit of the server (`limits:` of mkts.yml) stopped it."""

    kind = "limit"


class Unsupported(MktsError):
    """This server does not offer that."""

    kind = "unsupported"


class SqlError(MktsError):
    """A statement that cannot be understood or carried out."""

    kind = "syntax"

    def __init__(
        self,
        message: str,
        statement: str,
        *,
        kind: str | None = None,
        hint: str | None = None,
        position: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(message, kind=kind, hint=hint, position=position)
        self.statement = statement

    def pretty(self) -> str:
        """The message, the line of the statement, a caret below the place, the hint."""
        lines = [self.message]
        source = self.statement.splitlines()
        if self.position and 1 <= self.position[0] <= len(source):
            row, column = self.position
            number = f"{row} | "
            lines += [number + source[row - 1], " " * (len(number) + max(column - 1, 0)) + "^"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class WriteError(MktsError):
    """Rows of some buckets were not stored; `report` says which, and what was."""

    kind = "write"

    def __init__(self, report: WriteReport) -> None:
        errors = report.errors
        key, error = next(iter(errors.items()))
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{len(errors)} of {len(report.buckets)} buckets: {key}: {error}{more}")
        self.report = report


class MissingPackage(MktsError, ImportError):
    """A package that this needs is not installed."""

    kind = "missing_package"


def missing(package: str, extra: str) -> MissingPackage:
    """The error of a conversion whose library is not there."""
    return MissingPackage(f"{package} is not installed", hint=f"pip install 'mkts-client[{extra}]'")


#: Parts of texts of the server that say what kind of error it is.
_NOT_FOUND = ("no files returned from query parse", "not in catalog", "not found in catalog")
_NOT_FOUND_ENTRY = ("Unable to find level item", "no such bucket")


def of_text(text: str) -> MktsError:
    """The error of a method that was carried out."""
    first = text.splitlines()[0] if text else "the server gave no reason"
    if any(part in text for part in _NOT_FOUND + _NOT_FOUND_ENTRY):
        return NotFound(first)
    if "limits." in text:
        return LimitExceeded(first)
    if "has no right to" in text:
        return Denied(first)
    return MktsError(first)


def of_status(status: int, text: str) -> MktsError:
    """The error of an HTTP status."""
    first = text.strip().splitlines()[0] if text.strip() else f"HTTP status {status}"
    if status == 401:
        return Unauthorized(first, hint="Client(token=...) or MKTS_TOKEN")
    if status == 403:
        return Denied(first)
    if status == 404:
        return Unsupported(first, hint="this server has no such address; is the URL right?")
    if status in (413, 429, 503):
        return LimitExceeded(first)
    if status in (400, 405, 415, 422):
        return InvalidInput(first)
    return MktsError(first)
