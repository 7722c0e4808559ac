/* libFuzzer target: any head meets routes that put its values into paths, hosts, fields and redirects. What comes out
 * must be a head again: no control characters, paths that begin with one slash where they could name a host, nothing
 * outside the arena. `make fuzz FUZZ=http_edit` runs it. */
#include "codecs/http_edit.h"
#include "http_messages.h"
#include "pack.h"
#include "route/action.h"

#define EDITS                                                                                          \
    "{'remove': ['x-b'], 'set': [['x-c', [{'attr': 'query.a'}, '/', {'attr': 'cookie.a'}]]], 'add': [" \
    "['x-d', [{'attr': 'header.x-a'}]], ['x-e', [{'attr': 'http.path'}]]]}"

static const char routes[] =
    "{'routes': [{'name': 'a', 'to': 0, 'request': " EDITS ", 'response': " EDITS
    ", 'when': ['segments', 'path', '/{a}/b']},"
    "{'name': 'b', 'to': 0, 'when': ['eq', 'query.a', 'b'], 'rewrite': {'kind': 'prefix', 'from': '/a', 'to': '/'}},"
    "{'name': 'c', 'to': 0, 'when': ['exists', 'query.c'], 'rewrite': {'kind': 'path', 'to': ['/', {'attr': "
    "'query.a'}, '/', "
    "{'attr': 'http.path'}]}, 'host': [{'attr': 'header.x-a'}, '.test']},"
    "{'name': 'd', 'to': 0, 'when': ['eq', 'cookie.a', '1'], 'rewrite': {'kind': 'regex', 'from': '(a)|/*', 'to': "
    "'\\\\1/.'}},"
    "{'name': 'e', 'when': ['prefix', 'path', '/r/'], 'response': " EDITS
    ", 'redirect': {'status': 301, 'prefix': '/', 'from': '/r/'}},"
    "{'name': 'f', 'when': ['suffix', 'path', 'f'], 'redirect': {'status': 301, 'path': [{'attr': 'query.a'}]}},"
    "{'name': 'g', 'redirect': {'status': 301, 'host': [{'attr': 'header.x-a'}]}}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct route_table *table(void) {
    static struct route_table *t;
    struct upstream *up = (struct upstream *)"u";
    struct pack doc = {0};
    struct mpack root;
    char err[200];
    if (t) return t;
    pack_json(&doc, routes);
    if (mpack_open(slice_of(doc.p, doc.n), &root) != 0) abort();
    if (!(t = route_table_new(root, &message_codec, &up, 1, err, sizeof err))) abort();
    pack_free(&doc);
    return t;
}

static void check_fields(const struct http_head *h) {
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id != HN_COOKIE && !http_value_ok(h->fields[i].value.p, h->fields[i].value.n)) abort();
}

static void check_visible(struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f) abort();
}

static void check_location(const struct http_head *h) {
    for (uint32_t i = 0; i < h->count; i++) {
        struct slice value = h->fields[i].value;
        if (!slice_eq(h->fields[i].name, SLICE("location"))) continue;
        check_visible(value);
        if (value.n > 1 && value.p[0] == '/' && (value.p[1] == '/' || value.p[1] == '\\')) abort();
        if (value.n == 0 || (value.p[0] != '/' && memcmp(value.p, "http", 4) != 0)) abort();
    }
}

static void edit_response(const struct route *route, struct request *r) {
    struct http_field fields[16];
    struct http_head h = {.status = 200, .fields = fields, .capacity = countof(fields)};
    bool failed;
    struct http_response_edits *edits = http_edit_render_response(route, &r->msg, &failed);
    if (edits && http_edit_response(edits, &h) == 0) check_fields(&h);
    http_edit_free(edits);
}

static void follow(const struct route *route, struct request *r) {
    struct http_field fields[16];
    struct http_head answer = {.fields = fields, .capacity = countof(fields)};
    struct slice body;
    if (route->action == ROUTE_REDIRECT) {
        if (http_edit_answer(route, &r->msg, &answer, &body, &r->arena) != 0) return;
        check_fields(&answer);
        check_location(&answer);
        return;
    }
    edit_response(route, r);
    if (http_edit_request(route, &r->msg, &r->head, &r->arena) != 0) return;
    check_fields(&r->head);
    check_visible(r->head.path);
    if (r->head.path.n && r->head.path.p[0] != '/' && r->head.path.p[0] != '*') abort();
    if (!http_authority_ok(r->head.authority)) abort();
}

/* Lines of the input: target, authority, then values of the fields x-a and cookie in turn. What a parser refuses is
 * left out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct request r;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    uint32_t arena = size ? data[size - 1] * 8u : 0;
    char *rest = text, *target = strsep(&rest, "\n"), *authority = rest ? strsep(&rest, "\n") : (char[]){""};
    bool ok = http_authority_ok(request_text(authority)) && (*target == '/' || *target == '*');
    if (ok && http_target_ok(request_text(target)) && !strchr(target, '#')) {
        request_begin(&r, "GET", authority, target);
        for (uint32_t i = 0; rest && i < REQUEST_FIELDS - 8; i++) {
            char *value = strsep(&rest, "\n");
            if (http_value_ok((uint8_t *)value, strlen(value))) request_field(&r, i % 2 ? "cookie" : "X-A", value);
        }
        r.arena.size = arena > sizeof r.room ? sizeof r.room : arena;
        const struct route *route = route_find(table(), &r.msg);
        if (route) follow(route, &r);
    }
    free(text);
    return 0;
}
