/* Reads prices from a text file, a line for each: "1700000000,12.5". The params are the file.
 *
 * The token is the number of lines read, so the feed goes on behind what is stored, whatever
 * crashes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mkts_plugin.h"

#include "manifest.h"

#define LINES_IN_A_BATCH 100

static const mkts_host *host;

struct feed {
    char into[800];
    FILE *file;
    uint64_t next;
};

{{config_part}}
/* The text of "into". */
static int32_t parse(mkts_str json, char *into, size_t size, mkts_status *status) {
    const char *text = is_map(json) ? setting(json, "into") : NULL;
    const char *limit = json.ptr + json.len;
    if (text == NULL || *text != '"') {
        return mkts_fail(status, MKTS_CONFIG, "config.into: a bucket is missing");
    }
    size_t length = 0;
    for (text++; text + length < limit && text[length] != '"'; length++) {
    }
    if (length == 0 || length >= size) {
        return mkts_fail(status, MKTS_CONFIG, "config.into: use a bucket like X/1Min/PRICE");
    }
    memcpy(into, text, length);
    into[length] = 0;
    return MKTS_OK;
}

static int32_t check(mkts_str config_json, mkts_status *status) {
    char into[sizeof ((struct feed *)0)->into];
    return parse(config_json, into, sizeof into, status);
}

static void *create(uint32_t kind, mkts_str config_json, const mkts_init *init, mkts_status *status) {
    (void)init;
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL || kind != MKTS_KIND_SOURCE ||
        parse(config_json, feed->into, sizeof feed->into, status) != MKTS_OK) {
        free(feed);
        return NULL;
    }
    return feed;
}

static void destroy(void *inst, uint32_t reason) {
    struct feed *feed = inst;
    (void)reason;
    if (feed->file != NULL) {
        fclose(feed->file);
    }
    free(feed);
}

/* Time (ns) and price of a line. */
static int parse_line(const char *line, int64_t *time, double *price) {
    char *end = NULL;
    long long seconds = strtoll(line, &end, 10);
    if (end == line || *end != ',') {
        return 0;
    }
    const char *text = end + 1;
    *price = strtod(text, &end);
    *time = (int64_t)seconds * 1000000000;
    return end != text;
}

/* Opens the file behind the lines that are stored. */
static int32_t open_feed(void *inst, mkts_str params, mkts_str resume, mkts_status *status) {
    struct feed *feed = inst;
    char path[4096], token[32], line[256];
    snprintf(path, sizeof path, "%.*s", (int)params.len, params.ptr);
    snprintf(token, sizeof token, "%.*s", (int)resume.len, resume.len ? resume.ptr : "");
    if (feed->file != NULL) {
        fclose(feed->file);
    }
    feed->file = fopen(path, "r");
    if (feed->file == NULL) {
        return mkts_fail(status, MKTS_ERR, "the file of the params cannot be opened");
    }
    feed->next = strtoull(token, NULL, 10);
    for (uint64_t at = 0; at < feed->next; at++) {
        if (fgets(line, sizeof line, feed->file) == NULL) {
            return mkts_fail(status, MKTS_ERR, "the file is shorter than it was");
        }
    }
    return MKTS_OK;
}

static int32_t append(const struct feed *feed, const mkts_source_out *out, int64_t time, double price,
                      mkts_status *status) {
    mkts_col cols[2] = {
        {MKTS_TYPE_I64, MKTS_COL_TIME, 8, MKTS_LIT("Epoch"), &time},
        {MKTS_TYPE_F64, 0, 8, MKTS_LIT("Price"), &price},
    };
    mkts_str key = {feed->into, strlen(feed->into)};
    mkts_batch batch = {sizeof batch, 2, 1, cols, key, MKTS_ROWS_TICK, 0};
    return out->append(out->h, key, &batch, status);
}

static int32_t next_batch(void *inst, void *ctx, const mkts_source_out *out, int64_t deadline_ns,
                          mkts_status *status) {
    struct feed *feed = inst;
    char line[256], token[32];
    for (uint32_t rows = 0; rows < LINES_IN_A_BATCH && rows < out->max_rows; rows++) {
        if (host->cancelled(ctx) || host->now_ns() >= deadline_ns) {
            return MKTS_MORE_TIMEOUT;
        }
        if (fgets(line, sizeof line, feed->file) == NULL) {
            return MKTS_MORE_END;
        }
        int64_t time = 0;
        double price = 0;
        if (!parse_line(line, &time, &price)) {
            return mkts_fail(status, MKTS_ERR, "a line is no price");
        }
        int32_t code = append(feed, out, time, price, status);
        if (code != MKTS_OK) {
            return code;
        }
        feed->next++;
        int length = snprintf(token, sizeof token, "%llu", (unsigned long long)feed->next);
        code = out->set_resume(out->h, (mkts_str){token, (uint64_t)length});
        if (code != MKTS_OK) {
            return mkts_fail(status, code, "the token is not taken");
        }
    }
    return MKTS_MORE_FULL;
}

static const mkts_plugin plugin = {
    .size = sizeof plugin,
    .abi_minor_min = 0,
    .manifest = MKTS_MANIFEST_TEXT,
    .check = check,
    .create = create,
    .destroy = destroy,
    .open = open_feed,
    .next_batch = next_batch,
};

int32_t mkts_plugin_v1_{{crate}}(const mkts_host *given, const mkts_plugin **out) {
    if (given->abi_major != MKTS_ABI_MAJOR || !MKTS_HAS(given, cancelled) || !MKTS_HAS(given, now_ns)) {
        return MKTS_ABI;
    }
    host = given;
    *out = &plugin;
    return MKTS_OK;
}
