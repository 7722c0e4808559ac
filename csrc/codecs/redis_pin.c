/* What belongs to one client: transactions (redis_transaction.c), blocking commands, subscriptions, large requests. Each borrows a
 * connection that is given back as soon as the replies have left nothing of the client's on it (redis_pin_settle), or is closed. */
#include "redis.h"

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

enum took redis_fail_request(const struct redis_request *q, struct upstream *u, enum failure why) {
    struct stream *s = redis_stream(q, u, 0);
    if (!s) return CLOSE;
    stream_fail(s, why);
    return TOOK;
}

struct conn *redis_pin(const struct redis_request *q, struct upstream *u, struct endpoint *ep, bool subscription,
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
    else if (why != FAIL_NONE) *t = redis_fail_request(q, u, why);
    return up;
}

void redis_send_cleanup(struct conn *up, struct slice command, enum redis_tag tag) {
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
    if (!ep) return redis_fail_request(q, u, FAIL_NO_ENDPOINT);
    struct conn *up = redis_pin(q, u, ep, subscribes(tag), &t);
    if (!up) return t;
    if ((q->large || tag == TAG_RAW) && up->state != CONN_OPEN) { /* the rest must not overtake the head */
        conn_wait(c, 0, 0);
        return WAIT;
    }
    if (tag == TAG_RAW) return start_raw(c, up, q);
    /* WAIT is about what this connection wrote last; on a borrowed one that is nothing, until it has seen any command after
     * the client's writes (all answered by now, see pin()). */
    if (q->cmd && (slice_is(q->cmd->name, "WAIT") || slice_is(q->cmd->name, "WAITAOF")))
        redis_send_cleanup(up, SLICE("*1\r\n$4\r\nPING\r\n"), TAG_NONE);
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
    else if (u->multi) redis_send_cleanup(up, SLICE("*1\r\n$7\r\nDISCARD\r\n"), TAG_DISCARD);
    else if (u->watch) redis_send_cleanup(up, SLICE("*1\r\n$7\r\nUNWATCH\r\n"), TAG_UNWATCH);
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
