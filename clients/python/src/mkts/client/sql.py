"""`POST /sql`: statements in, an Arrow stream out."""

from __future__ import annotations

import datetime
import http.client
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import (
    ConnectionFailed,
    InvalidInput,
    LimitExceeded,
    MktsError,
    SqlError,
    Unsupported,
    missing,
    of_status,
)
from .result import SqlResult
from .times import nanoseconds
from .transport import Transport

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
#: What begins a statement that can be sent twice.
_READS = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(select|with|show|describe|desc|explain|values|table)\b",
    re.IGNORECASE | re.DOTALL,
)


def run(
    transport: Transport, statement: str, parameters: Sequence[Any] | None, zone: str | None
) -> SqlResult:
    """The whole result."""
    body, headers = _request(statement, parameters, zone)
    reply = transport.request("POST", "/sql", body, headers, repeatable=reads(statement))
    if reply.status != 200:
        raise error_of(reply.status, reply.text(), statement)
    return SqlResult(reply.body)


def batches(
    transport: Transport, statement: str, parameters: Sequence[Any] | None, zone: str | None
) -> Iterator[pa.RecordBatch]:
    """The result in parts, as the server makes them."""
    try:
        import pyarrow as pa
    except ImportError:
        raise missing("pyarrow", "arrow") from None
    body, headers = _request(statement, parameters, zone)
    with transport.open("POST", "/sql", body, headers, repeatable=reads(statement)) as response:
        if response.status != 200:
            raise error_of(response.status, response.read().decode("utf-8", "replace"), statement)
        try:
            with pa.ipc.open_stream(response) as reader:
                yield from reader
            # The end of the stream is not that of the answer: only the latter says that it is whole.
            response.read()
        except (OSError, http.client.HTTPException, pa.ArrowInvalid) as error:
            raise ConnectionFailed(f"the answer broke off: {error}") from error


def reads(statement: str) -> bool:
    """Whether a statement only reads."""
    found = _READS.match(statement)
    if found is None:
        return False
    # WITH and EXPLAIN ANALYZE can lead to a statement that writes.
    return not re.search(r"\b(insert|delete|update|create|drop)\b", statement, re.IGNORECASE)


def _request(
    statement: str, parameters: Sequence[Any] | None, zone: str | None
) -> tuple[bytes, dict[str, str]]:
    if not isinstance(statement, str) or not statement.strip():
        raise InvalidInput("sql: a statement is needed")
    headers = {"Accept": ARROW}
    if parameters is None and zone is None:
        return statement.encode(), {**headers, "Content-Type": "text/plain; charset=utf-8"}
    if isinstance(parameters, (str, bytes)):
        raise InvalidInput("sql: parameters is a list", hint="[value] for a single one")
    asked: dict[str, Any] = {"sql": statement}
    if parameters is not None:
        asked["parameters"] = [_parameter(at, value) for at, value in enumerate(parameters, 1)]
    if zone is not None:
        asked["zone"] = zone
    return json.dumps(asked).encode(), {**headers, "Content-Type": "application/json"}


def _parameter(at: int, value: Any) -> Any:
    if isinstance(value, (datetime.datetime, np.datetime64)):
        seconds, nanos = divmod(nanoseconds(value, f"parameter ${at}"), 10**9)
        whole = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
        return f"{whole.isoformat()}.{nanos:09}Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InvalidInput(f"parameter ${at}: {type(value).__name__} cannot be sent")


def error_of(status: int, text: str, statement: str) -> MktsError:
    """The error that the server describes."""
    try:
        described = json.loads(text)["error"]
        message, kind = str(described["message"]), str(described.get("kind") or "failed").lower()
    except (ValueError, KeyError, TypeError, AttributeError):
        return of_status(status, text)
    hint = described.get("hint")
    if status in (401, 403) or kind == "denied":
        failure = of_status(401 if status == 401 else 403, message)
        failure.hint = hint or failure.hint
        return failure
    if status in (413, 503) or kind == "limit":
        return LimitExceeded(message, hint=hint)
    if status == 404 or "built without SQL" in message:
        return Unsupported(message, hint=hint)
    if kind == "request":
        return InvalidInput(message, hint=hint)
    line, column = described.get("line"), described.get("column")
    position = (int(line), int(column)) if line and column else None
    return SqlError(message, statement, kind=kind, hint=hint, position=position)
