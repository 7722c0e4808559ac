/* One HTTP/2 connection of either side: its beginning, its ways to end, and the frames that are about it or its windows. */
#include "http2.h"

#include <stdlib.h>

const uint8_t http2_leave_ping[8] = {'l', 'e', 'a', 'v', 'i', 'n', 'g', 0};

struct http2_state *http2_state(struct core *core) {
    void **at = &core->shared[SHARED_HTTP2];
    if (likely(*at != NULL)) return *at;
    struct http2_state *state = malloc(sizeof *state);
    if (!state) return NULL;
    state->arena = (struct hpack_arena){state->strings, sizeof state->strings, 0};
    return *at = state;
}

/* ---- birth and end ---- */

static void open_windows(struct conn *c, uint32_t stream_window, uint32_t connection_window) {
    struct http2 *s = http2(c);
    s->stream_window = stream_window;
    s->window = connection_window > HTTP2_WINDOW_FIRST ? connection_window : HTTP2_WINDOW_FIRST;
    s->send_window = s->recv_window = s->peer_window = HTTP2_WINDOW_FIRST;
    if (s->window == HTTP2_WINDOW_FIRST) return;
    uint8_t payload[4];
    http2_put_u32(payload, s->window - HTTP2_WINDOW_FIRST);
    http2_control(c, H2_WINDOW_UPDATE, 0, 0, payload, 4);
    s->recv_window = s->window;
}

/* Our settings and the connection's window. A stream's window below the one everybody begins with would have to be enforced before
 * the peer knows of it: it counts from its acknowledgement on. */
static void greet(struct conn *c, const uint8_t *settings, size_t n, uint32_t stream_window, uint32_t window) {
    http2_control(c, H2_SETTINGS, 0, 0, settings, n);
    open_windows(c, stream_window, window);
}

static int open_down(struct conn *c) {
    const struct http_options *o = http_options(c);
    struct http2 *s = http2(c);
    uint8_t settings[6 * 6], *to = settings;
    s->phase = H2_WANT_PREFACE, s->connect_protocol = o->upgrade;
    to = http2_put_setting(to, H2_MAX_CONCURRENT_STREAMS, o->max_streams);
    to = http2_put_setting(to, H2_INITIAL_WINDOW_SIZE, o->stream_window);
    to = http2_put_setting(to, H2_MAX_HEADER_LIST_SIZE, o->limits.head);
    to = http2_put_setting(to, H2_NO_RFC7540_PRIORITIES, 1);
    if (o->header_table != 4096) to = http2_put_setting(to, H2_HEADER_TABLE_SIZE, o->header_table);
    if (o->upgrade) to = http2_put_setting(to, H2_ENABLE_CONNECT_PROTOCOL, 1);
    greet(c, settings, (size_t)(to - settings), o->stream_window, o->connection_window);
    if (o->head_timeout_ms) http2_look_by(c, s->deadline_ms = c->core->now_ms + o->head_timeout_ms);
    if (c->core->draining) http2_down_drain(c);
    return 0;
}

/* Requests wait for the server's settings: they tell how many it takes and whether it speaks HTTP/2 at all. */
static int open_up(struct conn *c) {
    const struct http_upstream *o = http_upstream(c);
    struct http2 *s = http2(c);
    uint8_t settings[4 * 6], *to = settings;
    if (!o) return -1;
    s->phase = H2_WANT_SETTINGS;
    timer_init(&s->later, http2_up_later, c);
    c->max_streams = HTTP2_STREAMS_UP_FIRST;
    conn_send(c, HTTP2_PREFACE, HTTP2_PREFACE_SIZE);
    to = http2_put_setting(to, H2_ENABLE_PUSH, 0);
    to = http2_put_setting(to, H2_INITIAL_WINDOW_SIZE, o->stream_window);
    to = http2_put_setting(to, H2_MAX_HEADER_LIST_SIZE, o->limits.head);
    if (o->header_table != 4096) to = http2_put_setting(to, H2_HEADER_TABLE_SIZE, o->header_table);
    greet(c, settings, (size_t)(to - settings), o->stream_window, o->connection_window);
    http2_watch(c);
    return 0;
}

int http2_open(struct conn *c) {
    struct http2 *s = http2(c);
    memset(s, 0, sizeof *s);
    s->goaway_id = UINT32_MAX;
    s->flood_ms = c->core->now_ms;
    return c->side == DOWN ? open_down(c) : open_up(c);
}

void http2_close(struct conn *c) {
    struct http2 *s = http2(c);
    if (s->phase == H2_UNOPENED) return;
    if (c->side == UP) timer_cancel(&c->core->wheel, &s->later);
    /* Legs of exchanges are theirs; what is left of a client's streams are rests. */
    for (uint32_t i = 0; c->side == DOWN && i < s->capacity; i++) {
        struct http_leg *leg = s->slots[i].leg;
        if (!s->slots[i].id || !(leg->flags & LEG_REST)) continue;
        queue_clear(&c->core->chunks, &leg->waiting);
        free(leg->tail);
        free(container_of(leg, struct http2_rest, leg));
    }
    if (s->decoder) hpack_decoder_free(s->decoder);
    free(s->slots);
    free(s->block);
    s->decoder = NULL, s->slots = NULL, s->block = NULL, s->capacity = s->count = 0;
}

void http2_goaway(struct conn *c, uint32_t last_id, enum http2_error code) {
    uint8_t payload[8];
    http2_put_u32(http2_put_u32(payload, last_id), code);
    http2_control(c, H2_GOAWAY, 0, 0, payload, 8);
}

void http2_fail(struct conn *c, enum http2_error code) {
    struct http2 *s = http2(c);
    if (s->phase == H2_FAILED) return;
    s->phase = H2_FAILED;
    http2_goaway(c, c->side == DOWN ? s->last_id : 0, code);
    if (!s->feeding) conn_doom(c, c->side == DOWN ? FAIL_BAD_REQUEST : FAIL_BAD_REPLY);
}

void http2_goaway_final(struct conn *c) {
    struct http2 *s = http2(c);
    s->goaway_sent = true, s->goaway_id = s->last_id;
    http2_goaway(c, s->last_id, H2_NO_ERROR);
}

void http2_maybe_finish(struct conn *c) {
    struct http2 *s = http2(c);
    if (c->side == UP || s->count || s->phase == H2_FAILED || !(s->goaway_sent || s->goaway_seen)) return;
    if (!s->goaway_sent) http2_goaway_final(c);
    conn_finish(c);
}

bool http2_flooded(struct conn *c, enum http2_flood kind) {
    static const uint16_t limits[FLOODS] = {
#define X(name, limit) limit,
        HTTP2_FLOODS(X)
#undef X
    };
    struct http2 *s = http2(c);
    if (likely(++s->flood[kind] <= limits[kind])) return false;
    uint64_t seconds = (c->core->now_ms - s->flood_ms) / 1000;
    if (seconds) {
        for (uint32_t i = 0; i < FLOODS; i++) s->flood[i] = seconds < 16 ? (uint16_t)(s->flood[i] >> seconds) : 0;
        s->flood_ms = c->core->now_ms;
    }
    if (s->flood[kind] <= limits[kind]) return false;
    http2_fail(c, H2_ENHANCE_YOUR_CALM);
    return true;
}

/* ---- streams in general ---- */

void http2_broken(struct conn *c, struct http_leg *leg, enum http2_error code, const char *text) {
    if (c->side == DOWN) http2_down_broken(c, leg, code, text);
    else http2_up_broken(c, leg, code);
}

void http2_broken_id(struct conn *c, uint32_t id, enum http2_error code) {
    struct http2 *s = http2(c);
    struct http_leg *leg = http2_find(s, id);
    if (leg) http2_broken(c, leg, code, "a malformed frame");
    else if (http2_idle(s, id)) http2_fail(c, code);
    else http2_flooded(c, FLOOD_ERROR);
}

/* ---- frames about the connection and its windows ---- */

/* §6.9.2: what streams may send changes by the difference, and may become less than nothing. */
static int initial_window(struct http2 *s, uint32_t value) {
    int64_t delta = (int64_t)value - s->peer_window;
    s->peer_window = value;
    for (uint32_t i = 0; i < s->capacity; i++) {
        struct http_leg *leg = s->slots[i].leg;
        if (!s->slots[i].id) continue;
        if (leg->send_window + delta > HTTP2_WINDOW_MAX) return H2_FLOW_CONTROL_ERROR;
        leg->send_window += (int32_t)delta;
        if (leg->waiting.bytes) http2_enlist(s, leg), s->pump = true;
    }
    return 0;
}

static int apply(struct conn *c, uint16_t id, uint32_t value) {
    struct http2 *s = http2(c);
    int error = http2_setting_check(id, value, c->side == UP);
    if (error) return error;
    switch (id) {
    case H2_HEADER_TABLE_SIZE:
        if (value < 4096 && !s->table_told) s->table_gone = s->table_told = true;
        return 0;
    case H2_MAX_CONCURRENT_STREAMS:
        if (c->side == UP) c->max_streams = value < HTTP2_STREAMS_UP_MAX ? value : HTTP2_STREAMS_UP_MAX;
        return 0;
    case H2_INITIAL_WINDOW_SIZE: return initial_window(s, value);
    case H2_ENABLE_CONNECT_PROTOCOL:
        if (c->side == DOWN) return 0;
        if (s->connect_protocol && !value) return H2_PROTOCOL_ERROR; /* RFC 8441 §3 */
        s->connect_protocol = value;
        return 0;
    default: return 0;
    }
}

void http2_on_settings(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    bool first = s->phase == H2_WANT_SETTINGS;
    if (f->flags & H2_ACK) {
        s->acked = true, s->settings_ms = 0;
        if (s->decoder) hpack_decoder_acknowledged(s->decoder);
        return;
    }
    if (http2_flooded(c, FLOOD_SETTINGS)) return;
    if (first && c->side == UP) c->max_streams = HTTP2_STREAMS_UP_MAX; /* no limit, unless it names one */
    for (uint32_t i = 0; i < f->length; i += 6) {
        int error = apply(c, (uint16_t)(p[i] << 8 | p[i + 1]), http2_u32(p + i + 2));
        if (error) {
            http2_fail(c, (enum http2_error)error);
            return;
        }
    }
    http2_control(c, H2_SETTINGS, H2_ACK, 0, NULL, 0);
    if (first) s->phase = H2_RUNNING;
    if (c->side == UP) http2_up_settings(c, first);
}

void http2_on_ping(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    if (!(f->flags & H2_ACK)) {
        if (!http2_flooded(c, FLOOD_PING)) http2_control(c, H2_PING, H2_ACK, 0, p, 8);
    } else if (s->leaving && !s->goaway_sent && memcmp(p, http2_leave_ping, 8) == 0) {
        /* Whatever the client sent before it knew of the first GOAWAY is here: this is the real last id. */
        http2_goaway_final(c);
        http2_maybe_finish(c);
    }
}

void http2_on_window_update(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    uint32_t more = http2_u32(p) & HTTP2_WINDOW_MAX;
    if (http2_flooded(c, FLOOD_WINDOW)) return;
    if (f->id == 0) {
        if (more == 0) http2_fail(c, H2_PROTOCOL_ERROR);
        else if (s->send_window + more > HTTP2_WINDOW_MAX) http2_fail(c, H2_FLOW_CONTROL_ERROR);
        else s->send_window += more, s->pump = true;
        return;
    }
    struct http_leg *leg = http2_find(s, f->id);
    if (!leg) {
        if (http2_idle(s, f->id) && f->id <= s->goaway_id) http2_fail(c, H2_PROTOCOL_ERROR);
    } else if (more == 0) {
        http2_broken(c, leg, H2_PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing");
    } else if ((int64_t)leg->send_window + more > HTTP2_WINDOW_MAX) {
        http2_broken(c, leg, H2_FLOW_CONTROL_ERROR, "a window beyond 2^31-1");
    } else {
        leg->send_window += (int32_t)more;
        if (leg->waiting.bytes) http2_enlist(s, leg), s->pump = true;
    }
}

void http2_on_reset(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    struct http2 *s = http2(c);
    struct http_leg *leg = http2_find(s, f->id);
    if (!leg) {
        if (http2_idle(s, f->id) && f->id <= s->goaway_id) http2_fail(c, H2_PROTOCOL_ERROR);
        return;
    }
    if (http2_flooded(c, FLOOD_RESET)) return;
    if (c->side == DOWN) http2_down_gone(c, leg);
    else http2_up_gone(c, leg, (enum http2_error)http2_u32(p));
}

void http2_on_priority(struct conn *c, const struct http2_frame *f, const uint8_t *p) {
    if (http2_flooded(c, FLOOD_PRIORITY)) return;
    struct http_leg *leg = http2_find(http2(c), f->id);
    if (leg && (http2_u32(p) & HTTP2_ID_MAX) == f->id)
        http2_broken(c, leg, H2_PROTOCOL_ERROR, "a stream that depends on itself");
}
