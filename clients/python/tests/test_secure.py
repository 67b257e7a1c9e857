"""Tokens and certificates: who may do what, and whom the client trusts."""

import subprocess

import numpy as np
import pytest
import trustme

import mkts.compat
from conftest import STREAM, Server, binary
from mkts.client import Client, ConnectionFailed, Denied, MktsError, NotFound, Unauthorized, WriteError

ROW = {"Epoch": np.array(["2020-01-02"], "M8[ns]"), "Price": [1.0]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a certificate that asks for tokens: its process, its CA, tokens by name."""
    folder = tmp_path_factory.mktemp("guarded")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    own = ca.issue_cert("127.0.0.1", "localhost")
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    for pem in own.cert_chain_pems:
        pem.write_to_path(str(folder / "cert.pem"), append=True)
    (folder / "key.pem").chmod(0o600)
    tokens = {
        "reader": _token(folder, "reader", "read", "--key", "A/**"),
        "writer": _token(folder, "writer", "write"),
        "steward": _token(folder, "steward", "admin"),
    }
    server = Server(
        f"{STREAM}tls: {{cert: {folder / 'cert.pem'}, key: {folder / 'key.pem'}}}\n"
        f"auth: {{tokens_file: {folder / 'tokens'}}}\n"
    )
    yield server, folder / "ca.pem", tokens
    server.remove()


def _token(folder, name, right, *more):
    command = [
        binary(),
        "token",
        "new",
        "--name",
        name,
        "--right",
        right,
        "--file",
        str(folder / "tokens"),
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[0]


@pytest.fixture
def client_of(guarded):
    server, ca, tokens = guarded

    def make(name):
        return Client(server.url.replace("http", "https"), ca=ca, token=tokens.get(name))

    return make


def test_rights(client_of):
    writer, reader = client_of("writer"), client_of("reader")
    assert writer.write("A/1Min/X", ROW).rows == 1
    writer.write_many({"A/1Min/Y": ROW, "B/1Min/Y": ROW})
    assert reader.query("A/1Min/X").rows == 1
    with pytest.raises(WriteError, match='the token "reader" has no right to write A/1Min/X'):
        reader.write("A/1Min/X", ROW)
    with pytest.raises((Denied, NotFound)):
        reader.query("B/1Min/Y")
    assert reader.symbols() == ["A"] and writer.symbols() == ["A", "B"]
    with pytest.raises(Denied, match='^the token "writer" has no right to admin'):
        writer.status()
    assert "buckets" in client_of("steward").status()


def test_no_token_and_a_wrong_one(guarded, client_of):
    server, ca, _ = guarded
    for token in (None, "mkts_wrong"):
        client = Client(server.url.replace("http", "https"), ca=ca, token=token)
        for call in (client.symbols, lambda: client.query("A/1Min/X"), client.status,
                     lambda: client.sql("SELECT 1"), client.subscribe("*/*/*").open):  # fmt: skip
            with pytest.raises(Unauthorized, match="token"):
                call()


def test_a_certificate_of_somebody_else(guarded):
    server, _, tokens = guarded
    url = server.url.replace("http", "https")
    for call in (
        Client(url, token=tokens["writer"]).symbols,
        Client(url, token=tokens["writer"]).subscribe("*/*/*").open,
    ):
        with pytest.raises(ConnectionFailed, match="certificate"):
            call()
    with pytest.raises(MktsError):
        Client(server.url, token=tokens["writer"], retries=0).symbols()


def test_streams(client_of):
    writer = client_of("writer")
    with client_of("reader").subscribe("*/1Min/S") as events:
        for symbol in ("B", "A"):
            writer.write(f"{symbol}/1Min/S", ROW)
        assert events.receive(30).key == "A/1Min/S"


@pytest.mark.parametrize("grpc", [False, True])
def test_old_programs_with_a_token(guarded, grpc):
    server, ca, tokens = guarded
    endpoint = server.grpc if grpc else f"{server.url.replace('http', 'https')}/rpc"
    client = mkts.compat.Client(endpoint, grpc=grpc, token=tokens["writer"], ca=str(ca))
    rows = np.array([(1_577_923_200, 2.0)], dtype=[("Epoch", "i8"), ("Price", "f8")])
    client.write(rows, f"OLD{grpc}/1Min/X")
    reply = client.query(mkts.compat.Params(f"OLD{grpc}", "1Min", "X"))
    assert reply.first().array.tolist() == rows.tolist()
    with pytest.raises(Exception, match="token"):
        mkts.compat.Client(endpoint, grpc=grpc, ca=str(ca)).list_symbols()
