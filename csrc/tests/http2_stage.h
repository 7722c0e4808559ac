/* The real engine between a client and a server that a test plays itself, bytes in and bytes out, in one thread.
 *
 *   /r answers of itself · /u goes to an HTTP/2 server · /1 goes to an HTTP/1 server · anything else has no route */
#ifndef MOSNPY_HTTP2_STAGE_H
#define MOSNPY_HTTP2_STAGE_H

#include "pack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../codecs/hpack.h"
#include "../codecs/http2.h"
#include "../core/detect.h"

#define STAGE_SLOTS 1024u

struct peer { /* the test's end of a connection; fd -1: none */
    int fd;
    uint8_t *in; /* what came and was not looked at yet */
    size_t n, room;
    bool ended;
};

struct stage {
    struct core *core;
    struct plan *plan;
    uint64_t *row;
    int listen[2]; /* HTTP/2, HTTP/1 */
    struct peer client, server[2];
};

static inline void stage_die(const char *what) {
    perror(what);
    abort();
}

static int stage_listen(uint16_t *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 64) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        stage_die("listen");
    *port = ntohs(a.sin_port);
    return fd;
}

/* `options` of the listener, in pack.h's kind of JSON. */
__attribute__((unused)) static void stage_open(struct stage *g, const char *options) {
    static const char form[] =
        "{'version': 1, 'generation': 1, 'upstreams': ["
        "  {'name': 'two', 'codec': 'http2', 'stats': 200, 'attempts': 2, 'lb': {'policy': 'round_robin'}, 'options': "
        "{},"
        "   'endpoints': [{'name': 'two', 'family': 'ipv4', 'host': '127.0.0.1', 'port': %u, 'slot': 0, 'stats': "
        "300}]},"
        "  {'name': 'one', 'codec': 'http1', 'stats': 400, 'attempts': 2, 'lb': {'policy': 'round_robin'}, 'options': "
        "{},"
        "   'endpoints': [{'name': 'one', 'family': 'ipv4', 'host': '127.0.0.1', 'port': %u, 'slot': 0, 'stats': "
        "500}]}],"
        " 'listeners': [{'name': 'l', 'id': 1, 'stats': 100, 'protocols': [{'codec': 'http2', 'options': %s, 'table': "
        "0}]}],"
        " 'tables': [{'codec': 'http2', 'routes': ["
        "   {'name': 'r', 'stats': 600, 'timeout_ms': 0, 'when': ['prefix', 'http.path', '/r'],"
        "    'reply': {'status': 200, 'body': 'reply', 'headers': []}},"
        "   {'name': 'u', 'stats': 600, 'timeout_ms': 0, 'when': ['prefix', 'http.path', '/u'], 'to': 0},"
        "   {'name': '1', 'stats': 600, 'timeout_ms': 0, 'when': ['prefix', 'http.path', '/1'], 'to': 1}]}]}";
    char text[4096], err[256] = "";
    uint16_t port[2];
    struct pack doc = {0};
    memset(g, 0, sizeof *g);
    g->client.fd = g->server[0].fd = g->server[1].fd = -1;
    for (int i = 0; i < 2; i++) g->listen[i] = stage_listen(&port[i]);
    snprintf(text, sizeof text, form, (unsigned)port[0], (unsigned)port[1], options);
    pack_json(&doc, text);
    g->row = calloc(STAGE_SLOTS, sizeof *g->row);
    g->core = core_new((struct stats){g->row, STAGE_SLOTS}, NULL, 0, 1);
    g->plan = plan_new(doc.p, doc.n, (struct stats){g->row, STAGE_SLOTS}, err, sizeof err);
    if (!g->core || !g->plan) fprintf(stderr, "stage: %s\n", err), abort();
    pack_free(&doc);
    plan_adopt(g->core, g->plan);
}

__attribute__((unused)) static void stage_connect(struct stage *g) {
    int pair[2], big = 1 << 20;
    struct listener *l = &g->plan->listeners[0];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) stage_die("socketpair");
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    g->client = (struct peer){.fd = pair[0]};
    struct conn *c = conn_new(g->core, detect_first(l), DOWN, pair[1], CONN_OPEN);
    c->listener = l, c->chain = &l->chains[0], c->addr.sa.sa_family = AF_UNIX, c->id = 1;
    plan_ref(l->plan);
    l->stat[LISTENER_connections_active]++;
    if (detect_begin(c)) conn_arm_timer(c);
}

static void peer_close(struct peer *p) {
    if (p->fd >= 0) close(p->fd);
    free(p->in);
    *p = (struct peer){.fd = -1};
}

static void peer_read(struct peer *p) {
    while (p->fd >= 0 && !p->ended) {
        if (p->room - p->n < 65536) p->in = realloc(p->in, p->room = p->room * 2 + 65536);
        ssize_t n = recv(p->fd, p->in + p->n, p->room - p->n, MSG_DONTWAIT);
        if (n > 0) p->n += (size_t)n;
        else if (n == 0 || errno == ECONNRESET) p->ended = true;
        else return;
    }
}

/* True: all of it left. */
static bool peer_send(struct peer *p, const void *data, size_t n) {
    return p->fd >= 0 && send(p->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

/* The engine works until nothing is left to do; what it writes is taken in. */
__attribute__((unused)) static void stage_turn(struct stage *g) {
    for (int quiet = 0; quiet < 2;) {
        int events = core_poll(g->core, 0);
        for (int i = 0; i < 2; i++) {
            int fd = accept4(g->listen[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* what is sent is there at once */
            peer_close(&g->server[i]);
            g->server[i].fd = fd, events = 1;
            if (i == 0) peer_send(&g->server[i], "\0\0\0\4\0\0\0\0\0", 9);
        }
        peer_read(&g->client), peer_read(&g->server[0]), peer_read(&g->server[1]);
        quiet = events || g->core->ready ? 0 : quiet + 1;
    }
}

/* The test's ends are closed, and nothing is left of anything. */
__attribute__((unused)) static void stage_hang_up(struct stage *g) {
    peer_close(&g->client), peer_close(&g->server[0]), peer_close(&g->server[1]);
    for (int i = 0; i < 1000 && (g->core->conn_count[DOWN] || g->core->conn_count[UP]); i++) {
        stage_turn(g);
        peer_close(&g->server[0]), peer_close(&g->server[1]);
    }
    core_poll(g->core, 0);
    for (struct endpoint *ep = g->core->endpoints; ep; ep = ep->next)
        ep->failures = 0, ep->retry_at_ms = ep->ejected_until_ms = 0;
}

__attribute__((unused)) static void stage_close(struct stage *g) {
    stage_hang_up(g);
    uint64_t leaked = core_free(g->core);
    if (leaked) fprintf(stderr, "stage: %u objects were left\n", (unsigned)leaked), abort();
    close(g->listen[0]), close(g->listen[1]);
    free(g->row);
}

#endif
