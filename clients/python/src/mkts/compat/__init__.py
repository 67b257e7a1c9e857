"""A stand-in for pymarketstore 0.22: `import mkts.compat as pymarketstore`.

Same names, arguments, results and texts of errors; `mkts.client` carries it out, so connections are
kept and shared by threads. Submodules have the names of the original's.
"""

from .client import Client
from .grpc_client import GRPCClient
from .jsonrpc_client import JsonRpcClient, MsgpackRpcClient
from .params import ListSymbolsFormat, Params
from .stream import StreamConn

Param = Params

#: Of the pymarketstore that this stands for.
__version__ = "0.22"

__all__ = [
    "Client",
    "GRPCClient",
    "JsonRpcClient",
    "ListSymbolsFormat",
    "MsgpackRpcClient",
    "Param",
    "Params",
    "StreamConn",
]
