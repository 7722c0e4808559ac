/* Routing tables of virtual hosts: many routes under one host, hosts by the thousand, endings, indexes below indexes.
 * In the model `key` is the host, `user` the path, `keys` a repeated header. */
#include "check.h"
#include "route_model.h"

#include <malloc.h>

static struct upstream *const ups[] = {(struct upstream *)"a", (struct upstream *)"b"};
static char err[256];

static struct route_table *open_table(const struct pack *doc, struct mpack *root) {
    CHECK(mpack_open(slice_of(doc->p, doc->n), root) == 0);
    struct route_table *t = route_table_new(*root, NULL, (struct upstream **)ups, countof(ups), err, sizeof err);
    if (t) return t;
    fprintf(stderr, "refused: %s\n", err);
    exit(1);
}

static int find(const struct route_table *t, const struct message *m) {
    const struct route *r = route_find(t, m);
    return r ? (int)r->index : -1;
}

static void set(struct message *m, int attribute, const char *s) {
    m->has[attribute] = true;
    m->text[attribute] = slice_of(s, strlen(s));
}

static void begin_table(struct pack *doc, uint32_t routes) {
    pack_map(doc, 1);
    pack_text(doc, "routes");
    pack_array(doc, routes);
}

/* A route whose predicate has `parts` parts, which the caller writes behind it. */
static void begin_route(struct pack *doc, uint32_t parts) {
    pack_map(doc, 3);
    pack_text(doc, "name"), pack_text(doc, "r");
    pack_text(doc, "to"), pack_int(doc, 0);
    pack_text(doc, "when");
    pack_array(doc, parts + 1);
    pack_text(doc, "and");
}

static void part(struct pack *doc, const char *op, const char *attribute, const char *value) {
    pack_array(doc, 3);
    pack_text(doc, op), pack_text(doc, attribute), pack_text(doc, value);
}

/* --- against the model --- */

static const char *const hosts[] = {"a.test",        "b.test", "c.a.test", "d.c.a.test",
                                    "other.example", "a.tes",  "",         "xa.test"};
static const char *const paths[] = {"/",      "/a",         "/a/",      "/a/b",   "/a/b/c", "/users/7",
                                    "/users", "/users/7/x", "/files/q", "/x/y/z", "//",     "/a/b/c/d/e/f/g/h/i/j/k"};

static void random_host(struct pack *doc, struct dice *d) {
    static const char *const wild[] = {"*.test",    "*.a.test", "*a.test",    "?.test",
                                       "[ab].test", "a.*",      "*.c.a.test", "*"};
    switch (roll(d, 8)) {
    case 0:
        pack_array(doc, 4);
        pack_text(doc, "or");
        part(doc, "eq", "key", hosts[roll(d, countof(hosts))]);
        part(doc, "glob", "key", wild[roll(d, countof(wild))]);
        part(doc, "suffix", "key", &wild[roll(d, 3)][1]);
        return;
    case 1:
        pack_array(doc, 3);
        pack_text(doc, "in"), pack_text(doc, "key"), pack_array(doc, 3);
        for (int i = 0; i < 3; i++) pack_text(doc, hosts[roll(d, countof(hosts))]);
        return;
    case 2:
    case 3: part(doc, "glob", "key", wild[roll(d, countof(wild))]); return;
    default: part(doc, "eq", "key", hosts[roll(d, 4)]);
    }
}

static void random_path(struct pack *doc, struct dice *d) {
    static const char *const patterns[] = {"/users/{id}", "/users/{id}/x", "/files/{p=**}", "/{a}/{b}/{c}", "/a/{x}/c"};
    static const char *const globs[] = {"/a/*", "*/x", "/a*c", "/users/*/x"};
    switch (roll(d, 6)) {
    case 0: part(doc, "segments", "user", patterns[roll(d, countof(patterns))]); return;
    case 1: part(doc, "glob", "user", globs[roll(d, countof(globs))]); return;
    case 2: part(doc, "suffix", "user", roll(d, 2) ? "/x" : "c/d/e/f/g/h/i/j/k"); return;
    case 3: part(doc, "eq", "user", paths[roll(d, countof(paths))]); return;
    default: part(doc, "prefix", "user", paths[roll(d, countof(paths))]);
    }
}

static void random_more(struct pack *doc, struct dice *d) {
    char header[8];
    snprintf(header, sizeof header, "h%u", roll(d, 6));
    switch (roll(d, 3)) {
    case 0: part(doc, "eq", "operation", roll(d, 2) ? "GET" : "PUT"); return;
    case 1:
        pack_array(doc, 2);
        pack_text(doc, "not");
        part(doc, "eq", "keys", header);
        return;
    default: part(doc, roll(d, 2) ? "eq" : "suffix", "keys", header + roll(d, 2));
    }
}

static void random_hosts(struct pack *doc, struct dice *d, uint32_t routes) {
    begin_table(doc, routes);
    for (uint32_t i = 0; i < routes; i++) {
        bool host = roll(d, 12) != 0, path = roll(d, 12) != 0;
        uint32_t more = roll(d, 3);
        begin_route(doc, host + path + more);
        if (host) random_host(doc, d);
        if (path) random_path(doc, d);
        while (more--) random_more(doc, d);
    }
}

static void random_request(struct message *m, struct dice *d) {
    static const char *const headers[] = {"h0", "h1", "h2", "h3", "h4", "h5", "1", "xh3"};
    *m = (struct message){0};
    if (roll(d, 10)) set(m, MODEL_KEY, hosts[roll(d, countof(hosts))]);
    if (roll(d, 10)) set(m, MODEL_USER, paths[roll(d, countof(paths))]);
    set(m, MODEL_OPERATION, roll(d, 2) ? "GET" : "PUT");
    m->key_count = roll(d, roll(d, 8) ? 4 : MODEL_STRINGS);
    for (uint32_t i = 0; i < m->key_count; i++) {
        const char *header = headers[roll(d, countof(headers))];
        m->keys[i] = slice_of(header, strlen(header));
    }
}

TEST(random_hosts_agree_with_trying_every_route) {
    struct dice d = {.rng = 20261123};
    static const uint32_t sizes[] = {7, 20, 60, 200, 500};
    uint32_t hits = 0, lookups = 0;
    for (int round = 0; round < 250; round++) {
        struct pack doc = {0};
        struct mpack root;
        random_hosts(&doc, &d, sizes[(size_t)round % countof(sizes)]);
        struct route_table *t = open_table(&doc, &root);
        for (int i = 0; i < 40; i++) {
            struct message m;
            random_request(&m, &d);
            int found = find(t, &m);
            CHECK_EQ(found, model_find(root, &m));
            hits += found > 0, lookups++;
        }
        route_table_free(t);
        pack_free(&doc);
    }
    CHECK(hits > lookups / 2);
}

/* --- at scale --- */

/* hosts x paths, the hosts in turn exact and by a wildcard, the paths in turn exact, prefixes and patterns. */
static struct route_table *virtual_hosts(uint32_t count, uint32_t routes, struct pack *doc) {
    struct mpack root;
    begin_table(doc, count * routes);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < routes; k++) {
            char host[64], path[64];
            snprintf(host, sizeof host, i % 2 ? ".h%u.example.com" : "h%u.example.com", i);
            snprintf(path, sizeof path, k % 3 == 2 ? "/p%u/{id}/x" : "/p%u/", k);
            begin_route(doc, 2);
            part(doc, i % 2 ? "suffix" : "eq", "key", host);
            part(doc, k % 3 == 0 ? "prefix" : k % 3 == 1 ? "eq" : "segments", "user", path);
        }
    return open_table(doc, &root);
}

static void check_virtual_hosts(uint32_t count, uint32_t routes) {
    struct pack doc = {0};
    struct route_table *t = virtual_hosts(count, routes, &doc);
    CHECK_EQ(route_count(t), count * routes);
    for (uint32_t i = 0; i < count + 2; i += 1 + count / 100)
        for (uint32_t k = 0; k < routes + 2; k++) {
            char host[64], path[64];
            struct message m = {0};
            snprintf(host, sizeof host, i % 2 ? "www.h%u.example.com" : "h%u.example.com", i);
            snprintf(path, sizeof path, k % 3 == 0 ? "/p%u/more" : k % 3 == 1 ? "/p%u/" : "/p%u/7/x", k);
            set(&m, MODEL_KEY, host);
            set(&m, MODEL_USER, path);
            CHECK_EQ(find(t, &m), i < count && k < routes ? (int)(i * routes + k) : -1);
            set(&m, MODEL_USER, "/elsewhere");
            CHECK_EQ(find(t, &m), -1);
            set(&m, MODEL_KEY, i % 2 ? host + 4 : "www.example.com"); /* the wildcard wants a label before it */
            CHECK_EQ(find(t, &m), -1);
        }
    route_table_free(t);
    pack_free(&doc);
}

TEST(each_host_has_its_routes) {
    check_virtual_hosts(1, 1000);
    check_virtual_hosts(3, 300);
    check_virtual_hosts(50, 50);
    check_virtual_hosts(10000, 10);
}

/* The host alone is shared by 40 routes, host and path by 40, and only the third attribute tells them apart. */
TEST(three_indexes_deep) {
    struct pack doc = {0};
    struct mpack root;
    begin_table(&doc, 30 * 30 * 20);
    for (uint32_t i = 0; i < 30 * 30 * 20; i++) {
        char host[32], path[32], header[32];
        snprintf(host, sizeof host, "h%u", i / 600);
        snprintf(path, sizeof path, "/p%u/", i / 20 % 30);
        snprintf(header, sizeof header, "t%u", i % 20);
        begin_route(&doc, 3);
        part(&doc, "eq", "key", host), part(&doc, "prefix", "user", path), part(&doc, "eq", "keys", header);
    }
    struct route_table *t = open_table(&doc, &root);
    for (uint32_t i = 0; i < 30 * 30 * 20; i += 7) {
        char host[32], path[32], header[32];
        struct message m = {0};
        snprintf(host, sizeof host, "h%u", i / 600);
        snprintf(path, sizeof path, "/p%u/x", i / 20 % 30);
        snprintf(header, sizeof header, "t%u", i % 20);
        set(&m, MODEL_KEY, host), set(&m, MODEL_USER, path);
        m.keys[0] = slice_of("none", 4);
        m.keys[1] = slice_of(header, strlen(header));
        m.key_count = 2;
        memset(model_fetches, 0, sizeof model_fetches);
        CHECK_EQ(find(t, &m), (int)i);
        CHECK(model_fetches[MODEL_KEY] <= 1 && model_fetches[MODEL_USER] <= 1);
    }
    route_table_free(t);
    pack_free(&doc);
}

/* Routes that each name a thousand hosts and a thousand paths: all pairs would be a million, times 30. */
TEST(indexes_below_stay_in_proportion) {
    struct pack doc = {0};
    struct mpack root;
    begin_table(&doc, 30);
    for (uint32_t i = 0; i < 30; i++) {
        begin_route(&doc, 3);
        for (int list = 0; list < 2; list++) {
            pack_array(&doc, 3);
            pack_text(&doc, "in"), pack_text(&doc, list ? "user" : "key"), pack_array(&doc, 1000);
            for (uint32_t k = 0; k < 1000; k++) {
                char text[32];
                snprintf(text, sizeof text, list ? "/p%u" : "h%u", k);
                pack_text(&doc, text);
            }
        }
        char header[32];
        snprintf(header, sizeof header, "t%u", i);
        part(&doc, "suffix", "keys", header);
    }
    size_t before = mallinfo2().uordblks;
    struct route_table *t = open_table(&doc, &root);
    if (before) CHECK(mallinfo2().uordblks - before < 64u << 20); /* 0: this allocator does not tell */
    for (uint32_t i = 0; i < 30; i++) {
        struct message m = {.key_count = 1};
        char header[32];
        snprintf(header, sizeof header, "_t%u", i);
        m.keys[0] = slice_of(header, strlen(header));
        set(&m, MODEL_KEY, "h999"), set(&m, MODEL_USER, "/p0");
        CHECK_EQ(find(t, &m), (int)i);
    }
    route_table_free(t);
    pack_free(&doc);
}

int main(void) {
    RUN(random_hosts_agree_with_trying_every_route);
    RUN(each_host_has_its_routes);
    RUN(three_indexes_deep);
    RUN(indexes_below_stay_in_proportion);
    return 0;
}
