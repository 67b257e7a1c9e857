/* Counts the bars of each bucket that close above a limit, in its state, and writes the count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mkts_plugin.h"

#include "manifest.h"

static const mkts_host *host;

struct plugin_config {
    double above;
};

{{config_part}}
static int32_t parse(mkts_str json, struct plugin_config *config, mkts_status *status) {
    const char *above = is_map(json) ? setting(json, "above") : NULL;
    if (above == NULL) {
        return mkts_fail(status, MKTS_CONFIG, "config.above: a number is missing");
    }
    char *end = NULL;
    config->above = strtod(above, &end);
    if (end == above) {
        return mkts_fail(status, MKTS_CONFIG, "config.above: use a number");
    }
    return MKTS_OK;
}

static int32_t check(mkts_str config_json, mkts_status *status) {
    struct plugin_config config;
    return parse(config_json, &config, status);
}

static void *create(uint32_t kind, mkts_str config_json, const mkts_init *init, mkts_status *status) {
    (void)init;
    struct plugin_config *config = malloc(sizeof *config);
    if (config == NULL || kind != MKTS_KIND_TRIGGER || parse(config_json, config, status) != MKTS_OK) {
        free(config);
        return NULL;
    }
    return config;
}

static void destroy(void *inst, uint32_t reason) {
    (void)reason;
    free(inst);
}

/* How many values are above the limit. */
static int64_t count_above(const mkts_col *col, uint64_t rows, double limit) {
    int64_t count = 0;
    for (uint64_t row = 0; row < rows; row++) {
        double value = col->type == MKTS_TYPE_F64   ? ((const double *)col->data)[row]
                       : col->type == MKTS_TYPE_F32 ? ((const float *)col->data)[row]
                                                    : limit;
        count += value > limit;
    }
    return count;
}

static const mkts_col *column(const mkts_batch *batch, const char *name) {
    for (uint32_t at = 0; at < batch->ncols; at++) {
        const mkts_col *col = &batch->cols[at];
        if (col->name.len == strlen(name) && memcmp(col->name.ptr, name, col->name.len) == 0) {
            return col;
        }
    }
    return NULL;
}

/* "AAPL/1Min/OHLCV" becomes "AAPL/1Min/ABOVE"; its length, 0 if it does not fit. */
static size_t target_of(mkts_str key, char *out, size_t size) {
    uint64_t end = key.len;
    while (end > 0 && key.ptr[end - 1] != '/') {
        end--;
    }
    int length = snprintf(out, size, "%.*sABOVE", (int)end, key.ptr);
    return length > 0 && (size_t)length < size ? (size_t)length : 0;
}

static int32_t write_count(void *ctx, mkts_str from, int64_t time, int64_t count, mkts_status *status) {
    char target[800];
    mkts_str key = {target, target_of(from, target, sizeof target)};
    mkts_col cols[2] = {
        {MKTS_TYPE_I64, MKTS_COL_TIME, 8, MKTS_LIT("Epoch"), &time},
        {MKTS_TYPE_I64, 0, 8, MKTS_LIT("Count"), &count},
    };
    mkts_batch batch = {sizeof batch, 2, 1, cols, key, MKTS_ROWS_BAR, 0};
    return host->write(ctx, key, &batch, 0, status);
}

static int32_t fire(void *inst, void *ctx, const mkts_event *event, mkts_status *status) {
    const struct plugin_config *config = inst;
    if (event->type != MKTS_EVENT_WRITE || event->batch->nrows == 0) {
        return MKTS_OK;
    }
    const mkts_batch *batch = event->batch;
    const mkts_col *close = column(batch, "Close");
    if (close == NULL) {
        return mkts_fail(status, MKTS_SKIP, "there is no column Close");
    }
    int64_t hits = count_above(close, batch->nrows, config->above);
    if (hits == 0) {
        return MKTS_OK;
    }
    /* The object may be made anew between two events: what must last belongs into the state. */
    int64_t count = 0;
    if (host->state_incr(ctx, batch->key, hits, &count) != MKTS_OK) {
        return mkts_fail(status, MKTS_RETRY, "the count cannot be kept");
    }
    const int64_t *times = batch->cols[0].data;
    int32_t code = write_count(ctx, batch->key, times[batch->nrows - 1], count, status);
    return code == MKTS_OK ? MKTS_OK : MKTS_RETRY;
}

static const mkts_plugin plugin = {
    .size = sizeof plugin,
    .abi_minor_min = 0,
    .manifest = MKTS_MANIFEST_TEXT,
    .check = check,
    .create = create,
    .destroy = destroy,
    .fire = fire,
};

int32_t mkts_plugin_v1_{{crate}}(const mkts_host *given, const mkts_plugin **out) {
    if (given->abi_major != MKTS_ABI_MAJOR || !MKTS_HAS(given, state_incr) || !MKTS_HAS(given, write)) {
        return MKTS_ABI;
    }
    host = given;
    *out = &plugin;
    return MKTS_OK;
}
