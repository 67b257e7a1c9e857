"""A config as a dataclass; every error carries the path of the key."""

import dataclasses
import datetime
import enum
from typing import Any, Literal, Optional

import pytest

from mkts.plugin.config import build
from mkts.plugin.errors import ConfigError


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


@dataclasses.dataclass
class Target:
    symbol: str
    weight: float = 1.0


@dataclasses.dataclass
class Config:
    window: int
    name: str = "x"
    on: bool = False
    side: Side = Side.BUY
    mode: Literal["fast", 2] = "fast"
    wait: datetime.timedelta = datetime.timedelta(seconds=1)
    targets: list[Target] = dataclasses.field(default_factory=list)
    limits: dict[str, int] = dataclasses.field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    maybe: Optional[int] = None
    either: int | list[int] = 0
    extra: Any = None

    def __post_init__(self):
        if self.window < 1:
            raise ValueError("window must be positive")


def test_every_type_is_read():
    value = {
        "window": 20.0,
        "name": "y",
        "on": True,
        "side": "sell",
        "mode": 2,
        "wait": 0.5,
        "targets": [{"symbol": "AAPL", "weight": 2}],
        "limits": {"a": 1},
        "pair": [3, "c"],
        "maybe": 4,
        "either": [1, 2],
        "extra": {"any": ["thing"]},
    }
    half = datetime.timedelta(seconds=0.5)
    expected = Config(
        20, "y", True, Side.SELL, 2, half, [Target("AAPL", 2.0)], {"a": 1}, (3, "c"), 4, [1, 2],
        {"any": ["thing"]},
    )  # fmt: skip
    built = build(Config, value)
    assert built == expected
    assert type(built.window) is int and type(built.targets[0].weight) is float
    assert build(Config, {"window": 1}) == Config(1)


@pytest.mark.parametrize(
    "value, path, text",
    [
        (None, ".window", "missing"),
        ([], "", "expected a map, found a list"),
        ({"windw": 1}, ".windw", "unknown key; did you mean 'window'?"),
        ({"window": "1"}, ".window", 'expected an integer, found "1"'),
        ({"window": 1.5}, ".window", "expected an integer, found 1.5"),
        ({"window": True}, ".window", "expected an integer, found true"),
        ({"window": 0}, "", "window must be positive"),
        ({"window": 1, "name": 7}, ".name", "expected a text, found 7"),
        ({"window": 1, "on": "yes"}, ".on", 'expected true or false, found "yes"'),
        ({"window": 1, "side": "hold"}, ".side", 'expected one of "buy", "sell", found "hold"'),
        ({"window": 1, "mode": True}, ".mode", 'expected one of "fast", 2, found true'),
        ({"window": 1, "targets": {}}, ".targets", "expected a list, found a map"),
        ({"window": 1, "targets": [{"symbol": "A"}, {}]}, ".targets[1].symbol", "missing"),
        ({"window": 1, "limits": {"a": "b"}}, ".limits.a", 'expected an integer, found "b"'),
        ({"window": 1, "pair": [1]}, ".pair", "expected 2 values, found 1"),
        ({"window": 1, "pair": [1, 2]}, ".pair[1]", "expected a text, found 2"),
        ({"window": 1, "maybe": "n"}, ".maybe", 'expected an integer, found "n"'),
        ({"window": 1, "either": [1, "n"]}, ".either[1]", 'expected an integer, found "n"'),
        ({"window": 1, "wait": None}, ".wait", "expected a number, found null"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(value, path, text):
    with pytest.raises(ConfigError) as caught:
        build(Config, value)
    assert (caught.value.path, caught.value.text) == (path, text)
    assert str(caught.value) == f"config{path}: {text}"
