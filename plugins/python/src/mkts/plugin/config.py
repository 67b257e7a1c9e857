"""A `config:` as a dataclass; an error carries the path of the key.

Understood are dataclasses, int, float, str, bool, None, Any, enums by value, Literal, Optional and
other unions, list, tuple, set, dict with text keys, and timedelta in seconds.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import enum
import math
import types
import typing
from typing import Any

from .errors import ConfigError

_SIMPLE = {str: "a text", bool: "true or false", type(None): "null", dict: "a map", list: "a list"}


def build(wanted: Any, value: Any, path: str = "") -> Any:
    """The value as the type that is wanted."""
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _dataclass(wanted, value, path)
    origin = typing.get_origin(wanted)
    if origin is not None:
        return _generic(wanted, origin, value, path)
    if wanted is Any or wanted is dataclasses.InitVar:
        return value
    if wanted is None:
        wanted = type(None)
    if wanted is int:
        return _number(value, path, int)
    if wanted is float:
        return _number(value, path, float)
    if wanted is datetime.timedelta:
        return datetime.timedelta(seconds=_number(value, path, float))
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return _one_of(wanted, [member.value for member in wanted], value, path)
    if wanted in (list, tuple, set):
        return wanted(_expect(value, list, path))
    if wanted in _SIMPLE:
        return _expect(value, wanted, path)
    raise ConfigError(f"the plugin's config has a type that cannot be read: {wanted!r}", path)


def _dataclass(wanted: type, value: Any, path: str) -> Any:
    value = _expect({} if value is None and not path else value, dict, path)
    hints = typing.get_type_hints(wanted)
    fields = {field.name: field for field in dataclasses.fields(wanted) if field.init}
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(fields) or 'none'}"
            raise ConfigError(f"unknown key{hint}", f"{path}.{key}")
    built = {}
    for name, field in fields.items():
        if name in value:
            built[name] = build(hints[name], value[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError("missing", f"{path}.{name}")
    try:
        return wanted(**built)
    except ConfigError as error:
        raise ConfigError(error.text, path + error.path) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error), path) from error


def _generic(wanted: Any, origin: Any, value: Any, path: str) -> Any:
    args = typing.get_args(wanted)
    if origin is typing.Annotated:
        return build(args[0], value, path)
    if origin is typing.Literal:
        return _one_of(lambda chosen: chosen, list(args), value, path)
    if origin in (typing.Union, types.UnionType):
        return _union(args, value, path)
    if origin is dict:
        items = _expect(value, dict, path).items()
        return {key: build(args[1], item, f"{path}.{key}") for key, item in items}
    if origin in (list, set, tuple):
        items = _expect(value, list, path)
        if origin is tuple and args[-1] is not Ellipsis:
            if len(items) != len(args):
                raise ConfigError(f"expected {len(args)} values, found {len(items)}", path)
            kinds = list(args)
        else:
            kinds = [args[0]] * len(items)
        pairs = enumerate(zip(kinds, items))
        return origin([build(kind, item, f"{path}[{at}]") for at, (kind, item) in pairs])
    raise ConfigError(f"the plugin's config has a type that cannot be read: {wanted!r}", path)


def _union(args: tuple, value: Any, path: str) -> Any:
    if value is None and type(None) in args:
        return None
    errors = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return build(arg, value, path)
        except ConfigError as error:
            errors.append(error)
    # The deepest one got furthest: it is the form that was meant.
    raise max(errors, key=lambda error: len(error.path))


def _number(value: Any, path: str, wanted: type) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is float and is_number:
        return float(value)
    if is_number and (isinstance(value, int) or math.isfinite(value) and value == int(value)):
        return int(value)
    name = "an integer" if wanted is int else "a number"
    raise ConfigError(f"expected {name}, found {_show(value)}", path)


def _expect(value: Any, wanted: type, path: str) -> Any:
    if isinstance(value, wanted):
        return value
    raise ConfigError(f"expected {_SIMPLE[wanted]}, found {_show(value)}", path)


def _one_of(make: Any, choices: list, value: Any, path: str) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return make(choice)
    known = ", ".join(_show(choice) for choice in choices)
    raise ConfigError(f"expected one of {known}, found {_show(value)}", path)


def _show(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
