"""A real server for each module of tests, and one that says what a test wants."""

from __future__ import annotations

import csv
import gzip
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import numpy as np
import pytest

from mkts.client import Client

DATA = pathlib.Path(__file__).resolve().parents[3] / "data"
STREAM = 'triggers:\n  - module: stream.so\n    on: "*/*/*"\n'
#: How long a start may take: a hang, not a performance check.
LIMIT = 60
BARS = [("Epoch", "i8"), ("Open", "f4"), ("High", "f4"), ("Low", "f4"), ("Close", "f4"), ("Volume", "i4")]


def binary() -> str:
    found = os.environ.get("MKTS_BIN") or shutil.which("mkts")
    assert found, "these tests need the server: set MKTS_BIN to the path of mkts"
    return found


class Server:
    """A process of its own, on a directory of its own."""

    def __init__(self, extra: str = STREAM) -> None:
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mkts-py-"))
        self.extra = extra
        self.port = self.grpc_port = 0
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        ready = self.dir / f"ready.{self.starts}"
        config = self.dir / "mkts.yml"
        config.write_text(
            f"root_directory: {self.dir / 'data'}\nlisten_host: 127.0.0.1\nlisten_port: {self.port}\n"
            f"grpc_listen_port: {self.grpc_port}\nlog_level: info\n{self.extra}"
        )
        self.log = open(self.dir / "log", "ab")
        command = [binary(), "start", "--config", str(config), "--ready-file", str(ready)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.dir)
        until = time.monotonic() + LIMIT
        while not ready.exists():
            assert self.process.poll() is None, (self.dir / "log").read_text()
            assert time.monotonic() < until, (self.dir / "log").read_text()
            time.sleep(0.005)
        addresses = json.loads(ready.read_text())
        # Started again it is where it was.
        self.port = int(addresses["http"].rsplit(":", 1)[1])
        self.grpc_port = int(addresses["grpc"].rsplit(":", 1)[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def stop(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait(LIMIT)
        self.log.close()

    def remove(self) -> None:
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.dir)


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def new_server():
    """Servers that a test starts and stops as it likes."""
    made = []

    def make(extra: str = STREAM) -> Server:
        made.append(Server(extra))
        return made[-1]

    yield make
    for server in made:
        server.remove()


@pytest.fixture
def client(server):
    with Client(server.url) as client:
        yield client


def real_bars(symbol: str, limit: int | None = None) -> np.ndarray:
    """Bundled minute bars, as MarketStore's clients write them."""
    with gzip.open(DATA / f"{symbol}_1Min_OHLCV.csv.gz", "rt") as file:
        rows = [
            (
                int(r["Epoch"]),
                *(float(r[c]) for c in ("Open", "High", "Low", "Close")),
                int(float(r["Volume"])),
            )
            for r in csv.DictReader(file)
        ]
    array = np.array(rows[:limit], dtype=BARS)
    assert len(array) > 500 or limit is not None
    return array


def real_trades(limit: int | None = None) -> dict[str, np.ndarray]:
    """Bundled trades: times in nanoseconds, of which many are equal."""
    with gzip.open(DATA / "IBM_Tick_TRADE.csv.gz", "rt") as file:
        rows = [(int(r["Epoch"]) * 10**9 + int(r["Nanoseconds"]), float(r["Price"]), int(r["Size"]), r["Exchange"])
                for r in csv.DictReader(file)][:limit]  # fmt: skip
    times, prices, sizes, exchanges = zip(*rows)
    return {
        "Epoch": np.array(times, "i8").view("M8[ns]"),
        "Price": np.array(prices, "f4"),
        "Size": np.array(sizes, "i4"),
        "Exchange": np.array(exchanges),
    }


class Scripted:
    """An HTTP server that answers each request with the next of its answers.

    An answer is a function of the handler, or (status, body). What came is in `requests`.
    """

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.connections = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                outer.connections += 1

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, body, headers))
                answer = outer.answers.pop(0)
                if callable(answer):
                    return answer(self)
                self.reply(*answer)

            do_GET = do_POST = do_HEAD = answer

            def reply(self, status, body=b"", kind="text/plain"):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def scripted():
    made = []

    def make(*answers) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield make
    for server in made:
        server.close()


def hang_up(handler) -> None:
    """Answers with the end of the connection."""
    handler.close_connection = True
