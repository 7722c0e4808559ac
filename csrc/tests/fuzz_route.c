/* libFuzzer target. Either any bytes are a plan, which must be refused with a sentence or matched without fault; or they
 * choose a random well-formed table and messages, on which the compiled table must agree with trying every route.
 * `make fuzz FUZZ=route` runs it. */
#include "route_model.h"

static struct upstream *ups[] = {(struct upstream *)"a", (struct upstream *)"b"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void match_messages(const struct route_table *t, struct mpack root, struct dice *d, bool compare) {
    static struct random_message r;
    for (int i = 0; i < 6; i++) {
        random_message(&r, d);
        const struct route *route = route_find(t, &r.m);
        if (route) route_upstream(route, &r.m);
        if (compare && (route ? (int)route->index : -1) != model_find(root, &r.m)) abort();
    }
}

static void fuzz_plan(const uint8_t *data, size_t size) {
    size_t plan = size / 4 * 3;
    struct mpack root;
    char err[200] = {0};
    if (mpack_open(slice_of(data, plan), &root) != 0) return;
    struct route_table *t = route_table_new(root, NULL, ups, countof(ups), err, sizeof err);
    if (!t != !!err[0]) abort(); /* a table or a sentence */
    if (!t) return;
    struct dice d = {.p = data + plan, .end = data + size};
    match_messages(t, root, &d, false);
    route_table_free(t);
}

static void fuzz_table(const uint8_t *data, size_t size) {
    struct dice d = {.p = data, .end = data + size};
    struct pack doc = {0};
    struct mpack root;
    char err[200];
    random_table(&doc, &d, roll(&d, 40));
    if (mpack_open(slice_of(doc.p, doc.n), &root) != 0) abort();
    struct route_table *t = route_table_new(root, NULL, ups, countof(ups), err, sizeof err);
    if (!t) abort();
    match_messages(t, root, &d, true);
    route_table_free(t);
    pack_free(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    (data[0] & 1 ? fuzz_table : fuzz_plan)(data + 1, size - 1);
    return 0;
}
