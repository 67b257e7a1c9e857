"""How calls in both directions fail."""

from __future__ import annotations

import datetime

OK, RETRY, SKIP, FATAL = 0, 1, 2, 3
ERR, CONFIG, STALE, LIMIT = -1, -2, -4, -5
CANCELLED, UNSUPPORTED, FENCED, TYPE = -7, -8, -9, -12


class PluginError(Exception):
    """A call of the host failed, or the plugin's own work did; `code` says how."""

    def __init__(self, text: str, code: int = ERR):
        super().__init__(text)
        self.text = text
        self.code = code


class ConfigError(PluginError):
    """A wrong `config:`; `path` is that of the key below it, as in `.destinations[2]`."""

    def __init__(self, text: str, path: str = ""):
        super().__init__(text, CONFIG)
        self.path = path

    def __str__(self) -> str:
        return f"config{self.path}: {self.text}"


class FireError(Exception):
    """How a fire fails on purpose: one of `Retry`, `Skip` and `Fatal`."""

    code = RETRY


class Retry(FireError):
    """Try again: after the host's own pause, or not before `after` (seconds) has passed."""

    def __init__(self, text: str = "", after: float | datetime.timedelta | None = None):
        super().__init__(text)
        if isinstance(after, datetime.timedelta):
            after = after.total_seconds()
        # At least 1: a 0 on the wire leaves the pause to the host.
        self.after_ms = 0 if after is None else min(max(round(after * 1000), 1), 2**32 - 1)


class Skip(FireError):
    """Give this event up and go on with the next."""

    code = SKIP


class Fatal(FireError):
    """The instance cannot go on."""

    code = FATAL


def limit(text: str) -> PluginError:
    return PluginError(f"LIMIT: {text}", LIMIT)


def wrong_type(text: str) -> PluginError:
    return PluginError(f"TYPE: {text}", TYPE)


def unsupported(call: str) -> PluginError:
    return PluginError(f"UNSUPPORTED: this host does not offer {call} here", UNSUPPORTED)


def describe(error: BaseException) -> str:
    """An error that nobody meant, in one line with its place."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f" ({code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
