"""`logging` of the plugin: lines of the server's log, with their level."""

from __future__ import annotations

import logging

from .link import Link

_LEVELS = ((logging.ERROR, 0), (logging.WARNING, 1), (logging.INFO, 2))
_WANTED = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}


class _Handler(logging.Handler):
    def __init__(self, link: Link):
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = next((number for least, number in _LEVELS if record.levelno >= least), 3)
            # A trace line by line, so that none is cut.
            for line in self.format(record).splitlines():
                self._link.log(level, line)
        except Exception:
            self.handleError(record)


def begin(level: int) -> None:
    """Until there is a session: to stderr, which the server reads as well."""
    logging.basicConfig(level=_WANTED[level], format="%(message)s")


def follow(link: Link) -> None:
    """From now on by the session, which knows levels."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    handler = _Handler(link)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root.addHandler(handler)
