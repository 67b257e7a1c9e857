"""The plugin's thread: does what the server asks, in order."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from . import errors
from .calls import FireCtx, FireInfo, Init, WorkerCtx, state_value
from .errors import ConfigError, FireError, PluginError
from .events import Batch, Deleted, Event, Gap, Key, Timer, Write
from .guard import end_group
from .link import Gone, Link
from .plugin import Plugin
from .rows import Schema, Sent
from .feed import More, SourceOut
from .state import Copy, State
from .v1 import plugin_pb2 as pb

_logger = logging.getLogger("mkts.plugin")
_REASONS = {1: "panic", 2: "again", 3: "reload"}


class Child:
    """A child and the one instance it has."""

    def __init__(self, plugin: Plugin, link: Link):
        self._plugin = plugin
        self._link = link
        self._epoch = link.epoch
        # By number; more than one only with `parallelism`.
        self._objects: dict[int, Any] = {}
        self._configured: pb.Configure | None = None
        self._config: Any = None
        self._copy = Copy()
        self._schemas: dict[int, Schema] = {}
        self._sent = Sent()
        # Resets worked off; those that came are counted by the link.
        self._resets = 0
        # A fire has failed: the next ones wait for a reset.
        self._is_halted = False

    def run(self) -> int:
        """Works until the server says `Stop`; without a server the process ends."""
        while True:
            message = self._link.commands.get()
            if isinstance(message, Gone):
                if self._configured is None:
                    # Refused: whoever started us reads why.
                    raise PluginError(f"no session: {message.why}")
                end_group()
            which = message.WhichOneof("message")
            if which == "stop":
                self._close(_REASONS.get(message.stop.reason, "stop"))
                return 0
            getattr(self, "_on_" + which)(getattr(message, which))

    # ---- messages ----

    def _on_configure(self, configure: pb.Configure) -> None:
        self._close("again")
        entries = {entry.key: state_value(entry.value) for entry in configure.state}
        self._copy = Copy(entries, configure.state_complete)
        self._configured = configure
        ready = pb.Ready(status=pb.Status())
        try:
            ready.state_changes.extend(self._prepare(configure))
        except ConfigError as error:
            ready.status.CopyFrom(
                pb.Status(code=error.code, message=error.text, path=error.path)
            )
        except PluginError as error:
            ready.status.CopyFrom(pb.Status(code=error.code, message=error.text))
        except BaseException as error:
            text = self._unexpected("cannot start", error)
            ready.status.CopyFrom(pb.Status(code=errors.ERR, message=text))
        self._link.send(ready=ready)

    def _on_schema(self, schema: pb.Schema) -> None:
        self._schemas[schema.id] = Schema.of(schema)

    def _on_state_reset(self, reset: pb.StateReset) -> None:
        self._resets += 1
        self._is_halted = False
        if not reset.keep:
            self._copy.forget()

    def _on_fire(self, fire: pb.Fire) -> None:
        is_late = self._resets < self._link.shared.resets
        if self._is_halted or is_late or fire.epoch != self._epoch:
            return
        if self._plugin.state_scope == "key":
            # Each bucket has keys of its own; the copy is of one namespace.
            self._copy.forget()
        began = time.perf_counter_ns()
        ack = pb.Ack(seq=fire.seq, attempt=fire.attempt, epoch=fire.epoch)
        self._link.shared.begin(fire.seq)
        must_remake = False
        try:
            ack.effects.extend(self._fire(fire))
        except FireError as error:
            ack.code, ack.message = error.code, str(error) or type(error).__name__
            ack.retry_after_ms = getattr(error, "after_ms", 0)
        except PluginError as error:
            ack.code, ack.message = errors.RETRY, error.text
        except BaseException as error:
            ack.code, ack.message = errors.RETRY, self._unexpected("fire", error)
            must_remake = True
        self._link.shared.begin(0)
        if ack.code == errors.OK:
            self._copy.keep()
        else:
            self._copy.roll_back()
            self._is_halted = True
        ack.fire_ns = time.perf_counter_ns() - began
        self._link.send(ack=ack)
        if must_remake:
            # Nobody meant this to happen: nothing of the object is to be trusted.
            self._close("panic", fire.object)
            self._make(fire.object)

    def _on_credit(self, credit: pb.Credit) -> None:
        if credit.epoch != self._epoch:
            return
        self._link.shared.begin(credit.seq)
        if credit.run and self._plugin.kind == "bgworker":
            self._run_worker(credit)
        elif credit.HasField("open") and self._plugin.kind == "source":
            resume = credit.open.resume if credit.open.HasField("resume") else None
            source = self._objects[0]
            self._answer(credit.seq, lambda: source.open(credit.open.params, resume))
        elif not credit.run and self._plugin.kind == "source":
            self._batch(credit)
        else:
            error = PluginError("protocol: no such work for this kind")
            self._answer(credit.seq, lambda: _raise(error))
        self._link.shared.begin(0)

    # ---- the object ----

    def _prepare(self, configure: pb.Configure) -> list[pb.Effect]:
        """Config, migration, object."""
        effects = []
        # State is brought forward before anything else.
        if configure.state_version != 0:
            effects = self._migrate(configure.state_version)
        elif configure.check_only:
            self._plugin.parse(json.loads(configure.config_json or "null"))
        if not configure.check_only:
            if configure.kind != self._plugin.kind:
                raise errors.unsupported(f'kind "{configure.kind}"')
            self._config = self._plugin.parse(json.loads(configure.config_json or "null"))
            for number in range(max(configure.parallelism, 1)):
                self._make(number)
        return effects

    def _migrate(self, from_version: int) -> list[pb.Effect]:
        ctx = self._ctx(0, FireInfo())
        if self._plugin.migrate is not None:
            self._plugin.migrate(from_version, ctx.state)
        self._copy.keep()
        return ctx.finish()

    def _make(self, number: int) -> None:
        ctx = self._ctx(0, FireInfo())
        ctx._is_read_only = True
        configured = self._configured
        init = Init(
            configured.instance, self._epoch, configured.timezone or "UTC", State(ctx), self._config
        )
        made = self._objects[number] = self._plugin.make(init)
        ctx.finish()
        hook = getattr(made, "cancel", None)
        self._link.shared.cancel_hook = hook and (lambda: self._contained("cancel", hook))

    def _close(self, why: str, only: int | None = None) -> None:
        self._link.shared.cancel_hook = None
        for number in list(self._objects) if only is None else [only]:
            close = getattr(self._objects.pop(number, None), "close", None)
            if close is not None:
                self._contained("close", lambda: close(why))

    def _ctx(self, seq: int, info: FireInfo) -> FireCtx:
        return FireCtx(self._link, self._copy, self._sent, seq, info, self._config)

    # ---- work ----

    def _fire(self, fire: pb.Fire) -> list[pb.Effect]:
        made = self._objects.get(fire.object)
        if self._plugin.kind != "trigger" or made is None:
            raise PluginError(f"protocol: no object {fire.object} to fire")
        ctx = self._ctx(fire.seq, _info(fire))
        try:
            made.fire(ctx, self._event(fire))
        finally:
            effects = ctx.finish()
        return effects

    def _event(self, fire: pb.Fire) -> Event:
        if fire.type == 1:
            schema = self._schemas.get(fire.schema_id)
            if schema is None:
                raise PluginError(f"protocol: schema {fire.schema_id} was never sent")
            return Write(Batch(fire.key, schema, fire.rows))
        if fire.type == 2:
            return Gap(Key(fire.key), fire.from_ns, fire.to_ns)
        if fire.type == 3:
            return Deleted(Key(fire.key))
        if fire.type == 4:
            return Timer(fire.timer_key, fire.from_ns, fire.payload)
        raise errors.unsupported(f"events of type {fire.type}")

    def _run_worker(self, credit: pb.Credit) -> None:
        self._sent = Sent()
        ctx = WorkerCtx(self._link, self._copy, self._sent, credit.seq, FireInfo(), self._config)
        if not self._answer(credit.seq, lambda: self._objects[0].run(ctx), ctx):
            self._copy.roll_back()

    def _answer(self, seq: int, work: Callable[[], Any], ctx: WorkerCtx | None = None) -> bool:
        """Does some work and answers how it went; whether it went well."""
        ack = pb.Ack(seq=seq, attempt=1, epoch=self._epoch)
        try:
            work()
        except PluginError as error:
            ack.code, ack.message = error.code, error.text
        except BaseException as error:
            ack.code, ack.message = errors.ERR, self._unexpected("failed", error)
        if ctx is not None:
            effects, schemas = ctx.final()
            if ack.code == errors.OK:
                for schema in schemas:
                    self._link.send(schema=schema)
                ack.effects.extend(effects)
                self._copy.keep()
        self._link.send(ack=ack)
        return ack.code == errors.OK

    def _batch(self, credit: pb.Credit) -> None:
        deadline = time.monotonic() + credit.deadline_ms / 1000
        source = self._objects[0]
        out = SourceOut(self._link, self._sent, credit.rows, credit.bytes)
        batch = pb.SourceBatch(epoch=self._epoch, seq=credit.seq)
        try:
            more = source.next_batch(out, deadline)
            if more is None:
                more = More.FULL if out.is_full else More.TIMEOUT
            batch.end, batch.full = more is More.END, more is More.FULL
            batch.writes.extend(out.writes)
            if out.resume is not None:
                batch.resume = out.resume
            progress = source.progress() if hasattr(source, "progress") else None
            if progress is not None:
                batch.progress, batch.progress_text = progress.share, progress.text
        except BaseException as error:
            # Whatever was filled in goes with it.
            batch = pb.SourceBatch(epoch=self._epoch, seq=credit.seq)
            if isinstance(error, PluginError):
                batch.code, batch.message = error.code, error.text
            else:
                batch.code, batch.message = errors.ERR, self._unexpected("next_batch", error)
        out.finish()
        self._link.send(source_batch=batch)

    def _contained(self, name: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:
            self._unexpected(name, error)

    def _unexpected(self, name: str, error: BaseException) -> str:
        """Logs an error that nobody meant, with its trace; its one line."""
        text = errors.describe(error)
        _logger.error("%s: %s", name, text, exc_info=error)
        return text


def _info(fire: pb.Fire) -> FireInfo:
    return FireInfo(
        fire.first_lsn,
        fire.last_lsn,
        fire.attempt,
        fire.flags & 1 != 0,
        fire.now_ns,
        fire.now_ns + fire.deadline_ms * 1_000_000,
    )


def _raise(error: BaseException) -> None:
    raise error
