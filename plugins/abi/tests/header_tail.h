
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
