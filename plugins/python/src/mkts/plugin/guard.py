"""No child outlives its server: stdin is a lifeline, and SIGTERM is heeded whatever the plugin does."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def watch_parent() -> None:
    """Ends this process group when the server has gone: its end of stdin closes with it."""
    if sys.platform == "linux":
        # For a lifeline that some other process has inherited.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    lifeline = os.dup(0)
    # What the plugin starts must not hold or read the lifeline.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_follow, args=(lifeline,), name="lifeline", daemon=True).start()


def _follow(lifeline: int) -> None:
    try:
        # Nothing is ever written; whatever ends the reading ends us.
        while os.read(lifeline, 64):
            pass
    except OSError:
        pass
    end_group()


def end_group() -> None:
    """Ends this process and all it has started."""
    # A group of somebody else, a shell's for one, is not ours to end.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def on_sigterm(stop: Callable[[], None]) -> None:
    """SIGTERM is a stop, unless it says that the server has died."""
    parent = os.getppid()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # The interpreter writes to the socket at once; a Python handler would wait for the plugin, and
    # could not take a lock that the plugin's thread has.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def follow() -> None:
        with theirs:
            while numbers := ours.recv(64):
                if signal.SIGTERM in numbers:
                    if os.getppid() != parent:
                        end_group()
                    stop()

    threading.Thread(target=follow, name="sigterm", daemon=True).start()
