/* The trie behind the route index: finds every key and prefix, reads no byte beyond the key. */
#include "check.h"
#include "route/keytrie.h"
#include "route_model.h"

static void check_trie(struct dice *d, uint32_t n) {
    struct arena arena = {0};
    struct posting *all = calloc(n, sizeof *all), *sorted = calloc(n, sizeof *all);
    uint8_t room[64];
    for (uint32_t i = 0; i < n; i++) {
        struct slice key = random_text(d, room, false);
        CHECK(arena_copy(&arena, key, &all[i].key));
        all[i].prefix = key.n && roll(d, 2);
        all[i].value = i;
    }
    memcpy(sorted, all, n * sizeof *all);
    struct keytrie t;
    CHECK(keytrie_build(&t, sorted, n, &arena));
    for (int i = 0; i < 200; i++) {
        struct slice key = roll(d, 4) ? random_text(d, room, false) : all[roll(d, n)].key;
        key.p = guarded(key.p, key.n); /* the key ends where its memory ends */
        struct key_hit hit = keytrie_find(&t, key);
        uint32_t found = 0, expected = 0;
        for (uint32_t k = 0; hit.exact && k < hit.exact->count; k++) {
            const struct posting *p = &all[keytrie_values(&t, hit.exact)[k]];
            CHECK(!p->prefix && slice_eq(p->key, key));
            found++;
        }
        for (struct key_leaf *leaf = hit.longest; leaf; leaf = keytrie_up(&t, leaf))
            for (uint32_t k = 0; k < leaf->count; k++) {
                const struct posting *p = &all[keytrie_values(&t, leaf)[k]];
                CHECK(p->prefix && p->key.n <= key.n && !memcmp(p->key.p, key.p, p->key.n));
                CHECK(k == 0 || keytrie_values(&t, leaf)[k] > keytrie_values(&t, leaf)[k - 1]);
                found++;
            }
        for (uint32_t k = 0; k < n; k++)
            expected += all[k].prefix ? all[k].key.n <= key.n && !memcmp(all[k].key.p, key.p, all[k].key.n)
                                      : slice_eq(all[k].key, key);
        CHECK(found == expected);
    }
    free(all), free(sorted);
    arena_free(&arena);
}

TEST(trie_finds_all_keys_and_no_others) {
    struct dice d = {.rng = 3};
    for (uint32_t i = 0; i < 300; i++) check_trie(&d, 1 + roll(&d, i % 10 ? 12 : 400));
}

int main(void) {
    RUN(trie_finds_all_keys_and_no_others);
    return 0;
}
