/* A trigger in C: counts the rows of all its buckets in its state, and writes the count.
 *
 *     cc -shared -fPIC -I ../../abi/include -o tally.so tally.c
 */
#include <stdlib.h>
#include <string.h>

#include "mkts_plugin.h"

MKTS_MANIFEST("{\"name\":\"tally\",\"version\":\"1.0.0\",\"kind\":\"trigger\",\"abi\":[1,0],"
              "\"entry\":\"mkts_plugin_v1_tally\",\"about\":\"counts rows\"}",
              0xf5e17f26);

static const mkts_host *host;

struct tally {
    uint64_t fires;
};

static int32_t check(mkts_str config_json, mkts_status *status) {
    /* It has no settings. */
    if (config_json.len > 2) {
        return mkts_fail(status, MKTS_CONFIG, "config: tally has no settings");
    }
    return MKTS_OK;
}

static void *create(uint32_t kind, mkts_str config_json, const mkts_init *init, mkts_status *status) {
    (void)init;
    if (kind != MKTS_KIND_TRIGGER || check(config_json, status) != MKTS_OK) {
        return NULL;
    }
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL) {
        mkts_fail(status, MKTS_ERR, "out of memory");
    }
    return tally;
}

static void destroy(void *inst, uint32_t reason) {
    (void)reason;
    free(inst);
}

/* Writes one row: the time of the newest row seen, and the count. */
static int32_t write_count(void *ctx, int64_t time, int64_t count, mkts_status *status) {
    mkts_col cols[2] = {
        {MKTS_TYPE_I64, MKTS_COL_TIME, 8, MKTS_LIT("Epoch"), &time},
        {MKTS_TYPE_I64, 0, 8, MKTS_LIT("Rows"), &count},
    };
    mkts_str key = MKTS_LIT("TALLY/1Sec/ROWS");
    mkts_batch batch = {sizeof batch, 2, 1, cols, key, MKTS_ROWS_BAR, 0};
    return host->write(ctx, key, &batch, 0, status);
}

static int32_t fire(void *inst, void *ctx, const mkts_event *event, mkts_status *status) {
    struct tally *tally = inst;
    tally->fires++;
    if (event->type != MKTS_EVENT_WRITE || event->batch->nrows == 0) {
        return MKTS_OK;
    }
    const mkts_batch *batch = event->batch;
    const int64_t *times = batch->cols[0].data;
    int64_t count = 0;
    int32_t code = host->state_incr(ctx, MKTS_LIT("rows"), (int64_t)batch->nrows, &count);
    if (code != MKTS_OK) {
        return mkts_fail(status, MKTS_RETRY, "the count cannot be kept");
    }
    code = write_count(ctx, times[batch->nrows - 1], count, status);
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

int32_t mkts_plugin_v1_tally(const mkts_host *given, const mkts_plugin **out) {
    if (given->abi_major != MKTS_ABI_MAJOR || !MKTS_HAS(given, state_incr) || !MKTS_HAS(given, write)) {
        return MKTS_ABI;
    }
    host = given;
    *out = &plugin;
    return MKTS_OK;
}
