/* The codec http2: its verbs, by side. */
#include "http2.h"

#include <stdlib.h>

static enum match match(const uint8_t *p, size_t n) {
    if (memcmp(p, HTTP2_PREFACE, min_size(n, HTTP2_PREFACE_SIZE)) != 0) return MATCH_NO;
    return n < HTTP2_PREFACE_SIZE ? MATCH_MORE : MATCH_YES;
}

static void at_eof(struct conn *c) {
    if (c->side == DOWN) http2_down_eof(c);
    else conn_close(c, FAIL_UPSTREAM_RESET);
}

static void drained(struct conn *c) {
    if (http2(c)->phase != H2_FAILED) http2_pump(c);
}

/* SETTINGS, then GOAWAY(ENHANCE_YOUR_CALM): too many connections. */
#define REFUSAL "\0\0\0\4\0\0\0\0\0\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\13"

const struct codec http2_codec = {
    .name = "http2",
    .prefix = "http",
    .family = "http",
    .mode = POOL_MULTIPLEX,
    .down_session = sizeof(struct http2),
    .up_session = sizeof(struct http2),
    .max_stash = HTTP2_FRAME_MAX + HTTP2_FRAME_HEAD,
    .attributes = http_attributes,
    .attribute_count = HTTP_ATTRIBUTE_COUNT,
    .attribute = http_attribute,
    .parameter = http_parameter,
    .parameter_new = http_parameter_new,
    .common = http_common_of_conn,
    .match = match,
    .refusal = {(const uint8_t *)REFUSAL, sizeof REFUSAL - 1},
    .head_timeout_ms = http_head_timeout_ms,
    .listener_new = http_listener_new,
    .listener_free = http_options_free,
    .upstream_new = http_upstream_new,
    .upstream_free = http_options_free,
    .open = http2_open,
    .feed = http2_feed,
    .eof = at_eof,
    .drained = drained,
    .close = http2_close,
    .reply_failure = http_reply_failure,
    .overdue = http2_overdue,
    .drain = http2_down_drain,
    .busy = http2_down_busy,
    .core_close = free,
    .shared = SHARED_HTTP2,
};
