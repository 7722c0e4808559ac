/* The plan: the compiled, immutable configuration one core works by (the plan's MessagePack form is documented in
 * docs/internals/plan.md), and the endpoints, which outlive plans.
 *
 * A plan is built on any thread (plan_new touches no core), then adopted by the data thread at a batch boundary
 * (plan_adopt): listeners of the same id and endpoints of the same upstream and address go on where they were. It is freed
 * when its last stream has ended. Endpoint: runtime state (connections, failures), shared by successive plans. */
#ifndef MOSNPY_PLAN_H
#define MOSNPY_PLAN_H

#include "../codec.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../route/route.h"
#include "balance.h"
#include "stats.h"
#include "timer.h"

struct core;
struct conn;
struct stream;
struct lane;
struct tls_server;
struct tls_client;
struct ssl_session_st;

union address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* One protocol of a listener with its routes. */
struct service {
    const struct codec *codec;
    void *options;             /* codec->listener_new */
    struct route_table *table; /* one of the plan's */
    bool asks_name;            /* a rule of it looks at tls.sni */
};

/* What is spoken on a connection: one protocol, or several to detect from, maybe within TLS. The first chain is the listener's
 * own, the others are chosen by the name a TLS client asks for (SNI). */
struct chain {
    struct slice name;   /* stable over reloads; empty for the first */
    struct slice *names; /* exact or "*.suffix", lower case */
    uint32_t name_count;
    struct service *services; /* in the order of detection */
    uint32_t service_count;
    struct tls_server *tls; /* NULL: plaintext only (the first chain), or as the first chain */
};

struct listener {
    struct plan *plan;
    struct slice name;
    uint32_t id;    /* stable over reloads */
    uint64_t *stat; /* LISTENER_SLOTS block */
    struct chain *chains;
    uint32_t chain_count; /* at least 1 */
    uint32_t max_connections, idle_timeout_ms, client_buffer;
    bool proxy_protocol;
    bool greets;  /* the client's first message is looked at (greeting.h) */
    bool guarded; /* one of several chains asks clients for certificates: greeting_misdirected() */
};

struct
    endpoint { /* runtime; one per (upstream name, address) of a core; freed when in no plan and without connections */
    struct endpoint *next;
    uint32_t refs; /* plans that name it; freed at 0 without connections (pool_sweep) */
    char *key;     /* "upstream\0address" text, owned */
    char name[128];
    union address addr;
    socklen_t addr_len;
    struct core *core;
    struct upstream *upstream; /* of the plan in force; NULL once no plan has it: no new connections */
    struct lb_endpoint *lb;    /* in that upstream's array */
    uint64_t *stat;            /* ENDPOINT_SLOTS block */
    uint32_t health_slot;
    struct lane *lanes;
    struct ssl_session_st *tls_session; /* for the next connection to resume; owned, may be NULL */
    uint32_t connections;               /* open or opening */
    uint32_t inflight;
    uint32_t failures;                    /* connect failures in a row */
    uint32_t ejections;                   /* in a row: doubles the time out */
    uint64_t ejected_until_ms;            /* 0 = not ejected */
    uint64_t retry_at_ms;                 /* no new connection before */
    struct conn *waiters, **waiters_tail; /* clients waiting for an exclusive connection (conn.wait_next) */
    struct stream *queued, **queued_tail; /* streams waiting for a connection (stream.up_next) */
    uint32_t queued_count;
    bool serving; /* pool_serve() is at work */
};

struct upstream {
    struct plan *plan;
    struct slice name;
    uint64_t *stat; /* UPSTREAM_SLOTS block */
    const struct codec *codec;
    void *options;          /* codec->upstream_new */
    struct tls_client *tls; /* NULL: plaintext */
    uint32_t connect_timeout_ms, idle_timeout_ms;
    uint32_t connections, max_connections, max_pending, attempts; /* connections: shared ones per endpoint and lane */
    uint8_t proxy_protocol;                                       /* 0 off, 1, 2 */
    uint32_t eject_failures, eject_base_ms, eject_max_ms;
    uint16_t hash_attr; /* ATTR_NONE: none */
    enum lb_policy policy;
    struct balancer *lb;
    uint32_t endpoint_count;
    struct lb_endpoint *lb_endpoints;
    struct endpoint_spec { /* what the plan says of an endpoint; `runtime` is filled by plan_adopt */
        struct endpoint *runtime;
        struct slice name;
        union address addr;
        socklen_t addr_len;
        uint32_t weight, health_slot, stat_base;
    } * endpoints;
};

struct plan {
    uint8_t *doc; /* the MessagePack bytes; all slices of the plan point in here */
    size_t doc_size;
    uint64_t generation;
    uint32_t busy_poll_us;
    uint32_t refs; /* streams started under this plan, plus one while in force */
    uint32_t listener_count, upstream_count, table_count;
    struct listener *listeners;
    struct upstream *upstreams;
    struct upstream **upstream_index;
    struct plan_table { /* for messages of every codec with the attributes of this one: services share it */
        const struct codec *codec;
        struct route_table *routes;
        bool asks_name; /* as of a service */
    } * tables;
    struct {
        const struct codec *codec;
        void *section;
    } sections[8]; /* codec->codec_new, codecs that have one */
    uint32_t section_count;
    struct stats stats;
};

/* Builds a plan from MessagePack bytes (copied). Statistics blocks outside `stats` are refused (stats.row may be NULL for a
 * mere check). NULL and a sentence in err when malformed. */
struct plan *plan_new(const uint8_t *doc, size_t n, struct stats stats, char *err, size_t err_size);
void plan_free(struct plan *p);
void *plan_section(const struct plan *p, const struct codec *codec);
/* A statistics block of `slots` slots at `base`, NULL (err set) when outside the row. A plan without row gets a dummy. */
uint64_t *plan_stat(const struct plan *p, uint32_t base, uint32_t slots);
struct listener *plan_listener(const struct plan *p, uint32_t id);
/* Whether requests of codec `from` may be sent to servers of codec `to`: the same protocol, or one family. */
bool codecs_related(const struct codec *from, const struct codec *to);

/* The data thread's side: makes `p` the plan in force. */
void plan_adopt(struct core *core, struct plan *p);
static inline void plan_ref(struct plan *p) { p->refs++; }
void plan_unref(struct core *core, struct plan *p);

/* Picks an endpoint: -1/NULL when none is usable. */
struct endpoint *upstream_pick(struct upstream *u, uint64_t hash, const struct endpoint *skip);
void endpoint_connected(struct endpoint *ep); /* a connect succeeded: clears failures */
void endpoint_failed(struct endpoint *ep);    /* a connect failed: back-off and, after some, ejection */
void endpoint_refresh(struct core *core);     /* re-reads health and ejection into lb_endpoint.usable; every tick */

#endif
