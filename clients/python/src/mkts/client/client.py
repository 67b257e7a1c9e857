"""The client: every method is one question to the server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import keys as key_names
from . import rpc, sql, writes
from .decode import tables
from .errors import InvalidInput, MktsError, NotFound, of_status, of_text
from .frames import Frame, columns_of
from .info import BucketInfo, Kind, infos
from .result import QueryResult, SqlResult, Table
from .stream import Gap, Subscription
from .times import Time, nanoseconds, split
from .transport import Transport
from .writer import Writer
from .writes import WriteReport

if TYPE_CHECKING:
    import pyarrow as pa

URL = "http://127.0.0.1:5993"


class Client:
    """A server of mkts. Threads may share it; it keeps connections.

    `url` is `http://host:5993`, or `https://...` (`ca`: a file with the certificates to trust);
    without it `MKTS_URL`, and `MKTS_TOKEN` for `token`. `timeout` is seconds without an answer.
    Calls that only read are tried `retries` times more if the connection breaks; calls that write
    only if nothing was sent.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        timeout: float | None = 60.0,
        retries: int = 3,
    ) -> None:
        self._transport = Transport(
            url or os.environ.get("MKTS_URL") or URL,
            token=token or os.environ.get("MKTS_TOKEN") or None,
            ca=None if ca is None else os.fspath(ca),
            timeout=timeout,
            retries=retries,
        )
        self._writer = Writer(self._transport)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._transport.url

    # -- reading

    def query(
        self,
        keys: str | Iterable[str],
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        *,
        first: bool = False,
        columns: Sequence[str] | None = None,
        functions: Sequence[str] | None = None,
        missing: Literal["error", "skip"] = "error",
    ) -> QueryResult:
        """Rows of one or several buckets, from `start` to `end`, both inclusive.

        `keys`: `AAPL/1Min/OHLCV`, `AAPL,IBM/1Min/OHLCV`, `*/1Min/OHLCV`, or a list of such.
        `limit`: the last rows of each bucket, or its `first` ones. `functions`: MarketStore's,
        as `candlecandler('5Min',Open,High,Low,Close)`.
        """
        if limit is not None and (isinstance(limit, bool) or limit < 1):
            raise InvalidInput(f"limit: {limit!r} is no count from 1")
        if missing not in ("error", "skip"):
            raise InvalidInput(f"missing: 'error' or 'skip', not {missing!r}")
        if not isinstance(keys, Iterable):
            raise InvalidInput(f"keys: text or a list of texts, not {type(keys).__name__}")
        listed = [keys] if isinstance(keys, str) else list(keys)
        plural = not isinstance(keys, str) or key_names.is_plural(keys)
        if not listed:
            raise InvalidInput("keys: the list is empty")
        shared: dict[str, Any] = {}
        if start is not None:
            shared["epoch_start"], shared["epoch_start_nanos"] = split(nanoseconds(start, "start"))
        if end is not None:
            shared["epoch_end"], shared["epoch_end_nanos"] = split(nanoseconds(end, "end"))
        if limit is not None:
            shared.update(limit_record_count=int(limit), limit_from_start=bool(first))
        if columns is not None:
            shared["columns"] = _texts("columns", columns)
        if functions is not None:
            shared["functions"] = _texts("functions", functions)
        found: dict[str, Table] = {}
        absent: list[str] = []
        others: list[str] = []
        for (timeframe, group), symbols in key_names.groups(listed).items():
            asked = ["*"] if "*" in symbols else symbols
            own = self._read(asked, f"{timeframe}/{group}", shared)
            # MarketStore answers with rows of a smaller timeframe where there is no bucket.
            others += [key for key, table in own.items() if table.timeframe != timeframe]
            own = {key: table for key, table in own.items() if table.timeframe == timeframe}
            found.update(own)
            names = [f"{symbol}/{timeframe}/{group}" for symbol in symbols]
            absent += [key for key in names if key not in own and not (own and key[0] == "*")]
        if columns is not None and functions is None:
            _check_columns(found, columns)
        if absent and (missing == "error" or not plural):
            raise _not_found(absent, others)
        return QueryResult({key: found[key] for key in sorted(found)}, tuple(absent), plural)

    def _read(self, symbols: list[str], place: str, shared: Mapping[str, Any]) -> dict[str, Table]:
        request = {"destination": f"{','.join(symbols)}/{place}", **shared}
        try:
            result = self._call("Query", {"requests": [request]}, repeatable=True)
        except NotFound:
            return {}
        return tables(result["responses"] or [], self._byte_columns)

    def _byte_columns(self, keys: Sequence[str]) -> dict[str, set[str]]:
        """Which columns are int8: MarketStore's replies call them uint8."""
        found: dict[str, set[str]] = {}
        for key, info in zip(keys, infos(self._transport, keys)):
            types = info.columns if info is not None else {}
            found[key] = {name for name, kind in types.items() if kind == "int8"}
        return found

    def sql(
        self, statement: str, parameters: Sequence[Any] | None = None, *, zone: str | None = None
    ) -> SqlResult:
        """Runs a statement; `$1`, `$2` ... are `parameters`. `zone` is that of times in the text."""
        return sql.run(self._transport, statement, parameters, zone)

    def sql_batches(
        self, statement: str, parameters: Sequence[Any] | None = None, *, zone: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same for results that are larger than memory: parts, as they are made."""
        return sql.batches(self._transport, statement, parameters, zone)

    # -- writing

    def write(
        self,
        key: str,
        frame: Frame,
        *,
        kind: Kind | None = None,
        time: str = "Epoch",
        unit: str | None = None,
        atomic: bool = False,
        on_error: Literal["raise", "report"] = "raise",
    ) -> WriteReport:
        """Stores the rows of a frame; when it returns they are durable.

        A part of `key` that is `*` is taken from the column `symbol`, `timeframe` or
        `attribute_group`. Buckets that are not there are made: of `kind`, or of bars if that keeps
        every row; to give it saves a question to the server. Each bucket is a commit of its own, so
        some can fail; with `atomic` all are one.
        """
        return self._writer.write(
            writes.by_bucket(key, columns_of(frame, time, unit)), kind, atomic, on_error
        )

    def write_many(
        self,
        frames: Mapping[str, Frame],
        *,
        kind: Kind | None = None,
        time: str = "Epoch",
        unit: str | None = None,
        atomic: bool = False,
        on_error: Literal["raise", "report"] = "raise",
    ) -> WriteReport:
        """The same for frames by key."""
        buckets = {}
        for key, frame in frames.items():
            try:
                buckets[key_names.concrete(key)] = columns_of(frame, time, unit)
            except InvalidInput as error:
                raise InvalidInput(f"{key}: {error.message}", hint=error.hint) from None
        return self._writer.write(buckets, kind, atomic, on_error)

    # -- buckets

    def create(self, key: str, columns: Mapping[str, Any], *, kind: Kind = "bar") -> None:
        """Makes an empty bucket; `columns` are names and types, as numpy writes them, or `str`."""
        if kind not in writes.KINDS:
            raise InvalidInput(f"kind: 'bar' or 'tick', not {kind!r}")
        types = {name: _type_code(name, kind) for name, kind in columns.items()}
        request = {
            "key": f"{key_names.concrete(key)}:Symbol/Timeframe/AttributeGroup",
            "column_names": list(types),
            "column_types": list(types.values()),
            "is_variable_length": kind == "tick",
        }
        self._each("Create", [request])

    def destroy(self, key: str, *, missing_ok: bool = False) -> bool:
        """Drops a bucket and all its rows; whether it was there."""
        try:
            self._each("Destroy", [{"key": key_names.concrete(key)}])
        except NotFound:
            if missing_ok:
                return False
            raise
        return True

    def delete(
        self, key: str, start: Time | None = None, end: Time | None = None, *, dry_run: bool = False
    ) -> int:
        """Deletes the rows from `start` to `end`, both inclusive; how many. `dry_run` only counts."""
        request: dict[str, Any] = {"key": key_names.concrete(key), "dry_run": dry_run}
        if start is None and end is None:
            raise InvalidInput("delete: start or end is needed", hint="destroy() drops a bucket")
        if start is not None:
            request["epoch_start"], request["epoch_start_nanos"] = split(nanoseconds(start, "start"))
        if end is not None:
            request["epoch_end"], request["epoch_end_nanos"] = split(nanoseconds(end, "end"))
        return int(self._each("Delete", [request])[0]["rows"])

    def alter(
        self,
        key: str,
        *,
        add: Mapping[str, Any] | None = None,
        widen: Mapping[str, Any] | None = None,
        rename: Mapping[str, str] | None = None,
        drop: Sequence[str] | None = None,
    ) -> int:
        """Changes the columns of a bucket in one commit; the version of its schema."""
        typed = {"add": add, "widen": widen}
        request: dict[str, Any] = {"key": key_names.concrete(key)}
        for what, changes in typed.items():
            if changes:
                pairs = [{"name": n, "type": _type_code(n, t)} for n, t in changes.items()]
                request[what] = pairs
        if rename:
            request["rename"] = [{"from": old, "to": new} for old, new in rename.items()]
        if drop:
            request["drop"] = _texts("drop", drop)
        return int(self._each("Alter", [request])[0]["version"])

    def info(self, key: str) -> BucketInfo:
        """What a bucket is; `NotFound` if there is none."""
        info = infos(self._transport, [key_names.concrete(key)])[0]
        if info is None:
            raise NotFound(f"there is no bucket {key}")
        return info

    def symbols(self, timeframe: str | None = None) -> list[str]:
        """Symbols that have a bucket, of this timeframe if one is given."""
        return self._list("symbol", timeframe)

    def buckets(self, timeframe: str | None = None) -> list[str]:
        """Keys of all buckets, of this timeframe if one is given."""
        return self._list("tbk", timeframe)

    def _list(self, form: str, timeframe: str | None) -> list[str]:
        params = {"format": form, **({"timeframe": timeframe} if timeframe else {})}
        return list(self._call("ListSymbols", params, repeatable=True)["Results"] or [])

    # -- the server

    def version(self) -> str:
        """Version of the server."""
        reply = self._transport.request("HEAD", "/rpc", repeatable=True)
        if reply.status in (401, 403):
            raise of_status(reply.status, reply.reason())
        return reply.headers.get("marketstore-version", "")

    def status(self) -> dict[str, Any]:
        """What `mkts status` shows: sizes, marks, plugins. Of a server on this machine."""
        return self._get("/admin/v1/status", (200,))

    def health(self) -> dict[str, Any]:
        """Whether all that is required runs, and what does not."""
        return self._get("/health", (200, 503))

    def _get(self, path: str, good: tuple[int, ...]) -> dict[str, Any]:
        reply = self._transport.request("GET", path, repeatable=True)
        if reply.status not in good:
            raise of_status(reply.status, reply.reason())
        answer = json.loads(reply.body)
        if not isinstance(answer, dict):
            raise MktsError(f"{path}: the answer is no object")
        return answer

    def subscribe(
        self,
        patterns: str | Sequence[str],
        *,
        on_gap: Callable[[Gap], None] | None = None,
        reconnect: bool = True,
    ) -> Subscription:
        """Events of streams, `*/1Min/OHLCV`; an iterator and an async iterator."""
        listed = [patterns] if isinstance(patterns, str) else list(patterns)
        return Subscription(self._transport, listed, on_gap, reconnect)

    def _call(self, method: str, params: Mapping[str, Any], *, repeatable: bool) -> Any:
        return rpc.call(self._transport, method, params, repeatable=repeatable)

    def _each(self, method: str, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A call whose requests are answered one by one; the first error is raised."""
        result = self._call(method, {"requests": requests}, repeatable=False)
        entries: list[dict[str, Any]] = result["responses"] or []
        for entry in entries:
            if entry["error"]:
                raise of_text(entry["error"])
        return entries

    def close(self) -> None:
        """Closes idle connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"


def _texts(what: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise InvalidInput(f"{what}: a list of texts is needed")
    return list(values)


def _type_code(name: str, kind: Any) -> str:
    if kind is str:
        return "U16"
    try:
        dtype = np.dtype(kind)
    except TypeError:
        raise InvalidInput(f"column {name!r}: {kind!r} is no type") from None
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return f"{dtype.kind}{dtype.itemsize}"
    if dtype.kind == "U" and dtype.itemsize in (0, 64):
        return "U16"
    raise InvalidInput(f"column {name!r}: {dtype} cannot be stored", hint="integers, f4, f8 or str")


def _check_columns(found: Mapping[str, Table], columns: Sequence[str]) -> None:
    """The server drops names that it does not know."""
    for key, table in found.items():
        for name in columns:
            if name not in table.names and name != "Nanoseconds":
                raise InvalidInput(f"{key} has no column {name!r}")


def _not_found(absent: Sequence[str], others: Sequence[str]) -> NotFound:
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    hint = None
    if others:
        timeframe = key_names.parse(absent[0])[1]
        hint = f"there is {others[0]}, but its rows are not those of {timeframe}"
    return NotFound(f"there is no bucket {absent[0]}{more}", hint=hint)
