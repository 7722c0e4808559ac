/* A bare relay: one upstream connection per client connection, bytes passed as they come, nothing understood.
 *
 * This is the floor for a proxy that does not share upstream connections, as fast as honest code on epoll gets: each fd
 * registered once and edge-triggered, one large scratch buffer for all reads, a read answered by a write at once, memory
 * per connection only while its receiver is slow. No timeouts, no statistics, no routing.
 *
 * relay UPSTREAM_PORT [LISTEN_PORT]
 */
#include "wire.h"

#include <signal.h>
#include <sys/epoll.h>

enum { SCRATCH = 1 << 20, EVENTS = 256 };

/* One direction's receiving end. Two of them, crossed, make a relayed connection. */
struct side {
    struct side *peer; /* where bytes read here go; never NULL while the pair lives */
    char *pending;     /* bytes read from the peer that this socket would not take yet */
    size_t pending_at, pending_end;
    int fd;
    bool connecting; /* upstream whose connect() has not finished */
    bool readable;   /* the last edge has not been read to its end, because the peer was full */
    bool eof;        /* read side ended */
    bool finished;   /* FIN sent on the write side */
    bool dead;       /* closed in this batch, freed at its end */
};

static int epoll_fd;
static unsigned upstream_port;
static char scratch[SCRATCH];
static struct side *graveyard[EVENTS]; /* pairs closed in this batch, by one of their sides */
static size_t graves;

static void watch(struct side *s) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) < 0) { wire_die("epoll_ctl: %s", strerror(errno)); }
}

/* Later events of the same batch may still point at either side: the memory goes when the batch is done. */
static void close_pair(struct side *s) {
    if (!s->dead) {
        s->dead = s->peer->dead = true;
        close(s->fd);
        close(s->peer->fd);
        graveyard[graves++] = s;
    }
}

static void bury(void) {
    while (graves) {
        struct side *s = graveyard[--graves];
        free(s->pending);
        free(s->peer->pending);
        free(s->peer);
        free(s);
    }
}

/* Sends what is pending. False when the pair was closed. */
static bool drain(struct side *s) {
    while (s->pending_at < s->pending_end) {
        ssize_t n = send(s->fd, s->pending + s->pending_at, s->pending_end - s->pending_at, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) { return true; }
            close_pair(s);
            return false;
        }
        s->pending_at += (size_t)n;
    }
    free(s->pending);
    s->pending = NULL;
    s->pending_at = s->pending_end = 0;
    return true;
}

static void keep(struct side *s, const char *bytes, size_t length) {
    s->pending = malloc(length);
    if (!s->pending) { wire_die("out of memory"); }
    memcpy(s->pending, bytes, length);
    s->pending_at = 0;
    s->pending_end = length;
}

/* Passes the end of the peer's stream on, once everything before it has left. Closes the pair when both ways ended. */
static void finish(struct side *s) {
    if (s->peer->eof && !s->finished && !s->pending && !s->connecting) {
        shutdown(s->fd, SHUT_WR);
        s->finished = true;
    }
    if (s->finished && s->peer->finished) { close_pair(s); }
}

/* Reads s until it is empty or its peer is full. hangup: the edge carried a FIN, so a short read is not the end. */
static void pump(struct side *s, bool hangup) {
    struct side *to = s->peer;
    while (!s->eof) {
        if (to->pending || to->connecting) {
            s->readable = true;
            return;
        }
        ssize_t n = recv(s->fd, scratch, SCRATCH, 0);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) { break; }
            if (n < 0) {
                close_pair(s);
                return;
            }
            s->eof = true;
            break;
        }
        ssize_t sent = send(to->fd, scratch, (size_t)n, MSG_NOSIGNAL);
        if (sent < n) {
            if (sent < 0 && errno != EAGAIN) {
                close_pair(s);
                return;
            }
            sent = sent < 0 ? 0 : sent;
            keep(to, scratch + sent, (size_t)(n - sent));
        }
        if (n < SCRATCH && !hangup) { break; }
    }
    s->readable = false;
    if (s->eof) { finish(to); }
}

static void on_event(struct side *s, uint32_t events) {
    if (s->dead) { return; }
    if (s->connecting && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) {
            close_pair(s);
            return;
        }
        s->connecting = false;
        pump(s->peer, true);
    }
    if (!s->dead && events & EPOLLOUT && s->pending && drain(s) && !s->pending) {
        if (s->peer->readable) { pump(s->peer, true); }
        if (!s->dead) { finish(s); }
    }
    if (!s->dead && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        pump(s, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in to = wire_loopback(upstream_port);
        if (upstream < 0) { /* out of descriptors: the client is turned away, the rest goes on */
            close(fd);
            continue;
        }
        struct side *down = calloc(1, sizeof *down), *up = calloc(1, sizeof *up);
        if (!down || !up) { wire_die("out of memory"); }
        down->peer = up;
        down->fd = fd;
        up->peer = down;
        up->fd = upstream;
        wire_nonblocking(fd);
        wire_nonblocking(up->fd);
        up->connecting = true;
        if (connect(up->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
            close(fd);
            close(up->fd);
            free(down);
            free(up);
            continue;
        }
        watch(down);
        watch(up);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) { wire_die("usage: relay UPSTREAM_PORT [LISTEN_PORT]"); }
    upstream_port = (unsigned)strtoul(argv[1], NULL, 10);
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = wire_listen(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e) < 0) {
        wire_die("epoll: %s", strerror(errno));
    }
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                on_event(events[i].data.ptr, events[i].events);
            } else {
                accept_all(listener);
            }
        }
        bury();
    }
}
