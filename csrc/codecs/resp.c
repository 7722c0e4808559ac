/* Requests: the resumable parser behind the fast path of resp_fast.h, the rest of large frames, the error texts. */
#include "resp.h"

#include <limits.h>
#include <stdio.h>
#include <strings.h>

#define KIB 1024u
#define MIB (1024u * KIB)

const struct resp_limits resp_limits_default = {
    .max_bulk = 512 * MIB,
    .max_args = MIB,
    .max_inline = 64 * KIB,
    .max_depth = RESP_DEPTH,
    .max_count = INT32_MAX,
    .max_line = MIB,
    .max_reply = 1ull << 40,
    .stream_above = 256 * KIB,
    .guest_args = UINT32_MAX,
    .guest_bulk = UINT32_MAX,
};
const struct resp_limits resp_limits_guest = {
    .max_bulk = 512 * MIB,
    .max_args = MIB,
    .max_inline = 64 * KIB,
    .max_depth = RESP_DEPTH,
    .max_count = INT32_MAX,
    .max_line = MIB,
    .max_reply = 1ull << 40,
    .stream_above = 256 * KIB,
    .guest_args = 10,
    .guest_bulk = 16 * KIB,
};

/* One state per place parsing can stop at. FRESH is 0 (a reset request); the fast path knows it and DONE. */
enum {
    FRESH = RESP_STATE_FRESH,
    DONE = RESP_STATE_DONE,
    ARG = RESP_STATE_ARG, /* at an argument's "$<len>\r\n", all before it complete */
    COUNT,                /* in "*<argc>\r\n" */
    BODY,                 /* in an argument's bytes: pos is their start, left their number */
    INLINE,               /* in a line */
    BROKEN,
    /* resp_request_rest(): bytes pass and are gone, so each state is one byte's place in "$<len>\r\n<bytes>\r\n" */
    REST_DOLLAR,
    REST_FIRST, /* first character of the length */
    REST_ZERO,  /* behind a leading 0: only the line's end may follow */
    REST_DIGIT,
    REST_LF,
    REST_BODY,
    REST_END_CR,
    REST_END_LF,
};

static ptrdiff_t broken(struct resp_request *r, enum resp_error e) {
    r->state = BROKEN, r->error = e, r->large = false;
    return -(ptrdiff_t)e;
}

static ptrdiff_t whole(struct resp_request *r) {
    r->state = DONE;
    return r->pos;
}

static ptrdiff_t wait_for(struct resp_request *r, uint64_t total) {
    r->need = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
    return 0;
}

/* Strict decimal of at most 10 digits without sign; -1 when it is none. */
static int64_t read_length(const uint8_t *p, size_t n) {
    if (n == 0 || n > 10 || (p[0] == '0' && n > 1)) return -1;
    int64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned d = p[i] - '0';
        if (d > 9) return -1;
        v = v * 10 + d;
    }
    return v;
}

/* Finds the end of the line "<x>…\r\n" that starts at r->pos, not looking again at bytes before r->seen. 1: *text
 * is what stands between the line's first byte and its CR, r->seen behind its LF; 0: wait; < 0: broken, by
 * `too_long` or `bad`. */
static ptrdiff_t count_line(struct resp_request *r, const uint8_t *p, size_t n, uint32_t max, enum resp_error too_long,
                            enum resp_error bad, struct slice *text) {
    size_t from = max_size(r->seen, r->pos), to = min_size(n, (size_t)r->pos + max + 1);
    const uint8_t *cr = from < to ? memchr(p + from, '\r', to - from) : NULL;
    if (!cr) {
        if (n - r->pos > max) return broken(r, too_long);
        r->seen = (uint32_t)to;
        return wait_for(r, max_size(n + 1, (size_t)r->pos + 3)); /* the shortest such line, a wrong one, is "*\r\n" */
    }
    size_t end = (size_t)(cr - p);
    if (end + 1 == n) {
        r->seen = (uint32_t)end;
        return wait_for(r, n + 1);
    }
    if (cr[1] != '\n') return broken(r, bad);
    *text = slice_of(p + r->pos + 1, end - r->pos - 1);
    r->seen = (uint32_t)end + 2;
    return 1;
}

/* "*<argc>\r\n". Redis takes any number up to INT_MAX, a negative one as 0. */
static ptrdiff_t parse_count(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    struct slice text;
    ptrdiff_t got = count_line(r, p, n, lim->max_inline, RESP_BIG_COUNT, RESP_BAD_COUNT, &text);
    if (got <= 0) return got;
    int64_t count;
    if (!resp_int(text, &count)) return broken(r, RESP_BAD_COUNT);
    /* Redis looks at the guest's bound behind its hard one, so a count between the two bounds has the guest's text */
    if (count > INT_MAX) return broken(r, RESP_BAD_COUNT);
    if (count > (int64_t)lim->guest_args) return broken(r, RESP_GUEST_COUNT);
    if (count > (int64_t)lim->max_args) return broken(r, RESP_BAD_COUNT);
    r->pos = r->seen;
    r->argc = count > 0 ? (uint32_t)count : 0;
    r->state = ARG;
    return 1;
}

/* As many whole arguments as stand at r->pos, which is most of what a long request consists of. Stops, without a
 * change, at whatever parse_arg_head() must look at: a cut one, a wrong one, one over a limit. */
static void whole_args(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    const uint8_t *end = p + min_size(n, lim->stream_above), *q = p + r->pos, *body, *next;
    uint32_t max_bulk = lim->max_bulk < lim->guest_bulk ? lim->max_bulk : lim->guest_bulk, len;
    while (r->known < r->argc && end > q && (next = resp_whole_bulk(q, end, &body, &len)) && len <= max_bulk) {
        if (r->known < RESP_ARGS) r->arg[r->known] = (struct resp_arg){(uint32_t)(body - p), len};
        r->known++;
        q = next;
    }
    if (q == p + r->pos) return;
    r->pos = r->seen = (uint32_t)(q - p);
}

static ptrdiff_t parse_arg_head(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    if (n <= r->pos) return wait_for(r, (uint64_t)r->pos + 1);
    if (p[r->pos] != '$') { /* Redis says so only at the end of the line, a moment later */
        r->got = p[r->pos];
        return broken(r, RESP_NOT_BULK);
    }
    struct slice text;
    ptrdiff_t got = count_line(r, p, n, lim->max_inline, RESP_BIG_LENGTH, RESP_BAD_BULK, &text);
    if (got <= 0) return got;
    int64_t len = read_length(text.p, text.n);
    if (len < 0 || len > (int64_t)lim->max_bulk) return broken(r, RESP_BAD_BULK);
    if (len > (int64_t)lim->guest_bulk) return broken(r, RESP_GUEST_BULK);
    if ((uint64_t)r->seen + (uint64_t)len + 2 > lim->stream_above) {
        r->seen = r->pos; /* the head is read again, by resp_request_rest() or under a greater stream_above */
        r->large = true;
        return wait_for(r, (uint64_t)n + 1);
    }
    r->pos = r->seen;
    r->left = (uint32_t)len;
    r->state = BODY;
    return 1;
}

static ptrdiff_t parse_arg_body(struct resp_request *r, const uint8_t *p, size_t n) {
    size_t end = (size_t)r->pos + r->left;
    if (n < end + 2) return wait_for(r, end + 2);
    if (p[end] != '\r' || p[end + 1] != '\n') return broken(r, RESP_BAD_BULK);
    if (r->known < RESP_ARGS) r->arg[r->known] = (struct resp_arg){r->pos, r->left};
    r->known++;
    r->pos = r->seen = (uint32_t)end + 2;
    r->state = ARG;
    return 1;
}

/* A line that doesn't start with '*'. Redis searches it with strchr(), so behind a NUL it never sees the end and
 * gives up when the buffer is full; refused at once here, with the text it would have got. */
static ptrdiff_t parse_inline(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    size_t to = min_size(n, (size_t)lim->max_inline + 1);
    const uint8_t *lf = r->seen < to ? memchr(p + r->seen, '\n', to - r->seen) : NULL;
    size_t end = lf ? (size_t)(lf - p) : to;
    if (end > r->seen && memchr(p + r->seen, 0, end - r->seen)) return broken(r, RESP_BIG_INLINE);
    if (!lf) {
        if (n > lim->max_inline) return broken(r, RESP_BIG_INLINE);
        r->seen = (uint32_t)to;
        return wait_for(r, (uint64_t)n + 1);
    }
    r->pos = (uint32_t)end + 1;
    r->form = end == 0 || (end == 1 && p[0] == '\r') ? RESP_MULTIBULK : RESP_INLINE;
    return whole(r);
}

ptrdiff_t resp_request_parse_slow(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    ptrdiff_t got = 1;
    r->large = false;
    while (got == 1) {
        switch (r->state) {
        case FRESH:
            if (n == 0) return wait_for(r, 1);
            r->state = p[0] == '*' ? COUNT : INLINE;
            break;
        case COUNT: got = parse_count(r, p, n, lim); break;
        case ARG:
            whole_args(r, p, n, lim);
            if (r->known == r->argc) return whole(r);
            got = parse_arg_head(r, p, n, lim);
            break;
        case BODY: got = parse_arg_body(r, p, n); break;
        case INLINE: return parse_inline(r, p, n, lim);
        case DONE: return r->pos;
        default: return -(ptrdiff_t)r->error;
        }
    }
    return got;
}

ptrdiff_t resp_request_rest(struct resp_request *r, const uint8_t *p, size_t n, bool *done,
                            const struct resp_limits *lim) {
    *done = false;
    if (r->state == ARG && r->large) r->state = REST_DOLLAR, r->seen = r->known;
    size_t i = 0;
    while (i < n) {
        if (r->state == REST_BODY) {
            size_t take = min_size(r->left, n - i);
            r->left -= (uint32_t)take, i += take;
            if (r->left == 0) r->state = REST_END_CR;
            continue;
        }
        uint8_t c = p[i++];
        switch (r->state) {
        case REST_DOLLAR:
            if (c != '$') {
                r->got = c;
                return broken(r, RESP_NOT_BULK);
            }
            r->left = 0, r->state = REST_FIRST;
            break;
        case REST_FIRST:
            if (c < '0' || c > '9') return broken(r, RESP_BAD_BULK);
            r->left = c - '0', r->state = c == '0' ? REST_ZERO : REST_DIGIT;
            break;
        case REST_DIGIT:
            if (c != '\r') {
                if (c < '0' || c > '9') return broken(r, RESP_BAD_BULK);
                uint64_t len = (uint64_t)r->left * 10 + (c - '0');
                if (len > lim->max_bulk) return broken(r, RESP_BAD_BULK);
                r->left = (uint32_t)len;
                break;
            } /* fall through */
        case REST_ZERO:
            if (c != '\r' || r->left > lim->max_bulk) return broken(r, RESP_BAD_BULK);
            if (r->left > lim->guest_bulk) return broken(r, RESP_GUEST_BULK);
            r->state = REST_LF;
            break;
        case REST_LF:
            if (c != '\n') return broken(r, RESP_BAD_BULK);
            r->state = r->left ? REST_BODY : REST_END_CR;
            break;
        case REST_END_CR:
            if (c != '\r') return broken(r, RESP_BAD_BULK);
            r->state = REST_END_LF;
            break;
        case REST_END_LF:
            if (c != '\n') return broken(r, RESP_BAD_BULK);
            r->state = REST_DOLLAR;
            if (++r->seen == r->argc) {
                r->state = DONE, *done = true;
                return (ptrdiff_t)i;
            }
            break;
        default: return -(ptrdiff_t)r->error; /* broken before, or never handed over (then 0) */
        }
    }
    return (ptrdiff_t)i;
}

const char *resp_error_text(enum resp_error e) {
    static const char *const text[] = {
        [RESP_OK] = "no error",
        [RESP_BAD_COUNT] = "invalid multibulk length",
        [RESP_BAD_BULK] = "invalid bulk length",
        [RESP_NOT_BULK] = "expected '$'",
        [RESP_BIG_COUNT] = "too big mbulk count string",
        [RESP_BIG_LENGTH] = "too big bulk count string",
        [RESP_BIG_INLINE] = "too big inline request",
        [RESP_QUOTES] = "unbalanced quotes in request",
        [RESP_GUEST_COUNT] = "unauthenticated multibulk length",
        [RESP_GUEST_BULK] = "unauthenticated bulk length",
        [RESP_REPLY_TYPE] = "unknown type of reply",
        [RESP_REPLY_LENGTH] = "bad length in a reply",
        [RESP_REPLY_LINE] = "malformed line in a reply",
        [RESP_REPLY_DEPTH] = "reply nested too deep",
        [RESP_NO_MEMORY] = "out of memory",
    };
    return (size_t)e < countof(text) ? text[e] : "unknown error";
}

struct slice resp_error_reply(const struct resp_request *r, char *buf) {
    if (r->error == RESP_OK) return slice_of(buf, 0);
    int n;
    if (r->error == RESP_NOT_BULK) {
        char got = r->got == '\r' || r->got == '\n' ? ' ' : (char)r->got; /* as in every error line of Redis */
        n = snprintf(buf, RESP_ERROR_REPLY_MAX, "-ERR Protocol error: expected '$', got '%c'\r\n", got);
    } else {
        n = snprintf(buf, RESP_ERROR_REPLY_MAX, "-ERR Protocol error: %s\r\n", resp_error_text(r->error));
    }
    return slice_of(buf, min_size((size_t)n, RESP_ERROR_REPLY_MAX - 1));
}

bool resp_is_http(struct slice name) {
    return (name.n == 4 && strncasecmp((const char *)name.p, "post", 4) == 0) ||
           (name.n == 5 && strncasecmp((const char *)name.p, "host:", 5) == 0);
}

bool resp_arg_next_slow(struct resp_arg_iter *it, struct slice *arg) {
    if (it->i == it->n) return false;
    const uint8_t *q = it->p + 1; /* behind '$'; the frame was checked when it was parsed */
    size_t len = 0;
    while (*q != '\r') len = len * 10 + (size_t)(*q++ - '0');
    *arg = slice_of(q + 2, len);
    it->p = q + 2 + len + 2;
    it->i++;
    return true;
}

struct resp_arg_iter resp_arg_from(const struct resp_request *r, const uint8_t *p, uint32_t i) {
    if (i == 0) return resp_arg_iter(r, p);
    uint32_t base = i < RESP_ARGS ? i : RESP_ARGS; /* the argument before which the iterator can stand at once */
    const struct resp_arg *before = &r->arg[base - 1];
    struct resp_arg_iter it = {p + before->off + before->len + 2, base, r->known};
    struct slice skipped;
    while (it.i < i && resp_arg_next(&it, &skipped)) {}
    return it;
}

struct slice resp_arg_at(const struct resp_request *r, const uint8_t *p, uint32_t i) {
    if (likely(i < RESP_ARGS)) return slice_of(p + r->arg[i].off, r->arg[i].len);
    struct resp_arg_iter it = resp_arg_from(r, p, i);
    struct slice arg = {NULL, 0};
    resp_arg_next(&it, &arg);
    return arg;
}
