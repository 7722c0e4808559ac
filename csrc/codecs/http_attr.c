#include "http_attr.h"

const struct attr_def http_attributes[HTTP_ATTRIBUTE_COUNT] = {
#define X(id, name, type, doc) {name, type, doc},
    HTTP_ATTRIBUTES(X)
#undef X
};

/* --- fields --- */

static struct slice field_value(const struct http_head *h, enum http_name id) {
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id == id) return h->fields[i].value;
    return (struct slice){0};
}

static bool found(struct slice s, struct attr_value *v) { return v->s = s, s.n != 0; }

/* `lower` is in lower case already. */
static bool same_name(struct slice name, struct slice lower) {
    if (name.n != lower.n) return false;
    for (size_t i = 0; i < name.n; i++)
        if ((name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] | 0x20 : name.p[i]) != lower.p[i]) return false;
    return true;
}

static bool next_header(const struct http_request_view *q, struct http_cursor *at, struct slice *value) {
    const struct http_head *h = q->head;
    if (at->param->key ==
        HN_HOST) { /* HTTP/2 has no such field, and the target's authority overrules it (RFC 9112 §3.2.2) */
        *value = h->authority;
        return at->field++ == 0 && h->authority.n;
    }
    for (; at->field < h->count; at->field++) {
        const struct http_field *f = &h->fields[at->field];
        if (f->id != at->param->key || (f->id == HN_OTHER && !same_name(f->name, at->param->name))) continue;
        *value = f->value;
        at->field++;
        return true;
    }
    return false;
}

/* --- cookies: name=value pairs behind semicolons (RFC 6265 §4.2.1), over one or several fields (RFC 9113 §8.2.3) ---
 * */

/* The piece of s from *at up to the next `mark`, which *at moves behind; false at the end. */
static bool next_piece(struct slice s, uint32_t *at, uint8_t mark, struct slice *piece) {
    if (*at >= s.n) return false;
    const uint8_t *p = s.p + *at, *end = memchr(p, mark, s.n - *at);
    size_t n = end ? (size_t)(end - p) : s.n - *at;
    *piece = slice_of(p, n);
    *at += (uint32_t)n + 1;
    return true;
}

static struct slice trim(struct slice s) {
    while (s.n && (*s.p == ' ' || *s.p == '\t')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

static bool next_cookie(const struct http_request_view *q, struct http_cursor *at, struct slice *value) {
    struct slice want = at->param->name, pair;
    for (; at->field < q->head->count; at->field++, at->at = 0) {
        const struct http_field *f = &q->head->fields[at->field];
        while (f->id == HN_COOKIE && next_piece(f->value, &at->at, ';', &pair)) {
            pair = trim(pair);
            if (pair.n <= want.n || pair.p[want.n] != '=' || memcmp(pair.p, want.p, want.n) != 0) continue;
            *value = slice_of(pair.p + want.n + 1, pair.n - want.n - 1);
            return true;
        }
    }
    return false;
}

/* --- parameters of the query, as forms are encoded --- */

static int hex(uint8_t b) {
    if (b >= '0' && b <= '9') return b - '0';
    b |= 0x20;
    return b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

/* The byte at s[*at], decoded; *at moves behind it. An escape that is none stays as it is. */
static uint8_t decoded_byte(struct slice s, size_t *at) {
    uint8_t b = s.p[(*at)++];
    if (b == '+') return ' ';
    if (b != '%' || s.n - *at < 2) return b;
    int high = hex(s.p[*at]), low = hex(s.p[*at + 1]);
    if (high < 0 || low < 0) return b;
    *at += 2;
    return (uint8_t)(high << 4 | low);
}

static bool decodes_to(struct slice s, struct slice plain) {
    size_t at = 0, i = 0;
    while (at < s.n && i < plain.n)
        if (decoded_byte(s, &at) != plain.p[i++]) return false;
    return at == s.n && i == plain.n;
}

/* Each value has its own place in `decoded`, as far from the start as it is in the query: decoding it again when it is
 * asked for again writes the same bytes there, and no other value moves. */
static struct slice decode(struct http_request_view *q, struct slice s) {
    if (!memchr(s.p, '%', s.n) && !memchr(s.p, '+', s.n)) return s;
    if (!q->decoded && (!q->arena || !(q->decoded = http_arena_take(q->arena, q->query.n)))) return s;
    uint8_t *to = q->decoded + (s.p - q->query.p);
    size_t n = 0;
    for (size_t at = 0; at < s.n;) to[n++] = decoded_byte(s, &at);
    return slice_of(to, n);
}

static bool next_query(struct http_request_view *q, struct http_cursor *at, struct slice *value) {
    struct slice pair;
    while (next_piece(q->query, &at->at, '&', &pair)) {
        const uint8_t *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
        size_t n = equals ? (size_t)(equals - pair.p) : pair.n;
        if (!decodes_to(slice_of(pair.p, n), at->param->name)) continue;
        *value = equals ? decode(q, slice_of(equals + 1, pair.n - n - 1)) : slice_of(pair.p + n, 0);
        return true;
    }
    return false;
}

/* --- families --- */

bool http_parameter(const struct message *msg, uint32_t index, const struct attr_param *param, uint32_t i,
                    struct attr_value *v) {
    struct http_request_view *q = (struct http_request_view *)msg->body; /* its notes are ours to write */
    struct http_cursor *at = &q->next;
    if (at->param != param || at->i > i || i == 0) *at = (struct http_cursor){.param = param};
    v->type = ATTR_STR;
    bool more = true;
    while (more && at->i <= i) {
        at->i++;
        more = index == HTTP_ATTR_header   ? next_header(q, at, &v->s)
               : index == HTTP_ATTR_cookie ? next_cookie(q, at, &v->s)
                                           : next_query(q, at, &v->s);
    }
    if (!more) at->param = NULL;
    return more;
}

bool http_parameter_new(uint32_t index, uint8_t *name, size_t n, uint32_t *key) {
    if (index != HTTP_ATTR_header) return index == HTTP_ATTR_query_parameter || !memchr(name, ';', n);
    for (size_t i = 0; i < n; i++) {
        if (name[i] >= 'A' && name[i] <= 'Z') name[i] |= 0x20;
        if (!http_token_table[name[i]]) return false;
    }
    *key = http_name_find(name, n);
    return true;
}

/* --- the rest --- */

static bool version(const struct http_head *h, struct attr_value *v) {
    v->s = h->version == 10 ? SLICE("1.0") : h->version == 11 ? SLICE("1.1") : SLICE("2");
    return true;
}

/* application/grpc, application/grpc+proto, application/grpc-web ... */
static bool is_grpc(const struct http_head *h) {
    struct slice type = field_value(h, HN_CONTENT_TYPE);
    size_t n = sizeof "application/grpc" - 1;
    return type.n >= n && http_is(slice_of(type.p, n), "application/grpc") &&
           (type.n == n || memchr("+;- \t", type.p[n], 5));
}

/* "/" service "/" method */
static bool grpc_name(const struct http_request_view *q, bool method, struct attr_value *v) {
    struct slice path = q->path;
    if (path.n < 4 || path.p[0] != '/' || !is_grpc(q->head)) return false;
    const uint8_t *slash = memrchr(path.p + 1, '/', path.n - 1);
    if (!slash || slash == path.p + 1 || slash + 1 == path.p + path.n) return false;
    v->s = method ? slice_of(slash + 1, (size_t)(path.p + path.n - slash) - 1)
                  : slice_of(path.p + 1, (size_t)(slash - path.p) - 1);
    return true;
}

bool http_attribute(const struct message *msg, uint32_t index, uint32_t i, struct attr_value *v) {
    const struct http_request_view *q = msg->body;
    if (i) return false;
    v->type = ATTR_STR;
    switch ((enum http_attribute)index) {
    case HTTP_ATTR_method: return found(q->head->method_text, v);
    case HTTP_ATTR_path: return found(q->path, v);
    case HTTP_ATTR_query: return found(q->query, v);
    case HTTP_ATTR_host: return found(q->host, v);
    case HTTP_ATTR_scheme: return found(q->scheme, v);
    case HTTP_ATTR_content_type: return found(field_value(q->head, HN_CONTENT_TYPE), v);
    case HTTP_ATTR_version: return version(q->head, v);
    case HTTP_ATTR_user_agent: return found(field_value(q->head, HN_USER_AGENT), v);
    case HTTP_ATTR_grpc_service: return grpc_name(q, false, v);
    case HTTP_ATTR_grpc_method: return grpc_name(q, true, v);
    default: return false;
    }
}

static struct slice access_word(uint8_t method) {
    switch (method) {
    case HTTP_GET:
    case HTTP_HEAD:
    case HTTP_OPTIONS:
    case HTTP_TRACE: return SLICE("read");
    case HTTP_CONNECT: return SLICE("session");
    default: return SLICE("write");
    }
}

bool http_common(const struct message *msg, enum attr_common id, struct attr_value *v) {
    const struct http_request_view *q = msg->body;
    v->type = ATTR_STR;
    switch (id) {
    case ATTR_operation: return found(q->head->method_text, v);
    case ATTR_resource: return found(q->path, v);
    case ATTR_access: v->s = access_word(q->head->method); return true;
    case ATTR_idempotent:
        v->type = ATTR_BOOL, v->b = http_method_idempotent((enum http_method)q->head->method);
        return true;
    case ATTR_request_size:
        v->type = ATTR_INT, v->i = q->head->body == HTTP_LENGTH ? (int64_t)q->head->length : 0;
        return q->head->body == HTTP_LENGTH || q->head->body == HTTP_NO_BODY;
    default: return false;
    }
}
