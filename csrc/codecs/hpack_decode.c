/* The decoder with its dynamic table. RFC 7541 §2.3, §3, §4, §6. */
#include "hpack_internal.h"

#include <stdlib.h>

struct row { /* an entry of the dynamic table: its name, then its value, at bytes[at] */
    uint32_t at, name_n, value_n;
    uint8_t id;
};

struct hpack_decoder {
    uint32_t table_max;    /* as announced */
    uint32_t limit;        /* as the peer has set it, <= table_max */
    uint32_t size;         /* of the entries, 32 each included */
    uint32_t count, first; /* rows in use; index of the oldest one in the ring */
    uint32_t row_cap;      /* of the ring; 0: nothing was inserted yet */
    uint32_t end;          /* where the next entry's bytes go */
    uint32_t byte_cap;
    struct row *rows;
    uint8_t *bytes; /* twice the table's size: moved to the front when the end is reached */
    uint8_t *spare; /* for strings of a head that is too large, which only the table needs; 2 * table_max */
};

struct hpack_decoder *hpack_decoder_new(uint32_t table_max) {
    struct hpack_decoder *d = calloc(1, sizeof *d);
    if (d) d->table_max = d->limit = table_max;
    return d;
}

void hpack_decoder_free(struct hpack_decoder *d) {
    if (!d) return;
    free(d->rows);
    free(d->bytes);
    free(d->spare);
    free(d);
}

/* ---- dynamic table ---- */

static void evict_to(struct hpack_decoder *d, uint32_t limit) {
    while (d->size > limit && d->count) {
        const struct row *r = &d->rows[d->first];
        d->size -= r->name_n + r->value_n + HPACK_ENTRY;
        d->first = d->first + 1 == d->row_cap ? 0 : d->first + 1;
        d->count--;
    }
    if (d->count == 0) d->end = 0;
}

static bool make_room(struct hpack_decoder *d) {
    if (d->row_cap) return true;
    d->row_cap = d->table_max / HPACK_ENTRY + 1;
    d->byte_cap = d->table_max * 2;
    d->rows = malloc(d->row_cap * sizeof *d->rows);
    d->bytes = malloc(d->byte_cap ? d->byte_cap : 1);
    return d->rows && d->bytes;
}

/* Live bytes to the front; they lie in one piece, oldest first. */
static void compact(struct hpack_decoder *d) {
    uint32_t begin = d->count ? d->rows[d->first].at : d->end;
    memmove(d->bytes, d->bytes + begin, d->end - begin);
    for (uint32_t i = 0; i < d->count; i++) d->rows[(d->first + i) % d->row_cap].at -= begin;
    d->end -= begin;
}

/* The strings are not in the table's own memory. */
static int insert(struct hpack_decoder *d, const struct hpack_entry *e) {
    size_t size = e->name.n + e->value.n + HPACK_ENTRY;
    if (size > d->limit) { /* empties the table (§4.4) */
        evict_to(d, 0);
        return 0;
    }
    if (!make_room(d)) return HPACK_MEMORY;
    evict_to(d, d->limit - (uint32_t)size);
    if (d->byte_cap - d->end < e->name.n + e->value.n) compact(d);
    uint32_t slot = (d->first + d->count++) % d->row_cap;
    d->rows[slot] = (struct row){d->end, (uint32_t)e->name.n, (uint32_t)e->value.n, e->id};
    if (e->name.n) memcpy(d->bytes + d->end, e->name.p, e->name.n);
    if (e->value.n) memcpy(d->bytes + d->end + e->name.n, e->value.p, e->value.n);
    d->end += (uint32_t)(e->name.n + e->value.n);
    d->size += (uint32_t)size;
    return 0;
}

static bool lookup(const struct hpack_decoder *d, uint64_t index, struct hpack_entry *e, bool *dynamic) {
    *dynamic = index > HPACK_STATIC;
    if (index == 0) return false;
    if (!*dynamic) {
        *e = hpack_static[index];
        return true;
    }
    index -= HPACK_STATIC + 1;
    if (index >= d->count) return false;
    const struct row *r = &d->rows[(d->first + d->count - 1 - (uint32_t)index) % d->row_cap];
    *e = (struct hpack_entry){slice_of(d->bytes + r->at, r->name_n), slice_of(d->bytes + r->at + r->name_n, r->value_n),
                              r->id};
    return true;
}

/* ---- reading ---- */

struct reader {
    const uint8_t *p, *end;
    struct hpack_arena *arena;
};

/* RFC 7541 §5.1. False: cut short, or beyond what any length here can be. */
static bool read_int(struct reader *r, unsigned bits, uint64_t *value) {
    if (r->p == r->end) return false;
    uint64_t limit = (1u << bits) - 1, v = *r->p++ & limit;
    *value = v;
    if (likely(v < limit)) return true;
    for (unsigned shift = 0; shift <= 28; shift += 7) {
        if (r->p == r->end) return false;
        uint8_t b = *r->p++;
        v += (uint64_t)(b & 127) << shift;
        if (b & 128) continue;
        *value = v;
        return v <= UINT32_MAX;
    }
    return false;
}

enum text { TEXT_OK, TEXT_BROKEN, TEXT_TOO_LONG };

static enum text read_string(struct reader *r, struct slice *s) {
    uint64_t n;
    bool coded = r->p < r->end && (*r->p & 0x80);
    if (!read_int(r, 7, &n) || n > (uint64_t)(r->end - r->p)) return TEXT_BROKEN;
    const uint8_t *from = r->p;
    r->p += n;
    if (!coded) { /* stays where it is: the block lives as long as the head */
        *s = slice_of(from, (size_t)n);
        return TEXT_OK;
    }
    struct hpack_arena *a = r->arena;
    ssize_t k = huffman_decode(from, (size_t)n, a->p + a->used, a->size - a->used);
    if (k == -1) return TEXT_BROKEN;
    if (k < 0) return TEXT_TOO_LONG;
    *s = slice_of(a->p + a->used, (size_t)k);
    a->used += (uint32_t)k;
    return TEXT_OK;
}

/* Table entries may be evicted before the head is used. */
static bool copy(struct hpack_arena *a, struct slice *s) {
    if (s->n > a->size - a->used) return false;
    if (s->n) memcpy(a->p + a->used, s->p, s->n);
    s->p = a->p + a->used;
    a->used += (uint32_t)s->n;
    return true;
}

/* A field that is written out: by its index its name, or the name itself, then the value. */
static enum text read_literal(struct hpack_decoder *d, struct reader *r, unsigned bits, struct hpack_entry *e) {
    uint64_t index;
    bool dynamic;
    enum text t = TEXT_OK;
    if (!read_int(r, bits, &index)) return TEXT_BROKEN;
    if (index) {
        if (!lookup(d, index, e, &dynamic)) return TEXT_BROKEN;
        if (dynamic && !copy(r->arena, &e->name)) t = TEXT_TOO_LONG;
    } else {
        t = read_string(r, &e->name);
        if (t == TEXT_BROKEN) return t;
        e->id = t == TEXT_OK ? (uint8_t)http_name_find(e->name.p, e->name.n) : HN_OTHER;
    }
    enum text value = read_string(r, &e->value);
    return value == TEXT_BROKEN ? value : value > t ? value : t;
}

static enum text read_indexed(struct hpack_decoder *d, struct reader *r, struct hpack_entry *e) {
    uint64_t index;
    bool dynamic;
    if (!read_int(r, 7, &index) || !lookup(d, index, e, &dynamic)) return TEXT_BROKEN;
    return !dynamic || (copy(r->arena, &e->name) && copy(r->arena, &e->value)) ? TEXT_OK : TEXT_TOO_LONG;
}

/* §6.3; only allowed in front of the first field (§4.2). */
static bool read_size_update(struct hpack_decoder *d, struct reader *r) {
    uint64_t limit;
    if (!read_int(r, 5, &limit) || limit > d->table_max) return false;
    d->limit = (uint32_t)limit;
    evict_to(d, d->limit);
    return true;
}

/* One field. There is room for two strings of the table's size, so one that is too long is too long for the table as well. */
static int read_field(struct hpack_decoder *d, struct reader *r, struct hpack_entry *e, enum text *t) {
    uint8_t first = *r->p;
    bool insertion = (first & 0xc0) == 0x40;
    *t = first & 0x80 ? read_indexed(d, r, e) : read_literal(d, r, insertion ? 6 : 4, e);
    if (*t == TEXT_BROKEN) return HPACK_BROKEN;
    if (!insertion) return 0;
    if (*t == TEXT_OK) return insert(d, e);
    evict_to(d, 0);
    return 0;
}

/* The rest of a head that is too large, for the table's sake: every field has room for two strings of the table's size. */
static int skip_rest(struct hpack_decoder *d, struct reader *r) {
    struct hpack_entry e;
    enum text t;
    if (!d->spare && !(d->spare = malloc(2 * (size_t)d->table_max + 1))) return HPACK_MEMORY;
    struct hpack_arena arena = {d->spare, 2 * d->table_max, 0};
    struct reader rest = {r->p, r->end, &arena};
    while (rest.p < rest.end) {
        if ((*rest.p & 0xe0) == 0x20) return HPACK_BROKEN;
        arena.used = 0;
        int error = read_field(d, &rest, &e, &t);
        if (error) return error;
    }
    return 0;
}

int hpack_decode(struct hpack_decoder *d, const uint8_t *block, size_t n, struct hpack_arena *arena, uint32_t max_bytes,
                 struct http_field *fields, uint32_t max_fields, uint32_t *count, bool *too_large) {
    struct reader r = {block, block + n, arena};
    uint64_t bytes = 0;
    *count = 0, *too_large = false;
    while (r.p < r.end && (*r.p & 0xe0) == 0x20)
        if (!read_size_update(d, &r)) return HPACK_BROKEN;
    while (r.p < r.end) {
        struct hpack_entry e;
        enum text t;
        if ((*r.p & 0xe0) == 0x20) return HPACK_BROKEN;
        if (*count == max_fields || bytes > max_bytes || arena->size - arena->used < 2 * d->table_max) {
            *too_large = true;
            return skip_rest(d, &r);
        }
        int error = read_field(d, &r, &e, &t);
        if (error) return error;
        bytes += e.name.n + e.value.n + HPACK_ENTRY;
        if (t != TEXT_OK || bytes > max_bytes) {
            *too_large = true;
            return skip_rest(d, &r);
        }
        fields[(*count)++] = (struct http_field){.name = e.name, .value = e.value, .id = e.id};
    }
    return 0;
}
