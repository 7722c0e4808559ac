/* Texts of failures, and the hash that places keys. */
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

/* Little-endian whatever the machine, so that placement is the same everywhere. */
static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline uint64_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* Folds the 128-bit product: every bit of both factors reaches the middle of it, which both halves hold. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

#define K0 0x9e3779b97f4a7c15ULL /* odd constants with balanced bits: golden ratio, and digits of sqrt(3), sqrt(5) */
#define K1 0xbb67ae8584caa73bULL
#define K2 0x3c6ef372fe94f82bULL

/* 16 bytes a step; the last 1 to 16 are covered by two loads that may overlap, so no byte is read one by one. The
 * length is in the start value: it tells apart what the overlap makes alike ("aaaa" and "aaaaa"). */
uint64_t hash_bytes(const void *data, size_t n) {
    const uint8_t *p = data;
    uint64_t h = K0 ^ (n * K1), a = 0, b = 0;
    size_t left = n;
    for (; left > 16; left -= 16, p += 16) h = fold(load64(p) ^ K1, load64(p + 8) ^ h);
    if (left >= 8) a = load64(p), b = load64(p + left - 8);
    else if (left >= 4) a = load32(p), b = load32(p + left - 4);
    else if (left) a = (uint64_t)p[0] << 16 | (uint64_t)p[left / 2] << 8 | p[left - 1];
    return hash_mix(fold(a ^ K2, b ^ h ^ K1)); /* the fold alone leaves the low bits of short keys uneven */
}
