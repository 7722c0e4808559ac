/* Upstream connections of one endpoint, grouped in lanes.
 *
 * A lane is a kind of connection that may stand in for another: same endpoint and same codec-defined key (for Redis:
 * RESP version, database, identity). It has up to upstream->connections shared ones, picked by the client's id so that one
 * client's requests stay in order, and a LIFO list of idle exclusive ones. Modes:
 *   PIPELINE   pool_shared; exclusive ones by pool_borrow for what must not be shared
 *   MULTIPLEX  pool_shared; the codec maps ids
 *   PING_PONG  pool_take per stream, pool_give_back after the reply; who finds none waits in the endpoint's queue
 *   PINNED     pool_borrow per client, closed with it */
#ifndef MOSNPY_POOL_H
#define MOSNPY_POOL_H

#include "conn.h"

struct lane {
    struct lane *next;
    struct endpoint *endpoint;
    uint64_t key;
    struct conn **shared; /* upstream->connections slots, NULL where none is open */
    uint32_t shared_count;
    struct conn *idle; /* exclusive, clean, LIFO by conn->wait_next */
    uint32_t idle_count;
    uint32_t connections; /* of this lane, retired ones included */
    uint64_t used_ms;     /* lanes unused and empty for long are freed */
};

struct lane *pool_lane(struct endpoint *ep, uint64_t key); /* NULL: out of memory */
/* The shared connection for `affinity` (connecting if need be). NULL and *why when none can be had now. */
struct conn *pool_shared(struct endpoint *ep, uint64_t key, uint64_t affinity, enum failure *why);
/* An exclusive connection for `owner` (maybe still connecting). NULL with *why == FAIL_NONE: over max_connections, `owner`
 * was put on the endpoint's waiters and paused (PAUSE_WAIT); it is fed again when one is free. */
struct conn *pool_borrow(struct endpoint *ep, uint64_t key, struct conn *owner, enum failure *why);
/* As pool_borrow for one request: the connection has no owner and its streams are what keeps it busy. NULL with *why. */
struct conn *pool_take(struct endpoint *ep, uint64_t key, enum failure *why);
/* A shared connection with room for one more stream (conn.max_streams), the fullest of them first. NULL with *why. */
struct conn *pool_multiplex(struct endpoint *ep, uint64_t key, enum failure *why);
/* Puts s in line for a connection of ep (ops->turn() when there is one; its deadline holds meanwhile). FAIL_OVERFLOW when
 * max_pending wait already. */
enum failure pool_queue(struct endpoint *ep, struct stream *s);
void pool_unqueue(struct stream *s);
/* Capacity was freed: the next in line get their turn, until one finds that there is no more. */
void pool_serve(struct endpoint *ep);
/* Back to the lane, clean (the codec has made sure), or closed if the lane has enough or the connection is retired. */
void pool_give_back(struct conn *up);
/* No new streams; closes when empty. A shared connection leaves its slot, so that the next request opens another. */
void pool_retire(struct conn *up);
/* Bookkeeping when an upstream connection dies (called by conn_close). True: it was idle, so who waits gains nothing by its end. */
bool pool_forget(struct conn *up);
void pool_cancel_wait(struct conn *down);
void pool_wake_waiter(struct endpoint *ep);
/* Every tick: closes idle exclusive connections past idle_timeout, frees empty lanes, frees endpoints without a plan. */
void pool_sweep(struct core *core);

#endif
