"""Triggers: what events become, and what effects become."""

import numpy as np
import pytest

from fake import COOKIE, EPOCH, bars, written
from mkts.plugin.v1 import plugin_pb2 as pb

SECOND = 10**9


def test_every_event_and_every_effect(start):
    server = start("Probe")
    ready = server.configure(config='{"size": 3}', state=[])
    assert ready.status == pb.Status()
    assert server.hello.cookie == COOKIE and list(server.hello.protocols) == [1]
    assert '"name":"probe","version":"1.2.3"' in server.hello.manifest

    rows = bars(3)
    ack = server.fire(rows)
    assert (ack.seq, ack.attempt, ack.epoch, ack.code) == (1, 1, EPOCH, 0)
    assert ack.fire_ns > 0
    write, count, publish = ack.effects
    assert write.write.key == "OUT/1Min/COPY"
    assert server.schemas[write.write.schema_id].kind == 1
    back = written(server, write.write)
    assert list(back) == list(rows)
    for name, values in rows.items():
        assert back[name].dtype == values.dtype
        np.testing.assert_array_equal(back[name], values)
    assert (count.count.key, count.count.by) == (b"rows", 3)
    assert publish.publish.payload == b"AAPL bars 3 1"

    # The schema is known now, and state is what the fire before left.
    server.schemas.clear()
    ack = server.fire(rows)
    assert not server.schemas
    assert ack.effects[2].publish.payload == b"AAPL bars 6 2"

    ack = server.fire(type=3, key="AAPL/1D/OHLCV")
    assert ack.effects[0].put == pb.Effect.Put(key=b"deleted", value=b"AAPL/1D/OHLCV")
    assert ack.effects[1].timer_cancel.key == b"t"

    ack = server.fire(type=4, timer_key=b"t", from_ns=99, payload=b"pay")
    expected = pb.Effect.TimerSet(key=b"t", due_ns=104, payload=b"pay!")
    assert ack.effects[0].timer_set == expected
    assert server.stop() == 0
    assert server.close()[0] == "closed stop\n"


def test_a_gap_reads_what_is_stored(start):
    server = start("Probe")
    server.configure()
    server.rows["AAPL/1Min/OHLCV"] = [bars(2), bars(3, "2024-01-03T14:30")]
    ack = server.fire(type=2, key="AAPL/1Min/OHLCV", from_ns=-5, to_ns=5)
    assert ack.effects[0].put == pb.Effect.Put(key=b"gap", value=b"\x81\xa4rows\x05")
    request = server.calls[0]
    assert (request.epoch, request.seq, request.attempt) == (EPOCH, 1, 1)
    assert (request.from_ns, request.to_ns, list(request.columns)) == (-5, 5, ["Close"])
    assert (request.limit, request.from_end) == (2, True)
    ack = server.fire(type=2, key="IBM/1Min/OHLCV")
    assert ack.effects[0].put.value == b"\x81\xa4rows\xff"


def test_a_fire_that_fails_says_how_and_is_undone(start):
    server = start("Trouble")
    server.configure()

    def fire(word):
        ack = server.fire(type=4, timer_key=b"t", from_ns=9, payload=word)
        if ack.code != 0:
            assert not ack.effects
            server.send(state_reset=pb.StateReset(epoch=EPOCH, keep=True))
        return ack

    ack = fire(b"retry")
    assert (ack.code, ack.message, ack.retry_after_ms) == (1, "not now", 1500)
    ack = fire(b"skip")
    assert (ack.code, ack.message) == (2, "not this")
    ack = fire(b"fatal")
    assert (ack.code, ack.message) == (3, "never")
    # Those were meant: the object is the same, its state as before.
    ack = fire(b"")
    assert ack.effects[1].publish.payload == b"4 1"
    ack = fire(b"bug")
    assert (ack.code, ack.retry_after_ms) == (1, 0)
    assert ack.message.startswith("IndexError: list index out of range (")
    assert "plugins.py:" in ack.message
    ack = fire(b"exit")
    assert (ack.code, ack.message.split(" (")[0]) == (1, "SystemExit: 3")
    ack = fire(b"")
    assert ack.effects[1].publish.payload == b"1 2", "a new object"
    server.wait_for("the trace", lambda: any("Traceback" in text for _, text in server.logs))


def test_fires_behind_a_failed_one_wait_for_a_reset(start):
    server = start("Trouble")
    server.configure()
    for word in (b"", b"retry", b"", b""):
        server.fire(type=4, payload=word, wait=False)
    assert [server.next("ack").seq for _ in range(2)] == [1, 2]
    server.send(state_reset=pb.StateReset(epoch=EPOCH, keep=True))
    ack = server.fire(type=4, payload=b"")
    assert ack.seq == 5, "3 and 4 are dropped without an answer"
    assert ack.effects[1].publish.payload == b"3 2"


def test_a_fire_of_another_start_is_dropped(start):
    server = start("Trouble")
    server.configure()
    server.fire(type=4, epoch=EPOCH - 1, wait=False)
    assert server.fire(type=4).seq == 2


def test_cancel_ends_a_fire_that_looks(start):
    server = start("Trouble")
    server.configure()
    server.fire(type=4, payload=b"wait", wait=False)
    server.send(cancel=pb.Cancel(epoch=EPOCH, seq=1))
    ack = server.next("ack")
    assert (ack.seq, ack.message) == (1, "cancelled")


def test_a_ctx_is_of_no_use_after_its_fire(start):
    server = start("Trouble")
    server.configure()
    server.fire(type=4, payload=b"keep")
    ack = server.fire(type=4, payload=b"stale")
    assert ack.effects[1].publish.payload.startswith(b"STALE: ")


def test_a_busy_plugin_still_shows_that_it_lives(start):
    server = start("Trouble")
    server.configure()
    before = len(server.heartbeats)
    server.fire(type=4, payload=b"busy")
    assert len(server.heartbeats) - before >= 2


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 8, b"\x02" + bytes(31)])
def test_garbage_for_rows_fails_the_fire_and_nothing_else(start, garbage):
    server = start("Probe")
    server.configure()
    server.fire(bars(1))
    ack = server.fire(type=1, key="AAPL/1Min/OHLCV", schema_id=3, rows=garbage)
    assert ack.code == 1 and ack.message.startswith("protocol: ")
    server.send(state_reset=pb.StateReset(epoch=EPOCH, keep=True))
    ack = server.fire(type=1, key="AAPL/1Min/OHLCV", schema_id=99)
    assert ack.message == "protocol: schema 99 was never sent"
    server.send(state_reset=pb.StateReset(epoch=EPOCH, keep=True))
    assert server.fire(bars(1)).code == 0


def test_logs_metrics_and_health_reach_the_server(start):
    server = start("logger")
    server.configure()
    server.fire(type=4)
    server.wait_for("health", lambda: any(beat.health == 1 for beat in server.heartbeats))
    assert server.heartbeats[-1].health_text == "half of it"
    assert server.logs == [(1, "by ctx"), (2, "mine: by logging")]
    server.stop()
    assert server.close()[0] == "by print\n"


def test_metrics_are_sent_as_what_was_added(start):
    server = start("Probe")
    server.configure()
    for _ in range(3):
        server.fire(bars(1))
    counted = lambda: sum(m.delta for beat in server.heartbeats for m in beat.metrics)
    server.wait_for("metrics", lambda: counted() == 3)
