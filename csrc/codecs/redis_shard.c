/* One request over several shards: taken apart by key, or sent to all; the replies become one (redis_merge.h). */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- a merge: the client's stream (parent) and one child per shard ---- */

struct merge {
    struct stream *parent; /* NULL: the client has gone */
    struct core *core;
    enum redis_merge_kind kind;
    int version;
    uint32_t children, open; /* open: children without a reply yet, plus one while they are being sent */
    uint32_t keys;
    uint16_t *owner; /* per key: its child */
    size_t size, limit;
    struct slice *replies; /* each owned */
};

static void merge_free(struct merge *m) {
    for (uint32_t i = 0; i < m->children; i++) free((void *)m->replies[i].p);
    free(m->replies);
    free(m->owner);
    free(m);
}

static void parent_orphan(struct stream *s) {
    ((struct merge *)s->data)->parent = NULL;
    s->ops = NULL, s->data = NULL;
}
static const struct stream_ops parent_ops = {.orphan = parent_orphan};

static struct merge *merge_new(const struct redis_request *q, struct stream *parent, uint32_t children, uint32_t keys) {
    struct merge *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->replies = calloc(children, sizeof *m->replies);
    m->owner = keys ? malloc(keys * sizeof *m->owner) : NULL;
    if (!m->replies || (keys && !m->owner)) {
        free(m->replies);
        free(m->owner);
        free(m);
        return NULL;
    }
    m->core = q->down->core, m->kind = q->cmd->merge, m->version = redis_down(q->down)->resp;
    m->children = children, m->open = children + 1, m->keys = keys, m->limit = q->down->listener->client_buffer;
    if (parent->down) {
        m->parent = parent;
        parent->ops = &parent_ops, parent->data = m;
    } else {
        stream_abandon(parent); /* replies are switched off */
    }
    return m;
}

static void merge_finish(struct merge *m) {
    struct resp_out out = {0};
    struct stream *s = m->parent;
    if (s) {
        int r = m->kind == REDIS_MERGE_SPLIT_ARRAY
                    ? redis_merge_array(m->replies, m->children, m->owner, m->keys, m->version, &out)
                    : redis_merge(m->kind, m->replies, m->children, m->version, &out);
        s->ops = NULL, s->data = NULL;
        if (r == 0) stream_reply(s, out.p, out.n);
        else conn_doom(s->down, FAIL_INTERNAL);
        stream_end(s);
    }
    resp_out_free(&out);
    merge_free(m);
}

static void merge_release(struct merge *m) {
    if (--m->open == 0) merge_finish(m);
}

static void merge_set(struct merge *m, uint32_t i, const void *p, size_t n) {
    uint8_t *copy = malloc(n);
    if (copy) memcpy(copy, p, n);
    m->replies[i] = copy ? slice_of(copy, n) : (struct slice){NULL, 0};
}

/* ---- children ---- */

static void child_reply(struct stream *s, const uint8_t *p, size_t n, bool end) {
    struct merge *m = s->data;
    static const char too_large[] = "-ERR mosnpy: merged reply too large\r\n";
    if (m->size + n > m->limit) m->size = m->limit + 1; /* what is left of it is thrown away */
    else if (n && queue_append(&s->core->chunks, &s->reply, p, n) == 0) m->size += n;
    if (!end) return;
    size_t size = s->reply.bytes;
    uint8_t *copy = m->size > m->limit ? NULL : malloc(size ? size : 1);
    if (copy) {
        queue_copy(&s->reply, s->reply.base, copy, size);
        m->replies[s->part] = slice_of(copy, size);
    } else {
        merge_set(m, s->part, too_large, sizeof too_large - 1);
    }
    queue_clear(&s->core->chunks, &s->reply);
    s->ops = NULL, s->data = NULL;
    merge_release(m);
}

static void child_fail(struct stream *s, enum failure why) {
    struct merge *m = s->data;
    char text[160];
    struct slice refusal = redis_core_of(s->core)->refusal;
    int n = snprintf(text, sizeof text, "-ERR mosnpy: %s\r\n", failure_text(why));
    merge_set(m, s->part, refusal.n ? (const void *)refusal.p : text, refusal.n ? refusal.n : (size_t)n);
    stream_abandon(s);
    merge_release(m);
}
static const struct stream_ops child_ops = {.reply = child_reply, .fail = child_fail};

static struct stream *child(const struct redis_request *q, struct merge *m, struct upstream *u, uint32_t part,
                            uint32_t timeout_ms) {
    struct stream *s = stream_new(m->core, NULL);
    if (!s) {
        merge_release(m);
        return NULL;
    }
    s->ops = &child_ops, s->data = m, s->part = part, s->upstream = u;
    s->lane_key = redis_lane_of(redis_down(q->down));
    if (timeout_ms) s->deadline_ms = m->core->now_ms + timeout_ms;
    return s;
}

static enum failure send_to(struct stream *s, struct endpoint *ep, uint64_t affinity, const uint8_t *p, size_t n) {
    enum failure why = FAIL_NO_ENDPOINT;
    struct conn *up = ep ? pool_shared(ep, s->lane_key, affinity, &why) : NULL;
    if (!up) return why;
    s->upstream->stat[UPSTREAM_requests_total]++;
    ep->stat[ENDPOINT_requests_total]++;
    return stream_send(s, up, p, n);
}

/* ---- to all shards ---- */

static enum took fan_out(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    struct stream *parent = redis_stream(q, u, 0);
    struct merge *m = parent ? merge_new(q, parent, u->endpoint_count, 0) : NULL;
    if (!m) return CLOSE;
    for (uint32_t i = 0; i < u->endpoint_count; i++) {
        struct stream *s = child(q, m, u, i, timeout_ms);
        enum failure why = s ? send_to(s, u->endpoints[i].runtime, q->down->id, q->p, q->n) : FAIL_NONE;
        if (why != FAIL_NONE) stream_fail(s, why);
    }
    merge_release(m);
    return TOOK;
}

/* ---- by key ---- */

struct part {
    struct upstream *upstream;
    struct endpoint *endpoint; /* NULL: none usable */
    uint64_t hash;
    uint32_t timeout_ms, words;
    struct resp_out request;
};

struct split {
    struct part *parts;
    uint32_t count, room;
};

static void split_free(struct split *sp) {
    for (uint32_t i = 0; i < sp->count; i++) resp_out_free(&sp->parts[i].request);
    free(sp->parts);
}

/* Where one key goes: over the route of the request, or its own when `u` is NULL. */
static bool locate(const struct redis_request *q, struct upstream *u, const struct route *route, struct slice key,
                   struct part *at) {
    if (!u) {
        struct redis_request one = *q;
        one.key = key;
        struct message msg = {q->down, &one};
        route = route_find(q->down->service->table, &msg);
        u = route ? route_upstream(route, &msg) : NULL;
        if (!u) return false; /* a key this client may not touch refuses the whole request */
    }
    *at = (struct part){.upstream = u, .timeout_ms = route->timeout_ms, .hash = redis_hash(u, q, key)};
    at->endpoint = redis_sharded(u) ? upstream_pick(u, at->hash, NULL) : NULL;
    return true;
}

static int part_of(struct split *sp, const struct part *at) {
    for (uint32_t i = 0; i < sp->count; i++)
        if (sp->parts[i].upstream == at->upstream && sp->parts[i].endpoint == at->endpoint) return (int)i;
    if (sp->count == UINT16_MAX) return -1;
    if (sp->count == sp->room) {
        uint32_t room = sp->room ? sp->room * 2 : 8;
        struct part *parts = realloc(sp->parts, room * sizeof *parts);
        if (!parts) return -1;
        sp->parts = parts, sp->room = room;
    }
    sp->parts[sp->count] = *at;
    return (int)sp->count++;
}

/* Assigns every key its part and counts words. 0, -1 out of memory, -2 a key without route. */
static int assign(const struct redis_request *q, struct upstream *u, const struct route *route, uint32_t step,
                  struct split *sp, uint16_t *owner) {
    struct resp_arg_iter it = resp_arg_from(q->r, q->p, 1);
    struct slice key, value;
    for (uint32_t k = 0; resp_arg_next(&it, &key); k++) {
        struct part at;
        if (step == 2 && !resp_arg_next(&it, &value)) return -2;
        if (!locate(q, u, route, key, &at)) return -2;
        int i = part_of(sp, &at);
        if (i < 0) return -1;
        owner[k] = (uint16_t)i;
        sp->parts[i].words += step;
    }
    return 0;
}

static void write_parts(const struct redis_request *q, uint32_t step, struct split *sp, const uint16_t *owner) {
    struct resp_arg_iter it = resp_arg_from(q->r, q->p, 1);
    struct slice word;
    for (uint32_t i = 0; i < sp->count; i++) {
        resp_out_array(&sp->parts[i].request, sp->parts[i].words + 1);
        resp_out_bulk(&sp->parts[i].request, q->cmd->name);
    }
    for (uint32_t k = 0; resp_arg_next(&it, &word); k++) {
        resp_out_bulk(&sp->parts[owner[k]].request, word);
        if (step == 2 && resp_arg_next(&it, &word)) resp_out_bulk(&sp->parts[owner[k]].request, word);
    }
}

static void send_parts(const struct redis_request *q, struct merge *m, struct split *sp) {
    for (uint32_t i = 0; i < sp->count; i++) {
        struct part *part = &sp->parts[i];
        struct stream *s = child(q, m, part->upstream, i, part->timeout_ms);
        if (!s) continue;
        s->hash = part->hash, s->replayable = true;
        enum failure why = part->request.failed ? FAIL_INTERNAL : stream_dispatch(s, part->request.p, part->request.n);
        if (why != FAIL_NONE) stream_fail(s, why);
    }
    merge_release(m);
}

static enum took split_request(const struct redis_request *q, struct upstream *u, const struct route *route) {
    uint32_t step = q->cmd->merge == REDIS_MERGE_SPLIT_OK ? 2 : 1, keys = (q->r->argc - 1) / step;
    struct split sp = {0};
    if ((q->r->argc - 1) % step || keys == 0) { /* the server words the error */
        struct stream *s = u ? redis_stream(q, u, route->timeout_ms) : NULL;
        if (!s)
            return redis_reply_text(q->down, "-ERR wrong number of arguments for '%.*s' command\r\n",
                                    (int)q->cmd->name.n, (const char *)q->cmd->name.p),
                   TOOK;
        enum failure why = stream_dispatch(s, q->p, q->n);
        if (why != FAIL_NONE) stream_fail(s, why);
        return TOOK;
    }
    uint16_t *owner = malloc(keys * sizeof *owner);
    int r = owner ? assign(q, u, route, step, &sp, owner) : -1;
    struct stream *parent =
        r == 0 ? redis_stream(q, u ? u : sp.parts[0].upstream, sp.count == 1 ? sp.parts[0].timeout_ms : 0) : NULL;
    struct merge *m = NULL;
    if (parent && sp.count == 1) { /* all on one shard: as it came */
        parent->hash = sp.parts[0].hash, parent->replayable = true;
        enum failure why = stream_dispatch(parent, q->p, q->n);
        if (why != FAIL_NONE) stream_fail(parent, why);
    } else if (parent && (m = merge_new(q, parent, sp.count, keys)) != NULL) {
        memcpy(m->owner, owner, keys * sizeof *owner);
        write_parts(q, step, &sp, owner);
        send_parts(q, m, &sp);
    }
    if (r == -2) redis_reply_text(q->down, "-ERR mosnpy: %s\r\n", failure_text(FAIL_NO_ROUTE));
    free(owner);
    split_free(&sp);
    return r == -1 || (r == 0 && !parent) ? CLOSE : TOOK;
}

/* ---- SCAN ---- */

static void scan_reply(struct stream *s, const uint8_t *p, size_t n, bool end) {
    struct core *core = s->core;
    uintptr_t packed = (uintptr_t)s->data;
    if (n && queue_append(&core->chunks, &s->reply, p, n) < 0) return;
    if (!end) return;
    size_t size = s->reply.bytes;
    const uint8_t *whole = queue_pullup(&core->chunks, &s->reply, size);
    struct resp_out out = {0};
    struct queue held = s->reply;
    queue_init(&s->reply);
    s->ops = NULL, s->data = NULL;
    if (s->down) {
        int version = redis_down(s->down)->resp;
        if (whole && redis_scan_reply(slice_of(whole, size), (uint32_t)(packed & 0xffff), (uint32_t)(packed >> 16),
                                      version, &out) == 0)
            stream_reply(s, out.p, out.n);
        else s->down->codec->reply_failure(s, FAIL_BAD_REPLY, (struct slice){NULL, 0});
    }
    resp_out_free(&out);
    queue_clear(&core->chunks, &held);
}
const struct stream_ops redis_scan_ops = {.reply = scan_reply};

static enum took scan(const struct redis_request *q, struct upstream *u, uint32_t timeout_ms) {
    uint32_t shard;
    uint64_t inner;
    if (q->r->argc < 2 || !redis_scan_decode(redis_arg(q, 1), u->endpoint_count, &shard, &inner)) {
        redis_reply_text(q->down, q->r->argc < 2 ? "-ERR wrong number of arguments for 'scan' command\r\n"
                                                 : "-ERR invalid cursor\r\n");
        return TOOK;
    }
    struct resp_out out = {0};
    struct stream *s = redis_stream(q, u, timeout_ms);
    if (!s || redis_scan_request(q->r, q->p, inner, &out) < 0) return CLOSE;
    s->ops = &redis_scan_ops, s->data = (void *)(uintptr_t)(shard | u->endpoint_count << 16);
    enum failure why = send_to(s, u->endpoints[shard].runtime, q->down->id, out.p, out.n);
    resp_out_free(&out);
    if (why != FAIL_NONE) s->ops = NULL, s->data = NULL, stream_fail(s, why);
    return TOOK;
}

/* ---- which way ---- */

static enum took one_shard(const struct redis_request *q, struct upstream *u, const struct route *route,
                           uint64_t hash) {
    struct stream *s = redis_stream(q, u, route->timeout_ms);
    if (!s) return CLOSE;
    s->replayable = true, s->hash = hash, s->route = route;
    enum failure why = stream_dispatch(s, q->p, q->n);
    if (unlikely(why != FAIL_NONE)) {
        route_stat(q->down, route)[ROUTE_failures_total]++;
        stream_fail(s, why);
    } else if (unlikely(s->up->full)) {
        conn_pause(q->down, PAUSE_PEER);
    }
    return TOOK;
}

static enum took keyed(const struct redis_request *q, struct upstream *u, const struct route *route) {
    struct redis_keys it;
    struct slice key;
    redis_keys_begin(&it, q->cmd, q->r, q->p);
    if (!redis_keys_next(&it, &key)) return one_shard(q, u, route, redis_hash(u, q, (struct slice){NULL, 0}));
    uint64_t hash = redis_hash(u, q, key);
    struct endpoint *home = NULL;
    while (redis_keys_next(&it, &key)) {
        uint64_t other = redis_hash(u, q, key);
        if (other == hash) continue;
        if (!home) home = upstream_pick(u, hash, NULL);
        if (upstream_pick(u, other, NULL) == home) continue;
        redis_reply_text(q->down, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        return TOOK;
    }
    return one_shard(q, u, route, hash);
}

enum took redis_sharded_request(const struct redis_request *q, struct upstream *u, const struct route *route) {
    struct slice key = {NULL, 0};
    if (!u) return split_request(q, NULL, route);
    switch (q->cmd ? q->cmd->merge : REDIS_MERGE_ANY) {
    case REDIS_MERGE_SPLIT_ARRAY:
    case REDIS_MERGE_SPLIT_SUM:
    case REDIS_MERGE_SPLIT_OK: return split_request(q, u, route);
    case REDIS_MERGE_SCAN: return scan(q, u, route->timeout_ms);
    case REDIS_MERGE_NONE: return keyed(q, u, route);
    case REDIS_MERGE_ANY: return one_shard(q, u, route, hash_mix(q->down->id));
    case REDIS_MERGE_HOME:
        if (q->cmd) redis_first_key(q->cmd, q->r, q->p, &key);
        return one_shard(q, u, route, redis_hash(u, q, key));
    default: return fan_out(q, u, route->timeout_ms);
    }
}
