/* The inlined parts of resp.h: whole small requests and replies, which is nearly all of them. Included by resp.h alone.
 *
 * Both fast paths take a frame only if all of it is there and of the common form, and otherwise leave everything as it
 * was to the general parser; so their only effect is speed, and every test runs against both. */
#ifndef MOSNPY_RESP_FAST_H
#define MOSNPY_RESP_FAST_H

enum { RESP_STATE_FRESH, RESP_STATE_DONE }; /* the states of a request the fast path sees; the others are private to resp.c */
enum { RESP_SCAN_TYPE };                    /* likewise of a reply: the next byte is a type byte */

ptrdiff_t resp_request_parse_slow(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim);
ptrdiff_t resp_scan_slow(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim);
bool resp_arg_next_slow(struct resp_arg_iter *it, struct slice *arg);

static inline uint16_t resp_load16(const uint8_t *p) {
    uint16_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
static inline uint32_t resp_load32(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
/* Four bytes as resp_load32() sees them. Little-endian, as everything mosnpy runs on. */
#define RESP_WORD(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define RESP_CRLF ((uint16_t)('\r' | '\n' << 8))

/* "$<len>\r\n<len bytes>\r\n" at p, len of one or two digits, all of it before end: the byte behind it, *len and *body set. NULL
 * when it is anything else. */
static inline const uint8_t *resp_small_bulk(const uint8_t *p, const uint8_t *end, const uint8_t **body, uint32_t *len) {
    if (unlikely(end - p < 6)) return NULL;
    uint32_t w = resp_load32(p), d = ((w >> 8) & 0xff) - '0';
    const uint8_t *b = p + 4;
    if (unlikely(d > 9)) return NULL;
    if ((w & RESP_WORD(0xff, 0, 0xff, 0xff)) != RESP_WORD('$', 0, '\r', '\n')) {
        uint32_t e = ((w >> 16) & 0xff) - '0';
        if ((w & RESP_WORD(0xff, 0, 0, 0xff)) != RESP_WORD('$', 0, 0, '\r') || *b++ != '\n' || e > 9 || d == 0) return NULL;
        d = d * 10 + e;
    }
    if (unlikely(end - b < (ptrdiff_t)d + 2) || unlikely(resp_load16(b + d) != RESP_CRLF)) return NULL;
    *body = b, *len = d;
    return b + d + 2;
}

static inline ptrdiff_t resp_request_parse(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    if (likely(r->state == RESP_STATE_FRESH && n >= 10)) { /* "*1\r\n$0\r\n\r\n" */
        uint32_t w = resp_load32(p), argc = ((w >> 8) & 0xff) - '0';
        uint32_t max_bulk = lim->max_bulk < lim->guest_bulk ? lim->max_bulk : lim->guest_bulk;
        if (likely((w & RESP_WORD(0xff, 0, 0xff, 0xff)) == RESP_WORD('*', 0, '\r', '\n') && argc - 1 < RESP_ARGS) &&
            likely(argc <= lim->max_args && argc <= lim->guest_args)) {
            const uint8_t *q = p + 4, *end = p + n, *body;
            uint32_t i = 0, len;
            for (; i < argc; i++) {
                q = resp_small_bulk(q, end, &body, &len);
                if (unlikely(!q || len > max_bulk)) break;
                r->arg[i] = (struct resp_arg){(uint32_t)(body - p), len};
            }
            if (likely(i == argc && (size_t)(q - p) <= lim->stream_above)) {
                r->pos = (uint32_t)(q - p);
                r->argc = r->known = argc;
                r->state = RESP_STATE_DONE;
                return q - p;
            }
        }
    }
    return resp_request_parse_slow(r, p, n, lim);
}

/* A whole scalar of the commonest forms at p: its length, 0 when it is another, or cut. */
static inline size_t resp_small_reply(const uint8_t *p, const uint8_t *end) {
    if (unlikely(end - p < 5)) return end - p == 4 && (resp_load32(p) & RESP_WORD(0xff, 0xf0, 0xff, 0xff)) == RESP_WORD(':', '0', '\r', '\n') && p[1] <= '9' ? 4 : 0;
    uint32_t w = resp_load32(p);
    if (*p == '$') {
        const uint8_t *body;
        uint32_t len;
        const uint8_t *q = resp_small_bulk(p, end, &body, &len);
        if (likely(q != NULL)) return (size_t)(q - p);
        return w == RESP_WORD('$', '-', '1', '\r') && p[4] == '\n' ? 5 : 0;
    }
    if (w == RESP_WORD('+', 'O', 'K', '\r')) return p[4] == '\n' ? 5 : 0;
    if ((w & RESP_WORD(0xff, 0xf0, 0xff, 0xff)) == RESP_WORD(':', '0', '\r', '\n')) return p[1] <= '9' ? 4 : 0;
    return 0;
}

static inline ptrdiff_t resp_scan(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    if (likely(s->state == RESP_SCAN_TYPE && s->depth == 0)) {
        size_t len = resp_small_reply(p, p + n);
        if (likely(len)) {
            s->type = *p, s->open = false, s->done = true;
            return (ptrdiff_t)len;
        }
    }
    return resp_scan_slow(s, p, n, lim);
}

static inline struct resp_arg_iter resp_arg_iter(const struct resp_request *r, const uint8_t *p) {
    const uint8_t *q = p; /* the first line end is that of "*<argc>\r\n" */
    if (likely(r->known)) {
        while (*q != '\n') q++;
        q++;
    }
    return (struct resp_arg_iter){q, 0, r->known};
}

static inline bool resp_arg_next(struct resp_arg_iter *it, struct slice *arg) {
    if (likely(it->i < it->n && it->p[2] == '\r')) { /* one digit; of a frame that was parsed, so the rest is as it must be */
        uint32_t len = it->p[1] - (uint32_t)'0';
        *arg = slice_of(it->p + 4, len);
        it->p += 4 + len + 2;
        it->i++;
        return true;
    }
    return resp_arg_next_slow(it, arg);
}

#endif
