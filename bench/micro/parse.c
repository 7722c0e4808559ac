/* Loops over the RESP parser for test_parse.py. A loop returns -1 when what it measures does not work. */
#include "codecs/resp.h"

#define EXPORT __attribute__((visibility("default")))

/* Parses the request p[0..n) `times` times, as one that arrived whole. */
EXPORT int parse_request(const uint8_t *p, size_t n, unsigned times) {
    struct resp_request r;
    for (unsigned i = 0; i < times; i++) {
        resp_request_reset(&r);
        __asm__ volatile("" : "+r"(p)); /* the bytes may have changed, as far as the compiler knows */
        if (resp_request_parse(&r, p, n, &resp_limits_default) != (ptrdiff_t)n) return -1;
    }
    return 0;
}

/* Passes the reply p[0..n) through the scanner that forwards without understanding. */
EXPORT int scan_reply(const uint8_t *p, size_t n, unsigned times) {
    struct resp_scan s;
    resp_scan_reset(&s);
    for (unsigned i = 0; i < times; i++) {
        __asm__ volatile("" : "+r"(p));
        if (resp_scan(&s, p, n, &resp_limits_default) != (ptrdiff_t)n || !s.done) return -1;
    }
    return 0;
}
