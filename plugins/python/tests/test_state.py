"""The state store: what travels, what is asked for, what is undone."""

import dataclasses

import msgpack
import pytest

from fake import EPOCH
from mkts.plugin.errors import PluginError
from mkts.plugin.state import COPY_BYTES_MAX, Copy, State
from mkts.plugin.v1 import plugin_pb2 as pb

STATE = {
    b"text": b"abc",
    b"t1": b"one",
    b"n": 41,
    b"map": msgpack.packb({"price": 2.5, "name": "top"}),
}
FOUND = (
    "{'text': b'abc', 'none': None, 'n': 41, 'map': Level(price=2.5, name='top'), "
    "'scan': [(b't1', b'one'), (b'text', b'abc')], "
    "'after': [(b't1', b'one'), (b't2', b'new')], "
    "'errors': ['TYPE: state \"n\" is a counter', "
    "'TYPE: state \"t2\" is bytes, not a counter', "
    "'LIMIT: a key of 0 bytes; 1 to 512 are allowed']}"
)


def entries():
    return [
        pb.StateEntry(
            key=key,
            value=pb.StateValue(counter=value) if isinstance(value, int) else pb.StateValue(bytes=value),
        )
        for key, value in STATE.items()
    ]


@pytest.mark.parametrize("is_given", [True, False])
def test_state_given_or_asked_for_is_the_same(start, is_given):
    server = start("state_calls")
    server.state = dict(STATE)
    server.configure(state=entries() if is_given else [], state_complete=is_given)
    ack = server.fire(type=4)
    assert ack.code == 0, ack.message
    assert ack.effects[-1].publish.payload.decode() == FOUND
    assert ack.effects[0].put == pb.Effect.Put(key=b"t2", value=b"new")
    assert ack.effects[1].delete.key == b"text"
    assert bool(server.calls) is not is_given
    for call in server.calls:
        assert (call.epoch, call.seq, call.attempt) == (EPOCH, 1, 1)


def test_a_copy_that_was_reset_is_asked_for_again(start):
    server = start("Trouble")
    server.configure(state=[pb.StateEntry(key=b"tried", value=pb.StateValue(counter=5))])
    assert server.fire(type=4).effects[1].publish.payload == b"1 6"
    server.state[b"tried"] = 100
    server.send(state_reset=pb.StateReset(epoch=EPOCH, keep=False))
    assert server.fire(type=4).effects[1].publish.payload == b"2 101"


def test_older_state_is_brought_forward(start):
    server = start("Probe")
    ready = server.configure(state_version=1)
    assert ready.state_changes[0].put == pb.Effect.Put(key=b"migrated", value=b"from 1")
    assert ready.state_changes[1].delete.key == b"old"


def test_a_failed_fire_is_undone_in_reverse():
    copy = Copy({}, True)
    copy.set(b"n", 1)
    copy.keep()
    size = copy._bytes
    copy.set(b"n", 2)
    copy.set(b"n", None)
    copy.set(b"other", b"nine")
    copy.roll_back()
    assert copy.get(b"n") == (True, 1) and copy.get(b"other") == (True, None)
    assert copy._bytes == size


def test_a_copy_that_is_not_complete_does_not_know_what_is_missing():
    copy = Copy()
    assert copy.get(b"n") == (False, None)
    copy.note(b"n", None)
    assert copy.get(b"n") == (True, None)
    copy.set(b"m", 1)
    copy.roll_back()
    assert copy.get(b"m") == (False, None)


def test_a_large_copy_is_forgotten_between_fires():
    copy = Copy({}, True)
    copy.set(b"n", bytes(COPY_BYTES_MAX))
    assert copy.is_complete
    copy.keep()
    assert copy.get(b"n") == (False, None) and copy._bytes == 0


class Calls:
    """State calls on a map."""

    def __init__(self):
        self.values = {}

    def state_value(self, key):
        return self.values.get(key)

    known_value = state_value

    def state_put(self, key, value):
        self.values[key] = value

    def state_count(self, key, by, total):
        self.values[key] = total


@dataclasses.dataclass
class Bar:
    open: float
    tags: list[str]
    count: int | None = None


def test_values_are_messagepack_with_field_names():
    calls = Calls()
    state = State(calls)
    state.put_as("bar", Bar(1.5, ["a"], None))
    # What rmp_serde::to_vec_named writes for the same struct.
    assert calls.values[b"bar"].hex() == (
        "83" "a46f70656e" "cb3ff8000000000000" "a474616773" "91a161" "a5636f756e74" "c0"
    )
    assert state.get_as("bar", Bar) == Bar(1.5, ["a"], None)
    assert state.get_as("bar") == {"open": 1.5, "tags": ["a"], "count": None}
    assert state.get_as("none", Bar) is None
    calls.values[b"bar"] = msgpack.packb({"open": "x", "tags": []})
    with pytest.raises(PluginError, match='TYPE: state "bar".open: expected a number, found "x"'):
        state.get_as("bar", Bar)
    calls.values[b"bar"] = b"\xc1"
    with pytest.raises(PluginError, match='TYPE: state "bar"'):
        state.get_as("bar", Bar)


def test_limits_are_named():
    calls = Calls()
    state = State(calls)
    with pytest.raises(PluginError, match="LIMIT: a key of 513 bytes"):
        state.get(bytes(513))
    with pytest.raises(PluginError, match="LIMIT: a value may have 1048576 bytes"):
        state.put("k", bytes((1 << 20) + 1))
    calls.values[b"n"] = 2**63 - 1
    with pytest.raises(PluginError, match='LIMIT: counter "n" overflows'):
        state.incr("n")
    with pytest.raises(PluginError, match='TYPE: state "n" is a counter'):
        state.put("n", b"")
