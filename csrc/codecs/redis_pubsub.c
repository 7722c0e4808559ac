/* Frames of a connection that has subscriptions or MONITOR: messages nobody asked for, confirmations, and ordinary replies. */
#include "redis.h"

/* ---- pushes ---- */

/* What a RESP2 server sends as an array is a push to a RESP3 client. Valid until the next use of the core's `text`. */
static struct slice as_push(struct conn *up, struct slice frame) {
    struct resp_out *out = &redis_core_of(up->core)->text;
    if (redis_up(up)->resp == 3 || !up->owner || redis_down(up->owner)->resp != 3 || *frame.p != '*') return frame;
    resp_out_clear(out);
    if (redis_shape_up(REDIS_SHAPE_NONE, frame, out) < 0) return frame;
    out->p[0] = '>';
    return slice_of(out->p, out->n);
}

/* A push may stand between two replies but not inside one that is on its way from another connection. */
static void push(struct conn *up, const uint8_t *bytes, size_t size) {
    struct conn *d = up->owner;
    if (!d || d->state == CONN_DEAD) return;
    struct slice frame = as_push(up, slice_of(bytes, size));
    const uint8_t *p = frame.p;
    size_t n = frame.n;
    struct stream *first = d->head;
    if (first && first->started && !first->done && first->up != up) stream_interject(d, p, n);
    else conn_send(d, p, n);
    if (d->out.bytes + d->held > d->listener->client_buffer) {
        d->listener->stat[LISTENER_slow_clients]++;
        conn_doom(d, FAIL_SLOW_CLIENT);
    } else if (d->out.bytes >= OUT_SLOW && !d->blocked) {
        d->blocked = up, d->blocked_gen = up->gen;
        conn_pause(up, PAUSE_PEER);
    }
}

/* ---- confirmations ---- */

struct kind {
    const char *name;
    bool add;
    uint32_t *(*counter)(struct redis_up *u);
};
static uint32_t *channels(struct redis_up *u) { return &u->channels; }
static uint32_t *patterns(struct redis_up *u) { return &u->patterns; }
static uint32_t *shards(struct redis_up *u) { return &u->shard_channels; }

static const struct kind kinds[] = {{"SUBSCRIBE", true, channels},  {"UNSUBSCRIBE", false, channels},
                                    {"PSUBSCRIBE", true, patterns}, {"PUNSUBSCRIBE", false, patterns},
                                    {"SSUBSCRIBE", true, shards},   {"SUNSUBSCRIBE", false, shards}};

static const struct kind *kind_of(struct slice word) {
    for (size_t i = 0; i < countof(kinds); i++)
        if (slice_is(word, kinds[i].name)) return &kinds[i];
    return NULL;
}

/* The count in a confirmation is that of channels and patterns together (of shard channels on their own). */
static void recount(struct redis_up *u, const struct kind *k, int64_t total) {
    uint32_t *mine = k->counter(u);
    int64_t others = mine == &u->shard_channels ? 0 : (int64_t)u->channels + u->patterns - *mine;
    *mine = total > others ? (uint32_t)(total - others) : 0;
}

/* How many confirmations the request at the head brings: one per name, or without names one per subscription (at least one). */
static uint32_t confirmations(const struct stream *s, struct redis_up *u) {
    if (s->part) return s->part;
    uint32_t n = s->tag == TAG_UNSUBSCRIBE ? u->channels : s->tag == TAG_PUNSUBSCRIBE ? u->patterns : u->shard_channels;
    return n ? n : 1;
}

static bool awaited(const struct stream *s) { return s && s->tag >= TAG_SUBSCRIBE && s->tag <= TAG_SUNSUBSCRIBE; }

static void confirm(struct conn *up, const struct kind *k, struct slice rest, const uint8_t *p, size_t n) {
    struct redis_up *u = redis_up(up);
    struct stream *s = up->head;
    struct resp_value channel, count;
    int64_t total = 0;
    bool counted = resp_read(&rest, &channel) && resp_read(&rest, &count) && resp_int(count.text, &total);
    bool answer = awaited(s);
    if (answer && u->pending_confirmations == 0) u->pending_confirmations = confirmations(s, u);
    if (counted) recount(u, k, total);
    if (!answer) {
        push(up, p, n);
        return;
    }
    struct slice frame = as_push(up, slice_of(p, n));
    stream_reply(s, frame.p, frame.n);
    if (--u->pending_confirmations == 0) stream_end(s);
}

/* ---- frames ---- */

static int reply(struct conn *up, const uint8_t *p, size_t n) {
    struct stream *s = up->head;
    if (!s) return -1;
    enum redis_tag tag = s->tag;
    uint8_t type = *p;
    redis_up(up)->pending_confirmations = 0;
    s->status = type == '-' ? STATUS_CLIENT_ERROR : STATUS_OK;
    if (s->ops && s->ops->reply) s->ops->reply(s, p, n, true);
    else stream_reply(s, p, n);
    stream_end(s);
    redis_pin_reply(up, tag, type, n >= 3 && (type == '_' || p[1] == '-'));
    return 0;
}

static int whole_frame(struct conn *up, const uint8_t *p, size_t n) {
    struct redis_up *u = redis_up(up);
    struct slice in = slice_of(p, n);
    struct resp_value head, word;
    bool resp3 = u->resp == 3;
    if (*p == '+' && u->monitor && n > 1 && p[1] >= '0' && p[1] <= '9') return push(up, p, n), 0;
    if (*p != '>' && (*p != '*' || resp3)) return reply(up, p, n);
    if (!resp_read(&in, &head) || head.count == 0 || !resp_read(&in, &word)) return *p == '>' ? -1 : reply(up, p, n);
    const struct kind *k = kind_of(word.text);
    bool message = slice_is(word.text, "MESSAGE") || slice_is(word.text, "PMESSAGE") || slice_is(word.text, "SMESSAGE");
    if (k && (*p == '>' || awaited(up->head) || !up->head)) confirm(up, k, in, p, n);
    else if (*p == '>' || (message && (u->channels || u->patterns || u->shard_channels))) push(up, p, n);
    else return reply(up, p, n);
    return 0;
}

ssize_t redis_pubsub_frame(struct conn *up, const uint8_t *p, size_t n) {
    struct redis_up *u = redis_up(up);
    struct core *core = up->core;
    bool done = u->scan.done;
    if (!up->exclusive) { /* a push on a shared connection is for nobody */
        if (done) u->collecting = false;
        return 0;
    }
    if (u->frame.bytes == 0 && done) {
        u->collecting = false;
        return whole_frame(up, p, n);
    }
    if (queue_append(&core->chunks, &u->frame, p, n) < 0) return -1;
    if (up->owner && u->frame.bytes > up->owner->listener->client_buffer) return -1;
    if (!done) return 0;
    u->collecting = false;
    size_t size = u->frame.bytes;
    const uint8_t *whole = queue_pullup(&core->chunks, &u->frame, size);
    int r = whole ? whole_frame(up, whole, size) : -1;
    queue_clear(&core->chunks, &u->frame);
    return r;
}
