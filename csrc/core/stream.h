/* Streams: one request and its reply on the way through the proxy.
 *
 * A stream stands in two orders: that of its client's requests (down list; replies leave in this order) and that of the
 * upstream connection (up list; replies arrive in it). Any of the two may be missing: a mirrored or internal request has no
 * client, a reply made by the proxy no upstream. It is freed when it has left both.
 *
 *   reply bytes --> client's out queue        when it is first in the down list
 *               --> s->reply (held)           when an earlier one is still open
 *               --> s->ops->reply             when the codec wants to see it (merge, pin, handshake)
 *
 * A *run* is a stream that stands for several requests (`count`): those a client sent in one batch over the same connection, one behind
 * the other. Everything that costs per stream is then paid once; their replies are counted down one by one (stream_end_one).
 *
 * Ownership: the core's slab; `request` and `reply` belong to the stream. */
#ifndef MOSNPY_STREAM_H
#define MOSNPY_STREAM_H

#include "conn.h"

#define RUN_MAX 32 /* requests in a run */

struct stream_ops {
    /* Bytes of the reply; `end` with the last of them (n may be 0). NULL: as if there were no ops. */
    void (*reply)(struct stream *s, const uint8_t *p, size_t n, bool end);
    /* No reply will come (s->up is NULL), or none in time (s->up still set, s->expired: the late reply will be swallowed).
     * Must end the stream towards its client, or stream_abandon() one without client; touches no other stream of s->up. */
    void (*fail)(struct stream *s, enum failure why);
    /* The client has gone; s leaves its list after this. NULL: nothing to do. */
    void (*orphan)(struct stream *s);
    /* The rest is for codecs that keep their requests themselves (HTTP); NULL: the engine does as stream_send describes. */
    /* The connection s was attached to is open now. May end s and others. */
    void (*ready)(struct stream *s);
    /* The connection is lost (s is detached). True: s goes on elsewhere or has ended; false: fail(). */
    bool (*lost)(struct stream *s, enum failure why);
    /* The deadline has passed: a later one if there was progress meanwhile, 0 to let it fail. */
    uint64_t (*due)(struct stream *s, uint64_t now_ms);
    /* Queued (pool_queue): a connection of ep may be had now; s is off the queue. */
    void (*turn)(struct stream *s, struct endpoint *ep);
};

struct stream {
    struct core *core;
    struct conn *down, *up;
    struct stream *down_next, *down_prev;
    struct stream *up_next, *up_prev;
    const struct stream_ops *ops;
    struct plan *plan;
    uint64_t start_us, deadline_ms; /* deadline UINT64_MAX: none */
    uint64_t out_pos;               /* where the request begins in up's output (queue position) */
    uint32_t out_len;
    uint32_t count;       /* requests without a reply yet; 1 but for runs */
    uint16_t total;       /* requests the run began with */
    uint16_t op[RUN_MAX]; /* of each: codec's number of the operation, for its error counter */
    uint8_t attempt;      /* connections tried so far */
    uint8_t status;       /* enum stream_status of the reply, set by the codec before stream_end */
    bool done;            /* reply complete or failed: only waits for its turn in the down list */
    bool expired;         /* was failed by its deadline; still on the up list to swallow the late reply */
    bool started;         /* bytes of a reply that has not ended have come */
    bool replayable;      /* may be dispatched again over a shared connection while no byte of it has left */
    bool queued;          /* on its endpoint's queue for a connection */
    struct endpoint *queued_at;
    bool interjected; /* nobody's reply: stands behind the one that was on its way (stream_interject) */
    bool unordered;   /* its reply may leave before those of earlier requests: the protocol tells them apart by id */
    uint8_t tag;      /* codec's */
    uint64_t wire_id; /* multiplexed protocols: its id on the upstream connection (idmap.h) */
    uint64_t lane_key, hash;
    struct upstream *upstream;
    const struct route *route;
    uint64_t *op_base;     /* where op[] counts from, in slots; NULL: operations are not counted */
    struct chunk *request; /* kept while it cannot be sent yet */
    struct queue reply;    /* held, or collected by the codec */
    void *data;            /* codec's: e.g. the merge this is a part of */
    uint32_t part;         /* codec's */
};

enum stream_status { STATUS_OK, STATUS_CLIENT_ERROR, STATUS_SERVER_ERROR };

/* A stream at the end of down's list (down may be NULL). NULL when memory is out. */
struct stream *stream_new(struct core *core, struct conn *down);
/* Chooses endpoint and shared connection for `s` (s->upstream, s->hash, s->lane_key set) and sends p[0..n), or keeps it
 * while connecting. FAIL_NONE, or why it could not: then the stream is untouched and the caller fails it. */
enum failure stream_dispatch(struct stream *s, const uint8_t *p, size_t n);
/* Same, with the connection already chosen. */
enum failure stream_send(struct stream *s, struct conn *up, const uint8_t *p, size_t n);
/* Ends the reply at hand: of a run the next one is awaited, else stream_end(). May free s. */
static inline void stream_end_one(struct stream *s);
void stream_count_one(struct stream *s);
/* Bytes of s's reply, in order. */
void stream_reply_slow(struct stream *s, const uint8_t *p, size_t n);
/* Bytes that nobody asked for, behind the reply that d is being sent (its first stream has begun) and before all others. */
void stream_interject(struct conn *d, const uint8_t *p, size_t n);
/* The reply is complete: counts it, leaves the up list, and the down list when its turn has come. May free s. */
void stream_end(struct stream *s);
/* The reply is complete towards the client while `s` stays on the up list (or never was on one). May free s. */
void stream_finish_down(struct stream *s);
/* Nobody waits for the reply any longer: swallowed when it comes, freed at once when none can. */
void stream_abandon(struct stream *s);
/* A codec has collected the client's whole reply in s->reply: lets it go in its turn. Follow with stream_end/finish_down. */
void stream_release_reply(struct stream *s);
/* The proxy answers: native error through the codec (or ops->fail), counters, end. May free s. */
void stream_fail(struct stream *s, enum failure why);
void stream_fail_detail(struct stream *s, enum failure why, struct slice detail);
/* Takes the client away (it closed): what was not sent is dropped, what was sent is swallowed later. */
void stream_orphan_all(struct conn *down);
/* Up connection died: streams that never left are dispatched again (attempts permitting), the others fail. */
void stream_up_lost(struct conn *up, enum failure why);
/* Fails what is past its deadline on `up`; returns the earliest deadline left. */
uint64_t stream_expire(struct conn *up, uint64_t now_ms);
/* Puts s on up's list behind the others (no bytes sent). */
void stream_attach(struct stream *s, struct conn *up);
void stream_detach(struct stream *s);

/* Counts a request on its route. */
static inline uint64_t *route_stat(const struct conn *down, const struct route *r) {
    return down->core->stats.row + r->stats;
}
static inline bool stream_is_first(const struct stream *s) { return s->down != NULL && s->down->head == s; }
static inline void stream_reply(struct stream *s, const uint8_t *p, size_t n) {
    struct conn *d = s->down;
    s->started = true;
    if (likely(d != NULL && d->head == s && s->reply.bytes == 0 && !s->done && d->out.bytes < OUT_HIGH)) {
        conn_send(d, p, n);
    } else {
        stream_reply_slow(s, p, n);
    }
}

static inline void stream_end_one(struct stream *s) {
    if (s->count == 1) {
        stream_end(s);
        return;
    }
    if (likely(!s->expired)) stream_count_one(s);
    s->count--, s->started = false;
    struct endpoint *ep = s->up->endpoint;
    ep->inflight--;
}
/* One more request for the run s, which is the last one of its client and of its connection: true if it may join. */
static inline bool stream_may_join(const struct stream *s, const struct upstream *u, uint64_t lane_key,
                                   uint64_t deadline_ms) {
    const struct conn *up = s->up;
    return s->upstream == u && s->total < RUN_MAX && up && up->tail == s && up->state == CONN_OPEN && !up->retired &&
           !up->exclusive && !s->ops && s->replayable && s->count == s->total && s->lane_key == lane_key &&
           s->deadline_ms == deadline_ms && !s->expired && !s->done && !up->full;
}
static inline void stream_join(struct stream *s, uint16_t op, const uint8_t *p, size_t n) {
    struct conn *up = s->up;
    s->op[s->total++] = op, s->count++, s->out_len += (uint32_t)n;
    up->endpoint->inflight++;
    s->upstream->stat[UPSTREAM_requests_total]++;
    up->endpoint->stat[ENDPOINT_requests_total]++;
    conn_send(up, p, n);
}

#endif
