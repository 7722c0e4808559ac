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
#include "wire.h"

#include <dirent.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum {
    EVENTS = 256,
    SCRATCH = 256 << 10,
    VARIANTS = 8,          /* different batches per connection, sent in turn */
    KEY_MAX = 64,          /* bytes of a key */
    PIDS_MAX = 64,         /* watched processes */
    HIST_SUB = 5,          /* bits below the leading one: a bucket is at most 1/32 wide */
    STALL_NS = 2000000000, /* no reply at all for so long: the run has failed */
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
    int pids[PIDS_MAX], pid_count;
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
static uint64_t completed, last_progress, hist[64 << HIST_SUB], latency_max;
static bool measuring, stopping;
static unsigned idle; /* connections that have nothing under way, while stopping */
static char failure[256];

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

/* ---- figures ---- */

static void count_latency(uint64_t ns, uint64_t times) {
    int top = 63 - __builtin_clzll(ns | (1u << HIST_SUB));
    hist[((uint64_t)(top - HIST_SUB) << HIST_SUB) + (ns >> (top - HIST_SUB))] += times;
    latency_max = ns > latency_max ? ns : latency_max;
}

/* The latency (us) that a share q of all requests did not exceed: the middle of its bucket. */
static double quantile(double q) {
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < sizeof hist / sizeof *hist; i++) { total += hist[i]; }
    for (size_t i = 0; i < sizeof hist / sizeof *hist; i++) {
        seen += hist[i];
        if (total && seen >= (uint64_t)(q * (double)total)) {
            size_t group = i >> HIST_SUB, shift = group ? group - 1 : 0, low = group ? (i & 31u) + 32u : i;
            return ((double)low + 0.5) * (double)(1ull << shift) / 1000;
        }
    }
    return 0;
}

/* Adds up the running and the waiting time (ns) of all threads of the watched processes. */
static void read_cpu(uint64_t *run, uint64_t *wait) {
    *run = *wait = 0;
    for (int i = 0; i < option.pid_count; i++) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%d/task", option.pids[i]);
        DIR *d = opendir(path);
        for (struct dirent *t; d && (t = readdir(d));) {
            unsigned long long r, w;
            snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", option.pids[i], t->d_name);
            FILE *f = *t->d_name == '.' ? NULL : fopen(path, "r");
            if (f && fscanf(f, "%llu %llu", &r, &w) == 2) {
                *run += r;
                *wait += w;
            }
            if (f) { fclose(f); }
        }
        if (d) { closedir(d); }
    }
}

/* ---- the load ---- */

static void fail(const char *what, const char *bytes, size_t n) {
    if (!*failure) {
        size_t at = (size_t)snprintf(failure, sizeof failure, "%s", what);
        for (size_t i = 0; i < n && i < 60 && at + 8 < sizeof failure; i++) { /* what came, fit to stand in JSON */
            bool plain = bytes[i] >= ' ' && bytes[i] < 127 && bytes[i] != '"' && bytes[i] != '\\';
            at += (size_t)snprintf(failure + at, sizeof failure - at, plain ? "%c" : "<%02x>", (unsigned char)bytes[i]);
        }
    }
    stopping = true;
}

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
            if (errno != EAGAIN) { fail("send: ", strerror(errno), strlen(strerror(errno))); }
            return;
        }
        c->sent += (size_t)sent;
    }
}

static void next_batch(struct conn *c, uint64_t now) {
    c->variant = (c->variant + 1) % VARIANTS;
    c->sent = c->received = 0;
    if (stopping) {
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
            fail(n ? "recv: " : "closed by the proxy", n ? strerror(errno) : "", n ? strlen(strerror(errno)) : 0);
            return;
        }
        if ((size_t)n > left) {
            fail("more bytes than replies were due: ", scratch + left, (size_t)n - left);
            return;
        }
        if (!skip && !expected(c, scratch, (size_t)n)) {
            fail("wrong reply: ", scratch, (size_t)n);
            return;
        }
        uint64_t now = wire_now_ns(), before = c->received / one_reply;
        c->received += (size_t)n;
        uint64_t done = c->received / one_reply - before;
        if (done) {
            completed += done;
            last_progress = now;
            if (measuring) { count_latency(now - c->sent_at, done); }
        }
        bool drained = (size_t)n < want;
        if (c->received == b->reply_length) { next_batch(c, now); }
        if (drained) { return; }
    }
}

/* Runs until the clock shows `until`, `limit` requests are complete or, once stopping, nothing is under way. */
static void run(uint64_t until, uint64_t limit) {
    struct epoll_event events[EVENTS];
    while (completed < limit && !*failure && !(stopping && idle == option.connections)) {
        int n = epoll_wait(epoll_fd, events, EVENTS, 0);
        if (n == 0) { sched_yield(); /* to the backend, if it shares our core */ }
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->sent < c->batch[c->variant].request_length) { send_batch(c); }
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) { on_readable(c); }
        }
        uint64_t now = wire_now_ns();
        if (now >= until) { return; }
        if (now - last_progress > STALL_NS && now > last_progress) { fail("no reply for 2 s", "", 0); }
    }
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
        case 'W':
            for (char *p = strtok(optarg, ","); p && option.pid_count < PIDS_MAX; p = strtok(NULL, ",")) {
                option.pids[option.pid_count++] = atoi(p);
            }
            break;
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

    last_progress = wire_now_ns();
    for (unsigned i = 0; i < option.connections; i++) { next_batch(&conns[i], wire_now_ns()); }
    run(wire_now_ns() + (uint64_t)(option.warmup * 1e9), UINT64_MAX);

    uint64_t cpu[2], wait[2], requests = completed, start = wire_now_ns();
    measuring = true;
    read_cpu(&cpu[0], &wait[0]);
    run(start + (uint64_t)(option.seconds * 1e9),
        option.max_requests < UINT64_MAX - completed ? completed + option.max_requests : UINT64_MAX);
    read_cpu(&cpu[1], &wait[1]);
    double took = (double)(wire_now_ns() - start) / 1e9;
    requests = completed - requests;
    measuring = false;

    stopping = true; /* let what is under way come home: a reply lost at the very end counts too */
    run(wire_now_ns() + (uint64_t)STALL_NS, UINT64_MAX);
    if (!*failure && idle < option.connections) { fail("replies missing at the end", "", 0); }
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"cpu_ns\": %llu, \"wait_ns\": %llu, \"p50_us\": %.1f, \"p99_us\": "
           "%.1f, "
           "\"p999_us\": %.1f, \"max_us\": %.1f, \"answered\": %llu, \"failure\": \"%s\"}\n",
           (unsigned long long)requests, took, (unsigned long long)(cpu[1] - cpu[0]),
           (unsigned long long)(wait[1] - wait[0]), quantile(0.5), quantile(0.99), quantile(0.999),
           (double)latency_max / 1000, (unsigned long long)completed, failure);
    return *failure ? 3 : 0;
}
