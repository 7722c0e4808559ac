/* Life, pauses, events and times of one connection; conn_read.c and conn_write.c have the rest. Nothing here knows a protocol. */
#include "conn_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "detect.h"
#include "greeting.h"
#include "pool.h"
#include "proxy_protocol.h"
#include "stream.h"
#include "tls.h"

static void conn_timer(struct timer *t, void *arg);

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
    bool idle = pool_forget(c);
    /* A server that does not like our certificate says so only after the handshake of TLS 1.3. */
    bool refused = c->tls && !c->tls->spoken && why == FAIL_UPSTREAM_RESET;
    if ((was < CONN_OPEN && peers_fault) || refused) endpoint_failed(c->endpoint);
    else if (c->streams) c->endpoint->stat[ENDPOINT_resets]++;
    c->state = CONN_DEAD; /* before its streams look for another connection */
    stream_up_lost(c, was < CONN_OPEN && peers_fault ? FAIL_CONNECT : why);
    struct conn *owner = c->owner;
    c->owner = NULL;
    if (owner && c->codec->pin_lost) c->codec->pin_lost(owner, c);
    pool_wake_waiter(c->endpoint);
    if (!idle) pool_serve(c->endpoint);
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
    if (unlikely(c->tls != NULL)) conn_part(c, why);
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
    if (c->out.bytes && c->state < CONN_DEAD)
        conn_flush(c); /* what came whole arrives; the reset says that more was to come */
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

/* ---- pauses ---- */

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
    conn_note_full(c);
    conn_arm_timer(c);
    if (c->owner) conn_wake(c->owner);
    else if (!c->exclusive) pool_serve(c->endpoint); /* it takes more now than while it was opened */
    else if (c->streams == 0) pool_give_back(c);     /* who wanted it has gone meanwhile */
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
    if ((events & EPOLLERR) &&
        (c->paused || c->state == CONN_FINISHING || c->eof)) { /* after FIN recv() never says RST */
        conn_broken(c);
        return;
    }
    if (c->hangup && c->paused && c->side == DOWN && c->codec->hangup) c->codec->hangup(c);
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
        if (c->codec_deadline_ms && c->codec_deadline_ms < when) when = c->codec_deadline_ms;
    }
    if (when == UINT64_MAX) timer_cancel(&c->core->wheel, &c->timer);
    else if (!timer_armed(&c->timer) || when < c->timer.when_ms) timer_set(&c->core->wheel, &c->timer, when);
}

/* False: it closed the connection. */
static bool codec_time(struct conn *c, uint64_t now) {
    if (likely(!c->codec_deadline_ms || now < c->codec_deadline_ms)) return true;
    c->codec_deadline_ms = 0;
    if (c->codec->overdue) c->codec->overdue(c);
    return c->state != CONN_DEAD;
}

static void down_timer(struct conn *c) {
    uint64_t now = c->core->now_ms, idle = c->listener->idle_timeout_ms;
    if ((c->paused & PAUSE_WAIT) && c->wait_until_ms && now >= c->wait_until_ms) {
        c->wait_expired = true;
        pool_cancel_wait(c);
        conn_unpause(c, PAUSE_WAIT);
    }
    if (!codec_time(c, now)) return;
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
    } else if (!codec_time(c, now)) {
        return;
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
