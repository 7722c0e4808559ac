/* What routes change in requests and responses, the answers they give, and that no client's value gets further than it
 * may. */
#include "check.h"
#include "codecs/http_edit.h"
#include "http_messages.h"
#include "pack.h"
#include "route/action.h"

static struct upstream *ups[] = {(struct upstream *)"a"};
static char err[256];

/* A table of one route: `action` are members of its map. NULL with err. */
static struct route_table *try_route(const char *action) {
    struct pack doc = {0};
    struct mpack root;
    char json[2048];
    snprintf(json, sizeof json, "{'routes': [{'name': 'r', %s}]}", action);
    pack_json(&doc, json);
    CHECK(mpack_open(slice_of(doc.p, doc.n), &root) == 0);
    struct route_table *t = route_table_new(root, &message_codec, ups, 1, err, sizeof err);
    pack_free(&doc);
    return t;
}

static struct route_table *route_of(const char *action) {
    struct route_table *t = try_route(action);
    if (t) return t;
    fprintf(stderr, "%s\n  is refused: %s\n", action, err);
    exit(1);
}

/* What would be sent: "GET a.test /path|name: value|..." */
static const char *sent(const struct http_head *h) {
    static char text[4096];
    size_t n = 0;
    if (h->request)
        n = (size_t)snprintf(text, sizeof text, "%.*s %.*s", (int)h->authority.n, (const char *)h->authority.p,
                             (int)h->path.n, (const char *)h->path.p);
    else n = (size_t)snprintf(text, sizeof text, "%u", h->status);
    for (uint32_t i = 0; i < h->count; i++) {
        const struct http_field *f = &h->fields[i];
        if (f->drop) continue;
        CHECK(http_value_ok(f->value.p, f->value.n));
        CHECK_EQ(f->id, http_name_find(f->name.p, f->name.n));
        n += (size_t)snprintf(text + n, sizeof text - n, "|%.*s: %.*s", (int)f->name.n, (const char *)f->name.p,
                              (int)f->value.n, (const char *)f->value.p);
    }
    return text;
}

/* --- requests --- */

static const struct {
    const char *action, *target, *sent; /* sent NULL: 400 */
} rewrites[] = {
    {"'to': 0", "/a?b", "a.test:81 /a?b"},
    /* a prefix: one slash at the seam */
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api/', 'to': '/v2'}", "/api/x?q", "a.test:81 /v2/x?q"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api/', 'to': '/v2/'}", "/api/x", "a.test:81 /v2/x"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api/', 'to': '/'}", "/api/x", "a.test:81 /x"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api/', 'to': ''}", "/api/", "a.test:81 /"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api/', 'to': '/v2'}", "/api/", "a.test:81 /v2/"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api', 'to': '/v2'}", "/api", "a.test:81 /v2"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api', 'to': '/v2/'}", "/api/x", "a.test:81 /v2/x"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api', 'to': '/v2'}", "/api7", "a.test:81 /v27"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/api', 'to': ''}", "/api", "a.test:81 /"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/', 'to': '/sub'}", "/x/y", "a.test:81 /sub/x/y"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/other/', 'to': '/v2'}", "/api/x?q", "a.test:81 /api/x?q"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/x', 'to': '/y'}", "*", "a.test:81 *"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': '/d.', 'to': '/'}", "/d../x", NULL},
    /* a path */
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': '/new'}", "/old?q=1", "a.test:81 /new?q=1"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': '/new?fixed'}", "/old?q=1", "a.test:81 /new?fixed"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': 'new'}", "/old", "a.test:81 /new"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ''}", "/old", "a.test:81 /"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/x', {'attr': 'http.path'}]}", "/a%2fb?q", "a.test:81 /x/a%2fb?q"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f/', {'attr': 'query.f'}, '/g?z']}", "/?f=a%2Fb%3Fc+%25%0d%0aX",
     "a.test:81 /f/a%2Fb%3Fc%20%25%0D%0AX/g?z"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f?', {'attr': 'http.query'}]}", "/x?a=1&b=%20",
     "a.test:81 /f?a=1&b=%20"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f/', {'attr': 'query.f'}, '/g']}", "/?f=..", NULL},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f/', {'attr': 'query.f'}]}", "/?f=..%2Fg",
     "a.test:81 /f/..%2Fg?f=..%2Fg"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f/', {'attr': 'query.f'}, 'e']}", "/?f=%252e%252",
     "a.test:81 "
     "/f/%252e%252e?f=%252e%252"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f/', {'attr': 'query.none'}]}", "/", "a.test:81 /f/"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': ['/f', {'attr': 'http.path'}]}", "/../x", "a.test:81 /f/../x"},
    /* a regular expression: every match */
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '^/u/(\\\\d+)', 'to': '/users/\\\\1'}", "/u/77/x?q",
     "a.test:81 /users/77/x?q"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '^/u/(\\\\d+)', 'to': '/users/\\\\1'}", "/v/77", "a.test:81 /v/77"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '/+', 'to': '/'}", "//a///b/", "a.test:81 /a/b/"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': 'x*', 'to': '-'}", "/axb", "a.test:81 /-/-a--b-"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '(a)|(b)', 'to': '[\\\\1\\\\2\\\\0\\\\\\\\]'}", "/ab",
     "a.test:81 /[aa\\][bb\\]"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '^.*$', 'to': 'x?y'}", "/a?b", "a.test:81 /x?y"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '-', 'to': ''}", "/.-./x", NULL},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': 'a\\\\Ka', 'to': '!'}", "/aaa", "a.test:81 /a!a"},
    /* the host */
    {"'to': 0, 'host': 'in.test'", "/a?b", "in.test /a?b"},
    {"'to': 0, 'host': [{'attr': 'query.h'}, '.test']", "/?h=x", "x.test /?h=x"},
    {"'to': 0, 'host': [{'attr': 'query.h'}, '.test']", "/?h=x%2Fy", NULL},
    {"'to': 0, 'host': [{'attr': 'query.h'}]", "/", NULL},
    {"'to': 0, 'host': [{'attr': 'http.host'}, ':90'], 'rewrite': {'kind': 'path', 'to': '/n'}", "/o", "a.test:90 /n"},
};

TEST(paths_and_hosts) {
    for (size_t i = 0; i < countof(rewrites); i++) {
        struct route_table *t = route_of(rewrites[i].action);
        struct request r;
        request_begin(&r, "GET", "a.test:81", rewrites[i].target);
        uint16_t status = http_edit_request(route_find(t, &r.msg), &r.msg, &r.head, &r.arena);
        CHECK_EQ(status, rewrites[i].sent ? 0 : 400);
        if (rewrites[i].sent) CHECK_STR(sent(&r.head), rewrites[i].sent);
        route_table_free(t);
    }
}

TEST(the_host_field_follows_the_host) {
    struct route_table *t = route_of("'to': 0, 'host': 'in.test'");
    struct request r;
    request_begin(&r, "GET", "a.test", "/");
    request_field(&r, "Host", "a.test");
    CHECK_EQ(http_edit_request(route_at(t, 0), &r.msg, &r.head, &r.arena), 0);
    CHECK_STR(sent(&r.head), "in.test /|Host: in.test");
    route_table_free(t);
}

static const char edits[] = "{'remove': ['x-c', 'cookie'], 'set': [['X-A', 'one'], ['x-none', ['<', {'attr': "
                            "'http.header.none'}, '>']], ['via', [{'attr': 'header.x-b'}]]], 'add': [['x-b', ['b=', "
                            "{'attr': 'header.x-a'}]], ['x-b', '  padded ']]}";

static void request_to_edit(struct request *r) {
    request_begin(r, "GET", "a.test", "/p");
    request_field(r, "x-a", "1");
    request_field(r, "X-C", "3");
    request_field(r, "x-A", "2");
    request_field(r, "Cookie", "c");
    request_field(r, "x-b", "b");
    request_field(r, "Via", "v");
}

TEST(fields) {
    char action[512];
    snprintf(action, sizeof action, "'to': 0, 'request': %s", edits);
    struct route_table *t = route_of(action);
    struct request r;
    request_to_edit(&r);
    CHECK_EQ(http_edit_request(route_at(t, 0), &r.msg, &r.head, &r.arena), 0);
    CHECK_STR(sent(&r.head), "a.test /p|x-b: b|x-a: one|x-none: <>|via: b|x-b: b=1, 2|x-b: padded");
    request_to_edit(&r);
    r.head.capacity = r.head.count + 4;
    CHECK_EQ(http_edit_request(route_at(t, 0), &r.msg, &r.head, &r.arena), 431);
    for (uint32_t room = 0; room < 9; room++) { /* the templates make 2, 1 and 6 bytes */
        request_to_edit(&r);
        r.arena.size = room;
        CHECK_EQ(http_edit_request(route_at(t, 0), &r.msg, &r.head, &r.arena), 431);
    }
    route_table_free(t);
}

TEST(no_value_brings_a_line_with_it) {
    struct route_table *t = route_of(
        "'to': 0, 'request': {'set': [['x-a', ['[', {'attr': 'query.v'}, ']']], ['x-b', [{'attr': 'query.v'}]]]}");
    struct request r;
    request_begin(&r, "GET", "a.test", "/?v=%20a%0d%0aEvil:%20yes%00%7f%09b%C3%A9%20");
    CHECK_EQ(http_edit_request(route_at(t, 0), &r.msg, &r.head, &r.arena), 0);
    CHECK_STR(strchr(sent(&r.head), '|'), "|x-a: [ aEvil: yes\tb\xc3\xa9 ]|x-b: aEvil: yes\tb\xc3\xa9");
    route_table_free(t);
}

TEST(attributes_of_every_type) {
    struct route_table *t = route_of("'to': 0, 'request': {'set': [['x-a', [{'attr': 'request_size'}, ' ', {'attr': "
                                     "'idempotent'}, ' ', {'attr': 'operation'}]]]}");
    struct request r;
    request_begin(&r, "PUT", "a.test", "/");
    CHECK_EQ(http_edit_request(route_at(t, 0), &r.msg, &r.head, &r.arena), 0);
    CHECK_STR(sent(&r.head), "a.test /|x-a: 0 true PUT");
    route_table_free(t);
}

/* --- responses --- */

static const char *response(const struct route *route, struct request *r) {
    struct http_field fields[16] = {
        {.name = SLICE("Server"), .value = SLICE("s"), .id = HN_SERVER},
        {.name = SLICE("x-b"), .value = SLICE("theirs")},
        {.name = SLICE("X-C"), .value = SLICE("c")},
    };
    struct http_head h = {.status = 200, .fields = fields, .count = 3, .capacity = countof(fields)};
    bool failed;
    struct http_response_edits *made = http_edit_render_response(route, &r->msg, &failed);
    CHECK(!failed);
    memset(r->room, 'x', sizeof r->room); /* the request is gone when the response comes */
    if (made) CHECK_EQ(http_edit_response(made, &h), 0);
    const char *text = sent(&h);
    h.capacity = h.count;
    if (made) CHECK_EQ(http_edit_response(made, &h), 431);
    http_edit_free(made);
    return text;
}

TEST(responses) {
    char action[512];
    struct request r;
    snprintf(action, sizeof action, "'to': 0, 'response': %s", edits);
    struct route_table *t = route_of(action);
    request_to_edit(&r);
    CHECK_STR(response(route_at(t, 0), &r),
              "200|Server: s|x-b: theirs|x-a: one|x-none: <>|via: b|x-b: b=1, 2|x-b: padded");
    route_table_free(t);

    t = route_of("'to': 0, 'response': {'remove': ['server'], 'set': [['x-b', 'ours']]}");
    request_to_edit(&r);
    CHECK_STR(response(route_at(t, 0), &r), "200|X-C: c|x-b: ours");
    route_table_free(t);

    t = route_of("'to': 0, 'response': {'add': [['x-v', [{'attr': 'query.v'}]]]}");
    request_begin(&r, "GET", "a.test", "/?v=1%0a2+");
    CHECK_STR(response(route_at(t, 0), &r), "200|Server: s|x-b: theirs|X-C: c|x-v: 12");
    route_table_free(t);

    t = route_of("'to': 0");
    bool failed = true;
    CHECK(!http_edit_render_response(route_at(t, 0), &r.msg, &failed) && !failed);
    route_table_free(t);
}

/* --- answers --- */

static const struct {
    const char *redirect, *authority, *target, *location; /* NULL: 400 */
} redirects[] = {
    {"'status': 301, 'path': '/new'", "a.test", "/old?q=1", "/new?q=1"},
    {"'status': 301, 'path': '/new', 'strip_query': true", "a.test", "/old?q=1", "/new"},
    {"'status': 301, 'path': '/new?x'", "a.test", "/old?q=1", "/new?x"},
    {"'status': 308, 'scheme': 'https'", "a.test:8080", "/x?q", "https://a.test/x?q"},
    {"'status': 308, 'scheme': 'https', 'port': 8443", "a.test:8080", "/x", "https://a.test:8443/x"},
    {"'status': 308, 'scheme': 'https', 'port': 443", "a.test:8080", "/x", "https://a.test/x"},
    {"'status': 302, 'port': 80", "a.test:8080", "/x", "http://a.test/x"},
    {"'status': 302, 'port': 443", "a.test:8080", "/x", "http://a.test:443/x"},
    {"'status': 302, 'host': 'b.test'", "a.test:8080", "/x", "http://b.test/x"},
    {"'status': 302, 'host': ['www.', {'attr': 'http.host'}]", "a.test:81", "/x", "http://www.a.test/x"},
    {"'status': 302, 'host': [{'attr': 'query.h'}]", "a.test", "/?h=b@c", NULL},
    {"'status': 302, 'scheme': 'https'", "", "/x", NULL},
    {"'status': 302, 'scheme': 'https'", "[::1]:80", "/x", "https://[::1]/x"},
    {"'status': 307, 'prefix': '/new', 'from': '/old/'", "a.test", "/old/x?q", "/new/x?q"},
    {"'status': 307, 'prefix': '/new', 'from': '/old/'", "a.test", "/other", "/other"},
    /* nobody is sent elsewhere by what a client wrote */
    {"'status': 302, 'prefix': '/', 'from': '/old/'", "a.test", "/old//evil.test/x", "/evil.test/x"},
    {"'status': 302, 'prefix': '', 'from': '/old'", "a.test", "/old/\\evil.test", "/%5Cevil.test"},
    {"'status': 302, 'path': [{'attr': 'query.to'}]", "a.test", "/?to=//evil.test", "/%2F%2Fevil.test?to=//evil.test"},
    {"'status': 302, 'path': [{'attr': 'query.to'}]", "a.test", "/?to=http://e", "/http%3A%2F%2Fe?to=http://e"},
    {"'status': 302, 'path': [{'attr': 'http.path'}], 'strip_query': true", "a.test", "///e\"<\xc3", "/e%22%3C%C3"},
};

TEST(redirect) {
    for (size_t i = 0; i < countof(redirects); i++) {
        char action[256];
        struct request r;
        struct http_field fields[8];
        struct http_head h = {.fields = fields, .capacity = countof(fields)};
        struct slice body;
        snprintf(action, sizeof action, "'redirect': {%s}", redirects[i].redirect);
        struct route_table *t = route_of(action);
        request_begin(&r, "GET", redirects[i].authority, redirects[i].target);
        CHECK_EQ(route_at(t, 0)->action, ROUTE_REDIRECT);
        CHECK(route_upstream(route_at(t, 0), &r.msg) == NULL);
        uint16_t status = http_edit_answer(route_at(t, 0), &r.msg, &h, &body, &r.arena);
        CHECK_EQ(status, redirects[i].location ? 0 : 400);
        if (redirects[i].location) {
            CHECK(strncmp(sent(&h) + 3, "|location: ", 11) == 0);
            CHECK_STR(sent(&h) + 14, redirects[i].location);
            CHECK(h.status == atoi(redirects[i].redirect + 10) && body.n == 0);
        }
        route_table_free(t);
    }
}

TEST(reply) {
    struct route_table *t = route_of(
        "'reply': {'status': 403, 'body': 'no\n', 'headers': [['Content-Type', 'text/plain'], ['x-host', "
        "[{'attr': 'http.host'}]]]}, 'response': {'set': [['x-host', 'hidden'], ['x-m', [{'attr': 'method'}]]]}");
    struct request r;
    struct http_field fields[8];
    struct http_head h = {.fields = fields, .capacity = countof(fields)};
    struct slice body;
    request_begin(&r, "GET", "a.test", "/");
    CHECK_EQ(route_at(t, 0)->action, ROUTE_REPLY);
    CHECK_EQ(http_edit_answer(route_at(t, 0), &r.msg, &h, &body, &r.arena), 0);
    CHECK_STR(sent(&h), "403|content-type: text/plain|x-host: hidden|x-m: GET");
    CHECK_BYTES(body.p, body.n, "no\n", 3);
    route_table_free(t);
    t = route_of("'reply': {'error': 'not here'}");
    CHECK(!route_at(t, 0)->http);
    CHECK_BYTES(route_at(t, 0)->reply.p, route_at(t, 0)->reply.n, "not here", 8);
    route_table_free(t);
    t = route_of("'reply': {'status': 204}");
    h.count = 0;
    CHECK_EQ(http_edit_answer(route_at(t, 0), &r.msg, &h, &body, &r.arena), 0);
    CHECK_STR(sent(&h), "204");
    route_table_free(t);
}

/* --- faults in the plan --- */

static const struct {
    const char *action, *err;
} faults[] = {
    {"'to': 0, 'redirect': {'status': 301}", "it needs exactly one of to, split, reply and redirect"},
    {"'redirect': {'status': 300}", "the status of a redirect is 301, 302, 303, 307 or 308"},
    {"'redirect': {}", "the status of a redirect is 301, 302, 303, 307 or 308"},
    {"'redirect': {'status': 301, 'port': 0}", "a port is a number from 1 to 65535"},
    {"'redirect': {'status': 301, 'scheme': 'ftp'}", "the scheme of a redirect is http or https"},
    {"'redirect': {'status': 301, 'host': ''}", "the host is empty"},
    {"'redirect': {'status': 301, 'path': '/a', 'prefix': '/b', 'from': '/'}",
     "a redirect has a path or a prefix, not both"},
    {"'redirect': {'status': 301, 'prefix': '/b'}", "the prefix to replace is no string"},
    {"'reply': {'status': 100}", "the status of a reply is a number from 200 to 599"},
    {"'reply': {'status': 304, 'body': 'x'}", "a reply of status 304 has no body"},
    {"'reply': {'status': 200, 'body': 1}", "a reply has the text of its \"body\""},
    {"'reply': {'status': 200, 'headers': [['a']]}", "a field is a pair of name and value"},
    {"'to': 0, 'rewrite': {'kind': 'suffix'}", "a rewrite is of kind prefix, path or regex"},
    {"'to': 0, 'rewrite': {'kind': 'prefix', 'from': 1, 'to': ''}", "the prefix to rewrite is no string"},
    {"'to': 0, 'rewrite': {'kind': 'path'}", "the new path is no string"},
    {"'to': 0, 'rewrite': {'kind': 'path', 'to': '/a\nb'}", "the new path has a control character in it: \"/a?b\""},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '(', 'to': ''}",
     "regular expression \"(\": missing closing parenthesis (at byte 1)"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': '(a)', 'to': '\\\\2'}",
     "\"\\2\": the regular expression has no group 2"},
    {"'to': 0, 'rewrite': {'kind': 'regex', 'from': 'a', 'to': 'a\\\\'}", "\"a\\\": a \\ goes before a digit or a \\"},
    {"'to': 0, 'host': [{'attr': 'http.hots'}]", "unknown attribute \"http.hots\""},
    {"'to': 0, 'host': [{}]", "unknown attribute \"\""},
    {"'to': 0, 'request': {'set': [['x y', '1']]}", "\"x y\" is no name of a field"},
    {"'to': 0, 'request': {'set': [['', '1']]}", "a field's name is missing"},
    {"'to': 0, 'request': {'set': [[':path', '1']]}", "\":path\" is no name of a field"},
    {"'to': 0, 'request': {'set': [['Host', '1']]}", "the host is changed by a rewrite, not as a field"},
    {"'to': 0, 'request': {'remove': ['Content-Length']}", "the field \"Content-Length\" belongs to the connection"},
    {"'to': 0, 'request': {'remove': 'x'}", "the fields to remove are a list of at most 64 names"},
    {"'to': 0, 'request': {'add': [['x', 1]]}", "the value of a field is no string"},
    {"'to': 0, 'response': {'add': [['x', 'a\rb']]}", "the value of a field has a control character in it: \"a?b\""},
    {"'to': 0, 'response': {'set': [['transfer-encoding', 'chunked']]}",
     "the field \"transfer-encoding\" belongs to the connection"},
};

TEST(faults_name_what_is_wrong) {
    for (size_t i = 0; i < countof(faults); i++) {
        char want[256];
        snprintf(want, sizeof want, "route \"r\": %s", faults[i].err);
        CHECK(!try_route(faults[i].action));
        CHECK_STR(err, want);
    }
}

int main(void) {
    RUN(paths_and_hosts);
    RUN(the_host_field_follows_the_host);
    RUN(fields);
    RUN(no_value_brings_a_line_with_it);
    RUN(attributes_of_every_type);
    RUN(responses);
    RUN(redirect);
    RUN(reply);
    RUN(faults_name_what_is_wrong);
    return 0;
}
