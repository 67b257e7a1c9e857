"""The client that old code makes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .grpc_client import GRPCClient
from .jsonrpc_client import JsonRpcClient
from .params import ListSymbolsFormat, Params
from .results import QueryReply
from .stream import StreamConn

#: An address of the RPC, from which that of gRPC is made.
http_regex = re.compile(r"^https?://(.+):\d+/rpc")


class Client:
    """A server, over the RPC or over gRPC. `token` and `ca` are ours."""

    def __init__(
        self,
        endpoint: str = "http://localhost:5993/rpc",
        grpc: bool = False,
        token: str | None = None,
        ca: str | None = None,
    ) -> None:
        self.client: JsonRpcClient | GRPCClient
        if not grpc:
            self.endpoint = endpoint
            self.client = JsonRpcClient(endpoint, token, ca)
            return
        match = http_regex.findall(endpoint)
        self.endpoint = f"{match[0] or 'localhost'}:5995" if match else endpoint
        self.client = GRPCClient(self.endpoint, token, ca)

    def query(self, params: Params | list[Params]) -> QueryReply:
        """Rows of one or several queries."""
        return self.client.query(params)

    def sql(self, statements: str | list[str]) -> QueryReply:
        """Rows of one or several statements."""
        return self.client.sql(statements)

    def _build_query(self, params: Params | list[Params]) -> Any:
        return self.client.build_query(params)

    def create(self, tbk: str, dtype: list[tuple[str, str]], isvariablelength: bool = False) -> Any:
        """Makes a bucket; `dtype` are names and types of its columns."""
        return self.client.create(tbk=tbk, dtype=dtype, isvariablelength=isvariablelength)

    def write(self, recarray: np.ndarray, tbk: str, isvariablelength: bool = False) -> Any:
        """Writes a structured array to a bucket; the reply of the server."""
        return self.client.write(recarray, tbk, isvariablelength=isvariablelength)

    def list_symbols(self, fmt: ListSymbolsFormat = ListSymbolsFormat.SYMBOL) -> Any:
        """Symbols or keys."""
        return self.client.list_symbols(fmt)

    def destroy(self, tbk: str) -> Any:
        """Drops a bucket; the reply of the server."""
        return self.client.destroy(tbk)

    def server_version(self) -> str | None:
        """What the server calls its version."""
        return self.client.server_version()

    def stream(self) -> StreamConn:
        """The streams of the same server; over the RPC only."""
        if isinstance(self.client, GRPCClient):
            raise AttributeError("gRPC has no streams: use StreamConn('ws://host:5993/ws')")
        return self.client.stream()

    def __repr__(self) -> str:
        return self.client.__repr__()
