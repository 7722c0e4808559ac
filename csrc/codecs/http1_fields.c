/* Field lines: RFC 9112 §5 and §6.3, RFC 9110 §5.5, §7.6.1, §8.6. */
#include "http1_fields.h"

#include "http_scan.h"

#define LENGTH_DIGITS 20        /* of a Content-Length; more are zeros nobody sends, or an overflow */
#define LENGTH_MAX (1ull << 62) /* bytes; sums of a few such lengths do not overflow */
#define OPTIONS_MAX 64          /* fields named by Connection in one head: each costs a walk over all fields */

static inline bool blank(uint8_t c) { return c == ' ' || c == '\t'; }

/* ---- lines ---- */

static inline void note(struct http1_cursor *c, unsigned id) {
    uint32_t bit = 1u << id;
    if (c->seen & bit) c->twice |= bit;
    else c->first[id] = (uint16_t)c->count;
    c->seen |= bit;
}

/* The line at c->p, not an empty one. No white space before the colon, no folding: a line that begins with white space has an empty
 * name. Only CR LF ends it. */
static inline int read_line(struct http1_cursor *c) {
    const uint8_t *name = c->p, *end = c->end;
    const uint8_t *colon = http_scan_name(name, end, c->lo), *v = colon + 1;
    if (unlikely(colon == end)) return 0;
    if (unlikely(*colon != ':' || colon == name)) return HTTP1_BAD;
    while (v < end && blank(*v)) v++;
    const uint8_t *cr = http_scan_value(v, end, c->lo), *last = cr;
    if (unlikely(cr == end)) return 0;
    if (unlikely(*cr != '\r')) return HTTP1_BAD;
    if (unlikely(cr + 1 == end)) return 0;
    if (unlikely(cr[1] != '\n')) return HTTP1_BAD;
    while (last > v && blank(last[-1])) last--;
    unsigned id = http_name_find(name, (size_t)(colon - name));
    note(c, id);
    c->fields[c->count++] = (struct http_field){.name = {name, (size_t)(colon - name)},
                                                .value = {v, (size_t)(last - v)},
                                                .id = (uint8_t)id,
                                                .drop = http_name_is_hop((enum http_name)id)};
    c->p = cr + 2;
    return 1;
}

#ifdef __SSE2__

/* Lines as nearly all are: a name of less than 16 letters and dashes, ": ", a value of visible ASCII and single spaces inside. Takes
 * what there is of them; read_line() has the rest, and the errors. */
static inline void read_usual_lines(struct http1_cursor *c) {
    const uint8_t *p = c->p, *const end = c->end, *const lo = c->lo;
    struct http_field *f = c->fields + c->count, *const stop = c->fields + c->max;
    uint32_t seen = c->seen, twice = c->twice;
    while (end - p >= 18 && f < stop) {
        __m128i name = http_load(p);
        unsigned behind = http_name_mask(name);
        size_t n = (size_t)__builtin_ctz(behind | 0x10000);
        if (unlikely(n - 1 > 14) || unlikely(http_load16(p + n) != HTTP_PAIR(':', ' '))) break;
        const uint8_t *v = p + n + 2, *cr = http_scan_ascii(v, end, lo);
        if (unlikely(*v <= ' ' || end - cr < 2 || http_load16(cr) != HTTP_PAIR('\r', '\n') || cr[-1] == ' ')) break;
        const struct http_name_slot *slot = &http_name_slots[HTTP_NAME_SLOT(n, p[0] | 0x20u, p[n - 1] | 0x20u)];
        *f = (struct http_field){.name = {p, n}, .value = {v, (size_t)(cr - v)}, .line = true};
        if (slot->n == n) {
            __m128i same = _mm_cmpeq_epi8(_mm_or_si128(name, _mm_set1_epi8(0x20)), http_load(slot->text));
            if (((unsigned)_mm_movemask_epi8(same) | ~0u << n) == ~0u) {
                uint32_t bit = 1u << slot->id;
                twice |= seen & bit;
                if (likely(!(seen & bit))) c->first[slot->id] = (uint16_t)(f - c->fields);
                seen |= bit;
                f->id = slot->id, f->drop = slot->hop;
            }
        }
        f++, p = cr + 2;
    }
    c->p = p, c->count = (uint32_t)(f - c->fields), c->seen = seen, c->twice = twice;
}

#else
static inline void read_usual_lines(struct http1_cursor *c) { (void)c; }
#endif

int http1_read_fields(struct http1_cursor *c) {
    for (;;) {
        read_usual_lines(c);
        if (unlikely(c->p == c->end)) return 0;
        if (*c->p == '\r') {
            if (c->p + 1 == c->end) return 0;
            if (c->p[1] != '\n') return HTTP1_BAD;
            c->p += 2;
            return 1;
        }
        if (unlikely(c->count == c->max)) return HTTP1_HEAD_TOO_LARGE;
        int r = read_line(c);
        if (unlikely(r <= 0)) return r;
    }
}

/* ---- framing ---- */

/* One field, one number, digits only. */
static int content_length(const struct http1_cursor *c, uint64_t *length) {
    struct slice v = http1_first(c, HN_CONTENT_LENGTH)->value;
    uint64_t n = 0;
    if (http1_twice(c, HN_CONTENT_LENGTH) || v.n == 0 || v.n > LENGTH_DIGITS) return HTTP1_BAD;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return HTTP1_BAD;
        if (n > LENGTH_MAX / 10) return HTTP1_BAD; /* looked at before it could wrap */
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    *length = n;
    return 0;
}

static bool token(struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (!http_token_table[s.p[i]]) return false;
    return s.n > 0;
}

/* Exactly "chunked", once. A coding that is not ours is told apart from nonsense: it has a status of its own. */
static int transfer_coding(const struct http1_cursor *c, const struct http_head *h) {
    if (http1_seen(c, HN_CONTENT_LENGTH) || h->version == 10) return HTTP1_BAD; /* RFC 9112 §6.1: not to be trusted */
    bool other = false, chunked = false;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->fields[i].id != HN_TRANSFER_ENCODING) continue;
        const uint8_t *p = c->fields[i].value.p, *end = p + c->fields[i].value.n;
        for (;;) { /* each member of the list; empty ones are refused with the others that are no tokens */
            const uint8_t *comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL, *last = comma ? comma : end;
            while (p < last && blank(*p)) p++;
            while (p < last && blank(last[-1])) last--;
            struct slice coding = slice_of(p, (size_t)(last - p));
            if (chunked || !token(coding)) return HTTP1_BAD; /* behind chunked nothing may come */
            if (http_is(coding, "chunked")) chunked = true;
            else other = true;
            if (!comma) break;
            p = comma + 1;
        }
    }
    return other ? HTTP1_BAD_CODING : 0;
}

int http1_framing(struct http1_cursor *c, const struct http_head *h, bool *chunked, bool *sized, uint64_t *length) {
    *chunked = http1_seen(c, HN_TRANSFER_ENCODING), *sized = http1_seen(c, HN_CONTENT_LENGTH), *length = 0;
    if (*chunked) return transfer_coding(c, h);
    return *sized ? content_length(c, length) : 0;
}

/* ---- Connection ---- */

static bool same(struct slice a, struct slice b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++) {
        uint8_t x = a.p[i], y = b.p[i];
        if (x != y && ((x | 0x20) != (y | 0x20) || (x | 0x20) < 'a' || (x | 0x20) > 'z')) return false;
    }
    return true;
}

static void drop_named(struct http1_cursor *c, unsigned id, struct slice name) {
    for (uint32_t i = 0; i < c->count; i++) {
        struct http_field *f = &c->fields[i];
        if (f->id == id && (id != HN_OTHER || same(f->name, name))) f->drop = true;
    }
}

struct options {
    bool close, keep_alive, upgrade;
    uint32_t named;
};

static int option(struct http1_cursor *c, struct slice name, struct options *o) {
    unsigned id = http_name_find(name.p, name.n);
    if (id == HN_KEEP_ALIVE) o->keep_alive = true;
    if (id == HN_UPGRADE) o->upgrade = true;
    if (http_name_is_hop((enum http_name)id)) return 0; /* those are dropped anyway */
    if (id == HN_OTHER && http_is(name, "close")) {
        o->close = true;
        return 0;
    }
    /* To have these removed on the way is the point of naming them: what frames and addresses the message must arrive. */
    if (id == HN_HOST || id == HN_CONTENT_LENGTH || ++o->named > OPTIONS_MAX) return HTTP1_BAD;
    drop_named(c, id, name);
    return 0;
}

static int options(struct http1_cursor *c, struct slice value, struct options *o) {
    const uint8_t *p = value.p, *end = value.p + value.n;
    while (p < end) {
        const uint8_t *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end, *last = stop;
        while (p < last && blank(*p)) p++;
        while (p < last && blank(last[-1])) last--;
        int r = p < last ? option(c, slice_of(p, (size_t)(last - p)), o) : 0;
        if (r < 0) return r;
        p = stop + 1;
    }
    return 0;
}

int http1_connection(struct http1_cursor *c, struct http_head *h) {
    struct options o = {0};
    h->upgrade = SLICE("");
    h->keep_alive = h->version == 11;
    if (likely(!http1_seen(c, HN_CONNECTION))) return 0;
    struct slice value = http1_first(c, HN_CONNECTION)->value;
    if (likely(!http1_twice(c, HN_CONNECTION)) && http_name_find(value.p, value.n) == HN_KEEP_ALIVE) {
        h->keep_alive = true;
        return 0;
    }
    for (uint32_t i = c->first[HN_CONNECTION]; i < c->count; i++) {
        if (c->fields[i].id != HN_CONNECTION) continue;
        int r = options(c, c->fields[i].value, &o);
        if (r < 0) return r;
        if (!http1_twice(c, HN_CONNECTION)) break;
    }
    h->keep_alive = !o.close && (h->version == 11 || o.keep_alive);
    if (o.upgrade && h->version == 11 && http1_seen(c, HN_UPGRADE)) h->upgrade = http1_first(c, HN_UPGRADE)->value;
    return 0;
}
