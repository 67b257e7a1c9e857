"""Client of mkts, a time-series store for market data.

```python
from mkts.client import Client

client = Client("http://localhost:5993")
client.write("AAPL/1Min/OHLCV", frame)                     # pandas, polars, Arrow, numpy
client.query("AAPL/1Min/OHLCV", start="2020-01-02").pandas()
client.sql('SELECT * FROM "AAPL/1Min/OHLCV" LIMIT 3').polars()
for event in client.subscribe("*/1Min/OHLCV"):
    print(event.key, event.data)
```

`mkts.compat` is a stand-in for pymarketstore: `import mkts.compat as pymarketstore`.
"""

from .client import Client
from .errors import (
    ConnectionFailed,
    Denied,
    InvalidInput,
    LimitExceeded,
    MissingPackage,
    MktsError,
    NotFound,
    SqlError,
    TimedOut,
    Unauthorized,
    Unsupported,
    WriteError,
)
from .info import BucketInfo
from .result import QueryResult, Result, SqlResult, Table
from .stream import Event, Gap, Subscription
from .writes import BucketReport, WriteReport

__version__ = "0.1.0"

__all__ = [
    "BucketInfo",
    "BucketReport",
    "Client",
    "ConnectionFailed",
    "Denied",
    "Event",
    "Gap",
    "InvalidInput",
    "LimitExceeded",
    "MissingPackage",
    "MktsError",
    "NotFound",
    "QueryResult",
    "Result",
    "SqlError",
    "SqlResult",
    "Subscription",
    "Table",
    "TimedOut",
    "Unauthorized",
    "Unsupported",
    "WriteError",
    "WriteReport",
]
