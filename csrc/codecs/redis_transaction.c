/* WATCH, MULTI … EXEC: on a connection of the client's own. Over shards the first key says which; until it comes, what was queued
 * waits here. */
#include "redis.h"

#include <stdlib.h>

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
        redis_send_cleanup(d->transaction, SLICE("*1\r\n$14\r\nMOSNPY.REFUSED\r\n"), TAG_NONE);
}

/* ---- a transaction whose shard is not known yet ---- */

#define LAZY_MAX (1u << 20) /* bytes queued by the proxy before it settles for the home shard */

/* The first key names the shard: MULTI goes there, then what was queued without keys. PASS: go on. */
static enum took settle_shard(const struct redis_request *q, struct upstream *u, struct endpoint *ep) {
    struct redis_down *d = redis_down(q->down);
    enum took t = TOOK;
    if (!ep) return redis_fail_request(q, u, FAIL_NO_ENDPOINT);
    struct conn *up = redis_pin(q, u, ep, false, &t);
    if (!up) return t;
    redis_send_cleanup(up, SLICE("*1\r\n$5\r\nMULTI\r\n"), TAG_MULTI);
    struct resp_request r = {0};
    struct resp_limits any = resp_limits_default;
    any.stream_above = UINT32_MAX;
    for (size_t at = 0; at < d->lazy.n; resp_request_reset(&r)) {
        ptrdiff_t n = resp_request_parse(&r, d->lazy.p + at, d->lazy.n - at, &any);
        if (n <= 0) break;
        redis_send_cleanup(up, slice_of(d->lazy.p + at, (size_t)n), TAG_NONE);
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
