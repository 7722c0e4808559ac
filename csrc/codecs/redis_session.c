/* The commands whose answer is the proxy's: PING, ECHO, QUIT, RESET; and those that change which lane a client uses: HELLO,
 * AUTH, SELECT. The latter are asked of a server all the same, on a connection of the lane they would lead to, so that the
 * reply is the server's own and a wrong password or a database that isn't there is refused by who knows. */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- asking a server ---- */

struct change { /* what the client will be when the server agrees; owned by the stream's data */
    uint8_t resp;
    uint32_t db;
    struct redis_identity *identity; /* a reference */
    char *name;                      /* HELLO … SETNAME; NULL: unchanged */
};

static void change_free(struct core *core, struct change *ch) {
    redis_identity_put(core, ch->identity);
    free(ch->name);
    free(ch);
}

static void apply(struct conn *c, struct change *ch) {
    struct redis_down *d = redis_down(c);
    struct redis_identity *old = d->identity;
    d->resp = ch->resp, d->db = ch->db;
    for (struct conn *up = d->pins; up;
         up = redis_up(up)->next_pin) { /* asked as well: they have left their lane with us */
        up->retired = true;
        redis_up(up)->resp = ch->resp;
    }
    d->identity = ch->identity, ch->identity = old;
    if (d->identity && d->identity != old) d->user = d->identity->user;
    if (ch->name) {
        free(d->name);
        d->name = ch->name, ch->name = NULL;
    }
}

/* HELLO's reply names the connection; the client's is the one to the proxy. */
static void rewrite_id(struct slice reply, uint64_t id, struct resp_out *out) {
    struct resp_value head, key;
    struct slice in = reply, value;
    if (!resp_read(&in, &head) || (head.type != '%' && head.type != '*')) {
        resp_out_raw(out, reply.p, reply.n);
        return;
    }
    resp_out_raw(out, head.raw.p, head.raw.n);
    while (in.n && resp_read(&in, &key)) {
        resp_out_raw(out, key.raw.p, key.raw.n);
        if (!resp_take(&in, &value)) break;
        if (slice_is(key.text, "ID")) resp_out_int(out, (int64_t)id);
        else resp_out_raw(out, value.p, value.n);
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

static void finish_change(struct stream *s, struct slice reply, bool hello) {
    struct conn *c = s->down;
    struct change *ch = s->data;
    struct resp_out out = {0};
    s->ops = NULL, s->data = NULL;
    if (hello) forget_unwelcome(s, reply);
    if (c) {
        int version = ch->resp;
        bool old = hello && (old_server(reply) || (s->up && redis_up(s->up)->resp2 && *reply.p == '+'));
        if (old || *reply.p != '-') apply(c, ch);
        if (old) own_hello(c, version, &out);
        else if (hello) rewrite_id(reply, c->id, &out);
        else resp_out_raw(&out, reply.p, reply.n);
        stream_reply(s, out.p, out.n);
        resp_out_free(&out);
    }
    change_free(s->core, ch);
}

static void change_reply(struct stream *s, const uint8_t *p, size_t n, bool end, bool hello) {
    struct core *core = s->core;
    if (n && queue_append(&core->chunks, &s->reply, p, n) < 0) return;
    if (!end) return;
    size_t size = s->reply.bytes;
    struct slice reply = slice_of(queue_pullup(&core->chunks, &s->reply, size), size);
    struct queue held = s->reply; /* the reply is written while its bytes are read */
    queue_init(&s->reply);
    if (reply.p) finish_change(s, reply, hello);
    queue_clear(&core->chunks, &held);
}

static void hello_reply(struct stream *s, const uint8_t *p, size_t n, bool end) { change_reply(s, p, n, end, true); }
static void plain_reply(struct stream *s, const uint8_t *p, size_t n, bool end) { change_reply(s, p, n, end, false); }

static void change_fail(struct stream *s, enum failure why) {
    struct change *ch = s->data;
    s->ops = NULL, s->data = NULL;
    change_free(s->core, ch);
    if (s->down) s->down->codec->reply_failure(s, why, (struct slice){NULL, 0});
    stream_finish_down(s);
}

static const struct stream_ops hello_ops = {.reply = hello_reply, .fail = change_fail};
static const struct stream_ops change_ops = {.reply = plain_reply, .fail = change_fail};

/* A connection that is there already hears the request itself; a server older than HELLO the AUTH that is in it. */
static struct slice request_for_pins(const struct redis_request *q, const struct change *ch, bool hello) {
    struct slice whole = slice_of(q->p, q->n);
    struct redis_core *rc = redis_core_of(q->down->core);
    if (!hello || !redis_up(redis_down(q->down)->pins)->resp2 || !ch->identity ||
        ch->identity == redis_down(q->down)->identity)
        return whole;
    struct resp_out *out = &rc->text;
    resp_out_clear(out);
    resp_out_array(out, 3);
    resp_out_bulk(out, SLICE("AUTH"));
    resp_out_bulk(out, ch->identity->user);
    resp_out_bulk(out, ch->identity->password);
    return slice_of(out->p, out->n);
}

/* A client that has borrowed connections changes those: its transaction or subscription goes on with the new state. */
static void ask_pins(const struct redis_request *q, struct slice request, struct stream *s) {
    struct conn *up = redis_down(q->down)->pins;
    for (struct conn *other = redis_up(up)->next_pin; other; other = redis_up(other)->next_pin) {
        struct stream *copy = stream_new(q->down->core, NULL);
        if (copy) stream_send(copy, other, request.p, request.n);
    }
    s->replayable = false;
    enum failure why = stream_send(s, up, request.p, request.n);
    if (why != FAIL_NONE) stream_fail(s, why);
}

/* Sends `request` on a shared connection of the lane that `ch` describes. Later requests wait for the outcome. */
static enum took ask(const struct redis_request *q, struct slice request, struct change *ch,
                     const struct stream_ops *ops) {
    struct conn *c = q->down;
    uint32_t timeout_ms;
    struct upstream *u = redis_home_upstream(q, &timeout_ms);
    struct stream *s = u ? redis_stream(q, u, timeout_ms) : NULL;
    if (!s) {
        change_free(c->core, ch);
        if (!u) redis_reply_text(c, "-ERR mosnpy: %s\r\n", failure_text(FAIL_NO_ROUTE));
        return u ? CLOSE : TOOK;
    }
    s->lane_key = redis_lane(ch->resp, ch->db, ch->identity);
    s->hash = redis_hash(u, q, (struct slice){NULL, 0});
    s->ops = ops, s->data = ch, s->replayable = true;
    if (redis_down(c)->pins) {
        ask_pins(q, request_for_pins(q, ch, slice_is(q->cmd->name, "HELLO")), s);
        if (c->streams) conn_wait(c, 1, 0);
        return TOOK;
    }
    enum failure why = stream_dispatch(s, request.p, request.n);
    if (why != FAIL_NONE) stream_fail(s, why);
    else conn_wait(c, 1, 0);
    return TOOK;
}

static struct change *change_of(struct conn *c) {
    struct redis_down *d = redis_down(c);
    struct change *ch = calloc(1, sizeof *ch);
    if (!ch) return NULL;
    ch->resp = d->resp, ch->db = d->db, ch->identity = d->identity;
    if (ch->identity) ch->identity->refs++;
    return ch;
}

/* Every earlier request must be answered, and nothing borrowed may depend on what is to change. */
static bool settled(struct conn *c) {
    if (c->streams == 0) return true;
    conn_wait(c, 1, 0);
    return false;
}

/* ---- users of the listener ---- */

static bool same_secret(struct slice a, struct slice b) { /* time depends on the length of what the client sent only */
    uint8_t differ = a.n != b.n;
    for (size_t i = 0; i < a.n; i++) differ |= a.p[i] ^ (b.n ? b.p[i % b.n] : 1);
    return !differ;
}

static bool login(struct conn *c, struct slice user, struct slice password) {
    const struct redis_listener *l = redis_options(c);
    struct redis_down *d = redis_down(c);
    if (!user.n) user = SLICE("default");
    for (uint32_t i = 0; i < l->user_count; i++) {
        struct slice name = l->users[i].name.n ? l->users[i].name : SLICE("default");
        if (!slice_eq(name, user) || !same_secret(password, l->users[i].password)) continue;
        struct redis_identity *login = redis_identity_get(c->core, user, (struct slice){(const uint8_t *)"", 0});
        redis_identity_put(c->core, d->login);
        if ((d->login = login)) d->user = login->user;
        d->special &= ~(uint32_t)SPECIAL_GUEST;
        return true;
    }
    return false;
}

#define WRONGPASS "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

static enum took auth(const struct redis_request *q) {
    struct conn *c = q->down;
    struct slice user = {NULL, 0}, password = redis_arg(q, q->r->argc - 1);
    if (q->r->argc > 3) {
        redis_reply_text(c, "-ERR syntax error\r\n");
        return TOOK;
    }
    if (q->r->argc == 3) user = redis_arg(q, 1);
    if (redis_options(c)->user_count) {
        redis_reply_text(c, login(c, user, password) ? "+OK\r\n" : WRONGPASS);
        return TOOK;
    }
    if (!settled(c)) return WAIT;
    struct change *ch = change_of(c);
    if (!ch) return CLOSE;
    redis_identity_put(c->core, ch->identity);
    ch->identity = redis_identity_get(c->core, user, password);
    return ask(q, slice_of(q->p, q->n), ch, &change_ops);
}

/* ---- HELLO ---- */

static bool valid_name(struct slice name) {
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < '!' || name.p[i] > '~') return false;
    return name.n <= REDIS_NAME_MAX;
}

/* Reads the options; false when they are wrong (and answered). */
static bool hello_options(const struct redis_request *q, struct slice *user, struct slice *password,
                          struct slice *name) {
    struct conn *c = q->down;
    for (uint32_t i = 2; i < q->r->argc; i++) {
        struct slice word = redis_arg(q, i);
        uint32_t left = q->r->argc - 1 - i;
        if (slice_is(word, "AUTH") && left >= 2) {
            *user = redis_arg(q, i + 1), *password = redis_arg(q, i + 2);
            i += 2;
        } else if (slice_is(word, "SETNAME") && left >= 1) {
            *name = redis_arg(q, ++i);
            if (valid_name(*name)) continue;
            redis_reply_text(c, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
            return false;
        } else {
            redis_reply_text(c, "-ERR Syntax error in HELLO option '%.*s'\r\n", (int)min_size(word.n, 128),
                             (const char *)word.p);
            return false;
        }
    }
    return true;
}

static enum took hello(const struct redis_request *q) {
    struct conn *c = q->down;
    struct redis_down *d = redis_down(c);
    struct slice user = {NULL, 0}, password = {NULL, 0}, name = {NULL, 0};
    int64_t version = d->resp;
    if (q->r->argc > 1 && !resp_int(redis_arg(q, 1), &version)) {
        redis_reply_text(c, "-ERR Protocol version is not an integer or out of range\r\n");
        return TOOK;
    }
    if (version != 2 && version != 3) {
        redis_reply_text(c, "-NOPROTO unsupported protocol version\r\n");
        return TOOK;
    }
    if (!settled(c)) return WAIT;
    if (!hello_options(q, &user, &password, &name)) return TOOK;
    bool own_users = redis_options(c)->user_count != 0;
    if (own_users && user.p && !login(c, user, password)) {
        redis_reply_text(c, WRONGPASS);
        return TOOK;
    }
    if (d->special & SPECIAL_GUEST) {
        redis_reply_text(c, "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
                            "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
                            "RESP protocol version at the same time\r\n");
        return TOOK;
    }
    struct change *ch = change_of(c);
    if (!ch) return CLOSE;
    ch->resp = (uint8_t)version;
    if (name.p) ch->name = strndup((const char *)name.p, name.n);
    if (!own_users && user.p) {
        redis_identity_put(c->core, ch->identity);
        ch->identity = redis_identity_get(c->core, user, password);
    }
    return ask(q, version == 3 ? SLICE("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n") : SLICE("*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"),
               ch, &hello_ops);
}

/* ---- the others ---- */

static enum took select_db(const struct redis_request *q) {
    struct conn *c = q->down;
    int64_t db;
    if (!settled(c)) return WAIT;
    if (!resp_int(redis_arg(q, 1), &db)) {
        redis_reply_text(c, "-ERR value is not an integer or out of range\r\n");
        return TOOK;
    }
    if (db < 0 || db > REDIS_DB_MAX) {
        redis_reply_text(c, "-ERR DB index is out of range\r\n");
        return TOOK;
    }
    struct change *ch = change_of(c);
    if (!ch) return CLOSE;
    ch->db = (uint32_t)db;
    return ask(q, slice_of(q->p, q->n), ch, &change_ops);
}

static enum took ping(const struct redis_request *q) {
    struct conn *c = q->down;
    if (q->r->argc == 1) {
        redis_reply(c, "+PONG\r\n", 7);
        return TOOK;
    }
    if (q->r->argc > 2) {
        redis_reply_text(c, "-ERR wrong number of arguments for 'ping' command\r\n");
        return TOOK;
    }
    struct resp_out *out = &redis_core_of(c->core)->text;
    resp_out_clear(out);
    resp_out_bulk(out, redis_arg(q, 1));
    redis_reply(c, out->p, out->n);
    return TOOK;
}

static enum took echo(const struct redis_request *q) {
    struct resp_out *out = &redis_core_of(q->down->core)->text;
    resp_out_clear(out);
    resp_out_bulk(out, redis_arg(q, 1));
    redis_reply(q->down, out->p, out->n);
    return TOOK;
}

static enum took quit(const struct redis_request *q) {
    redis_reply(q->down, "+OK\r\n", 5);
    conn_finish(q->down);
    return TOOK;
}

static enum took reset(const struct redis_request *q) {
    struct conn *c = q->down;
    struct redis_down *d = redis_down(c);
    bool monitor = false;
    for (struct conn *up = d->pins; up; up = redis_up(up)->next_pin) monitor |= redis_up(up)->monitor;
    if (!monitor && !settled(c)) return WAIT;
    redis_unpin_all(c);
    redis_identity_put(c->core, d->identity);
    redis_identity_put(c->core, d->login);
    resp_out_free(&d->lazy);
    free(d->name);
    d->identity = d->login = NULL, d->name = NULL, d->user = (struct slice){NULL, 0};
    d->resp = 2, d->db = 0, d->multi_db = UINT32_MAX;
    d->special = redis_options(c)->user_count ? SPECIAL_GUEST : 0;
    redis_reply(c, "+RESET\r\n", 8);
    return TOOK;
}

enum took redis_local(const struct redis_request *q) {
    static const struct {
        const char *name;
        enum took (*run)(const struct redis_request *q);
    } table[] = {{"PING", ping}, {"ECHO", echo}, {"SELECT", select_db}, {"HELLO", hello},
                 {"AUTH", auth}, {"QUIT", quit}, {"RESET", reset}};
    if (q->cmd->parent) return slice_is(q->cmd->parent->name, "CLIENT") ? redis_client_command(q) : PASS;
    for (size_t i = 0; i < countof(table); i++) {
        if (!slice_is(q->cmd->name, table[i].name)) continue;
        enum took t = table[i].run(q);
        if (t == TOOK) q->down->listener->stat[LISTENER_local_replies]++;
        return t;
    }
    return PASS;
}
