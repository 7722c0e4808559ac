#include "listen.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "conn.h"
#include "detect.h"
#include "proxy_protocol.h"

#define ACCEPT_BATCH 64  /* connections per turn, so that a storm of them cannot starve those that are there */
#define ACCEPT_PAUSE 100 /* ms without accepting after running out of descriptors; clients wait in the backlog */

static int acceptor_watch(struct core *core, struct acceptor *a, int op, uint32_t events) {
    struct epoll_event ev = {.events = events, .data.ptr = (void *)((uintptr_t)a | 1)};
    return epoll_ctl(core->epfd, op, a->fd, &ev);
}

static void acceptor_resume(struct timer *t, void *arg) {
    (void)t;
    struct acceptor *a = arg;
    if (!a->closed) acceptor_watch(a->core, a, EPOLL_CTL_MOD, EPOLLIN);
}

void acceptor_stop(struct core *core, struct acceptor *a) {
    if (a->closed) return;
    a->closed = true;
    epoll_ctl(core->epfd, EPOLL_CTL_DEL, a->fd, NULL);
    timer_cancel(&core->wheel, &a->retry);
}

void acceptor_drain(struct core *core, struct acceptor *a) {
    struct listener *l = core->plan ? plan_listener(core->plan, a->listener_id) : NULL;
    uint64_t before;
    if (a->closed) return;
    do {
        before = l ? l->stat[LISTENER_connections_total] : 0;
        acceptor_ready(a);
    } while (l && l->stat[LISTENER_connections_total] >= before + ACCEPT_BATCH);
    acceptor_stop(core, a);
    shutdown(a->fd, SHUT_RD); /* the supervisor holds the socket as well: closing ours would leave it listening */
}

void acceptor_remove(struct core *core, struct acceptor *a) {
    struct acceptor **at = &core->acceptors;
    while (*at && *at != a) at = &(*at)->next;
    if (*at) *at = a->next;
    acceptor_stop(core, a);
    free(a);
}

void acceptors_set(struct core *core, const void *id_fd_pairs, uint32_t count) {
    const struct {
        uint32_t id;
        int fd;
    } *pairs = id_fd_pairs;
    for (struct acceptor *a = core->acceptors, *next; a; a = next) {
        next = a->next;
        bool kept = false;
        for (uint32_t i = 0; i < count; i++) kept |= pairs[i].id == a->listener_id && pairs[i].fd == a->fd;
        if (kept) continue;
        core_emit(core, EVENT_LISTENER_REMOVED, a->listener_id);
        acceptor_remove(core, a);
    }
    for (uint32_t i = 0; i < count; i++) {
        bool there = false;
        for (struct acceptor *a = core->acceptors; a; a = a->next)
            there |= pairs[i].id == a->listener_id && pairs[i].fd == a->fd;
        struct acceptor *a;
        if (there || !(a = calloc(1, sizeof *a))) continue;
        a->core = core, a->listener_id = pairs[i].id, a->fd = pairs[i].fd;
        timer_init(&a->retry, acceptor_resume, a);
        a->next = core->acceptors, core->acceptors = a;
        if (core->draining) a->closed = true;
        else acceptor_watch(core, a, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void refuse(struct listener *l, int fd) {
    l->stat[LISTENER_connections_refused]++;
    const struct chain *chain = &l->chains[0];
    struct slice words = chain->service_count == 1 && !chain->tls ? chain->services[0].codec->refusal : SLICE("");
    if (words.n) {
        ssize_t r = send(fd, words.p, words.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)r;
    }
    close(fd);
}

static void welcome(struct core *core, struct listener *l, int fd, const union address *addr) {
    int one = 1;
    if (addr->sa.sa_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct conn *c = conn_new(core, detect_first(l), DOWN, fd, CONN_OPEN);
    if (!c) return;
    c->listener = l, c->chain = &l->chains[0], c->addr = *addr, c->id = ++core->next_id,
    c->expect_proxy = l->proxy_protocol;
    plan_ref(l->plan);
    l->stat[LISTENER_connections_total]++;
    l->stat[LISTENER_connections_active]++;
    if (c->expect_proxy) c->greet_by_ms = core->now_ms + PROXY_HEADER_MS;
    if (c->expect_proxy || detect_begin(c)) conn_arm_timer(c);
}

/* Out of descriptors, or nearly: those who come wait in the backlog. */
static void pause_accepting(struct core *core, struct acceptor *a) {
    core->stat[WORKER_accept_errors]++;
    acceptor_watch(core, a, EPOLL_CTL_MOD, 0);
    timer_set(&core->wheel, &a->retry, core->now_ms + ACCEPT_PAUSE);
}

void acceptor_ready(struct acceptor *a) {
    struct core *core = a->core;
    struct listener *l = core->plan ? plan_listener(core->plan, a->listener_id) : NULL;
    for (int i = 0; l && i < ACCEPT_BATCH && !a->closed; i++) {
        union address addr = {0};
        if (core->conn_count[UP] + core->conn_count[DOWN] + 32 >= core->client_limit) {
            pause_accepting(core, a);
            return;
        }
        socklen_t len = sizeof addr;
        int fd = accept4(a->fd, &addr.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                pause_accepting(core, a);
            } else if (errno == EINTR || errno == ECONNABORTED) {
                continue;
            }
            return;
        }
        if (l->stat[LISTENER_connections_active] >= l->max_connections) refuse(l, fd);
        else welcome(core, l, fd, &addr);
    }
}
