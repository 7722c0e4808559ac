/* Commands the table doesn't know (modules, newer servers): the upstream's own COMMAND INFO tells where their keys are, once
 * per name; the request waits for that. A name the server doesn't know either is remembered and passed on as it is. */
#include "redis.h"

static bool known_unknown(struct redis_core *rc, uint32_t hash) {
    for (uint32_t i = 0; i < countof(rc->unknown) && i < rc->unknown_count; i++)
        if (rc->unknown[i] == hash) return true;
    return false;
}

static void remember(struct redis_core *rc, uint32_t hash) {
    rc->unknown[rc->unknown_count++ % countof(rc->unknown)] = hash;
}

static void finish(struct stream *s, struct slice reply) {
    struct conn *c = s->down;
    uint32_t hash = (uint32_t)(uintptr_t)s->data;
    s->ops = NULL, s->data = NULL;
    if (c && (!reply.p || redis_table_learn(redis_options(c)->table, reply) < 1))
        remember(redis_core_of(s->core), hash);
}

static void learn_reply(struct stream *s, const uint8_t *p, size_t n, bool end) {
    struct core *core = s->core;
    if (s->reply.bytes + n > 65536 || (n && queue_append(&core->chunks, &s->reply, p, n) < 0)) n = 0;
    if (!end) return;
    size_t size = s->reply.bytes;
    finish(s, slice_of(queue_pullup(&core->chunks, &s->reply, size), size));
    queue_clear(&core->chunks, &s->reply);
}

static void learn_fail(struct stream *s, enum failure why) {
    (void)why;
    finish(s, (struct slice){NULL, 0});
    stream_finish_down(s);
}

static const struct stream_ops learn_ops = {.reply = learn_reply, .fail = learn_fail};

enum took redis_learn(const struct redis_request *q) {
    struct conn *c = q->down;
    struct redis_core *rc = redis_core_of(c->core);
    struct slice name = redis_arg(q, 0);
    uint32_t hash = (uint32_t)hash_bytes(name.p, name.n), timeout_ms;
    struct upstream *u;
    if (name.n > 128 || redis_down(c)->special || known_unknown(rc, hash) || !(u = redis_home_upstream(q, &timeout_ms)))
        return PASS;
    if (c->streams) {
        conn_wait(c, 1, 0);
        return WAIT;
    }
    struct stream *s = stream_new(c->core, c);
    if (!s) return CLOSE;
    s->upstream = u, s->lane_key = redis_lane_of(redis_down(c)), s->replayable = true;
    s->deadline_ms = c->core->now_ms + (timeout_ms ? timeout_ms : 1000);
    s->ops = &learn_ops, s->data = (void *)(uintptr_t)hash;
    struct resp_out *out = &rc->text;
    resp_out_clear(out);
    resp_out_array(out, 3);
    resp_out_bulk(out, SLICE("COMMAND"));
    resp_out_bulk(out, SLICE("INFO"));
    resp_out_bulk(out, name);
    enum failure why = stream_dispatch(s, out->p, out->n);
    if (why != FAIL_NONE) {
        remember(rc, hash);
        s->ops = NULL, s->data = NULL;
        stream_finish_down(s);
        return PASS;
    }
    conn_wait(c, 1, 0);
    return WAIT;
}
