/* A stand-in for Redis that costs as little as can be: GET, SET and PING answered from nothing but the command itself.
 *
 * Commands are parsed to the byte (multi-bulk only, as every client library and proxy writes them), so a proxy that drops,
 * doubles or shifts a byte gets an error reply, which the load generator reports. The value of a GET follows from its key
 * (wire.h). A big SET value is not copied in: its first and last bytes are compared, the rest is counted. The few commands
 * a proxy sends for itself when it connects (HELLO, CLIENT, SELECT, AUTH, COMMAND, READONLY) get short plain answers.
 *
 * backend VALUE_SIZE [LISTEN_PORT]
 */
#include "wire.h"

#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/uio.h>

enum {
    SCRATCH = 256 << 10,
    EVENTS = 256,
    ARGS = 8,               /* arguments looked at; further ones are counted */
    HEAD = WIRE_BIG + 4096, /* bytes of an unfinished command kept: all but the big last argument of a SET */
    SMALL_OUT = 1 << 20, /* bytes of small replies waiting per connection; a proxy that reads none of them is stuck */
    LINGER_NS = 5000000, /* stay awake so long after the last command: see loadgen.c on sleeping */
    BIG_HEAD = 320,      /* bytes of a big reply that depend on its key: header and the key itself */
};

/* A big reply still to be sent: header and key, then the pattern from pattern_at to value_size, then CRLF. */
struct big {
    char head[BIG_HEAD];
    uint32_t head_length, pattern_at;
};

struct client {
    int fd;
    bool dirty;
    char *partial; /* bytes of an unfinished command, at most HEAD of them */
    size_t partial_length;
    /* a big argument of SET being received: bytes of it (and its CRLF) to come, where in the pattern we are */
    size_t skip, value_at;
    bool value_wrong;
    char *out; /* small replies */
    size_t out_at, out_end;
    struct big *bigs; /* big replies, in order, all of them before the small ones in `out` (see reply_small) */
    size_t big_at, big_end, big_capacity, sent_of_big;
};

static int epoll_fd;
static size_t value_size;
static char *pattern;
static char scratch[HEAD + SCRATCH];
static struct client *dirty[EVENTS];
static size_t dirty_count;

static void drop(struct client *c) {
    close(c->fd);
    free(c->partial);
    free(c->out);
    free(c->bigs);
    free(c);
}

static struct big *next_big(struct client *c) {
    if (c->big_end == c->big_capacity && c->big_at) {
        memmove(c->bigs, c->bigs + c->big_at, (c->big_end - c->big_at) * sizeof *c->bigs);
        c->big_end -= c->big_at;
        c->big_at = 0;
    } else if (c->big_end == c->big_capacity) {
        c->big_capacity = c->big_capacity ? c->big_capacity * 2 : 16;
        c->bigs = realloc(c->bigs, c->big_capacity * sizeof *c->bigs);
        if (!c->bigs) { wire_die("out of memory"); }
    }
    return &c->bigs[c->big_end++];
}

/* Out of order is not possible: a small reply behind a big one is itself queued as a "big" one without a pattern. */
static void reply_small(struct client *c, const char *bytes, size_t length) {
    if (c->big_end > c->big_at) {
        struct big *b = next_big(c);
        b->head_length = (uint32_t)(length < sizeof b->head ? length : sizeof b->head);
        b->pattern_at = UINT32_MAX;
        memcpy(b->head, bytes, b->head_length);
        return;
    }
    if (c->out_end + length > SMALL_OUT) { wire_die("backend: a proxy left %d bytes of replies unread", SMALL_OUT); }
    memcpy(c->out + c->out_end, bytes, length);
    c->out_end += length;
}

static void reply_text(struct client *c, const char *text) { reply_small(c, text, strlen(text)); }

static void reply_value(struct client *c, const char *key, size_t key_length) {
    size_t own;
    const char *head = wire_value_head(key, key_length, value_size, &own);
    char frame[64 + 256];
    int n = snprintf(frame, 64, "$%zu\r\n", value_size);
    if (own > 256) {
        reply_text(c, "-ERR stub: key too long\r\n");
        return;
    }
    memcpy(frame + n, head, own);
    n += (int)own;
    if (value_size < WIRE_BIG) { /* then every reply is small and `bigs` stays empty */
        reply_small(c, frame, (size_t)n);
        reply_small(c, pattern + own, value_size - own);
        reply_small(c, "\r\n", 2);
        return;
    }
    struct big *b = next_big(c);
    memcpy(b->head, frame, (size_t)n);
    b->head_length = (uint32_t)n;
    b->pattern_at = (uint32_t)own;
}

/* Sends what is queued. False: the connection is gone. */
static bool flush(struct client *c) {
    for (;;) {
        struct iovec v[3];
        int n = 0;
        if (c->out_end > c->out_at) {
            v[n++] = (struct iovec){c->out + c->out_at, c->out_end - c->out_at};
        } else if (c->big_end > c->big_at) {
            struct big *b = &c->bigs[c->big_at];
            bool plain = b->pattern_at == UINT32_MAX;
            struct iovec whole[3] = {{b->head, b->head_length},
                                     {pattern + (plain ? 0 : b->pattern_at), plain ? 0 : value_size - b->pattern_at},
                                     {"\r\n", plain ? 0 : 2}};
            size_t skip = c->sent_of_big;
            for (int i = 0; i < 3; i++) {
                size_t gone = skip < whole[i].iov_len ? skip : whole[i].iov_len;
                skip -= gone;
                if (whole[i].iov_len > gone) {
                    v[n++] = (struct iovec){(char *)whole[i].iov_base + gone, whole[i].iov_len - gone};
                }
            }
            if (!n) {
                c->big_at++;
                c->sent_of_big = 0;
                continue;
            }
        } else {
            c->out_at = c->out_end = c->big_at = c->big_end = 0;
            return true;
        }
        struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0) { return errno == EAGAIN; }
        if (c->out_end > c->out_at) {
            c->out_at += (size_t)sent;
        } else {
            c->sent_of_big += (size_t)sent;
        }
    }
}

static bool is(const char *word, const char *argument, size_t length) {
    return strlen(word) == length && !strncasecmp(word, argument, length);
}

static void answer(struct client *c, const char **args, const size_t *lengths, size_t count, bool value_ok) {
    if (is("GET", args[0], lengths[0]) && count == 2) {
        reply_value(c, args[1], lengths[1]);
    } else if (is("SET", args[0], lengths[0]) && count >= 3) {
        reply_text(c, value_ok ? "+OK\r\n" : "-ERR stub: not the value of this key\r\n");
    } else if (is("PING", args[0], lengths[0])) {
        reply_text(c, "+PONG\r\n");
    } else if (is("HELLO", args[0], lengths[0])) {
        bool three = count > 1 && is("3", args[1], lengths[1]);
        reply_text(c, three ? "%4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:"
                              "3\r\n$4\r\nmode\r\n"
                              "$10\r\nstandalone\r\n"
                            : "*8\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:"
                              "2\r\n$4\r\nmode\r\n"
                              "$10\r\nstandalone\r\n");
    } else if (is("COMMAND", args[0], lengths[0])) {
        reply_text(c, "*0\r\n");
    } else if (is("CLIENT", args[0], lengths[0]) || is("SELECT", args[0], lengths[0]) ||
               is("AUTH", args[0], lengths[0]) || is("READONLY", args[0], lengths[0])) {
        reply_text(c, "+OK\r\n");
    } else {
        reply_text(c, "-ERR stub: unknown command\r\n");
    }
}

/* Reads "<sign><digits>\r\n" at p. Its length; 0: more is needed; -1: not that. */
static int number(const char *p, const char *end, char sign, size_t *value) {
    const char *start = p;
    if (p == end) { return 0; }
    if (*p++ != sign) { return -1; }
    *value = 0;
    while (p < end && *p >= '0' && *p <= '9' && p - start < 12) { *value = *value * 10 + (size_t)(*p++ - '0'); }
    if (end - p < 2) { return p < end && *p != '\r' ? -1 : 0; }
    return p[0] == '\r' && p[1] == '\n' && p > start + 1 ? (int)(p + 2 - start) : -1;
}

static bool value_fits(const char *key, size_t key_length, const char *value, size_t length) {
    size_t own;
    const char *head = wire_value_head(key, key_length, length, &own);
    return !memcmp(value, head, own) && (length > WIRE_VALUE_MAX || !memcmp(value + own, pattern + own, length - own));
}

/* Takes one command at p. Its length; 0: more is needed; -1: broken. A command whose last argument is big and not all
 * here is answered when that argument has passed: c->skip says how much of it is still to come. */
static ssize_t command(struct client *c, const char *p, const char *end) {
    const char *start = p, *args[ARGS] = {0};
    size_t lengths[ARGS] = {0}, count, length;
    int n = number(p, end, '*', &count);
    if (n <= 0) { return n; }
    if (!count) { return -1; }
    p += n;
    for (size_t i = 0; i < count; i++) {
        if ((n = number(p, end, '$', &length)) <= 0) { return n; }
        p += n;
        if (length >= WIRE_BIG && i == 2 && count == 3 && is("SET", args[0], lengths[0])) {
            size_t own, here = (size_t)(end - p);
            const char *head = wire_value_head(args[1], lengths[1], length, &own);
            if (here < own && p - start < HEAD / 2) { return 0; }
            c->value_wrong = length > value_size || memcmp(p, head, own);
            c->value_at = own;
            c->skip = length + 2 - own;
            return p + own - start;
        }
        if ((size_t)(end - p) < length + 2) { return 0; }
        if (p[length] != '\r' || p[length + 1] != '\n') { return -1; }
        if (i < ARGS) {
            args[i] = p;
            lengths[i] = length;
        }
        p += length + 2;
    }
    bool set = count >= 3 && is("SET", args[0], lengths[0]);
    answer(c, args, lengths, count,
           !set || (lengths[2] <= value_size && value_fits(args[1], lengths[1], args[2], lengths[2])));
    return p - start;
}

/* Passes n bytes of a big value that are in memory. */
static void value_bytes(struct client *c, const char *p, size_t n) {
    size_t of_value = c->skip > 2 ? c->skip - 2 : 0, take = n < of_value ? n : of_value;
    c->value_wrong |= memcmp(p, pattern + c->value_at, take) != 0;
    c->value_at += take;
    c->skip -= take;
    for (size_t i = take; i < n; i++, c->skip--) { c->value_wrong |= p[i] != (c->skip == 2 ? '\r' : '\n'); }
    if (!c->skip) { reply_text(c, c->value_wrong ? "-ERR stub: not the value of this key\r\n" : "+OK\r\n"); }
}

static bool take(struct client *c, const char *p, size_t length) {
    const char *end = p + length;
    while (p < end) {
        if (c->skip) {
            size_t n = (size_t)(end - p) < c->skip ? (size_t)(end - p) : c->skip;
            value_bytes(c, p, n);
            p += n;
            continue;
        }
        ssize_t n = command(c, p, end);
        if (n < 0 || (!n && end - p > HEAD)) {
            reply_text(c, "-ERR stub: Protocol error\r\n");
            flush(c);
            return false;
        }
        if (!n) { break; }
        p += n;
    }
    c->partial_length = (size_t)(end - p);
    memcpy(c->partial, p, c->partial_length);
    return true;
}

/* Reads all there is. Commands lie in scratch behind what was left of the last read. */
static bool on_readable(struct client *c) {
    for (;;) {
        ssize_t n;
        if (c->skip > WIRE_EDGE + 2) { /* the middle of a big value: counted by the kernel, copied nowhere */
            size_t middle = c->skip - WIRE_EDGE - 2;
            n = recv(c->fd, NULL, middle, MSG_TRUNC);
            if (n > 0) {
                c->skip -= (size_t)n;
                c->value_at += (size_t)n;
                continue;
            }
        } else {
            memcpy(scratch, c->partial, c->partial_length);
            n = recv(c->fd, scratch + c->partial_length, c->skip ? c->skip : SCRATCH, 0);
            if (n > 0) {
                bool small = n < SCRATCH && !c->skip;
                if (!take(c, scratch, c->partial_length + (size_t)n)) { return false; }
                if (small && !c->skip) { return true; }
                continue;
            }
        }
        return n < 0 && errno == EAGAIN;
    }
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct client *c = calloc(1, sizeof *c);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        wire_nonblocking(fd);
        c->fd = fd;
        c->partial = malloc(HEAD);
        c->out = malloc(SMALL_OUT); /* touched only as far as it is used */
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv) {
    if (argc < 2 || (value_size = strtoul(argv[1], NULL, 10)) > WIRE_VALUE_MAX) {
        wire_die("usage: backend VALUE_SIZE [LISTEN_PORT]");
    }
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
            struct client *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            bool alive = true;
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                alive = on_readable(c);
                alive = alive && !(events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
            }
            if (!alive) { /* one event per fd and batch, so nothing later in this batch points here */
                flush(c);
                drop(c);
            } else if (!c->dirty) {
                c->dirty = true;
                dirty[dirty_count++] = c;
            }
        }
        while (dirty_count) { /* replies of a batch leave together */
            struct client *c = dirty[--dirty_count];
            c->dirty = false;
            if (!flush(c)) { drop(c); }
        }
    }
}
