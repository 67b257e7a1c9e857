"""The RPC of MarketStore: one call, one answer, in MessagePack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from .errors import MktsError, of_status, of_text
from .transport import Transport

CONTENT_TYPE = {"Content-Type": "application/x-msgpack"}


def call(transport: Transport, method: str, params: Mapping[str, Any], *, repeatable: bool) -> Any:
    """The `result` of `DataService.<method>`."""
    body = encode(f"DataService.{method}", params)
    reply = transport.request("POST", "/rpc", body, CONTENT_TYPE, repeatable=repeatable)
    if reply.status != 200:
        raise of_status(reply.status, reply.reason())
    answer = decode(reply.body)
    error = answer.get("error")
    if error:
        raise of_text(str(error.get("message", "")))
    if "result" not in answer:
        raise MktsError("the answer has neither a result nor an error")
    return answer["result"]


def encode(method: str, params: Mapping[str, Any]) -> bytes:
    """A request."""
    envelope = {"jsonrpc": "2.0", "method": method, "id": 1, "params": params}
    packed: bytes = msgpack.packb(envelope)
    return packed


def decode(body: bytes) -> dict[str, Any]:
    """An answer."""
    try:
        answer = msgpack.unpackb(body, strict_map_key=False)
    except ValueError as error:
        raise MktsError(f"the answer is no MessagePack: {error}") from None
    if not isinstance(answer, dict):
        raise MktsError("the answer is no map")
    return answer
