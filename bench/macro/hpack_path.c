#include "hpack_path.h"

#include <string.h>

enum { TABLE_LIMIT = 4096, PRINTABLE = 32, CODE_BITS = 15 };

/* Lengths of the static table's names (RFC 7541, appendix A); of index 4 and 5 the name is :path. */
static const uint8_t static_names[62] = {
    0,  10, 7, 7, 5, 5, 7, 7, 7, 7,  7,  7, 7,  7,  7, 14, 15, 15, 13, 6, 27, 3, 5,  13, 13, 19, 16, 16, 14, 16, 13,
    12, 6,  4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8,  12, 18, 19, 5, 7,  7, 11, 6,  10, 25, 17, 10, 4,  3,  16};

/* Lengths (bits) of Huffman's codes of the printable characters from ' ' to '~' (appendix B). The code is canonical: codes
 * follow from the lengths. Besides these only NUL (13 bits) has a code of at most 15 bits. */
static const uint8_t code_lengths[95] = {
    6,  10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,  15, 6,  12, 10,
    13, 6,  7,  7,  7,  7, 7, 7,  7,  7,  7, 7,  7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5,  6,  5,  6,  5, 6, 6,  6,  5,  7, 7,  6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13};

static struct { uint8_t symbol, length; /* length 0: no such code */ } codes[1 << CODE_BITS]; /* by the next 15 bits */

static void build_codes(void) {
    uint32_t next = 0; /* left-aligned in CODE_BITS */
    for (unsigned length = 5; length <= CODE_BITS; length++) {
        for (unsigned c = 0; c < 127; c++) {
            unsigned of_c = c >= PRINTABLE ? code_lengths[c - PRINTABLE] : c == 0 ? 13 : 0;
            if (of_c != length) { continue; }
            for (uint32_t i = 0; i < 1u << (CODE_BITS - length); i++, next++) {
                codes[next].symbol = (uint8_t)c;
                codes[next].length = (uint8_t)length;
            }
        }
    }
}

void hpack_path_init(struct hpack_path *t) {
    if (!codes[0].length) { build_codes(); }
    t->newest = t->count = t->size = 0;
    t->limit = TABLE_LIMIT;
}

struct reader {
    const uint8_t *p, *end;
    bool broken;
};

static uint32_t read_int(struct reader *r, unsigned bits) {
    if (r->p == r->end) {
        r->broken = true;
        return 0;
    }
    uint32_t most = (1u << bits) - 1, value = *r->p++ & most;
    for (unsigned shift = 0; value >= most; shift += 7) {
        if (r->p == r->end || shift > 21) {
            r->broken = true;
            return 0;
        }
        value += (uint32_t)(*r->p & 127) << shift;
        if (!(*r->p++ & 128)) { break; }
    }
    return value;
}

/* Reads a string; up to `room` bytes of it go to `to`. Its decoded length. */
static uint32_t read_string(struct reader *r, char *to, uint32_t room) {
    bool huffman = r->p < r->end && *r->p & 128;
    uint32_t n = read_int(r, 7), length = 0, bits = 0;
    uint64_t window = 0;
    if (r->broken || n > (size_t)(r->end - r->p)) {
        r->broken = true;
        return 0;
    }
    const uint8_t *p = r->p, *end = p + n;
    r->p = end;
    if (!huffman) {
        memcpy(to, p, n < room ? n : room);
        return n;
    }
    for (;;) {
        while (bits <= 48 && p < end) {
            window = window << 8 | *p++;
            bits += 8;
        }
        /* bits beyond the end read as ones: the padding, and the beginning of EOS */
        uint32_t next = bits >= CODE_BITS ? (uint32_t)(window >> (bits - CODE_BITS))
                                          : (uint32_t)(window << (CODE_BITS - bits)) | ((1u << (CODE_BITS - bits)) - 1);
        next &= (1u << CODE_BITS) - 1;
        if (bits < 8 && p == end && next == (1u << CODE_BITS) - 1) { return length; }
        if (!codes[next].length || codes[next].length > bits) {
            r->broken = true;
            return 0;
        }
        if (length < room) { to[length] = (char)codes[next].symbol; }
        length++;
        bits -= codes[next].length;
    }
}

static struct hpack_entry *entry(struct hpack_path *t, uint32_t index) {
    return index - 62 < t->count ? &t->entries[(t->newest - (index - 62)) % HPACK_ENTRIES] : NULL;
}

static void shrink(struct hpack_path *t, uint32_t to) {
    for (; t->size > to; t->count--) { t->size -= t->entries[(t->newest - t->count + 1) % HPACK_ENTRIES].size; }
}

static void insert(struct hpack_path *t, uint32_t name, bool is_path, const char *value, uint32_t length) {
    uint32_t size = name + length + 32;
    shrink(t, size > t->limit ? 0 : t->limit - size);
    if (size > t->limit) { return; }
    struct hpack_entry *e = &t->entries[++t->newest % HPACK_ENTRIES];
    *e = (struct hpack_entry){.size = size, .name = name, .is_path = is_path, .length = (uint16_t)length};
    if (is_path) { memcpy(e->value, value, length < HPACK_PATH_MAX ? length : HPACK_PATH_MAX); }
    t->count++;
    t->size += size;
}

/* A field with a literal value, its name in the low `bits` of the first octet. */
static void read_literal(struct hpack_path *t, struct reader *r, unsigned bits, bool keep, char *path, size_t *length) {
    char name[HPACK_PATH_MAX], value[HPACK_PATH_MAX];
    uint32_t index = read_int(r, bits), name_length;
    bool is_path = index == 4 || index == 5;
    if (!index) {
        name_length = read_string(r, name, sizeof name);
        is_path = name_length == 5 && !memcmp(name, ":path", 5);
    } else if (index < 62) {
        name_length = static_names[index];
    } else {
        struct hpack_entry *e = entry(t, index);
        r->broken |= !e;
        name_length = e ? e->name : 0;
        is_path = e && e->is_path;
    }
    if (r->broken) { return; }
    if (!keep && !is_path) { /* nobody asks for it: passed over without decoding */
        uint32_t n = read_int(r, 7);
        r->broken |= n > (size_t)(r->end - r->p);
        r->p += r->broken ? 0 : n;
        return;
    }
    uint32_t n = read_string(r, value, sizeof value);
    if (r->broken || (is_path && n > sizeof value)) {
        r->broken = true;
        return;
    }
    if (keep) { insert(t, name_length, is_path, value, n); }
    if (is_path) {
        memcpy(path, value, n);
        *length = n;
    }
}

int hpack_path_read(struct hpack_path *t, const uint8_t *p, size_t n, char *path, size_t *length) {
    struct reader r = {p, p + n, false};
    *length = 0;
    while (r.p < r.end && !r.broken) {
        uint8_t first = *r.p;
        if (first & 0x80) {
            uint32_t index = read_int(&r, 7);
            struct hpack_entry *e = index >= 62 ? entry(t, index) : NULL;
            r.broken |= !index || (index >= 62 && !e);
            if (e && e->is_path) {
                memcpy(path, e->value, e->length);
                *length = e->length;
            } else if (index == 4) {
                *path = '/';
                *length = 1;
            }
        } else if (first & 0x40) {
            read_literal(t, &r, 6, true, path, length);
        } else if (first & 0x20) {
            t->limit = read_int(&r, 5);
            r.broken |= t->limit > TABLE_LIMIT;
            shrink(t, t->limit);
        } else {
            read_literal(t, &r, 4, false, path, length);
        }
    }
    return r.broken ? -1 : 0;
}
