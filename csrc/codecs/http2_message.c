#include "http2_message.h"

const char *http2_malformed_text(enum http2_malformed why) {
    static const char *const text[] = {
        [H2M_OK] = "",
        [H2M_NAME] = "a field name that is no lower-case token",
        [H2M_VALUE] = "a field value with control characters or outer white space",
        [H2M_HOP] = "a connection-specific field",
        [H2M_PSEUDO] = "pseudo-fields missing, unknown, repeated or out of order",
        [H2M_AUTHORITY] = "an authority that is missing, malformed or not that of the Host field",
        [H2M_PATH] = "a malformed path",
        [H2M_LENGTH] = "a malformed content-length",
        [H2M_NO_ROOM] = "the head is too large",
    };
    return text[why];
}

/* ---- fields ---- */

static inline bool lower_token(struct slice s) {
    bool ok = s.n > 0;
    for (size_t i = 0; i < s.n; i++) ok &= http_token_table[s.p[i]] && (uint8_t)(s.p[i] - 'A') >= 26;
    return ok;
}

/* A decimal number without sign; UINT64_MAX when it is none. */
static uint64_t number(struct slice s) {
    uint64_t v = 0;
    if (s.n == 0 || s.n > 18) return UINT64_MAX;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return UINT64_MAX;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    return v;
}

struct facts {       /* of the regular fields */
    uint64_t length; /* UINT64_MAX: no content-length */
    struct slice host;
    uint32_t hosts, cookies;
    uint32_t ids; /* bits 1 << enum http_name of those there */
    bool te_trailers, expect;
};

/* One regular field that the proxy knows. */
static enum http2_malformed known_field(struct http_field *f, struct facts *facts) {
    switch (f->id) {
    case HN_CONTENT_LENGTH:
        /* Repeated ones are refused even when they agree: what stands behind us may join them. */
        if (facts->length != UINT64_MAX || (facts->length = number(f->value)) == UINT64_MAX) return H2M_LENGTH;
        return H2M_OK;
    case HN_HOST: facts->host = f->value, facts->hosts++; return H2M_OK;
    case HN_COOKIE: facts->cookies++; return H2M_OK;
    case HN_TE:
        if (!http_is(f->value, "trailers")) return H2M_HOP;
        facts->te_trailers = f->drop = true;
        return H2M_OK;
    case HN_EXPECT: facts->expect |= http_is(f->value, "100-continue"); return H2M_OK;
    case HN_CONNECTION:
    case HN_KEEP_ALIVE:
    case HN_PROXY_CONNECTION:
    case HN_TRANSFER_ENCODING:
    case HN_UPGRADE: return H2M_HOP;
    case HN_HTTP2_SETTINGS: f->drop = true; return H2M_OK;
    default: return H2M_OK;
    }
}

static enum http2_malformed check_fields(struct http_field *fields, uint32_t count, struct facts *facts) {
    *facts = (struct facts){.length = UINT64_MAX};
    for (uint32_t i = 0; i < count; i++) {
        struct http_field *f = &fields[i];
        if (unlikely(!http_value_ok(f->value.p, f->value.n))) return H2M_VALUE;
        f->drop = false;
        if (f->id == HN_OTHER) { /* names with an id are lower case: hpack gives others none */
            if (likely(lower_token(f->name))) continue;
            return f->name.n && f->name.p[0] == ':' ? H2M_PSEUDO : H2M_NAME;
        }
        facts->ids |= 1u << f->id;
        enum http2_malformed why = known_field(f, facts);
        if (unlikely(why)) return why;
    }
    return H2M_OK;
}

/* ---- pseudo-fields ---- */

enum { P_METHOD, P_SCHEME, P_AUTHORITY, P_PATH, P_PROTOCOL, P_COUNT };

/* Which one it is: by its length and one letter, then compared. P_COUNT: none of them. */
static uint32_t pseudo_of(struct slice name) {
    static const struct {
        const char *text;
        size_t n;
    } names[P_COUNT] = {{":method", 7}, {":scheme", 7}, {":authority", 10}, {":path", 5}, {":protocol", 9}};
    uint32_t i = name.n == 7    ? (name.p[1] == 'm' ? P_METHOD : P_SCHEME)
                 : name.n == 10 ? P_AUTHORITY
                 : name.n == 5  ? P_PATH
                                : P_PROTOCOL;
    return name.n == names[i].n && memcmp(name.p, names[i].text, name.n) == 0 ? i : P_COUNT;
}

/* Takes the leading pseudo-fields; UINT32_MAX when one is unknown or repeated. */
static uint32_t take_pseudo(const struct http_field *fields, uint32_t count, struct slice value[P_COUNT],
                            uint32_t *seen) {
    uint32_t i = 0;
    *seen = 0;
    for (; i < count && fields[i].name.n && fields[i].name.p[0] == ':'; i++) {
        uint32_t which = pseudo_of(fields[i].name);
        if (which == P_COUNT || *seen & 1u << which) return UINT32_MAX;
        *seen |= 1u << which;
        value[which] = fields[i].value;
    }
    return i;
}

static bool is_token(struct slice s) {
    if (s.n == 0) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!http_token_table[s.p[i]]) return false;
    return true;
}

/* RFC 3986 §3.1, in lower case as everybody writes it. */
static bool scheme_ok(struct slice s) {
    if (s.n == 0 || s.p[0] < 'a' || s.p[0] > 'z') return false;
    for (size_t i = 1; i < s.n; i++) {
        uint8_t b = s.p[i];
        if (!((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '+' || b == '-' || b == '.')) return false;
    }
    return true;
}

static bool same_host(struct slice a, struct slice b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++) {
        uint8_t x = a.p[i], y = b.p[i];
        if (x >= 'A' && x <= 'Z') x |= 0x20;
        if (y >= 'A' && y <= 'Z') y |= 0x20;
        if (x != y) return false;
    }
    return true;
}

/* §8.3.1: what must be there, what must not, by method. */
static enum http2_malformed check_pseudo(struct http_head *h, const struct slice v[P_COUNT], uint32_t seen,
                                         bool extended) {
    enum { M = 1 << P_METHOD, S = 1 << P_SCHEME, A = 1 << P_AUTHORITY, P = 1 << P_PATH, X = 1 << P_PROTOCOL };
    if (!(seen & M) || !is_token(v[P_METHOD])) return H2M_PSEUDO;
    h->method_text = v[P_METHOD];
    h->method = (uint8_t)http_method_find(v[P_METHOD].p, v[P_METHOD].n);
    if (seen & X && !(extended && h->method == HTTP_CONNECT && is_token(v[P_PROTOCOL]))) return H2M_PSEUDO;
    if (h->method == HTTP_CONNECT && !(seen & X)) { /* §8.5 */
        if (seen & (S | P) || !(seen & A)) return H2M_PSEUDO;
    } else if ((seen & (S | P)) != (S | P) || (seen & X && !(seen & A))) {
        return H2M_PSEUDO;
    } else {
        bool asterisk = v[P_PATH].n == 1 && v[P_PATH].p[0] == '*' && h->method == HTTP_OPTIONS;
        if (!scheme_ok(v[P_SCHEME])) return H2M_PSEUDO;
        if (v[P_PATH].n == 0 || (v[P_PATH].p[0] != '/' && !asterisk) || !http_target_ok(v[P_PATH])) return H2M_PATH;
    }
    h->scheme = v[P_SCHEME], h->path = v[P_PATH], h->authority = v[P_AUTHORITY], h->upgrade = v[P_PROTOCOL];
    return H2M_OK;
}

/* :authority and Host name the same; one of them is there and not empty. Host goes: authority stands for it. */
static enum http2_malformed check_authority(struct http_head *h, const struct facts *facts, bool has_authority) {
    if (facts->hosts > 1) return H2M_AUTHORITY;
    if (facts->hosts && has_authority && !same_host(facts->host, h->authority)) return H2M_AUTHORITY;
    if (!has_authority) h->authority = facts->host;
    if (h->authority.n == 0 || !http_authority_ok(h->authority)) return H2M_AUTHORITY;
    for (uint32_t i = 0; facts->hosts && i < h->count; i++)
        if (h->fields[i].id == HN_HOST) {
            memmove(&h->fields[i], &h->fields[i + 1], (h->count - i - 1) * sizeof h->fields[0]);
            h->count--;
            break;
        }
    return H2M_OK;
}

/* §8.2.3: crumbs become the one field other protocols know, in the first one's place. */
static enum http2_malformed join_cookies(struct http_head *h, struct hpack_arena *arena) {
    size_t n = 0;
    uint32_t to = 0;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id == HN_COOKIE) n += h->fields[i].value.n + 2;
    if (n > arena->size - arena->used) return H2M_NO_ROOM;
    uint8_t *begin = arena->p + arena->used, *p = begin;
    struct http_field *first = NULL;
    for (uint32_t i = 0; i < h->count; i++) {
        struct http_field *f = &h->fields[i];
        if (f->id == HN_COOKIE) {
            if (first) *p++ = ';', *p++ = ' ';
            if (f->value.n) memcpy(p, f->value.p, f->value.n), p += f->value.n;
            if (first) continue;
            first = &h->fields[to];
        }
        if (to != i) h->fields[to] = *f;
        to++;
    }
    h->count = to;
    first->value = slice_of(begin, (size_t)(p - begin));
    arena->used += (uint32_t)(p - begin);
    return H2M_OK;
}

static void set_body(struct http_head *h, uint64_t length, bool end) {
    h->body = end ? HTTP_NO_BODY : length != UINT64_MAX ? HTTP_LENGTH : HTTP_CHUNKED;
    h->length = h->body == HTTP_LENGTH ? length : 0;
}

enum http2_malformed http2_request(struct http_field *fields, uint32_t count, uint32_t capacity, bool end,
                                   bool extended, struct hpack_arena *arena, struct http_head *h) {
    struct slice v[P_COUNT] = {{NULL, 0}};
    struct facts facts;
    uint32_t seen, pseudo = take_pseudo(fields, count, v, &seen);
    if (pseudo == UINT32_MAX) return H2M_PSEUDO;
    *h = (struct http_head){.request = true, .version = 20, .keep_alive = true};
    h->fields = fields + pseudo, h->count = count - pseudo, h->capacity = capacity - pseudo;
    enum http2_malformed why = check_pseudo(h, v, seen, extended);
    if (!why) why = check_fields(h->fields, h->count, &facts);
    if (!why) why = check_authority(h, &facts, (seen & 1u << P_AUTHORITY) != 0);
    if (!why && unlikely(facts.cookies > 1)) why = join_cookies(h, arena);
    if (!why && end && facts.length != UINT64_MAX && facts.length > 0) why = H2M_LENGTH;
    if (why) return why;
    h->te_trailers = facts.te_trailers, h->expect = facts.expect, h->absent = ~facts.ids;
    set_body(h, facts.length, end);
    return H2M_OK;
}

enum http2_malformed http2_response(struct http_field *fields, uint32_t count, uint32_t capacity, bool end,
                                    struct http_head *h) {
    uint8_t method = h->method;
    struct facts facts;
    static const struct slice status = {(const uint8_t *)":status", 7};
    if (count == 0 || !slice_eq(fields[0].name, status)) return H2M_PSEUDO;
    const struct slice code = fields[0].value;
    uint64_t n = code.n == 3 ? number(code) : UINT64_MAX;
    if (n < 100 || n > 999 || n == 101) return H2M_PSEUDO; /* §8.6: there is no 101 */
    *h = (struct http_head){.version = 20, .keep_alive = true, .method = method, .status = (uint16_t)n};
    h->fields = fields + 1, h->count = count - 1, h->capacity = capacity - 1;
    enum http2_malformed why = check_fields(h->fields, h->count, &facts);
    if (why) return why;
    h->absent = ~facts.ids;
    if (n < 200 && end) return H2M_PSEUDO; /* §8.1: an interim response ends nothing */
    bool bodiless = method == HTTP_HEAD || n == 304 || n == 204;
    if (end && !bodiless && facts.length != UINT64_MAX && facts.length > 0 && method != HTTP_CONNECT) return H2M_LENGTH;
    set_body(h, facts.length, end);
    return H2M_OK;
}

enum http2_malformed http2_trailers(struct http_field *fields, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct http_field *f = &fields[i];
        if (unlikely(!lower_token(f->name))) return f->name.n && f->name.p[0] == ':' ? H2M_PSEUDO : H2M_NAME;
        if (unlikely(!http_value_ok(f->value.p, f->value.n))) return H2M_VALUE;
        if (f->id == HN_TE || (http_name_is_hop((enum http_name)f->id) && f->id != HN_HTTP2_SETTINGS)) return H2M_HOP;
        f->drop = f->id == HN_CONTENT_LENGTH || f->id == HN_HOST || f->id == HN_EXPECT || f->id == HN_TRAILER ||
                  f->id == HN_CONTENT_TYPE || f->id == HN_COOKIE || f->id == HN_HTTP2_SETTINGS;
    }
    return H2M_OK;
}
