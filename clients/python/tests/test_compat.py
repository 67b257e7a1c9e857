"""`mkts.compat` beside the real pymarketstore: the same scenarios, on the same server, must be equal."""

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import requests

import mkts.compat
import scenarios
from conftest import BARS, Server, hang_up, real_bars

pymarketstore = pytest.importorskip("pymarketstore")
MODULES = {"theirs": pymarketstore, "ours": mkts.compat}


@pytest.fixture(scope="module")
def servers():
    made = {name: Server() for name in MODULES}
    yield made
    for server in made.values():
        server.remove()


@pytest.mark.parametrize("transport", ["rpc", "grpc"])
@pytest.mark.parametrize("scenario", scenarios.ALL, ids=lambda scenario: scenario.__name__)
def test_a_scenario_gives_the_same(servers, scenario, transport):
    seen = {}
    for name, module in MODULES.items():
        server = servers[name]
        if transport == "rpc":
            client = module.Client(f"{server.url}/rpc")
        else:
            client = module.Client(server.grpc, grpc=True)
        seen[name] = scenario(module, client, f"{scenario.__name__[:4].upper()}{transport.upper()}")
    assert seen["ours"] == seen["theirs"]
    assert len(str(seen["ours"])) > 100


@pytest.mark.parametrize("transport", ["rpc", "grpc"])
def test_nanoseconds_just_below_a_second_are_exact(servers, transport):
    """Over gRPC the original divides in floating point, and asks for the second after."""
    server = servers["ours"]
    client = mkts.compat.Client(
        f"{server.url}/rpc" if transport == "rpc" else server.grpc, transport == "grpc"
    )
    dtype = [("Epoch", "i8"), ("Nanoseconds", "i4"), ("Price", "f8")]
    data = np.array([(1_577_923_200, 999_999_999, 2.0), (1_577_923_201, 0, 3.0)], dtype=dtype)
    client.write(data, f"NEAR{transport}/1Sec/TRADE", isvariablelength=True)
    time = pd.Timestamp(1_577_923_200_999_999_999)
    params = mkts.compat.Params(f"NEAR{transport}", "1Sec", "TRADE", start=time, end=time)
    assert client.query(params).first().array["Price"].tolist() == [2.0]


def test_big_endian_arrays_are_stored(servers):
    """The original sends their types as they are, which the server does not know."""
    data = np.array([(1_577_923_200, 2.5)], dtype=[("Epoch", ">i8"), ("Price", ">f8")])
    replies = {}
    for name, module in MODULES.items():
        client = module.Client(f"{servers[name].url}/rpc")
        replies[name] = scenarios.entry(client.write(data, "BIG/1Min/X"))
    assert replies == {"theirs": ["unsupported type string >i8"], "ours": None}


def test_streams_give_the_same(servers):
    seen = {}
    for name, module in MODULES.items():
        server = servers[name]
        client = module.Client(f"{server.url}/rpc")
        got, ended, _ = scenarios.stream(module, f"127.0.0.1:{server.port}", client, "STRM")
        assert ended == ["STRM/1Min/OHLCV"]
        seen[name] = got
    assert seen["ours"] == seen["theirs"]
    assert len(seen["ours"]) == 1


def test_names_are_those_of_the_original():
    for name in (
        "Client",
        "Params",
        "Param",
        "ListSymbolsFormat",
        "MsgpackRpcClient",
        "GRPCClient",
        "StreamConn",
    ):
        assert hasattr(pymarketstore, name) and hasattr(mkts.compat, name), name
    assert mkts.compat.__version__ == pymarketstore.__version__ == "0.22"
    for module in ("client", "params", "results", "stream", "jsonrpc", "jsonrpc_client", "grpc_client"):
        theirs = __import__(f"pymarketstore.{module}", fromlist=["x"])
        ours = __import__(f"mkts.compat.{module}", fromlist=["x"])
        own = [
            name
            for name, value in vars(theirs).items()
            if getattr(value, "__module__", "") == theirs.__name__
        ]
        # Helpers that are defined more than once in the original are in `params` here.
        own = [name for name in own if name not in ("isiterable", "get_timestamp")]
        assert own and not [name for name in own if not hasattr(ours, name)], (module, own)


@pytest.mark.parametrize("grpc", [False, True])
def test_addresses_and_representations(grpc):
    for endpoint in ("http://localhost:5993/rpc", "https://other:1/rpc", "plain:5995"):
        seen = []
        for module in MODULES.values():
            if not grpc and endpoint.startswith(("https", "plain")):
                continue
            client = module.Client(endpoint, grpc=grpc)
            seen.append((client.endpoint, repr(client), type(client.client).__name__))
        assert len(set(seen)) <= 1, seen


def test_without_a_server(servers):
    """Texts and classes of errors of connections."""
    row = np.zeros(1, dtype=BARS)
    for module in MODULES.values():
        client = module.Client("http://127.0.0.1:1/rpc")
        for call in (lambda: client.write(row, "A/1Min/X"), lambda: client.create("A/1Min/X", BARS)):
            with pytest.raises(requests.exceptions.ConnectionError, match="^Could not contact server$"):
                call()
        for call in (client.list_symbols, client.server_version, lambda: client.destroy("A/1Min/X")):
            with pytest.raises(requests.exceptions.ConnectionError):
                call()


def test_a_status_is_an_error_of_http(scripted):
    for module in MODULES.values():
        server = scripted((500, b"broken"), (413, b"too large"))
        client = module.Client(f"{server.url}/rpc")
        for _ in range(2):
            with pytest.raises(requests.exceptions.HTTPError, match="Error"):
                client.list_symbols()


def test_it_sends_nothing_twice(scripted):
    server = scripted(hang_up)
    client = mkts.compat.Client(f"{server.url}/rpc")
    with pytest.raises(requests.exceptions.ConnectionError):
        client.list_symbols()
    assert len(server.requests) == 1


def test_threads_share_a_client(servers):
    client = mkts.compat.Client(f"{servers['ours'].url}/rpc")
    data = real_bars("IBM", 300)
    client.write(data, "THR/1Min/OHLCV")
    failures = []

    def read():
        try:
            for _ in range(20):
                got = client.query(mkts.compat.Params("THR", "1Min", "OHLCV")).first().array
                assert (got == data).all()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures


def test_old_code_runs_with_one_line_changed(servers):
    """A program as one finds it, in an interpreter of its own."""
    program = """
import mkts.compat as pymarketstore
import numpy as np
client = pymarketstore.Client(endpoint="{url}/rpc")
data = np.array([(1577923200, 10.0)], dtype=[("Epoch", "i8"), ("Ask", "f4")])
print(client.write(data, "OLD/1Min/Tick"))
param = pymarketstore.Params("OLD", "1Min", "Tick", limit=10)
print(client.query(param).first().df().to_string())
"""
    done = subprocess.run(
        [sys.executable, "-c", program.format(url=servers["ours"].url)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "{'responses': None}",
        "                            Ask",
        "Epoch                          ",
        "2020-01-02 00:00:00+00:00  10.0",
    ]
