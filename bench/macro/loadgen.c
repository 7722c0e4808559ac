/* A load generator that keeps the proxy, not itself, busy.
 *
 * N connections each send a batch of P prepared commands, wait for all P replies and send the next batch: no formatting,
 * no allocation, no locking while the load runs, one recv and one send per batch. Every reply is compared byte for byte
 * with the one its own command must get (wire.h), of big values the first and last bytes and the exact length; the first
 * difference ends the run as failed. It never sleeps while the load runs: waking a sleeping core costs the sender more than
 * sending (on a virtual machine, an exit to the hypervisor), a proxy that is faster than its load would pay that for every
 * reply, and the figure would be one of the machine. The CPU time of the processes named by --watch is read from the scheduler at the
 * very moments the measured time begins and ends, by this program, so that no other process has to be on time.
 *
 * Prints one JSON object. Exit 0: a valid run; 1: bad usage or environment; 3: a wrong reply or none (the JSON says what).
 */
#include "meter.h"
#include "wire.h"

#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum {
    EVENTS = 256,
    SCRATCH = 256 << 10,
    VARIANTS = 8, /* different batches per connection, sent in turn */
    KEY_MAX = 64, /* bytes of a key */
};

struct batch {
    struct iovec request[3]; /* commands; of a big SET: head, pattern, CRLF */
    struct iovec reply[3];   /* what must come back; of a big GET: head, pattern, CRLF */
    size_t request_length, reply_length;
};

struct conn {
    int fd;
    unsigned variant;
    struct batch batch[VARIANTS];
    size_t sent, received; /* bytes of the current batch */
    uint64_t sent_at;      /* ns */
};

static struct {
    unsigned port, connections, pipeline, tenants;
    size_t value_size;
    double warmup, seconds;
    uint64_t max_requests;
    bool set;
    const char *keys;
} option = {.connections = 50,
            .pipeline = 1,
            .value_size = 64,
            .warmup = 0.3,
            .seconds = 2,
            .max_requests = UINT64_MAX,
            .keys = "user:,session:,item:"};

static struct conn *conns;
static char *pattern, scratch[SCRATCH];
static size_t one_reply; /* bytes of one reply; all are equally long */
static int epoll_fd;
static unsigned idle; /* connections that have nothing under way, while stopping */

/* ---- preparing ---- */

static uint64_t random64(void) {
    static uint64_t x = 0x853C49E6748FEA9Bu; /* fixed: every proxy sees the same commands */
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

/* Writes a key: one of the prefixes (or tenant number) by turns or by chance, then 12 digits. */
static size_t make_key(char *key, unsigned turn) {
    if (option.tenants) {
        return (size_t)snprintf(key, KEY_MAX, "t%05u:%012x", (unsigned)(random64() % option.tenants),
                                (unsigned)random64());
    }
    unsigned count = 1, want;
    const char *p = option.keys;
    for (const char *q = p; *q; q++) { count += *q == ','; }
    for (want = turn % count; want; want--) { p = strchr(p, ',') + 1; }
    return (size_t)snprintf(key, KEY_MAX, "%.*s%012x", (int)strcspn(p, ","), p, (unsigned)random64());
}

static char *append(char *to, const void *bytes, size_t n) {
    memcpy(to, bytes, n);
    return to + n;
}

static void prepare(struct batch *b) {
    size_t value = option.value_size;
    bool big = value >= WIRE_BIG;
    size_t room = (KEY_MAX + 96 + (big ? 0 : value)) * option.pipeline;
    char *request = malloc(room), *reply = malloc(room), *r = request, *w = reply;
    if (!request || !reply) { wire_die("out of memory"); }
    size_t own = 0;
    for (unsigned i = 0; i < option.pipeline; i++) {
        char key[KEY_MAX];
        size_t n = make_key(key, i + (unsigned)random64());
        const char *head = wire_value_head(key, n, value, &own);
        r += sprintf(r, option.set ? "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n" : "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n",
                     n, key, value);
        if (option.set) {
            r = append(r, head, own);
            r = big ? r : append(append(r, pattern + own, value - own), "\r\n", 2);
            w = append(w, "+OK\r\n", 5);
        } else {
            w += sprintf(w, "$%zu\r\n", value);
            w = append(w, head, own);
            w = big ? w : append(append(w, pattern + own, value - own), "\r\n", 2);
        }
    }
    struct iovec rest = {pattern + own, big ? value - own : 0}, end = {"\r\n", big ? 2 : 0}, none = {"", 0};
    *b = (struct batch){
        .request = {{request, (size_t)(r - request)}, option.set ? rest : none, option.set ? end : none},
        .reply = {{reply, (size_t)(w - reply)}, option.set ? none : rest, option.set ? none : end},
    };
    for (int i = 0; i < 3; i++) {
        b->request_length += b->request[i].iov_len;
        b->reply_length += b->reply[i].iov_len;
    }
    one_reply = b->reply_length / option.pipeline;
}

static void open_all(void) {
    struct sockaddr_in to = wire_loopback(option.port);
    conns = calloc(option.connections, sizeof *conns);
    if (!conns) { wire_die("out of memory"); }
    for (unsigned i = 0; i < option.connections; i++) {
        struct conn *c = &conns[i];
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        for (int v = 0; v < VARIANTS; v++) { prepare(&c->batch[v]); }
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) {
            wire_die("connection %u to port %u: %s", i, option.port, strerror(errno));
        }
        wire_nonblocking(c->fd);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
        if (i % 32 == 31) { /* an accept queue that overflows costs a SYN's retransmission, 1 s */
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        }
    }
}

/* ---- the load ---- */

/* Sends what is left of the current batch, as much as the socket takes. */
static void send_batch(struct conn *c) {
    struct batch *b = &c->batch[c->variant];
    while (c->sent < b->request_length) {
        struct iovec v[3];
        size_t skip = c->sent, n = 0;
        for (int i = 0; i < 3; i++) {
            size_t gone = skip < b->request[i].iov_len ? skip : b->request[i].iov_len;
            skip -= gone;
            if (b->request[i].iov_len > gone) {
                v[n++] = (struct iovec){(char *)b->request[i].iov_base + gone, b->request[i].iov_len - gone};
            }
        }
        struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) { meter_fail_errno("send: "); }
            return;
        }
        c->sent += (size_t)sent;
    }
}

static void next_batch(struct conn *c, uint64_t now) {
    c->variant = (c->variant + 1) % VARIANTS;
    c->sent = c->received = 0;
    if (meter.stopping) {
        idle++;
        c->sent = c->batch[c->variant].request_length;
        return;
    }
    c->sent_at = now;
    send_batch(c);
}

/* Checks n bytes against the reply that is due. */
static bool expected(struct conn *c, const char *bytes, size_t n) {
    struct batch *b = &c->batch[c->variant];
    size_t at = c->received;
    for (int i = 0; i < 3 && n; i++) {
        size_t length = b->reply[i].iov_len;
        if (at >= length) {
            at -= length;
            continue;
        }
        size_t take = n < length - at ? n : length - at;
        if (memcmp((char *)b->reply[i].iov_base + at, bytes, take)) { return false; }
        bytes += take;
        n -= take;
        at = 0;
    }
    return n == 0;
}

static void on_readable(struct conn *c) {
    for (;;) {
        struct batch *b = &c->batch[c->variant];
        size_t left = b->reply_length - c->received;
        bool skip = left > WIRE_EDGE && c->received >= WIRE_EDGE && b->reply[1].iov_len; /* middle of a big value */
        size_t want = skip ? left - WIRE_EDGE : SCRATCH;
        want = !skip && b->reply[1].iov_len && c->received < WIRE_EDGE ? WIRE_EDGE - c->received : want;
        ssize_t n = recv(c->fd, skip ? NULL : scratch, want, skip ? MSG_TRUNC : 0);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) { return; }
            n ? meter_fail_errno("recv: ") : meter_fail("closed by the proxy", "", 0);
            return;
        }
        if ((size_t)n > left) {
            meter_fail("more bytes than replies were due: ", scratch + left, (size_t)n - left);
            return;
        }
        if (!skip && !expected(c, scratch, (size_t)n)) {
            meter_fail("wrong reply: ", scratch, (size_t)n);
            return;
        }
        uint64_t now = wire_now_ns(), before = c->received / one_reply;
        c->received += (size_t)n;
        uint64_t done = c->received / one_reply - before;
        if (done) { meter_count(c->sent_at, now, done); }
        bool drained = (size_t)n < want;
        if (c->received == b->reply_length) { next_batch(c, now); }
        if (drained) { return; }
    }
}

static bool turn(void) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, 0);
    if (n == 0) { sched_yield(); /* to the backend, if it shares our core */ }
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->sent < c->batch[c->variant].request_length) { send_batch(c); }
        if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) { on_readable(c); }
    }
    return idle < option.connections;
}

/* ---- command line ---- */

static void parse(int argc, char **argv) {
    static const struct option longs[] = {
        {"port", 1, 0, 'p'},    {"connections", 1, 0, 'c'}, {"pipeline", 1, 0, 'P'}, {"op", 1, 0, 'o'},
        {"value", 1, 0, 'v'},   {"keys", 1, 0, 'k'},        {"tenants", 1, 0, 't'},  {"warmup", 1, 0, 'w'},
        {"seconds", 1, 0, 's'}, {"requests", 1, 0, 'n'},    {"watch", 1, 0, 'W'},    {0, 0, 0, 0},
    };
    for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (o) {
        case 'p': option.port = (unsigned)atoi(optarg); break;
        case 'c': option.connections = (unsigned)atoi(optarg); break;
        case 'P': option.pipeline = (unsigned)atoi(optarg); break;
        case 'o': option.set = !strcmp(optarg, "set"); break;
        case 'v': option.value_size = strtoul(optarg, NULL, 10); break;
        case 'k': option.keys = optarg; break;
        case 't': option.tenants = (unsigned)atoi(optarg); break;
        case 'w': option.warmup = atof(optarg); break;
        case 's': option.seconds = atof(optarg); break;
        case 'n': option.max_requests = strtoull(optarg, NULL, 10); break;
        case 'W': meter_watch(optarg); break;
        default:
            wire_die(
                "usage: loadgen --port N [--connections 50] [--pipeline 1] [--op get|set] [--value 64] [--keys a:,b:]\n"
                "       [--tenants 0] [--warmup 0.3] [--seconds 2] [--requests N] [--watch PID,PID]");
        }
    }
    if (!option.port || !option.connections || !option.pipeline || option.value_size > WIRE_VALUE_MAX ||
        (option.value_size >= WIRE_BIG && option.pipeline > 1) || strlen(option.keys) > KEY_MAX / 2) {
        wire_die("loadgen: --port is needed; big values go without a pipeline");
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    pattern = wire_pattern(option.value_size + 1);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    open_all();

    for (unsigned i = 0; i < option.connections; i++) { next_batch(&conns[i], wire_now_ns()); }
    return meter_run(option.warmup, option.seconds, option.max_requests, turn);
}
