from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ToChild(_message.Message):
    __slots__ = ("configure", "schema", "fire", "cancel", "credit", "state_reset", "stop")
    CONFIGURE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    FIRE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    STATE_RESET_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    configure: Configure
    schema: Schema
    fire: Fire
    cancel: Cancel
    credit: Credit
    state_reset: StateReset
    stop: Stop
    def __init__(self, configure: _Optional[_Union[Configure, _Mapping]] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., fire: _Optional[_Union[Fire, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., state_reset: _Optional[_Union[StateReset, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ...) -> None: ...

class FromChild(_message.Message):
    __slots__ = ("hello", "ready", "ack", "heartbeat", "source_batch", "log", "schema")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BATCH_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ready: Ready
    ack: Ack
    heartbeat: Heartbeat
    source_batch: SourceBatch
    log: Log
    schema: Schema
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., source_batch: _Optional[_Union[SourceBatch, _Mapping]] = ..., log: _Optional[_Union[Log, _Mapping]] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("cookie", "protocols", "sdk", "manifest")
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    SDK_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    cookie: str
    protocols: _containers.RepeatedScalarFieldContainer[int]
    sdk: str
    manifest: str
    def __init__(self, cookie: _Optional[str] = ..., protocols: _Optional[_Iterable[int]] = ..., sdk: _Optional[str] = ..., manifest: _Optional[str] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("status", "state_changes")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    status: Status
    state_changes: _containers.RepeatedCompositeFieldContainer[Effect]
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ..., state_changes: _Optional[_Iterable[_Union[Effect, _Mapping]]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("code", "message", "path")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    path: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("seq", "attempt", "epoch", "code", "message", "retry_after_ms", "effects", "fire_ns")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    FIRE_NS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    attempt: int
    epoch: int
    code: int
    message: str
    retry_after_ms: int
    effects: _containers.RepeatedCompositeFieldContainer[Effect]
    fire_ns: int
    def __init__(self, seq: _Optional[int] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., effects: _Optional[_Iterable[_Union[Effect, _Mapping]]] = ..., fire_ns: _Optional[int] = ...) -> None: ...

class Effect(_message.Message):
    __slots__ = ("write", "put", "delete", "count", "timer_set", "timer_cancel", "publish", "delete_range")
    class Write(_message.Message):
        __slots__ = ("key", "schema_id", "rows", "flags")
        KEY_FIELD_NUMBER: _ClassVar[int]
        SCHEMA_ID_FIELD_NUMBER: _ClassVar[int]
        ROWS_FIELD_NUMBER: _ClassVar[int]
        FLAGS_FIELD_NUMBER: _ClassVar[int]
        key: str
        schema_id: int
        rows: bytes
        flags: int
        def __init__(self, key: _Optional[str] = ..., schema_id: _Optional[int] = ..., rows: _Optional[bytes] = ..., flags: _Optional[int] = ...) -> None: ...
    class Put(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        value: bytes
        def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...
    class Delete(_message.Message):
        __slots__ = ("key",)
        KEY_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        def __init__(self, key: _Optional[bytes] = ...) -> None: ...
    class Count(_message.Message):
        __slots__ = ("key", "by")
        KEY_FIELD_NUMBER: _ClassVar[int]
        BY_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        by: int
        def __init__(self, key: _Optional[bytes] = ..., by: _Optional[int] = ...) -> None: ...
    class TimerSet(_message.Message):
        __slots__ = ("key", "due_ns", "payload")
        KEY_FIELD_NUMBER: _ClassVar[int]
        DUE_NS_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        due_ns: int
        payload: bytes
        def __init__(self, key: _Optional[bytes] = ..., due_ns: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...
    class TimerCancel(_message.Message):
        __slots__ = ("key",)
        KEY_FIELD_NUMBER: _ClassVar[int]
        key: bytes
        def __init__(self, key: _Optional[bytes] = ...) -> None: ...
    class Publish(_message.Message):
        __slots__ = ("stream", "payload")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        stream: str
        payload: bytes
        def __init__(self, stream: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...
    class DeleteRange(_message.Message):
        __slots__ = ("key", "from_ns", "to_ns")
        KEY_FIELD_NUMBER: _ClassVar[int]
        FROM_NS_FIELD_NUMBER: _ClassVar[int]
        TO_NS_FIELD_NUMBER: _ClassVar[int]
        key: str
        from_ns: int
        to_ns: int
        def __init__(self, key: _Optional[str] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ...) -> None: ...
    WRITE_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TIMER_SET_FIELD_NUMBER: _ClassVar[int]
    TIMER_CANCEL_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    DELETE_RANGE_FIELD_NUMBER: _ClassVar[int]
    write: Effect.Write
    put: Effect.Put
    delete: Effect.Delete
    count: Effect.Count
    timer_set: Effect.TimerSet
    timer_cancel: Effect.TimerCancel
    publish: Effect.Publish
    delete_range: Effect.DeleteRange
    def __init__(self, write: _Optional[_Union[Effect.Write, _Mapping]] = ..., put: _Optional[_Union[Effect.Put, _Mapping]] = ..., delete: _Optional[_Union[Effect.Delete, _Mapping]] = ..., count: _Optional[_Union[Effect.Count, _Mapping]] = ..., timer_set: _Optional[_Union[Effect.TimerSet, _Mapping]] = ..., timer_cancel: _Optional[_Union[Effect.TimerCancel, _Mapping]] = ..., publish: _Optional[_Union[Effect.Publish, _Mapping]] = ..., delete_range: _Optional[_Union[Effect.DeleteRange, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("metrics", "health", "health_text")
    class Metric(_message.Message):
        __slots__ = ("name", "delta")
        NAME_FIELD_NUMBER: _ClassVar[int]
        DELTA_FIELD_NUMBER: _ClassVar[int]
        name: str
        delta: float
        def __init__(self, name: _Optional[str] = ..., delta: _Optional[float] = ...) -> None: ...
    METRICS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    HEALTH_TEXT_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.RepeatedCompositeFieldContainer[Heartbeat.Metric]
    health: int
    health_text: str
    def __init__(self, metrics: _Optional[_Iterable[_Union[Heartbeat.Metric, _Mapping]]] = ..., health: _Optional[int] = ..., health_text: _Optional[str] = ...) -> None: ...

class SourceBatch(_message.Message):
    __slots__ = ("writes", "resume", "end", "progress", "progress_text", "epoch", "seq", "code", "message", "full")
    WRITES_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_TEXT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    writes: _containers.RepeatedCompositeFieldContainer[Effect.Write]
    resume: bytes
    end: bool
    progress: float
    progress_text: str
    epoch: int
    seq: int
    code: int
    message: str
    full: bool
    def __init__(self, writes: _Optional[_Iterable[_Union[Effect.Write, _Mapping]]] = ..., resume: _Optional[bytes] = ..., end: bool = ..., progress: _Optional[float] = ..., progress_text: _Optional[str] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., full: bool = ...) -> None: ...

class Log(_message.Message):
    __slots__ = ("level", "text")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    level: int
    text: str
    def __init__(self, level: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Schema(_message.Message):
    __slots__ = ("id", "kind", "columns")
    class Column(_message.Message):
        __slots__ = ("name", "type")
        NAME_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        name: str
        type: int
        def __init__(self, name: _Optional[str] = ..., type: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: int
    columns: _containers.RepeatedCompositeFieldContainer[Schema.Column]
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Schema.Column, _Mapping]]] = ...) -> None: ...

class Configure(_message.Message):
    __slots__ = ("kind", "instance", "epoch", "config_json", "check_only", "state_version", "state", "state_complete", "limits", "delivery", "parallelism", "server_version", "timezone", "protocol")
    KIND_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    CHECK_ONLY_FIELD_NUMBER: _ClassVar[int]
    STATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    PARALLELISM_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    instance: str
    epoch: int
    config_json: str
    check_only: bool
    state_version: int
    state: _containers.RepeatedCompositeFieldContainer[StateEntry]
    state_complete: bool
    limits: Limits
    delivery: str
    parallelism: int
    server_version: str
    timezone: str
    protocol: int
    def __init__(self, kind: _Optional[str] = ..., instance: _Optional[str] = ..., epoch: _Optional[int] = ..., config_json: _Optional[str] = ..., check_only: bool = ..., state_version: _Optional[int] = ..., state: _Optional[_Iterable[_Union[StateEntry, _Mapping]]] = ..., state_complete: bool = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., delivery: _Optional[str] = ..., parallelism: _Optional[int] = ..., server_version: _Optional[str] = ..., timezone: _Optional[str] = ..., protocol: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("message_bytes", "memory", "nofile")
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    NOFILE_FIELD_NUMBER: _ClassVar[int]
    message_bytes: int
    memory: int
    nofile: int
    def __init__(self, message_bytes: _Optional[int] = ..., memory: _Optional[int] = ..., nofile: _Optional[int] = ...) -> None: ...

class StateEntry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: StateValue
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[_Union[StateValue, _Mapping]] = ...) -> None: ...

class StateValue(_message.Message):
    __slots__ = ("bytes", "counter")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    bytes: bytes
    counter: int
    def __init__(self, bytes: _Optional[bytes] = ..., counter: _Optional[int] = ...) -> None: ...

class Fire(_message.Message):
    __slots__ = ("seq", "attempt", "epoch", "type", "flags", "first_lsn", "last_lsn", "object", "key", "schema_id", "rows", "from_ns", "to_ns", "timer_key", "payload", "deadline_ms", "now_ns")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    FIRST_LSN_FIELD_NUMBER: _ClassVar[int]
    LAST_LSN_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    TO_NS_FIELD_NUMBER: _ClassVar[int]
    TIMER_KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    attempt: int
    epoch: int
    type: int
    flags: int
    first_lsn: int
    last_lsn: int
    object: int
    key: str
    schema_id: int
    rows: bytes
    from_ns: int
    to_ns: int
    timer_key: bytes
    payload: bytes
    deadline_ms: int
    now_ns: int
    def __init__(self, seq: _Optional[int] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., type: _Optional[int] = ..., flags: _Optional[int] = ..., first_lsn: _Optional[int] = ..., last_lsn: _Optional[int] = ..., object: _Optional[int] = ..., key: _Optional[str] = ..., schema_id: _Optional[int] = ..., rows: _Optional[bytes] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ..., timer_key: _Optional[bytes] = ..., payload: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ..., now_ns: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("epoch", "seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("epoch", "seq", "run", "open", "rows", "bytes", "deadline_ms")
    class Open(_message.Message):
        __slots__ = ("params", "resume")
        PARAMS_FIELD_NUMBER: _ClassVar[int]
        RESUME_FIELD_NUMBER: _ClassVar[int]
        params: str
        resume: bytes
        def __init__(self, params: _Optional[str] = ..., resume: _Optional[bytes] = ...) -> None: ...
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    run: bool
    open: Credit.Open
    rows: int
    bytes: int
    deadline_ms: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., run: bool = ..., open: _Optional[_Union[Credit.Open, _Mapping]] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class StateReset(_message.Message):
    __slots__ = ("epoch", "keep")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    keep: bool
    def __init__(self, epoch: _Optional[int] = ..., keep: bool = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: int
    def __init__(self, reason: _Optional[int] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("epoch", "seq", "attempt", "key", "from_ns", "to_ns", "columns", "limit", "from_end")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    TO_NS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    FROM_END_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    attempt: int
    key: str
    from_ns: int
    to_ns: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    from_end: bool
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., attempt: _Optional[int] = ..., key: _Optional[str] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., from_end: bool = ...) -> None: ...

class QueryAnswer(_message.Message):
    __slots__ = ("code", "message", "schema", "rows")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    schema: Schema
    rows: bytes
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., schema: _Optional[_Union[Schema, _Mapping]] = ..., rows: _Optional[bytes] = ...) -> None: ...

class StateGetRequest(_message.Message):
    __slots__ = ("epoch", "seq", "attempt", "key")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    attempt: int
    key: bytes
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., attempt: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class StateGetAnswer(_message.Message):
    __slots__ = ("code", "message", "value")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    value: StateValue
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., value: _Optional[_Union[StateValue, _Mapping]] = ...) -> None: ...

class StateScanRequest(_message.Message):
    __slots__ = ("epoch", "seq", "attempt", "prefix", "limit")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    attempt: int
    prefix: bytes
    limit: int
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., attempt: _Optional[int] = ..., prefix: _Optional[bytes] = ..., limit: _Optional[int] = ...) -> None: ...

class StateScanAnswer(_message.Message):
    __slots__ = ("code", "message", "entries")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    entries: _containers.RepeatedCompositeFieldContainer[StateEntry]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[StateEntry, _Mapping]]] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("epoch", "seq", "effects", "schemas")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    seq: int
    effects: _containers.RepeatedCompositeFieldContainer[Effect]
    schemas: _containers.RepeatedCompositeFieldContainer[Schema]
    def __init__(self, epoch: _Optional[int] = ..., seq: _Optional[int] = ..., effects: _Optional[_Iterable[_Union[Effect, _Mapping]]] = ..., schemas: _Optional[_Iterable[_Union[Schema, _Mapping]]] = ...) -> None: ...

class CommitAnswer(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...
