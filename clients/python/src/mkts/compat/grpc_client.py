"""The client over gRPC. It needs grpcio and protobuf: `pip install 'mkts-client[grpc]'`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..client.errors import missing
from .jsonrpc_client import dataset
from .params import ListSymbolsFormat, Params, isiterable, nanoseconds
from .results import QueryReply

#: Largest message in both directions.
MESSAGE_MAX = 1 << 30


class GRPCClient:
    """All calls; replies that are no rows are messages of protobuf, as the original has them."""

    def __init__(
        self, endpoint: str = "localhost:5995", token: str | None = None, ca: str | None = None
    ) -> None:
        self.endpoint = endpoint
        try:
            import grpc

            from . import proto
        except ImportError:
            raise missing("grpcio", "grpc") from None
        self._message = proto.message
        options = [
            ("grpc.max_send_message_length", MESSAGE_MAX),
            ("grpc.max_receive_message_length", MESSAGE_MAX),
        ]
        if ca is None:
            self.channel = grpc.insecure_channel(endpoint, options=options)
        else:
            trusted = grpc.ssl_channel_credentials(Path(ca).read_bytes())
            self.channel = grpc.secure_channel(endpoint, trusted, options=options)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None
        self.stub = SimpleNamespace(
            **{name: self._method(name, *types) for name, types in proto.METHODS.items()}
        )

    def _method(self, name: str, request: str, reply: str) -> Any:
        call = self.channel.unary_unary(
            f"/proto.Marketstore/{name}",
            request_serializer=self._message(request).SerializeToString,
            response_deserializer=self._message(reply).FromString,
        )
        return lambda message: call(message, metadata=self._metadata)

    def query(self, params: Params | list[Params]) -> QueryReply:
        """Rows of one or several queries."""
        return QueryReply.from_grpc_response(self.stub.Query(self.build_query(params)))

    def sql(self, statements: str | list[str]) -> QueryReply:
        """Rows of one or several statements."""
        listed = statements if isiterable(statements) else [statements]
        requests = [{"is_sql_statement": True, "sql_statement": one} for one in listed]
        request = self._message("MultiQueryRequest")(requests=requests)
        return QueryReply.from_grpc_response(self.stub.Query(request))

    def create(self, tbk: str, dtype: list[tuple[str, str]], isvariablelength: bool = False) -> Any:
        """Makes a bucket."""
        request = {
            "key": f"{tbk}:Symbol/Timeframe/AttributeGroup",
            "data_shapes": [{"name": name, "type": kind} for name, kind in dtype],
            "row_type": "variable" if isvariablelength else "fixed",
        }
        return self.stub.Create(self._message("MultiCreateRequest")(requests=[request]))

    def write(self, recarray: np.ndarray, tbk: str, isvariablelength: bool = False) -> Any:
        """Writes a structured array; a reply without responses if all is well."""
        given = dataset(recarray, tbk)
        data = {
            "column_types": given["types"],
            "column_names": given["names"],
            "column_data": given["data"],
            "length": given["length"],
        }
        multi = {"data": data, "start_index": given["startindex"], "lengths": given["lengths"]}
        request = {"data": multi, "is_variable_length": isvariablelength}
        return self.stub.Write(self._message("MultiWriteRequest")(requests=[request]))

    def build_query(self, params: Params | list[Params]) -> Any:
        """The request of Query."""
        listed: list[Any] = params if isiterable(params) else [params]  # type: ignore[assignment]
        requests = [_query(one) for one in listed]
        return self._message("MultiQueryRequest")(requests=requests)

    def list_symbols(self, fmt: ListSymbolsFormat = ListSymbolsFormat.SYMBOL) -> Any:
        """Symbols or keys."""
        request = self._message("ListSymbolsRequest")(format=int(fmt == ListSymbolsFormat.TBK))
        return self.stub.ListSymbols(request).results

    def destroy(self, tbk: str) -> Any:
        """Drops a bucket."""
        return self.stub.Destroy(self._message("MultiKeyRequest")(requests=[{"key": tbk}]))

    def server_version(self) -> str:
        """What the server calls its version."""
        reply: str = self.stub.ServerVersion(self._message("ServerVersionRequest")()).version
        return reply

    def __repr__(self) -> str:
        return f'GRPCClient("{self.endpoint}")'


def _query(param: Params) -> dict[str, Any]:
    request: dict[str, Any] = {"destination": param.tbk}
    if param.key_category is not None:
        request["key_category"] = param.key_category
    for name, time in (("epoch_start", param.start), ("epoch_end", param.end)):
        if time is not None:
            request[name], request[f"{name}_nanos"] = nanoseconds(time)
    if param.limit is not None:
        request["limit_record_count"] = int(param.limit)
    if param.limit_from_start is not None:
        request["limit_from_start"] = bool(param.limit_from_start)
    if param.functions is not None:
        request["functions"] = list(param.functions)
    if param.columns is not None:
        request["columns"] = list(param.columns)
    return request
