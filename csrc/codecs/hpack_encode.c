/* Header blocks, encoded. Nothing is indexed, so a block means the same on every connection and at any time; what goes on the
 * wire are the static table's entries, its names, and literals.
 *
 * Cycles count for more than bytes here: Huffman's code takes some eight instructions a byte and saves a quarter of the bytes, a
 * copy takes nearly none. So names known beforehand are coded when the program starts, and of the values only short ones. */
#include "hpack_huffman.h"
#include "hpack_table.h"

#define HUFFMAN_MAX 16u                              /* longest value that is coded, bytes */
enum { PLAIN = 0x00, NEVER = 0x10, INDEXED = 0x80 }; /* representations: §6.2.2, §6.2.3, §6.1 */

/* A known name as it stands on the wire behind the first bits: an index, or 0 and the literal. */
static struct { uint8_t bytes[23], n; } known[HN_COUNT];

static uint8_t *put_integer(uint8_t *to, uint8_t first, unsigned prefix, size_t v) {
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
    if (value.n <= HUFFMAN_MAX) {
        size_t n = hpack_huffman_encode(to + 1, value.p, value.n);
        *to = (uint8_t)(n ? 0x80 | n : value.n);
        if (n) return to + 1 + n;
        to++;
    } else {
        to = put_integer(to, 0, 7, value.n);
    }
    if (value.n) memcpy(to, value.p, value.n);
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

static uint8_t *put_lower(uint8_t *to, struct slice s) {
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        uint64_t w = lower64(load64(s.p + i));
        memcpy(to + i, &w, sizeof w);
    }
    for (; i < s.n; i++) to[i] = (uint8_t)(s.p[i] | (s.p[i] >= 'A' && s.p[i] <= 'Z' ? 0x20 : 0));
    return to + s.n;
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
