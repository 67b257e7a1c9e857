/* A trigger that does nothing; the bench writes its manifest in front. */
static char object;

static void *create(uint32_t kind, mkts_str config, const mkts_init *init, mkts_status *status) {
    (void)kind, (void)config, (void)init, (void)status;
    return &object;
}

static void destroy(void *inst, uint32_t reason) {
    (void)inst, (void)reason;
}

static int32_t fire(void *inst, void *ctx, const mkts_event *event, mkts_status *status) {
    (void)inst, (void)ctx, (void)event, (void)status;
    return MKTS_OK;
}

static const mkts_plugin plugin = {
    .size = sizeof plugin,
    .manifest = MKTS_MANIFEST_TEXT,
    .create = create,
    .destroy = destroy,
    .fire = fire,
};

int32_t mkts_plugin_v1_idle(const mkts_host *host, const mkts_plugin **out) {
    (void)host;
    *out = &plugin;
    return MKTS_OK;
}
