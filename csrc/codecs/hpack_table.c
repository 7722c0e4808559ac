/* Tables of HPACK: the static one, and the decoder's. */
#include "hpack_table.h"
#include "hpack_huffman.h"

#include <stdlib.h>

#define TEXT(s) \
    { (const uint8_t *)(s), sizeof(s) - 1 }
#define ROW(key, text, which) \
    { .name = TEXT(key), .value = TEXT(text), .id = which }
const struct http_field hpack_static[HPACK_STATIC + 1] = {
    ROW("", "", HN_OTHER),
    ROW(":authority", "", HN_OTHER),
    ROW(":method", "GET", HN_OTHER),
    ROW(":method", "POST", HN_OTHER),
    ROW(":path", "/", HN_OTHER),
    ROW(":path", "/index.html", HN_OTHER),
    ROW(":scheme", "http", HN_OTHER),
    ROW(":scheme", "https", HN_OTHER),
    ROW(":status", "200", HN_OTHER),
    ROW(":status", "204", HN_OTHER),
    ROW(":status", "206", HN_OTHER),
    ROW(":status", "304", HN_OTHER),
    ROW(":status", "400", HN_OTHER),
    ROW(":status", "404", HN_OTHER),
    ROW(":status", "500", HN_OTHER),
    ROW("accept-charset", "", HN_OTHER),
    ROW("accept-encoding", "gzip, deflate", HN_OTHER),
    ROW("accept-language", "", HN_OTHER),
    ROW("accept-ranges", "", HN_OTHER),
    ROW("accept", "", HN_ACCEPT),
    ROW("access-control-allow-origin", "", HN_OTHER),
    ROW("age", "", HN_OTHER),
    ROW("allow", "", HN_OTHER),
    ROW("authorization", "", HN_OTHER),
    ROW("cache-control", "", HN_OTHER),
    ROW("content-disposition", "", HN_OTHER),
    ROW("content-encoding", "", HN_OTHER),
    ROW("content-language", "", HN_OTHER),
    ROW("content-length", "", HN_CONTENT_LENGTH),
    ROW("content-location", "", HN_OTHER),
    ROW("content-range", "", HN_OTHER),
    ROW("content-type", "", HN_CONTENT_TYPE),
    ROW("cookie", "", HN_COOKIE),
    ROW("date", "", HN_DATE),
    ROW("etag", "", HN_OTHER),
    ROW("expect", "", HN_EXPECT),
    ROW("expires", "", HN_OTHER),
    ROW("from", "", HN_OTHER),
    ROW("host", "", HN_HOST),
    ROW("if-match", "", HN_OTHER),
    ROW("if-modified-since", "", HN_OTHER),
    ROW("if-none-match", "", HN_OTHER),
    ROW("if-range", "", HN_OTHER),
    ROW("if-unmodified-since", "", HN_OTHER),
    ROW("last-modified", "", HN_OTHER),
    ROW("link", "", HN_OTHER),
    ROW("location", "", HN_OTHER),
    ROW("max-forwards", "", HN_OTHER),
    ROW("proxy-authenticate", "", HN_OTHER),
    ROW("proxy-authorization", "", HN_OTHER),
    ROW("range", "", HN_OTHER),
    ROW("referer", "", HN_OTHER),
    ROW("refresh", "", HN_OTHER),
    ROW("retry-after", "", HN_OTHER),
    ROW("server", "", HN_SERVER),
    ROW("set-cookie", "", HN_OTHER),
    ROW("strict-transport-security", "", HN_OTHER),
    ROW("transfer-encoding", "", HN_TRANSFER_ENCODING),
    ROW("user-agent", "", HN_USER_AGENT),
    ROW("vary", "", HN_OTHER),
    ROW("via", "", HN_VIA),
    ROW("www-authenticate", "", HN_OTHER),
};
#undef ROW

uint8_t hpack_known_name(struct slice name, uint8_t *id) {
    enum http_name known = http_name_find(name.p, name.n);
    *id = HN_OTHER;
    if (known == HN_OTHER || !slice_eq(http_name_text(known), name))
        return 0; /* in upper case it's no name of HTTP/2 */
    *id = (uint8_t)known;
    return (uint8_t)(HPACK_STATIC + known);
}

struct hpack_decoder *hpack_decoder_new(uint32_t table_max) {
    struct hpack_decoder *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->announced = table_max < HPACK_TABLE_MAX ? table_max : HPACK_TABLE_MAX;
    d->limit = d->allowed = d->announced > HPACK_TABLE_FIRST ? d->announced : HPACK_TABLE_FIRST;
    return d;
}

void hpack_decoder_free(struct hpack_decoder *d) {
    if (!d) return;
    free(d->entries), free(d->bytes);
    free(d);
}

void hpack_decoder_acknowledged(struct hpack_decoder *d) {
    d->allowed = d->announced;
    d->must_update = d->limit > d->allowed;
}

/* ---- the dynamic table ---- */

/* Evicts the oldest until the table's size is at most `size`. */
static void shrink(struct hpack_decoder *d, uint32_t size) {
    while (d->used > size) {
        const struct hpack_entry *oldest = hpack_entry(d, --d->count);
        d->used -= HPACK_ENTRY_SIZE + oldest->name_size + oldest->value_size;
    }
}

void hpack_resize(struct hpack_decoder *d, uint32_t limit) {
    d->limit = limit;
    shrink(d, limit);
}

/* Room for one more entry. */
static bool grow_entries(struct hpack_decoder *d) {
    uint32_t slots = d->slots ? d->slots * 2 : 16;
    struct hpack_entry *entries = malloc(slots * sizeof *entries);
    if (!entries) return false;
    for (uint32_t i = 0; i < d->count; i++) entries[d->count - 1 - i] = *hpack_entry(d, i);
    free(d->entries);
    d->entries = entries, d->slots = slots, d->next = d->count;
    return true;
}

/* Room for n more bytes behind `end`; those from the position `keep` on stay. The buffer grows when less than a quarter of it
 * would become free, so that bytes are moved seldom. */
static bool make_room(struct hpack_decoder *d, uint32_t n, uint32_t keep) {
    uint32_t live = d->end - keep, capacity = d->capacity ? d->capacity : 256;
    if (d->bytes && d->end - d->base + n <= d->capacity) return true;
    while (live + n > capacity / 4 * 3) capacity *= 2;
    uint8_t *to = d->bytes;
    if (capacity != d->capacity && !(to = malloc(capacity))) return false;
    if (live) memmove(to, d->bytes + (keep - d->base), live);
    if (to != d->bytes) free(d->bytes);
    d->bytes = to, d->capacity = capacity, d->base = keep;
    return true;
}

static void put_text(uint8_t *to, struct hpack_text t) {
    if (t.huffman) hpack_huffman_decode(to, t.p, t.n);
    else hpack_copy(to, t.p, t.n);
}

int hpack_insert(struct hpack_decoder *d, uint8_t known, uint8_t id, struct hpack_text name, struct hpack_text value) {
    uint64_t size = (uint64_t)name.size + value.size + HPACK_ENTRY_SIZE;
    if (unlikely(size > d->limit)) { /* §4.4: no error */
        shrink(d, 0);
        return 0;
    }
    /* The name's entry may be among those that go. Its bytes stay where they are until room is made. */
    bool own = !known && d->bytes && name.p >= d->bytes && name.p < d->bytes + d->capacity;
    uint32_t name_at = own ? d->base + (uint32_t)(name.p - d->bytes) : 0, stored = known ? 0 : name.size;
    shrink(d, d->limit - (uint32_t)size);
    uint32_t keep = d->count ? hpack_entry(d, d->count - 1)->at : d->end;
    if (own && name_at - d->base < keep - d->base) keep = name_at;
    if (!make_room(d, stored + value.size, keep) || (d->count == d->slots && !grow_entries(d))) return HPACK_MEMORY;
    if (own) name.p = d->bytes + (name_at - d->base);
    uint8_t *to = d->bytes ? d->bytes + (d->end - d->base) : (uint8_t[1]){0}; /* nothing stored yet, nor now */
    if (!known) put_text(to, name);
    if (!known && name.huffman) hpack_known_name(slice_of(to, stored), &id); /* nobody could read it before */
    put_text(to + stored, value);
    d->entries[d->next++ & (d->slots - 1)] =
        (struct hpack_entry){d->end, name.size & HPACK_TABLE_MAX, known, value.size & HPACK_TABLE_MAX, id};
    d->end += stored + value.size, d->used += (uint32_t)size, d->count++;
    return 0;
}
