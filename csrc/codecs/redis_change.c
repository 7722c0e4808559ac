/* What changes which lane a client uses (HELLO, AUTH, SELECT) is asked of a server all the same: on a connection of the lane it
 * would lead to, or on those the client has borrowed. So the reply is the server's own, and a wrong password or a database that
 * isn't there is refused by who knows. A connection that speaks RESP2 on behalf of a RESP3 client and has subscriptions can't be
 * asked: it keeps the rights it was borrowed with, and databases mean nothing to channels. */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>

static void change_free(struct core *core, struct redis_change *ch) {
    redis_identity_put(core, ch->identity);
    free(ch->name);
    free(ch);
}

struct redis_change *redis_change_new(struct conn *c) {
    struct redis_down *d = redis_down(c);
    struct redis_change *ch = calloc(1, sizeof *ch);
    if (!ch) return NULL;
    ch->resp = d->resp, ch->db = d->db, ch->identity = d->identity;
    if (ch->identity) ch->identity->refs++;
    return ch;
}

/* ---- what a connection is told ---- */

static uint8_t version_for(const struct upstream *u, uint8_t version) {
    const struct redis_upstream *opt = u ? u->options : NULL;
    return opt && opt->resp3 ? version : 2;
}

static struct slice words(struct core *core, const struct slice *word, uint32_t n) {
    struct resp_out *out = &redis_core_of(core)->text;
    resp_out_clear(out);
    resp_out_array(out, n);
    for (uint32_t i = 0; i < n; i++) resp_out_bulk(out, word[i]);
    return slice_of(out->p, out->n);
}

/* HELLO with the credentials, or without where the handshake of the lane has given them. */
static struct slice hello_words(struct core *core, uint8_t version, const struct redis_identity *identity) {
    struct slice word[5] = {SLICE("HELLO"), version == 3 ? SLICE("3") : SLICE("2"), SLICE("AUTH")};
    if (identity) word[3] = identity->user, word[4] = identity->password;
    return words(core, word, identity ? 5 : 2);
}

/* For a connection that is there already. `whole`: the request as it came. */
static struct slice request_for(const struct redis_change *ch, const struct conn *up, struct slice whole) {
    const struct redis_identity *identity = ch->new_identity ? ch->identity : NULL;
    if (!ch->hello) return whole;
    if (ch->by_auth) return words(up->core, (struct slice[]){SLICE("AUTH"), identity->user, identity->password}, 3);
    return hello_words(up->core, version_for(up->endpoint->upstream, ch->resp), identity);
}

static void translate(struct conn *up) {
    struct redis_up *u = redis_up(up);
    if (u->resp && up->owner) u->resp2 = u->resp == 2 && redis_down(up->owner)->resp == 3;
}

/* ---- further connections: told as well, in the order of the client, so that its reply comes after theirs ---- */

static void follow_reply(struct stream *s, const uint8_t *p, size_t n, bool end) {
    (void)p, (void)n;
    if (!end) return;
    s->ops = NULL;
    if (s->part && s->status == STATUS_OK) redis_up(s->up)->resp = (uint8_t)s->part;
    translate(s->up);
}

static void follow_fail(struct stream *s, enum failure why) {
    s->ops = NULL;
    if (s->up) conn_doom(s->up, why); /* what it would do for the client is unknown */
    stream_finish_down(s);
}
static const struct stream_ops follow_ops = {.reply = follow_reply, .fail = follow_fail};

/* `version`: what it speaks when it agrees, 0: as before. */
static void follow(struct conn *c, struct conn *up, struct slice request, uint8_t version, uint64_t deadline_ms) {
    struct stream *s = stream_new(c->core, c);
    if (!s) {
        conn_doom(c, FAIL_INTERNAL);
        return;
    }
    s->ops = &follow_ops, s->part = version, s->deadline_ms = deadline_ms;
    enum failure why = stream_send(s, up, request.p, request.n);
    if (why != FAIL_NONE) stream_fail(s, why);
}

/* The first borrowed connection from `up` on that takes commands. */
static struct conn *asked(const struct conn *c, struct conn *up) {
    while (up && !redis_pin_takes(c, up, false)) up = redis_up(up)->next_pin;
    return up;
}

static void tell_others(struct conn *c, const struct redis_change *ch, struct slice whole, const struct conn *first,
                        uint64_t deadline_ms) {
    for (struct conn *up = redis_down(c)->pins; (up = asked(c, up)); up = redis_up(up)->next_pin) {
        uint8_t version = ch->hello && !ch->by_auth ? version_for(up->endpoint->upstream, ch->resp) : 0;
        if (up != first) follow(c, up, request_for(ch, up, whole), version, deadline_ms);
    }
}

#define FLUSH_MS 1000 /* for a PONG behind the messages */

bool redis_flushed(struct conn *c) {
    struct redis_down *d = redis_down(c);
    if (!d->flushed)
        for (struct conn *up = d->resp == 3 ? d->pins : NULL; up; up = redis_up(up)->next_pin)
            if (redis_up(up)->resp == 2 && redis_pin_listens(up))
                follow(c, up, SLICE("*1\r\n$4\r\nPING\r\n"), 0, c->core->now_ms + FLUSH_MS);
    d->flushed = c->streams != 0;
    if (d->flushed) conn_wait(c, 1, 0);
    return !d->flushed;
}

/* ---- the outcome ---- */

static void apply(struct conn *c, struct redis_change *ch) {
    struct redis_down *d = redis_down(c);
    struct redis_identity *old = d->identity;
    d->resp = ch->resp, d->db = ch->db;
    d->identity = ch->identity, ch->identity = old;
    if (d->identity && d->identity != old) d->user = d->identity->user;
    for (struct conn *up = d->pins; up; up = redis_up(up)->next_pin) { /* they have left their lane with us */
        up->retired = true;
        translate(up);
    }
    if (ch->name) {
        free(d->name);
        d->name = ch->name, ch->name = NULL;
    }
}

/* HELLO's reply names the connection and its version; the client's is the one to the proxy. */
static void rewrite_hello(struct slice reply, uint64_t id, int version, struct resp_out *out) {
    struct resp_value head, key;
    struct slice in = reply, value;
    if (!resp_read(&in, &head) || (head.type != '%' && head.type != '*')) {
        resp_out_raw(out, reply.p, reply.n);
        return;
    }
    bool raised = head.type == '*' && version == 3;
    resp_out_map(out, head.count / 2, version);
    while (in.n && resp_read(&in, &key)) {
        resp_out_raw(out, key.raw.p, key.raw.n);
        if (!resp_take(&in, &value)) break;
        if (slice_is(key.text, "ID")) resp_out_int(out, (int64_t)id);
        else if (slice_is(key.text, "PROTO")) resp_out_int(out, version);
        else if (!raised || redis_shape_up(REDIS_SHAPE_MAPS, value, out) < 0) resp_out_raw(out, value.p, value.n);
    }
}

/* For a server older than HELLO (before Redis 6). */
static void own_hello(struct conn *c, int version, struct resp_out *out) {
    resp_out_map(out, 7, version);
    struct slice pairs[][2] = {{SLICE("server"), SLICE("redis")}, {SLICE("version"), SLICE("5.0.0")}};
    for (size_t i = 0; i < countof(pairs); i++) resp_out_bulk(out, pairs[i][0]), resp_out_bulk(out, pairs[i][1]);
    resp_out_bulk(out, SLICE("proto")), resp_out_int(out, version);
    resp_out_bulk(out, SLICE("id")), resp_out_int(out, (int64_t)c->id);
    resp_out_bulk(out, SLICE("mode")), resp_out_bulk(out, SLICE("standalone"));
    resp_out_bulk(out, SLICE("role")), resp_out_bulk(out, SLICE("master"));
    resp_out_bulk(out, SLICE("modules")), resp_out_array(out, 0);
}

static bool old_server(struct slice reply) {
    struct slice text;
    return resp_is_error(reply, &text) &&
           (strncmp((const char *)text.p, "NOPROTO", min_size(7, text.n)) == 0 ||
            strncmp((const char *)text.p, "ERR unknown command", min_size(19, text.n)) == 0);
}

/* A server remembers whether a connection may do without a password from the day it was made, and tells so to HELLO alone: one from
 * before the password was given up would be refused for ever. The next who asks gets a new one. */
static void forget_unwelcome(const struct stream *s, struct slice reply) {
    if (s->up && reply.n > 8 && memcmp(reply.p, "-NOAUTH ", 8) == 0) pool_retire(s->up);
}

static const struct stream_ops change_ops;

/* A borrowed connection whose server doesn't know HELLO hears the AUTH that was in it. */
static void again_by_auth(struct stream *s, struct redis_change *ch) {
    struct conn *c = s->down;
    ch->by_auth = true;
    tell_others(c, ch, (struct slice){NULL, 0}, s->up, s->deadline_ms);
    struct stream *again = stream_new(c->core, c);
    if (!again) {
        conn_doom(c, FAIL_INTERNAL);
        change_free(s->core, ch);
        return;
    }
    struct slice request = request_for(ch, s->up, (struct slice){NULL, 0});
    again->ops = &change_ops, again->data = ch, again->upstream = s->upstream, again->deadline_ms = s->deadline_ms;
    enum failure why = stream_send(again, s->up, request.p, request.n);
    if (why != FAIL_NONE) stream_fail(again, why);
}

static void finish_change(struct stream *s, struct slice reply) {
    struct conn *c = s->down;
    struct redis_change *ch = s->data;
    struct resp_out out = {0};
    bool pinned = s->up && s->up->owner == c, old = ch->hello && !ch->by_auth && old_server(reply);
    s->ops = NULL, s->data = NULL;
    if (ch->hello) forget_unwelcome(s, reply);
    if (c && old && pinned && ch->new_identity) {
        again_by_auth(s, ch);
        return;
    }
    if (c) {
        int version = ch->resp;
        bool agreed = old || *reply.p != '-';
        if (agreed && pinned && ch->hello && !ch->by_auth && !old)
            redis_up(s->up)->resp = version_for(s->up->endpoint->upstream, ch->resp);
        if (agreed) apply(c, ch);
        if (ch->hello && agreed && (old || ch->by_auth)) own_hello(c, version, &out);
        else if (ch->hello) rewrite_hello(reply, c->id, version, &out);
        else resp_out_raw(&out, reply.p, reply.n);
        if (!ch->silent) stream_reply(s, out.p, out.n);
        resp_out_free(&out);
    }
    change_free(s->core, ch);
}

static void change_reply(struct stream *s, const uint8_t *p, size_t n, bool end) {
    struct core *core = s->core;
    if (n && queue_append(&core->chunks, &s->reply, p, n) < 0) return;
    if (!end) return;
    size_t size = s->reply.bytes;
    struct slice reply = slice_of(queue_pullup(&core->chunks, &s->reply, size), size);
    struct queue held = s->reply; /* the reply is written while its bytes are read */
    queue_init(&s->reply);
    if (reply.p) finish_change(s, reply);
    queue_clear(&core->chunks, &held);
}

static void change_fail(struct stream *s, enum failure why) {
    struct redis_change *ch = s->data;
    bool silent = ch->silent;
    s->ops = NULL, s->data = NULL;
    change_free(s->core, ch);
    if (s->down && !silent) s->down->codec->reply_failure(s, why, (struct slice){NULL, 0});
    stream_finish_down(s);
}

static const struct stream_ops change_ops = {.reply = change_reply, .fail = change_fail};

/* ---- asking ---- */

/* With replies switched off too, its outcome has its place in the client's order. */
static struct stream *change_stream(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms,
                                    struct redis_change *ch) {
    struct redis_down *d = redis_down(q->down);
    uint32_t silent = d->special & (SPECIAL_SILENT | SPECIAL_SKIP);
    d->special &= ~silent;
    struct stream *s = redis_stream(q, u, timeout_ms);
    d->special |= silent & SPECIAL_SILENT;
    if (!s) return NULL;
    ch->silent = silent != 0;
    s->lane_key = redis_lane(ch->resp, ch->db, ch->identity);
    s->hash = redis_hash(u, q, (struct slice){NULL, 0});
    s->ops = &change_ops, s->data = ch;
    return s;
}

enum took redis_change_ask(const struct redis_request *q, struct redis_change *ch) {
    struct conn *c = q->down, *up = asked(c, redis_down(c)->pins);
    struct slice whole = slice_of(q->p, q->n);
    uint32_t timeout_ms;
    struct upstream *u = redis_home_upstream(q, &timeout_ms);
    ch->new_identity = ch->identity && ch->identity != redis_down(c)->identity;
    if (u && up) tell_others(c, ch, whole, up, timeout_ms ? c->core->now_ms + timeout_ms : UINT64_MAX);
    struct stream *s = u ? change_stream(q, u, timeout_ms, ch) : NULL;
    if (!s) {
        change_free(c->core, ch);
        if (!u) redis_reply_text(c, "-ERR mosnpy: %s\r\n", failure_text(FAIL_NO_ROUTE));
        return u ? CLOSE : TOOK;
    }
    s->replayable = !up;
    struct slice request = up          ? request_for(ch, up, whole)
                           : ch->hello ? hello_words(c->core, version_for(u, ch->resp), NULL)
                                       : whole;
    enum failure why = up ? stream_send(s, up, request.p, request.n) : stream_dispatch(s, request.p, request.n);
    if (why != FAIL_NONE) stream_fail(s, why);
    if (c->streams) conn_wait(c, 1, 0); /* later requests wait for the outcome */
    return TOOK;
}
