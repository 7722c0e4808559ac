/* Attributes of HTTP messages: names and ids, values, families, what clients may try with them. */
#include "check.h"
#include "http_messages.h"

#include <stdio.h>

static uint16_t id_of(const char *name) {
    enum attr_type type;
    return attr_find(&message_codec, request_text(name), &type);
}

/* i-th value of an attribute as text; NULL: absent. Valid until the next call. */
static const char *nth(struct request *r, const char *name, uint32_t i) {
    static char text[512];
    struct attr_value v;
    uint16_t id = id_of(name);
    CHECK(id != ATTR_NONE);
    if (!attr_get(&r->msg, id, i, &v)) return NULL;
    if (v.type == ATTR_INT) snprintf(text, sizeof text, "%lld", (long long)v.i);
    else if (v.type == ATTR_BOOL) snprintf(text, sizeof text, "%s", v.b ? "true" : "false");
    else snprintf(text, sizeof text, "%.*s", (int)v.s.n, (const char *)v.s.p);
    return text;
}

#define IS(r, name, want) is(__LINE__, r, name, 0, want)
#define NTH_IS(r, name, i, want) is(__LINE__, r, name, i, want)
static void is(int line, struct request *r, const char *name, uint32_t i, const char *want) {
    const char *got = nth(r, name, i);
    if (got && want ? strcmp(got, want) == 0 : got == want) return;
    fprintf(stderr, "%s[%u] is %s, not %s\n", name, i, got ? got : "absent", want ? want : "absent");
    check_failed(__FILE__, line, "value");
}

TEST(names) {
    enum attr_type type;
    CHECK_EQ(id_of("http.path"), ATTR_CODEC + HTTP_ATTR_path);
    CHECK_EQ(id_of("path"), ATTR_CODEC + HTTP_ATTR_path);
    CHECK_EQ(id_of("grpc.service"), ATTR_CODEC + HTTP_ATTR_grpc_service);
    CHECK_EQ(id_of("service"), ATTR_NONE);
    CHECK_EQ(id_of("http.grpc.service"), ATTR_NONE);
    CHECK_EQ(id_of("http.http.path"), ATTR_NONE);
    CHECK_EQ(id_of("http1.path"), ATTR_NONE);
    CHECK_EQ(id_of("operation"), ATTR_operation);
    CHECK_EQ(id_of("http.operation"), ATTR_NONE);
    CHECK_EQ(id_of("tls.sni"), ATTR_tls_sni);
    CHECK_EQ(id_of("query"), ATTR_CODEC + HTTP_ATTR_query);
    CHECK_EQ(id_of(""), ATTR_NONE);
    CHECK_EQ(id_of("http."), ATTR_NONE);
    CHECK(attr_find(&message_codec, request_text("header.x-a"), &type) >= ATTR_PARAM && type == ATTR_STRS);
    CHECK(attr_find(&message_codec, request_text("host"), &type) < ATTR_PARAM && type == ATTR_STR);
}

TEST(members_of_families_have_one_id) {
    uint16_t a = id_of("http.header.x-tenant");
    CHECK(a >= ATTR_PARAM && a != ATTR_NONE);
    CHECK_EQ(id_of("header.X-Tenant"), a); /* header names have no case */
    CHECK(id_of("http.header.x-tenan") != a && id_of("http.query.x-tenant") != a);
    CHECK(id_of("http.query.A") != id_of("http.query.a"));
    CHECK_EQ(id_of("http.query.A"), id_of("query.A"));
    CHECK_EQ(id_of("http.header."), ATTR_NONE);
    CHECK_EQ(id_of("http.header.a b"), ATTR_NONE);
    CHECK_EQ(id_of("http.header.a:"), ATTR_NONE);
    CHECK_EQ(id_of("http.cookie.a;b"), ATTR_NONE);
    CHECK(id_of("http.header.a.b") != ATTR_NONE);
    struct codec other = message_codec;
    static const struct attr_def table[] = {{"http.header.*", ATTR_STRS, ""}};
    enum attr_type type;
    other.attributes = table;
    other.attribute_count = 1;
    uint16_t b = attr_find(&other, request_text("http.header.x-tenant"), &type);
    CHECK(b >= ATTR_PARAM && b != a); /* another table's: not for these messages */
    struct request r;
    struct attr_value v;
    request_begin(&r, "GET", "a.test", "/");
    request_field(&r, "X-Tenant", "t");
    CHECK(attr_get(&r.msg, a, 0, &v) && !attr_get(&r.msg, b, 0, &v));
    CHECK(!attr_get(&r.msg, 0xfffe, 0, &v) && !attr_get(&r.msg, ATTR_PARAM + 16000, 0, &v));
}

TEST(plain_ones) {
    struct request r;
    request_begin(&r, "POST", "a.test:8080", "/x/y?b=1&c");
    request_field(&r, "Content-Type", "application/json; charset=utf-8");
    request_field(&r, "user-agent", "curl/8");
    IS(&r, "method", "POST");
    IS(&r, "path", "/x/y");
    IS(&r, "http.query", "b=1&c");
    IS(&r, "host", "a.test");
    IS(&r, "scheme", "http");
    IS(&r, "content_type", "application/json; charset=utf-8");
    IS(&r, "user_agent", "curl/8");
    IS(&r, "version", "1.1");
    NTH_IS(&r, "path", 1, NULL);
    r.head.version = 20;
    IS(&r, "version", "2");
    r.head.version = 10;
    IS(&r, "version", "1.0");
    request_begin(&r, "GET", "", "/");
    IS(&r, "host", NULL);
    IS(&r, "http.query", NULL);
    IS(&r, "content_type", NULL);
    IS(&r, "protocol", "http1");
}

TEST(common_ones) {
    static const struct {
        const char *method, *access, *idempotent;
    } cases[] = {{"GET", "read", "true"},     {"HEAD", "read", "true"},    {"OPTIONS", "read", "true"},
                 {"TRACE", "read", "true"},   {"PUT", "write", "true"},    {"DELETE", "write", "true"},
                 {"POST", "write", "false"},  {"PATCH", "write", "false"}, {"CONNECT", "session", "false"},
                 {"PURGE", "write", "false"}, {"get", "write", "false"}};
    struct request r;
    for (size_t i = 0; i < countof(cases); i++) {
        request_begin(&r, cases[i].method, "a.test", "/p?q");
        IS(&r, "operation", cases[i].method);
        IS(&r, "resource", "/p");
        IS(&r, "access", cases[i].access);
        IS(&r, "idempotent", cases[i].idempotent);
    }
    IS(&r, "request_size", "0");
    r.head.body = HTTP_LENGTH, r.head.length = 5000000000;
    IS(&r, "request_size", "5000000000");
    r.head.body = HTTP_CHUNKED;
    IS(&r, "request_size", NULL);
    IS(&r, "client_id", NULL);
    IS(&r, "tls.version", NULL);
}

TEST(headers) {
    struct request r;
    request_begin(&r, "GET", "a.test:1", "/");
    request_field(&r, "Host", "a.test:1");
    request_field(&r, "X-A", "1");
    request_field(&r, "Accept", "text/html");
    request_field(&r, "x-a", "");
    request_field(&r, "x-ab", "no");
    request_field(&r, "X-a", "3");
    request_field(&r, "Upgrade", "websocket");
    r.fields[6].drop = true;
    IS(&r, "header.x-a", "1");
    NTH_IS(&r, "header.x-a", 1, "");
    NTH_IS(&r, "header.x-a", 2, "3");
    NTH_IS(&r, "header.x-a", 3, NULL);
    NTH_IS(&r, "header.x-a", 4, NULL);
    NTH_IS(&r, "header.x-a", 1, ""); /* backwards, too */
    NTH_IS(&r, "header.x-a", 0, "1");
    IS(&r, "header.accept", "text/html");
    NTH_IS(&r, "header.accept", 1, NULL);
    NTH_IS(&r, "header.x-a", 2, "3");
    IS(&r, "header.upgrade", "websocket"); /* is not passed on, but was said */
    IS(&r, "header.x-b", NULL);
    IS(&r, "header.host", "a.test:1");
    NTH_IS(&r, "header.host", 1, NULL);
    r.head.count = 0;
    IS(&r, "header.host", "a.test:1"); /* HTTP/2 */
}

TEST(cookies) {
    struct request r;
    request_begin(&r, "GET", "a.test", "/");
    request_field(&r, "Cookie", "a=1; beta=yes;c=\"q\"; =x; d; beta=no ; e=a=b");
    request_field(&r, "x", "beta=other");
    request_field(&r, "cookie", "beta=third");
    IS(&r, "cookie.a", "1");
    IS(&r, "cookie.beta", "yes");
    NTH_IS(&r, "cookie.beta", 1, "no");
    NTH_IS(&r, "cookie.beta", 2, "third");
    NTH_IS(&r, "cookie.beta", 3, NULL);
    IS(&r, "cookie.c", "\"q\"");
    IS(&r, "cookie.d", NULL);
    IS(&r, "cookie.e", "a=b");
    IS(&r, "cookie.BETA", NULL);
    IS(&r, "cookie.bet", NULL);
}

TEST(query_parameters) {
    struct request r;
    request_begin(&r, "GET", "a.test", "/?a=1&b=x%20y+z&&c&a=&%61=%41%2&d=%zz%&=v&a%20b=2");
    IS(&r, "query.a", "1");
    NTH_IS(&r, "query.a", 1, "");
    NTH_IS(&r, "query.a", 2, "A%2");
    NTH_IS(&r, "query.a", 3, NULL);
    IS(&r, "query.b", "x y z");
    IS(&r, "query.c", "");
    IS(&r, "query.d", "%zz%");
    IS(&r, "query.a b", "2");
    IS(&r, "query.e", NULL);
    IS(&r, "query.A", NULL);
    CHECK(r.arena.used == r.view.query.n); /* once, however many were decoded */
}

TEST(decoded_values_stay_as_they_are) {
    struct request r;
    struct attr_value a, b, again;
    request_begin(&r, "GET", "a.test", "/?x=%41%42&y=%43+&x=%44");
    CHECK(attr_get(&r.msg, id_of("query.x"), 0, &a) && attr_get(&r.msg, id_of("query.y"), 0, &b));
    CHECK(attr_get(&r.msg, id_of("query.x"), 1, &again));
    CHECK_BYTES(a.s.p, a.s.n, "AB", 2);
    CHECK_BYTES(b.s.p, b.s.n, "C ", 2);
    CHECK_BYTES(again.s.p, again.s.n, "D", 1);
    CHECK(attr_get(&r.msg, id_of("query.x"), 0, &again) && again.s.p == a.s.p);
    request_begin(&r, "GET", "a.test", "/?x=%41");
    r.arena.size = 3; /* no room: it stays encoded */
    IS(&r, "query.x", "%41");
    r.view.arena = NULL;
    IS(&r, "query.x", "%41");
}

TEST(many_values_cost_one_walk) {
    static char target[1 << 18] = "/?";
    for (size_t i = 2; i + 3 < sizeof target; i += 2) memcpy(target + i, "a&", 2);
    struct request r;
    struct attr_value v;
    request_begin(&r, "GET", "a.test", target);
    uint16_t id = id_of("query.a");
    uint32_t n = 0;
    while (attr_get(&r.msg, id, n, &v)) n++; /* 131,071: would take minutes if each began at the start */
    CHECK_EQ(n, (sizeof target - 4) / 2);
}

TEST(grpc) {
    static const struct {
        const char *type, *path, *service, *method;
    } cases[] = {
        {"application/grpc", "/shop.Cart/AddItem", "shop.Cart", "AddItem"},
        {"Application/gRPC+proto", "/Cart/Add", "Cart", "Add"},
        {"application/grpc-web-text", "/a/b", "a", "b"},
        {"application/grpc;x=y", "/a/b/c", "a/b", "c"},
        {"application/grpcx", "/a/b", NULL, NULL},
        {"application/json", "/a/b", NULL, NULL},
        {NULL, "/a/b", NULL, NULL},
        {"application/grpc", "/a/", NULL, NULL},
        {"application/grpc", "//b", NULL, NULL},
        {"application/grpc", "/ab", NULL, NULL},
        {"application/grpc", "*", NULL, NULL},
        {"application/grpc", "", NULL, NULL},
    };
    struct request r;
    for (size_t i = 0; i < countof(cases); i++) {
        request_begin(&r, "POST", "a.test", cases[i].path);
        if (cases[i].type) request_field(&r, "content-type", cases[i].type);
        IS(&r, "grpc.service", cases[i].service);
        IS(&r, "grpc.method", cases[i].method);
    }
}

/* Last: it leaves the process with a full table. */
TEST(members_are_bounded) {
    char name[64];
    uint32_t n = 0;
    for (; n < 100000; n++) {
        snprintf(name, sizeof name, "http.header.h%u", n);
        if (id_of(name) == ATTR_NONE) break;
    }
    CHECK(n > 16000 && n < 16384);
    CHECK(attr_params_full());
    CHECK(id_of("http.header.h0") != ATTR_NONE && id_of("http.header.x-tenant") != ATTR_NONE);
    CHECK_EQ(id_of("http.header.one-more"), ATTR_NONE);
    char *huge = malloc(70000);
    memset(huge, 'a', 70000);
    memcpy(huge, "http.query.", 11);
    enum attr_type type;
    CHECK_EQ(attr_find(&message_codec, slice_of(huge, 70000), &type), ATTR_NONE);
    free(huge);
}

int main(void) {
    RUN(names);
    RUN(members_of_families_have_one_id);
    RUN(plain_ones);
    RUN(common_ones);
    RUN(headers);
    RUN(cookies);
    RUN(query_parameters);
    RUN(decoded_values_stay_as_they_are);
    RUN(many_values_cost_one_walk);
    RUN(grpc);
    RUN(members_are_bounded);
    return 0;
}
