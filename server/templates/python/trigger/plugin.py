"""Counts the bars of each bucket that close above a limit.

`AAPL/1Min/OHLCV` leads to rows of `AAPL/1Min/ABOVE` with the count so far.
"""

from dataclasses import dataclass

import numpy as np
from mkts.plugin import Skip, Write, trigger


@dataclass
class Config:
    """What stands under `config:` in mkts.yml. Errors name the key."""

    above: float


def count_above(values: np.ndarray, limit: float) -> int:
    return int((values > limit).sum())


# Rows, state and the place in the log happen together, once.
@trigger("{{name}}", "0.1.0", config=Config, delivery="exact", about="{{about_short}}")
class {{Type}}:
    def __init__(self, config):
        self.config = config

    def fire(self, ctx, event):
        if not isinstance(event, Write):
            return
        batch = event.batch
        columns = batch.numpy()
        if "Close" not in columns:
            raise Skip(f"{batch.key} has no column Close")
        hits = count_above(columns["Close"], self.config.above)
        if hits == 0:
            return
        # The object may be made anew between two events: what must last belongs into the state.
        count = ctx.state.incr(str(batch.key), hits)
        target = f"{batch.key.symbol}/{batch.key.timeframe}/ABOVE"
        ctx.write(target, {"Epoch": columns["Epoch"][-1:], "Count": np.array([count])})
