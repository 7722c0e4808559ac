/* A stand-in for an HTTP server that costs as little as can be: HTTP/1.1 and HTTP/2 with prior knowledge on one port, told
 * apart by the first bytes. See backend_http.h for what it answers.
 *
 * backend_http VALUE_SIZE [LISTEN_PORT]
 */
#include "backend_http.h"
#include "h2.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum {
    SCRATCH = 256 << 10,
    EVENTS = 256,
    LINGER_NS = 5000000, /* stay awake so long after the last request: see loadgen.c on sleeping */
};

size_t value_size;
char *pattern;
static int epoll_fd;
static uint8_t scratch[KEPT_ROOM + SCRATCH];
static struct client *dirty[EVENTS];
static size_t dirty_count;

static void drop(struct client *c) {
    if (c->h2) { h2_close(c); }
    close(c->fd);
    free(c->kept);
    free(c->out);
    free(c);
}

static ssize_t take(struct client *c, const uint8_t *p, size_t n) {
    if (c->protocol == UNDECIDED) {
        size_t all = sizeof H2_PREFACE - 1, here = n < all ? n : all;
        if (memcmp(p, H2_PREFACE, here)) {
            c->protocol = HTTP1;
        } else if (here == all) {
            c->protocol = HTTP2;
            h2_open(c);
        } else {
            return 0;
        }
    }
    return c->protocol == HTTP1 ? h1_take(c, (const char *)p, n) : h2_take(c, p, n);
}

/* Takes n bytes of scratch, and keeps what could not be taken yet. */
static bool take_scratch(struct client *c, size_t n) {
    ssize_t taken = take(c, scratch, n);
    if (taken < 0 || n - (size_t)taken > KEPT_ROOM) { return false; }
    c->kept_length = n - (size_t)taken;
    memcpy(c->kept, scratch + taken, c->kept_length);
    return true;
}

/* Reads all there is; while a big HTTP/1 reply is under way nothing more is read. False: the connection is done for. */
static bool on_readable(struct client *c) {
    while (!c->tail_left && !c->closing) {
        ssize_t n;
        if (c->protocol == HTTP1 && c->body_left > WIRE_EDGE && c->body_at >= WIRE_EDGE) {
            n = recv(c->fd, NULL, c->body_left - WIRE_EDGE, MSG_TRUNC); /* counted by the kernel, copied nowhere */
            if (n > 0) {
                h1_body(c, NULL, (size_t)n);
                continue;
            }
        } else {
            memcpy(scratch, c->kept, c->kept_length);
            n = recv(c->fd, scratch + c->kept_length, SCRATCH, 0);
            if (n > 0) {
                if (!take_scratch(c, c->kept_length + (size_t)n)) { return false; }
                if (n < SCRATCH && !c->body_left) { return true; }
                continue;
            }
        }
        return n < 0 && errno == EAGAIN;
    }
    return true;
}

/* Sends what is queued. False: the connection is gone. */
static bool send_queued(struct client *c) {
    while (c->out_end > c->out_at || c->tail_left) {
        struct iovec v[2] = {{c->out + c->out_at, c->out_end - c->out_at}, {(char *)c->tail, c->tail_left}};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = c->tail_left ? 2 : 1};
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0) { return errno == EAGAIN; }
        size_t of_out = (size_t)sent < v[0].iov_len ? (size_t)sent : v[0].iov_len;
        c->out_at += of_out;
        c->tail += (size_t)sent - of_out;
        c->tail_left -= (size_t)sent - of_out;
        if (c->out_at == c->out_end) { c->out_at = c->out_end = 0; }
        if (c->protocol == HTTP2 && !c->out_end) { h2_fill(c); }
    }
    return !c->closing;
}

/* Sends; requests that waited behind a big reply have their turn when it is gone. */
static bool flush(struct client *c) {
    bool waited = c->tail_left > 0;
    if (!send_queued(c)) { return false; }
    while (waited && !c->tail_left) {
        memcpy(scratch, c->kept, c->kept_length);
        if (!take_scratch(c, c->kept_length) || !on_readable(c)) { return false; }
        waited = c->tail_left > 0;
        if (!send_queued(c)) { return false; }
    }
    return true;
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct client *c = calloc(1, sizeof *c);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        wire_nonblocking(fd);
        c->fd = fd;
        c->kept = malloc(KEPT_ROOM);
        c->out = malloc(OUT_ROOM);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static void on_event(struct client *c, uint32_t events) {
    bool alive = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        alive = on_readable(c) && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
    if (!alive) { /* one event per fd and batch, so nothing later in this batch points here */
        send_queued(c);
        drop(c);
    } else {
        dirty[dirty_count++] = c;
    }
}

int main(int argc, char **argv) {
    if (argc < 2 || (value_size = strtoul(argv[1], NULL, 10)) > 2u * WIRE_VALUE_MAX) {
        wire_die("usage: backend_http VALUE_SIZE [LISTEN_PORT]");
    }
    signal(SIGPIPE, SIG_IGN);
    pattern = wire_pattern(value_size + 1);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = wire_listen(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e) < 0) {
        wire_die("epoll: %s", strerror(errno));
    }
    for (uint64_t last = 0;;) { /* last: when a batch was last handled, ns */
        bool busy = wire_now_ns() - last < LINGER_NS;
        int n = epoll_wait(epoll_fd, events, EVENTS, busy ? 0 : -1);
        if (n == 0) {
            sched_yield(); /* to the load generator, if it shares our core */
            continue;
        }
        last = wire_now_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                on_event(events[i].data.ptr, events[i].events);
            } else {
                accept_all(listener);
            }
        }
        while (dirty_count) { /* replies of a batch leave together */
            struct client *c = dirty[--dirty_count];
            if (!flush(c)) { drop(c); }
        }
    }
}
