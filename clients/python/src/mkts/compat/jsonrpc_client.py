"""The client over the RPC."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .exceptions import RequestsConnectionError
from .jsonrpc import MsgpackRpcClient
from .params import ListSymbolsFormat, Params, isiterable, nanoseconds
from .results import QueryReply
from .stream import StreamConn

__all__ = ["JsonRpcClient", "MsgpackRpcClient"]


class JsonRpcClient:
    """All calls, each answered with what the server sent."""

    def __init__(
        self, endpoint: str = "http://localhost:5993/rpc", token: str | None = None, ca: str | None = None
    ) -> None:
        self.endpoint = endpoint
        self.rpc = MsgpackRpcClient(self.endpoint, token, ca)
        self._token = token
        self._ca = ca

    def query(self, params: Params | list[Params]) -> QueryReply:
        """Rows of one or several queries."""
        return QueryReply.from_response(self.rpc.call("DataService.Query", **self.build_query(params)))

    def sql(self, statements: str | list[str]) -> QueryReply:
        """Rows of one or several statements."""
        listed = statements if isiterable(statements) else [statements]
        requests = [{"is_sqlstatement": True, "sql_statement": one} for one in listed]
        return QueryReply.from_response(self.rpc.call("DataService.Query", requests=requests))

    def create(
        self, tbk: str, dtype: list[tuple[str, str]], isvariablelength: bool = False
    ) -> dict[str, Any]:
        """Makes a bucket."""
        request = {
            "key": f"{tbk}:Symbol/Timeframe/AttributeGroup",
            "column_names": [name for name, _ in dtype],
            "column_types": [kind.replace("<", "").replace("|", "") for _, kind in dtype],
            "row_type": "variable" if isvariablelength else "fixed",
        }
        return self._write("DataService.Create", request)

    def write(self, recarray: np.ndarray, tbk: str, isvariablelength: bool = False) -> dict[str, Any]:
        """Writes a structured array; `{"responses": None}` if all is well."""
        request = {"dataset": dataset(recarray, tbk), "is_variable_length": isvariablelength}
        return self._write("DataService.Write", request)

    def _write(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = self.rpc.call(method, requests=[request])
        except RequestsConnectionError as error:
            raise RequestsConnectionError("Could not contact server") from error
        return reply

    def build_query(self, params: Params | list[Params]) -> dict[str, Any]:
        """The parameters of `DataService.Query`."""
        listed: list[Any] = params if isiterable(params) else [params]  # type: ignore[assignment]
        return {"requests": [_query(one) for one in listed]}

    def list_symbols(self, fmt: ListSymbolsFormat = ListSymbolsFormat.SYMBOL) -> list[str]:
        """Symbols or keys."""
        reply = self.rpc.call("DataService.ListSymbols", format=fmt.value)
        return reply.get("Results") or []

    def destroy(self, tbk: str) -> dict[str, Any]:
        """Drops a bucket."""
        reply: dict[str, Any] = self.rpc.call("DataService.Destroy", requests=[{"key": tbk}])
        return reply

    def server_version(self) -> str | None:
        """What the server calls its version."""
        return self.rpc.head().headers.get("marketstore-version")

    def stream(self) -> StreamConn:
        """The streams of the same server."""
        endpoint = re.sub("^http", "ws", re.sub(r"/rpc$", "/ws", self.endpoint))
        return StreamConn(endpoint, self._token, self._ca)

    def __repr__(self) -> str:
        return f'MsgPackRPCClient("{self.endpoint}")'


def dataset(array: np.ndarray, tbk: str) -> dict[str, Any]:
    """A structured array as the RPC takes it."""
    array = np.asarray(array)
    names = list(array.dtype.names or ())
    columns = [little_endian(array[name]) for name in names]
    return {
        "types": [type_code(column) for column in columns],
        "names": names,
        "data": [column.tobytes() for column in columns],
        "length": len(array),
        "startindex": {tbk: 0},
        "lengths": {tbk: len(array)},
    }


def little_endian(column: np.ndarray) -> np.ndarray:
    """What goes over the wire."""
    return column.astype(column.dtype.newbyteorder("<"), copy=False)


def type_code(column: np.ndarray) -> str:
    """The type as the wire has it: `f4`."""
    text: str = column.dtype.str
    return text.replace("<", "").replace("|", "")


def _query(param: Params) -> dict[str, Any]:
    request: dict[str, Any] = {"destination": param.tbk}
    if param.key_category is not None:
        request["key_category"] = param.key_category
    for name, time in (("epoch_start", param.start), ("epoch_end", param.end)):
        if time is not None:
            request[name], nanos = nanoseconds(time)
            if nanos != 0:
                request[f"{name}_nanos"] = nanos
    if param.limit is not None:
        request["limit_record_count"] = int(param.limit)
    if param.limit_from_start is not None:
        request["limit_from_start"] = bool(param.limit_from_start)
    if param.functions is not None:
        request["functions"] = param.functions
    if param.columns is not None:
        request["columns"] = param.columns
    return request
