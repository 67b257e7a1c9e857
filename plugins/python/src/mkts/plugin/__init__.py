"""Plugins of mkts in Python.

A plugin runs in a process of its own that the server starts and watches:

    from mkts.plugin import Write, trigger

    @trigger("spikes", "1.0.0")
    def spikes(ctx, event):
        match event:
            case Write(batch):
                ctx.log("info", f"{batch.key}: {len(batch)} rows, last close {batch['Close'][-1]}")

`python -m mkts.plugin MODULE:OBJECT` is what the server starts. One thread, the main one, runs the
plugin; threads of its own may use a `ctx` while the call it belongs to lasts, one at a time.
"""

from .calls import FireCtx, FireInfo, Init, WorkerCtx
from .errors import ConfigError, Fatal, FireError, PluginError, Retry, Skip
from .events import Batch, Deleted, Event, Gap, Key, Timer, Write
from .plugin import bgworker, source, trigger
from .rows import Rows
from .serving import serve
from .feed import More, Progress, SourceOut
from .state import State

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "ConfigError",
    "Deleted",
    "Event",
    "Fatal",
    "FireCtx",
    "FireError",
    "FireInfo",
    "Gap",
    "Init",
    "Key",
    "More",
    "PluginError",
    "Progress",
    "Retry",
    "Rows",
    "Skip",
    "SourceOut",
    "State",
    "Timer",
    "WorkerCtx",
    "Write",
    "bgworker",
    "serve",
    "source",
    "trigger",
]
