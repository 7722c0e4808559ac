/* HTTP/2 framing (RFC 9113) as far as the load generator and the stub backend need it. */
#ifndef BENCH_H2_H
#define BENCH_H2_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    H2_HEAD = 9,          /* bytes of a frame's head */
    H2_FRAME_MAX = 16384, /* of a payload: neither end announces more */
    H2_WINDOW = 65535,    /* of a connection and its streams, until told otherwise */
    H2_WINDOW_MAX = 0x7FFFFFFF,
    H2_TABLE = 4096, /* bytes of a header table, until told otherwise */
};
enum h2_type {
    H2_DATA = 0,
    H2_HEADERS = 1,
    H2_PRIORITY = 2,
    H2_RST_STREAM = 3,
    H2_SETTINGS = 4,
    H2_PUSH_PROMISE = 5,
    H2_PING = 6,
    H2_GOAWAY = 7,
    H2_WINDOW_UPDATE = 8,
    H2_CONTINUATION = 9,
};
enum h2_flag { H2_END_STREAM = 1, H2_ACK = 1, H2_END_HEADERS = 4, H2_PADDED = 8, H2_HAS_PRIORITY = 32 };
enum h2_setting { H2_HEADER_TABLE_SIZE = 1, H2_ENABLE_PUSH = 2, H2_MAX_STREAMS = 3, H2_INITIAL_WINDOW_SIZE = 4 };

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct h2_frame {
    uint32_t length, stream;
    uint8_t type, flags;
    const uint8_t *payload;
};

static inline uint32_t h2_get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint8_t *h2_put32(uint8_t *to, uint32_t value) {
    to[0] = (uint8_t)(value >> 24), to[1] = (uint8_t)(value >> 16), to[2] = (uint8_t)(value >> 8),
    to[3] = (uint8_t)value;
    return to + 4;
}

static inline uint8_t *h2_put_head(uint8_t *to, uint32_t length, enum h2_type type, unsigned flags, uint32_t stream) {
    h2_put32(to, length << 8 | type);
    to[4] = (uint8_t)flags;
    return h2_put32(to + 5, stream);
}

static inline uint8_t *h2_put_setting(uint8_t *to, enum h2_setting setting, uint32_t value) {
    to[0] = 0, to[1] = (uint8_t)setting;
    return h2_put32(to + 2, value);
}

static inline uint8_t *h2_put_window(uint8_t *to, uint32_t stream, uint32_t bytes) {
    return h2_put32(h2_put_head(to, 4, H2_WINDOW_UPDATE, 0, stream), bytes);
}

/* The frame at p, if it is here as a whole: its length with its head; 0: more is needed; -1: too long. */
static inline int h2_get_frame(const uint8_t *p, size_t n, struct h2_frame *f) {
    if (n < H2_HEAD) { return 0; }
    f->length = h2_get32(p) >> 8;
    f->type = p[3];
    f->flags = p[4];
    f->stream = h2_get32(p + 5) & 0x7FFFFFFF;
    f->payload = p + H2_HEAD;
    if (f->length > H2_FRAME_MAX) { return -1; }
    return n >= H2_HEAD + f->length ? (int)(H2_HEAD + f->length) : 0;
}

/* Takes padding and priority off a DATA or HEADERS frame; their window counts all the same (RFC 9113, 6.9.1). -1: broken. */
static inline int h2_unpad(struct h2_frame *f) {
    uint32_t pad = 0, skip = 0;
    if (f->flags & H2_PADDED) {
        if (!f->length) { return -1; }
        pad = f->payload[0];
        skip = 1;
    }
    if (f->type == H2_HEADERS && f->flags & H2_HAS_PRIORITY) { skip += 5; }
    if (pad + skip > f->length) { return -1; }
    f->payload += skip;
    f->length -= pad + skip;
    return 0;
}

/* ---- writing HPACK (RFC 7541): strings as they are, without Huffman's code ---- */

static inline uint8_t *hpack_put_int(uint8_t *to, unsigned first, unsigned bits, size_t value) {
    size_t most = (1u << bits) - 1;
    if (value < most) {
        *to++ = (uint8_t)(first | value);
        return to;
    }
    *to++ = (uint8_t)(first | most);
    for (value -= most; value >= 128; value >>= 7) { *to++ = (uint8_t)(value | 128); }
    *to++ = (uint8_t)value;
    return to;
}

static inline uint8_t *hpack_put_string(uint8_t *to, const char *text, size_t n) {
    to = hpack_put_int(to, 0, 7, n);
    memcpy(to, text, n);
    return to + n;
}

static inline uint8_t *hpack_put_indexed(uint8_t *to, unsigned index) { return hpack_put_int(to, 0x80, 7, index); }

/* A field with a literal value; its name by index of the static table, or, with index 0, by itself. `keep`: it is put into the
 * dynamic table. */
static inline uint8_t *hpack_put_field(uint8_t *to, bool keep, unsigned index, const char *name, const char *value) {
    to = hpack_put_int(to, keep ? 0x40 : 0, keep ? 6 : 4, index);
    if (!index) { to = hpack_put_string(to, name, strlen(name)); }
    return hpack_put_string(to, value, strlen(value));
}

enum { HPACK_FIRST_DYNAMIC = 62, HPACK_STATUS_200 = 0x88, HPACK_TABLE_EMPTY = 0x20 };

#endif
