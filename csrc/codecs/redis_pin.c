/* What belongs to one client: transactions, blocking commands, subscriptions, large requests. Each borrows a connection that
 * is given back as soon as the replies have left nothing of the client's on it (redis_pin_settle), or is closed. */
#include "redis.h"

#include <stdlib.h>

/* ---- borrowing ---- */

static bool subscribes(enum redis_tag tag) { return tag >= TAG_SUBSCRIBE && tag <= TAG_SUNSUBSCRIBE; }

bool redis_pin_listens(const struct conn *up) {
    const struct redis_up *u = redis_up((struct conn *)up);
    return u->channels || u->patterns || u->shard_channels || (up->tail && subscribes(up->tail->tag));
}

/* A RESP2 connection with subscriptions takes no other commands, though a RESP3 client may give them: before a server that
 * speaks RESP2 only, such a client has one connection for its subscriptions and one for what else it borrows. As long as a
 * connection isn't open, it may turn out to speak RESP2. */
bool redis_pin_takes(const struct conn *down, const struct conn *up, bool subscription) {
    if (redis_down((struct conn *)down)->resp == 2 || redis_up((struct conn *)up)->resp == 3) return true;
    return redis_pin_listens(up) == subscription;
}

static struct conn *pin_for(struct conn *down, const struct endpoint *ep, bool subscription) {
    struct conn *found = NULL;
    for (struct conn *up = redis_down(down)->pins; up; up = redis_up(up)->next_pin)
        if (up->endpoint == ep && redis_pin_takes(down, up, subscription) && (!found || redis_pin_listens(up)))
            found = up; /* a RESP2 client that has both (it was a RESP3 client before) is a subscriber */
    return found;
}

struct conn *redis_pin_of(struct conn *down, const struct endpoint *ep) {
    return pin_for(down, ep, false);
}

bool redis_pin_in_turn(struct conn *down, const struct endpoint *ep, const struct conn *target) {
    bool listener = target && redis_up((struct conn *)target)->resp == 2 && redis_pin_listens(target);
    bool others = listener && down->streams > target->streams; /* on the shared connection */
    if (redis_down(down)->resp != 3) return true;
    for (struct conn *up = redis_down(down)->pins; up; up = redis_up(up)->next_pin)
        if (up->endpoint == ep && up != target) others |= up->state != CONN_OPEN || (up->streams && down->streams);
    if (others) conn_wait(down, down->streams ? 1 : 0, 0); /* without streams (CLIENT REPLY OFF): until it is open */
    return !others;
}

static void link_pin(struct conn *down, struct conn *up) {
    struct redis_down *d = redis_down(down);
    redis_up(up)->next_pin = d->pins;
    d->pins = up;
    d->special |= SPECIAL_PINNED;
}

static void unlink_pin(struct conn *down, struct conn *up) {
    struct redis_down *d = redis_down(down);
    struct conn **at = &d->pins;
    while (*at && *at != up) at = &redis_up(*at)->next_pin;
    if (*at) *at = redis_up(up)->next_pin;
    redis_up(up)->next_pin = NULL;
    if (d->transaction == up) d->transaction = NULL;
    if (d->body_up == up) d->body_up = NULL, d->body_stream = NULL;
    if (!d->pins) d->special &= ~(uint32_t)SPECIAL_PINNED;
}

static enum took fail_request(const struct redis_request *q, struct upstream *u, enum failure why) {
    struct stream *s = redis_stream(q, u, 0);
    if (!s) return CLOSE;
    stream_fail(s, why);
    return TOOK;
}

/* The client's connection to ep, borrowed if need be. NULL and *t set when there is none (yet). */
static struct conn *pin(const struct redis_request *q, struct upstream *u, struct endpoint *ep, bool subscription,
                        enum took *t) {
    struct conn *c = q->down, *up = pin_for(c, ep, subscription);
    enum failure why;
    *t = WAIT;
    if (!redis_pin_in_turn(c, ep, up)) return NULL;
    if (up) return up;
    if (c->streams) { /* what it asked before on the shared connection must be answered first, or the order is lost */
        conn_wait(c, 1, 0);
        return NULL;
    }
    up = pool_borrow(ep, redis_lane_of(redis_down(c)), c, &why);
    if (up) link_pin(c, up);
    else if (why != FAIL_NONE) *t = fail_request(q, u, why);
    return up;
}

static void send_cleanup(struct conn *up, struct slice command, enum redis_tag tag) {
    struct stream *s = stream_new(up->core, NULL);
    if (!s) {
        conn_doom(up, FAIL_INTERNAL);
        return;
    }
    s->tag = (uint8_t)tag;
    s->deadline_ms = up->core->now_ms + 1000;
    stream_send(s, up, command.p, command.n);
}

static enum took start_raw(struct conn *c, struct conn *up, const struct redis_request *q) {
    redis_down(c)->special |= SPECIAL_RAW;
    redis_up(up)->raw = redis_up(up)->sticky = true;
    conn_send(up, q->p, q->n);
    return TOOK;
}

enum took redis_pinned(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms, struct endpoint *ep,
                       enum redis_tag tag) {
    struct conn *c = q->down;
    struct redis_down *d = redis_down(c);
    enum took t = TOOK;
    if (!ep) return fail_request(q, u, FAIL_NO_ENDPOINT);
    struct conn *up = pin(q, u, ep, subscribes(tag), &t);
    if (!up) return t;
    if ((q->large || tag == TAG_RAW) && up->state != CONN_OPEN) { /* the rest must not overtake the head */
        conn_wait(c, 0, 0);
        return WAIT;
    }
    if (tag == TAG_RAW) return start_raw(c, up, q);
    /* WAIT is about what this connection wrote last; on a borrowed one that is nothing, until it has seen any command after
     * the client's writes (all answered by now, see pin()). */
    if (q->cmd && (slice_is(q->cmd->name, "WAIT") || slice_is(q->cmd->name, "WAITAOF")))
        send_cleanup(up, SLICE("*1\r\n$4\r\nPING\r\n"), TAG_NONE);
    struct stream *s = redis_stream(q, u, q->large ? 0 : timeout_ms);
    if (!s) return CLOSE;
    s->tag = (uint8_t)tag;
    if (subscribes(tag)) s->part = q->r->argc - 1;
    u->stat[UPSTREAM_requests_total]++;
    ep->stat[ENDPOINT_requests_total]++;
    struct slice bytes = redis_redirect(q, ep, &d->core->text);
    enum failure why = stream_send(s, up, bytes.p, bytes.n);
    if (why != FAIL_NONE) stream_fail(s, why);
    else if (q->large) d->body_up = up, d->body_stream = s, d->body_timeout_ms = timeout_ms;
    return TOOK;
}

/* ---- state after a reply ---- */

void redis_pin_reply(struct conn *up, enum redis_tag tag, uint8_t type, bool null) {
    struct redis_up *u = redis_up(up);
    struct redis_down *d = up->owner ? redis_down(up->owner) : NULL;
    switch (tag) {
    case TAG_MULTI: u->multi |= type == '+'; break;
    case TAG_EXEC:
    case TAG_DISCARD:
        u->multi = u->watch = false;
        if (d && d->multi_subscribe && tag == TAG_EXEC && type == '*' && !null)
            u->channels++; /* the next confirmation tells the number */
        if (d) d->multi_subscribe = false;
        if (!d || d->multi_db == UINT32_MAX) break;
        if (tag == TAG_EXEC && type != '-' && !null) { /* a SELECT was among the commands */
            if (!up->retired && d->multi_db != d->db) up->retired = true;
            d->db = d->multi_db;
        }
        d->multi_db = UINT32_MAX;
        break;
    case TAG_WATCH: u->watch |= type == '+'; break;
    case TAG_UNWATCH: u->watch &= type != '+'; break;
    case TAG_MONITOR: u->monitor |= type == '+'; break;
    case TAG_STICKY: u->sticky = true; break;
    default: break;
    }
}

static bool holds(const struct redis_up *u) {
    return u->multi || u->watch || u->sticky || u->monitor || u->raw || u->collecting || u->channels || u->patterns ||
           u->shard_channels;
}

void redis_pin_settle(struct conn *up) {
    struct conn *down = up->owner;
    if (up->streams || up->state != CONN_OPEN || holds(redis_up(up))) return;
    if (down) {
        if (redis_down(down)->body_up == up) return;
        unlink_pin(down, up);
    }
    pool_give_back(up);
}

/* The client is gone, or starts anew: what it left behind is undone, or the connection is not used again. */
static void unpin(struct conn *down, struct conn *up) {
    struct redis_up *u = redis_up(up);
    unlink_pin(down, up);
    up->owner = NULL;
    if (up->state != CONN_OPEN || up->streams || u->sticky || u->monitor || u->raw || u->collecting || u->channels ||
        u->patterns || u->shard_channels)
        conn_doom(up, FAIL_CLIENT_GONE);
    else if (u->multi) send_cleanup(up, SLICE("*1\r\n$7\r\nDISCARD\r\n"), TAG_DISCARD);
    else if (u->watch) send_cleanup(up, SLICE("*1\r\n$7\r\nUNWATCH\r\n"), TAG_UNWATCH);
    else pool_give_back(up);
}

void redis_unpin_all(struct conn *down) {
    while (redis_down(down)->pins) unpin(down, redis_down(down)->pins);
}

/* With the connection goes what the server knew of this client. If there was nothing, it may go on; else it must start anew. */
void redis_pin_lost(struct conn *down, struct conn *up) {
    struct redis_down *d = redis_down(down);
    bool mattered = holds(redis_up(up)) || d->transaction == up || (d->body && d->body_up == up);
    unlink_pin(down, up);
    if (mattered) conn_finish(down);
    else conn_wake(down);
}

/* ---- which commands ---- */

bool redis_is_blocking(const struct redis_request *q) {
    if (!q->cmd || q->cmd->class != REDIS_CLASS_BLOCKING) return false;
    if (slice_is(q->cmd->name, "XREAD") || slice_is(q->cmd->name, "XREADGROUP"))
        return redis_has_word(q->r, q->p, 1, SLICE("BLOCK"));
    return true;
}

enum redis_tag redis_tag_of(const struct redis_request *q) {
    static const struct {
        const char *name;
        enum redis_tag tag;
    } tags[] = {{"SUBSCRIBE", TAG_SUBSCRIBE},
                {"PSUBSCRIBE", TAG_SUBSCRIBE},
                {"SSUBSCRIBE", TAG_SUBSCRIBE},
                {"UNSUBSCRIBE", TAG_UNSUBSCRIBE},
                {"PUNSUBSCRIBE", TAG_PUNSUBSCRIBE},
                {"SUNSUBSCRIBE", TAG_SUNSUBSCRIBE},
                {"MONITOR", TAG_MONITOR},
                {"SYNC", TAG_RAW},
                {"PSYNC", TAG_RAW}};
    if (!q->cmd || (q->cmd->class != REDIS_CLASS_SUBSCRIBE && q->cmd->class != REDIS_CLASS_STICKY)) return TAG_NONE;
    for (size_t i = 0; i < countof(tags); i++)
        if (!q->cmd->parent && slice_is(q->cmd->name, tags[i].name))
            return redis_arity_fits(q->cmd, q->r->argc) ? tags[i].tag : TAG_NONE;
    return q->cmd->class == REDIS_CLASS_STICKY ? TAG_STICKY : TAG_NONE;
}

/* ---- transactions ---- */

static enum took crossslot(struct conn *c) {
    redis_reply_text(c, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    return TOOK;
}

static struct endpoint *endpoint_of_key(const struct redis_request *q, struct upstream *u) {
    struct slice key = {NULL, 0};
    if (q->cmd) redis_first_key(q->cmd, q->r, q->p, &key);
    return upstream_pick(u, redis_hash(u, q, key), NULL);
}

static bool has_key(const struct redis_request *q) {
    struct slice key;
    return q->cmd && redis_first_key(q->cmd, q->r, q->p, &key);
}

bool redis_keys_on(const struct redis_request *q, struct upstream *u, const struct endpoint *ep) {
    struct redis_keys it;
    struct slice key;
    if (!q->cmd || !redis_sharded(u)) return true;
    redis_keys_begin(&it, q->cmd, q->r, q->p);
    while (redis_keys_next(&it, &key))
        if (upstream_pick(u, redis_hash(u, q, key), NULL) != ep) return false;
    return true;
}

static enum took multi(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    struct redis_down *d = redis_down(q->down);
    if (!(d->special & SPECIAL_MULTI)) d->multi_commands = 0;
    if (redis_sharded(u) && !d->transaction) { /* which shard, the first key will tell */
        if (d->special & SPECIAL_LAZY) {
            redis_reply_text(q->down, "-ERR MULTI calls can not be nested\r\n");
            return TOOK;
        }
        d->special |= SPECIAL_MULTI | SPECIAL_LAZY;
        redis_reply_text(q->down, "+OK\r\n");
        return TOOK;
    }
    struct endpoint *ep = d->transaction ? d->transaction->endpoint : endpoint_of_key(q, u);
    enum took t = redis_pinned(q, u, timeout_ms, ep, TAG_MULTI);
    if (t == TOOK && d->pins) d->special |= SPECIAL_MULTI, d->transaction = redis_pin_of(q->down, ep);
    return t;
}

static enum took watch(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    struct redis_down *d = redis_down(q->down);
    struct endpoint *ep = endpoint_of_key(q, u);
    if (d->special & SPECIAL_LAZY) {
        redis_reply_text(q->down, "-ERR WATCH inside MULTI is not allowed\r\n");
        return TOOK;
    }
    if (!redis_keys_on(q, u, ep) || (redis_sharded(u) && d->transaction && d->transaction->endpoint != ep))
        return crossslot(q->down);
    enum took t = redis_pinned(q, u, timeout_ms, d->transaction ? d->transaction->endpoint : ep, TAG_WATCH);
    if (t == TOOK && ep) d->transaction = redis_pin_of(q->down, ep);
    return t;
}

void redis_poison(struct conn *down) {
    struct redis_down *d = redis_down(down);
    if (d->special & SPECIAL_LAZY) d->special |= SPECIAL_POISONED;
    if (d->special & SPECIAL_MULTI && d->transaction)
        send_cleanup(d->transaction, SLICE("*1\r\n$14\r\nMOSNPY.REFUSED\r\n"), TAG_NONE);
}

/* ---- a transaction whose shard is not known yet ---- */

#define LAZY_MAX (1u << 20) /* bytes queued by the proxy before it settles for the home shard */

/* The first key names the shard: MULTI goes there, then what was queued without keys. PASS: go on. */
static enum took settle_shard(const struct redis_request *q, struct upstream *u, struct endpoint *ep) {
    struct redis_down *d = redis_down(q->down);
    enum took t = TOOK;
    if (!ep) return fail_request(q, u, FAIL_NO_ENDPOINT);
    struct conn *up = pin(q, u, ep, false, &t);
    if (!up) return t;
    send_cleanup(up, SLICE("*1\r\n$5\r\nMULTI\r\n"), TAG_MULTI);
    struct resp_request r = {0};
    struct resp_limits any = resp_limits_default;
    any.stream_above = UINT32_MAX;
    for (size_t at = 0; at < d->lazy.n; resp_request_reset(&r)) {
        ptrdiff_t n = resp_request_parse(&r, d->lazy.p + at, d->lazy.n - at, &any);
        if (n <= 0) break;
        send_cleanup(up, slice_of(d->lazy.p + at, (size_t)n), TAG_NONE);
        at += (size_t)n;
    }
    resp_out_free(&d->lazy);
    d->transaction = up;
    bool poisoned = d->special & SPECIAL_POISONED;
    d->special &= ~(uint32_t)(SPECIAL_LAZY | SPECIAL_POISONED);
    if (poisoned) redis_poison(q->down);
    return PASS;
}

static void wrong_arity(const struct redis_request *q) {
    char name[64];
    size_t n = min_size(q->cmd->full_name.n, sizeof name);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = q->cmd->full_name.p[i];
        name[i] = c == ' ' ? '|' : c >= 'A' && c <= 'Z' ? (char)(c + 32) : (char)c;
    }
    redis_poison(q->down);
    redis_reply_text(q->down, "-ERR wrong number of arguments for '%.*s' command\r\n", (int)n, name);
}

/* A command without keys waits here for one with. False: it can't, the home shard must do. */
static bool queue_lazily(const struct redis_request *q, const struct redis_down *d) {
    if (!q->cmd || q->cmd->class == REDIS_CLASS_SUBSCRIBE || q->cmd->class == REDIS_CLASS_TRANSACTION ||
        q->cmd->flags & REDIS_NOMULTI)
        return false;
    return d->lazy.n + q->n <= LAZY_MAX && !q->large;
}

/* For EXEC, should the server turn out to speak RESP2 only. */
static void note_shape(struct redis_down *d, uint16_t shape) {
    if (d->multi_commands >= d->multi_shape_room) {
        uint32_t room = d->multi_shape_room ? d->multi_shape_room * 2 : 32;
        uint16_t *shapes = realloc(d->multi_shapes, room * sizeof *shapes);
        if (!shapes) return;
        d->multi_shapes = shapes, d->multi_shape_room = room;
    }
    d->multi_shapes[d->multi_commands] = shape;
}

/* What the transaction will have changed when it is executed. */
static void note_queued(const struct redis_request *q, struct redis_down *d) {
    int64_t db;
    if (q->cmd && slice_is(q->cmd->full_name, "SELECT") && q->r->argc == 2 && resp_int(redis_arg(q, 1), &db) &&
        db >= 0 && db <= REDIS_DB_MAX)
        d->multi_db = (uint32_t)db;
    if (q->cmd && q->cmd->class == REDIS_CLASS_SUBSCRIBE) d->multi_subscribe = true;
    if (d->resp == 3) note_shape(d, redis_command_shape(q->cmd, q->r, q->p));
    d->multi_commands++;
}

static enum took queued(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    struct redis_down *d = redis_down(q->down);
    if (d->special & SPECIAL_LAZY && q->cmd && !redis_arity_fits(q->cmd, q->r->argc)) {
        wrong_arity(q);
        return TOOK;
    }
    if (d->special & SPECIAL_LAZY && !has_key(q) && queue_lazily(q, d)) {
        note_queued(q, d);
        resp_out_raw(&d->lazy, q->p, q->n);
        redis_reply(q->down, "+QUEUED\r\n", 9);
        return TOOK;
    }
    if (d->special & SPECIAL_LAZY) {
        enum took t = settle_shard(q, u, endpoint_of_key(q, u));
        if (t != PASS) return t;
    }
    struct endpoint *ep = d->transaction ? d->transaction->endpoint : endpoint_of_key(q, u);
    if (has_key(q) && !redis_keys_on(q, u, ep)) {
        redis_poison(q->down);
        return crossslot(q->down);
    }
    note_queued(q, d);
    return redis_pinned(q, u, timeout_ms, ep, TAG_NONE);
}

static enum took finish_transaction(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms,
                                    enum redis_tag tag) {
    struct redis_down *d = redis_down(q->down);
    if (d->special & SPECIAL_LAZY && d->lazy.n && tag == TAG_EXEC && !(d->special & SPECIAL_POISONED)) {
        enum took t = settle_shard(q, u, endpoint_of_key(q, u));
        if (t != PASS) return t;
    }
    if (d->special & SPECIAL_LAZY) {
        resp_out_free(&d->lazy);
        d->multi_db = UINT32_MAX;
        bool poisoned = tag == TAG_EXEC && d->special & SPECIAL_POISONED;
        d->special &= ~(uint32_t)(SPECIAL_MULTI | SPECIAL_LAZY | SPECIAL_POISONED);
        redis_reply_text(q->down, poisoned          ? "-EXECABORT Transaction discarded because of previous errors.\r\n"
                                  : tag == TAG_EXEC ? "*0\r\n"
                                                    : "+OK\r\n");
        return TOOK;
    }
    struct endpoint *ep = d->transaction ? d->transaction->endpoint : NULL;
    enum took t = redis_pinned(q, u, timeout_ms, ep ? ep : endpoint_of_key(q, u), tag);
    if (t != TOOK) return t;
    d->special &= ~(uint32_t)SPECIAL_MULTI;
    /* the shapes of the queued commands are needed until EXEC's reply is there */
    struct conn *up = d->transaction;
    bool shaped =
        tag == TAG_EXEC && d->resp == 3 && up && (up->state != CONN_OPEN || redis_up(up)->resp2) && q->down->streams;
    d->transaction = NULL; /* the next may be of another shard; this connection's state follows with the replies */
    if (shaped) conn_wait(q->down, 1, 0);
    else d->multi_commands = 0;
    return t;
}

enum took redis_transaction(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    struct redis_down *d = redis_down(q->down);
    bool fits = q->cmd && !q->cmd->parent && redis_arity_fits(q->cmd, q->r->argc);
    if (fits && slice_is(q->cmd->name, "MULTI")) return multi(q, u, timeout_ms);
    if (fits && slice_is(q->cmd->name, "EXEC")) return finish_transaction(q, u, timeout_ms, TAG_EXEC);
    if (fits && slice_is(q->cmd->name, "DISCARD")) return finish_transaction(q, u, timeout_ms, TAG_DISCARD);
    if (fits && slice_is(q->cmd->name, "WATCH") && !(d->special & SPECIAL_MULTI && d->transaction))
        return watch(q, u, timeout_ms);
    if (fits && slice_is(q->cmd->name, "UNWATCH") && !(d->special & SPECIAL_MULTI))
        return redis_pinned(q, u, timeout_ms, d->transaction ? d->transaction->endpoint : endpoint_of_key(q, u),
                            TAG_UNWATCH);
    return queued(q, u, timeout_ms);
}
