/* The commands whose answer is the proxy's: PING, ECHO, QUIT, RESET; and those that change which lane a client uses: HELLO,
 * AUTH, SELECT (redis_change.c). */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>

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
    struct redis_change *ch = redis_change_new(c);
    if (!ch) return CLOSE;
    redis_identity_put(c->core, ch->identity);
    ch->identity = redis_identity_get(c->core, user, password);
    return redis_change_ask(q, ch);
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
    struct redis_change *ch = redis_change_new(c);
    if (!ch) return CLOSE;
    ch->resp = (uint8_t)version, ch->hello = true;
    if (name.p) ch->name = strndup((const char *)name.p, name.n);
    if (!own_users && user.p) {
        redis_identity_put(c->core, ch->identity);
        ch->identity = redis_identity_get(c->core, user, password);
    }
    return redis_change_ask(q, ch);
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
    struct redis_change *ch = redis_change_new(c);
    if (!ch) return CLOSE;
    ch->db = (uint32_t)db;
    return redis_change_ask(q, ch);
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
    if (!monitor && (!settled(c) || !redis_flushed(c))) return WAIT;
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
