/* Reading: from the socket, through TLS where there is some, to the codec; what it does not take is kept. */
#include "conn_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "greeting.h"
#include "pool.h"
#include "proxy_protocol.h"
#include "tls.h"

#define READ_ROUNDS 4   /* reads of one connection before others get their turn */
#define STASH_MIN 4096u /* first size of the buffer for an unfinished frame */

/* Room behind the stashed bytes; at most doubles what has really come, so an announced size allocates nothing. */
static bool stash_room(struct conn *c) {
    uint32_t held = c->in_end - c->in_start;
    if (c->in_start && (c->in_start >= held || c->in_end == c->in_cap)) {
        memmove(c->in, c->in + c->in_start, held);
        c->in_start = 0, c->in_end = held;
    }
    if (c->in_cap - c->in_end >= STASH_MIN / 2) return true;
    size_t cap = max_size(STASH_MIN, (size_t)c->in_cap * 2);
    if (cap > (size_t)c->codec->max_stash * 2 + SCRATCH_MAX) return false;
    uint8_t *in = realloc(c->in, cap);
    if (!in) return false;
    c->in = in, c->in_cap = (uint32_t)cap;
    return true;
}

static bool stash_keep(struct conn *c, const uint8_t *p, size_t n) {
    if (n > (size_t)c->codec->max_stash + SCRATCH_MAX) return false;
    size_t cap = n < STASH_MIN ? STASH_MIN : n;
    if (!c->in || c->in_cap < cap) {
        uint8_t *in = realloc(c->in, cap);
        if (!in) return false;
        c->in = in, c->in_cap = (uint32_t)cap;
    }
    memcpy(c->in, p, n);
    c->in_start = 0, c->in_end = (uint32_t)n;
    return true;
}

/* Behind what is kept; grows by what has come. */
static bool stash_append(struct conn *c, const uint8_t *p, size_t n) {
    size_t held = c->in_end - c->in_start, cap = c->in_cap;
    if (held == 0) return stash_keep(c, p, n);
    if (held + n > (size_t)c->codec->max_stash * 2 + SCRATCH_MAX + TLS_SLACK) return false;
    memmove(c->in, c->in + c->in_start, c->in_start ? held : 0);
    c->in_start = 0, c->in_end = (uint32_t)held;
    if (cap < held + n) {
        uint8_t *in = realloc(c->in, cap = max_size(cap * 2, held + n));
        if (!in) return false;
        c->in = in, c->in_cap = (uint32_t)cap;
    }
    memcpy(c->in + held, p, n);
    c->in_end += (uint32_t)n;
    return true;
}

static void stash_drop(struct conn *c) {
    free(c->in);
    c->in = NULL, c->in_start = c->in_end = c->in_cap = 0;
}

/* The codec's turn. True while the connection may be read on. */
static bool conn_feed(struct conn *c, const uint8_t *p, size_t n, bool stashed) {
    ssize_t k = likely(!c->expect_proxy && !c->greeting) ? c->codec->feed(c, p, n)
                : c->expect_proxy                        ? proxy_protocol_read(c, p, n)
                                                         : greeting_feed(c, p, n);
    if (unlikely(c->state == CONN_DEAD)) return false;
    if (unlikely(k < 0)) {
        if (c->side == DOWN) c->listener->stat[LISTENER_protocol_errors]++;
        if (k == FEED_FINISH) conn_finish(c);
        else conn_close(c, c->side == DOWN ? FAIL_BAD_REQUEST : FAIL_BAD_REPLY);
        return false;
    }
    if (k > 0) c->active_ms = c->core->now_ms;
    if (c->state == CONN_FINISHING) return false;
    if (stashed) {
        c->in_start += (uint32_t)k;
        if (c->in_start == c->in_end) stash_drop(c);
    } else if ((size_t)k < n && !stash_keep(c, p + k, n - (size_t)k)) {
        conn_close(c, FAIL_INTERNAL);
        return false;
    }
    return !c->paused && !c->doom;
}

static bool feed_stash(struct conn *c) {
    while (c->in_end > c->in_start) {
        uint32_t before = c->in_end - c->in_start;
        if (c->need > before) return true;
        c->need = 0;
        if (!conn_feed(c, c->in + c->in_start, before, true)) return false;
        if (c->in_end - c->in_start == before) return true;
    }
    return true;
}

void conn_broken(struct conn *c) {
    c->readable = false;
    conn_close(c, c->side == DOWN ? FAIL_CLIENT_GONE : c->state < CONN_OPEN ? FAIL_CONNECT : FAIL_UPSTREAM_RESET);
}

static void conn_at_eof(struct conn *c) {
    c->readable = false;
    if (c->eof) return;
    if (unlikely(c->greeting || c->expect_proxy || (c->tls && c->tls->state != TLS_READY))) { /* no codec has begun */
        if (!c->greeting || !greeting_eof(c)) conn_broken(c);
        return;
    }
    if (unlikely(c->truncated && c->side == UP && !c->tls->spoken)) { /* not a word from it: it refused us */
        conn_broken(c);
        return;
    }
    c->eof = true;
    if (c->codec->eof) c->codec->eof(c);
    else if (c->side == UP) conn_close(c, FAIL_UPSTREAM_RESET);
    else conn_finish(c);
}

void conn_read_again(struct conn *c) {
    c->eof = false, c->readable = true;
    conn_list_ready(c);
}

static void count_received(struct conn *c, size_t n) {
    c->core->stat[WORKER_recv_calls]++;
    if (c->side == DOWN) c->listener->stat[LISTENER_bytes_received] += n;
    else if (c->endpoint->upstream) c->endpoint->upstream->stat[UPSTREAM_bytes_received] += n;
}

/* One recv. 0: nothing came; the end of the stream and errors are dealt with. */
static inline size_t receive(struct conn *c, uint8_t *to, size_t room) {
    ssize_t n = syscall(SYS_recvfrom, c->fd, to, room, MSG_DONTWAIT, NULL, NULL);
    if (n <= 0) {
        if (n == 0) {
            c->truncated = c->tls && !c->tls->closed;
            conn_at_eof(c);
        } else if (errno == EAGAIN) {
            c->readable = false;
        } else if (errno != EINTR) {
            conn_broken(c);
        }
        return 0;
    }
    count_received(c, (size_t)n);
    /* A short read drained the socket, unless a FIN waits behind it: its edge has been delivered already. */
    if ((size_t)n < room && !c->hangup) c->readable = false;
    return (size_t)n;
}

/* One recv and its feed. True when more may be there. */
static bool read_once(struct conn *c) {
    struct core *core = c->core;
    bool stashed = c->in_end > c->in_start;
    if (stashed && !stash_room(c)) {
        conn_close(c, FAIL_INTERNAL);
        return false;
    }
    uint8_t *to = stashed ? c->in + c->in_end : core->scratch;
    size_t room = stashed ? c->in_cap - c->in_end : core->scratch_size, n = receive(c, to, room);
    if (n == 0) return false;
    if (n == room && !stashed) core->scratch_filled = true;
    if (stashed) {
        c->in_end += (uint32_t)n;
        return feed_stash(c) && c->readable && !c->paused;
    }
    return conn_feed(c, to, n, false) && c->readable;
}

/* TLS can't go on: broken records, an alert, a handshake that failed. */
static void tls_lost(struct conn *c) {
    if (c->side == DOWN) {
        conn_close(c, FAIL_BAD_REQUEST);
        return;
    }
    conn_close(c, c->state < CONN_OPEN ? FAIL_CONNECT : FAIL_UPSTREAM_RESET);
}

/* As read_once, with TLS between. What is decrypted while c is paused, or behind an unfinished frame, is kept as its plaintext. */
static bool read_secured(struct conn *c) {
    struct core *core = c->core;
    size_t n = receive(c, core->scratch, core->scratch_size);
    if (n == 0) return false;
    if (n == core->scratch_size) core->scratch_filled = true;
    size_t plain = tls_decrypt(c, core->scratch, n);
    if (c->state == CONN_DEAD) return false;
    if (plain && c->in_end == c->in_start && !c->paused) conn_feed(c, core->plain, plain, false);
    else if (plain && !stash_append(c, core->plain, plain)) conn_close(c, FAIL_INTERNAL);
    else if (plain && !c->paused) feed_stash(c);
    if (c->state == CONN_DEAD) return false;
    if (c->tls->state == TLS_FAILED) tls_lost(c);
    return c->state < CONN_FINISHING && c->readable && !c->paused && !c->doom;
}

void conn_read(struct conn *c) {
    if (c->state == CONN_CONNECTING || c->state >= CONN_FINISHING || c->paused) return;
    if (c->doom) {
        conn_list_ready(c);
        return;
    }
    if (c->in_end > c->in_start && !feed_stash(c)) return;
    for (int i = 0; i < READ_ROUNDS && c->readable; i++)
        if (c->paused || !(likely(!c->tls) ? read_once(c) : read_secured(c))) break;
    if (unlikely(c->tls && c->tls->closed) && c->state < CONN_FINISHING && !c->paused && !c->doom && !c->eof &&
        !c->listed) /* else: when its turn comes, behind what is kept */
        conn_at_eof(c);
    if (c->state < CONN_FINISHING && c->readable && !c->paused) conn_list_ready(c);
}
