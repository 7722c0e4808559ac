/* Where a run of bytes of an HTTP head ends: 16 bytes at a time with SSE2 (every x86-64 has it), else one by one.
 *
 * None reads outside lo..end. `lo` is where the readable bytes begin: with 16 of them the last, short block is looked at as the
 * upper part of the whole one that ends with it. The _plain forms are the definition; the tests compare. */
#ifndef MOSNPY_HTTP_SCAN_H
#define MOSNPY_HTTP_SCAN_H

#include "http.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Bytes that end a field value: controls other than tab. A good value ends before CR. */
static inline bool http_ends_value(uint8_t c) { return (c < 0x20 && c != '\t') || c == 0x7f; }
/* Bytes that end a request target: space, controls, and '#', which has no place in one. */
static inline bool http_ends_target(uint8_t c) { return c <= 0x20 || c == 0x7f || c == '#'; }

/* Where a known name is found: by its length, its first and its last letter in lower case. Names the text is too long for do not
 * exist; what is behind it is 0. */
struct http_name_slot {
    uint8_t text[24], n, id, hop;
};
#define HTTP_NAME_SLOT(n, first, last) (((n) + 5 * (first) + 32 * (last)) & 63)
extern const struct http_name_slot http_name_slots[64];

static inline uint16_t http_load16(const uint8_t *p) {
    uint16_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
static inline uint64_t http_load64(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
/* Two bytes as http_load16() sees them. Little-endian, as everything mosnpy runs on. */
#define HTTP_PAIR(a, b) ((uint16_t)((a) | (b) << 8))

static inline const uint8_t *http_scan_value_plain(const uint8_t *p, const uint8_t *end) {
    while (p < end && !http_ends_value(*p)) p++;
    return p;
}
static inline const uint8_t *http_scan_target_plain(const uint8_t *p, const uint8_t *end) {
    while (p < end && !http_ends_target(*p)) p++;
    return p;
}
static inline const uint8_t *http_scan_name_plain(const uint8_t *p, const uint8_t *end) {
    while (p < end && http_token_table[*p]) p++;
    return p;
}

#ifdef __SSE2__

static inline __m128i http_load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }

/* A bit for each byte that ends a value. */
static inline unsigned http_value_mask(__m128i x) {
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
    low = _mm_andnot_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('\t')), low);
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f))));
}

/* Those, and tab and bytes above 0x7e, which are rare enough to be looked at again. */
static inline unsigned http_odd_mask(__m128i x) {
    return (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(_mm_add_epi8(x, _mm_set1_epi8(1)), _mm_set1_epi8(0x21)));
}

static inline unsigned http_target_mask(__m128i x) {
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x20)), x);
    __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f)), _mm_cmpeq_epi8(x, _mm_set1_epi8('#')));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, odd));
}

/* A bit for each byte that is neither letter nor '-', which nearly all names are made of. */
static inline unsigned http_name_mask(__m128i x) {
    __m128i lower = _mm_or_si128(x, _mm_set1_epi8(0x20));
    __m128i letter = _mm_cmplt_epi8(_mm_add_epi8(lower, _mm_set1_epi8((char)(0x80 - 'a'))), _mm_set1_epi8(-128 + 26));
    return 0xffffu ^ (unsigned)_mm_movemask_epi8(_mm_or_si128(letter, _mm_cmpeq_epi8(x, _mm_set1_epi8('-'))));
}

#define HTTP_SCAN(mask, plain)                                                  \
    do {                                                                        \
        unsigned hit;                                                           \
        for (; likely(end - p >= 16); p += 16)                                  \
            if ((hit = mask(http_load(p))) != 0) return p + __builtin_ctz(hit); \
        if (unlikely(end - lo < 16)) return plain(p, end);                      \
        hit = mask(http_load(end - 16)) >> (16 - (end - p));                    \
        return hit ? p + __builtin_ctz(hit) : end;                              \
    } while (0)

static inline const uint8_t *http_scan_value(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    HTTP_SCAN(http_value_mask, http_scan_value_plain);
}
/* As http_scan_value(), or short of it. */
static inline const uint8_t *http_scan_ascii(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    HTTP_SCAN(http_odd_mask, http_scan_value_plain);
}
static inline const uint8_t *http_scan_target(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    HTTP_SCAN(http_target_mask, http_scan_target_plain);
}
static inline const uint8_t *http_scan_letters(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    HTTP_SCAN(http_name_mask, http_scan_name_plain);
}
static inline const uint8_t *http_scan_name(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    p = http_scan_letters(p, end, lo);
    return p < end && http_token_table[*p] ? http_scan_name_plain(p, end) : p;
}

#else

static inline const uint8_t *http_scan_value(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    (void)lo;
    return http_scan_value_plain(p, end);
}
static inline const uint8_t *http_scan_target(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    (void)lo;
    return http_scan_target_plain(p, end);
}
static inline const uint8_t *http_scan_name(const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    (void)lo;
    return http_scan_name_plain(p, end);
}

#endif

#endif
