"""Measures the round trip of a fire against a server made in Python: python bench.py [FIRES]

The server's half runs in Python, too, so its cost is part of every figure: a server in Rust answers
sooner. Needs nothing but the package: the fake server is that of the tests.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "tests"))

from fake import EPOCH, PATIENCE, Server, bars, schema_message  # noqa: E402

from mkts.plugin.rows import encode  # noqa: E402
from mkts.plugin.v1 import plugin_pb2 as pb  # noqa: E402


def main():
    fires = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    for target, rows in (("empty", 1), ("empty", 100), ("Probe", 100), ("empty", 2000)):
        server = Server(target)
        try:
            server.configure()
            columns, data, _ = encode(bars(rows))
            server.send(schema=schema_message(3, columns))
            one_by_one(server, target, rows, data, fires)
            at_once(server, target, rows, data, fires)
        finally:
            server.close()


def send(server, seq, data):
    server.send(
        fire=pb.Fire(
            seq=seq,
            attempt=1,
            epoch=EPOCH,
            type=1,
            key="AAPL/1Min/OHLCV",
            schema_id=3,
            rows=data,
            deadline_ms=5000,
        )
    )


def acked(server):
    while True:
        message = server.came.get(timeout=PATIENCE)
        if message.WhichOneof("message") == "ack":
            assert message.ack.code == 0, message.ack.message
            return message.ack


def one_by_one(server, target, rows, data, fires):
    trips, inside = [], []
    for seq in range(1, fires + 1):
        began = time.perf_counter_ns()
        send(server, seq, data)
        inside.append(acked(server).fire_ns)
        trips.append(time.perf_counter_ns() - began)
    trips, inside = sorted(trips), sorted(inside)
    p50, p99, plugin = trips[fires // 2], trips[fires * 99 // 100], inside[fires // 2]
    print(
        f"{target:>6} {rows:>5} rows, one by one: p50 {p50 / 1e3:.0f} us, p99 {p99 / 1e3:.0f} us,"
        f" of it in the child's fire {plugin / 1e3:.0f} us"
    )


def at_once(server, target, rows, data, fires):
    began = time.perf_counter()
    for seq in range(fires):
        send(server, seq + 1, data)
    for _ in range(fires):
        acked(server)
    took = time.perf_counter() - began
    print(f"{target:>6} {rows:>5} rows, at once: {fires / took:.0f} fires/s")


if __name__ == "__main__":
    main()
