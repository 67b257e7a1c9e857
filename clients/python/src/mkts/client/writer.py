"""Rows to the server: many buckets in one request where that is possible, else one by one."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from . import bulk, rpc, writes
from .errors import InvalidInput, MktsError, Unsupported, of_text
from .frames import Columns
from .info import Kind, infos
from .transport import Transport
from .writes import BucketReport, WriteReport

#: Bytes of columns in one request; the server takes 64 MiB by default.
REQUEST_BYTES = 32 << 20
#: Calls at once where each bucket has a call of its own.
CALLS = 8


class Writer:
    """Writes to one server. Threads may share it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        #: Until the server says that it has no /write.
        self.has_bulk = True

    def write(
        self, buckets: dict[str, Columns], kind: Kind | None, atomic: bool, on_error: str
    ) -> WriteReport:
        """The rows of each bucket, and how that went."""
        if kind not in (None, *writes.KINDS):
            raise InvalidInput(f"kind: 'bar' or 'tick', not {kind!r}")
        if on_error not in ("raise", "report"):
            raise InvalidInput(f"on_error: 'raise' or 'report', not {on_error!r}")
        buckets = {key: columns for key, columns in buckets.items() if len(columns)}
        kinds = self._kinds_of(buckets, kind)
        if atomic:
            report = self._write_atomic(buckets, kinds)
        else:
            reports = self._write_each(buckets, kinds)
            report = WriteReport(tuple(reports[key] for key in buckets))
        return report.raise_for_errors() if on_error == "raise" else report

    def _kinds_of(self, buckets: Mapping[str, Columns], kind: Kind | None) -> dict[str, Kind]:
        """The kind of each bucket: what it is, or what it shall be.

        It is asked for each time: another program may have made the bucket anew.
        """
        kinds: dict[str, Kind] = dict.fromkeys(buckets, kind or "bar")
        if kind == "tick":
            return kinds
        # Whole seconds fit bars and ticks; parts of them would be cut off if a bucket of ticks were
        # taken for one of bars.
        unsure = [key for key, rows in buckets.items() if kind is None or writes.has_parts(rows.times)]
        for key, info in zip(unsure, infos(self._transport, unsure)):
            if info is not None:
                kinds[key] = info.kind
            elif kind is None:
                writes.check_bars(key, buckets[key].times)
        return kinds

    def _write_each(self, buckets: dict[str, Columns], kinds: Mapping[str, Kind]) -> dict[str, BucketReport]:
        """Each bucket for itself: many in one request where that is possible."""
        reports: dict[str, BucketReport] = {}
        alone = list(buckets)
        if len(buckets) > 1 and self.has_bulk and bulk.is_possible():
            alone = []
            for kind, keys in bulk.groups(buckets, kinds, REQUEST_BYTES):
                if len(keys) > 1 and self.has_bulk:
                    part = {key: buckets[key] for key in keys}
                    try:
                        reports.update((one.key, one) for one in bulk.send(self._transport, part, kind))
                        continue
                    except Unsupported:
                        self.has_bulk = False
                    except MktsError as error:
                        reports.update((key, BucketReport(key, 0, str(error))) for key in keys)
                        continue
                alone += keys
        if len(alone) == 1:
            reports[alone[0]] = self._write_one(alone[0], buckets[alone[0]], kinds[alone[0]])
        elif alone:
            with ThreadPoolExecutor(min(CALLS, len(alone)), "mkts-write") as pool:
                for one in pool.map(lambda key: self._write_one(key, buckets[key], kinds[key]), alone):
                    reports[one.key] = one
        return reports

    def _write_one(self, key: str, columns: Columns, kind: Kind) -> BucketReport:
        stored = 0
        try:
            for part in writes.parts_of(columns, REQUEST_BYTES):
                self._send({key: part}, kind)
                stored += len(part)
        except MktsError as error:
            return BucketReport(key, stored, str(error))
        return BucketReport(key, stored)

    def _write_atomic(self, buckets: dict[str, Columns], kinds: Mapping[str, Kind]) -> WriteReport:
        shapes = {(writes.shape(columns), kinds[key]) for key, columns in buckets.items()}
        if len(shapes) > 1:
            raise InvalidInput("atomic: all buckets must have the same columns, types and kind")
        try:
            for _, kind in shapes:
                self._send(buckets, kind)
        except MktsError as error:
            return WriteReport(tuple(BucketReport(key, 0, str(error)) for key in buckets))
        return WriteReport(tuple(BucketReport(key, len(rows)) for key, rows in buckets.items()))

    def _send(self, buckets: Mapping[str, Columns], kind: str) -> None:
        requests = [writes.request(buckets, kind)]
        result = rpc.call(self._transport, "Write", {"requests": requests}, repeatable=False)
        for entry in result["responses"] or []:
            raise of_text(entry["error"])
