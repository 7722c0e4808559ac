/* What both ends of the load agree on: sockets on 127.0.0.1, a clock, and which value belongs to which key.
 *
 * The value of a key of n bytes is the key itself followed by a fixed pattern (a key longer than the value is cut to its
 * last bytes, where keys differ). So the client can tell, byte for byte, that a reply is the one to its own request, and
 * the stub backend needs no memory of what was SET.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    WIRE_VALUE_MAX = 64 << 20, /* bytes of the largest value either end will produce */
    WIRE_EDGE = 4096,    /* bytes compared at each end of a big value; the middle is counted, not copied (MSG_TRUNC) */
    WIRE_BIG = 64 << 10, /* a value from this size on is big: sent from the pattern itself, received by its edges */
};

static inline uint64_t wire_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void wire_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline void wire_nonblocking(int fd) {
    int one = 1;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) { wire_die("fcntl: %s", strerror(errno)); }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
               sizeof one); /* fails on a listening Unix socket only; we have none */
}

static inline struct sockaddr_in wire_loopback(unsigned port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* Listens on 127.0.0.1:port (0 = any) without blocking, prints "port N\n" for whoever started us, returns the fd. */
static inline int wire_listen(unsigned port) {
    struct sockaddr_in a = wire_loopback(port);
    socklen_t length = sizeof a;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &length) < 0) {
        wire_die("listen on 127.0.0.1:%u: %s", port, strerror(errno));
    }
    wire_nonblocking(fd);
    printf("port %u\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

/* The endless pattern's first n bytes; printable, without CR or LF, so that a cut reply never looks like a whole one. */
static inline char *wire_pattern(size_t n) {
    char *p = malloc(n ? n : 1);
    uint32_t x = 0x9E3779B9u;
    if (!p) { wire_die("out of memory for a value of %zu bytes", n); }
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        p[i] = (char)('a' + x % 26);
    }
    return p;
}

/* The part of a value that depends on its key: *length bytes, at the returned place inside key. */
static inline const char *wire_value_head(const char *key, size_t key_length, size_t value_size, size_t *length) {
    *length = key_length < value_size ? key_length : value_size;
    return key + (key_length - *length);
}

/* Whether p[0..n) is the value of a key from byte `at` on; n bytes more than the value has are wrong, too. */
static inline bool wire_value_is(const char *key, size_t key_length, const char *pattern, size_t value_size, size_t at,
                                 const void *p, size_t n) {
    size_t own, of_key = 0;
    const char *head = wire_value_head(key, key_length, value_size, &own);
    if (n > value_size || at > value_size - n) { return false; }
    if (at < own) {
        of_key = n < own - at ? n : own - at;
        if (memcmp(head + at, p, of_key)) { return false; }
    }
    return !memcmp(pattern + at + of_key, (const char *)p + of_key, n - of_key);
}

#endif
