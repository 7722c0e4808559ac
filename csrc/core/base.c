#include "base.h"

static const struct {
    const char *flag, *text;
} failures[] = {
#define X(name, flag, text) {flag, text},
    FAILURES(X)
#undef X
};

const char *failure_flag(enum failure f) { return (unsigned)f < FAILURE_COUNT ? failures[f].flag : "??"; }
const char *failure_text(enum failure f) { return (unsigned)f < FAILURE_COUNT ? failures[f].text : "unknown failure"; }

static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Folds the 128-bit product: every bit of both factors reaches every bit of the result. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

#define K0 0x9e3779b97f4a7c15ULL /* odd constants with balanced bits: golden ratio, and digits of sqrt(3), sqrt(5) */
#define K1 0xbb67ae8584caa73bULL
#define K2 0x3c6ef372fe94f82bULL

uint64_t hash_bytes(const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t h = K0 ^ (n * K1), a = 0, b = 0;
    size_t left = n;
    for (; left > 16; left -= 16, p += 16) h = fold(load64(p) ^ K1, load64(p + 8) ^ h);
    if (left >= 8) {
        a = load64(p), b = load64(p + left - 8);
    } else if (left) {
        for (size_t i = 0; i < left; i++) a = a << 8 | p[i];
        b = left;
    }
    return hash_mix(fold(a ^ K2, b ^ h ^ K1));
}
