/* The core: one event loop with all it owns. One per worker, used by one thread at a time.
 *
 * One turn (core_poll): wait -> handle events (read, feed, dispatch) -> ready list -> mail from other threads -> timers ->
 * flush every dirty connection once -> free the dead. See ARCHITECTURE.md for the way of one message through the files. */
#ifndef MOSNPY_CORE_H
#define MOSNPY_CORE_H

#include "buffer.h"

#include <pthread.h>
#include <sys/epoll.h>

#include "stats.h"
#include "timer.h"

#define MAX_EVENTS 256
#define SCRATCH_MIN (256u * 1024)
#define SCRATCH_MAX (1024u * 1024)
#define DRAIN_IDLE_MS 100 /* while draining, a client that was silent for so long is closed */
#define TICK_MS 100       /* health, gauges, idle pools */

struct conn;
struct stream;
struct plan;
struct endpoint;
struct codec;

struct slab { /* fixed-size objects; memory is reused, never given back before the core ends */
    size_t size;
    void *free;
    struct slab_block *blocks;
    uint32_t live, total;
};
void slab_init(struct slab *s, size_t size);
void *slab_new(struct slab *s); /* not zeroed; NULL when memory is out */
void slab_put(struct slab *s, void *object);
void slab_free(struct slab *s);

struct acceptor { /* a listening socket; not owned: the supervisor keeps it for life */
    struct acceptor *next;
    uint32_t listener_id;
    int fd;
    bool closed;
    struct timer retry; /* accept() ran out of descriptors */
    struct core *core;
};

struct core_event { /* to the host's main thread */
    struct core_event *next;
    enum { EVENT_PLAN, EVENT_DRAINED, EVENT_LISTENER_REMOVED, EVENT_INFO, EVENT_WARNING /* a line for the log */ } kind;
    uint64_t value;
    char text[];
};

struct mail { /* to the data thread */
    struct mail *next;
    enum { MAIL_PLAN, MAIL_DRAIN, MAIL_STOP } kind;
    struct plan *plan;
    struct {
        uint32_t id;
        int fd;
    } * listeners;
    uint32_t listener_count;
    uint32_t timeout_ms;
};

/* What the connections of a codec, or of several, share within one core: the index into core->shared. */
enum core_shared { SHARED_REDIS, SHARED_HTTP, SHARED_HTTP2, SHARED_COUNT };

struct core {
    int epfd, wakefd, timerfd, eventsfd;
    uint64_t now_us, now_ms; /* CLOCK_MONOTONIC at the start of the batch */
    struct chunk_pool chunks;
    struct timer_wheel wheel;
    struct timer tick;
    struct conn *dirty, *ready, *dead;
    struct conn *conns[2]; /* all, by side */
    uint32_t conn_count[2];
    uint8_t *scratch;
    uint32_t scratch_size;
    bool scratch_filled; /* a read filled scratch in this batch: grow it */
    uint8_t *plain;      /* what TLS decrypts from scratch; NULL while nobody needs it */
    uint32_t plain_size;
    struct slab streams;
    struct slab *conn_slabs; /* one per codec and side, and one for clients whose codec is not known at first */
    uint32_t any_slab;       /* index of the latter */
    struct plan *plan;
    struct plan *retired_plans;
    struct endpoint *endpoints;
    struct acceptor *acceptors;
    struct stats stats;
    uint64_t *stat; /* WORKER block of the row */
    const volatile uint8_t *health;
    uint32_t health_slots;
    uint64_t rng;
    uint64_t next_id;      /* of clients */
    uint32_t client_limit; /* descriptors in use from which on no client is accepted */
    bool draining, drained, stopping;
    bool leaving; /* clients may be left whose listener is in no plan any more */
    uint64_t drain_deadline_ms,
        drain_farewell_ms; /* from the latter on, clients that never pause are sent away between two requests */
    bool inline_host;      /* epoll fd is watched by another loop: keep the timerfd armed */
    uint64_t timerfd_ms;
    void *shared[SHARED_COUNT]; /* owned by codecs; NULL until first needed */
    pthread_mutex_t mail_lock;
    struct mail *mail, **mail_tail;
    struct core_event *events, **events_tail;
    struct {
        uint64_t since_ms; /* begin of the second they are counted in */
        uint32_t lines, left_out;
    } tls_log;
    struct epoll_event batch[MAX_EVENTS];
};

/* `row`, `health`: shared memory, borrowed for the core's life. NULL when a descriptor or memory is not to be had. */
struct core *core_new(struct stats stats, const volatile uint8_t *health, uint32_t health_slots, uint64_t seed);
/* Closes every connection and frees everything. Returns how many objects were still alive afterwards (0, else a leak). */
uint64_t core_free(struct core *core);
/* One turn, waiting at most timeout_ms (-1: until something happens). Returns events handled. */
int core_poll(struct core *core, int timeout_ms);
/* Turns until core_post(MAIL_STOP); busy-polls when the plan says so. */
void core_run(struct core *core);

/* Any thread. Ownership of the mail and what it holds moves to the core. */
void core_post(struct core *core, struct mail *m);
/* Any thread: the next event for the host, owned by the caller (free()); NULL: none. */
struct core_event *core_take_event(struct core *core);
void core_emit(struct core *core, int kind, uint64_t value);
/* A line for the host's log: EVENT_INFO or EVENT_WARNING. Callers bound how many. */
void core_say(struct core *core, int kind, const char *text);

uint32_t codec_index(const struct codec *codec); /* position in codecs[] */
static inline uint64_t core_random(struct core *core) { return rng_next(&core->rng); }

#endif
