"""Calls of the RPC."""

from __future__ import annotations

from typing import Any

from ..client import rpc
from ..client.transport import Reply, Transport
from .exceptions import HTTPError, as_requests


class MsgpackRpcClient:
    """Sends calls and reads replies, in MessagePack."""

    mimetype = rpc.CONTENT_TYPE["Content-Type"]

    def __init__(self, endpoint: str, token: str | None = None, ca: str | None = None) -> None:
        if not endpoint:
            raise ValueError("The `endpoint` parameter is required")
        self._endpoint = endpoint
        # As the original: no limit on the time of a call, and nothing is sent twice.
        self._transport = Transport(endpoint, token=token, ca=ca, timeout=None, retries=0)

    def call(self, rpc_method: str, **query: Any) -> Any:
        """The result of `DataService.<method>`; an error of it is an Exception."""
        return self._rpc_response(self._rpc_request(rpc_method, **query))

    def head(self) -> Reply:
        """What the server says about itself."""
        with as_requests():
            return self._transport.request("HEAD", "/rpc", repeatable=True)

    def _rpc_request(self, method: str, **query: Any) -> dict[str, Any]:
        body = rpc.encode(method, query)
        with as_requests():
            reply = self._transport.request("POST", "/rpc", body, rpc.CONTENT_TYPE, repeatable=False)
        if reply.status != 200:
            side = "Server" if reply.status >= 500 else "Client"
            raise HTTPError(
                f"{reply.status} {side} Error: {reply.reason().strip()} for url: {self._endpoint}"
            )
        return rpc.decode(reply.body)

    @staticmethod
    def _rpc_response(reply: dict[str, Any]) -> Any:
        error = reply.get("error", None)
        if error:
            raise Exception("{}: {}".format(error["message"], error.get("data", "")))
        if "result" in reply:
            return reply["result"]
        raise Exception("invalid JSON-RPC protocol: missing error or result key")
