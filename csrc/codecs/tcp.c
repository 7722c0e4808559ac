/* tcp: bytes through, one upstream connection per client. Half-close travels to the other side; a connection that cannot be
 * made is tried on the next endpoint; a full side pauses the other. */
#include "../core/conn.h"
#include "../core/pool.h"
#include "../core/stream.h"

struct tcp_session { /* down */
    uint32_t attempts;
};

static void refuse(struct conn *down, enum failure why) {
    down->listener->stat[LISTENER_FAILURES + why]++;
    conn_doom(down, why);
}

/* Borrows a connection for `down`; until it is open the client's bytes stay in the kernel. */
static void tcp_connect(struct conn *down, const struct endpoint *skip) {
    struct tcp_session *session = (struct tcp_session *)down->session;
    struct message msg = {down, NULL};
    struct attr_value v;
    const struct route *route = route_find(down->service->table, &msg);
    struct upstream *u = route ? route_upstream(route, &msg) : NULL;
    enum failure why = FAIL_NO_ROUTE;
    if (u && !session->attempts) route_stat(down, route)[ROUTE_requests_total]++;
    uint64_t hash = u && u->hash_attr != ATTR_NONE && attr_get(&msg, u->hash_attr, 0, &v) && v.type == ATTR_STR
                        ? hash_bytes(v.s.p, v.s.n)
                        : down->id;
    while (u && session->attempts++ < u->attempts) {
        struct endpoint *ep = upstream_pick(u, hash, skip);
        why = skip ? FAIL_CONNECT : FAIL_NO_ENDPOINT;
        if (!ep) break;
        struct conn *up = pool_borrow(ep, 0, down, &why);
        if (up) {
            down->peer = up, up->peer = down;
            return;
        }
        if (why == FAIL_NONE) { /* over max_connections: waits in line, then feed() tries again */
            session->attempts--;
            return;
        }
        skip = ep;
    }
    refuse(down, why);
}

static int tcp_open(struct conn *c) {
    if (c->side == UP) {
        if (!c->peer) return -1;   /* the client has left meanwhile */
        if (c->endpoint->upstream) /* else: connected while another plan took it away */
            c->endpoint->upstream->stat[UPSTREAM_requests_total]++;
        c->endpoint->stat[ENDPOINT_requests_total]++;
        conn_unpause(c->peer, PAUSE_PEER);
        return 1;
    }
    conn_pause(c, PAUSE_PEER);
    c->listener->stat[LISTENER_requests_total]++;
    tcp_connect(c, NULL);
    if (!c->peer && (c->paused & PAUSE_WAIT)) conn_unpause(c, PAUSE_PEER), c->readable = true;
    return 0;
}

static ssize_t tcp_feed(struct conn *c, const uint8_t *p, size_t n) {
    if (!c->peer) { /* down, after waiting for a connection slot */
        if (c->side == UP) return FEED_CLOSE;
        conn_pause(c, PAUSE_PEER);
        tcp_connect(c, NULL);
        c->wait_expired = false;
        return 0;
    }
    conn_send(c->peer, p, n);
    if (conn_full(c->peer)) conn_pause(c, PAUSE_PEER);
    return (ssize_t)n;
}

static void tcp_drained(struct conn *c) {
    if (c->peer) conn_unpause(c->peer, PAUSE_PEER);
}

static void tcp_eof(struct conn *c) {
    if (c->peer) c->peer->unsaid = c->truncated; /* who can tell a cut stream from a whole one shall be able to */
    if (c->peer) conn_shutdown(c->peer);
    else conn_doom(c, FAIL_CLIENT_GONE);
    if (c->shut) conn_mark_dirty(c);
}

static void tcp_close(struct conn *c) {
    struct conn *peer = c->peer;
    c->peer = NULL;
    if (!peer) return;
    peer->peer = NULL;
    if (peer->side == UP) {
        peer->owner = NULL;
        if (peer->state < CONN_OPEN) conn_doom(peer, FAIL_CLIENT_GONE);
        else conn_finish(peer);
    }
}

/* Before the first byte could be sent, another endpoint may do; after that the end of one side is the end of both. */
static void tcp_pin_lost(struct conn *down, struct conn *up) {
    down->peer = up->peer = NULL;
    if (up->close_reason == FAIL_CONNECT && (down->paused & PAUSE_PEER)) tcp_connect(down, up->endpoint);
    else if (up->close_reason != FAIL_NONE && !up->eof) conn_doom(down, (enum failure)up->close_reason);
    else conn_finish(down);
}

static void *tcp_options(struct mpack options, struct plan *plan, char *err, size_t err_size) {
    (void)options, (void)err, (void)err_size;
    return plan; /* no options; anything but NULL */
}

const struct codec tcp_codec = {
    .name = "tcp",
    .mode = POOL_PINNED,
    .down_session = sizeof(struct tcp_session),
    .max_stash = SCRATCH_MAX,
    .listener_new = tcp_options,
    .upstream_new = tcp_options,
    .open = tcp_open,
    .feed = tcp_feed,
    .eof = tcp_eof,
    .drained = tcp_drained,
    .close = tcp_close,
    .pin_lost = tcp_pin_lost,
};
