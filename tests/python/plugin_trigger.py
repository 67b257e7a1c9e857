"""A trigger in Python for the integration tests: numbers the bars of each symbol as they come.

A bar that is fired twice or not at all leaves a hole among the numbers.
"""

import numpy as np

from mkts.plugin import Write, trigger


@trigger("tally", "1.0.0", delivery="exact", writes=["*/1Min/TALLY"])
def tally(ctx, event):
    match event:
        case Write(batch):
            total = ctx.state.incr(batch.key, len(batch))
            numbers = np.arange(total - len(batch), total, dtype="i8") + 1
            columns = {"Epoch": batch["Epoch"], "Number": numbers, "Close": batch["Close"]}
            ctx.write(f"{batch.key.symbol}/1Min/TALLY", columns)
