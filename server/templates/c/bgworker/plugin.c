/* Writes a row every now and then, and remembers how many there were. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mkts_plugin.h"

#include "manifest.h"

static const mkts_host *host;

struct beats {
    char into[800];
    /* Pause between two rows. */
    uint64_t every_ms;
    /* Rows to write; 0 for no end. */
    int64_t count;
};

{{config_part}}
static int32_t parse(mkts_str json, struct beats *beats, mkts_status *status) {
    const char *into = is_map(json) ? setting(json, "into") : NULL;
    const char *every = is_map(json) ? setting(json, "every_ms") : NULL;
    const char *count = is_map(json) ? setting(json, "count") : NULL;
    const char *limit = json.ptr + json.len;
    if (into == NULL || *into != '"') {
        return mkts_fail(status, MKTS_CONFIG, "config.into: a bucket is missing");
    }
    if (every == NULL || *every < '0' || *every > '9') {
        return mkts_fail(status, MKTS_CONFIG, "config.every_ms: a number is missing");
    }
    size_t length = 0;
    for (into++; into + length < limit && into[length] != '"'; length++) {
    }
    if (length == 0 || length >= sizeof beats->into) {
        return mkts_fail(status, MKTS_CONFIG, "config.into: use a bucket like BEAT/1Sec/N");
    }
    memcpy(beats->into, into, length);
    beats->into[length] = 0;
    beats->every_ms = strtoull(every, NULL, 10);
    beats->count = count == NULL ? 0 : strtoll(count, NULL, 10);
    return MKTS_OK;
}

static int32_t check(mkts_str config_json, mkts_status *status) {
    struct beats beats;
    return parse(config_json, &beats, status);
}

static void *create(uint32_t kind, mkts_str config_json, const mkts_init *init, mkts_status *status) {
    (void)init;
    struct beats *beats = calloc(1, sizeof *beats);
    if (beats == NULL || kind != MKTS_KIND_BGWORKER || parse(config_json, beats, status) != MKTS_OK) {
        free(beats);
        return NULL;
    }
    return beats;
}

static void destroy(void *inst, uint32_t reason) {
    (void)reason;
    free(inst);
}

/* Row of a beat: its time is its number in seconds, so that tests can compare. */
static int32_t write_beat(void *ctx, const struct beats *beats, int64_t beat, mkts_status *status) {
    int64_t time = beat * 1000000000;
    mkts_col cols[2] = {
        {MKTS_TYPE_I64, MKTS_COL_TIME, 8, MKTS_LIT("Epoch"), &time},
        {MKTS_TYPE_I64, 0, 8, MKTS_LIT("Beat"), &beat},
    };
    mkts_str key = {beats->into, strlen(beats->into)};
    mkts_batch batch = {sizeof batch, 2, 1, cols, key, MKTS_ROWS_TICK, 0};
    return host->write(ctx, key, &batch, 0, status);
}

static int32_t run(void *inst, void *ctx, mkts_status *status) {
    const struct beats *beats = inst;
    int64_t beat = 0;
    if (host->state_counter(ctx, MKTS_LIT("beats"), &beat) != MKTS_OK) {
        return mkts_fail(status, MKTS_ERR, "the count cannot be read");
    }
    while (!host->cancelled(ctx) && (beats->count == 0 || beat < beats->count)) {
        if (host->state_incr(ctx, MKTS_LIT("beats"), 1, &beat) != MKTS_OK) {
            return mkts_fail(status, MKTS_ERR, "the count cannot be kept");
        }
        int32_t code = write_beat(ctx, beats, beat, status);
        if (code == MKTS_OK) {
            /* Row and state become visible together. */
            code = host->commit(ctx, status);
        }
        if (code != MKTS_OK) {
            return code;
        }
        if (host->sleep(ctx, beats->every_ms * 1000000) != MKTS_OK) {
            break;
        }
    }
    return MKTS_OK;
}

static const mkts_plugin plugin = {
    .size = sizeof plugin,
    .abi_minor_min = 0,
    .manifest = MKTS_MANIFEST_TEXT,
    .check = check,
    .create = create,
    .destroy = destroy,
    .run = run,
};

int32_t mkts_plugin_v1_{{crate}}(const mkts_host *given, const mkts_plugin **out) {
    if (given->abi_major != MKTS_ABI_MAJOR || !MKTS_HAS(given, commit) || !MKTS_HAS(given, sleep)) {
        return MKTS_ABI;
    }
    host = given;
    *out = &plugin;
    return MKTS_OK;
}
