/* Header blocks, decoded (RFC 7541 §3, §6). A field costs a look at its first byte and a copy of what the table holds of it; bytes
 * that came plain stay where they are. */
#include "hpack_huffman.h"
#include "hpack_table.h"

/* Of a head that is too large, names of table entries are copied into new ones up to so many bytes; then the connection is given
 * up. Two bytes on the wire would else cost a copy of the table each. */
#define RENAMED_MAX (1u << 20)

/* A block being decoded. */
struct reading {
    struct hpack_decoder *d;
    const uint8_t *p, *end;
    struct hpack_arena *arena;
    struct http_field *fields;
    uint32_t count, max_fields, bytes, max_bytes; /* bytes: names, values and 32 for each field so far */
    uint32_t renamed;                             /* bytes of names the table was asked for since */
    bool too_large;                               /* fields are decoded for the table's sake only */
};

/* §5.1 with a prefix of so many bits. False: cut, over 2^31 - 1, or longer than any such number needs to be. */
static inline bool read_integer(struct reading *r, unsigned prefix, uint32_t *value) {
    uint32_t mask = (1u << prefix) - 1;
    uint64_t v = *r->p++ & mask;
    if (likely(v < mask)) {
        *value = (uint32_t)v;
        return true;
    }
    for (unsigned shift = 0; shift <= 28 && r->p < r->end; shift += 7) {
        uint8_t b = *r->p++;
        v += (uint64_t)(b & 0x7f) << shift;
        if (b & 0x80) continue;
        *value = (uint32_t)v;
        return v <= INT32_MAX;
    }
    return false;
}

/* §5.2. The size of a Huffman coded one is left open: 0. */
static inline bool read_text(struct reading *r, struct hpack_text *t) {
    if (r->p == r->end) return false;
    t->huffman = *r->p & 0x80, t->size = 0;
    if (!read_integer(r, 7, &t->n) || t->n > (size_t)(r->end - r->p)) return false;
    t->p = r->p, r->p += t->n;
    if (!t->huffman) t->size = t->n;
    return true;
}

/* Finds the size out, where that is still to be done: false when it can't be decoded. */
static bool measure(struct hpack_text *t) {
    if (!t->huffman || t->size || t->n == 0) return true;
    ptrdiff_t size = hpack_huffman_size(t->p, t->n);
    t->size = (uint32_t)size;
    return size >= 0 && size <= INT32_MAX;
}

static uint32_t room(const struct reading *r) { return r->arena->size - r->arena->used; }

/* Puts a Huffman coded string into the arena, where it's plain; too_large when there is no room. */
static bool unfold(struct reading *r, struct hpack_text *t) {
    if (!t->huffman || r->too_large) return true;
    if (unlikely(hpack_huffman_bound(t->n) > room(r))) {
        if (!measure(t)) return false;
        if (t->size > room(r)) {
            r->too_large = true;
            return true;
        }
    }
    uint8_t *to = r->arena->p + r->arena->used, *stop = hpack_huffman_decode(to, t->p, t->n);
    if (!stop) return false;
    uint32_t size = (uint32_t)(stop - to);
    *t = (struct hpack_text){to, size, size, false};
    r->arena->used += size;
    return true;
}

/* Counts a field of this size: false when the rest is not for the caller. */
static inline bool accept(struct reading *r, uint64_t size) {
    if (unlikely(r->too_large)) return false;
    size += (uint64_t)r->bytes + HPACK_ENTRY_SIZE;
    if (unlikely(size > r->max_bytes || r->count >= r->max_fields)) {
        r->too_large = true;
        return false;
    }
    r->bytes = (uint32_t)size;
    return true;
}

/* An entry's bytes, copied: an insertion may move or evict it. */
static bool copy_entry(struct reading *r, const struct hpack_entry *e, bool name_only, struct http_field *f) {
    uint32_t name = e->known ? 0 : e->name_size, size = name + (name_only ? 0 : e->value_size);
    if (unlikely(size > room(r))) {
        r->too_large = true;
        return false;
    }
    uint8_t *to = r->arena->p + r->arena->used;
    if (size) hpack_copy(to, hpack_entry_bytes(r->d, e), size);
    r->arena->used += size;
    *f = (struct http_field){.name = e->known ? hpack_known_text(e->known) : slice_of(to, name),
                             .value = slice_of(to + name, size - name),
                             .id = e->id};
    return true;
}

/* §6.1 */
static bool indexed(struct reading *r) {
    uint32_t index;
    if (!read_integer(r, 7, &index) || index == 0) return false;
    if (likely(index <= HPACK_STATIC)) {
        const struct http_field *f = &hpack_static[index];
        if (likely(accept(r, f->name.n + f->value.n))) r->fields[r->count++] = *f;
        return true;
    }
    index -= HPACK_STATIC + 1;
    if (unlikely(index >= r->d->count)) return false;
    const struct hpack_entry *e = hpack_entry(r->d, index);
    if (likely(accept(r, (uint64_t)e->name_size + e->value_size)) &&
        likely(copy_entry(r, e, false, &r->fields[r->count])))
        r->count++;
    return true;
}

/* What a literal's name is, from wherever. */
struct name {
    struct hpack_text text;
    uint8_t known, id;
};

static bool read_name(struct reading *r, uint32_t index, struct name *name) {
    struct hpack_text *t = &name->text;
    if (index == 0) {
        if (!read_text(r, t) || !unfold(r, t)) return false;
        name->known = 0, name->id = HN_OTHER;
        if (!t->huffman) name->known = hpack_known_name(slice_of(t->p, t->n), &name->id);
        return true;
    }
    struct slice s;
    if (likely(index <= HPACK_STATIC)) {
        s = hpack_static[index].name, name->known = (uint8_t)index, name->id = hpack_static[index].id;
    } else {
        if (unlikely(index - HPACK_STATIC - 1 >= r->d->count)) return false;
        const struct hpack_entry *e = hpack_entry(r->d, index - HPACK_STATIC - 1);
        struct http_field copy = {.name = slice_of(hpack_entry_bytes(r->d, e), e->name_size)};
        name->known = e->known, name->id = e->id;
        if (e->known) copy.name = hpack_known_text(e->known);
        else if (r->too_large && (r->renamed += e->name_size) > RENAMED_MAX) return false;
        else if (!r->too_large) copy_entry(r, e, true, &copy); /* without room the name stays in the table */
        s = copy.name;
    }
    *t = (struct hpack_text){s.p, (uint32_t)s.n, (uint32_t)s.n, false};
    return true;
}

/* §6.2; a name's index has so many bits. */
static int literal(struct reading *r, unsigned prefix, bool insert) {
    bool never = !insert && (*r->p & 0x10); /* §6.2.3 */
    uint32_t index;
    struct name name;
    struct hpack_text value;
    if (!read_integer(r, prefix, &index) || !read_name(r, index, &name)) return HPACK_BROKEN;
    if (!read_text(r, &value) || !unfold(r, &value)) return HPACK_BROKEN;
    if (unlikely(name.text.huffman || value.huffman) && (!measure(&name.text) || !measure(&value))) return HPACK_BROKEN;
    if (likely(accept(r, (uint64_t)name.text.size + value.size))) {
        r->fields[r->count++] = (struct http_field){.name = slice_of(name.text.p, name.text.n),
                                                    .value = slice_of(value.p, value.n),
                                                    .id = name.id,
                                                    .never = never};
    }
    return insert ? hpack_insert(r->d, name.known, name.id, name.text, value) : 0;
}

/* §6.3 */
static bool update(struct reading *r) {
    uint32_t size;
    if (!read_integer(r, 5, &size) || size > r->d->allowed) return false;
    hpack_resize(r->d, size);
    r->d->must_update = false;
    return true;
}

int hpack_decode(struct hpack_decoder *d, const uint8_t *block, size_t n, struct hpack_arena *arena, uint32_t max_bytes,
                 struct http_field *fields, uint32_t max_fields, uint32_t *count, bool *too_large) {
    struct reading r = {.d = d, .p = block, .end = block + n, .arena = arena, .fields = fields};
    r.max_fields = max_fields, r.max_bytes = max_bytes;
    int error = 0;
    *count = 0, *too_large = false;
    while (r.p < r.end && (*r.p & 0xe0) == 0x20) /* §4.2: at the beginning of a block only */
        if (!update(&r)) return HPACK_BROKEN;
    if (unlikely(d->must_update) && n) return HPACK_BROKEN;
    while (likely(error == 0) && r.p < r.end) {
        uint8_t b = *r.p;
        if (b & 0x80) error = indexed(&r) ? 0 : HPACK_BROKEN;
        else if (b & 0x40) error = literal(&r, 6, true);
        else if (b & 0x20) error = HPACK_BROKEN;
        else error = literal(&r, 4, false);
    }
    *count = r.count, *too_large = r.too_large;
    return error;
}
