#include "http2_frame.h"

enum { ANY, STREAM, CONNECTION }; /* which ids a type may have */

/* Per type: the smallest payload, the largest, where it belongs, and whether a wrong size breaks the connection or the stream. */
static const struct {
    uint32_t min, max;
    uint8_t where;
    bool stream_error;
} rules[H2_TYPES] = {
    [H2_DATA] = {0, HTTP2_FRAME_MAX, STREAM, false},
    [H2_HEADERS] = {0, HTTP2_FRAME_MAX, STREAM, false},
    [H2_PRIORITY] = {5, 5, STREAM, true}, /* §6.3 */
    [H2_RST_STREAM] = {4, 4, STREAM, false},
    [H2_SETTINGS] = {0, HTTP2_FRAME_MAX, CONNECTION, false},
    [H2_PUSH_PROMISE] = {4, HTTP2_FRAME_MAX, STREAM, false},
    [H2_PING] = {8, 8, CONNECTION, false},
    [H2_GOAWAY] = {8, HTTP2_FRAME_MAX, CONNECTION, false},
    [H2_WINDOW_UPDATE] = {4, 4, ANY, false},
    [H2_CONTINUATION] = {0, HTTP2_FRAME_MAX, STREAM, false},
};

int http2_frame_check(const struct http2_frame *f) {
    if (unlikely(f->length > HTTP2_FRAME_MAX)) return H2_FRAME_SIZE_ERROR;
    if (unlikely(f->type >= H2_TYPES)) return 0;
    bool on_stream = f->id != 0;
    if (unlikely(rules[f->type].where == STREAM && !on_stream)) return H2_PROTOCOL_ERROR;
    if (unlikely(rules[f->type].where == CONNECTION && on_stream)) return H2_PROTOCOL_ERROR;
    if (unlikely(f->length < rules[f->type].min || f->length > rules[f->type].max))
        return rules[f->type].stream_error ? -H2_FRAME_SIZE_ERROR : H2_FRAME_SIZE_ERROR;
    if (f->type == H2_SETTINGS && (f->flags & H2_ACK ? f->length != 0 : f->length % 6 != 0)) return H2_FRAME_SIZE_ERROR;
    return 0;
}

int http2_frame_body(const struct http2_frame *f, const uint8_t *p, struct slice *body, uint32_t *depends) {
    uint32_t begin = 0, pad = 0, priority = f->type == H2_HEADERS && f->flags & H2_WITH_PRIORITY ? 5 : 0;
    *depends = 0;
    if (f->flags & H2_PADDED) {
        if (f->length < 1) return H2_FRAME_SIZE_ERROR;
        pad = p[0], begin = 1;
    }
    if (f->length < begin + priority) return H2_FRAME_SIZE_ERROR;
    if (priority) *depends = http2_u32(p + begin) & HTTP2_ID_MAX;
    begin += priority;
    if (pad > f->length - begin) return H2_PROTOCOL_ERROR; /* §6.1, §6.2 */
    *body = slice_of(p + begin, f->length - begin - pad);
    return 0;
}

int http2_setting_check(uint16_t id, uint32_t value, bool from_server) {
    switch (id) {
    case H2_ENABLE_PUSH: return value > (from_server ? 0u : 1u) ? H2_PROTOCOL_ERROR : 0;
    case H2_INITIAL_WINDOW_SIZE: return value > HTTP2_WINDOW_MAX ? H2_FLOW_CONTROL_ERROR : 0;
    case H2_MAX_FRAME_SIZE: return value < HTTP2_FRAME_MAX || value > 0xffffff ? H2_PROTOCOL_ERROR : 0;
    case H2_ENABLE_CONNECT_PROTOCOL:
    case H2_NO_RFC7540_PRIORITIES: return value > 1 ? H2_PROTOCOL_ERROR : 0;
    default: return 0;
    }
}
