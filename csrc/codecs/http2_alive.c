/* Whether an HTTP/2 peer is still there: the time it has to acknowledge our settings (RFC 9113 §6.5.3), and PINGs to one that says
 * nothing. All of a connection's times share its codec_deadline_ms; it is looked at lazily, so that bytes that come cost a store. */
#include "http2.h"

#include <sys/socket.h>

#define LOOK_AGAIN_MS 1000u /* a peer that could not be heard is looked at again after this */

/* RFC 9113 leaves the content to us; it differs from that of http2_leave_ping. */
static const uint8_t question[8] = {'a', 'l', 'i', 'v', 'e', '?', 0, 0};

static const struct http2_times *times_of(const struct conn *c) {
    static const struct http2_times none; /* an upstream that is in no plan any more: it is about to go */
    if (c->side == DOWN) return &http_options(c)->times;
    const struct http_upstream *o = http_upstream(c);
    return o ? &o->times : &none;
}

void http2_look_by(struct conn *c, uint64_t when_ms) {
    if (c->codec_deadline_ms && c->codec_deadline_ms <= when_ms) return;
    c->codec_deadline_ms = when_ms;
    conn_arm_timer(c);
}

void http2_watch(struct conn *c) {
    struct http2 *s = http2(c);
    const struct http2_times *t = times_of(c);
    uint64_t now = s->heard_ms = s->used_ms = c->core->now_ms;
    if (t->settings) http2_look_by(c, s->settings_ms = now + t->settings);
    if (t->keepalive) http2_look_by(c, s->alive_ms = now + t->keepalive);
}

/* What it sent may lie in the socket: we are not reading it at the moment, or the process has slept. */
static bool may_have_spoken(const struct conn *c) {
    uint8_t byte;
    return c->paused || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

/* True: the connection is over. */
static bool unacknowledged(struct conn *c) {
    struct http2 *s = http2(c);
    uint64_t now = c->core->now_ms;
    if (likely(!s->settings_ms || now < s->settings_ms)) return false;
    if (may_have_spoken(c)) {
        s->settings_ms = now + LOOK_AGAIN_MS;
        return false;
    }
    if (c->side == DOWN) {
        http2_down_late(c, H2_SETTINGS_TIMEOUT);
        return true;
    }
    http2_goaway(c, 0, H2_SETTINGS_TIMEOUT);
    conn_flush(c); /* if it takes that */
    conn_close(c, FAIL_UPSTREAM_RESET);
    return true;
}

static void close_dead(struct conn *c) {
    if (c->side == DOWN) c->listener->stat[LISTENER_keepalive_timeouts]++;
    else c->endpoint->stat[ENDPOINT_keepalive_timeouts]++;
    conn_close(c, c->side == DOWN ? FAIL_CLIENT_GONE : FAIL_UPSTREAM_RESET);
}

/* True: nobody is there, the connection is closed. */
static bool silent(struct conn *c) {
    struct http2 *s = http2(c);
    const struct http2_times *t = times_of(c);
    uint64_t now = c->core->now_ms;
    if (likely(!s->alive_ms || now < s->alive_ms)) return false;
    if (!t->keepalive) { /* not any more */
        s->alive_ms = 0;
        return false;
    }
    /* Its answers to our PINGs don't keep an idle client from being idle. */
    if (c->side == DOWN && s->count == 0 && s->used_ms < c->active_ms) c->active_ms = s->used_ms;
    if (now >= s->heard_ms + t->keepalive && may_have_spoken(c)) s->heard_ms = now;
    if (now < s->heard_ms + t->keepalive) {
        s->ping_ms = 0, s->alive_ms = s->heard_ms + t->keepalive;
        return false;
    }
    if (s->ping_ms <= s->heard_ms) {
        http2_control(c, H2_PING, 0, 0, question, sizeof question);
        s->ping_ms = now, s->alive_ms = now + (uint32_t)min_size(t->keepalive, t->keepalive_timeout);
    } else if (now < s->ping_ms + t->keepalive_timeout) {
        s->alive_ms = s->ping_ms + t->keepalive_timeout;
    } else {
        close_dead(c);
        return true;
    }
    return false;
}

static uint64_t earlier(uint64_t a, uint64_t b) { return !a || (b && b < a) ? b : a; }

void http2_overdue(struct conn *c) {
    struct http2 *s = http2(c);
    if (s->phase == H2_FAILED || c->state != CONN_OPEN || unacknowledged(c) || silent(c)) return;
    if (c->side == DOWN) http2_down_overdue(c);
    if (c->state != CONN_OPEN) return;
    uint64_t ours = earlier(s->settings_ms, s->alive_ms);
    c->codec_deadline_ms = earlier(ours, earlier(s->deadline_ms, s->sweep_ms)); /* the caller arms the timer */
}
