/* The inlined parts of resp.h: whole small requests and replies, which is nearly all of them. Included by resp.h alone. */
#ifndef MOSNPY_RESP_FAST_H
#define MOSNPY_RESP_FAST_H

ptrdiff_t resp_request_parse_slow(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim);
ptrdiff_t resp_scan_slow(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim);
bool resp_arg_next_slow(struct resp_arg_iter *it, struct slice *arg);

static inline ptrdiff_t resp_request_parse(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    return resp_request_parse_slow(r, p, n, lim);
}

static inline ptrdiff_t resp_scan(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    return resp_scan_slow(s, p, n, lim);
}

static inline struct resp_arg_iter resp_arg_iter(const struct resp_request *r, const uint8_t *p) {
    /* "$<len>\r\n" of the first argument stands right behind "*<argc>\r\n", the only line end before it */
    const uint8_t *q = p;
    if (r->known) {
        while (*q != '\n') q++;
        q++;
    }
    return (struct resp_arg_iter){q, 0, r->known};
}

static inline bool resp_arg_next(struct resp_arg_iter *it, struct slice *arg) { return resp_arg_next_slow(it, arg); }

#endif
