/* A plugin that does at the border what a test asks for; the test writes MKTS_MANIFEST, NAME, MINOR
 * and SIZE in front of it. The config is the name of what to do. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mkts_host *host;
/* A handle kept from an earlier call. */
static void *kept;
static int given, released;

struct probe {
    char what[64];
    int cancelled;
};

static void release_text(mkts_buf *buf) {
    __atomic_fetch_add(&released, 1, __ATOMIC_SEQ_CST);
    free(buf->owner);
}

/* An answer with a message that is counted. */
static int32_t say(mkts_status *status, int32_t code, const char *text) {
    char *copy = strdup(text);
    mkts_buf message = {copy, strlen(copy), copy, release_text};
    given++;
    status->code = code;
    status->msg = message;
    return code;
}

static int is(const char *what, mkts_str config) {
    return config.len == strlen(what) + 2 && memcmp(config.ptr + 1, what, strlen(what)) == 0;
}

static int32_t check(mkts_str config, mkts_status *status) {
    if (is("bad", config)) {
        return say(status, MKTS_CONFIG, "config.a[2].b: it is bad");
    }
    return is("odd", config) ? say(status, MKTS_CONFIG, "configure me") : MKTS_OK;
}

static void *create(uint32_t kind, mkts_str config, const mkts_init *init, mkts_status *status) {
    (void)kind;
    if (is("none", config)) {
        /* Fails without a word. */
        return NULL;
    }
    if (is("refuse", config)) {
        say(status, MKTS_LIMIT, "not today");
        return NULL;
    }
    struct probe *probe = calloc(1, sizeof *probe);
    snprintf(probe->what, sizeof probe->what, "%.*s", (int)config.len - 2, config.ptr + 1);
    if (is("init", config)) {
        mkts_buf value = {0};
        int code = host->state_get(init->state, MKTS_LIT("k"), &value);
        say(status, MKTS_ERR, code == MKTS_OK ? "state is there" : "no state");
        mkts_release(&value);
        kept = init->state;
        free(probe);
        return NULL;
    }
    return probe;
}

static void destroy(void *inst, uint32_t reason) {
    (void)reason;
    free(inst);
}

static int32_t none(void *user, mkts_str key, uint32_t kind, mkts_str bytes, int64_t counter) {
    (void)user, (void)key, (void)kind, (void)bytes, (void)counter;
    return 0;
}

static int32_t no_rows(void *user, const mkts_batch *batch) {
    (void)user, (void)batch;
    return 0;
}

/* Every call of the host with a handle, and what it answers. */
static int32_t every_call(void *ctx, mkts_status *status) {
    char text[512];
    int64_t number = 0, time = 0;
    mkts_buf buf = {0};
    mkts_status inner = {.size = sizeof inner};
    mkts_str k = MKTS_LIT("k"), key = MKTS_LIT("A/1Min/X");
    mkts_col col = {MKTS_TYPE_I64, MKTS_COL_TIME, 8, MKTS_LIT("Epoch"), &time};
    mkts_col cols[2] = {col, {MKTS_TYPE_I64, 0, 8, MKTS_LIT("N"), &number}};
    mkts_batch batch = {sizeof batch, 2, 1, cols, key, MKTS_ROWS_BAR, 0};
    int codes[16], n = 0;
    codes[n++] = host->cancelled(ctx);
    codes[n++] = host->write(ctx, key, &batch, 0, &inner);
    mkts_release(&inner.msg);
    codes[n++] = host->state_get(ctx, k, &buf);
    mkts_release(&buf);
    codes[n++] = host->state_put(ctx, k, k);
    codes[n++] = host->state_delete(ctx, k);
    codes[n++] = host->state_incr(ctx, k, 1, &number);
    codes[n++] = host->state_counter(ctx, k, &number);
    codes[n++] = host->state_scan(ctx, k, 9, none, NULL);
    codes[n++] = host->timer_set(ctx, k, 1, k);
    codes[n++] = host->timer_cancel(ctx, k);
    codes[n++] = host->query(ctx, MKTS_LIT("{\"key\": \"A/1Min/X\"}"), no_rows, NULL, &inner);
    mkts_release(&inner.msg);
    codes[n++] = host->publish(ctx, k, k);
    codes[n++] = host->health_set(ctx, MKTS_HEALTH_OK, k);
    codes[n++] = host->commit(ctx, &inner);
    mkts_release(&inner.msg);
    codes[n++] = host->sleep(ctx, 1);
    host->log(MKTS_LOG_INFO, k, k, (mkts_str){0});
    host->metric_add(k, k, 1.0);
    host->now_ns();
    host->deadline_ns(ctx);
    int at = 0;
    for (int i = 0; i < n; i++) {
        at += snprintf(text + at, sizeof text - at, "%d ", codes[i]);
    }
    return say(status, MKTS_SKIP, text);
}

/* Calls with arguments that no careful plugin gives. */
static int32_t bad_calls(void *ctx, mkts_status *status) {
    static const char wrong[] = {'a', (char)0xff, 0};
    mkts_str text = {wrong, 2}, key = MKTS_LIT("A/1Min/X"), null = {0};
    mkts_batch none = {sizeof none, 0, 0, NULL, key, 9, 0};
    mkts_status small = {.size = 8};
    int bad = 0;
    bad += host->write(ctx, key, NULL, 0, &small) < 0;
    bad += host->write(ctx, key, &none, 0, NULL) < 0;
    bad += host->write(ctx, text, &none, 0, NULL) < 0;
    bad += host->write(ctx, MKTS_LIT("nonsense"), &none, 0, NULL) < 0;
    bad += host->write(ctx, key, &none, 77, NULL) == MKTS_UNSUPPORTED;
    bad += host->state_get(ctx, key, NULL) < 0;
    bad += host->state_counter(ctx, key, NULL) < 0;
    bad += host->state_scan(ctx, key, 1, NULL, NULL) < 0;
    bad += host->query(ctx, MKTS_LIT("{"), no_rows, NULL, NULL) < 0;
    bad += host->query(ctx, MKTS_LIT("{\"key\":\"A/1Min/X\",\"first\":1,\"last\":1}"), no_rows, NULL, NULL) < 0;
    bad += host->query(ctx, MKTS_LIT("{\"key\":\"A/1Min/X\"}"), NULL, NULL, NULL) < 0;
    bad += host->publish(ctx, text, null) < 0;
    bad += host->last_error(NULL) < 0;
    bad += host->commit(NULL, NULL) == MKTS_STALE;
    bad += host->cancelled((void *)~(uintptr_t)0) == MKTS_STALE;
    char said[32];
    snprintf(said, sizeof said, "%d of 15", bad);
    return say(status, MKTS_SKIP, said);
}

static int32_t scanned(void *user, mkts_str key, uint32_t kind, mkts_str bytes, int64_t counter) {
    (void)kind, (void)bytes, (void)counter;
    /* The host is free to be called from a callback. */
    mkts_buf value = {0};
    host->state_get(user, key, &value);
    mkts_release(&value);
    return host->state_incr(user, MKTS_LIT("scanned"), 1, NULL);
}

static void *count(void *ctx) {
    for (int i = 0; i < 250; i++) {
        host->state_incr(ctx, MKTS_LIT("threads"), 1, NULL);
    }
    return NULL;
}

/* Calls from threads of its own, while the fire lasts. */
static void threads(void *ctx) {
    pthread_t four[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&four[i], NULL, count, ctx);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(four[i], NULL);
    }
}

static int32_t report(mkts_status *status) {
    char text[64];
    snprintf(text, sizeof text, "given %d released %d", given, released);
    return mkts_fail(status, MKTS_SKIP, strdup(text));
}

static int32_t fire(void *inst, void *ctx, const mkts_event *event, mkts_status *status) {
    struct probe *probe = inst;
    const char *what = probe->what;
#define DO(name) else if (strcmp(what, name) == 0)
    if (event->size != sizeof *event) {
        return say(status, MKTS_ABI, "the event has another size");
    }
    DO("retry") { status->retry_after_ms = 1500; return say(status, MKTS_RETRY, "in a while"); }
    DO("skip") { return say(status, MKTS_SKIP, "no, thanks"); }
    DO("fatal") { status->flags = MKTS_STATUS_FATAL; return say(status, MKTS_ERR, "that was it"); }
    DO("limit") { return say(status, MKTS_LIMIT, "too much\nof it"); }
    DO("mute") { return MKTS_ERR; }
    DO("panic") { return say(status, MKTS_PANIC, "as if"); }
    DO("keep") { kept = ctx; return MKTS_OK; }
    DO("every") { return every_call(ctx, status); }
    DO("stale") { return every_call(kept, status); }
    DO("bad_calls") { return bad_calls(ctx, status); }
    DO("scan") { return host->state_scan(ctx, (mkts_str){0}, 10, scanned, ctx); }
    DO("threads") { threads(ctx); return MKTS_OK; }
    DO("report") { return report(status); }
    DO("wait") {
        while (!__atomic_load_n(&probe->cancelled, __ATOMIC_SEQ_CST)) {
            host->state_incr(ctx, MKTS_LIT("waits"), 1, NULL);
        }
        return say(status, MKTS_SKIP, "asked to end");
    }
    return say(status, MKTS_ERR, "what?");
}

static void cancel(void *inst) {
    __atomic_store_n(&((struct probe *)inst)->cancelled, 1, __ATOMIC_SEQ_CST);
}

static const struct {
    mkts_plugin known;
    /* What a newer minor has appended. */
    void (*unknown[4])(void);
} plugin = {
    {
        .size = SIZE,
        .abi_minor_min = MINOR,
        .manifest = MKTS_MANIFEST_TEXT,
        .check = check,
        .create = create,
        .destroy = destroy,
        .fire = fire,
        .cancel = cancel,
    },
    {(void (*)(void))abort, (void (*)(void))abort, (void (*)(void))abort, (void (*)(void))abort},
};

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
int32_t JOIN(mkts_plugin_v1_, NAME)(const mkts_host *given_host, const mkts_plugin **out) {
    if (given_host->size < offsetof(mkts_host, last_error)) {
        return MKTS_ABI;
    }
    host = given_host;
    *out = &plugin.known;
    return MKTS_OK;
}
