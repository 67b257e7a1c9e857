"""Plugins that tests start."""

import dataclasses
import logging
import os
import subprocess
import sys
import threading
import time

import numpy as np

from mkts.plugin import (
    Deleted,
    Fatal,
    Gap,
    More,
    Progress,
    Retry,
    Skip,
    Timer,
    Write,
    bgworker,
    source,
    trigger,
)


@dataclasses.dataclass
class Level:
    price: float
    name: str = "level"


@dataclasses.dataclass
class Settings:
    size: int = 5
    levels: list[Level] = dataclasses.field(default_factory=list)
    do: str = ""


@trigger("probe", "1.2.3", config=Settings, delivery="exact", accepts_gap=True, state_version=2,
         metrics=["fires"], writes=["OUT/**"])
class Probe:
    """Says what it is called with, in rows, state, timers and messages."""

    def __init__(self, config, init):
        self.config = config
        self.fires = 0
        self.made = init.state.counter("made")

    @staticmethod
    def migrate(from_version, state):
        state.put("migrated", f"from {from_version}")
        state.delete("old")

    def fire(self, ctx, event):
        self.fires += 1
        ctx.count("fires")
        match event:
            case Write(batch):
                columns = batch.numpy()
                assert not columns["Close"].flags.owndata and not columns["Close"].flags.writeable
                ctx.write("OUT/1Min/COPY", columns, "ticks")
                total = ctx.state.incr("rows", len(batch))
                ctx.publish("out", f"{batch.key.symbol} {batch.kind} {total} {self.fires}")
            case Gap(key, start, end):
                found = ctx.query(key, start, end, columns=["Close"], last=2)
                ctx.state.put_as("gap", {"rows": -1 if found is None else len(found)})
            case Deleted(key):
                ctx.state.put("deleted", key)
                ctx.cancel_timer("t")
            case Timer(key, due, payload):
                ctx.set_timer(key, due + 5, payload + b"!")

    def close(self, reason):
        print("closed", reason)


@trigger("worker-of-state", "1.0.0")
def state_calls(ctx, event):
    state = ctx.state
    found = {
        "text": state.get("text"),
        "none": state.get("none"),
        "n": state.counter("n"),
        "map": state.get_as("map", Level),
        "scan": state.scan("t"),
    }
    state.put("t2", b"new")
    state.delete("text")
    found["after"] = state.scan("t")
    for call in (lambda: state.get("n"), lambda: state.incr("t2"), lambda: state.put("", b"")):
        try:
            call()
        except Exception as error:
            found.setdefault("errors", []).append(str(error))
    ctx.publish("found", repr(found))


kept = []


@trigger("trouble", "1.0.0", config=Settings)
class Trouble:
    """Fails in the way its timer says."""

    def __init__(self, config):
        self.fires = 0

    def fire(self, ctx, event):
        self.fires += 1
        ctx.state.incr("tried")
        word = event.payload.decode()
        if word == "retry":
            raise Retry("not now", after=1.5)
        if word == "skip":
            raise Skip("not this")
        if word == "fatal":
            raise Fatal("never")
        if word == "bug":
            return [][event.due]
        if word == "exit":
            sys.exit(3)
        if word == "wait":
            ctx.publish("waited", "")
            while not ctx.cancelled:
                time.sleep(0.001)
            raise Retry("cancelled")
        if word == "keep":
            kept.append(ctx)
        if word == "stale":
            try:
                kept[0].publish("late", "")
            except Exception as error:
                ctx.publish("said", str(error))
        if word == "busy":
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                pass
        ctx.publish("fires", f"{self.fires} {ctx.state.counter('tried')}")
        return None


@trigger("logger", "1.0.0")
def logger(ctx, event):
    ctx.log("warn", "by ctx")
    logging.getLogger("mine").info("by logging")
    logging.getLogger("mine").debug("too low")
    ctx.health("degraded", "half of it")
    print("by print")


@trigger("grandchild", "1.0.0")
def grandchild(ctx, event):
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    ctx.publish("pid", str(started.pid))


@trigger("empty", "1.0.0")
def empty(ctx, event):
    """For the measurement."""


@bgworker("counter", "0.1.0")
class Counter:
    def __init__(self, init):
        self.event = threading.Event()

    def run(self, ctx):
        for number in range(2):
            ctx.write("OUT/1Min/W", {"Epoch": [1_700_000_000 + number], "N": np.array([number])})
            ctx.state.incr("runs")
            ctx.commit()
        ctx.write("OUT/1Min/W", {"Epoch": [1_700_000_002], "N": np.array([2])})
        assert ctx.sleep(0.001)
        assert not ctx.sleep(600), "cancelled"
        self.event.wait(600)

    def cancel(self):
        self.event.set()


@source("feed", "0.1.0", config=Settings)
class Feed:
    def __init__(self, config):
        self.size = config.size
        self.do = config.do

    def open(self, params, resume):
        if params == "closed":
            raise OSError("the exchange is closed")
        self.at = int(resume or b"0")

    def next_batch(self, out, deadline):
        if self.do == "wait":
            while not out.cancelled and time.monotonic() < deadline:
                time.sleep(0.001)
            return None
        while self.at < self.size and not out.is_full:
            out.append("FEED/1Min/T", {"Epoch": [self.at], "N": [self.at]}, "ticks")
            self.at += 1
            out.set_resume(str(self.at))
        if self.do == "fail" and self.at == self.size:
            raise ConnectionError("lost")
        return More.END if self.at == self.size else None

    def progress(self):
        return Progress(self.at / self.size, f"{self.at} of {self.size}")


assert os.environ.get("MKTS_TEST_IMPORT", "") != "fails", "asked to fail"
