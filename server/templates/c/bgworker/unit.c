/* What can be tested without a server. */
#include "{{crate}}.c"

#undef NDEBUG
#include <assert.h>

int main(void) {
    struct beats beats;
    mkts_str good = MKTS_LIT("{\"count\":3,\"every_ms\":20,\"into\":\"B/1Sec/N\"}");
    assert(parse(good, &beats, NULL) == MKTS_OK);
    assert(beats.count == 3 && beats.every_ms == 20 && strcmp(beats.into, "B/1Sec/N") == 0);
    assert(parse(MKTS_LIT("{\"into\":\"B/1Sec/N\"}"), &beats, NULL) == MKTS_CONFIG);
    assert(parse(MKTS_LIT("[]"), &beats, NULL) == MKTS_CONFIG);
    puts("unit: ok");
    return 0;
}
