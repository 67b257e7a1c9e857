"""Serves a plugin to the server that started this process."""

from __future__ import annotations

import os
import sys
from typing import Any

from .errors import PluginError
from .plugin import Plugin, plugin_of

# What a program started by hand answers with.
BY_HAND = 64


def serve(target: Any) -> int:
    """Serves a decorated class or function; the exit code. Started by hand, prints its manifest."""
    plugin = target if isinstance(target, Plugin) else plugin_of(target)
    if plugin is None:
        raise PluginError(f"{target!r} is no plugin: decorate it with @trigger, @bgworker or @source")
    socket = os.environ.get("MKTS_PLUGIN_SOCKET")
    if not socket:
        print(plugin.manifest(), flush=True)
        return BY_HAND
    # A manifest is to be had without grpc, which takes a while to load.
    from . import guard, logs
    from .child import Child
    from .link import Link, Place

    sys.stdout.reconfigure(line_buffering=True)
    guard.watch_parent()
    place = Place(socket)
    logs.begin(place.level)
    link = Link(place, plugin.manifest())
    logs.follow(link)
    try:
        return Child(plugin, link).run()
    finally:
        logs.begin(place.level)
        link.close()
