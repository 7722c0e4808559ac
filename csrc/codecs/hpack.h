/* HPACK, RFC 7541. The decoder keeps a dynamic table; the encoder is stateless (static table, literals never indexed), so
 * that a block may be encoded before its connection is chosen, kept, and sent again over another one. */
#ifndef MOSNPY_HPACK_H
#define MOSNPY_HPACK_H

#include "http.h"

#include <sys/types.h>

struct hpack_decoder; /* dynamic table; allocated on the first insertion, so an idle connection costs a pointer */

/* `table_max`: SETTINGS_HEADER_TABLE_SIZE we announced (bytes as RFC 7541 §4.1 counts). NULL: out of memory. */
struct hpack_decoder *hpack_decoder_new(uint32_t table_max);
void hpack_decoder_free(struct hpack_decoder *d);
/* The peer has acknowledged our SETTINGS. Until then its table may have the first size, 4096, even if we announced less; after it a
 * larger one must shrink at the beginning of the next block (RFC 9113 §4.3.1). Optional: without it 4096 stays allowed. */
void hpack_decoder_acknowledged(struct hpack_decoder *d);

enum hpack_error {
    HPACK_BROKEN = -1, /* COMPRESSION_ERROR: the connection's state is lost */
    HPACK_MEMORY = -2
};
/* Where decoded strings are put: owned by the caller, reused for every block; all slices of the head lie in here, in the
 * static table or in `block`. */
struct hpack_arena {
    uint8_t *p;
    uint32_t size, used;
};
/* Called for a whole header block. Fills fields[] (name lower case as decoded, id set; pseudo-fields included, in order).
 * Over `max_fields`, `max_bytes` (RFC 9113 §6.5.2: names + values + 32 each) or the arena the rest is decoded for the table's
 * sake only and *too_large is set. Returns 0 or enum hpack_error. Never allocates by an announced size. */
int hpack_decode(struct hpack_decoder *d, const uint8_t *block, size_t n, struct hpack_arena *arena, uint32_t max_bytes,
                 struct http_field *fields, uint32_t max_fields, uint32_t *count, bool *too_large);

/* Encodes one field at `to` (room: hpack_bound(name, value)); returns the end. Names are written lower case. Static table entries
 * are used for names and for common pairs; strings are never Huffman coded (hpack_encode.c says why). `never` sets the
 * never-indexed bit (cookies, authorization: RFC 7541 §7.1.3). */
static inline size_t hpack_bound(size_t name, size_t value) { return name + value + 24; }
uint8_t *hpack_encode(uint8_t *to, enum http_name id, struct slice name, struct slice value, bool never);
uint8_t *hpack_encode_status(uint8_t *to, uint16_t status);
uint8_t *hpack_encode_method(uint8_t *to, struct slice method);
uint8_t *hpack_encode_scheme(uint8_t *to, struct slice scheme);
uint8_t *hpack_encode_path(uint8_t *to, struct slice path);
uint8_t *hpack_encode_authority(uint8_t *to, struct slice authority);

#endif
