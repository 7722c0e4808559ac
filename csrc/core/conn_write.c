/* Writing: what waits in c->out leaves, through TLS where there is some, and what is done when all of it has left. */
#include "conn_parts.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tls.h"
#include "tls_failure.h"

#define FLUSH_IOV 64 /* pieces per sendmsg */
#define JOINED_SEND \
    65536u /* pieces at least this long leave together with what waits before them: copying them costs more than a call */
#define LINGER_READS \
    16 /* scratches of unread input thrown away before a close, so that no RST overtakes our last words */

static void count_sent(struct conn *c, size_t n) {
    c->core->stat[WORKER_send_calls]++;
    c->active_ms = c->core->now_ms;
    if (c->side == DOWN) c->listener->stat[LISTENER_bytes_sent] += n;
    else if (c->endpoint->upstream) c->endpoint->upstream->stat[UPSTREAM_bytes_sent] += n;
}

/* libc's send() and recv() are cancellation points, which costs them 1-2 % of a request in a process with threads. */
static inline ssize_t sys_send(int fd, const void *p, size_t n) {
    return syscall(SYS_sendto, fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
}

/* What a socket takes now of a piece nobody has queued. Errors doom the connection and take everything. */
static size_t send_direct(struct conn *c, const void *p, size_t n) {
    ssize_t r = sys_send(c->fd, p, n);
    if (r < 0 && errno != EAGAIN && errno != EINTR) {
        conn_doom(c, c->side == UP ? FAIL_UPSTREAM_RESET : FAIL_CLIENT_GONE);
        return n;
    }
    count_sent(c, r > 0 ? (size_t)r : 0);
    if (r < 0) r = 0;
    if ((size_t)r < n) c->writable = false;
    c->out.base += (uint64_t)r; /* stream positions count bytes that never queued as well */
    return (size_t)r;
}

/* One sendmsg of several pieces; *total: their bytes. */
static __attribute__((noinline)) ssize_t send_pieces(int fd, const struct queue *q, size_t *total) {
    struct iovec iov[FLUSH_IOV];
    int pieces = queue_iov(q, iov, FLUSH_IOV);
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)pieces};
    *total = 0;
    for (int i = 0; i < pieces; i++) *total += iov[i].iov_len;
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One call for what waits. False when it failed: c is doomed then. */
static bool send_queue(struct conn *c, struct queue *q) {
    const struct chunk *only = q->head == q->tail ? q->head : NULL;
    size_t total = q->bytes;
    ssize_t r = likely(only != NULL) ? sys_send(c->fd, only->data + only->start, total) : send_pieces(c->fd, q, &total);
    if (r < 0) {
        if (errno == EINTR) return true;
        c->writable = false;
        if (errno == EAGAIN) return true;
        conn_doom(c, c->side == UP ? FAIL_UPSTREAM_RESET : FAIL_CLIENT_GONE);
        return false;
    }
    count_sent(c, (size_t)r);
    queue_consume(&c->core->chunks, q, (size_t)r);
    if ((size_t)r < total) c->writable = false;
    return true;
}

static inline bool may_send(const struct conn *c) { return c->writable && c->state >= CONN_HANDSHAKE && !c->doom; }

/* As send_direct, encrypted. */
static size_t send_sealed(struct conn *c, const uint8_t *p, size_t n) {
    size_t done = 0, some = 1;
    while (done < n && some && may_send(c)) {
        some = tls_seal(c, p + done, n - done);
        done += some;
        if (c->tls->out.bytes) send_queue(c, &c->tls->out);
    }
    c->out.base += done;
    return c->doom ? n : done;
}

/* Records are made as long as the socket takes them. False: c is doomed. */
static bool flush_secured(struct conn *c) {
    struct queue *records = &c->tls->out;
    while (may_send(c)) {
        tls_encrypt(c);
        if (records->bytes == 0) break;
        if (!send_queue(c, records)) return false;
    }
    return !c->doom;
}

void conn_note_full(struct conn *c) {
    if (c->out.bytes + c->held >= OUT_HIGH && !c->full) {
        c->full = true;
        if (c->side == DOWN) conn_pause(c, PAUSE_OUT);
    }
}

/* What waits and a large piece behind it, in one call: a head that waits for the end of the batch must not send its body by way of
 * the queue. How much of the piece has left; as send_direct about errors. */
static size_t send_behind(struct conn *c, const void *p, size_t n) {
    struct iovec iov[FLUSH_IOV];
    size_t waiting = c->out.bytes, listed = 0;
    int pieces = queue_iov(&c->out, iov, FLUSH_IOV - 1);
    for (int i = 0; i < pieces; i++) listed += iov[i].iov_len;
    if (listed != waiting) return 0;
    iov[pieces++] = (struct iovec){(void *)(uintptr_t)p, n};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)pieces};
    ssize_t r = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (r < 0 && errno != EAGAIN && errno != EINTR) {
        conn_doom(c, c->side == UP ? FAIL_UPSTREAM_RESET : FAIL_CLIENT_GONE);
        return n;
    }
    size_t sent = r > 0 ? (size_t)r : 0, of_queue = min_size(sent, waiting);
    count_sent(c, sent);
    if (sent < waiting + n) c->writable = false;
    queue_consume(&c->core->chunks, &c->out, of_queue);
    c->out.base += sent - of_queue;
    return sent - of_queue;
}

void conn_send_slow(struct conn *c, const void *data, size_t n) {
    const uint8_t *p = data;
    if (c->state == CONN_DEAD || c->doom) return;
    if (c->out.bytes && n >= JOINED_SEND && !c->tls && may_send(c)) {
        size_t sent = send_behind(c, p, n);
        p += sent, n -= sent;
        if (n == 0) return;
    }
    if (c->out.bytes == 0 && c->writable && c->state >= CONN_HANDSHAKE) {
        size_t sent = likely(!c->tls) ? send_direct(c, p, n) : send_sealed(c, p, n);
        p += sent, n -= sent;
    }
    if (n == 0) return;
    if (queue_append(&c->core->chunks, &c->out, p, n) < 0) conn_doom(c, FAIL_INTERNAL);
    conn_mark_dirty(c);
    conn_note_full(c);
}

void conn_send_queue(struct conn *c, struct queue *q) {
    if (c->state == CONN_DEAD) {
        queue_clear(&c->core->chunks, q);
        return;
    }
    queue_splice(&c->core->chunks, &c->out, q);
    conn_mark_dirty(c);
    conn_note_full(c);
}

/* Input that was never read would make close() send RST, and that may overtake the reply the client is about to read. */
static void linger(struct conn *c) {
    if (c->reset_on_close) return;
    shutdown(c->fd, SHUT_WR);
    for (int i = 0; i < LINGER_READS; i++)
        if (recv(c->fd, c->core->scratch, c->core->scratch_size, MSG_DONTWAIT) <= 0) break;
}

static void linger_close(struct conn *c) {
    linger(c);
    conn_close(c, FAIL_NONE);
}

/* Clients that pause are closed in a pause (core_tick). One that never does is sent away together with the replies it waited
 * for, when the time to drain runs out: it can't have sent more yet, unless its bytes are there to be seen. */
static bool may_leave(struct conn *c) {
    uint8_t byte;
    if (c->side != DOWN || c->state != CONN_OPEN || c->streams || conn_unsent(c) || c->in_end != c->in_start ||
        c->paused)
        return false;
    if (!tls_between(c)) return false;
    if (c->codec->mode == POOL_PINNED || (c->codec->busy && c->codec->busy(c))) return false;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Everything has left, and with TLS the word that it was everything. */
static bool all_said(struct conn *c) {
    if (c->out.bytes) return false;
    if (likely(!c->tls)) return true;
    if (!c->unsaid && !c->reset_on_close) tls_bye(c);
    return flush_secured(c) && c->tls->out.bytes == 0;
}

/* The last that a TLS peer hears of a connection that closes: that it had everything, or the alert that tells what was wrong. One
 * that is cut off hears nothing, and knows by that. */
void conn_part(struct conn *c, enum failure why) {
    bool idle = c->codec->mode != POOL_PINNED && (why == FAIL_TIMEOUT || why == FAIL_DRAINING);
    bool failed = c->tls->state == TLS_FAILED;
    if (c->tls->state == TLS_HANDSHAKE) tls_unfinished(c, why);
    if (c->reset_on_close || c->cut_off || c->unsaid || c->out.bytes) return;
    if (why == FAIL_NONE || idle) tls_bye(c);
    else if (!failed) return;
    if (c->tls->out.bytes && c->writable) send_queue(c, &c->tls->out);
    if (failed) linger(c);
}

static void after_flush(struct conn *c) {
    if (unlikely(c->core->draining) && c->core->now_ms >= c->core->drain_farewell_ms && may_leave(c)) {
        linger_close(c);
        return;
    }
    if (c->full && c->out.bytes + c->held < OUT_LOW) {
        c->full = false;
        if (c->blocked) {
            if (c->blocked->gen == c->blocked_gen) conn_unpause(c->blocked, PAUSE_PEER);
            c->blocked = NULL;
        }
        if (c->side == DOWN) conn_unpause(c, PAUSE_OUT);
        if (c->codec->drained) c->codec->drained(c);
    }
    if (c->state == CONN_FINISHING && c->streams == 0 && all_said(c)) {
        linger_close(c);
    } else if (c->shut && c->state == CONN_OPEN && all_said(c)) {
        shutdown(c->fd, SHUT_WR);
        if (c->eof) conn_close(c, FAIL_NONE);
    }
}

void conn_shutdown(struct conn *c) {
    c->shut = true;
    conn_mark_dirty(c);
}

void conn_flush(struct conn *c) {
    if (unlikely(c->tls != NULL)) {
        if (!flush_secured(c)) return;
    } else {
        while (c->out.bytes && may_send(c))
            if (!send_queue(c, &c->out)) return;
    }
    after_flush(c);
}
