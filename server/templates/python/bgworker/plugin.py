"""Writes a row every now and then, and remembers how many there were."""

from dataclasses import dataclass

import numpy as np
from mkts.plugin import bgworker


@dataclass
class Config:
    """What stands under `config:` in mkts.yml. Errors name the key."""

    into: str
    # Pause between two rows.
    every_ms: int
    # Rows to write; without it there is no end.
    count: int | None = None


def row(beat: int) -> dict:
    """Row of a beat: its time is its number in seconds, so that tests can compare."""
    return {"Epoch": [beat], "Beat": np.array([beat])}


@bgworker("{{name}}", "0.1.0", config=Config, about="{{about_short}}")
class {{Type}}:
    def __init__(self, config):
        self.config = config

    def run(self, ctx):
        beat = ctx.state.counter("beats")
        while not ctx.cancelled and (self.config.count is None or beat < self.config.count):
            beat = ctx.state.incr("beats", 1)
            ctx.write(self.config.into, row(beat), "ticks")
            # Row and state become visible together.
            ctx.commit()
            if not ctx.sleep(self.config.every_ms / 1000):
                break
