/* A trigger that ends its process where a bucket's symbol is BOOM. */
#include <string.h>

#include "mkts_plugin.h"

MKTS_MANIFEST("{\"name\":\"boom\",\"version\":\"1.0.0\",\"kind\":\"trigger\",\"abi\":[1,0],"
              "\"entry\":\"mkts_plugin_v1_boom\",\"delivery\":\"exact\"}",
              0xeb1f75b8);

static int object;

static int32_t check(mkts_str config_json, mkts_status *status) {
    (void)config_json;
    (void)status;
    return MKTS_OK;
}

static void *create(uint32_t kind, mkts_str config_json, const mkts_init *init, mkts_status *status) {
    (void)kind;
    (void)config_json;
    (void)init;
    (void)status;
    return &object;
}

static void destroy(void *inst, uint32_t reason) {
    (void)inst;
    (void)reason;
}

static int32_t fire(void *inst, void *ctx, const mkts_event *event, mkts_status *status) {
    (void)inst;
    (void)ctx;
    (void)status;
    if (event->key.len >= 4 && memcmp(event->key.ptr, "BOOM", 4) == 0) {
        volatile int *volatile nowhere = NULL;
        *nowhere = 1;
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
    .fire = fire,
};

int32_t mkts_plugin_v1_boom(const mkts_host *given, const mkts_plugin **out) {
    if (given->abi_major != MKTS_ABI_MAJOR) {
        return MKTS_ABI;
    }
    *out = &plugin;
    return MKTS_OK;
}
