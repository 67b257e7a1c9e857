"""The messages of gRPC.

They are made here, in a pool of their own: generated ones are in the pool of the process, where the
same messages of pymarketstore are, which may be installed beside.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}

#: Fields in the order of their numbers, from 1; `*` is repeated, `map` from text to int32.
_MESSAGES: dict[str, list[tuple[str, str]]] = {
    "DataShape": [("name", "string"), ("type", "string")],
    "NumpyDataset": [
        ("column_types", "*string"),
        ("column_names", "*string"),
        ("column_data", "*bytes"),
        ("length", "int32"),
        ("data_shapes", "*DataShape"),
    ],
    "NumpyMultiDataset": [("data", "NumpyDataset"), ("start_index", "map"), ("lengths", "map")],
    "CreateRequest": [("key", "string"), ("data_shapes", "*DataShape"), ("row_type", "string")],
    "MultiCreateRequest": [("requests", "*CreateRequest")],
    "QueryRequest": [
        ("is_sql_statement", "bool"),
        ("sql_statement", "string"),
        ("destination", "string"),
        ("key_category", "string"),
        ("epoch_start", "int64"),
        ("epoch_start_nanos", "int64"),
        ("epoch_end", "int64"),
        ("epoch_end_nanos", "int64"),
        ("limit_record_count", "int32"),
        ("limit_from_start", "bool"),
        ("columns", "*string"),
        ("functions", "*string"),
    ],
    "MultiQueryRequest": [("requests", "*QueryRequest")],
    "QueryResponse": [("result", "NumpyMultiDataset")],
    "MultiQueryResponse": [("responses", "*QueryResponse"), ("version", "string"), ("timezone", "string")],
    "WriteRequest": [("data", "NumpyMultiDataset"), ("is_variable_length", "bool")],
    "MultiWriteRequest": [("requests", "*WriteRequest")],
    "ServerResponse": [("error", "string"), ("version", "string")],
    "MultiServerResponse": [("responses", "*ServerResponse")],
    "KeyRequest": [("key", "string")],
    "MultiKeyRequest": [("requests", "*KeyRequest")],
    # An enum on the wire is an integer: 0 symbols, 1 keys.
    "ListSymbolsRequest": [("format", "int32")],
    "ListSymbolsResponse": [("results", "*string")],
    "ServerVersionRequest": [],
    "ServerVersionResponse": [("version", "string")],
}

#: Requests and replies by method.
METHODS = {
    "Query": ("MultiQueryRequest", "MultiQueryResponse"),
    "Create": ("MultiCreateRequest", "MultiServerResponse"),
    "Write": ("MultiWriteRequest", "MultiServerResponse"),
    "Destroy": ("MultiKeyRequest", "MultiServerResponse"),
    "ListSymbols": ("ListSymbolsRequest", "ListSymbolsResponse"),
    "ServerVersion": ("ServerVersionRequest", "ServerVersionResponse"),
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="marketstore.proto", package="proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            _add(message, name, number, field, kind)
    return file


def _add(message: Any, owner: str, number: int, name: str, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    repeated = kind.startswith("*") or kind == "map"
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    kind = kind.lstrip("*")
    if kind == "map":
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        _add(nested, entry, 1, "key", "string")
        _add(nested, entry, 2, "value", "int32")
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".proto.{owner}.{entry}"
    elif kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".proto.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"proto.{name}"))
