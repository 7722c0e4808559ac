#include "http_path.h"

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unreserved(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

/* Usual paths have none of what must be looked at: escapes, dots behind a slash, slashes behind a slash. */
static bool nothing_to_do(const uint8_t *p, size_t n, bool merge) {
    bool after_slash = false;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = p[i];
        if (unlikely(c == '%') || (after_slash && (c == '.' || (merge && c == '/')))) return false;
        after_slash = c == '/';
    }
    return true;
}

/* Escapes. Bytes written, -1 when refused. */
static ssize_t unescape(const uint8_t *p, size_t n, const struct http_path_options *o, uint8_t *to) {
    static const char digits[] = "0123456789ABCDEF";
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '%') {
            to[k++] = p[i];
            continue;
        }
        if (n - i < 3 || hex(p[i + 1]) < 0 || hex(p[i + 2]) < 0) return -1;
        uint8_t c = (uint8_t)(hex(p[i + 1]) << 4 | hex(p[i + 2]));
        bool slash = c == '/' || c == '\\';
        i += 2;
        if (c == 0 || (slash && o->escaped_slashes == SLASHES_REJECT)) return -1;
        if (unreserved(c)) to[k++] = c;
        else if (slash && o->escaped_slashes == SLASHES_DECODE) to[k++] = '/';
        else to[k++] = '%', to[k++] = (uint8_t)digits[c >> 4], to[k++] = (uint8_t)digits[c & 15];
    }
    return (ssize_t)k;
}

static size_t segment_end(const uint8_t *p, size_t n, size_t i) {
    const uint8_t *slash = i < n ? memchr(p + i, '/', n - i) : NULL;
    return slash ? (size_t)(slash - p) : n;
}

/* Dot segments, in place: p begins with '/'. Length left, -1 for a way above the root. */
static ssize_t resolve(uint8_t *p, size_t n, bool merge) {
    size_t k = 0;
    for (size_t i = 0; i < n;) { /* p[i] is a slash */
        size_t end = segment_end(p, n, i + 1), len = end - i - 1;
        bool last = end == n;
        if (len == 1 && p[i + 1] == '.') {
            if (last) p[k++] = '/';
        } else if (len == 2 && p[i + 1] == '.' && p[i + 2] == '.') {
            if (k == 0) return -1;
            while (p[--k] != '/') continue;
            if (last) p[k++] = '/';
        } else if (!(merge && len == 0 && !last)) {
            memmove(p + k, p + i, len + 1);
            k += len + 1;
        }
        i = end;
    }
    if (k == 0) p[k++] = '/';
    return (ssize_t)k;
}

int http_path_normalize(struct slice in, const struct http_path_options *o, uint8_t *to, size_t cap,
                        struct slice *out) {
    const uint8_t *mark = in.n ? memchr(in.p, '?', in.n) : NULL;
    size_t n = mark ? (size_t)(mark - in.p) : in.n;
    *out = in;
    if (likely(nothing_to_do(in.p, n, o->merge_slashes))) return 0;
    if (cap < in.n || in.p[0] != '/') return -1;
    ssize_t k = unescape(in.p, n, o, to);
    if (k > 0) k = resolve(to, (size_t)k, o->merge_slashes);
    if (k < 0) return -1;
    if (mark) memcpy(to + k, mark, in.n - n);
    *out = slice_of(to, (size_t)k + in.n - n);
    return 1;
}
