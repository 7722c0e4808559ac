#include "action.h"

#include "../codecs/http.h"
#include "compile.h"
#include "route.h"

static bool given(struct mpack v) { return v.type != MP_NONE && v.type != MP_NIL; }

/* A string of at most TEXT_MAX bytes without control characters; `what` names it in messages. */
static bool read_line(struct compile *c, const char *what, struct mpack v, struct slice *to) {
    if (v.type != MP_STR) return compile_fail(c, "%s is no string", what);
    if (v.s.n > TEXT_MAX) return compile_fail(c, "%s has more than %d bytes", what, TEXT_MAX);
    for (size_t i = 0; i < v.s.n; i++)
        if ((v.s.p[i] < ' ' && v.s.p[i] != '\t') || v.s.p[i] == 0x7f)
            return compile_fail(c, "%s has a control character in it: %s", what, quoted(v.s).text);
    return arena_copy(c->keep, v.s, to) || compile_no_memory(c);
}

/* --- templates --- */

static bool read_attribute(struct compile *c, struct mpack name, uint16_t *id) {
    struct slice s = mpack_slice(name);
    enum attr_type type;
    *id = s.n ? attr_find(c->codec, s, &type) : (uint16_t)ATTR_NONE;
    return *id != ATTR_NONE || compile_unknown(c, s);
}

static bool read_part(struct compile *c, const char *what, struct mpack v, struct template_part *part) {
    part->attribute = ATTR_NONE;
    if (v.type != MP_MAP) return read_line(c, what, v, &part->text);
    return read_attribute(c, mpack_get(v, "attr"), &part->attribute);
}

static bool read_template(struct compile *c, const char *what, struct mpack v, struct template *t) {
    bool list = v.type == MP_ARRAY;
    uint32_t count = list ? v.count : mpack_slice(v).n != 0;
    if (count > TEMPLATE_PARTS_MAX) return compile_fail(c, "%s has more than %d parts", what, TEMPLATE_PARTS_MAX);
    struct template_part *parts = arena_alloc(c->keep, (count + 1) * sizeof *parts);
    if (!parts) return compile_no_memory(c);
    *t = (struct template){.count = count, .parts = parts, .literal = count < 2};
    if (!list) return read_part(c, what, v, &parts[0]);
    struct mpack_iter it = mpack_iter(v);
    struct mpack part;
    for (uint32_t i = 0; i < count && mpack_next(&it, &part); i++) {
        if (!read_part(c, what, part, &parts[i])) return false;
        t->literal &= parts[i].attribute == ATTR_NONE;
    }
    return true;
}

/* --- fields --- */

static uint8_t name_id(struct slice lower) {
    static const char *const names[HN_COUNT] = {
#define X(id, name, hop) [HN_##id] = name,
        HTTP_NAMES(X)
#undef X
    };
    for (uint8_t id = HN_OTHER + 1; id < HN_COUNT; id++)
        if (slice_eq(lower, slice_of(names[id], strlen(names[id])))) return id;
    return HN_OTHER;
}

/* Fields that say how the message at hand is framed or what its connection does: each side writes its own. */
static bool is_framing(uint8_t id) {
    switch (id) {
    case HN_CONNECTION:
    case HN_KEEP_ALIVE:
    case HN_PROXY_CONNECTION:
    case HN_TRANSFER_ENCODING:
    case HN_UPGRADE:
    case HN_TE:
    case HN_TRAILER:
    case HN_CONTENT_LENGTH:
    case HN_HTTP2_SETTINGS: return true;
    default: return false;
    }
}

static bool token_byte(uint8_t b) { /* tchar of RFC 9110 §5.6.2 */
    return (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b && strchr("!#$%&'*+-.^_`|~", b));
}

static bool read_name(struct compile *c, struct mpack v, struct edit_name *name) {
    if (v.type != MP_STR || v.s.n == 0 || v.s.n > TEXT_MAX) return compile_fail(c, "a field's name is missing");
    uint8_t *p = arena_alloc(c->keep, v.s.n);
    if (!p) return compile_no_memory(c);
    for (size_t i = 0; i < v.s.n; i++) {
        p[i] = v.s.p[i] >= 'A' && v.s.p[i] <= 'Z' ? v.s.p[i] | 0x20 : v.s.p[i];
        if (!token_byte(p[i])) return compile_fail(c, "%s is no name of a field", quoted(v.s).text);
    }
    name->text = slice_of(p, v.s.n);
    name->id = name_id(name->text);
    if (is_framing(name->id)) return compile_fail(c, "the field %s belongs to the connection", quoted(v.s).text);
    if (name->id == HN_HOST) return compile_fail(c, "the host is changed by a rewrite, not as a field");
    return true;
}

static bool read_names(struct compile *c, struct mpack list, const struct edit_name **to, uint32_t *count) {
    if (!given(list)) return true;
    if (list.type != MP_ARRAY || list.count > EDITS_MAX)
        return compile_fail(c, "the fields to remove are a list of at most %d names", EDITS_MAX);
    struct edit_name *names = arena_alloc(c->keep, list.count * sizeof *names);
    if (!names) return compile_no_memory(c);
    struct mpack_iter it = mpack_iter(list);
    struct mpack name;
    for (uint32_t i = 0; i < list.count && mpack_next(&it, &name); i++)
        if (!read_name(c, name, &names[i])) return false;
    *to = names;
    *count = list.count;
    return true;
}

static bool read_fields(struct compile *c, struct mpack list, const struct edit_field **to, uint32_t *count,
                        bool *literal) {
    if (!given(list)) return true;
    if (list.type != MP_ARRAY || list.count > EDITS_MAX)
        return compile_fail(c, "fields are a list of at most %d pairs of name and value", EDITS_MAX);
    struct edit_field *fields = arena_alloc(c->keep, list.count * sizeof *fields);
    if (!fields) return compile_no_memory(c);
    struct mpack_iter it = mpack_iter(list);
    struct mpack pair;
    for (uint32_t i = 0; i < list.count && mpack_next(&it, &pair); i++) {
        if (pair.type != MP_ARRAY || pair.count != 2) return compile_fail(c, "a field is a pair of name and value");
        if (!read_name(c, mpack_at(pair, 0), &fields[i].name)) return false;
        if (!read_template(c, "the value of a field", mpack_at(pair, 1), &fields[i].value)) return false;
        *literal &= fields[i].value.literal;
    }
    *to = fields;
    *count = list.count;
    return true;
}

static bool read_edits(struct compile *c, struct mpack v, struct route_edits **to) {
    if (!given(v)) return true;
    struct route_edits *e = *to = arena_alloc(c->keep, sizeof *e);
    if (!e) return compile_no_memory(c);
    e->literal = true;
    e->filled.edits = e;
    return read_names(c, mpack_get(v, "remove"), &e->remove, &e->remove_count) &&
           read_fields(c, mpack_get(v, "set"), &e->set, &e->set_count, &e->literal) &&
           read_fields(c, mpack_get(v, "add"), &e->add, &e->add_count, &e->literal);
}

/* --- rewriting --- */

/* "\1" and such must name groups the pattern has; the rest of the escapes is an error rather than a surprise. */
static bool check_groups(struct compile *c, struct slice to, const struct regex *regex) {
    for (size_t i = 0; i < to.n; i++) {
        if (to.p[i] != '\\') continue;
        uint8_t next = ++i < to.n ? to.p[i] : 0;
        if (next == '\\') continue;
        if (next < '0' || next > '9') return compile_fail(c, "%s: a \\ goes before a digit or a \\", quoted(to).text);
        if ((uint32_t)(next - '0') > regex_groups(regex))
            return compile_fail(c, "%s: the regular expression has no group %c", quoted(to).text, next);
    }
    return true;
}

static bool read_regex_rewrite(struct compile *c, struct route_rewrite *w, struct mpack v) {
    struct slice pattern = mpack_slice(mpack_get(v, "from"));
    char err[160];
    if (!pattern.n) return compile_fail(c, "a rewrite by regular expression has none");
    if (!(w->regex = regex_new(c->regexes, c->keep, pattern, err, sizeof err)))
        return compile_fail(c, "regular expression %s: %s", quoted(pattern).text, err);
    return read_line(c, "the new path", mpack_get(v, "to"), &w->to) && check_groups(c, w->to, w->regex);
}

static bool read_rewrite(struct compile *c, struct route_rewrite *w, struct mpack v) {
    struct slice kind = mpack_slice(mpack_get(v, "kind"));
    if (slice_eq(kind, SLICE("prefix"))) {
        w->kind = REWRITE_PREFIX;
        return read_line(c, "the prefix to rewrite", mpack_get(v, "from"), &w->from) &&
               read_line(c, "the new prefix", mpack_get(v, "to"), &w->to);
    }
    if (slice_eq(kind, SLICE("path"))) {
        w->kind = REWRITE_PATH;
        return read_template(c, "the new path", mpack_get(v, "to"), &w->path);
    }
    w->kind = REWRITE_REGEX;
    return slice_eq(kind, SLICE("regex")) ? read_regex_rewrite(c, w, v)
                                          : compile_fail(c, "a rewrite is of kind prefix, path or regex");
}

/* --- answers --- */

static bool read_host(struct compile *c, struct mpack v, struct template *t) {
    if (!given(v)) return true;
    return read_template(c, "the host", v, t) && (t->count || compile_fail(c, "the host is empty"));
}

static bool read_redirect_path(struct compile *c, struct route_redirect *d, struct mpack v) {
    struct mpack path = mpack_get(v, "path"), prefix = mpack_get(v, "prefix");
    if (given(path) && given(prefix)) return compile_fail(c, "a redirect has a path or a prefix, not both");
    if (given(path)) return d->has_path = true, read_template(c, "the path of the redirect", path, &d->path);
    if (!given(prefix)) return true;
    return read_line(c, "the prefix of the redirect", prefix, &d->prefix) &&
           read_line(c, "the prefix to replace", mpack_get(v, "from"), &d->from);
}

static bool read_redirect(struct compile *c, struct route_redirect *d, struct mpack v) {
    struct mpack scheme = mpack_get(v, "scheme"), port = mpack_get(v, "port");
    int64_t status = mpack_int(mpack_get(v, "status"), 0), number = given(port) ? mpack_int(port, -1) : 0;
    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
        return compile_fail(c, "the status of a redirect is 301, 302, 303, 307 or 308");
    if (given(port) && (number < 1 || number > 65535)) return compile_fail(c, "a port is a number from 1 to 65535");
    d->status = (uint16_t)status;
    d->port = (uint16_t)number;
    d->strip_query = mpack_bool(mpack_get(v, "strip_query"), false);
    if (given(scheme) && !read_line(c, "the scheme", scheme, &d->scheme)) return false;
    if (d->scheme.n && !slice_eq(d->scheme, SLICE("http")) && !slice_eq(d->scheme, SLICE("https")))
        return compile_fail(c, "the scheme of a redirect is http or https");
    return read_host(c, mpack_get(v, "host"), &d->host) && read_redirect_path(c, d, v);
}

static struct route_http *http_of(struct compile *c, struct route *r) {
    if (!r->http && !(r->http = arena_alloc(c->keep, sizeof *r->http))) compile_no_memory(c);
    return r->http;
}

static bool read_text(struct compile *c, const char *what, struct mpack v, struct slice *to) {
    if (v.type != MP_STR && v.type != MP_BIN) return compile_fail(c, "a reply has the text of its \"%s\"", what);
    if (v.s.n > TEXT_MAX) return compile_fail(c, "the text of the reply has more than %d bytes", TEXT_MAX);
    return arena_copy(c->keep, v.s, to) || compile_no_memory(c);
}

bool action_read_reply(struct compile *c, struct route *r, struct mpack reply) {
    r->action = ROUTE_REPLY;
    if (!given(mpack_get(reply, "status"))) return read_text(c, "error", mpack_get(reply, "error"), &r->reply);
    struct route_http *h = http_of(c, r);
    if (!h) return false;
    int64_t status = mpack_int(mpack_get(reply, "status"), 0);
    if (status < 200 || status > 599) return compile_fail(c, "the status of a reply is a number from 200 to 599");
    h->status = (uint16_t)status;
    struct mpack body = mpack_get(reply, "body");
    if (given(body) && !read_text(c, "body", body, &r->reply)) return false;
    if (r->reply.n && (status == 204 || status == 205 || status == 304))
        return compile_fail(c, "a reply of status %d has no body", h->status);
    bool literal = true;
    return read_fields(c, mpack_get(reply, "headers"), &h->fields, &h->field_count, &literal);
}

bool action_read(struct compile *c, struct route *r, struct mpack route) {
    struct mpack rewrite = mpack_get(route, "rewrite"), host = mpack_get(route, "host");
    struct mpack request = mpack_get(route, "request"), response = mpack_get(route, "response");
    struct mpack redirect = mpack_get(route, "redirect");
    if (!given(rewrite) && !given(host) && !given(request) && !given(response) && !given(redirect)) return true;
    struct route_http *h = http_of(c, r);
    if (!h) return false;
    if (given(redirect)) {
        r->action = ROUTE_REDIRECT;
        if (!(h->redirect = arena_alloc(c->keep, sizeof *h->redirect))) return compile_no_memory(c);
        if (!read_redirect(c, h->redirect, redirect)) return false;
    }
    if (given(rewrite) && !read_rewrite(c, &h->rewrite, rewrite)) return false;
    return read_host(c, host, &h->host) && read_edits(c, request, &h->request) && read_edits(c, response, &h->response);
}
