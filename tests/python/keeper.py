"""Reads a record from the state, says what it found, and leaves the next one."""

from dataclasses import dataclass

from mkts.plugin import trigger


@dataclass
class Record:
    by: str
    count: int
    levels: list[float]
    note: str | None = None


@trigger("keeper", "1.0.0", delivery="exact")
def keeper(ctx, event):
    found = ctx.state.get_as("record", Record)
    if found is None:
        found = Record("nobody", 0, [])
    levels = ",".join(str(level) for level in found.levels)
    ctx.publish("found", f"{found.by} {found.count} [{levels}] {found.note or '-'}")
    ctx.state.put_as("record", Record("python", found.count + 1, [*found.levels, 0.5], "\u00e4"))
