/* A load generator for HTTP that keeps the proxy, not itself, busy. As loadgen.c does it for Redis: requests are prepared
 * beforehand, each connection waits for its replies before it sends again, every reply is checked, the first wrong one ends
 * the run as failed, and nothing sleeps while the load runs.
 *
 * HTTP/1.1 with one request at a time per connection, HTTP/2 with a number of streams, either over TLS, with connections kept
 * or, --reconnect, a new one for each request. */
#include "loadgen_http.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum {
    EVENTS = 256,
    SCRATCH = 256 << 10,
    REQUESTS = 1024,       /* different ones, sent in turn */
    HOST_REQUESTS = 20000, /* with many hosts */
    STRIDE = 37,           /* between the connections' places in that row */
};

struct options option = {
    .connections = 50, .streams = 1, .value_size = 64, .warmup = 0.3, .seconds = 2, .max_requests = UINT64_MAX};
char *pattern;
uint64_t under_way;
static struct request *requests;
static unsigned request_count;
static struct conn *conns;
static uint8_t scratch[KEPT_ROOM + SCRATCH];
static int epoll_fd;

uint64_t random64(void) {
    static uint64_t x = 0x853C49E6748FEA9Bu;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

const struct request *next_request(struct conn *c) {
    c->turn = c->turn + 1 == request_count ? 0 : c->turn + 1;
    return &requests[c->turn];
}

static void prepare_requests(void) {
    request_count = option.hosts ? HOST_REQUESTS : REQUESTS;
    requests = calloc(request_count, sizeof *requests);
    if (!requests) { wire_die("out of memory"); }
    for (unsigned i = 0; i < request_count; i++) {
        char key[KEY_LENGTH + 1];
        snprintf(key, sizeof key, "%016llx", (unsigned long long)random64());
        memcpy(requests[i].key, key, KEY_LENGTH);
        if (option.h2) {
            h2_prepare(&requests[i]);
        } else {
            h1_prepare(&requests[i], option.hosts ? (unsigned)(random64() % option.hosts) : 0);
        }
    }
}

/* ---- connections ---- */

/* Connecting waits: on loopback it is done before the call returns, as long as the proxy's accept queue has room. */
static void open_conn(struct conn *c) {
    struct sockaddr_in to = wire_loopback(option.port);
    /* TLS reads ahead what epoll does not see, so its sockets are watched level-triggered, and for room only when needed */
    struct epoll_event e = {.events = option.tls ? EPOLLIN : EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->sent_at = wire_now_ns();
    c->out_at = c->out_end = c->kept_length = c->tail_left = 0;
    c->blocked = false;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) {
        wire_die("connection to port %u: %s", option.port, strerror(errno));
    }
    wire_nonblocking(c->fd);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    if (option.tls) { tls_open(c); }
}

static void close_conn(struct conn *c) {
    if (c->ssl) { tls_close(c); }
    if (c->h2) { h2_close(c); }
    close(c->fd);
    c->fd = -1;
}

static void begin(struct conn *c) {
    if (option.h2) {
        h2_open(c);
    } else {
        h1_begin(c);
    }
}

/* Sends what is queued, as much as the socket takes. */
static void flush(struct conn *c) {
    bool blocked = false;
    while (c->out_end > c->out_at || c->tail_left) {
        struct iovec v[2] = {{c->out + c->out_at, c->out_end - c->out_at}, {(char *)c->tail, c->tail_left}};
        ssize_t sent;
        if (c->ssl) {
            const struct iovec *one = v[0].iov_len ? &v[0] : &v[1];
            sent = tls_send(c, one->iov_base, one->iov_len);
        } else {
            struct msghdr m = {.msg_iov = v, .msg_iovlen = c->tail_left ? 2 : 1};
            sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        }
        if (sent < 0) {
            if (errno != EAGAIN) { meter_fail_errno("send: "); }
            blocked = true;
            break;
        }
        size_t of_out = (size_t)sent < v[0].iov_len ? (size_t)sent : v[0].iov_len;
        c->out_at += of_out;
        c->tail += (size_t)sent - of_out;
        c->tail_left -= (size_t)sent - of_out;
        if (c->out_at == c->out_end) { c->out_at = c->out_end = 0; }
    }
    if (option.tls && blocked != c->blocked) {
        struct epoll_event e = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    }
    c->blocked = blocked;
}

void conn_done(struct conn *c) {
    close_conn(c);
    if (meter.stopping) { return; }
    open_conn(c);
    if (option.tls) {
        tls_handshake(c); /* begins it */
    } else {
        begin(c);
    }
}

/* Takes n bytes of scratch, and keeps what could not be taken yet. */
static bool take(struct conn *c, size_t n) {
    int before = c->fd;
    uint64_t since = c->sent_at;
    ssize_t taken = option.h2 ? h2_take(c, scratch, n) : h1_take(c, (char *)scratch, n);
    if (taken < 0) { return false; }
    if (option.reconnect && (c->fd != before || c->sent_at != since)) { return false; } /* another connection by now */
    c->kept_length = n - (size_t)taken;
    if (c->kept_length > KEPT_ROOM) {
        meter_fail("a head or frame without end", "", 0);
        return false;
    }
    memcpy(c->kept, scratch + taken, c->kept_length);
    return true;
}

static void on_readable(struct conn *c) {
    for (;;) {
        bool middle = !option.h2 && !option.tls && c->request && c->in_body && c->at >= WIRE_EDGE &&
                      c->length - c->at > WIRE_EDGE && option.value_size >= WIRE_BIG;
        size_t want = middle ? c->length - c->at - WIRE_EDGE : SCRATCH;
        uint8_t *to = scratch + c->kept_length;
        ssize_t n;
        if (middle) {
            n = recv(c->fd, NULL, want, MSG_TRUNC); /* counted by the kernel, copied nowhere */
            c->at += n > 0 ? (size_t)n : 0;
        } else {
            memcpy(scratch, c->kept, c->kept_length);
            n = c->ssl ? tls_recv(c, to, want) : recv(c->fd, to, want, 0);
        }
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) { return; }
            n ? meter_fail_errno("recv: ") : meter_fail("closed by the proxy", "", 0);
            return;
        }
        if (!middle && !take(c, c->kept_length + (size_t)n)) { return; }
        if (c->ssl ? !tls_pending(c) : (size_t)n < want && !(c->in_body && option.value_size >= WIRE_BIG)) { return; }
    }
}

static void on_event(struct conn *c, uint32_t events) {
    if (c->handshaking) {
        if (tls_handshake(c) <= 0) { return; }
        begin(c);
    } else if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        on_readable(c);
    }
    if (c->fd >= 0 && !c->handshaking && !*meter.failure) { flush(c); }
}

static bool turn(void) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, 0);
    if (n == 0) { sched_yield(); /* to the backend, if it shares our core */ }
    for (int i = 0; i < n; i++) { on_event(events[i].data.ptr, events[i].events); }
    return under_way || !meter.stopping;
}

static void open_all(void) {
    conns = calloc(option.connections, sizeof *conns);
    if (!conns) { wire_die("out of memory"); }
    for (unsigned i = 0; i < option.connections; i++) {
        struct conn *c = &conns[i];
        c->out = malloc(OUT_ROOM);
        c->kept = malloc(KEPT_ROOM);
        if (!c->out || !c->kept) { wire_die("out of memory"); }
        c->turn = i * STRIDE % request_count;
        open_conn(c);
        if (option.tls) {
            tls_handshake(c); /* begins it */
        } else {
            begin(c);
            flush(c);
        }
        if (i % 32 == 31) { /* an accept queue that overflows costs a SYN's retransmission, 1 s */
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        }
    }
}

/* ---- command line ---- */

static const char usage[] =
    "usage: loadgen_http --port N [--protocol h1|h2] [--tls] [--op get|put|grpc] [--connections 50] [--streams 1]\n"
    "       [--value 64] [--hosts 0] [--reconnect] [--probe] [--warmup 0.3] [--seconds 2] [--requests N] [--watch "
    "PID,PID]";

static void parse(int argc, char **argv) {
    static const struct option longs[] = {
        {"port", 1, 0, 'p'},      {"connections", 1, 0, 'c'}, {"streams", 1, 0, 'm'},
        {"op", 1, 0, 'o'},        {"value", 1, 0, 'v'},       {"hosts", 1, 0, 'h'},
        {"protocol", 1, 0, 'P'},  {"warmup", 1, 0, 'w'},      {"seconds", 1, 0, 's'},
        {"requests", 1, 0, 'n'},  {"watch", 1, 0, 'W'},       {"tls", 0, 0, 't'},
        {"reconnect", 0, 0, 'r'}, {"probe", 0, 0, 'b'},       {0, 0, 0, 0},
    };
    for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (o) {
        case 'p': option.port = (unsigned)atoi(optarg); break;
        case 'c': option.connections = (unsigned)atoi(optarg); break;
        case 'm': option.streams = (unsigned)atoi(optarg); break;
        case 'o': option.op = !strcmp(optarg, "put") ? PUT : !strcmp(optarg, "grpc") ? GRPC : GET; break;
        case 'v': option.value_size = strtoul(optarg, NULL, 10); break;
        case 'h': option.hosts = (unsigned)atoi(optarg); break;
        case 'P': option.h2 = !strcmp(optarg, "h2"); break;
        case 't': option.tls = true; break;
        case 'b': option.probe = true; break;
        case 'r': option.reconnect = true; break;
        case 'w': option.warmup = atof(optarg); break;
        case 's': option.seconds = atof(optarg); break;
        case 'n': option.max_requests = strtoull(optarg, NULL, 10); break;
        case 'W': meter_watch(optarg); break;
        default: wire_die("%s", usage);
        }
    }
    if (!option.port || !option.connections || !option.streams || option.streams > STREAMS_MAX ||
        option.value_size > 2u * WIRE_VALUE_MAX || (option.op == GRPC && !option.h2) ||
        (option.op == PUT && option.h2)) {
        wire_die("%s\nloadgen_http: grpc needs h2, put needs h1", usage);
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    pattern = wire_pattern(option.value_size + 1);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    prepare_requests();
    open_all();
    return meter_run(option.warmup, option.seconds, option.max_requests, turn);
}
