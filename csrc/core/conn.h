/* Connections: one socket each, with its buffers, its pauses and its place in lists.
 *
 * Life: (CONNECTING -> HANDSHAKE ->) OPEN -> [FINISHING ->] DEAD -> freed after the batch. Sockets are registered once,
 * edge-triggered for everything; `readable` and `writable` remember the edge. A connection that is paused keeps its bytes
 * in the kernel (or in `in`) until every reason is gone. */
#ifndef MOSNPY_CONN_H
#define MOSNPY_CONN_H

#include "buffer.h"
#include "core.h"
#include "plan.h"
#include "timer.h"

#define OUT_HIGH (1024u * 1024) /* with more waiting to be written, a client's further requests are not read */
#define OUT_LOW (256u * 1024)   /* and read again below this */
#define OUT_SLOW \
    (4u * 1024 * 1024)     /* with more, the client is slow: it must not share an upstream connection any longer */
#define DIRECT_SEND 16384u /* pieces at least this long are sent from where they lie when nothing is queued */

enum conn_side { DOWN, UP };
enum conn_state {
    CONN_CONNECTING, /* up: connect() under way */
    CONN_HANDSHAKE,  /* up: the codec talks, requests wait */
    CONN_OPEN,
    CONN_FINISHING, /* reads nothing; closes when its streams have ended and everything is written */
    CONN_DEAD       /* closed; freed by the reaper */
};
enum pause {
    PAUSE_WAIT = 1, /* the codec waits for something: earlier replies, an upstream connection, a moment in time */
    PAUSE_OUT = 2,  /* too much waits to be written to this connection */
    PAUSE_PEER = 4  /* who these bytes go to cannot take more */
};

struct conn {
    int fd;
    uint32_t gen; /* grows with every reuse of this memory: a stored (pointer, gen) pair tells a stale pointer */
    uint8_t side, state, paused;
    bool readable, writable, hangup /* FIN or RST announced */, eof /* FIN read */;
    bool dirty, listed;   /* on core->dirty, core->ready */
    bool shut;            /* our side is half-closed, or will be when `out` is written */
    bool full;            /* out passed OUT_HIGH and has not fallen below OUT_LOW since */
    bool wait_expired;    /* down: the time to wait (conn_wait_until) is over */
    bool exclusive;       /* up: borrowed by `owner`, or idle in the lane */
    bool retired;         /* up: takes no new streams, closes when the open ones have ended */
    bool undecided;       /* down: bytes came, the protocol is not known yet; its deadline stands */
    bool expect_proxy;    /* down: the PROXY protocol header has not come yet */
    bool greeting;        /* down: its first message is looked at before a codec gets it (greeting.h) */
    bool greeted;         /* down: a part of a ClientHello has come */
    bool truncated;       /* TLS: the peer's FIN came without close_notify: bytes may be missing */
    bool reset_on_close;  /* close with RST: the peer must not take what it has for the whole */
    bool cut_off;         /* closed with streams open */
    bool unsaid;          /* TLS: ends without close_notify, as what is passed on did */
    uint8_t doom;         /* enum failure: to be closed for this reason at the next safe point; 0 = no */
    uint8_t close_reason; /* enum failure */
    uint8_t slab;         /* index in core->conn_slabs this memory belongs to */
    struct core *core;
    const struct codec *codec;
    struct tls *tls; /* owned; NULL: plaintext */
    struct queue out;
    uint8_t *in; /* an unfinished frame, or what came before a pause; NULL when nothing is kept */
    uint32_t in_start, in_end, in_cap;
    uint32_t need;              /* set by feed(): fewer bytes than this make calling again pointless */
    struct stream *head, *tail; /* down: in the order of the requests; up: in the order they were sent */
    uint32_t streams;
    struct timer timer;
    uint64_t active_ms; /* last progress: a whole frame, or bytes written */
    struct conn *dirty_next, *ready_next, *dead_next;
    struct conn *next, **pprev; /* all connections of the core and side */
    struct conn *peer;          /* tcp, pinned: the other side; kept by the codec */
    uint64_t codec_deadline_ms; /* codec->overdue() is called then; 0: none. Follow with conn_arm_timer() */

    /* down */
    struct listener *listener;
    const struct chain *chain;
    const struct service *service; /* of the chain; NULL while the protocol is not known */
    uint64_t greet_by_ms;   /* greeting_overdue() is called then: PROXY header, greeting, TLS handshake; 0: none */
    char *sni;              /* name the ClientHello asked for, in lower case; owned, NULL: none */
    struct conn *wait_next; /* in endpoint->waiters */
    struct endpoint *waiting_for; /* whose waiters list this is on */
    uint64_t wait_until_ms;       /* 0: no limit */
    uint32_t wait_below;          /* WAIT ends when fewer streams than this are open; 0: not waiting for that */
    size_t held;                  /* bytes of replies that wait for an earlier one */
    struct conn *blocked;         /* up: paused by us because we are slow */
    uint32_t blocked_gen;
    uint64_t id;
    union address addr;   /* of the peer; PROXY protocol may replace it */
    union address *local; /* the address it called, as the PROXY protocol told; owned, NULL: the socket's own */
    char addr_text[64];   /* "ip:port", made on demand; "" = not yet */

    /* up */
    struct endpoint *endpoint;
    struct lane *lane;
    struct conn *owner;       /* exclusive: the client that borrowed it; NULL: idle */
    uint32_t lane_slot;       /* index among the lane's shared connections */
    uint32_t max_streams;     /* multiplexed: how many may be open at once */
    uint32_t served;          /* requests it was given so far */
    uint64_t min_deadline_ms; /* not later than the earliest deadline of its streams; UINT64_MAX: none */
    uint64_t opened_ms;

    _Alignas(16) uint8_t session[]; /* codec->down_session / up_session bytes */
};

/* Down: from now on this is a connection of that service: its session is zeroed and opened. False: it was closed. */
bool conn_become(struct conn *c, const struct service *service);
/* A new connection on `fd` (owned from now on), registered with epoll; NULL when out of memory (fd closed). */
struct conn *conn_new(struct core *core, const struct codec *codec, enum conn_side side, int fd, enum conn_state state);
/* Closes at once: streams are failed (up) or orphaned (down), the codec is told, memory is freed after the batch. Idempotent. */
void conn_close(struct conn *c, enum failure why);
/* Closes later in this batch: for callers in the middle of the connection's own streams or feed. The first reason wins. */
void conn_doom(struct conn *c, enum failure why);
/* As conn_doom, and the peer sees a reset, not an end. */
void conn_reset(struct conn *c, enum failure why);
/* Reads no more; closes when streams have ended and everything is written. */
void conn_finish(struct conn *c);
/* The TLS handshake is over: the codec may begin. May close c. */
void conn_secured(struct conn *c);
/* Up: the handshake is over, waiting streams are sent. */
void conn_ready(struct conn *c);

/* Queues bytes for writing at the end of the batch (or writes at once: >= DIRECT_SEND and nothing queued). Never closes:
 * a failed write dooms the connection. */
void conn_send_slow(struct conn *c, const void *p, size_t n);
static inline void conn_mark_dirty(struct conn *c) {
    if (!c->dirty) c->dirty = true, c->dirty_next = c->core->dirty, c->core->dirty = c;
}
static inline void conn_send(struct conn *c, const void *p, size_t n) {
    if (likely(n < DIRECT_SEND && c->state != CONN_DEAD && c->out.bytes < OUT_HIGH &&
               queue_append(&c->core->chunks, &c->out, p, n) == 0))
        conn_mark_dirty(c);
    else conn_send_slow(c, p, n);
}
/* Moves a queue's bytes to c's out queue. */
void conn_send_queue(struct conn *c, struct queue *q);
static inline bool conn_full(const struct conn *c) { return c->full; }
void conn_flush(struct conn *c);

static inline void conn_pause(struct conn *c, enum pause why) { c->paused |= why; }
/* Takes a reason away; with none left the connection is fed and read again later in this batch. */
void conn_unpause(struct conn *c, enum pause why);
/* Down: pauses (WAIT); feed() gets its unconsumed bytes again when somebody unpauses, when fewer than `below` streams are
 * open (0: regardless), or at when_ms (0: no limit), then with wait_expired set (feed clears it). */
void conn_wait(struct conn *c, uint32_t below, uint64_t when_ms);
/* What a wait regardless of streams may have been for has come. */
static inline void conn_wake(struct conn *c) {
    if (!c->wait_below) conn_unpause(c, PAUSE_WAIT);
}
/* Re-arms the connection's one timer after its deadlines changed. */
void conn_arm_timer(struct conn *c);
/* Half-closes our side once everything queued is written; closes when the other side is half-closed as well. */
void conn_shutdown(struct conn *c);
/* What epoll said of it. */
void conn_event(struct conn *c, uint32_t events);
/* Handles what `readable` and the stash promise; at most a few reads, then the ready list. */
void conn_read(struct conn *c);
void conn_list_ready(struct conn *c);
/* Down, at the end of its bytes: another codec gets what is kept, then the end. */
void conn_read_again(struct conn *c);
struct slice conn_ip(struct conn *c);     /* the address alone, without brackets (attr.c) */
const char *conn_address(struct conn *c); /* "127.0.0.1:1234", "[::1]:1234", or the unix socket's path */

#endif
