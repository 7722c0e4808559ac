#include "http_edit.h"

#include <stdio.h>
#include <stdlib.h>

#include "../route/action.h"
#include "../route/regex.h"

/* --- writing --- */

struct out { /* room in an arena or a block; p NULL: only the length is wanted */
    uint8_t *p;
    size_t n, room;
    bool full;
};

static void put(struct out *o, struct slice s) {
    if (o->p && s.n > o->room - o->n) o->full = true;
    else if (o->p && s.n) memcpy(o->p + o->n, s.p, s.n);
    o->n += o->full ? 0 : s.n;
}
static void put_byte(struct out *o, uint8_t b) { put(o, slice_of(&b, 1)); }

/* All that is left of the arena; out_end takes what was used. */
static struct out out_begin(struct http_arena *a) {
    return (struct out){.p = a->p + a->used, .room = a->size - a->used};
}
static bool out_end(struct out *o, struct http_arena *a, struct slice *text) {
    if (o->full) return false;
    *text = slice_of(o->p, o->n);
    a->used += (uint32_t)o->n;
    return true;
}

/* Reading an attribute takes arena memory for decoded parameters, at most once per message: do it before anything is
 * begun there. */
static void settle(const struct message *msg) {
    struct http_request_view *q = (struct http_request_view *)msg->body;
    if (!q->decoded && q->arena && q->query.n) q->decoded = http_arena_take(q->arena, q->query.n);
}

/* --- what of a value may go where --- */

enum place { IN_FIELD, IN_PATH };

static void put_field_bytes(struct out *o, struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] >= ' ' || s.p[i] == '\t') && s.p[i] != 0x7f) put_byte(o, s.p[i]);
}

static void put_escaped(struct out *o, uint8_t b) {
    static const char digits[] = "0123456789ABCDEF";
    put(o, slice_of((uint8_t[]){'%', (uint8_t)digits[b >> 4], (uint8_t)digits[b & 15]}, 3));
}

static bool unreserved(uint8_t b) { /* RFC 3986 §2.3 */
    return (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || b == '-' || b == '.' ||
           b == '_' || b == '~';
}

/* A value is one component of the path or query: nothing in it ends a segment or begins another parameter. */
static void put_component(struct out *o, struct slice s) {
    for (size_t i = 0; i < s.n; i++) unreserved(s.p[i]) ? put_byte(o, s.p[i]) : put_escaped(o, s.p[i]);
}

/* Bytes that browsers read in more than one way, or that are no URI: '\' for '/', quotes, spaces. What is escaped stays
 * so. */
static void put_uri_bytes(struct out *o, struct slice s) {
    for (size_t i = 0; i < s.n; i++) {
        uint8_t b = s.p[i];
        bool plain = b > ' ' && b < 0x7f && !strchr("\"<>\\^`{|}", b);
        plain ? put_byte(o, b) : put_escaped(o, b);
    }
}

/* Parts of the target are in the form a target needs. */
static bool is_target_part(uint16_t id) {
    return id == ATTR_resource || id == ATTR_CODEC + HTTP_ATTR_path || id == ATTR_CODEC + HTTP_ATTR_query;
}

static void put_value(struct out *o, uint16_t id, const struct attr_value *v, enum place place) {
    char digits[24];
    struct slice s = v->type == ATTR_BOOL ? (v->b ? SLICE("true") : SLICE("false")) : v->s;
    if (v->type == ATTR_INT) s = slice_of(digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)v->i));
    if (place == IN_FIELD) put_field_bytes(o, s);
    else if (is_target_part(id)) put_uri_bytes(o, s);
    else put_component(o, s);
}

/* Several values of one name are joined as fields may be (RFC 9110 §5.3). An absent one leaves nothing. */
static void put_template(struct out *o, const struct template *t, const struct message *msg, enum place place) {
    for (uint32_t k = 0; k < t->count; k++) {
        const struct template_part *part = &t->parts[k];
        struct attr_value v;
        if (part->attribute == ATTR_NONE) {
            put(o, part->text);
            continue;
        }
        for (uint32_t i = 0; attr_get(msg, part->attribute, i, &v); i++) {
            if (i) place == IN_FIELD ? put(o, SLICE(", ")) : put_escaped(o, ',');
            put_value(o, part->attribute, &v, place);
            if (o->full) return;
        }
    }
}

/* --- fields --- */

static struct slice trim(struct slice s) {
    while (s.n && (*s.p == ' ' || *s.p == '\t')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

static bool render(const struct template *t, const struct message *msg, struct http_arena *arena, struct slice *value) {
    if (t->literal) return *value = trim(template_text(t)), true;
    struct out o = out_begin(arena);
    put_template(&o, t, msg, IN_FIELD);
    if (!out_end(&o, arena, value)) return false;
    *value = trim(*value);
    return true;
}

static bool render_all(const struct edit_field *fields, uint32_t count, const struct message *msg,
                       struct http_arena *arena, struct slice *values) {
    for (uint32_t i = 0; i < count; i++)
        if (!render(&fields[i].value, msg, arena, &values[i])) return false;
    return true;
}

static bool same_name(const struct http_field *f, const struct edit_name *name) {
    if (f->id != name->id || name->id != HN_OTHER) return f->id == name->id;
    if (f->name.n != name->text.n) return false;
    for (size_t i = 0; i < f->name.n; i++) {
        uint8_t b = f->name.p[i];
        if ((b >= 'A' && b <= 'Z' ? b | 0x20 : b) != name->text.p[i]) return false;
    }
    return true;
}

static void drop(struct http_head *h, const struct edit_name *name) {
    for (uint32_t i = 0; i < h->count; i++)
        if (same_name(&h->fields[i], name)) h->fields[i].drop = true;
}

static bool add(struct http_head *h, const struct edit_field *f, struct slice value) {
    return http_add(h, (enum http_name)f->name.id, f->name.text, value);
}

/* `values` NULL: they are literal. */
static uint16_t apply(const struct route_edits *e, const struct slice *values, struct http_head *h) {
    for (uint32_t i = 0; i < e->remove_count; i++) drop(h, &e->remove[i]);
    for (uint32_t i = 0; i < e->set_count; i++) drop(h, &e->set[i].name);
    for (uint32_t i = 0; i < e->set_count + e->add_count; i++) {
        const struct edit_field *f = i < e->set_count ? &e->set[i] : &e->add[i - e->set_count];
        if (!add(h, f, values ? values[i] : trim(template_text(&f->value)))) return 431;
    }
    return 0;
}

/* --- paths --- */

/* `path` with `to` in place of the `from` it starts with, one slash where they meet. */
static void put_prefixed(struct out *o, struct slice path, struct slice from, struct slice to) {
    struct slice rest = slice_of(path.p + from.n, path.n - from.n);
    if (from.n && from.p[from.n - 1] == '/') rest.p--, rest.n++; /* that slash is the rest's */
    if (rest.n && *rest.p == '/' && to.n && to.p[to.n - 1] == '/') to.n--;
    put(o, to);
    put(o, rest);
}

static bool starts_with(struct slice s, struct slice head) {
    return s.n >= head.n && (head.n == 0 || memcmp(s.p, head.p, head.n) == 0);
}

static void put_groups(struct out *o, struct slice to, const struct slice *groups) {
    for (size_t i = 0; i < to.n; i++) {
        if (to.p[i] != '\\' || i + 1 == to.n) put_byte(o, to.p[i]);
        else if (to.p[++i] == '\\') put_byte(o, '\\');
        else put(o, groups[to.p[i] - '0']);
    }
}

/* Every match is replaced, from left to right; an empty one moves on by a byte. False: there is none. */
static bool put_replaced(struct out *o, struct slice path, const struct route_rewrite *w) {
    struct slice groups[REGEX_GROUPS];
    size_t from = 0, copied = 0;
    while (from <= path.n && !o->full && regex_find(w->regex, path, from, groups)) {
        size_t at = (size_t)(groups[0].p - path.p);
        if (at < copied) break; /* \K within a look-ahead, where PCRE2 before 10.38 lets it be */
        put(o, slice_of(path.p + copied, at - copied));
        put_groups(o, w->to, groups);
        copied = at + groups[0].n;
        from = groups[0].n ? copied : copied + 1;
    }
    if (from == 0) return false;
    put(o, slice_of(path.p + copied, path.n - copied));
    return true;
}

static bool put_rewritten(struct out *o, const struct route_rewrite *w, const struct message *msg) {
    struct slice path = ((const struct http_request_view *)msg->body)->path;
    switch (w->kind) {
    case REWRITE_PREFIX:
        if (!starts_with(path, w->from)) return false;
        put_prefixed(o, path, w->from, w->to);
        return true;
    case REWRITE_PATH: put_template(o, &w->path, msg, IN_PATH); return true;
    default: return put_replaced(o, path, w);
    }
}

/* A "." or ".." between slashes, written out or escaped. */
static bool has_dot_segment(struct slice path) {
    for (size_t i = 0; i < path.n && path.p[i] != '?';) {
        if (path.p[i++] != '/') continue;
        uint32_t dots = 0;
        for (; i < path.n && dots < 3; dots++) {
            if (path.p[i] == '.') i++;
            else if (path.n - i >= 3 && path.p[i] == '%' && path.p[i + 1] == '2' && (path.p[i + 2] | 0x20) == 'e')
                i += 3;
            else break;
        }
        if ((dots == 1 || dots == 2) && (i == path.n || path.p[i] == '/' || path.p[i] == '?')) return true;
    }
    return false;
}

/* Finishes a path begun in o: starts with a slash, and what the client sent leads nowhere it did not name. */
static uint16_t end_path(struct out *o, struct http_arena *arena, const struct message *msg, struct slice *path) {
    const struct http_request_view *q = msg->body;
    if (!o->full && (o->n == 0 || o->p[0] != '/')) {
        put_byte(o, '/');
        if (!o->full) memmove(o->p + 1, o->p, o->n - 1), o->p[0] = '/';
    }
    if (!out_end(o, arena, path)) return 431;
    return has_dot_segment(*path) && !has_dot_segment(q->path) ? 400 : 0;
}

static void put_query(struct out *o, const struct http_request_view *q) {
    if (!q->query.n || (o->n && memchr(o->p, '?', o->n))) return;
    put_byte(o, '?');
    put(o, q->query);
}

static uint16_t rewrite_path(const struct route_rewrite *w, const struct message *msg, struct http_arena *arena,
                             struct slice *path) {
    const struct http_request_view *q = msg->body;
    if (w->kind == REWRITE_NONE || !q->path.n || q->path.p[0] != '/') return 0; /* CONNECT, OPTIONS * */
    struct out o = out_begin(arena);
    if (!put_rewritten(&o, w, msg)) return 0;
    put_query(&o, q);
    return end_path(&o, arena, msg, path);
}

static uint16_t rewrite_host(const struct template *t, const struct message *msg, struct http_arena *arena,
                             struct slice *host) {
    if (!t->count) return 0;
    if (!render(t, msg, arena, host)) return 431;
    return host->n && http_authority_ok(*host) ? 0 : 400;
}

static void set_host(struct http_head *h, struct slice host) {
    struct http_field *field = http_find(h, HN_HOST);
    if (field) field->value = host;
    h->authority = host;
}

/* --- requests --- */

uint16_t http_edit_request(const struct route *r, const struct message *msg, struct http_head *h,
                           struct http_arena *arena) {
    const struct route_http *a = r->http;
    struct slice values[2 * EDITS_MAX];
    if (!a || (!a->rewrite.kind && !a->host.count && !a->request)) return 0;
    settle(msg);
    const struct route_edits *e = a->request;
    if (e && !(render_all(e->set, e->set_count, msg, arena, values) &&
               render_all(e->add, e->add_count, msg, arena, values + e->set_count)))
        return 431;
    struct slice path = h->path, host = {0};
    uint16_t status = rewrite_path(&a->rewrite, msg, arena, &path);
    if (!status) status = rewrite_host(&a->host, msg, arena, &host);
    if (status) return status;
    h->path = path;
    if (host.n) set_host(h, host);
    return e ? apply(e, values, h) : 0;
}

/* --- responses --- */

static struct out render_block(const struct route_edits *e, const struct message *msg, struct slice *values, uint8_t *p,
                               size_t room) {
    struct out o = {.p = p, .room = room};
    for (uint32_t i = 0; i < e->set_count + e->add_count; i++) {
        const struct edit_field *f = i < e->set_count ? &e->set[i] : &e->add[i - e->set_count];
        size_t start = o.n;
        put_template(&o, &f->value, msg, IN_FIELD);
        if (values) values[i] = trim(slice_of(p + start, o.n - start));
    }
    return o;
}

struct http_response_edits *http_edit_render_response(const struct route *r, const struct message *msg, bool *failed) {
    *failed = false;
    struct route_edits *e = r->http ? r->http->response : NULL;
    if (!e || e->literal) return e ? &e->filled : NULL;
    size_t count = e->set_count + e->add_count, n = render_block(e, msg, NULL, NULL, 0).n;
    struct http_response_edits *edits = malloc(sizeof *edits + count * sizeof *edits->values + n + 1);
    if (!edits) return *failed = true, NULL;
    struct slice *values = (struct slice *)(edits + 1);
    render_block(e, msg, values, (uint8_t *)(values + count), n);
    *edits = (struct http_response_edits){.edits = e, .owned = true, .values = values};
    return edits;
}

uint16_t http_edit_response(const struct http_response_edits *edits, struct http_head *h) {
    return apply(edits->edits, edits->values, h);
}

void http_edit_free(struct http_response_edits *edits) {
    if (edits && edits->owned) free(edits);
}

/* --- answers --- */

/* The port that goes behind the host of a redirect, empty for none; with its colon. */
static struct slice redirect_port(const struct route_redirect *d, const struct http_request_view *q,
                                  struct slice scheme, char text[8]) {
    if (d->port == (slice_eq(scheme, SLICE("https")) ? 443 : 80)) return (struct slice){0};
    if (d->port) return slice_of(text, (size_t)snprintf(text, 8, ":%u", (unsigned)d->port));
    if (d->scheme.n || d->host.count) return (struct slice){0};
    struct slice a = q->head->authority;
    return a.n > q->host.n ? slice_of(a.p + q->host.n, a.n - q->host.n) : (struct slice){0};
}

/* Scheme and authority, unless the redirect leaves both as they are: a path alone is right behind any other proxy too.
 * */
static uint16_t put_origin(struct out *o, const struct route_redirect *d, const struct message *msg,
                           struct slice host) {
    const struct http_request_view *q = msg->body;
    char text[8];
    if (!d->scheme.n && !d->host.count && !d->port) return 0;
    struct slice scheme = d->scheme.n ? d->scheme : q->scheme.n ? q->scheme : SLICE("http");
    if (!d->host.count) host = q->host;
    if (!host.n) return 400;
    put(o, scheme);
    put(o, SLICE("://"));
    put_uri_bytes(o, host);
    put(o, redirect_port(d, q, scheme, text));
    return 0;
}

/* Without a host before it, one slash at the start: two would name a host, and a client could choose it. */
static void put_redirect_path(struct out *o, struct slice path) {
    while (o->n == 0 && path.n > 1 && path.p[0] == '/' && path.p[1] == '/') path.p++, path.n--;
    put_uri_bytes(o, path);
}

/* Path and query of the redirect, as they would stand in a request. */
static uint16_t redirect_target(const struct route_redirect *d, const struct message *msg, struct http_arena *arena,
                                struct slice *target) {
    const struct http_request_view *q = msg->body;
    struct out o = out_begin(arena);
    if (d->has_path) put_template(&o, &d->path, msg, IN_PATH);
    else if (d->from.n && starts_with(q->path, d->from)) put_prefixed(&o, q->path, d->from, d->prefix);
    else put(&o, q->path);
    if (!d->strip_query) put_query(&o, q);
    return end_path(&o, arena, msg, target);
}

static uint16_t redirect_location(const struct route_redirect *d, const struct message *msg, struct http_arena *arena,
                                  struct slice *location) {
    struct slice target, host = {0};
    uint16_t status = redirect_target(d, msg, arena, &target);
    if (status) return status;
    if (!render(&d->host, msg, arena, &host)) return 431;
    if (host.n && !http_authority_ok(host)) return 400;
    struct out o = out_begin(arena);
    if ((status = put_origin(&o, d, msg, host))) return status;
    put_redirect_path(&o, target);
    return out_end(&o, arena, location) ? 0 : 431;
}

uint16_t http_edit_answer(const struct route *r, const struct message *msg, struct http_head *h, struct slice *body,
                          struct http_arena *arena) {
    const struct route_http *a = r->http;
    const struct route_edits *e = a->response;
    struct slice values[2 * EDITS_MAX], location;
    settle(msg);
    *body = (struct slice){0};
    if (a->redirect) {
        uint16_t status = redirect_location(a->redirect, msg, arena, &location);
        if (status) return status;
        h->status = a->redirect->status;
        if (!http_add(h, HN_OTHER, SLICE("location"), location)) return 431;
    } else {
        h->status = a->status ? a->status : 403; /* an "error" is what is forbidden in any protocol */
        *body = r->reply;
        if (!render_all(a->fields, a->field_count, msg, arena, values)) return 431;
        for (uint32_t i = 0; i < a->field_count; i++)
            if (!add(h, &a->fields[i], values[i])) return 431;
    }
    if (!e) return 0;
    if (!render_all(e->set, e->set_count, msg, arena, values) ||
        !render_all(e->add, e->add_count, msg, arena, values + e->set_count))
        return 431;
    return apply(e, values, h);
}
