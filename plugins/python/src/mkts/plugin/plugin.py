"""The decorators that make a class or function a plugin, and what they say of it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from .calls import Init
from .config import build
from .errors import ConfigError

DELIVERIES = ("volatile", "durable", "exact")
STATE_SCOPES = ("instance", "key")
_MARK = "__mkts_plugin__"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
# What a class of each kind must have.
_METHODS = {"trigger": ("fire",), "bgworker": ("run",), "source": ("open", "next_batch")}


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A plugin as the server knows it."""

    kind: str
    name: str
    version: str
    target: Any
    config: Any = None
    about: str = ""
    delivery: str = "durable"
    accepts_gap: bool = False
    state_scope: str = "instance"
    state_version: int = 1
    writes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    migrate: Callable[[int, Any], None] | None = None

    def manifest(self) -> str:
        """The manifest as the server reads it: JSON, one line."""
        fields = {
            "name": self.name,
            "version": self.version,
            "about": self.about,
            "kind": self.kind,
            "abi": [0, 0],
            "entry": "",
            "scope": "constructor",
            "state_scope": self.state_scope,
            "state_version": self.state_version,
            "delivery": self.delivery,
            "accepts_gap": self.accepts_gap,
            "writes": self.writes,
            "secrets": self.secrets,
            "metrics": self.metrics,
        }
        return json.dumps(fields, separators=(",", ":"))

    def parse(self, config: Any) -> Any:
        """The config as the plugin's own type; raises `ConfigError` with the path of the key."""
        if self.config is not None:
            return build(self.config, config)
        if config:
            raise ConfigError(f"{self.name} takes no config")
        return None

    def make(self, init: Init) -> Any:
        """A new object."""
        if not inspect.isclass(self.target):
            return _Function(self.target)
        given = (init.config, init) if self.config is not None else (init,)
        return self.target(*given[: _count_arguments(self.target, len(given))])


class _Function:
    """A function as an object of its kind."""

    def __init__(self, function: Callable):
        self.fire = self.run = function


def _count_arguments(cls: type, offered: int) -> int:
    """How many arguments a class takes of those it is offered."""
    if cls.__init__ is object.__init__:
        return 0
    parameters = list(inspect.signature(cls).parameters.values())
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return offered
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(offered, sum(parameter.kind in positional for parameter in parameters))


def plugin_of(target: Any) -> Plugin | None:
    """The plugin that a decorated class or function is."""
    # Not inherited: a subclass is another plugin, or none.
    return vars(target).get(_MARK) if hasattr(target, "__dict__") else None


def trigger(
    name: str,
    version: str,
    *,
    config: type | None = None,
    about: str = "",
    delivery: str = "durable",
    accepts_gap: bool = False,
    state_scope: str = "instance",
    state_version: int = 1,
    writes: Sequence[str] = (),
    secrets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    migrate: Callable[[int, Any], None] | None = None,
) -> Callable[[Any], Any]:
    """Makes a class with `fire(self, ctx, event)`, or a function `(ctx, event)`, a trigger.

    A class is made with as many of `(config, init)` as its `__init__` takes, or of `(init,)` if it
    has no config. It may have `migrate(from_version, state)` (static), which brings state of an
    older `state_version` forward, and `close(self, reason)`. `writes` are patterns of the bucket
    keys it may write, `secrets` keys of its config that must not be shown, `metrics` the names that
    `ctx.count` uses.
    """
    return _decorate(
        "trigger",
        name,
        version,
        config=config,
        about=about,
        delivery=delivery,
        accepts_gap=accepts_gap,
        state_scope=state_scope,
        state_version=state_version,
        writes=_texts(writes),
        secrets=_texts(secrets),
        metrics=_texts(metrics),
        migrate=migrate,
    )


def bgworker(
    name: str,
    version: str,
    *,
    config: type | None = None,
    about: str = "",
    state_version: int = 1,
    writes: Sequence[str] = (),
    secrets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    migrate: Callable[[int, Any], None] | None = None,
) -> Callable[[Any], Any]:
    """Makes a class with `run(self, ctx)`, or a function `(ctx)`, a background worker.

    The rest is as for `trigger`; `cancel(self)`, if it is there, is called from another thread when
    the work is to end.
    """
    return _decorate(
        "bgworker",
        name,
        version,
        config=config,
        about=about,
        state_version=state_version,
        writes=_texts(writes),
        secrets=_texts(secrets),
        metrics=_texts(metrics),
        migrate=migrate,
    )


def source(
    name: str,
    version: str,
    *,
    config: type | None = None,
    about: str = "",
    state_version: int = 1,
    writes: Sequence[str] = (),
    secrets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    migrate: Callable[[int, Any], None] | None = None,
) -> Callable[[Any], Any]:
    """Makes a class a source: `open(self, params, resume)` and `next_batch(self, out, deadline)`.

    `next_batch` appends to `out` until it is full, `time.monotonic()` has reached `deadline`, or
    the feed ends, and returns a `More`; None stands for FULL if `out` is full, else for TIMEOUT.
    `progress(self)`, if it is there, returns a `Progress` or None. The rest is as for `bgworker`.
    """
    return _decorate(
        "source",
        name,
        version,
        config=config,
        about=about,
        state_version=state_version,
        writes=_texts(writes),
        secrets=_texts(secrets),
        metrics=_texts(metrics),
        migrate=migrate,
    )


def _decorate(kind: str, name: str, version: str, **fields: Any) -> Callable[[Any], Any]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r}: letters, digits, _ and - are allowed")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError(f"{name}: version {version!r} is not of the form 1.2.3")
    config = fields["config"]
    if config is not None and not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise ValueError(f"{name}: config={config!r} is no dataclass")
    for field, known in (("delivery", DELIVERIES), ("state_scope", STATE_SCOPES)):
        if fields.get(field, known[0]) not in known:
            raise ValueError(f"{name}: {field} is one of {', '.join(known)}, not {fields[field]!r}")
    if fields["state_version"] < 1:
        raise ValueError(f"{name}: state_version begins at 1")

    def mark(target: Any) -> Any:
        _check_target(kind, name, target)
        if fields["migrate"] is None:
            fields["migrate"] = getattr(target, "migrate", None)
        setattr(target, _MARK, Plugin(kind, name, version, target, **fields))
        return target

    return mark


def _check_target(kind: str, name: str, target: Any) -> None:
    if inspect.isclass(target):
        missing = [method for method in _METHODS[kind] if not hasattr(target, method)]
        if missing:
            raise TypeError(f"{name}: a {kind} needs a method {missing[0]}")
        called = [getattr(target, method) for method in _METHODS[kind]]
    elif callable(target) and kind != "source":
        called = [target]
    else:
        what = "a class" if kind == "source" else "a class or function"
        raise TypeError(f"{name}: a {kind} is {what}")
    if any(inspect.iscoroutinefunction(function) for function in called):
        raise TypeError(f"{name}: a {kind} is called by a thread of its own and cannot be async")


def _texts(value: Sequence[str]) -> tuple[str, ...]:
    # A lone text would otherwise become its letters.
    return (value,) if isinstance(value, str) else tuple(value)
