"""The sample `counter` in Python: it must do what the one in Rust does."""

from dataclasses import dataclass

from mkts.plugin import Gap, Skip, Timer, Write, trigger


@dataclass
class Config:
    target: str = "COUNT/1Sec/ROWS"
    remind_after: int = 0


@trigger("counter", "1.0.0", config=Config, delivery="exact", accepts_gap=True, state_version=2)
class Counter:
    def __init__(self, config):
        self.config = config

    def fire(self, ctx, event):
        match event:
            case Write(batch):
                self.count(ctx, batch)
            case Gap(key, start, end):
                batch = ctx.query(key, start, end)
                if batch is not None:
                    self.count(ctx, batch)
            case Timer(key, _, payload):
                ctx.publish(bytes(key).decode(), payload)

    def count(self, ctx, batch):
        times = batch.times
        if len(times) == 0:
            raise Skip("no rows")
        total = ctx.state.incr("rows", len(times))
        if self.config.remind_after > 0:
            payload = total.to_bytes(8, "little", signed=True)
            ctx.set_timer("remind", ctx.info.now + self.config.remind_after, payload)
        ctx.write(self.config.target, {"Epoch": times.max(keepdims=True).astype("M8[ns]"), "Rows": [total]})
