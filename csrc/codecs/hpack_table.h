/* The static table (RFC 7541 appendix A) and the decoder's dynamic one (§2.3.2, §4). */
#ifndef MOSNPY_HPACK_TABLE_H
#define MOSNPY_HPACK_TABLE_H

#include "hpack.h"

#define HPACK_STATIC 61u        /* entries of the static table; index 0 stands for nothing */
#define HPACK_ENTRY_SIZE 32u    /* §4.1: what an entry counts besides its name and value */
#define HPACK_TABLE_FIRST 4096u /* SETTINGS_HEADER_TABLE_SIZE before any is announced (RFC 9113 §6.5.2) */
#define HPACK_TABLE_MAX ((1u << 24) - 1)

/* memcpy for strings of a few bytes, which nearly all are, without the call. */
static inline void hpack_copy(uint8_t *to, const uint8_t *p, size_t n) {
    uint64_t a, b;
    uint32_t c, d;
    if (n > 32) {
        memcpy(to, p, n);
    } else if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) memcpy(&a, p + i, 8), memcpy(to + i, &a, 8);
        memcpy(&b, p + n - 8, 8), memcpy(to + n - 8, &b, 8);
    } else if (n >= 4) {
        memcpy(&c, p, 4), memcpy(&d, p + n - 4, 4);
        memcpy(to, &c, 4), memcpy(to + n - 4, &d, 4);
    } else if (n) {
        to[0] = p[0], to[n / 2] = p[n / 2], to[n - 1] = p[n - 1];
    }
}

extern const struct http_field hpack_static[HPACK_STATIC + 1];

/* A name that is a constant is not stored: 1..HPACK_STATIC the static table's, above that http_name_text(known - HPACK_STATIC). */
struct hpack_entry {
    uint32_t at; /* running position of its bytes: the name unless it's known, then the value */
    uint32_t name_size : 24, known : 8;
    uint32_t value_size : 24, id : 8; /* enum http_name */
};

/* Entries are a ring. Their bytes lie one behind the other, oldest first, in a buffer through which they move towards its end;
 * there the live ones are taken back to its beginning, so that each is contiguous and a move costs no more than the insertions
 * since the last one. Both grow with what is in the table: a peer that indexes little costs little. Positions are running
 * numbers (modulo 2^32); `base` is that of bytes[0]. */
struct hpack_decoder {
    struct hpack_entry *entries;
    uint8_t *bytes;
    uint32_t slots, next, count; /* power of two; number of the next entry; live ones */
    uint32_t capacity, base, end;
    uint32_t used, limit; /* §4.1 size; now allowed by the peer's last update */
    uint32_t announced,
        allowed;      /* what limit may become: as long as the peer may not know `announced`, the first size too */
    bool must_update; /* RFC 9113 §4.3.1: the next block has to begin with an update */
};

/* Newest is 0; i < count. */
static inline struct hpack_entry *hpack_entry(const struct hpack_decoder *d, uint32_t i) {
    return &d->entries[(d->next - 1 - i) & (d->slots - 1)];
}
static inline const uint8_t *hpack_entry_bytes(const struct hpack_decoder *d, const struct hpack_entry *e) {
    return d->bytes ? d->bytes + (e->at - d->base) : (const uint8_t *)""; /* empty values may be all there is */
}
/* Which constant this is, and its id in *id. 0: none. */
uint8_t hpack_known_name(struct slice name, uint8_t *id);
static inline struct slice hpack_known_text(uint8_t known) {
    return known <= HPACK_STATIC ? hpack_static[known].name : http_name_text((enum http_name)(known - HPACK_STATIC));
}

/* A string as it came. `size` is that of its plain form; both below 2^31. */
struct hpack_text {
    const uint8_t *p;
    uint32_t n, size;
    bool huffman; /* valid, else size would not be known */
};
/* Adds an entry (§4.4); `name` may lie in the table itself. HPACK_MEMORY or 0. */
int hpack_insert(struct hpack_decoder *d, uint8_t known, uint8_t id, struct hpack_text name, struct hpack_text value);
void hpack_resize(struct hpack_decoder *d, uint32_t limit);
/* The static entry whose name this is, in any case; 0 if none. */
uint8_t hpack_static_name(struct slice name);

#endif
