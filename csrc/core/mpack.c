/* Reading MessagePack: read_head() is the only place that touches bytes, so the only one that checks bounds. */
#include "mpack.h"

#define MAX_DEPTH 64

static uint64_t big_endian(const uint8_t *p, unsigned n) {
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) v = v << 8 | p[i];
    return v;
}

/* Signed integer of n bytes. */
static int64_t signed_be(const uint8_t *p, unsigned n) {
    uint64_t v = big_endian(p, n);
    unsigned shift = 64 - 8 * n;
    return (int64_t)(v << shift) >> shift;
}

static bool sized(struct mpack *v, enum mpack_type type, const uint8_t *p, uint64_t n) {
    v->type = type, v->p = p;
    if (n > (uint64_t)(v->end - p)) return false; /* an element takes at least a byte, too */
    if (type == MP_STR || type == MP_BIN) v->s = slice_of(p, (size_t)n);
    else v->count = (uint32_t)n;
    return true;
}

static bool read_float(struct mpack *v, const uint8_t *p, unsigned n) {
    uint64_t bits = big_endian(p, n);
    uint32_t narrow = (uint32_t)bits;
    float f;
    v->type = MP_DOUBLE;
    if (n == 4) memcpy(&f, &narrow, 4), v->d = (double)f;
    else memcpy(&v->d, &bits, 8);
    return true;
}

static bool scalar_head(struct mpack *v, uint8_t head, const uint8_t *p) {
    if (head == 0xc0) return v->type = MP_NIL, true;
    if (head == 0xc2 || head == 0xc3) return v->type = MP_BOOL, v->b = head == 0xc3, true;
    if (head >= 0xcc && head <= 0xcf) return v->type = MP_UINT, v->u = big_endian(p, 1u << (head - 0xcc)), true;
    if (head >= 0xd0 && head <= 0xd3) return v->type = MP_INT, v->i = signed_be(p, 1u << (head - 0xd0)), true;
    return read_float(v, p, head == 0xca ? 4 : 8);
}

/* Bytes behind the head byte that belong to the head; -1: extension types and 0xc1, which no plan has. */
static int head_extra(uint8_t h) {
    static const int8_t extra[32] = {0, -1, 0, 0, 1,  2,  4,  -1, -1, -1, 4, 8, 1, 2, 4, 8,
                                     1, 2,  4, 8, -1, -1, -1, -1, -1, 1,  2, 4, 2, 4, 2, 4};
    return h >= 0xc0 && h <= 0xdf ? extra[h - 0xc0] : 0;
}

/* Reads one head at p. For strings and binaries v covers the content. *next = behind what was read. */
static bool read_head(const uint8_t *p, const uint8_t *end, struct mpack *v, const uint8_t **next) {
    if (p >= end) return false;
    uint8_t h = *p++;
    int extra = head_extra(h);
    if (extra < 0 || end - p < extra) return false;
    const uint8_t *body = p + extra;
    v->end = end, v->p = body;
    bool ok = true;
    if (h < 0x80) v->type = MP_UINT, v->u = h;
    else if (h < 0x90) ok = sized(v, MP_MAP, body, h & 15u);
    else if (h < 0xa0) ok = sized(v, MP_ARRAY, body, h & 15u);
    else if (h < 0xc0) ok = sized(v, MP_STR, body, h & 31u);
    else if (h >= 0xe0) v->type = MP_INT, v->i = (int8_t)h;
    else if (h >= 0xc4 && h <= 0xc6) ok = sized(v, MP_BIN, body, big_endian(p, (unsigned)extra));
    else if (h >= 0xd9 && h <= 0xdb) ok = sized(v, MP_STR, body, big_endian(p, (unsigned)extra));
    else if (h == 0xdc || h == 0xdd) ok = sized(v, MP_ARRAY, body, big_endian(p, (unsigned)extra));
    else if (h == 0xde || h == 0xdf) ok = sized(v, MP_MAP, body, big_endian(p, (unsigned)extra));
    else ok = scalar_head(v, h, p);
    *next = v->type == MP_STR || v->type == MP_BIN ? body + (ok ? v->s.n : 0) : body;
    return ok;
}

/* Behind the whole value at p, NULL when malformed or too deep. */
static const uint8_t *skip(const uint8_t *p, const uint8_t *end) {
    uint64_t left[MAX_DEPTH + 1] = {1};
    int depth = 0;
    while (depth >= 0) {
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        struct mpack v;
        if (!read_head(p, end, &v, &p)) return NULL;
        if (v.type != MP_ARRAY && v.type != MP_MAP) continue;
        if (depth == MAX_DEPTH) return NULL;
        left[++depth] = v.type == MP_MAP ? (uint64_t)v.count * 2 : v.count;
    }
    return p;
}

int mpack_open(struct slice doc, struct mpack *root) {
    if (doc.n == 0) return -1;
    const uint8_t *end = doc.p + doc.n, *next;
    if (skip(doc.p, end) != end) return -1;
    return read_head(doc.p, end, root, &next) ? 0 : -1;
}

struct mpack_iter mpack_iter(struct mpack v) {
    struct mpack_iter it = {v.p, v.end, 0};
    if (v.type == MP_ARRAY || v.type == MP_MAP) it.left = v.count;
    return it;
}

bool mpack_next(struct mpack_iter *it, struct mpack *value) {
    const uint8_t *next, *begin = it->p;
    if (it->left == 0 || !read_head(begin, it->end, value, &next)) return false;
    it->left--;
    it->p = value->type == MP_ARRAY || value->type == MP_MAP ? skip(begin, it->end) : next;
    return it->p != NULL;
}

bool mpack_next_pair(struct mpack_iter *it, struct slice *key, struct mpack *value) {
    struct mpack k;
    if (!mpack_next(it, &k)) return false;
    *key = mpack_slice(k);
    it->left++; /* `left` counts pairs */
    return mpack_next(it, value);
}

struct mpack mpack_get(struct mpack v, const char *key) {
    struct mpack_iter it = mpack_iter(v);
    struct slice name, want = slice_of(key, strlen(key));
    struct mpack value;
    if (v.type == MP_MAP)
        while (mpack_next_pair(&it, &name, &value))
            if (name.p && slice_eq(name, want)) return value; /* NULL: a key that is no string */
    return (struct mpack){.type = MP_NONE};
}

struct mpack mpack_at(struct mpack v, uint32_t i) {
    struct mpack_iter it = mpack_iter(v);
    struct mpack value;
    if (v.type == MP_ARRAY)
        while (mpack_next(&it, &value))
            if (i-- == 0) return value;
    return (struct mpack){.type = MP_NONE};
}

int64_t mpack_int(struct mpack v, int64_t dflt) {
    if (v.type == MP_INT) return v.i;
    return v.type == MP_UINT && v.u <= INT64_MAX ? (int64_t)v.u : dflt;
}

double mpack_double(struct mpack v, double dflt) {
    if (v.type == MP_DOUBLE) return v.d;
    return v.type == MP_INT ? (double)v.i : v.type == MP_UINT ? (double)v.u : dflt;
}

bool mpack_bool(struct mpack v, bool dflt) { return v.type == MP_BOOL ? v.b : dflt; }

struct slice mpack_slice(struct mpack v) {
    return v.type == MP_STR || v.type == MP_BIN ? v.s : (struct slice){NULL, 0};
}
