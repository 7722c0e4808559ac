/* A request's way from its head to its upstream: host and path as rules see them, the route, the route's edits, the fields a proxy
 * adds. Sources: RFC 9110 §7.6 (what intermediaries do), RFC 7239 (Forwarded). */
#include "exchange.h"
#include "../core/greeting.h"
#include "../route/action.h"
#include "grpc.h"
#include "grpc_web.h"
#include "http_path.h"

#define ANSWER_FIELDS (4 * EDITS_MAX + 16) /* all that a route's edits may add, and framing */

/* ---- what rules see ---- */

/* Any of A to Z? Eight bytes at a time: bit 7 of a byte says whether it is from 'A' on, and not from 'Z' + 1 on, and ASCII. */
static bool has_upper(struct slice s) {
    const uint64_t ones = 0x0101010101010101, high = 0x80 * ones;
    uint64_t found = 0, w;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        uint64_t low = w & ~high;
        found |= (low + (0x80 - 'A') * ones) & ~(low + (0x7f - 'Z') * ones) & ~w & high;
    }
    for (; i < s.n; i++) found |= s.p[i] >= 'A' && s.p[i] <= 'Z';
    return found != 0;
}

/* host[:port] without the port, in lower case, and without the dot at the end that makes a name absolute: it is the same host, and
 * rules about it must hold (RFC 3986 §3.2.2). Part of the authority itself where nothing else changes. */
static struct slice host_of(struct slice authority, struct http_arena *arena) {
    struct slice host = authority;
    const uint8_t *colon = memrchr(host.p, ':', host.n);
    if (colon && (host.p[0] != '[' || (colon > host.p && colon[-1] == ']'))) host.n = (size_t)(colon - host.p);
    if (host.n > 1 && host.p[host.n - 1] == '.') host.n--;
    uint8_t *to = has_upper(host) ? http_arena_take(arena, host.n) : NULL;
    if (!to) return host;
    for (size_t i = 0; i < host.n; i++)
        to[i] = (uint8_t)(host.p[i] >= 'A' && host.p[i] <= 'Z' ? host.p[i] | 0x20 : host.p[i]);
    return slice_of(to, host.n);
}

/* Puts the normalised path into h->path. 0, or the status of a path that is refused. */
static uint16_t normalize(struct exchange *x, struct http_head *h, struct http_arena *arena) {
    const struct http_options *o = x->options;
    struct http_path_options how = {.merge_slashes = o->merge_slashes, .escaped_slashes = o->escaped_slashes};
    if (unlikely(h->path.n && h->path.p[0] == '?')) { /* of "http://host?query" */
        uint8_t *path = http_arena_take(arena, h->path.n + 1);
        if (!path) return 431;
        path[0] = '/';
        memcpy(path + 1, h->path.p, h->path.n);
        h->path = slice_of(path, h->path.n + 1);
    }
    if (!o->normalize || h->path.n == 0 || h->path.p[0] != '/') return 0;
    size_t room = h->path.n + 1;
    struct slice out;
    if (room > arena->size - arena->used) return 431;
    int r = http_path_normalize(h->path, &how, arena->p + arena->used, room, &out);
    if (r < 0) return 400;
    if (r > 0) arena->used += (uint32_t)room;
    h->path = out;
    return 0;
}

static struct http_request_view view_of(struct exchange *x, const struct http_head *h, struct http_arena *arena) {
    const uint8_t *mark = h->path.n ? memchr(h->path.p, '?', h->path.n) : NULL;
    size_t n = mark ? (size_t)(mark - h->path.p) : h->path.n;
    return (struct http_request_view){
        .head = h,
        .host = host_of(h->authority, arena),
        .path = slice_of(h->path.p, n),
        .query = mark ? slice_of(mark + 1, h->path.n - n - 1) : SLICE(""),
        .scheme = x->down->tls ? SLICE("https") : SLICE("http"),
        .arena = arena,
    };
}

/* ---- fields of a proxy ---- */

/* The member of the comma-separated list that is the nth from its end, from 1; empty when it has fewer. */
static struct slice nth_from_end(struct slice list, uint32_t *n) {
    const uint8_t *end = list.p + list.n;
    while (end > list.p) {
        const uint8_t *comma = memrchr(list.p, ',', (size_t)(end - list.p)), *p = comma ? comma + 1 : list.p,
                      *last = end;
        while (p < last && (*p == ' ' || *p == '\t')) p++;
        while (p < last && (last[-1] == ' ' || last[-1] == '\t')) last--;
        if (p < last && --*n == 0) return slice_of(p, (size_t)(last - p));
        end = comma ? comma : list.p;
    }
    return SLICE("");
}

/* With trusted_hops: N the client is whom the Nth proxy before us saw, the Nth address of X-Forwarded-For from its end. */
bool http_common_of_conn(const struct message *msg, enum attr_common id, struct attr_value *v) {
    const struct http_request_view *q = msg->body;
    uint32_t hops = id == ATTR_client_ip && q ? http_options(msg->conn)->trusted_hops : 0;
    if (id != ATTR_client_ip) return http_common(msg, id, v);
    for (uint32_t i = q ? q->head->count : 0; hops && i-- > 0;) {
        if (q->head->fields[i].id != HN_X_FORWARDED_FOR) continue;
        struct slice address = nth_from_end(q->head->fields[i].value, &hops);
        if (address.n) return v->s = address, true;
    }
    return false;
}

static uint8_t *put(uint8_t *to, struct slice s) {
    if (s.n) memcpy(to, s.p, s.n);
    return to + s.n;
}

/* Drops every field `id` and returns their values joined by ", " with `last` behind them, in the arena. */
static struct slice join(struct http_head *h, enum http_name id, struct slice last, struct http_arena *arena) {
    size_t n = last.n;
    uint32_t found = 0;
    if (h->absent >> id & 1) return last;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id == id && !h->fields[i].drop) n += h->fields[i].value.n + 2, found++;
    if (!found) return last;
    uint8_t *begin = http_arena_take(arena, n), *to = begin;
    if (!begin) return last;
    for (uint32_t i = 0; i < h->count; i++) {
        struct http_field *f = &h->fields[i];
        if (f->id != id || f->drop) continue;
        f->drop = true;
        if (f->value.n) to = put(put(to, f->value), SLICE(", "));
    }
    to = put(to, last);
    return slice_of(begin, (size_t)(to - begin));
}

static void drop_all(struct http_head *h, enum http_name id) {
    if (h->absent >> id & 1) return;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id == id) h->fields[i].drop = true;
}

static void set_field(struct http_head *h, enum http_name id, struct slice value) {
    drop_all(h, id);
    http_add(h, id, http_name_text(id), value);
}

static void x_forwarded(struct exchange *x, const struct http_request_view *view, struct http_head *h,
                        struct http_arena *arena) {
    const struct http_options *o = x->options;
    if (o->x_forwarded == XFF_OFF) {
        drop_all(h, HN_X_FORWARDED_FOR), drop_all(h, HN_X_FORWARDED_PROTO), drop_all(h, HN_X_FORWARDED_HOST);
        return;
    }
    if (o->x_forwarded == XFF_KEEP) return;
    struct slice ip = conn_ip(x->down);
    if (o->x_forwarded == XFF_SET) {
        set_field(h, HN_X_FORWARDED_FOR, ip);
        set_field(h, HN_X_FORWARDED_PROTO, view->scheme);
        if (http_find(h, HN_X_FORWARDED_HOST)) set_field(h, HN_X_FORWARDED_HOST, h->authority);
        return;
    }
    http_add(h, HN_X_FORWARDED_FOR, SLICE("x-forwarded-for"), join(h, HN_X_FORWARDED_FOR, ip, arena));
    if (!http_find(h, HN_X_FORWARDED_PROTO))
        http_add(h, HN_X_FORWARDED_PROTO, SLICE("x-forwarded-proto"), view->scheme);
}

/* RFC 7239 §4: for=, host=, proto=; an IPv6 address is quoted and in brackets. */
static void forwarded(struct exchange *x, const struct http_request_view *view, struct http_head *h,
                      struct http_arena *arena) {
    struct slice ip = conn_ip(x->down);
    bool v6 = ip.n && memchr(ip.p, ':', ip.n);
    uint8_t *begin = http_arena_take(arena, ip.n + h->authority.n + 64), *to = begin;
    if (!begin) return;
    to = put(put(put(to, v6 ? SLICE("for=\"[") : SLICE("for=")), ip), v6 ? SLICE("]\"") : SLICE(""));
    if (h->authority.n) to = put(put(put(to, SLICE(";host=\"")), h->authority), SLICE("\""));
    to = put(put(to, SLICE(";proto=")), view->scheme);
    http_add(h, HN_FORWARDED, SLICE("forwarded"), join(h, HN_FORWARDED, slice_of(begin, (size_t)(to - begin)), arena));
}

static void via(struct exchange *x, struct http_head *h, struct http_arena *arena) {
    struct slice version = h->version == 20 ? SLICE("2 ") : h->version == 10 ? SLICE("1.0 ") : SLICE("1.1 ");
    uint8_t *begin = http_arena_take(arena, version.n + x->options->via.n);
    if (!begin) return;
    uint8_t *end = put(put(begin, version), x->options->via);
    http_add(h, HN_VIA, SLICE("via"), join(h, HN_VIA, slice_of(begin, (size_t)(end - begin)), arena));
}

void http_response_via(struct exchange *x, struct http_head *h) {
    struct http_arena *arena = &http_state(x->core)->arena;
    arena->used = 0;
    via(x, h, arena);
}

/* Eight hex digits of v, all at once: one nibble to a byte, then '0' or 'a' - 10 added. */
static void hex8(uint8_t *to, uint32_t v32) {
    uint64_t v = v32;
    v = (v << 16 & 0x0000ffff00000000) | (v & 0xffff);
    v = (v << 8 & 0x00ff000000ff0000) | (v & 0x000000ff000000ff);
    v = (v << 4 & 0x0f000f000f000f00) | (v & 0x000f000f000f000f);
    uint64_t letters = (v + 0x0606060606060606) >> 4 & 0x0101010101010101;
    v += 0x3030303030303030 + letters * ('a' - '0' - 10);
    memcpy(to, &v, 8);
}

/* 128 random bits in the form of a UUID, as most tools expect it. */
static void request_id(struct exchange *x, struct http_head *h, struct http_arena *arena) {
    uint64_t a = core_random(x->core), b = core_random(x->core);
    uint8_t digits[32], *id = http_arena_take(arena, 36);
    if (!id) return;
    hex8(digits, (uint32_t)a), hex8(digits + 8, (uint32_t)(a >> 32));
    hex8(digits + 16, (uint32_t)b), hex8(digits + 24, (uint32_t)(b >> 32));
    digits[12] = '4', digits[16] = (uint8_t) "89ab"[b & 3]; /* RFC 9562 §5.4: version and variant */
    memcpy(id, digits, 8), memcpy(id + 9, digits + 8, 4), memcpy(id + 14, digits + 12, 4);
    memcpy(id + 19, digits + 16, 4), memcpy(id + 24, digits + 20, 12);
    id[8] = id[13] = id[18] = id[23] = '-';
    set_field(h, HN_X_REQUEST_ID, slice_of(id, 36));
}

uint16_t http_request_fields(struct exchange *x, const struct http_request_view *view, struct http_head *h) {
    const struct http_options *o = x->options;
    struct http_arena *arena = view->arena;
    if (h->count + 8 > h->capacity) return 431;
    x_forwarded(x, view, h, arena);
    if (o->forwarded) forwarded(x, view, h, arena);
    if (o->via.n) via(x, h, arena);
    if (o->request_id == ID_ALWAYS || (o->request_id == ID_KEEP && !http_find(h, HN_X_REQUEST_ID)))
        request_id(x, h, arena);
    return 0;
}

/* ---- the request ---- */

/* What the exchange must know of the head when it is gone. */
static uint16_t remember(struct exchange *x, struct http_head *h, bool end) {
    const struct http_field *type = http_find(h, HN_CONTENT_TYPE), *timeout;
    x->method = h->method, x->version = h->version;
    x->te_trailers = h->te_trailers, x->want_continue = h->expect && !end;
    x->replayable = end && http_method_idempotent(h->method);
    x->upgrade = h->upgrade.n && x->options->upgrade;
    if (!x->upgrade) h->upgrade = SLICE("");
    x->request = end ? X_DONE : X_BODY, x->request_done = end;
    x->body_start_ms = x->core->now_ms;
    if (h->body == HTTP_LENGTH && x->options->max_body && h->length > x->options->max_body) return 413;
    if (type && type->value.n >= 16 && memcmp(type->value.p, "application/grpc", 16) == 0) {
        if (x->options->grpc_web && grpc_web_begin(x, h, type->value) < 0) return 415;
        x->grpc = x->web || type->value.n == 16 || type->value.p[16] == '+' || type->value.p[16] == ';';
        if (x->grpc && (timeout = http_find(h, HN_GRPC_TIMEOUT)) != NULL) {
            int64_t us = grpc_timeout_us(timeout->value);
            if (us < 0) return 400;
            x->hard_deadline_ms = x->core->now_ms + (uint64_t)us / 1000;
        }
    }
    return 0;
}

static void answer_by_route(struct exchange *x, const struct route *route, const struct message *msg,
                            struct http_arena *arena) {
    struct http_field fields[ANSWER_FIELDS];
    struct http_head h = {.fields = fields, .capacity = countof(fields), .method = x->method};
    struct slice body = SLICE("");
    uint16_t refused = 0;
    if (route->action == ROUTE_REPLY && !route->http) {
        exchange_reply_failure(x, FAIL_DENIED, route->reply);
        return;
    }
    refused = http_edit_answer(route, msg, &h, &body, arena);
    if (refused) exchange_answer(x, refused, SLICE(""));
    else exchange_reply(x, &h, body);
}

/* Which upstream, for how long, with which edits. */
static enum failure prepare(struct exchange *x, const struct route *route, const struct message *msg,
                            struct http_head *h, uint16_t *refused) {
    const struct http_request_view *view = msg->body;
    struct stream *s = x->s;
    struct attr_value v;
    bool no_memory = false;
    s->upstream = route_upstream(route, msg);
    if (!s->upstream) return FAIL_NO_ROUTE;
    x->uv = s->upstream->codec == &http2_codec ? &http2_up_side : &http1_up_side;
    /* To an HTTP/1 server that does not open it, the bytes of a tunnel are requests. */
    x->withheld = x->uv == &http1_up_side && x->version == 20 && (x->upgrade || x->method == HTTP_CONNECT);
    bool hashed =
        s->upstream->hash_attr != ATTR_NONE && attr_get(msg, s->upstream->hash_attr, 0, &v) && v.type == ATTR_STR;
    s->hash = hashed ? hash_bytes(v.s.p, v.s.n) : core_random(x->core);
    if (route->http) {
        x->response_edits = http_edit_render_response(route, msg, &no_memory);
        if (no_memory) return FAIL_INTERNAL;
    }
    *refused = http_request_fields(x, view, h);
    if (route->http && !*refused) *refused = http_edit_request(route, msg, h, view->arena); /* has the last word */
    return *refused ? FAIL_BAD_REQUEST : FAIL_NONE;
}

static void first_deadline(struct exchange *x, bool end) {
    uint32_t timeout = x->s->route->timeout_ms, idle = x->options->stream_idle_ms;
    uint64_t now = x->core->now_ms;
    x->head_deadline_ms = timeout ? now + timeout : UINT64_MAX;
    exchange_set_deadline(x, end ? x->head_deadline_ms : idle ? now + idle : UINT64_MAX);
}

void exchange_request(struct exchange *x, struct http_head *h, bool end) {
    struct http_arena *arena = &http_state(x->core)->arena;
    struct listener *l = x->down->listener;
    uint16_t refused = remember(x, h, end);
    l->stat[LISTENER_requests_total]++;
    arena->used = 0;
    if (!refused) refused = normalize(x, h, arena);
    if (refused) {
        l->stat[LISTENER_FAILURES + FAIL_BAD_REQUEST]++;
        exchange_answer(x, refused, SLICE(""));
        return;
    }
    const struct http_head came = *h; /* rules and templates see no field that is added on the way */
    struct http_request_view view = view_of(x, &came, arena);
    struct message msg = {x->down, &view};
    if (unlikely(l->guarded) && greeting_misdirected(x->down, view.host)) {
        l->stat[LISTENER_FAILURES + FAIL_DENIED]++;
        exchange_answer(x, 421, SLICE(""));
        return;
    }
    const struct route *route = route_find(x->down->service->table, &msg);
    if (!route) {
        stream_fail(x->s, FAIL_NO_ROUTE);
        return;
    }
    x->s->route = route;
    route_stat(x->down, route)[ROUTE_requests_total]++;
    if (route->action == ROUTE_REPLY || route->action == ROUTE_REDIRECT) {
        answer_by_route(x, route, &msg, arena);
        return;
    }
    enum failure why = prepare(x, route, &msg, h, &refused);
    if (refused) {
        l->stat[LISTENER_FAILURES + FAIL_BAD_REQUEST]++;
        exchange_answer(x, refused, SLICE(""));
        return;
    }
    first_deadline(x, end);
    if (why == FAIL_NONE && route->mirror) http_mirror_begin(x, route, h, end);
    if (why == FAIL_NONE) why = exchange_connect(x, h, end);
    if (why != FAIL_NONE) stream_fail(x->s, why);
}
