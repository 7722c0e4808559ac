/* Ring and maglev: consistency, evenness, what becomes of a missing owner's keys. Counts have bounds far outside
 * chance: the draws are seeded, so a test that passes passes always. */
#include "balance_model.h"

static const enum lb_policy hashed[] = {LB_RING_HASH, LB_MAGLEV};
enum { KEYS = 60000 };
static char owners[2][KEYS][32]; /* names, so that it does not matter where in the plan an endpoint stands */

/* Who owns the keys with the n endpoints that `order` picks of ten, `weights` by endpoint. */
static void own(enum lb_policy policy, const uint32_t *order, uint32_t n, const uint32_t *weights, char (*to)[32]) {
    struct lb_endpoint some[10];
    char name[10][32] = {{0}};
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name[i], sizeof name[i], "cache-%u:6379", order[i]);
        some[i] = (struct lb_endpoint){
            .name = slice_of(name[i], strlen(name[i])), .weight = weights ? weights[order[i]] : 1, .usable = true};
    }
    struct balancer *lb = lb_new(&(struct lb_options){.policy = policy}, some, n, rand());
    for (uint32_t k = 0; k < KEYS; k++) {
        char key[24];
        uint64_t hash = hash_bytes(key, (size_t)snprintf(key, sizeof key, "user:%u", k));
        memcpy(to[k], name[lb_pick(lb, hash, -1)], 32);
    }
    lb_free(lb);
}

static const uint32_t ten[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, nine[] = {0, 1, 2, 3, 5, 6, 7, 8, 9},
                      mixed[] = {7, 2, 9, 0, 4, 1, 8, 3, 6, 5};

TEST(placement_does_not_depend_on_the_order_in_the_plan_nor_on_the_seed) {
    for (size_t p = 0; p < countof(hashed); p++) {
        own(hashed[p], ten, 10, NULL, owners[0]);
        own(hashed[p], mixed, 10, NULL, owners[1]);
        CHECK(memcmp(owners[0], owners[1], sizeof owners[0]) == 0);
    }
}

/* Keys that moved although both their old and their new owner were there before and after. */
static void count_moves(uint32_t *moved, uint32_t *between, const char *gone) {
    *moved = *between = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        if (strcmp(owners[0][k], owners[1][k]) == 0) continue;
        ++*moved;
        *between += strcmp(owners[0][k], gone) != 0;
    }
}

TEST(removing_one_of_ten_moves_a_tenth_of_the_keys) {
    for (size_t p = 0; p < countof(hashed); p++) {
        uint32_t moved, between;
        own(hashed[p], ten, 10, NULL, owners[0]);
        own(hashed[p], nine, 9, NULL, owners[1]);
        count_moves(&moved, &between, "cache-4:6379");
        if (hashed[p] == LB_RING_HASH) {
            CHECK_EQ(between, 0); /* the ring moves what it must, no key more */
            CHECK_NEAR(moved, KEYS / 10.0, 15);
        } else {
            CHECK(between < KEYS / 20); /* maglev trades some of that for evenness */
            CHECK(moved > KEYS / 10 - KEYS / 50 && moved < KEYS / 10 + KEYS / 20);
        }
    }
}

TEST(small_rings_are_as_consistent) {
    for (uint32_t n = 3; n < 10; n++) {
        uint32_t moved, between;
        char gone[32];
        own(LB_RING_HASH, ten, n, NULL, owners[0]);
        own(LB_RING_HASH, ten, n - 1, NULL, owners[1]);
        snprintf(gone, sizeof gone, "cache-%u:6379", n - 1);
        count_moves(&moved, &between, gone);
        CHECK_EQ(between, 0);
        CHECK_NEAR(moved, (double)KEYS / n, 20);
    }
}

TEST(a_weight_that_grows_only_draws_keys_to_itself) {
    static const uint32_t before[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, after[] = {1, 1, 1, 2, 1, 1, 1, 1, 1, 1};
    uint32_t drawn = 0;
    own(LB_RING_HASH, ten, 10, before, owners[0]);
    own(LB_RING_HASH, ten, 10, after, owners[1]);
    for (uint32_t k = 0; k < KEYS; k++) {
        if (strcmp(owners[0][k], owners[1][k]) == 0) continue;
        CHECK_STR(owners[1][k], "cache-3:6379");
        drawn++;
    }
    CHECK_NEAR(drawn, KEYS * (2 / 11.0 - 0.1), 25);
}

TEST(maglev_spreads_within_two_percent_and_the_ring_within_fifteen) {
    for (uint32_t n = 2; n <= 20; n += 9) {
        struct balancer *lb = make_weighted(LB_MAGLEV, n, NULL);
        take(lb, 2000000, -1);
        for (uint32_t i = 0; i < n; i++) CHECK_NEAR(counts[i], 2000000.0 / n, 2);
        lb_free(lb);
        lb = make_weighted(LB_RING_HASH, n, NULL);
        take(lb, 500000, -1);
        for (uint32_t i = 0; i < n; i++) CHECK_NEAR(counts[i], 500000.0 / n, 15);
        lb_free(lb);
    }
}

TEST(keys_of_a_missing_owner_move_on_or_fail) {
    for (size_t p = 0; p < countof(hashed); p++)
        for (int rehash = 0; rehash < 2; rehash++) {
            static int owner[2000];
            for (int i = 0; i < 10; i++) endpoints[i].weight = 1;
            struct balancer *lb = make(&(struct lb_options){.policy = hashed[p], .rehash = rehash}, 10, 0);
            for (uint32_t k = 0; k < countof(owner); k++) {
                owner[k] = lb_pick(lb, hash_mix(k), -1);
                int other = lb_pick(lb, hash_mix(k), owner[k]); /* a retry */
                CHECK(rehash ? other >= 0 && other != owner[k] : other == owner[k]);
            }
            endpoints[6].usable = false;
            memset(counts, 0, sizeof counts);
            for (uint32_t k = 0; k < countof(owner); k++) {
                int now = lb_pick(lb, hash_mix(k), -1);
                if (owner[k] != 6) CHECK_EQ(now, owner[k]);
                else if (rehash) CHECK(now >= 0 && now != 6), counts[now]++;
                else CHECK_EQ(now, -1);
            }
            int heirs = 0;
            for (int i = 0; i < 10; i++) heirs += counts[i] > 0;
            CHECK(!rehash || heirs == 9); /* no single neighbour takes all */
            lb_free(lb);
        }
}

TEST(plain_numbers_are_hashes_as_good) {
    for (size_t p = 0; p < countof(hashed); p++) {
        struct balancer *lb = make_weighted(hashed[p], 8, NULL);
        memset(counts, 0, sizeof counts);
        for (uint32_t id = 0; id < 80000; id++) counts[lb_pick(lb, id, -1)]++;
        for (int i = 0; i < 8; i++) CHECK_NEAR(counts[i], 10000, 15);
        lb_free(lb);
    }
}

TEST(endpoints_of_one_name_share) {
    for (size_t p = 0; p < countof(hashed); p++) {
        for (int i = 0; i < 3; i++)
            endpoints[i] = (struct lb_endpoint){.name = SLICE("twin:1"), .weight = 1, .usable = true};
        struct balancer *lb = lb_new(&(struct lb_options){.policy = hashed[p]}, endpoints, 3, 0);
        take(lb, 30000, -1);
        for (int i = 0; i < 3; i++) CHECK_NEAR(counts[i], 10000, 15);
        lb_free(lb);
    }
}

TEST(table_sizes_are_kept_within_reason) {
    static const uint32_t sizes[] = {1, 2, 3, 7, 100, 5000, 65537, 300000};
    for (size_t p = 0; p < countof(hashed); p++)
        for (size_t s = 0; s < countof(sizes); s++) {
            for (int i = 0; i < 7; i++) endpoints[i].weight = (uint32_t)i * 3 + 1;
            struct balancer *lb =
                make(&(struct lb_options){.policy = hashed[p], .table_size = sizes[s], .rehash = true}, 7, 0);
            take(lb, 5000, -1);
            take(lb, 500, 3);
            CHECK_EQ(counts[3], 0);
            lb_free(lb);
        }
}

int main(void) {
    RUN(placement_does_not_depend_on_the_order_in_the_plan_nor_on_the_seed);
    RUN(removing_one_of_ten_moves_a_tenth_of_the_keys);
    RUN(small_rings_are_as_consistent);
    RUN(a_weight_that_grows_only_draws_keys_to_itself);
    RUN(maglev_spreads_within_two_percent_and_the_ring_within_fifteen);
    RUN(keys_of_a_missing_owner_move_on_or_fail);
    RUN(plain_numbers_are_hashes_as_good);
    RUN(endpoints_of_one_name_share);
    RUN(table_sizes_are_kept_within_reason);
    return 0;
}
