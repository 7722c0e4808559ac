/* What a lookup costs, in nanoseconds, by kind and number of routes. Not run by the tests:
 *   cc -O3 -Icsrc -o /tmp/bench_route csrc/tests/bench_route.c csrc/route/[a-z]*.c csrc/core/{mpack,base}.c -lpcre2-8
 * Keys are 8,192 different strings in random order, so the table and not the branch predictor is measured. */
#include "route/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct message {
    struct slice key, command;
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

static uint8_t doc[16 << 20], *end;

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

int main(void) {
    run("catch-all only", "eq", 0, tenant, false);
    static const uint32_t sizes[] = {1, 3, 10, 100, 1000, 10000, 100000};
    for (size_t i = 0; i < countof(sizes); i++) run("prefix tenant<n>:", "prefix", sizes[i], tenant, false);
    for (size_t i = 2; i < countof(sizes); i++) run("exact tenant<n>:", "eq", sizes[i], tenant, false);
    for (size_t i = 2; i < countof(sizes); i++) run("prefix of many lengths", "prefix", sizes[i], varied, false);
    for (size_t i = 2; i < countof(sizes); i++) run("exact of many lengths", "eq", sizes[i], varied, false);
    for (size_t i = 2; i < countof(sizes); i++) run("command and prefix tenant<n>:", "prefix", sizes[i], tenant, true);
    return 0;
}
