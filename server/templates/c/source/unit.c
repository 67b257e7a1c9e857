/* What can be tested without a server. */
#include "{{crate}}.c"

#undef NDEBUG
#include <assert.h>

int main(void) {
    int64_t time = 0;
    double price = 0;
    assert(parse_line("2,12.5\n", &time, &price) && time == 2000000000 && price == 12.5);
    assert(!parse_line("2;12.5\n", &time, &price));
    assert(!parse_line("2,\n", &time, &price));

    char into[16];
    assert(parse(MKTS_LIT("{\"into\":\"X/1Min/P\"}"), into, sizeof into, NULL) == MKTS_OK);
    assert(strcmp(into, "X/1Min/P") == 0);
    assert(parse(MKTS_LIT("{\"into\":3}"), into, sizeof into, NULL) == MKTS_CONFIG);
    assert(parse(MKTS_LIT("[]"), into, sizeof into, NULL) == MKTS_CONFIG);
    puts("unit: ok");
    return 0;
}
