/* Header blocks, encoded. Nothing is indexed, so a block means the same on every connection and at any time; what goes on the
 * wire are the static table's entries, its names, and literals.
 *
 * Huffman's code is for names known beforehand, coded when the program starts. Values are copied: coding those of at most 16 bytes
 * alone doubles what a head costs, here and again where it's decoded, and saves a tenth of its bytes. */
#include "hpack_huffman.h"
#include "hpack_table.h"

enum { PLAIN = 0x00, NEVER = 0x10, INDEXED = 0x80 }; /* representations: §6.2.2, §6.2.3, §6.1 */

/* A known name as it stands on the wire behind the first bits: an index, or 0 and the literal. */
static struct { uint8_t bytes[23], n; } known[HN_COUNT];

static inline uint8_t *put_integer(uint8_t *to, uint8_t first, unsigned prefix, size_t v) {
    uint32_t mask = (1u << prefix) - 1;
    if (likely(v < mask)) {
        *to++ = (uint8_t)(first | v);
        return to;
    }
    *to++ = (uint8_t)(first | mask);
    for (v -= mask; v >= 0x80; v >>= 7) *to++ = (uint8_t)(v | 0x80);
    *to++ = (uint8_t)v;
    return to;
}

static inline uint8_t *put_value(uint8_t *to, struct slice value) {
    to = put_integer(to, 0, 7, value.n);
    hpack_copy(to, value.p, value.n);
    return to + value.n;
}

static inline uint64_t load64(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Eight bytes in lower case. */
static inline uint64_t lower64(uint64_t w) {
    uint64_t low = w & 0x7f7f7f7f7f7f7f7fu, from_a = low + 0x3f3f3f3f3f3f3f3fu, over_z = low + 0x2525252525252525u;
    return w | ((from_a & ~over_z & ~w & 0x8080808080808080u) >> 2);
}

/* A byte in lower case. */
static inline uint8_t lower(uint8_t c) { return (uint8_t)(c | (c >= 'A' && c <= 'Z' ? 0x20 : 0)); }

static uint8_t *put_lower(uint8_t *to, struct slice s) {
    uint64_t w;
    size_t i = 0;
    if (likely(s.n >= 8)) { /* the last eight may overlap those before them */
        for (; i < s.n - 8; i += 8) w = lower64(load64(s.p + i)), memcpy(to + i, &w, sizeof w);
        w = lower64(load64(s.p + s.n - 8)), memcpy(to + s.n - 8, &w, sizeof w);
    } else {
        for (; i < s.n; i++) to[i] = lower(s.p[i]);
    }
    return to + s.n;
}

static bool is_lower(const uint8_t *p, struct slice text) {
    size_t i = 0;
    if (text.n >= 8) {
        for (; i < text.n - 8; i += 8)
            if (lower64(load64(p + i)) != load64(text.p + i)) return false;
        return lower64(load64(p + text.n - 8)) == load64(text.p + text.n - 8);
    }
    for (; i < text.n; i++)
        if (lower(p[i]) != text.p[i]) return false;
    return true;
}

/* ---- names ---- */

/* No two names meet here: two entries of the same index would not compile (-Woverride-init). */
#define SLOT(n, first, last) (((n) + 10 * (first) + 4 * (last)) & 255)
static const uint8_t name_slots[256] = {
    [SLOT(14, 'a', 't')] = 15, [SLOT(15, 'a', 'g')] = 16, [SLOT(15, 'a', 'e')] = 17, [SLOT(13, 'a', 's')] = 18,
    [SLOT(6, 'a', 't')] = 19,  [SLOT(27, 'a', 'n')] = 20, [SLOT(3, 'a', 'e')] = 21,  [SLOT(5, 'a', 'w')] = 22,
    [SLOT(13, 'a', 'n')] = 23, [SLOT(13, 'c', 'l')] = 24, [SLOT(19, 'c', 'n')] = 25, [SLOT(16, 'c', 'g')] = 26,
    [SLOT(16, 'c', 'e')] = 27, [SLOT(14, 'c', 'h')] = 28, [SLOT(16, 'c', 'n')] = 29, [SLOT(13, 'c', 'e')] = 30,
    [SLOT(12, 'c', 'e')] = 31, [SLOT(6, 'c', 'e')] = 32,  [SLOT(4, 'd', 'e')] = 33,  [SLOT(4, 'e', 'g')] = 34,
    [SLOT(6, 'e', 't')] = 35,  [SLOT(7, 'e', 's')] = 36,  [SLOT(4, 'f', 'm')] = 37,  [SLOT(4, 'h', 't')] = 38,
    [SLOT(8, 'i', 'h')] = 39,  [SLOT(17, 'i', 'e')] = 40, [SLOT(13, 'i', 'h')] = 41, [SLOT(8, 'i', 'e')] = 42,
    [SLOT(19, 'i', 'e')] = 43, [SLOT(13, 'l', 'd')] = 44, [SLOT(4, 'l', 'k')] = 45,  [SLOT(8, 'l', 'n')] = 46,
    [SLOT(12, 'm', 's')] = 47, [SLOT(18, 'p', 'e')] = 48, [SLOT(19, 'p', 'n')] = 49, [SLOT(5, 'r', 'e')] = 50,
    [SLOT(7, 'r', 'r')] = 51,  [SLOT(7, 'r', 'h')] = 52,  [SLOT(11, 'r', 'r')] = 53, [SLOT(6, 's', 'r')] = 54,
    [SLOT(10, 's', 'e')] = 55, [SLOT(25, 's', 'y')] = 56, [SLOT(17, 't', 'g')] = 57, [SLOT(10, 'u', 't')] = 58,
    [SLOT(4, 'v', 'y')] = 59,  [SLOT(3, 'v', 'a')] = 60,  [SLOT(16, 'w', 'e')] = 61,
};

uint8_t hpack_static_name(struct slice name) {
    if (unlikely(name.n == 0)) return 0;
    uint8_t index = name_slots[SLOT(name.n, name.p[0] | 0x20u, name.p[name.n - 1] | 0x20u)];
    struct slice text = hpack_static[index].name;
    return text.n == name.n && is_lower(name.p, text) ? index : 0;
}

__attribute__((constructor)) static void make_names(void) {
    for (unsigned id = HN_OTHER + 1; id < HN_COUNT; id++) {
        struct slice name = http_name_text((enum http_name)id);
        uint8_t index = hpack_static_name(name), *end = known[id].bytes;
        if (index) {
            end = put_integer(end, 0, 4, index);
        } else {
            *end++ = 0;
            size_t n = hpack_huffman_encode(end + 1, name.p, name.n);
            *end = (uint8_t)(n ? 0x80 | n : name.n);
            if (!n) memcpy(end + 1, name.p, name.n);
            end += 1 + (n ? n : name.n);
        }
        known[id].n = (uint8_t)(end - known[id].bytes);
    }
}

/* ---- fields ---- */

uint8_t *hpack_encode(uint8_t *to, enum http_name id, struct slice name, struct slice value, bool never) {
    uint8_t form = never ? NEVER : PLAIN, index;
    if (likely(id != HN_OTHER)) {
        memcpy(to, &known[id], sizeof known[id]); /* 16 bytes at once; what is too much is overwritten */
        *to |= form;
        return put_value(to + known[id].n, value);
    }
    if ((index = hpack_static_name(name)) != 0) {
        if (hpack_static[index].value.n && slice_eq(hpack_static[index].value, value) && !never) {
            *to++ = INDEXED | index; /* accept-encoding: gzip, deflate */
            return to;
        }
        return put_value(put_integer(to, form, 4, index), value);
    }
    *to++ = form;
    return put_value(put_lower(put_integer(to, 0, 7, name.n), name), value);
}

/* A pseudo-field: an entry of its own for either of two values, else its name's index. */
static inline uint8_t *put_pseudo(uint8_t *to, struct slice value, unsigned one, unsigned other, unsigned name) {
    if (slice_eq(value, hpack_static[one].value)) *to++ = (uint8_t)(INDEXED | one);
    else if (slice_eq(value, hpack_static[other].value)) *to++ = (uint8_t)(INDEXED | other);
    else *to++ = (uint8_t)(PLAIN | name), to = put_value(to, value);
    return to;
}

uint8_t *hpack_encode_method(uint8_t *to, struct slice method) { return put_pseudo(to, method, 2, 3, 2); }
uint8_t *hpack_encode_scheme(uint8_t *to, struct slice scheme) { return put_pseudo(to, scheme, 6, 7, 6); }
uint8_t *hpack_encode_path(uint8_t *to, struct slice path) { return put_pseudo(to, path, 4, 5, 4); }
uint8_t *hpack_encode_authority(uint8_t *to, struct slice authority) {
    *to++ = PLAIN | 1;
    return put_value(to, authority);
}

uint8_t *hpack_encode_status(uint8_t *to, uint16_t status) {
    static const uint16_t entries[] = {200, 204, 206, 304, 400, 404, 500}; /* 8 to 14 of the static table */
    for (unsigned i = 0; i < countof(entries); i++)
        if (status == entries[i]) {
            *to++ = (uint8_t)(INDEXED | (8 + i));
            return to;
        }
    uint8_t digits[3] = {(uint8_t)('0' + status / 100 % 10), (uint8_t)('0' + status / 10 % 10),
                         (uint8_t)('0' + status % 10)};
    *to++ = PLAIN | 8;
    return put_value(to, slice_of(digits, sizeof digits));
}
