/* HTTP/2 frames as bytes: headers, what each type must look like, settings. RFC 9113 §4, §6. Pure functions. */
#ifndef MOSNPY_HTTP2_FRAME_H
#define MOSNPY_HTTP2_FRAME_H

#include "../core/base.h"

#define HTTP2_FRAME_HEAD 9u
#define HTTP2_FRAME_MAX 16384u      /* SETTINGS_MAX_FRAME_SIZE: what we take, and what anybody takes (§4.2) */
#define HTTP2_WINDOW_FIRST 65535    /* of streams and connection before anything is said (§6.9.2) */
#define HTTP2_WINDOW_MAX 0x7fffffff /* 2^31-1 */
#define HTTP2_ID_MAX 0x7fffffffu
#define HTTP2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" /* §3.4 */
#define HTTP2_PREFACE_SIZE 24u

enum http2_type {
    H2_DATA,
    H2_HEADERS,
    H2_PRIORITY,
    H2_RST_STREAM,
    H2_SETTINGS,
    H2_PUSH_PROMISE,
    H2_PING,
    H2_GOAWAY,
    H2_WINDOW_UPDATE,
    H2_CONTINUATION,
    H2_TYPES
};

enum { H2_END_STREAM = 0x1, H2_ACK = 0x1, H2_END_HEADERS = 0x4, H2_PADDED = 0x8, H2_WITH_PRIORITY = 0x20 };

/* §7 */
enum http2_error {
    H2_NO_ERROR,
    H2_PROTOCOL_ERROR,
    H2_INTERNAL_ERROR,
    H2_FLOW_CONTROL_ERROR,
    H2_SETTINGS_TIMEOUT,
    H2_STREAM_CLOSED,
    H2_FRAME_SIZE_ERROR,
    H2_REFUSED_STREAM,
    H2_CANCEL,
    H2_COMPRESSION_ERROR,
    H2_CONNECT_ERROR,
    H2_ENHANCE_YOUR_CALM,
    H2_INADEQUATE_SECURITY,
    H2_HTTP_1_1_REQUIRED
};

enum http2_setting {
    H2_HEADER_TABLE_SIZE = 1,
    H2_ENABLE_PUSH = 2,
    H2_MAX_CONCURRENT_STREAMS = 3,
    H2_INITIAL_WINDOW_SIZE = 4,
    H2_MAX_FRAME_SIZE = 5,
    H2_MAX_HEADER_LIST_SIZE = 6,
    H2_ENABLE_CONNECT_PROTOCOL = 8, /* RFC 8441 §3 */
    H2_NO_RFC7540_PRIORITIES = 9    /* RFC 9218 §2.1 */
};

struct http2_frame {
    uint32_t length; /* of the payload */
    uint32_t id;     /* of the stream, without the reserved bit */
    uint8_t type, flags;
};

static inline uint32_t http2_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint8_t *http2_put_u32(uint8_t *to, uint32_t v) {
    to[0] = (uint8_t)(v >> 24), to[1] = (uint8_t)(v >> 16), to[2] = (uint8_t)(v >> 8), to[3] = (uint8_t)v;
    return to + 4;
}
static inline struct http2_frame http2_frame_read(const uint8_t *p) {
    return (struct http2_frame){.length = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2],
                                .id = http2_u32(p + 5) & HTTP2_ID_MAX,
                                .type = p[3],
                                .flags = p[4]};
}
/* Writes the nine bytes; returns their end. */
static inline uint8_t *http2_frame_write(uint8_t *to, uint32_t length, uint8_t type, uint8_t flags, uint32_t id) {
    to[0] = (uint8_t)(length >> 16), to[1] = (uint8_t)(length >> 8), to[2] = (uint8_t)length;
    to[3] = type, to[4] = flags;
    return http2_put_u32(to + 5, id);
}

/* What is wrong with a frame: 0 nothing, > 0 an enum http2_error of the connection, < 0 of its stream alone (negated). Looks at
 * the header only, so that it is refused before its payload is waited for. Unknown types pass. */
int http2_frame_check(const struct http2_frame *f);
/* The part of a HEADERS or DATA payload p[0..f->length) that is neither padding nor priority. 0 or an error of the connection.
 * *depends is the stream it depends on, 0 without priority. */
int http2_frame_body(const struct http2_frame *f, const uint8_t *p, struct slice *body, uint32_t *depends);
/* A setting's value: 0 or an error of the connection. `from_server`: who sent it. Unknown ones pass. */
int http2_setting_check(uint16_t id, uint32_t value, bool from_server);
/* Writes one setting; returns the end. */
static inline uint8_t *http2_put_setting(uint8_t *to, uint16_t id, uint32_t value) {
    to[0] = (uint8_t)(id >> 8), to[1] = (uint8_t)id;
    return http2_put_u32(to + 2, value);
}

#endif
