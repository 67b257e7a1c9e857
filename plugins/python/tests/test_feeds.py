"""Workers and sources."""

from fake import EPOCH, written
from mkts.plugin.rows import Rows, Schema
from mkts.plugin.v1 import plugin_pb2 as pb


def test_a_worker_commits_sleeps_and_is_cancelled(start):
    server = start("Counter")
    server.configure("bgworker")
    server.credit(run=True)
    server.wait_for("two commits", lambda: len(server.calls) == 2)
    for number, commit in enumerate(server.calls):
        assert (commit.epoch, commit.seq) == (EPOCH, 1)
        write, count = commit.effects
        schema = Schema.of(commit.schemas[0])
        assert commit.schemas[0].id == write.write.schema_id
        rows = Rows(schema, [write.write.rows])
        assert rows.times.tolist() == [(1_700_000_000 + number) * 10**9]
        assert rows["N"].tolist() == [number]
        assert count.count.by == 1
    server.send(cancel=pb.Cancel(epoch=EPOCH, seq=0))
    ack = server.next("ack")
    assert (ack.seq, ack.attempt, ack.code) == (1, 1, 0)
    # What was not committed comes with the end.
    assert written(server, ack.effects[0].write)["N"].tolist() == [2]


def test_a_commit_that_is_refused_fails_the_worker(start):
    server = start("Counter")
    server.commit_code = -11
    server.configure("bgworker")
    server.credit(run=True)
    ack = server.next("ack")
    assert (ack.code, ack.message, list(ack.effects)) == (-11, "no", [])


def test_a_source_brings_batches_and_its_place(start):
    server = start("Feed")
    server.configure("source", '{"size": 5}')
    server.credit(open=pb.Credit.Open(params="x"))
    assert server.next("ack").code == 0
    server.credit(rows=3, bytes=1 << 20, deadline_ms=1000)
    batch = server.next("source_batch")
    assert (batch.seq, batch.epoch, batch.full, batch.end, batch.code) == (2, EPOCH, True, False, 0)
    assert [written(server, write)["N"].tolist() for write in batch.writes] == [[0], [1], [2]]
    assert (batch.resume, batch.progress, batch.progress_text) == (b"3", 0.6, "3 of 5")
    server.credit(open=pb.Credit.Open(params="x", resume=b"4"))
    assert server.next("ack").code == 0
    server.credit(rows=3, bytes=1 << 20, deadline_ms=1000)
    batch = server.next("source_batch")
    assert (batch.end, batch.full, len(batch.writes)) == (True, False, 1)


def test_a_batch_ends_at_its_deadline_or_when_cancelled(start):
    server = start("Feed")
    server.configure("source", '{"do": "wait"}')
    server.credit(open=pb.Credit.Open(params="x"))
    server.next("ack")
    server.credit(rows=3, bytes=100, deadline_ms=20)
    batch = server.next("source_batch")
    assert not (batch.full or batch.end or batch.HasField("resume") or batch.code)
    server.credit(rows=3, bytes=100, deadline_ms=600_000)
    server.send(cancel=pb.Cancel(epoch=EPOCH, seq=0))
    server.send(cancel=pb.Cancel(epoch=EPOCH, seq=server.seq))
    assert server.next("source_batch").code == 0


def test_a_feed_that_fails_drops_its_batch(start):
    server = start("Feed")
    server.configure("source", '{"size": 2, "do": "fail"}')
    server.credit(open=pb.Credit.Open(params="closed"))
    ack = server.next("ack")
    assert ack.code == -1 and ack.message.startswith("OSError: the exchange is closed (")
    server.credit(open=pb.Credit.Open(params="x"))
    server.next("ack")
    server.credit(rows=10, bytes=1000, deadline_ms=1000)
    batch = server.next("source_batch")
    assert batch.code == -1 and batch.message.startswith("ConnectionError: lost")
    assert not batch.writes and not batch.HasField("resume")


def test_work_of_another_kind_is_refused(start):
    server = start("Feed")
    server.configure("source")
    server.credit(run=True)
    assert server.next("ack").message == "protocol: no such work for this kind"
