/* Words every file of the core shares: byte slices, branch hints, failures, hashing.
 *
 * Rules that hold for the whole of csrc/:
 *  - no function asserts on bytes from the network; a broken peer is a value (negative return), never a crash;
 *  - a length from the wire is checked against a limit before anything is allocated or skipped by it;
 *  - times are milliseconds (suffix _ms) or microseconds (_us) of CLOCK_MONOTONIC, read once per epoll batch;
 *  - one core is used by one thread only; nothing here locks. */
#ifndef MOSNPY_BASE_H
#define MOSNPY_BASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, memrchr; every file includes this header before any of the system's */
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define countof(a) (sizeof(a) / sizeof((a)[0]))

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* Borrowed bytes: the pointer's owner is named where the slice is made. Never NUL-terminated. */
struct slice {
    const uint8_t *p;
    size_t n;
};
#define SLICE(lit) ((struct slice){(const uint8_t *)(lit), sizeof(lit) - 1})
static inline struct slice slice_of(const void *p, size_t n) { return (struct slice){(const uint8_t *)p, n}; }
static inline bool slice_eq(struct slice a, struct slice b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Why the proxy itself answers. The order is the order of the statistics slots (stats.h) and of
 * mosnpy.errors.Failure. */
#define FAILURES(X)                                                       \
    X(NONE, "--", "no failure")                                           \
    X(NO_ROUTE, "NR", "no route matches")                                 \
    X(NO_ENDPOINT, "UH", "no usable endpoint")                            \
    X(CONNECT, "UF", "upstream connection failed")                        \
    X(TIMEOUT, "UT", "upstream request timeout")                          \
    X(OVERFLOW, "UO", "too many pending requests or connections")         \
    X(RATE_LIMITED, "RL", "rate limit exceeded")                          \
    X(DENIED, "DE", "request denied by policy")                           \
    X(UPSTREAM_RESET, "UC", "upstream connection closed before replying") \
    X(BAD_REQUEST, "BR", "protocol error in the request")                 \
    X(BAD_REPLY, "BU", "protocol error in the reply")                     \
    X(DRAINING, "DR", "the proxy is shutting down")                       \
    X(CLIENT_GONE, "DC", "the client closed the connection")              \
    X(SLOW_CLIENT, "SC", "the client does not read its replies")          \
    X(INTERNAL, "IN", "internal error")
enum failure {
#define X(name, flag, text) FAIL_##name,
    FAILURES(X)
#undef X
        FAILURE_COUNT
};
const char *failure_flag(enum failure f); /* two letters for the access log */
const char *failure_text(enum failure f); /* the sentence above */

/* 64-bit hash of bytes for tables and consistent hashing; stable across builds and machines (endpoint placement
 * depends on it), not for adversarial keys: tables keyed by client bytes must bound their chains. */
uint64_t hash_bytes(const void *p, size_t n);
static inline uint64_t hash_mix(uint64_t x) { /* splitmix64 finaliser */
    x ^= x >> 30, x *= 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 27, x *= 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* xorshift64*: jitter and sampling only. State must not be 0. */
static inline uint64_t rng_next(uint64_t *s) {
    uint64_t x = *s;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    *s = x;
    return x * 0x2545f4914f6cdd1dULL;
}

#endif
