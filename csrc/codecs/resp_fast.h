/* The inlined parts of resp.h: whole small requests and replies, which is nearly all of them. Included by resp.h
 * alone.
 *
 * A fast path takes what is whole and of the common form, and leaves the rest to the general parser in the state
 * that parser would have reached itself; so its only effect is speed. The tests compare the two. */
#ifndef MOSNPY_RESP_FAST_H
#define MOSNPY_RESP_FAST_H

/* The states of a request the fast path sees (the others are private to resp.c): nothing read; whole; before an
 * argument. */
enum { RESP_STATE_FRESH, RESP_STATE_DONE, RESP_STATE_ARG };
enum { RESP_SCAN_TYPE }; /* likewise of a reply: the next byte is a type byte */

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

/* The general form of resp_bulk_head(): any strict length of at most nine digits. */
static inline const uint8_t *resp_long_bulk_head(const uint8_t *p, const uint8_t *end, uint32_t *len) {
    if (*p != '$' || p[1] == '0') return NULL;
    uint32_t v = 0;
    const uint8_t *q = p + 1, *stop = end - q > 9 ? q + 9 : end;
    while (q < stop && (uint8_t)(*q - '0') <= 9) v = v * 10 + (uint32_t)(*q++ - '0');
    if (q == p + 1 || end - q < 2 || resp_load16(q) != RESP_CRLF) return NULL;
    *len = v;
    return q + 2;
}

/* "$<len>\r\n" at p: the byte behind it and *len; NULL when it is cut, longer than nine digits, or wrong. */
static inline const uint8_t *resp_bulk_head(const uint8_t *p, const uint8_t *end, uint32_t *len) {
    if (unlikely(end - p < 6)) return NULL; /* with no bytes it would still be "$0\r\n\r\n" */
    uint32_t w = resp_load32(p), d = ((w >> 8) & 0xff) - '0';
    if (likely((w & RESP_WORD(0xff, 0, 0xff, 0xff)) == RESP_WORD('$', 0, '\r', '\n') && d <= 9)) {
        *len = d;
        return p + 4;
    }
    uint32_t e = ((w >> 16) & 0xff) - '0';
    if (likely((w & RESP_WORD(0xff, 0, 0, 0xff)) == RESP_WORD('$', 0, 0, '\r') && d - 1 < 9 && e <= 9 &&
               p[4] == '\n')) {
        *len = d * 10 + e;
        return p + 5;
    }
    return resp_long_bulk_head(p, end, len);
}

/* A whole "$<len>\r\n<bytes>\r\n" at p: the byte behind it, *body and *len; NULL when it is cut or wrong. */
static inline const uint8_t *resp_whole_bulk(const uint8_t *p, const uint8_t *end, const uint8_t **body,
                                             uint32_t *len) {
    const uint8_t *b = resp_bulk_head(p, end, len);
    if (unlikely(!b || end - b < (ptrdiff_t)*len + 2 || resp_load16(b + *len) != RESP_CRLF)) return NULL;
    *body = b;
    return b + *len + 2;
}

static inline ptrdiff_t resp_request_parse(struct resp_request *r, const uint8_t *p, size_t n,
                                           const struct resp_limits *lim) {
    if (unlikely(r->state != RESP_STATE_FRESH || n < 10)) /* "*1\r\n$0\r\n\r\n" */
        return resp_request_parse_slow(r, p, n, lim);
    uint32_t w = resp_load32(p), argc = ((w >> 8) & 0xff) - '0', i = 0, len;
    if (unlikely((w & RESP_WORD(0xff, 0, 0xff, 0xff)) != RESP_WORD('*', 0, '\r', '\n') || argc - 1 >= RESP_ARGS ||
                 argc > lim->max_args || argc > lim->guest_args))
        return resp_request_parse_slow(r, p, n, lim);
    uint32_t max_bulk = lim->max_bulk < lim->guest_bulk ? lim->max_bulk : lim->guest_bulk;
    const uint8_t *q = p + 4, *end = p + min_size(n, lim->stream_above), *body, *next;
    do {
        next = resp_whole_bulk(q, end, &body, &len);
        if (unlikely(!next || len > max_bulk)) break;
        r->arg[i] = (struct resp_arg){(uint32_t)(body - p), len};
        q = next;
    } while (++i < argc);
    r->pos = (uint32_t)(q - p);
    r->argc = argc;
    r->known = i;
    if (likely(i == argc)) {
        r->state = RESP_STATE_DONE;
        return q - p;
    }
    r->seen = r->pos;
    r->state = RESP_STATE_ARG;
    return resp_request_parse_slow(r, p, n, lim);
}

/* A whole value of the commonest forms at p: its length; 0 when it is another, or cut, or wrong. */
static inline size_t resp_whole_reply(const uint8_t *p, const uint8_t *end, const struct resp_limits *lim) {
    if (unlikely(end - p < 4)) return 0;
    uint32_t w = resp_load32(p);
    if ((uint8_t)w == '$') {
        const uint8_t *body, *next;
        uint32_t len;
        if (likely((next = resp_whole_bulk(p, end, &body, &len)) && len <= lim->max_reply)) return (size_t)(next - p);
        return w == RESP_WORD('$', '-', '1', '\r') && end - p > 4 && p[4] == '\n' ? 5 : 0;
    }
    if (w == RESP_WORD('+', 'O', 'K', '\r')) return end - p > 4 && p[4] == '\n' ? 5 : 0;
    if ((uint8_t)w == ':') {
        size_t i = 1,
               most = min_size((size_t)(end - p) - 2, 20); /* int64 has at most 19 digits; a sign goes the long way */
        while (i < most && (uint8_t)(p[i] - '0') <= 9) i++;
        return i > 1 && resp_load16(p + i) == RESP_CRLF ? i + 2 : 0;
    }
    return 0;
}

static inline ptrdiff_t resp_scan(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    if (likely(s->state == RESP_SCAN_TYPE && s->depth == 0)) {
        size_t len = resp_whole_reply(p, p + n, lim);
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
    if (likely(it->i < it->n &&
               it->p[2] == '\r')) { /* one digit; of a frame that was parsed, so the rest is as it must be */
        uint32_t len = it->p[1] - (uint32_t)'0';
        *arg = slice_of(it->p + 4, len);
        it->p += 4 + len + 2;
        it->i++;
        return true;
    }
    return resp_arg_next_slow(it, arg);
}

#endif
