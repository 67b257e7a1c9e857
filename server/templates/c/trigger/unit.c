/* What can be tested without a server. */
#include "{{crate}}.c"

#undef NDEBUG
#include <assert.h>

int main(void) {
    double values[] = {1.0, 2.0, 2.5};
    mkts_col col = {MKTS_TYPE_F64, 0, 8, MKTS_LIT("Close"), values};
    assert(count_above(&col, 3, 2.0) == 1);

    char target[32];
    size_t length = target_of(MKTS_LIT("A/1Min/OHLCV"), target, sizeof target);
    assert(length == 12 && memcmp(target, "A/1Min/ABOVE", length) == 0);
    assert(target_of(MKTS_LIT("A/1Min/OHLCV"), target, 5) == 0);

    assert(check(MKTS_LIT("{\"above\":1.5}"), NULL) == MKTS_OK);
    assert(check(MKTS_LIT("{}"), NULL) == MKTS_CONFIG);
    assert(check(MKTS_LIT("{\"above\":\"x\"}"), NULL) == MKTS_CONFIG);
    puts("unit: ok");
    return 0;
}
