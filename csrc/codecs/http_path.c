/* Normal form of paths: RFC 3986 §5.2.4, §6.2.2. */
#include "http_path.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- is there anything to do? ---- */

/* Nothing is, unless a path has an escape, a segment that begins with a dot, or, when they are merged, two slashes in a row. */
static bool needs_work_plain(const uint8_t *p, size_t n, bool merge) {
    for (size_t i = 0; i < n && p[i] != '?'; i++) {
        if (p[i] == '%') return true;
        if (i && p[i - 1] == '/' && (p[i] == '.' || (merge && p[i] == '/'))) return true;
    }
    return false;
}

#ifdef __SSE2__

static inline unsigned bytes_equal(__m128i x, char c) {
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8(c)));
}

/* -1: go on, else the answer. *behind: bit 0 says that the byte before the block was a slash. */
static inline int block_needs_work(const uint8_t *p, bool merge, unsigned *behind) {
    __m128i x = _mm_loadu_si128((const __m128i *)p);
    unsigned slash = bytes_equal(x, '/'), after = slash << 1 | *behind, query = bytes_equal(x, '?');
    unsigned work = bytes_equal(x, '%') | (after & (bytes_equal(x, '.') | (merge ? slash : 0)));
    *behind = slash >> 15;
    if (query) return (work & ((query & -query) - 1)) != 0;
    return work ? 1 : -1;
}

static bool needs_work(const uint8_t *p, size_t n, bool merge) {
    unsigned behind = 0;
    size_t i = 0;
    if (n < 16) return needs_work_plain(p, n, merge);
    for (; n - i >= 16; i += 16) {
        int r = block_needs_work(p + i, merge, &behind);
        if (r >= 0) return r;
    }
    behind = 0; /* the last bytes once more with those before them, which were in order */
    return i < n && block_needs_work(p + n - 16, merge, &behind) > 0;
}

#else
static bool needs_work(const uint8_t *p, size_t n, bool merge) { return needs_work_plain(p, n, merge); }
#endif

/* ---- the work ---- */

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unreserved(unsigned c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

/* The escape at p: what it stands for, decoded or not (*kept). < 0: refused. */
static int escape(const uint8_t *p, const uint8_t *end, const struct http_path_options *o, bool *kept) {
    int high = end - p < 3 ? -1 : hex(p[1]), low = end - p < 3 ? -1 : hex(p[2]), c = high * 16 + low;
    if (high < 0 || low < 0 || c == 0) return HTTP_PATH_BAD;
    *kept = !unreserved((unsigned)c);
    if (c == '/' || c == '\\') {
        if (o->escaped_slashes == SLASHES_REJECT) return HTTP_PATH_BAD;
        if (o->escaped_slashes == SLASHES_DECODE) *kept = false, c = '/';
    }
    return c;
}

/* Written so far: to[0..n), of which the segment at hand begins at `segment`, behind a slash. */
struct writer {
    uint8_t *to;
    size_t n, segment;
};

/* The segment at hand is complete; a slash follows it or (last) the path ends. */
static int end_segment(struct writer *w, bool last, bool merge) {
    const uint8_t *s = w->to + w->segment;
    size_t n = w->n - w->segment;
    if (n == 2 && s[0] == '.' && s[1] == '.') {
        if (w->segment == 1) return HTTP_PATH_BAD;
        const uint8_t *slash = memrchr(w->to, '/', w->segment - 1); /* there is one: to[0] */
        w->n = w->segment = (size_t)(slash - w->to) + 1;
    } else if ((n == 1 && s[0] == '.') || (n == 0 && merge)) {
        w->n = w->segment;
    } else if (!last) {
        w->to[w->n++] = '/', w->segment = w->n;
    }
    return 0;
}

/* p[0..n) begins with a slash. The size of its normal form in `to`. */
static ptrdiff_t rewrite(const uint8_t *p, size_t n, const struct http_path_options *o, uint8_t *to) {
    static const char digits[] = "0123456789ABCDEF";
    struct writer w = {.to = to, .n = 1, .segment = 1};
    const uint8_t *end = p + n;
    to[0] = '/';
    for (p++; p < end;) {
        bool kept = false, escaped = *p == '%';
        int c = escaped ? escape(p, end, o, &kept) : *p;
        if (c < 0) return HTTP_PATH_BAD;
        p += escaped ? 3 : 1;
        if (kept) to[w.n++] = '%', to[w.n++] = (uint8_t)digits[c >> 4], to[w.n++] = (uint8_t)digits[c & 15];
        else if (c != '/') to[w.n++] = (uint8_t)c;
        else if (end_segment(&w, false, o->merge_slashes) < 0) return HTTP_PATH_BAD;
    }
    return end_segment(&w, true, o->merge_slashes) < 0 ? HTTP_PATH_BAD : (ptrdiff_t)w.n;
}

int http_path_normalize(struct slice path_and_query, const struct http_path_options *o, uint8_t *to, size_t cap,
                        struct slice *out) {
    struct slice in = path_and_query;
    *out = in;
    if (in.n == 0 || in.p[0] != '/' || likely(!needs_work(in.p, in.n, o->merge_slashes))) return 0;
    const uint8_t *mark = memchr(in.p, '?', in.n);
    size_t path = mark ? (size_t)(mark - in.p) : in.n, query = in.n - path;
    if (cap < in.n) return HTTP_PATH_BAD;
    ptrdiff_t size = rewrite(in.p, path, o, to);
    if (size < 0) return HTTP_PATH_BAD;
    if ((size_t)size == path && memcmp(to, in.p, path) == 0) return 0;
    if (query) memcpy(to + size, mark, query);
    *out = slice_of(to, (size_t)size + query);
    return 1;
}
