/* libFuzzer target for HPACK. The first byte chooses the announced table and the most fields, the next two the arena and the bytes a
 * head may have; then come blocks, each behind a byte with its length (255: all that is left). With the first byte's top bit the
 * rest is one Huffman coded string.
 *
 * What must hold whatever the bytes: a decoder with tight limits refuses what one with wide limits refuses, has the same table
 * afterwards, and its fields are the first ones of the other's; ids are those of the names; no limit is passed; a field encoded
 * again decodes to itself, in lower case. `make fuzz FUZZ=hpack` runs it. */
#include "../codecs/hpack_huffman.h"
#include "../codecs/hpack_table.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond) ((cond) ? (void)0 : must_failed(__LINE__, #cond))
static void must_failed(int line, const char *what) {
    fprintf(stderr, "fuzz_hpack.c:%d: %s\n", line, what);
    abort();
}

/* A copy of its own for p[0..n): one byte further is not ours. The caller frees. */
static uint8_t *alone(const uint8_t *p, size_t n) {
    uint8_t *copy = malloc(n + !n);
    if (n) memcpy(copy, p, n);
    return copy;
}

#define BOUNDLESS_ARENA (1u << 18)
#define BOUNDLESS_FIELDS 600u
#define COPIES_COUNT 400u /* bytes of a block that may ask for so many copies of names that the decoder gives up */

/* A decoder, its limits, and what its last block was. */
struct side {
    struct hpack_decoder *d;
    uint32_t arena_size, max_bytes, max_fields;
    uint8_t *arena;
    struct http_field *fields;
    uint32_t count;
    bool too_large;
};

static struct side side_new(uint32_t table, uint32_t arena, uint32_t bytes, uint32_t fields) {
    struct side s = {hpack_decoder_new(table), arena, bytes, fields, malloc(arena + !arena), NULL, 0, false};
    s.fields = malloc((fields + 1) * sizeof *s.fields);
    return s;
}

static void side_free(struct side *s) {
    hpack_decoder_free(s->d);
    free(s->arena), free(s->fields);
}

static int side_decode(struct side *s, const uint8_t *p, size_t n) {
    struct hpack_arena arena = {s->arena, s->arena_size, 0};
    uint64_t bytes = 0;
    int r = hpack_decode(s->d, p, n, &arena, s->max_bytes, s->fields, s->max_fields, &s->count, &s->too_large);
    MUST(r == 0 || r == HPACK_BROKEN);
    MUST(s->count <= s->max_fields && arena.used <= arena.size);
    for (uint32_t i = 0; i < s->count; i++) bytes += s->fields[i].name.n + s->fields[i].value.n + HPACK_ENTRY_SIZE;
    MUST(bytes <= s->max_bytes);
    MUST(s->d->used <= s->d->limit && s->d->limit <= s->d->allowed + (s->d->must_update ? HPACK_TABLE_FIRST : 0));
    return r;
}

static struct slice entry_name(const struct hpack_decoder *d, const struct hpack_entry *e) {
    return e->known ? hpack_known_text(e->known) : slice_of(hpack_entry_bytes(d, e), e->name_size);
}
static struct slice entry_value(const struct hpack_decoder *d, const struct hpack_entry *e) {
    return slice_of(hpack_entry_bytes(d, e) + (e->known ? 0 : e->name_size), e->value_size);
}

static unsigned id_of(struct slice name) {
    enum http_name id = http_name_find(name.p, name.n);
    return slice_eq(http_name_text(id), name) ? id : HN_OTHER;
}

static void same_tables(const struct hpack_decoder *a, const struct hpack_decoder *b) {
    uint64_t used = 0;
    MUST(a->count == b->count && a->used == b->used && a->limit == b->limit);
    for (uint32_t i = 0; i < a->count; i++) {
        const struct hpack_entry *x = hpack_entry(a, i), *y = hpack_entry(b, i);
        struct slice name = entry_name(a, x);
        MUST(name.n == x->name_size && slice_eq(name, entry_name(b, y)));
        MUST(slice_eq(entry_value(a, x), entry_value(b, y)));
        MUST(x->id == id_of(name) && y->id == x->id);
        used += name.n + x->value_size + HPACK_ENTRY_SIZE;
    }
    MUST(used == a->used);
}

static void encode_again(const struct http_field *f) {
    size_t bound = hpack_bound(f->name.n, f->value.n);
    uint8_t *wire = malloc(bound), *stop = hpack_encode(wire, (enum http_name)f->id, f->name, f->value, f->value.n & 1);
    MUST((size_t)(stop - wire) <= bound);
    struct side again = side_new(4096, 2 * (uint32_t)f->name.n + 40, UINT32_MAX, 1);
    MUST(side_decode(&again, wire, (size_t)(stop - wire)) == 0);
    MUST(again.count == 1 && !again.too_large && again.d->count == 0);
    MUST(again.fields[0].id == f->id || f->id == HN_OTHER);
    MUST(slice_eq(again.fields[0].value, f->value) && again.fields[0].name.n == f->name.n);
    for (size_t i = 0; i < f->name.n; i++) {
        uint8_t c = f->name.p[i];
        MUST(again.fields[0].name.p[i] == (c >= 'A' && c <= 'Z' ? c + 32 : c));
    }
    side_free(&again);
    free(wire);
}

/* False when the connection would end. */
static bool block(struct side *wide, struct side *tight, const uint8_t *p, size_t n) {
    uint8_t *copy = alone(p, n);
    int want = side_decode(wide, copy, n), got = side_decode(tight, copy, n);
    if (n > COPIES_COUNT && (want || got)) {
        free(copy);
        return false;
    }
    MUST(got == want);
    if (want == 0) same_tables(wide->d, tight->d);
    MUST(wide->too_large || tight->count <= wide->count);
    for (uint32_t i = 0; i < wide->count; i++) {
        const struct http_field *f = &wide->fields[i];
        MUST(f->id == id_of(f->name) && !f->drop);
        if (i < tight->count)
            MUST(slice_eq(f->name, tight->fields[i].name) && slice_eq(f->value, tight->fields[i].value) &&
                 f->id == tight->fields[i].id);
        if (i < 20) encode_again(f);
    }
    free(copy);
    return want == 0;
}

static void huffman(const uint8_t *p, size_t n) {
    uint8_t *copy = alone(p, n), *to = malloc(2 * n + 8);
    ptrdiff_t size = hpack_huffman_size(copy, n);
    uint8_t *stop = hpack_huffman_decode(to, copy, n);
    MUST(size < 0 ? !stop : stop == to + size && (size_t)size <= hpack_huffman_bound(n));
    if (size > 0) { /* the code is unique, so are the bytes where it's shorter */
        uint8_t *coded = malloc((size_t)size + 4);
        size_t again = hpack_huffman_encode(coded, to, (size_t)size);
        MUST(n < (size_t)size ? again == n && memcmp(coded, copy, n) == 0 : again == 0);
        free(coded);
    }
    size_t coded = hpack_huffman_encode(to, copy, n);
    if (coded) {
        uint8_t *exact = alone(to, coded), *back = malloc(n);
        MUST(coded < n && hpack_huffman_size(exact, coded) == (ptrdiff_t)n);
        MUST(hpack_huffman_decode(back, exact, coded) == back + n && memcmp(back, copy, n) == 0);
        free(exact), free(back);
    }
    free(copy), free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint32_t tables[] = {4096, 0, 64, 300};
    if (size < 3) return 0;
    if (data[0] & 0x80) {
        huffman(data + 1, size - 1);
        return 0;
    }
    uint32_t table = tables[data[0] & 3];
    struct side wide = side_new(table, BOUNDLESS_ARENA, UINT32_MAX, BOUNDLESS_FIELDS);
    struct side tight = side_new(table, data[1] * 4u, data[2] * 8u, data[0] >> 3 & 15);
    const uint8_t *p = data + 3, *end = data + size;
    for (int blocks = 0; p < end; blocks++) {
        if (blocks == 1 && data[0] & 4) hpack_decoder_acknowledged(wide.d), hpack_decoder_acknowledged(tight.d);
        size_t n = *p++;
        n = n == 255 ? (size_t)(end - p) : min_size(n, (size_t)(end - p));
        if (!block(&wide, &tight, p, n)) break;
        p += n;
    }
    side_free(&wide), side_free(&tight);
    return 0;
}
