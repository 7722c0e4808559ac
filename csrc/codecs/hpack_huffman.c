/* The code is canonical: codes are given out by length, and by symbol among those of a length. So the lengths say all, and the
 * tables are made of them when the program starts. A code of up to 8 bits, which is every letter, digit and most of the
 * punctuation, is found by one look into 256 entries; the longer ones by comparing with the first code of the next length. */
#include "hpack_huffman.h"

#define EOS 256u
#define SHORT 8u /* bits of the codes looked up at once: a byte, as the longest padding is less than one */
#define LONGEST 30u

static const uint8_t lengths[EOS + 1] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,
    7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
    7,  8,  7,  8,  13, 19, 13, 14, 6,  15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,
    5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24,
    24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26,
    27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23,
    22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30};

static struct { uint32_t code, bits; } codes[EOS]; /* to encode */
static uint16_t brief[1u << SHORT];                /* symbol, and above it the bits; 0: a longer code */
/* Codes longer than SHORT, by length: those below `end` (left-aligned in 32 bits). */
static struct {
    uint64_t end;
    uint32_t begin;
    uint16_t first; /* index in by_code of the code `begin` */
    uint8_t bits;
} spans[LONGEST - SHORT];
static uint16_t by_code[EOS + 1]; /* symbols in the order of their codes */

/* Before the constructors without a number, which may encode. */
__attribute__((constructor(101))) static void make_tables(void) {
    uint32_t code = 0, spans_made = 0, made = 0;
    for (unsigned bits = 5; bits <= LONGEST; bits++, code <<= 1) {
        uint32_t first = made, begin = code;
        for (unsigned symbol = 0; symbol <= EOS; symbol++) {
            if (lengths[symbol] != bits) continue;
            by_code[made++] = (uint16_t)symbol;
            if (symbol < EOS) codes[symbol].code = code, codes[symbol].bits = bits;
            for (uint32_t tail = 0; bits <= SHORT && tail < 1u << (SHORT - bits); tail++)
                brief[code << (SHORT - bits) | tail] = (uint16_t)(bits << 8 | symbol);
            code++;
        }
        if (bits <= SHORT || made == first) continue;
        spans[spans_made].begin = begin << (32 - bits), spans[spans_made].end = (uint64_t)code << (32 - bits);
        spans[spans_made].first = (uint16_t)first, spans[spans_made++].bits = (uint8_t)bits;
    }
}

/* The symbol of more than SHORT bits at the top of `window`. */
static unsigned long_symbol(uint32_t window, unsigned *bits) {
    unsigned i = 0;
    while (window >= spans[i].end) i++; /* the last one's end is 2^32: every window has a code */
    *bits = spans[i].bits;
    return by_code[spans[i].first + ((window - spans[i].begin) >> (32 - spans[i].bits))];
}

static inline uint64_t load_big(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return __builtin_bswap64(w);
}

/* The eight bytes at p, or those that are left with zeros behind them. At least eight bytes end at `end`, one is left. */
static inline uint64_t next_bytes(const uint8_t *p, const uint8_t *end) {
    return likely(end - p >= 8) ? load_big(p) : load_big(end - 8) << (64 - 8 * (end - p));
}

/* `window` holds the next `have` bits at its top; below them are zeros, or bits that will come again. */
static inline __attribute__((always_inline)) uint8_t *walk(uint8_t *to, const uint8_t *p, size_t n, bool store) {
    const uint8_t *end = p + n;
    uint8_t few[8] = {0};
    uint64_t window = 0;
    unsigned have = 0, bits, symbol;
    if (n < sizeof few) {
        for (size_t i = 0; i < n; i++) few[sizeof few - n + i] = p[i];
        end = few + sizeof few, p = end - n;
    }
    while (p < end) {
        size_t take = min_size((63 - have) >> 3, (size_t)(end - p));
        window |= next_bytes(p, end) >> have;
        p += take, have += 8 * (unsigned)take;
        while (have >= SHORT) {
            symbol = brief[window >> (64 - SHORT)], bits = symbol >> 8;
            if (unlikely(!bits)) {
                if (have < LONGEST && p < end) break;
                symbol = long_symbol((uint32_t)(window >> 32), &bits);
                if (bits > have || symbol == EOS) return NULL;
            }
            if (store) *to = (uint8_t)symbol;
            to++, window <<= bits, have -= bits;
        }
    }
    while (have) {
        symbol = brief[window >> (64 - SHORT)], bits = symbol >> 8;
        if (!bits || bits > have) break;
        if (store) *to = (uint8_t)symbol;
        to++, window <<= bits, have -= bits;
    }
    /* §5.2: the padding is a beginning of EOS, all ones, shorter than a byte. */
    return have < SHORT && window == ~(UINT64_MAX >> have) ? to : NULL;
}

uint8_t *hpack_huffman_decode(uint8_t *to, const uint8_t *p, size_t n) { return walk(to, p, n, true); }

ptrdiff_t hpack_huffman_size(const uint8_t *p, size_t n) {
    uint8_t none, *end = walk(&none, p, n, false);
    return end ? end - &none : -1;
}

size_t hpack_huffman_encode(uint8_t *begin, const uint8_t *p, size_t n) {
    uint64_t bits = 0; /* the low `have` of them are still to be written */
    unsigned have = 0;
    uint8_t *to = begin;
    for (size_t i = 0; i < n; i++) {
        bits = bits << codes[p[i]].bits | codes[p[i]].code, have += codes[p[i]].bits;
        if (have < 32) continue;
        have -= 32;
        uint32_t word = __builtin_bswap32((uint32_t)(bits >> have));
        memcpy(to, &word, sizeof word);
        to += 4;
        if (unlikely((size_t)(to - begin) >= n)) return 0;
    }
    if ((size_t)(to - begin) + (have + 7) / 8 >= n) return 0;
    for (; have >= 8; have -= 8) *to++ = (uint8_t)(bits >> (have - 8));
    if (have) *to++ = (uint8_t)(bits << (8 - have) | 0xffu >> have);
    return (size_t)(to - begin);
}
