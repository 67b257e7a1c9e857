"""Replies as arrays and frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def decode(
    column_names: Sequence[Any], column_types: Sequence[Any], column_data: Sequence[bytes], data_length: int
) -> np.ndarray:
    """Columns as one structured array."""
    pairs = zip(column_names or [], column_types or [])
    dtype = np.dtype([(_text(name), _text(kind)) for name, kind in pairs])
    array = np.empty((data_length,), dtype=dtype)
    for index, name in enumerate(dtype.names or ()):
        array[name] = np.frombuffer(column_data[index], dtype=dtype[index])
    return array


def _text(value: Any) -> str:
    return value if isinstance(value, str) else value.decode("utf-8")


def decode_responses(responses: Sequence[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Arrays by key, for each response of the RPC."""
    results = []
    for response in responses:
        packed = response["result"]
        array = decode(packed["names"], packed["types"], packed["data"], packed["length"])
        results.append(_slices(array, packed["startindex"], packed["lengths"]))
    return results


def decode_grpc_responses(responses: Sequence[Any]) -> list[dict[str, np.ndarray]]:
    """Arrays by key, for each response of gRPC."""
    results = []
    for response in responses:
        packed = response.result
        data = packed.data
        array = decode(data.column_names, data.column_types, data.column_data, data.length)
        results.append(_slices(array, packed.start_index, packed.lengths))
    return results


def _slices(
    array: np.ndarray, starts: Mapping[str, int], lengths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    slices = {}
    for full, start in (starts or {}).items():
        slices[str(full.split(":")[0])] = array[start : start + lengths[full]]
    return slices


class DataSet:
    """Rows of one bucket."""

    def __init__(self, array: np.ndarray, key: str, timezone: str) -> None:
        self.array = array
        self.key = key
        self.timezone = timezone

    @property
    def symbol(self) -> str:
        """The first part of the key."""
        return self.key.split("/")[0]

    @property
    def timeframe(self) -> str:
        """The second part of the key."""
        return self.key.split("/")[1]

    @property
    def attribute_group(self) -> str:
        """The third part of the key."""
        return self.key.split("/")[2]

    def df(self) -> pd.DataFrame:
        """A DataFrame; its first column, the times, is the index, in the zone of the server."""
        assert self.array.dtype.names is not None
        frame: pd.DataFrame = pd.DataFrame(self.array).set_index(self.array.dtype.names[0])
        index = pd.to_datetime(frame.index, unit="s", utc=True)
        if self.timezone.lower() != "utc":
            index = index.tz_convert(self.timezone)
        frame.index = index
        return frame

    def __repr__(self) -> str:
        return f"DataSet(key={self.key}, shape={self.array.shape}, dtype={self.array.dtype})"


class QueryResult:
    """Answer to one query."""

    def __init__(self, result: Mapping[str, np.ndarray], timezone: str) -> None:
        self.result = {key: DataSet(array, key, timezone) for key, array in result.items()}
        self.timezone = timezone

    def keys(self) -> list[str]:
        """Keys of its buckets."""
        return list(self.result.keys())

    def first(self) -> DataSet:
        """The first bucket."""
        return self.result[self.keys()[0]]

    def all(self) -> dict[str, DataSet]:
        """Buckets by key."""
        return self.result

    def __repr__(self) -> str:
        return "QueryResult({})".format("\n".join(str(one) for one in self.result.values()))


class QueryReply:
    """Answers to all queries of a call."""

    def __init__(self, results: list[QueryResult], timezone: str) -> None:
        self.results = results
        self.timezone = timezone

    @classmethod
    def from_response(cls, resp: Mapping[str, Any]) -> QueryReply:
        """Of a reply of the RPC."""
        timezone = resp["timezone"]
        return cls([QueryResult(one, timezone) for one in decode_responses(resp["responses"])], timezone)

    @classmethod
    def from_grpc_response(cls, resp: Any) -> QueryReply:
        """Of a reply of gRPC."""
        results = decode_grpc_responses(resp.responses)
        return cls([QueryResult(one, resp.timezone) for one in results], resp.timezone)

    def first(self) -> DataSet:
        """The first bucket of the first answer."""
        return self.results[0].first()

    def all(self) -> dict[str, DataSet]:
        """Buckets of all answers by key."""
        datasets: dict[str, DataSet] = {}
        for result in self.results:
            datasets.update(result.all())
        return datasets

    def keys(self) -> list[str]:
        """Keys of all answers."""
        return [key for result in self.results for key in result.keys()]

    def get_catkeys(self, catnum: int) -> list[str]:
        """Different values of a part of the keys."""
        return list({key.split("/")[catnum] for key in self.keys()})

    def symbols(self) -> list[str]:
        """Different symbols."""
        return self.get_catkeys(0)

    def timeframes(self) -> list[str]:
        """Different timeframes."""
        return self.get_catkeys(1)

    def by_symbols(self) -> dict[str, DataSet]:
        """Buckets by symbol; of several of one symbol the last one."""
        return {key.split("/")[0]: dataset for key, dataset in self.all().items()}

    def __repr__(self) -> str:
        return "QueryReply({})".format("\n".join(str(result) for result in self.results))
