"""Reads prices from a text file, a line for each: `1700000000,12.5`. `params` is the file.

The token is the number of lines read, so the feed goes on behind what is stored, whatever crashes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mkts.plugin import More, source


@dataclass
class Config:
    """What stands under `config:` in mkts.yml. Errors name the key."""

    into: str


def parse(line: str) -> tuple[int, float]:
    """Time (s) and price of a line."""
    seconds, price = line.split(",")
    return int(seconds), float(price)


@source("{{name}}", "0.1.0", config=Config, about="{{about_short}}")
class {{Type}}:
    def __init__(self, config):
        self.into = config.into

    def open(self, params, resume):
        self.lines = Path(params).read_text().splitlines()
        self.next = int(resume or b"0")

    def next_batch(self, out, deadline):
        while self.next < len(self.lines):
            if out.is_full:
                return More.FULL
            time, price = parse(self.lines[self.next])
            out.append(self.into, {"Epoch": [time], "Price": np.array([price])}, "ticks")
            self.next += 1
            out.set_resume(str(self.next))
        return More.END
