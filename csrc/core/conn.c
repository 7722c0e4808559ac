/* Reading, writing, pausing and closing one connection. Nothing here knows a protocol. */
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "detect.h"
#include "greeting.h"
#include "pool.h"
#include "proxy_protocol.h"
#include "stream.h"
#include "tls.h"

#define READ_ROUNDS 4   /* reads of one connection before others get their turn */
#define STASH_MIN 4096u /* first size of the buffer for an unfinished frame */
#define FLUSH_IOV 64    /* pieces per sendmsg */
#define LINGER_READS \
    16 /* scratches of unread input thrown away before a close, so that no RST overtakes our last words */

static void conn_timer(struct timer *t, void *arg);
static void part(struct conn *c, enum failure why);

/* ---- birth ---- */

struct conn *conn_new(struct core *core, const struct codec *codec, enum conn_side side, int fd,
                      enum conn_state state) {
    uint32_t session = side == DOWN ? codec->down_session : codec->up_session;
    uint32_t slab = codec == &detect_codec ? core->any_slab : codec_index(codec) * 2 + side;
    struct conn *c = slab_new(&core->conn_slabs[slab]);
    if (!c) {
        close(fd);
        return NULL;
    }
    uint32_t gen = c->gen;
    memset(c, 0, sizeof *c + session);
    c->slab = (uint8_t)slab, c->max_streams = UINT32_MAX;
    c->fd = fd, c->gen = gen, c->side = (uint8_t)side, c->state = (uint8_t)state, c->core = core, c->codec = codec;
    c->writable = state == CONN_OPEN;
    c->active_ms = c->opened_ms = core->now_ms;
    c->min_deadline_ms = UINT64_MAX;
    queue_init(&c->out);
    timer_init(&c->timer, conn_timer, c);
    c->next = core->conns[side], c->pprev = &core->conns[side];
    if (c->next) c->next->pprev = &c->next;
    core->conns[side] = c;
    core->conn_count[side]++;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(core->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) conn_doom(c, FAIL_INTERNAL);
    return c;
}

/* ---- death ---- */

static void close_down(struct conn *c) {
    struct listener *l = c->listener;
    pool_cancel_wait(c);
    if (c->blocked && c->blocked->gen == c->blocked_gen) conn_unpause(c->blocked, PAUSE_PEER);
    c->blocked = NULL;
    c->state = CONN_DEAD; /* nothing is sent, armed or finished any more while its streams end */
    stream_orphan_all(c);
    if (l) l->stat[LISTENER_connections_active]--;
}

static void close_up(struct conn *c, enum failure why) {
    enum conn_state was = c->state;
    bool peers_fault = why == FAIL_CONNECT || why == FAIL_TIMEOUT || why == FAIL_UPSTREAM_RESET;
    pool_forget(c);
    if (was < CONN_OPEN && peers_fault) endpoint_failed(c->endpoint);
    else if (c->streams) c->endpoint->stat[ENDPOINT_resets]++;
    c->state = CONN_DEAD; /* before its streams look for another connection */
    stream_up_lost(c, was < CONN_OPEN && peers_fault ? FAIL_CONNECT : why);
    struct conn *owner = c->owner;
    c->owner = NULL;
    if (owner && c->codec->pin_lost) c->codec->pin_lost(owner, c);
    pool_wake_waiter(c->endpoint);
    pool_serve(c->endpoint);
}

void conn_close(struct conn *c, enum failure why) {
    if (c->state == CONN_DEAD) return;
    struct core *core = c->core;
    c->close_reason = (uint8_t)why;
    c->cut_off = c->streams > 0;
    timer_cancel(&core->wheel, &c->timer);
    if (c->side == UP) close_up(c, why);
    else close_down(c);
    c->state = CONN_DEAD;
    if (c->codec->close) c->codec->close(c);
    if (unlikely(c->tls != NULL)) part(c, why);
    queue_clear(&core->chunks, &c->out);
    if (unlikely(c->reset_on_close)) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    free(c->in);
    free(c->local);
    free(c->sni);
    c->sni = NULL;
    c->in = NULL, c->in_start = c->in_end = c->in_cap = 0;
    close(c->fd);
    c->fd = -1;
    if (c->next) c->next->pprev = c->pprev;
    *c->pprev = c->next;
    core->conn_count[c->side]--;
    if (c->side == DOWN && c->listener) plan_unref(core, c->listener->plan);
    c->dead_next = core->dead, core->dead = c;
}

void conn_doom(struct conn *c, enum failure why) {
    if (c->doom || c->state == CONN_DEAD) return;
    c->doom = (uint8_t)why;
    conn_list_ready(c);
}

void conn_reset(struct conn *c, enum failure why) {
    c->reset_on_close = true;
    if (c->out.bytes && c->state < CONN_DEAD) conn_flush(c); /* what came whole arrives; the reset says that more was to come */
    conn_doom(c, why);
}

bool conn_become(struct conn *c, const struct service *service) {
    c->codec = service->codec, c->service = service;
    c->codec_deadline_ms = 0, c->need = 0;
    memset(c->session, 0, service->codec->down_session);
    if (!service->codec->open || service->codec->open(c) == 0) return c->state != CONN_DEAD;
    conn_close(c, FAIL_INTERNAL);
    return false;
}

void conn_finish(struct conn *c) {
    if (c->state >= CONN_FINISHING) return;
    c->state = CONN_FINISHING;
    c->in_start = c->in_end = 0;
    c->paused = 0;
    conn_mark_dirty(c); /* the flush closes it when nothing is open */
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

/* ---- writing ---- */

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

/* One sendmsg of what waits. False when it failed: c is doomed then. */
static bool send_queue(struct conn *c, struct queue *q) {
    struct iovec iov[FLUSH_IOV];
    int pieces = queue_iov(q, iov, FLUSH_IOV);
    size_t total = 0;
    for (int i = 0; i < pieces; i++) total += iov[i].iov_len;
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)pieces};
    ssize_t r =
        pieces == 1 ? sys_send(c->fd, iov[0].iov_base, total) : sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
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

static void note_full(struct conn *c) {
    if (c->out.bytes + c->held >= OUT_HIGH && !c->full) {
        c->full = true;
        if (c->side == DOWN) conn_pause(c, PAUSE_OUT);
    }
}

void conn_send_slow(struct conn *c, const void *data, size_t n) {
    const uint8_t *p = data;
    if (c->state == CONN_DEAD || c->doom) return;
    if (c->out.bytes == 0 && c->writable && c->state >= CONN_HANDSHAKE) {
        size_t sent = likely(!c->tls) ? send_direct(c, p, n) : send_sealed(c, p, n);
        p += sent, n -= sent;
    }
    if (n == 0) return;
    if (queue_append(&c->core->chunks, &c->out, p, n) < 0) conn_doom(c, FAIL_INTERNAL);
    conn_mark_dirty(c);
    note_full(c);
}

void conn_send_queue(struct conn *c, struct queue *q) {
    if (c->state == CONN_DEAD) {
        queue_clear(&c->core->chunks, q);
        return;
    }
    queue_splice(&c->core->chunks, &c->out, q);
    conn_mark_dirty(c);
    note_full(c);
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
    tls_bye(c);
    return flush_secured(c) && c->tls->out.bytes == 0;
}

/* The last that a TLS peer hears of a connection that closes: that it had everything, or the alert that tells what was wrong. One
 * that is cut off hears nothing, and knows by that. */
static void part(struct conn *c, enum failure why) {
    bool idle = c->codec->mode != POOL_PINNED && (why == FAIL_TIMEOUT || why == FAIL_DRAINING);
    bool failed = c->tls->state == TLS_FAILED;
    if (c->tls->state == TLS_HANDSHAKE) tls_count_failure(c);
    if (c->reset_on_close || c->cut_off || c->out.bytes) return;
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

/* ---- reading ---- */

void conn_list_ready(struct conn *c) {
    if (!c->listed) c->listed = true, c->ready_next = c->core->ready, c->core->ready = c;
}

void conn_unpause(struct conn *c, enum pause why) {
    if (!(c->paused & why)) return;
    c->paused &= (uint8_t)~why;
    if (why == PAUSE_WAIT) c->wait_below = 0, c->wait_until_ms = 0;
    if (!c->paused) conn_list_ready(c);
}

void conn_wait(struct conn *c, uint32_t below, uint64_t when_ms) {
    conn_pause(c, PAUSE_WAIT);
    c->wait_below = below, c->wait_until_ms = when_ms;
    if (when_ms) conn_arm_timer(c);
}

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

static void conn_broken(struct conn *c) {
    c->readable = false;
    conn_close(c, c->side == DOWN ? FAIL_CLIENT_GONE : c->state < CONN_OPEN ? FAIL_CONNECT : FAIL_UPSTREAM_RESET);
}

static void conn_at_eof(struct conn *c) {
    c->readable = false;
    if (c->eof) return;
    if (unlikely(c->greeting || (c->tls && c->tls->state != TLS_READY))) { /* no codec has begun */
        conn_broken(c);
        return;
    }
    c->eof = true;
    if (c->codec->eof) c->codec->eof(c);
    else if (c->side == UP) conn_close(c, FAIL_UPSTREAM_RESET);
    else conn_finish(c);
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
    /* A server that does not like our certificate says so only after the handshake of TLS 1.3. */
    if (c->state == CONN_OPEN && !c->tls->spoken) endpoint_failed(c->endpoint);
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
    if (unlikely(c->tls && c->tls->closed) && c->state < CONN_FINISHING && !c->paused && !c->doom && !c->eof)
        conn_at_eof(c);
    if (c->state < CONN_FINISHING && c->readable && !c->paused) conn_list_ready(c);
}

/* ---- events ---- */

/* Up: the codec's turn. */
static void up_begin(struct conn *c) {
    int ready = c->codec->open ? c->codec->open(c) : 1;
    if (c->state == CONN_DEAD) return;
    if (ready < 0) conn_close(c, FAIL_CONNECT);
    else if (ready) conn_ready(c);
}

static void connect_done(struct conn *c) {
    if (c->doom) return; /* its client left in this batch; the ready list closes it */
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err) {
        conn_close(c, FAIL_CONNECT);
        return;
    }
    c->state = CONN_HANDSHAKE, c->writable = true;
    if (c->endpoint->upstream && c->endpoint->upstream->proxy_protocol)
        proxy_protocol_write(c, c->endpoint->upstream->proxy_protocol);
    if (likely(!c->tls)) {
        up_begin(c);
        return;
    }
    tls_connect(c);
    if (c->tls->state == TLS_FAILED) conn_close(c, FAIL_CONNECT);
}

void conn_secured(struct conn *c) {
    if (c->side == UP) {
        if (!c->doom) up_begin(c);
        return;
    }
    c->greet_by_ms = 0;
    detect_protocol(c, tls_alpn(c));
}

void conn_ready(struct conn *c) {
    c->state = CONN_OPEN;
    endpoint_connected(c->endpoint);
    for (struct stream *s = c->head, *next; s; s = next) {
        next = s->up_next;
        if (!s->request && s->ops && s->ops->ready) s->ops->ready(s);
        if (!s->request) continue;
        s->out_pos = c->out.base + c->out.bytes;
        queue_adopt(&c->out, s->request);
        s->request = NULL;
    }
    conn_mark_dirty(c);
    note_full(c);
    conn_arm_timer(c);
    if (c->owner) conn_unpause(c->owner, PAUSE_WAIT);
    else if (c->exclusive && c->streams == 0) pool_give_back(c); /* who wanted it has gone meanwhile */
}

void conn_event(struct conn *c, uint32_t events) {
    if (c->state == CONN_DEAD) return;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->hangup = true, c->readable = true;
    if (events & EPOLLIN) c->readable = true;
    if (events & EPOLLOUT) {
        if (c->state == CONN_CONNECTING) {
            connect_done(c);
            if (c->state == CONN_DEAD) return;
        } else {
            c->writable = true;
            if (conn_unsent(c) || c->state == CONN_FINISHING) conn_mark_dirty(c);
        }
    } else if (c->state == CONN_CONNECTING && (events & (EPOLLERR | EPOLLHUP))) {
        conn_close(c, FAIL_CONNECT);
        return;
    }
    /* FIN behind bytes that wait for something that may never come (an element to pop): nobody is there to get it. */
    if (c->hangup && c->side == DOWN && (c->paused & PAUSE_WAIT) && c->codec->busy && c->codec->busy(c)) {
        conn_close(c, FAIL_CLIENT_GONE);
        return;
    }
    /* Reset while paused: nobody will read that edge, and nothing we hold for it can be delivered. */
    if ((events & EPOLLERR) && (c->paused || c->state == CONN_FINISHING)) {
        conn_broken(c);
        return;
    }
    if (c->readable) conn_read(c);
}

/* ---- time ---- */

void conn_arm_timer(struct conn *c) {
    uint64_t when = UINT64_MAX;
    if (c->state == CONN_DEAD) return;
    if (c->side == DOWN) {
        if (c->listener->idle_timeout_ms) when = c->active_ms + c->listener->idle_timeout_ms;
        if (c->codec_deadline_ms && c->codec_deadline_ms < when) when = c->codec_deadline_ms;
        if (c->greet_by_ms && c->greet_by_ms < when) when = c->greet_by_ms;
        if ((c->paused & PAUSE_WAIT) && c->wait_until_ms && c->wait_until_ms < when) when = c->wait_until_ms;
    } else if (c->state < CONN_OPEN) {
        when = c->opened_ms + (c->endpoint->upstream ? c->endpoint->upstream->connect_timeout_ms : 1000);
        if (c->min_deadline_ms < when) when = c->min_deadline_ms;
    } else {
        when = c->min_deadline_ms;
    }
    if (when == UINT64_MAX) timer_cancel(&c->core->wheel, &c->timer);
    else if (!timer_armed(&c->timer) || when < c->timer.when_ms) timer_set(&c->core->wheel, &c->timer, when);
}

static void down_timer(struct conn *c) {
    uint64_t now = c->core->now_ms, idle = c->listener->idle_timeout_ms;
    if ((c->paused & PAUSE_WAIT) && c->wait_until_ms && now >= c->wait_until_ms) {
        c->wait_expired = true;
        pool_cancel_wait(c);
        conn_unpause(c, PAUSE_WAIT);
    }
    if (c->codec_deadline_ms && now >= c->codec_deadline_ms) {
        c->codec_deadline_ms = 0;
        if (c->codec->overdue) c->codec->overdue(c);
        if (c->state == CONN_DEAD) return;
    }
    if (c->greet_by_ms && now >= c->greet_by_ms) {
        c->greet_by_ms = 0;
        greeting_overdue(c);
        if (c->state == CONN_DEAD) return;
    }
    if (idle && now >= c->active_ms + idle) {
        /* Waiting for an upstream, or listening for what others publish, is not idleness; not reading its replies is. */
        bool excused =
            conn_unsent(c) == 0 && (c->streams || (c->paused & PAUSE_WAIT) || (c->codec->busy && c->codec->busy(c)));
        if (!excused) {
            c->listener->stat[LISTENER_idle_timeouts]++;
            conn_close(c, conn_unsent(c) ? FAIL_SLOW_CLIENT : FAIL_TIMEOUT);
            return;
        }
        c->active_ms = now;
    }
    conn_arm_timer(c);
}

static void up_timer(struct conn *c) {
    uint64_t now = c->core->now_ms;
    if (c->state < CONN_OPEN) {
        uint32_t limit = c->endpoint->upstream ? c->endpoint->upstream->connect_timeout_ms : 0;
        if (now >= c->opened_ms + limit) {
            conn_close(c, FAIL_CONNECT);
            return;
        }
    }
    c->min_deadline_ms = stream_expire(c, now);
    if (c->state != CONN_DEAD) conn_arm_timer(c);
}

static void conn_timer(struct timer *t, void *arg) {
    (void)t;
    struct conn *c = arg;
    if (c->side == DOWN) down_timer(c);
    else up_timer(c);
}

const char *conn_address(struct conn *c) {
    if (c->addr_text[0]) return c->addr_text;
    char host[INET6_ADDRSTRLEN] = "";
    if (c->addr.sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &c->addr.in.sin_addr, host, sizeof host);
        snprintf(c->addr_text, sizeof c->addr_text, "%s:%u", host, ntohs(c->addr.in.sin_port));
    } else if (c->addr.sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &c->addr.in6.sin6_addr, host, sizeof host);
        snprintf(c->addr_text, sizeof c->addr_text, "[%s]:%u", host, ntohs(c->addr.in6.sin6_port));
    } else {
        snprintf(c->addr_text, sizeof c->addr_text, "unix:0");
    }
    return c->addr_text;
}
