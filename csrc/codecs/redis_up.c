/* Replies: what a fresh server connection says first, then each reply to the request that waits for it. */
#include "redis.h"

#include <stdio.h>

/* ---- handshake: HELLO 3, AUTH, SELECT, one at a time, whatever of it the lane needs ---- */

struct credentials {
    struct slice user, password;
};

static struct credentials credentials_of(struct conn *c) {
    const struct redis_upstream *opt = c->endpoint->upstream ? c->endpoint->upstream->options : NULL;
    const struct redis_identity *identity = redis_identity_find(c->core, (uint32_t)(c->lane->key >> 32));
    if (c->lane->key >> 32)
        return identity ? (struct credentials){identity->user, identity->password}
                        : (struct credentials){{NULL, 0}, {NULL, 0}};
    return opt ? (struct credentials){opt->user, opt->password} : (struct credentials){{NULL, 0}, {NULL, 0}};
}

static void send_words(struct conn *c, const struct slice *words, uint32_t n) {
    struct resp_out *out = &redis_core_of(c->core)->text;
    resp_out_clear(out);
    resp_out_array(out, n);
    for (uint32_t i = 0; i < n; i++) resp_out_bulk(out, words[i]);
    conn_send(c, out->p, out->n);
}

static void send_hello(struct conn *c, struct credentials who) {
    struct slice words[5] = {SLICE("HELLO"), SLICE("3"), SLICE("AUTH"), who.user.n ? who.user : SLICE("default"),
                             who.password};
    send_words(c, words, who.password.n ? 5 : 2);
}

static void send_auth(struct conn *c, struct credentials who) {
    struct slice words[3] = {SLICE("AUTH"), who.user, who.password};
    if (!who.user.n) words[1] = who.password;
    send_words(c, words, who.user.n ? 3 : 2);
}

static void send_select(struct conn *c) {
    char number[16];
    int n = snprintf(number, sizeof number, "%u", (unsigned)(c->lane->key >> 1 & REDIS_DB_MAX));
    struct slice words[2] = {SLICE("SELECT"), slice_of(number, (size_t)n)};
    send_words(c, words, 2);
}

/* Sends the next thing this lane needs from `step` on. 1: nothing is left. */
static int handshake(struct conn *c, enum redis_step step) {
    struct redis_up *u = redis_up(c);
    const struct redis_upstream *opt = c->endpoint->upstream ? c->endpoint->upstream->options : NULL;
    struct credentials who = credentials_of(c);
    if (!opt) return -1;
    u->step = (uint8_t)step;
    if (u->step == STEP_HELLO) {
        if (c->lane->key & 1 && opt->resp3) return send_hello(c, who), 0;
        u->resp2 = c->lane->key & 1;
        u->step = STEP_AUTH;
    }
    if (u->step == STEP_AUTH) {
        if (who.password.n || (c->lane->key >> 32)) return send_auth(c, who), 0;
        u->step = STEP_SELECT;
    }
    if (u->step == STEP_SELECT) {
        if (c->lane->key >> 1 & REDIS_DB_MAX) return send_select(c), 0;
        u->step = STEP_ID;
    }
    if (u->step == STEP_ID && c->exclusive) return send_words(c, (struct slice[]){SLICE("CLIENT"), SLICE("ID")}, 2), 0;
    u->step = STEP_READY;
    u->resp = (c->lane->key & 1) && !u->resp2 ? 3 : 2;
    return 1;
}

int redis_up_open(struct conn *c) { return handshake(c, STEP_HELLO); }

/* The server won't have us: what it said is the reply of all who wait for this connection. */
static ssize_t refused(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_core *rc = redis_core_of(c->core);
    rc->refusal = slice_of(p, n);
    conn_close(c, FAIL_DENIED);
    rc->refusal = (struct slice){NULL, 0};
    return (ssize_t)n;
}

static bool begins(const uint8_t *p, size_t n, const char *text) {
    return n >= strlen(text) && memcmp(p, text, strlen(text)) == 0;
}

static ssize_t feed_handshake(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_up *u = redis_up(c);
    if (n > 65536) return FEED_CLOSE; /* no such reply is that long */
    struct resp_scan scan = {0};
    ptrdiff_t k = resp_scan(&scan, p, n, &resp_limits_default);
    if (k < 0) return FEED_CLOSE;
    if (!scan.done) return 0;
    enum redis_step next = u->step + 1;
    if (u->step == STEP_ID) { /* a server too old to tell, or a user who may not ask, is no reason to give up */
        int64_t id;
        if (scan.type == ':' && resp_int(slice_of(p + 1, (size_t)k - 3), &id) && id > 0) u->server_id = (uint64_t)id;
    } else if (scan.type == '-') {
        bool old =
            u->step == STEP_HELLO && (begins(p, (size_t)k, "-NOPROTO") || begins(p, (size_t)k, "-ERR unknown command"));
        if (!old) return refused(c, p, (size_t)k);
        u->resp2 = true; /* its replies will be translated */
    } else if (u->step == STEP_HELLO) {
        next = STEP_SELECT; /* HELLO has authenticated */
    }
    int ready = handshake(c, next);
    if (ready < 0) return FEED_CLOSE;
    if (ready) conn_ready(c);
    return k;
}

/* ---- translation: a RESP3 client behind a RESP2 server ---- */

static void shape_reply(struct stream *s, const uint8_t *p, size_t n, bool end) {
    struct conn *d = s->down;
    if (!d) {
        if (end) stream_abandon(s);
        return;
    }
    if (n && queue_append(&s->core->chunks, &s->reply, p, n) < 0) conn_doom(d, FAIL_INTERNAL);
    if (s->reply.bytes > d->listener->client_buffer) conn_doom(d, FAIL_SLOW_CLIENT);
    if (!end) return;
    struct resp_out out = {0};
    size_t size = s->reply.bytes;
    const uint8_t *whole = queue_pullup(&s->core->chunks, &s->reply, size);
    struct redis_down *client = redis_down(d);
    bool exec = s->tag == TAG_EXEC;
    uint32_t queued =
        exec && client->multi_shapes ? (uint32_t)min_size(client->multi_commands, client->multi_shape_room) : 0;
    if (exec) client->multi_commands = 0;
    int r = !whole ? -1
            : exec ? redis_shape_up_each(client->multi_shapes, queued, slice_of(whole, size), &out)
                   : redis_shape_up((uint16_t)s->part, slice_of(whole, size), &out);
    if (r == 0) {
        queue_clear(&s->core->chunks, &s->reply);
        s->ops = NULL;
        stream_reply(s, out.p, out.n);
    } else {
        stream_release_reply(s);
    }
    resp_out_free(&out);
}

const struct stream_ops redis_shape_ops = {.reply = shape_reply};

/* ---- replies ---- */

static enum stream_status status_of(const uint8_t *p, size_t n) {
    if (likely(*p != '-' && *p != '!')) return STATUS_OK;
    static const char *const server[] = {"-LOADING", "-MASTERDOWN", "-CLUSTERDOWN", "-BUSY",      "-OOM",
                                         "-MISCONF", "-READONLY",   "-TRYAGAIN",    "-NOREPLICAS"};
    for (size_t i = 0; i < countof(server); i++)
        if (begins(p, n, server[i])) return STATUS_SERVER_ERROR;
    return STATUS_CLIENT_ERROR;
}

static void reply_bytes(struct conn *up, struct stream *s, const uint8_t *p, size_t n, bool first, bool done) {
    struct redis_up *u = redis_up(up);
    if (first) {
        s->status = (uint8_t)status_of(p, n);
        if (unlikely(u->resp2) && !s->ops && s->down && !(done && redis_shape_up_passes((uint16_t)s->part, p, n)))
            s->ops = &redis_shape_ops;
    }
    if (unlikely(s->ops != NULL && s->ops->reply)) s->ops->reply(s, p, n, done);
    else stream_reply(s, p, n);
}

/* Bytes of a reply on a borrowed connection. What it means for the connection's state is in its first bytes. */
static void pinned_reply(struct conn *up, struct stream *s, const uint8_t *p, size_t n, bool first, bool done) {
    enum redis_tag tag = s->tag;
    uint8_t type = redis_up(up)->scan.type;
    bool null = first && done && n >= 3 && (*p == '_' || (n >= 4 && p[1] == '-' && (*p == '*' || *p == '$')));
    reply_bytes(up, s, p, n, first, done);
    if (!done) return;
    stream_end(s);
    redis_pin_reply(up, tag, type, null);
}

/* May this frame be something nobody asked for: a push, a message, a line of MONITOR? */
static bool maybe_push(const struct redis_up *u, uint8_t first_byte) {
    if (first_byte == '>') return true;
    if (u->monitor) return first_byte == '+';
    return first_byte == '*' && (u->channels || u->patterns || u->shard_channels || u->pending_confirmations);
}

static bool expects_confirmation(const struct conn *up) {
    return up->head && up->head->tag >= TAG_SUBSCRIBE && up->head->tag <= TAG_SUNSUBSCRIBE;
}

ssize_t redis_up_feed(struct conn *c, const uint8_t *p, size_t n) {
    struct redis_up *u = redis_up(c);
    size_t taken = 0;
    if (unlikely(c->state == CONN_HANDSHAKE)) return feed_handshake(c, p, n);
    if (unlikely(u->raw)) {
        if (c->owner) conn_send(c->owner, p, n);
        return (ssize_t)n;
    }
    while (taken < n) {
        const uint8_t *q = p + taken;
        bool first = !u->scan.open;
        if (unlikely(first && (*q == '>' || (c->exclusive && (maybe_push(u, *q) || expects_confirmation(c))))))
            u->collecting = true;
        ptrdiff_t k = resp_scan(&u->scan, q, n - taken, &resp_limits_default);
        if (unlikely(k < 0)) return FEED_CLOSE;
        if (unlikely(k == 0)) break;
        taken += (size_t)k;
        if (unlikely(u->collecting)) {
            if (redis_pubsub_frame(c, q, (size_t)k) < 0) return FEED_CLOSE;
        } else {
            struct stream *s = c->head;
            if (unlikely(!s)) return FEED_CLOSE; /* a reply nobody waits for: the order is lost */
            if (unlikely(c->exclusive)) {
                pinned_reply(c, s, q, (size_t)k, first, u->scan.done);
            } else {
                reply_bytes(c, s, q, (size_t)k, first, u->scan.done);
                if (likely(u->scan.done)) stream_end_one(s);
            }
        }
        if (unlikely(c->state == CONN_DEAD || c->paused || u->raw)) break;
        if (unlikely(c->exclusive) && c->streams == 0 && u->scan.done) redis_pin_settle(c);
    }
    return (ssize_t)taken;
}
