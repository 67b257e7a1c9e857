"""python -m mkts.plugin MODULE[:OBJECT]: what the server starts, and what prints a manifest.

MODULE is a module's name or the path of a .py file; without OBJECT its only plugin is meant.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from .errors import PluginError
from .plugin import Plugin, plugin_of
from .serving import serve

USAGE = "usage: python -m mkts.plugin MODULE[:OBJECT]"


def main() -> int:
    """The exit code: 64 after printing the manifest, 2 if there is no such plugin."""
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        plugin = find(sys.argv[1])
    except PluginError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return serve(plugin)
    except PluginError as error:
        print(f"{plugin.name}: {error}", file=sys.stderr)
        return 1


def find(text: str) -> Plugin:
    """The plugin that `MODULE[:OBJECT]` names."""
    place, _, name = text.partition(":")
    module = load(place)
    if name:
        target: Any = module
        for part in name.split("."):
            if not hasattr(target, part):
                known = ", ".join(_plugins(module)) or "no plugins"
                raise PluginError(f"{place} has no {name!r}; it has {known}")
            target = getattr(target, part)
        plugin = plugin_of(target)
        if plugin is None:
            raise PluginError(f"{text} is no plugin: decorate it with @trigger, @bgworker or @source")
        return plugin
    plugins = _plugins(module)
    if len(plugins) != 1:
        found = ", ".join(plugins) or "none"
        raise PluginError(f"{place} has {len(plugins)} plugins ({found}): say {place}:OBJECT")
    return next(iter(plugins.values()))


def load(place: str) -> ModuleType:
    """A module by name, or by the path of its file."""
    if not place.endswith(".py"):
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            raise PluginError(f"no module {place!r} in {os.getcwd()} or among the packages") from error
    path = os.path.abspath(place)
    if not os.path.isfile(path):
        raise PluginError(f"{path}: no such file")
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.basename(path)[: -len(".py")]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _plugins(module: ModuleType) -> dict[str, Plugin]:
    """Plugins of a module by name of the object; one with two names once."""
    found = {name: plugin_of(value) for name, value in vars(module).items()}
    plugins: dict[str, Plugin] = {}
    for name, plugin in found.items():
        if plugin is not None and plugin not in plugins.values():
            plugins[name] = plugin
    return plugins


if __name__ == "__main__":
    sys.exit(main())
