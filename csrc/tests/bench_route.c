/* What a lookup costs, in nanoseconds, by kind and number of routes, and for virtual hosts what building costs. Not run
 * by the tests; instructions instead of time: valgrind --tool=callgrind --toggle-collect=route_find /tmp/bench_route
 * <hosts>
 *   cc -O3 -Icsrc -o /tmp/bench_route csrc/tests/bench_route.c csrc/route/[a-z]*.c csrc/core/{mpack,base}.c -lpcre2-8
 * Keys are 8,192 different strings in random order, so the table and not the branch predictor is measured. */
#include "route/route.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct message {
    struct slice key, command; /* or host and path */
};

__attribute__((noinline)) bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v) {
    v->type = ATTR_STR;
    v->s = id == ATTR_CODEC ? msg->key : msg->command;
    return i == 0;
}

bool attr_params_full(void) { return false; }

uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type) {
    (void)codec;
    *type = ATTR_STR;
    return name.p[0] == 'k' ? ATTR_CODEC : ATTR_operation;
}

static uint8_t doc[64 << 20], *end;

static void put(uint8_t head, uint32_t n) {
    *end++ = head;
    for (int i = 24; i >= 0; i -= 8) *end++ = (uint8_t)(n >> i);
}
static void put_text(const char *s) {
    put(0xdb, (uint32_t)strlen(s));
    end = (uint8_t *)memcpy(end, s, strlen(s)) + strlen(s);
}

enum { KEYS = 8192, LOOKUPS = 1 << 18 };
static char keys[KEYS][48];
static struct message messages[KEYS];

/* Names as people give them: of many lengths, sharing beginnings. */
static void varied(char *s, uint32_t i) {
    static const char *const teams[] = {"checkout", "search", "ads", "identity-service", "mail"}, *const things[] = {
                                                                                                      "session",
                                                                                                      "cart:v2", "idx",
                                                                                                      "recommendation",
                                                                                                      "q"};
    sprintf(s, "prod:%s:%s:%x:", teams[i % 5], things[i / 5 % 5], i * 2654435761u >> (i % 4 * 7));
}
static void tenant(char *s, uint32_t i) { sprintf(s, "tenant%u:", i); }

static struct route_table *table(const char *op, uint32_t n, void (*name)(char *, uint32_t), bool with_command) {
    struct upstream *up = (struct upstream *)"u";
    end = doc;
    put(0xdf, 1), put_text("routes"), put(0xdd, n + 1);
    for (uint32_t i = 0; i <= n; i++) {
        char text[64];
        put(0xdf, i < n ? 3 : 2), put_text("name"), put_text("r"), put_text("to"), *end++ = 0;
        if (i == n) break;
        put_text("when");
        if (with_command)
            put(0xdd, 3), put_text("and"), put(0xdd, 3), put_text("eq"), put_text("operation"), put_text("GET");
        name(text, i);
        put(0xdd, 3), put_text(op), put_text("key"), put_text(text);
    }
    char err[200];
    struct mpack root;
    if (mpack_open(slice_of(doc, (size_t)(end - doc)), &root)) exit(1);
    struct route_table *t = route_table_new(root, NULL, &up, 1, err, sizeof err);
    if (!t) fprintf(stderr, "%s\n", err), exit(1);
    return t;
}

static double lookup_ns(const struct route_table *t) {
    struct timespec a, b;
    double best = 1e9;
    for (int round = 0; round < 40; round++) {
        size_t sum = 0;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (uint32_t i = 0; i < LOOKUPS; i++) sum += (size_t)route_find(t, &messages[i % KEYS]);
        clock_gettime(CLOCK_MONOTONIC, &b);
        __asm__ volatile("" ::"r"(sum));
        double ns = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / LOOKUPS;
        if (ns < best) best = ns;
    }
    return best;
}

static void run(const char *what, const char *op, uint32_t n, void (*name)(char *, uint32_t), bool with_command) {
    uint64_t rng = 42;
    for (uint32_t i = 0; i < KEYS; i++) {
        name(keys[i], n ? (uint32_t)(rng_next(&rng) >> 33) % n : 0);
        if (op[0] == 'p') strcat(keys[i], "0123456789");
        messages[i] = (struct message){slice_of(keys[i], strlen(keys[i])), SLICE("GET")};
    }
    struct route_table *t = table(op, n, name, with_command);
    printf("%-44s %6u routes %7.1f ns\n", what, n + 1, lookup_ns(t));
    route_table_free(t);
}

/* --- virtual hosts: `key` is the host, `operation` the path --- */

enum { PATHS = 10 };
static char host_paths[KEYS][32];

/* Every third host is a wildcard; of the paths of a host one is exact, one a pattern, the rest prefixes, the last of
 * all. */
static struct route_table *host_table(uint32_t hosts) {
    struct upstream *up = (struct upstream *)"u";
    end = doc;
    put(0xdf, 1), put_text("routes"), put(0xdd, hosts * PATHS);
    for (uint32_t i = 0; i < hosts * PATHS; i++) {
        char host[48], path[32];
        uint32_t k = i % PATHS;
        sprintf(host, i / PATHS % 3 ? "shop%u.example.com" : "*.shop%u.example.com", i / PATHS);
        sprintf(path, k == 9 ? "/" : k == 4 ? "/items/{id}/%u" : "/api/v%u/", k);
        put(0xdf, 3), put_text("name"), put_text("r"), put_text("to"), *end++ = 0, put_text("when");
        put(0xdd, 3), put_text("and");
        put(0xdd, 3), put_text("glob"), put_text("key"), put_text(host);
        put(0xdd, 3), put_text(k == 0 ? "eq" : k == 4 ? "segments" : "prefix"), put_text("operation"), put_text(path);
    }
    char err[200];
    struct mpack root;
    if (mpack_open(slice_of(doc, (size_t)(end - doc)), &root)) exit(1);
    struct route_table *t = route_table_new(root, NULL, &up, 1, err, sizeof err);
    if (!t) fprintf(stderr, "%s\n", err), exit(1);
    return t;
}

static void host_messages(uint32_t hosts) {
    uint64_t rng = 42;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t host = (uint32_t)(rng_next(&rng) >> 33) % hosts, k = (uint32_t)(rng_next(&rng) >> 33) % PATHS;
        sprintf(keys[i], host % 3 ? "shop%u.example.com" : "www.shop%u.example.com", host);
        sprintf(host_paths[i], k == 9 ? "/other" : k == 4 ? "/items/77/%u" : k ? "/api/v%u/x" : "/api/v%u/", k);
        messages[i] =
            (struct message){slice_of(keys[i], strlen(keys[i])), slice_of(host_paths[i], strlen(host_paths[i]))};
    }
}

static void run_hosts(uint32_t hosts) {
    struct timespec a, b;
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    clock_gettime(CLOCK_MONOTONIC, &a);
    struct route_table *t = host_table(hosts);
    clock_gettime(CLOCK_MONOTONIC, &b);
    double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    size_t bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before;
    host_messages(hosts);
    printf("%-44s %6u routes %7.1f ns, built in %.0f ms, %zu bytes a route\n", "host and path", hosts * PATHS,
           lookup_ns(t), ms, bytes / (hosts * PATHS));
    route_table_free(t);
}

/* Once through all messages, to be counted from outside. */
static int count_hosts(uint32_t hosts) {
    struct route_table *t = host_table(hosts);
    host_messages(hosts);
    for (uint32_t i = 0; i < KEYS; i++)
        if (!route_find(t, &messages[i])) return 1;
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) return count_hosts((uint32_t)atoi(argv[1]));
    for (uint32_t hosts = 1; hosts <= 10000; hosts *= 10) run_hosts(hosts);
    run("catch-all only", "eq", 0, tenant, false);
    static const uint32_t sizes[] = {1, 3, 10, 100, 1000, 10000, 100000};
    for (size_t i = 0; i < countof(sizes); i++) run("prefix tenant<n>:", "prefix", sizes[i], tenant, false);
    for (size_t i = 2; i < countof(sizes); i++) run("exact tenant<n>:", "eq", sizes[i], tenant, false);
    for (size_t i = 2; i < countof(sizes); i++) run("prefix of many lengths", "prefix", sizes[i], varied, false);
    for (size_t i = 2; i < countof(sizes); i++) run("exact of many lengths", "eq", sizes[i], varied, false);
    for (size_t i = 2; i < countof(sizes); i++) run("command and prefix tenant<n>:", "prefix", sizes[i], tenant, true);
    return 0;
}
