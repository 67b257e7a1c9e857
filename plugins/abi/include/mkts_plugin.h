/* The border between the mkts server and plugins in shared libraries, major 1.
 *
 * Written from the tables of the crate plugin-abi; do not edit.
 *
 * - Structs begin with their size; a reader uses the smaller of that and its own. What lies behind
 *   it, and a pointer that is NULL, is not offered. mkts_str, mkts_buf and mkts_col are frozen.
 * - Text is UTF-8 with a length. What a call hands over is lent for the call, except a mkts_buf: its
 *   receiver releases it once, from any thread.
 * - No function of either side unwinds or throws.
 * - 64-bit little-endian systems.
 *
 * A plugin in C is one file: a MKTS_MANIFEST and a function
 *     int32_t mkts_plugin_v1_NAME(const mkts_host *host, const mkts_plugin **out)
 * compiled with  cc -shared -fPIC -o NAME.so NAME.c
 */
#ifndef MKTS_PLUGIN_H
#define MKTS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MKTS_ABI_MAJOR 1
#define MKTS_ABI_MINOR 1

/* Answer: all is well. */
#define MKTS_OK 0
/* Answer of 'fire': try again, not before 'retry_after_ms' if that is not 0. */
#define MKTS_RETRY 1
/* Answer of 'fire': give this event up, go on with the next. */
#define MKTS_SKIP 2
/* Any failure. As the answer of 'fire' any negative number means: try again, unless the status
 * has the flag 'STATUS_FATAL'. Negative numbers without a name mean this one. */
#define MKTS_ERR (-1)
/* A wrong config; the message begins with 'config' and the path of the key: 'config.a[2]: ...'. */
#define MKTS_CONFIG (-2)
/* Host and plugin do not fit together. */
#define MKTS_ABI (-3)
/* A handle used after its call was over. */
#define MKTS_STALE (-4)
/* A documented limit is passed. */
#define MKTS_LIMIT (-5)
/* It took too long. */
#define MKTS_TIMEOUT (-6)
/* The host asked the plugin to end. */
#define MKTS_CANCELLED (-7)
/* This host does not offer the call here. */
#define MKTS_UNSUPPORTED (-8)
/* The answer of an older start or attempt. */
#define MKTS_FENCED (-9)
/* It is there already. */
#define MKTS_EXISTS (-10)
/* It is not there. */
#define MKTS_NOT_FOUND (-11)
/* A counter where bytes are wanted, or the reverse. */
#define MKTS_TYPE (-12)
/* A panic, caught at the border. */
#define MKTS_PANIC (-100)
/* Flag of a status: the instance cannot go on. */
#define MKTS_STATUS_FATAL 1
/* Kind: fires after durable writes. */
#define MKTS_KIND_TRIGGER 1
/* Kind: runs beside the server for as long as it likes. */
#define MKTS_KIND_BGWORKER 2
/* Kind: hands rows to the host, which owns the loop. */
#define MKTS_KIND_SOURCE 3
/* Type of a column: 32-bit float. Columns of types not named here are to be skipped. */
#define MKTS_TYPE_F32 0
/* Type of a column: 32-bit signed integer. */
#define MKTS_TYPE_I32 1
/* Type of a column: 64-bit float. */
#define MKTS_TYPE_F64 2
/* Type of a column: 64-bit signed integer. */
#define MKTS_TYPE_I64 3
/* Type of a column: 8-bit signed integer. */
#define MKTS_TYPE_I8 5
/* Type of a column: 16-bit signed integer. */
#define MKTS_TYPE_I16 9
/* Type of a column: 8-bit unsigned integer. */
#define MKTS_TYPE_U8 10
/* Type of a column: 16-bit unsigned integer. */
#define MKTS_TYPE_U16 11
/* Type of a column: 32-bit unsigned integer. */
#define MKTS_TYPE_U32 12
/* Type of a column: 64-bit unsigned integer. */
#define MKTS_TYPE_U64 13
/* Type of a column: text of up to 16 code points, 32 bits each, padded with zeros. */
#define MKTS_TYPE_STR16 14
/* Flag of a column: the times of the rows, 'I64' nanoseconds since 1970 (UTC), named 'Epoch'.
 * It is the first column of every batch, and the only one with this flag. */
#define MKTS_COL_TIME 1
/* Kind of rows: time is floored to the timeframe, one row per time. */
#define MKTS_ROWS_BAR 0
/* Kind of rows: every row is kept. */
#define MKTS_ROWS_TICK 1
/* Event: new rows, in 'batch'. */
#define MKTS_EVENT_WRITE 1
/* Event: rows of 'key' from 'from_ns' to 'to_ns' (inclusive) may have changed, read them again. */
#define MKTS_EVENT_GAP 2
/* Event: the bucket 'key' was dropped. */
#define MKTS_EVENT_DELETED 3
/* Event: the timer 'key', with its 'payload', was due at 'from_ns'. */
#define MKTS_EVENT_TIMER 4
/* Flag of an event: it may have been fired before a restart. */
#define MKTS_EVENT_REPLAY 1
/* Flag of a start: the first of the instance. */
#define MKTS_INIT_FIRST 1
/* Flag of a start: the last one ended in a crash. */
#define MKTS_INIT_AFTER_CRASH 2
/* Flag of a start: it is a test. */
#define MKTS_INIT_HARNESS 4
/* Why an object ends: the server stops, or the instance is switched off. */
#define MKTS_CLOSE_STOP 0
/* Why an object ends: it panicked. */
#define MKTS_CLOSE_PANIC 1
/* Why an object ends: its effects were dropped, and the events fire again. */
#define MKTS_CLOSE_AGAIN 2
/* Why an object ends: a new version or config takes its place. */
#define MKTS_CLOSE_RELOAD 3
/* Answer of 'next_batch': there is more at once. */
#define MKTS_MORE_FULL 0
/* Answer of 'next_batch': there is nothing more for now; a partial batch is valid. */
#define MKTS_MORE_TIMEOUT 1
/* Answer of 'next_batch': the feed has ended for good. */
#define MKTS_MORE_END 2
/* Level of a line in the log: something failed. */
#define MKTS_LOG_ERROR 1
/* Level of a line in the log: something is odd. */
#define MKTS_LOG_WARN 2
/* Level of a line in the log: worth knowing. */
#define MKTS_LOG_INFO 3
/* Level of a line in the log: for the author. */
#define MKTS_LOG_DEBUG 4
/* Health: all is well. */
#define MKTS_HEALTH_OK 0
/* Health: it works, with something missing. */
#define MKTS_HEALTH_DEGRADED 1
/* Health: it cannot do its work. */
#define MKTS_HEALTH_FAILING 2
/* Kind of a value of the state store: bytes. */
#define MKTS_STATE_BYTES 1
/* Kind of a value of the state store: a counter. */
#define MKTS_STATE_COUNTER 2

typedef struct mkts_str mkts_str;
typedef struct mkts_buf mkts_buf;
typedef struct mkts_status mkts_status;
typedef struct mkts_col mkts_col;
typedef struct mkts_batch mkts_batch;
typedef struct mkts_event mkts_event;
typedef struct mkts_init mkts_init;
typedef struct mkts_source_out mkts_source_out;
typedef struct mkts_plugin mkts_plugin;
typedef struct mkts_host mkts_host;

/* Takes one key of a scan; anything but 0 ends it. 'kind' is one of the MKTS_STATE_
 * numbers, which says whether 'bytes' or 'counter' has the value. */
typedef int32_t (*mkts_scan_row)(void *user, mkts_str key, uint32_t kind, mkts_str bytes, int64_t counter);
/* Takes the rows of a query, lent for the call. */
typedef int32_t (*mkts_query_rows)(void *user, const mkts_batch *batch);

/* Text or bytes, lent for the call. Frozen. */
struct mkts_str { /* 16 bytes */
    /* First byte; may be NULL if there is none. */
    const char *ptr;
    /* Bytes. */
    uint64_t len;
};

/* Bytes that change hands: the receiver releases them once, from any thread. Frozen. */
struct mkts_buf { /* 32 bytes */
    /* First byte. */
    const char *ptr;
    /* Bytes. */
    uint64_t len;
    /* Whatever 'release' needs. */
    void *owner;
    /* Frees the bytes; NULL if there is nothing to free. */
    void (*release)(mkts_buf *buf);
};

/* How a call went, made by its caller with 'size' set and zeros behind it. */
struct mkts_status { /* 48 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* The answer once more. */
    int32_t code;
    /* With 'MKTS_RETRY': not before this time has passed. */
    uint32_t retry_after_ms;
    /* 'MKTS_STATUS_' flags. */
    uint32_t flags;
    /* What happened, in one line. */
    mkts_buf msg;
};

/* One column. Frozen. */
struct mkts_col { /* 32 bytes */
    /* One of the 'MKTS_TYPE_' numbers. */
    uint16_t type;
    /* 'MKTS_COL_' flags. */
    uint16_t flags;
    /* Bytes of one value. */
    uint32_t elem_bytes;
    /* Name. */
    mkts_str name;
    /* The values without gaps, beginning on a multiple of 8. */
    const void *data;
};

/* Rows of one bucket, lent for the call. */
struct mkts_batch { /* 48 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* Columns, that of the times included. */
    uint32_t ncols;
    /* Rows. */
    uint64_t nrows;
    /* The columns, that of the times first. */
    const mkts_col *cols;
    /* Bucket: 'SYM/TF/AG'. */
    mkts_str key;
    /* One of the 'MKTS_ROWS_' numbers. */
    uint32_t row_kind;
    /* To one object, equal numbers mean equal columns; 0 means nothing. */
    uint32_t schema_version;
};

/* What one fire is about. */
struct mkts_event { /* 104 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* One of the 'MKTS_EVENT_' numbers. */
    uint32_t type;
    /* Position of the first commit. */
    uint64_t first_lsn;
    /* Position of the last commit. */
    uint64_t last_lsn;
    /* Plus one at each start of the instance. */
    uint64_t epoch;
    /* When the fire has run too long (wall clock). */
    uint64_t deadline_ns;
    /* 1 for the first attempt. */
    uint32_t attempt;
    /* 'MKTS_EVENT_REPLAY'. */
    uint32_t flags;
    /* The rows of a write, else NULL. */
    const mkts_batch *batch;
    /* Bucket, or key of the timer. */
    mkts_str key;
    /* Payload of the timer. */
    mkts_str payload;
    /* First time of a gap; when a timer was due. */
    int64_t from_ns;
    /* Last time of a gap. */
    int64_t to_ns;
};

/* What an object is told when it is made. */
struct mkts_init { /* 64 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* One of the 'MKTS_KIND_' numbers. */
    uint32_t kind;
    /* Instance id. */
    mkts_str instance;
    /* Plus one at each start of the instance. */
    uint64_t epoch;
    /* Version of the stored state. */
    uint32_t state_version;
    /* 'MKTS_INIT_' flags. */
    uint32_t flags;
    /* Handle for reading state, valid for this call. */
    void *state;
    /* Time zone of the server, where days and weeks begin: 'America/New_York'. */
    mkts_str timezone;
};

/* Where a source puts its rows; valid for one call. */
struct mkts_source_out { /* 40 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* Rows the batch takes. */
    uint32_t max_rows;
    /* Bytes the batch takes. */
    uint64_t max_bytes;
    /* Handle for these calls. */
    void *h;
    /* Adds rows; a missing bucket is made. */
    int32_t (*append)(void *h, mkts_str key, const mkts_batch *batch, mkts_status *status);
    /* The token behind the rows appended so far; stored in their commit. */
    int32_t (*set_resume)(void *h, mkts_str token);
};

/* What the plugin offers; lives for ever. */
struct mkts_plugin { /* 104 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* Least minor number of a host that it can work with. */
    uint32_t abi_minor_min;
    /* The JSON of the manifest section. */
    mkts_str manifest;
    /* Whether it runs this config; nothing is started. From any thread. */
    int32_t (*check)(mkts_str config_json, mkts_status *status);
    /* Makes an object; NULL if it cannot, with the reason in 'status'. */
    void *(*create)(uint32_t kind, mkts_str config_json, const mkts_init *init, mkts_status *status);
    /* Ends an object and its threads; 'reason' is one of the 'MKTS_CLOSE_' numbers. */
    void (*destroy)(void *inst, uint32_t reason);
    /* Brings state of version 'from' to the present one, before 'create'. */
    int32_t (*migrate)(uint32_t from, void *state, mkts_status *status);
    /* One event of a trigger. Never entered twice at once for one object; the thread may
     * change. */
    int32_t (*fire)(void *inst, void *ctx, const mkts_event *event, mkts_status *status);
    /* Runs a worker, on a thread of its own, until 'cancelled'. */
    int32_t (*run)(void *inst, void *ctx, mkts_status *status);
    /* Opens the feed of a source behind 'resume'; a token whose 'ptr' is NULL is none. */
    int32_t (*open)(void *inst, mkts_str params, mkts_str resume, mkts_status *status);
    /* Appends rows until 'out' is full, 'deadline_ns' (wall clock) is reached or the feed ends:
     * one of the 'MKTS_MORE_' numbers, or a failure. */
    int32_t (*next_batch)(void *inst, void *ctx, const mkts_source_out *out, int64_t deadline_ns, mkts_status *status);
    /* Asks an object to end what it does. At any time, from any thread; sets a flag and never
     * blocks. */
    void (*cancel)(void *inst);
    /* How far a source with an end is: from 0 to 1, and words for people. 'MKTS_NOT_FOUND' if
     * it does not know. */
    int32_t (*progress)(void *inst, double *share, mkts_buf *text);
};

/* What the host offers; lives for ever. 'ctx' is the handle given to a call, valid until it
 * returns, on any thread; later the answer is 'MKTS_STALE'. Calls copy what they are given,
 * never unwind and never call back into the same object. */
struct mkts_host { /* 200 bytes */
    /* Bytes of this struct. */
    uint32_t size;
    /* Major number of the border. */
    uint32_t abi_major;
    /* Minor number of the border. */
    uint32_t abi_minor;
    /* Zero. */
    uint32_t zero;
    /* Version of the server. */
    mkts_str version;
    /* Writes a line to the server's log; 'kv_json' may be empty. */
    void (*log)(uint32_t level, mkts_str target, mkts_str msg, mkts_str kv_json);
    /* Wall clock; during a call of the host that of its start. */
    int64_t (*now_ns)(void);
    /* Adds to a metric that the manifest names; 'labels' may be empty. */
    void (*metric_add)(mkts_str id, mkts_str labels, double by);
    /* Whether the call is to end: 0 if not. */
    int32_t (*cancelled)(void *ctx);
    /* When the call has run too long (wall clock); 0 for never. */
    int64_t (*deadline_ns)(void *ctx);
    /* Writes rows, once the call is committed. A missing bucket is made. 'flags' is 0. */
    int32_t (*write)(void *ctx, mkts_str key, const mkts_batch *batch, uint32_t flags, mkts_status *status);
    /* The bytes of a key; 'MKTS_NOT_FOUND' if it is not there. */
    int32_t (*state_get)(void *ctx, mkts_str key, mkts_buf *out);
    /* Sets the bytes of a key. */
    int32_t (*state_put)(void *ctx, mkts_str key, mkts_str value);
    /* Removes a key. */
    int32_t (*state_delete)(void *ctx, mkts_str key);
    /* Adds to a counter, which begins at 0; 'out' is its new value. */
    int32_t (*state_incr)(void *ctx, mkts_str key, int64_t by, int64_t *out);
    /* A counter; 0 if it is not there. */
    int32_t (*state_counter)(void *ctx, mkts_str key, int64_t *out);
    /* The first 'limit' keys with a prefix, ascending. */
    int32_t (*state_scan)(void *ctx, mkts_str prefix, uint64_t limit, mkts_scan_row callback, void *user);
    /* Sets a timer; the same key replaces. */
    int32_t (*timer_set)(void *ctx, mkts_str key, int64_t due_ns, mkts_str payload);
    /* Forgets a timer. */
    int32_t (*timer_cancel)(void *ctx, mkts_str key);
    /* Reads rows: '{"key": "A/1Min/OHLCV", "from": ns, "to": ns, "columns": ["Close"],
     * "first": 10}'; all but 'key' may be left out, 'last' instead of 'first' counts from the
     * end. 'MKTS_NOT_FOUND' if there is no such bucket. */
    int32_t (*query)(void *ctx, mkts_str request_json, mkts_query_rows callback, void *user, mkts_status *status);
    /* Sends a message to the subscribers of a stream, once the call is committed. */
    int32_t (*publish)(void *ctx, mkts_str stream, mkts_str payload);
    /* Says how the plugin is; 'level' is one of the 'MKTS_HEALTH_' numbers. */
    int32_t (*health_set)(void *ctx, uint32_t level, mkts_str text);
    /* Of a worker: makes what it did so far one commit, visible on return. */
    int32_t (*commit)(void *ctx, mkts_status *status);
    /* Of a worker: pauses; 'MKTS_CANCELLED' if it is to end. */
    int32_t (*sleep)(void *ctx, uint64_t ns);
    /* Why the last call of this thread that has no status failed. */
    int32_t (*last_error)(mkts_buf *out);
    /* Since minor 1: deletes the rows of a bucket with times from 'from_ns' to 'to_ns', once the
     * call is committed, also those that it wrote before. */
    int32_t (*delete_range)(void *ctx, mkts_str key, int64_t from_ns, int64_t to_ns, mkts_status *status);
};

/* The exported function, named mkts_plugin_v1_NAME: is given the host's table and gives its own;
 * both live for ever. Called once; the answer is a code. */
typedef int32_t (*mkts_entry)(const mkts_host *host, const mkts_plugin **out);

/* Text of a literal. */
#define MKTS_LIT(text) ((mkts_str){(text), sizeof(text) - 1})

/* Whether a struct handed over has a member. */
#define MKTS_HAS(of, member) \
    ((of)->size >= offsetof(__typeof__(*(of)), member) + sizeof((of)->member) && (of)->member)

#if defined(__APPLE__)
#define MKTS_MANIFEST_SECTION "__DATA,__mkts_man"
#else
#define MKTS_MANIFEST_SECTION ".mkts.manifest"
#endif

/* The manifest section: JSON, and the CRC-32 (IEEE) of it. A wrong one is refused with the right
 * one in the message. The JSON has at least "name", "version", "kind" ("trigger", "bgworker",
 * "source"), "abi" ([1, least minor of the host]) and "entry" ("mkts_plugin_v1_NAME"). Use
 * MKTS_MANIFEST_TEXT for the member 'manifest' of mkts_plugin. */
#define MKTS_MANIFEST(json_text, crc32_of_json)                                          \
    __attribute__((section(MKTS_MANIFEST_SECTION), used, aligned(8)))                     \
    static const struct {                                                                \
        char magic[8];                                                                   \
        uint32_t length;                                                                 \
        uint32_t crc;                                                                    \
        char json[sizeof(json_text)];                                                    \
    } mkts_manifest_section = {                                                          \
        {'M', 'K', 'T', 'S', 'P', 'L', 'G', '1'}, sizeof(json_text) - 1, (crc32_of_json), json_text}
#define MKTS_MANIFEST_TEXT {mkts_manifest_section.json, sizeof(mkts_manifest_section.json) - 1}

/* Puts a message that lives for ever into a status, if there is one, and answers with the code. */
static inline int32_t mkts_fail(mkts_status *status, int32_t code, const char *message) {
    if (status != NULL && status->size >= sizeof(mkts_status)) {
        mkts_buf text = {message, strlen(message), NULL, NULL};
        status->code = code;
        status->msg = text;
    }
    return code;
}

/* Releases what was handed over; once is enough, more does no harm. */
static inline void mkts_release(mkts_buf *buf) {
    if (buf->release != NULL) {
        void (*release)(mkts_buf *) = buf->release;
        buf->release = NULL;
        release(buf);
    }
}

#ifdef __cplusplus
}
#endif
#endif
