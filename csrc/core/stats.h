/* Statistics: one row of u64 slots per worker in memory shared by all processes. A worker writes its own row without
 * locks; the controller adds the rows up. Slots are handed out in blocks (one block per listener, upstream,
 * endpoint, route, command) by mosnpy/observe/slots.py, which reads these lists through the binding, so order and
 * names live here alone. */
#ifndef MOSNPY_STATS_H
#define MOSNPY_STATS_H

#include "base.h"

/* name, kind (C counter, G gauge), help */
#define WORKER_STATS(X)                                                         \
    X(polls, C, "turns of the event loop")                                      \
    X(events, C, "epoll events handled")                                        \
    X(recv_calls, C, "recv system calls")                                       \
    X(send_calls, C, "send system calls")                                       \
    X(connections, G, "open sockets, both sides")                               \
    X(streams, G, "requests in flight")                                         \
    X(buffer_chunks, G, "buffer chunks in use")                                 \
    X(plan_generation, G, "generation of the plan in force")                    \
    X(accept_errors, C, "accept() failures: out of file descriptors or memory") \
    X(busy_us, C, "time spent working, without waiting")
/* Why TLS handshakes failed, in the order of enum tls_failure (tls_failure.h); together tls_handshakes_failed. */
#define TLS_FAILURE_STATS(X)                                                                      \
    X(tls_failed_closed, C, "the peer ended the connection")                                      \
    X(tls_failed_timeout, C, "it took too long")                                                  \
    X(tls_failed_protocol, C, "no TLS, or broken messages")                                       \
    X(tls_failed_version, C, "no version in common")                                              \
    X(tls_failed_no_shared_cipher, C, "no cipher, group or signature in common")                  \
    X(tls_failed_no_shared_protocol, C, "no protocol in common (ALPN)")                           \
    X(tls_failed_no_certificate, C, "the peer showed no certificate")                             \
    X(tls_failed_unknown_ca, C, "the peer's certificate is of an unknown authority")              \
    X(tls_failed_expired, C, "the peer's certificate is not valid any more, or not yet")          \
    X(tls_failed_revoked, C, "the peer's certificate is revoked, or there is no list to tell by") \
    X(tls_failed_bad_certificate, C, "the peer's certificate is for somebody or something else")  \
    X(tls_failed_refused, C, "the peer refused: our certificate, or what we offered")
#define LISTENER_STATS(X)                                                           \
    X(connections_total, C, "connections accepted")                                 \
    X(connections_active, G, "connections open")                                    \
    X(connections_refused, C, "connections closed at once: over max_connections")   \
    X(bytes_received, C, "bytes from clients")                                      \
    X(bytes_sent, C, "bytes to clients")                                            \
    X(requests_total, C, "requests decoded")                                        \
    X(requests_active, G, "requests without a reply yet")                           \
    X(local_replies, C, "requests answered by the proxy's own protocol logic")      \
    X(protocol_errors, C, "connections closed for broken bytes")                    \
    X(idle_timeouts, C, "connections closed for idleness or slowness")              \
    X(slow_clients, C, "connections closed because replies were not read")          \
    X(keepalive_timeouts, C, "HTTP/2 connections closed for an unanswered PING")    \
    X(tls_handshakes_total, C, "TLS handshakes completed")                          \
    X(tls_handshakes_failed, C, "TLS handshakes that failed, or took too long")     \
    X(tls_handshakes_resumed, C, "completed TLS handshakes that resumed a session") \
    TLS_FAILURE_STATS(X)
#define UPSTREAM_STATS(X)                                                           \
    X(requests_total, C, "requests sent")                                           \
    X(responses_ok, C, "replies that are no error")                                 \
    X(responses_client_error, C, "error replies that blame the request")            \
    X(responses_server_error, C, "error replies that blame the server")             \
    X(retries_total, C, "requests sent again because they never left")              \
    X(timeouts_total, C, "requests that ran into their timeout")                    \
    X(connections_total, C, "connections opened")                                   \
    X(mirrored_total, C, "requests copied to this upstream as a mirror")            \
    X(bytes_sent, C, "bytes to endpoints")                                          \
    X(bytes_received, C, "bytes from endpoints")                                    \
    X(tls_handshakes_total, C, "TLS handshakes completed")                          \
    X(tls_handshakes_failed, C, "TLS handshakes that failed")                       \
    X(tls_handshakes_resumed, C, "completed TLS handshakes that resumed a session") \
    TLS_FAILURE_STATS(X)
#define ENDPOINT_STATS(X)                                                        \
    X(requests_total, C, "requests sent")                                        \
    X(requests_active, G, "requests without a reply yet")                        \
    X(connections_active, G, "connections open")                                 \
    X(connect_failures, C, "connection attempts that failed")                    \
    X(resets, C, "connections that ended with requests open")                    \
    X(keepalive_timeouts, C, "HTTP/2 connections closed for an unanswered PING") \
    X(timeouts_total, C, "requests that ran into their timeout")                 \
    X(ejections_total, C, "times taken out of balancing for failures")           \
    X(ejected, G, "1 while taken out")
#define ROUTE_STATS(X)                                   \
    X(requests_total, C, "requests taken by this route") \
    X(failures_total, C, "requests answered by the proxy with an error")
#define OPERATION_STATS(X)           \
    X(requests_total, C, "requests") \
    X(errors_total, C, "error replies")

/* Latency histogram of an upstream: counts of replies by duration, plus the sum. Upper bounds in microseconds. */
/* clang-format off */
#define LATENCY_BOUNDS(X) \
    X(100) X(250) X(500) X(1000) X(2500) X(5000) X(10000) X(25000) X(50000) X(100000) X(250000) X(500000) X(1000000) \
    X(2500000) X(5000000) X(10000000)
/* clang-format on */
enum {
#define X(b) +1
    LATENCY_BUCKETS = 0 LATENCY_BOUNDS(X) + 1, /* the last one is +Inf */
#undef X
    LATENCY_SLOTS = LATENCY_BUCKETS + 1 /* then the sum in us */
};

#define X(name, kind, help) WORKER_##name,
enum { WORKER_STATS(X) WORKER_STAT_COUNT };
#undef X
#define X(name, kind, help) LISTENER_##name,
enum {
    LISTENER_STATS(X) LISTENER_STAT_COUNT,
    LISTENER_FAILURES = LISTENER_STAT_COUNT,
    LISTENER_SLOTS = LISTENER_FAILURES + FAILURE_COUNT
};
#undef X
#define X(name, kind, help) UPSTREAM_##name,
enum {
    UPSTREAM_STATS(X) UPSTREAM_STAT_COUNT,
    UPSTREAM_LATENCY = UPSTREAM_STAT_COUNT,
    UPSTREAM_SLOTS = UPSTREAM_LATENCY + LATENCY_SLOTS
};
#undef X
#define X(name, kind, help) ENDPOINT_##name,
enum { ENDPOINT_STATS(X) ENDPOINT_SLOTS };
#undef X
#define X(name, kind, help) ROUTE_##name,
enum { ROUTE_STATS(X) ROUTE_SLOTS };
#undef X
#define X(name, kind, help) OPERATION_##name,
enum { OPERATION_STATS(X) OPERATION_SLOTS };
#undef X

/* The writer's side: `row` is this worker's row, `slots` its length. Blocks beyond the row are refused at plan
 * build. */
struct stats {
    uint64_t *row;
    uint32_t slots;
};
static inline void stat_add(uint64_t *slot, uint64_t n) { *slot += n; }
/* Adds one observation to the LATENCY_SLOTS block at `h`. */
void stat_latency(uint64_t *h, uint64_t us);
extern const uint32_t stat_latency_bounds[LATENCY_BUCKETS - 1];

#endif
