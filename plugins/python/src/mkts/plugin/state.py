"""The state store of an instance, and the child's copy of it.

Invariant of the copy: between fires every value known here is the one the server has, once it has
taken the effects of all fires answered with OK. A fire that fails is undone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgpack

from .config import build
from .errors import ConfigError, limit, wrong_type

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 1 << 20
# A copy larger than this forgets, and asks again.
COPY_BYTES_MAX = 64 << 20
# Bytes an entry costs besides key and value.
ENTRY_BYTES = 96
_ABSENT = object()

# bytes, the number of a counter, or None of a key that is known not to be there.
Value = bytes | int | None


class Copy:
    """What is known of the state, so that most reads need no round trip."""

    def __init__(self, entries: dict[bytes, Value] | None = None, is_complete: bool = False):
        self.is_complete = is_complete
        self._values: dict[bytes, Value] = {}
        self._undo: list[tuple[bytes, Any]] = []
        self._bytes = 0
        for key, value in (entries or {}).items():
            self.note(key, value)

    def get(self, key: bytes) -> tuple[bool, Value]:
        """Whether the answer is known, and the answer."""
        value = self._values.get(key, _ABSENT)
        if value is _ABSENT:
            return self.is_complete, None
        return True, value

    def note(self, key: bytes, value: Value) -> None:
        """Keeps what the server has answered."""
        self._forget_size(key)
        self._values[key] = value
        self._bytes += _size(key, value)

    def set(self, key: bytes, value: Value) -> None:
        """A change of the fire under way."""
        self._undo.append((key, self._values.get(key, _ABSENT)))
        self.note(key, value)

    def with_prefix(self, prefix: bytes) -> dict[bytes, Value]:
        """What is known of keys with a prefix, also that they are not there."""
        return {key: value for key, value in self._values.items() if key.startswith(prefix)}

    def keep(self) -> None:
        """The fire has succeeded."""
        self._undo.clear()
        if self._bytes > COPY_BYTES_MAX:
            self.forget()

    def roll_back(self) -> None:
        """The fire has failed."""
        while self._undo:
            key, before = self._undo.pop()
            if before is _ABSENT:
                self._forget_size(key)
                self._values.pop(key, None)
            else:
                self.note(key, before)

    def forget(self) -> None:
        """From now on the server is asked."""
        self.__init__()

    def _forget_size(self, key: bytes) -> None:
        before = self._values.get(key, _ABSENT)
        if before is not _ABSENT:
            self._bytes -= _size(key, before)


def _size(key: bytes, value: Value) -> int:
    return ENTRY_BYTES + len(key) + (len(value) if isinstance(value, bytes) else 0)


class State:
    """Keys and values that are committed with the rows and the place of a window.

    Reads see what this window has changed. Keys are bytes or text of 1 to 512 bytes, values have at
    most 1 MiB, an instance 256 MiB. Every call raises `PluginError` if a limit is passed (LIMIT),
    the value is of the other kind (TYPE), or the host cannot answer.
    """

    def __init__(self, calls: Any):
        self._calls = calls

    def get(self, key: str | bytes) -> bytes | None:
        """The bytes of a key, or None if it is not there."""
        key = _key(key)
        value = self._calls.state_value(key)
        if isinstance(value, int):
            raise wrong_type(f"state {_show(key)} is a counter")
        return value

    def put(self, key: str | bytes, value: bytes | str) -> None:
        """Sets the bytes of a key; a text is stored as UTF-8."""
        key = _key(key)
        data = value.encode() if isinstance(value, str) else bytes(memoryview(value))
        if len(data) > VALUE_BYTES_MAX:
            raise limit(f"a value may have {VALUE_BYTES_MAX} bytes, that of {_show(key)} has {len(data)}")
        # Of a key that is not known the server finds out when it takes the effects.
        if isinstance(self._calls.known_value(key), int):
            raise wrong_type(f"state {_show(key)} is a counter")
        self._calls.state_put(key, data)

    def delete(self, key: str | bytes) -> None:
        """Removes a key, whatever it is."""
        self._calls.state_delete(_key(key))

    def counter(self, key: str | bytes) -> int:
        """A counter; 0 if it is not there."""
        key = _key(key)
        value = self._calls.state_value(key)
        if isinstance(value, bytes):
            raise wrong_type(f"state {_show(key)} is bytes, not a counter")
        return value or 0

    def incr(self, key: str | bytes, by: int = 1) -> int:
        """Adds to a counter and returns its new value; a missing one begins at 0."""
        key = _key(key)
        total = self.counter(key) + int(by)
        if not -(2**63) <= total < 2**63:
            raise limit(f"counter {_show(key)} overflows")
        self._calls.state_count(key, int(by), total)
        return total

    def scan(self, prefix: str | bytes = b"", limit: int = 1000) -> list[tuple[bytes, bytes | int]]:
        """The first keys with a prefix, ascending: bytes, or the number of a counter."""
        prefix = prefix.encode() if isinstance(prefix, str) else bytes(prefix)
        return self._calls.state_scan(prefix, limit)

    def get_as(self, key: str | bytes, wanted: Any = Any) -> Any:
        """The value of a key, from MessagePack with field names; what Rust's `put_as` writes.

        With a dataclass (or any type that a config may have) the value is built as such.
        """
        data = self.get(key)
        if data is None:
            return None
        try:
            value = msgpack.unpackb(data, raw=False, strict_map_key=False)
            return build(wanted, value)
        except ConfigError as error:
            raise wrong_type(f"state {_show(_key(key))}{error.path}: {error.text}") from error
        except (ValueError, msgpack.UnpackException) as error:
            raise wrong_type(f"state {_show(_key(key))}: {error}") from error

    def put_as(self, key: str | bytes, value: Any) -> None:
        """Sets the value of a key, as MessagePack with field names; what Rust's `get_as` reads."""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        try:
            data = msgpack.packb(value, use_bin_type=True, default=_plain)
        except (TypeError, ValueError, OverflowError) as error:
            raise wrong_type(f"state {_show(_key(key))}: {error}") from error
        self.put(key, data)


def _plain(value: Any) -> Any:
    """What msgpack does not know: numpy's numbers and arrays."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in MessagePack")


def _key(key: str | bytes) -> bytes:
    data = key.encode() if isinstance(key, str) else bytes(memoryview(key))
    if not 1 <= len(data) <= KEY_BYTES_MAX:
        raise limit(f"a key of {len(data)} bytes; 1 to {KEY_BYTES_MAX} are allowed")
    return data


def _show(key: bytes) -> str:
    return '"' + key.decode(errors="replace") + '"'
