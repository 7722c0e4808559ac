/* The balancers: shares, order, consistency, who is taken when endpoints are down. Counts have bounds far outside chance:
 * the draws are seeded, so a test that passes passes always. */
#include "check.h"

#include "../core/balance.h"

#define MANY 1200
static struct lb_endpoint endpoints[MANY];
static char names[MANY][32];
static uint32_t counts[MANY];

static struct balancer *make(const struct lb_options *opt, uint32_t n, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "10.0.%u.%u:6379", i / 250, i % 250 + 1);
        endpoints[i].name = slice_of(names[i], strlen(names[i]));
        endpoints[i].inflight = 0, endpoints[i].usable = true;
    }
    struct balancer *lb = lb_new(opt, endpoints, n, seed);
    CHECK(lb != NULL);
    return lb;
}

static struct balancer *make_weighted(enum lb_policy policy, uint32_t n, const uint32_t *weights) {
    for (uint32_t i = 0; i < n; i++) endpoints[i].weight = weights ? weights[i] : 1;
    return make(&(struct lb_options){.policy = policy, .rehash = true}, n, 0);
}

/* Picks with the keys 0, 1, 2 … and counts who was taken. */
static void take(struct balancer *lb, uint32_t picks, int skip) {
    memset(counts, 0, sizeof counts);
    for (uint32_t k = 0; k < picks; k++) {
        int i = lb_pick(lb, hash_mix(k), skip);
        CHECK(i >= 0);
        if (i >= 0) counts[i]++;
    }
}

#define CHECK_NEAR(got, want, percent) check_near(__LINE__, #got, got, want, percent)
static void check_near(int line, const char *what, double got, double want, double percent) {
    char text[200];
    if (got >= want * (1 - percent / 100) && got <= want * (1 + percent / 100)) return;
    snprintf(text, sizeof text, "%s is %g, not within %g %% of %g", what, got, percent, want);
    check_failed(__FILE__, line, text);
}

static const enum lb_policy policies[] = {LB_ROUND_ROBIN, LB_RANDOM, LB_LEAST_REQUEST, LB_RING_HASH, LB_MAGLEV};

/* ---- for every policy ---- */

TEST(no_endpoint_no_choice_and_one_is_always_it) {
    for (size_t p = 0; p < countof(policies); p++) {
        struct balancer *lb = make_weighted(policies[p], 0, NULL);
        CHECK_EQ(lb_pick(lb, 1, -1), -1);
        CHECK_EQ(lb_pick(lb, 1, 3), -1);
        lb_free(lb);
        lb = make_weighted(policies[p], 1, NULL);
        CHECK_EQ(lb_pick(lb, 1, -1), 0);
        CHECK_EQ(lb_pick(lb, 1, 0), 0); /* better the same again than none */
        CHECK_EQ(lb_pick(lb, 1, 7), 0); /* an endpoint that is not there */
        endpoints[0].usable = false;
        CHECK_EQ(lb_pick(lb, 1, -1), -1);
        CHECK_EQ(lb_pick(lb, 1, 0), -1);
        lb_free(lb);
    }
    lb_free(NULL);
}

TEST(shares_follow_the_weights_in_every_policy) {
    static const uint32_t equal[] = {3, 3, 3, 3, 3}, unequal[] = {1, 2, 4, 8, 5}, *weights[] = {equal, unequal};
    for (size_t p = 0; p < countof(policies); p++)
        for (size_t w = 0; w < 2; w++) {
            struct balancer *lb = make_weighted(policies[p], 5, weights[w]);
            take(lb, 150000, -1);
            double total = w ? 20 : 15, slack = policies[p] == LB_RING_HASH     ? 12
                                                : policies[p] == LB_ROUND_ROBIN ? 0.01
                                                                                : 4;
            for (int i = 0; i < 5; i++) CHECK_NEAR(counts[i], 150000 * weights[w][i] / total, slack);
            lb_free(lb);
        }
}

TEST(an_unusable_endpoint_is_never_taken_and_the_rest_share_by_weight) {
    static const uint32_t weights[] = {1, 2, 4, 8, 5};
    for (size_t p = 0; p < countof(policies); p++) {
        struct balancer *lb = make_weighted(policies[p], 5, weights);
        endpoints[3].usable = false;
        take(lb, 120000, -1);
        CHECK_EQ(counts[3], 0);
        double slack = policies[p] == LB_RING_HASH ? 20 : policies[p] == LB_ROUND_ROBIN ? 0.1 : 5;
        for (int i = 0; i < 5; i++)
            if (i != 3) CHECK_NEAR(counts[i], 10000.0 * weights[i], slack);
        endpoints[3].usable = true;
        take(lb, 120000, -1);
        CHECK(counts[3] > 40000);
        lb_free(lb);
    }
}

TEST(one_usable_of_many_is_found) {
    for (size_t p = 0; p < countof(policies); p++) {
        struct balancer *lb = make_weighted(policies[p], 300, NULL);
        for (int i = 0; i < 300; i++) endpoints[i].usable = i == 217;
        take(lb, 200, -1);
        CHECK_EQ(counts[217], 200);
        take(lb, 200, 217);
        CHECK_EQ(counts[217], 200);
        take(lb, 200, 5);
        CHECK_EQ(counts[217], 200);
        endpoints[217].usable = false;
        CHECK_EQ(lb_pick(lb, 9, -1), -1);
        lb_free(lb);
    }
}

TEST(the_one_to_skip_is_taken_only_when_it_is_the_last) {
    for (size_t p = 0; p < countof(policies); p++) {
        struct balancer *lb = make_weighted(policies[p], 4, NULL);
        take(lb, 40000, 2);
        CHECK_EQ(counts[2], 0);
        for (int i = 0; i < 4; i++)
            if (i != 2) CHECK_NEAR(counts[i], 40000 / 3.0, 20);
        endpoints[0].usable = endpoints[1].usable = false;
        take(lb, 100, 2);
        CHECK_EQ(counts[3], 100);
        endpoints[3].usable = false;
        take(lb, 100, 2);
        CHECK_EQ(counts[2], 100);
        lb_free(lb);
    }
}

TEST(below_the_panic_threshold_all_are_taken) {
    for (size_t p = 0; p < countof(policies); p++)
        for (int rehash = 0; rehash < 2; rehash++) {
            for (int i = 0; i < 10; i++) endpoints[i].weight = 1;
            struct balancer *lb =
                make(&(struct lb_options){.policy = policies[p], .panic_percent = 50, .rehash = rehash}, 10, 0);
            for (int i = 0; i < 5; i++) endpoints[i].usable = false; /* 50 %: not below */
            for (uint32_t k = 0; k < 1000; k++)
                CHECK(lb_pick(lb, hash_mix(k), -1) < 0 || lb_pick(lb, hash_mix(k), -1) >= 5);
            endpoints[5].usable = false; /* 40 % */
            take(lb, 20000, -1);
            for (int i = 0; i < 10; i++) CHECK_NEAR(counts[i], 2000, policies[p] == LB_ROUND_ROBIN ? 1 : 25);
            for (int i = 0; i < 10; i++) endpoints[i].usable = false;
            take(lb, 1000, -1); /* even when nobody is usable */
            lb_free(lb);
        }
}

TEST(with_no_panic_threshold_the_last_one_carries_all) {
    struct balancer *lb = make_weighted(LB_ROUND_ROBIN, 10, NULL);
    for (int i = 1; i < 10; i++) endpoints[i].usable = false;
    take(lb, 100, -1);
    CHECK_EQ(counts[0], 100);
    lb_free(lb);
}

TEST(a_seed_gives_the_same_choices_again) {
    for (size_t p = 0; p < countof(policies); p++) {
        static const uint32_t weights[] = {1, 2, 3, 4, 5, 6};
        static int first[500];
        for (int round = 0; round < 2; round++) {
            struct balancer *lb = make_weighted(policies[p], 6, weights);
            for (int k = 0; k < 500; k++) {
                int i = lb_pick(lb, hash_mix((uint64_t)k), k % 9 == 0 ? 3 : -1);
                if (round) CHECK_EQ(i, first[k]);
                else first[k] = i;
            }
            lb_free(lb);
        }
    }
}

/* ---- round robin ---- */

static void check_turns(struct balancer *lb, const char *want) {
    for (; *want; want++) CHECK_EQ(lb_pick(lb, 0, -1) + 'a', *want);
}

TEST(round_robin_is_smooth) {
    static const uint32_t w511[] = {5, 1, 1}, w50[] = {500, 100, 100}, w31[] = {3, 1}, w432[] = {4, 3, 2};
    struct balancer *lb = make_weighted(LB_ROUND_ROBIN, 3, w511);
    check_turns(lb, "aabacaaaabacaa");
    lb_free(lb);
    lb = make_weighted(LB_ROUND_ROBIN, 3, w50); /* the common divisor makes no difference */
    check_turns(lb, "aabacaaaabacaa");
    lb_free(lb);
    lb = make_weighted(LB_ROUND_ROBIN, 2, w31);
    check_turns(lb, "aabaaaba");
    lb_free(lb);
    lb = make_weighted(LB_ROUND_ROBIN, 3, w432);
    check_turns(lb, "abcabacba");
    lb_free(lb);
    lb = make_weighted(LB_ROUND_ROBIN, 3, NULL);
    check_turns(lb, "abcabc");
    endpoints[0].usable = false;
    check_turns(lb, "bcbcbc"); /* the missing one's turn is nobody's: b is not taken twice */
    lb_free(lb);
}

TEST(round_robin_begins_where_the_seed_says) {
    for (int i = 0; i < 3; i++) endpoints[i].weight = 1;
    struct balancer *lb = make(&(struct lb_options){.policy = LB_ROUND_ROBIN}, 3, 7);
    check_turns(lb, "bcabca");
    lb_free(lb);
}

/* A round of too many steps is not written down: the same schedule, step by step. */
TEST(round_robin_is_exact_for_weights_of_any_size) {
    static const uint32_t weights[] = {50021, 30011, 20047}; /* no common divisor */
    struct balancer *lb = make_weighted(LB_ROUND_ROBIN, 3, weights);
    uint32_t total = 50021 + 30011 + 20047;
    for (int round = 0; round < 2; round++) {
        take(lb, total, -1);
        for (int i = 0; i < 3; i++) CHECK_EQ(counts[i], weights[i]);
    }
    for (uint32_t k = 1; k <= 1000; k++) { /* and smooth: never far from the share */
        int i = lb_pick(lb, 0, -1);
        memset(counts, 0, k == 1 ? sizeof counts : 0);
        counts[i]++;
        for (int j = 0; j < 3; j++) {
            double ahead = counts[j] - (double)k * weights[j] / total;
            CHECK(ahead < 1 && ahead > -1);
        }
    }
    endpoints[0].usable = false;
    take(lb, 50058, -1);
    CHECK_NEAR(counts[1], 30011, 0.1);
    take(lb, 100, 1);
    CHECK_EQ(counts[2], 100);
    lb_free(lb);
}

/* ---- least request ---- */

TEST(least_request_takes_the_less_loaded_of_two) {
    struct balancer *lb = make_weighted(LB_LEAST_REQUEST, 2, NULL);
    endpoints[0].inflight = 10, endpoints[1].inflight = 9;
    take(lb, 1000, -1);
    CHECK_EQ(counts[1], 1000);
    lb_free(lb);
    static const uint32_t weights[] = {3, 1};
    lb = make_weighted(LB_LEAST_REQUEST, 2, weights);
    endpoints[0].inflight = 29, endpoints[1].inflight = 10; /* 29/3 < 10/1 */
    take(lb, 1000, -1);
    CHECK_EQ(counts[0], 1000);
    endpoints[0].inflight = 31;
    take(lb, 1000, -1);
    CHECK_EQ(counts[1], 1000);
    endpoints[1].usable = false;
    take(lb, 1000, -1);
    CHECK_EQ(counts[0], 1000);
    lb_free(lb);
}

TEST(least_request_keeps_load_even_where_random_does_not) {
    struct balancer *lb = make_weighted(LB_LEAST_REQUEST, 50, NULL);
    for (int k = 0; k < 50 * 200; k++) endpoints[lb_pick(lb, 0, -1)].inflight++; /* nothing ever ends */
    for (int i = 0; i < 50; i++) CHECK(endpoints[i].inflight >= 195 && endpoints[i].inflight <= 205);
    lb_free(lb);
}

/* ---- ring and maglev ---- */

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

TEST(extreme_weights_neither_overflow_nor_starve) {
    static const uint32_t weights[] = {UINT32_MAX, 1, UINT32_MAX - 1, 65537};
    for (size_t p = 0; p < countof(policies); p++) {
        struct balancer *lb = make_weighted(policies[p], 4, weights);
        take(lb, 20000, -1);
        CHECK_NEAR(counts[0], 10000, 12);
        CHECK_NEAR(counts[2], 10000, 12);
        lb_free(lb);
    }
}

TEST(more_than_a_thousand_endpoints) {
    for (size_t p = 0; p < countof(policies); p++)
        for (int equal = 0; equal < 2; equal++) {
            uint32_t total = 0;
            for (uint32_t i = 0; i < MANY; i++) total += endpoints[i].weight = equal ? 1 : i % 5 + 1;
            struct balancer *lb = make(&(struct lb_options){.policy = policies[p], .rehash = true}, MANY, 0);
            take(lb, 400000, -1);
            for (uint32_t i = 0; i < MANY; i++) CHECK_NEAR(counts[i], 400000.0 * endpoints[i].weight / total, 60);
            lb_free(lb);
        }
}

int main(void) {
    RUN(no_endpoint_no_choice_and_one_is_always_it);
    RUN(shares_follow_the_weights_in_every_policy);
    RUN(an_unusable_endpoint_is_never_taken_and_the_rest_share_by_weight);
    RUN(one_usable_of_many_is_found);
    RUN(the_one_to_skip_is_taken_only_when_it_is_the_last);
    RUN(below_the_panic_threshold_all_are_taken);
    RUN(with_no_panic_threshold_the_last_one_carries_all);
    RUN(a_seed_gives_the_same_choices_again);
    RUN(round_robin_is_smooth);
    RUN(round_robin_begins_where_the_seed_says);
    RUN(round_robin_is_exact_for_weights_of_any_size);
    RUN(least_request_takes_the_less_loaded_of_two);
    RUN(least_request_keeps_load_even_where_random_does_not);
    RUN(placement_does_not_depend_on_the_order_in_the_plan_nor_on_the_seed);
    RUN(removing_one_of_ten_moves_a_tenth_of_the_keys);
    RUN(small_rings_are_as_consistent);
    RUN(a_weight_that_grows_only_draws_keys_to_itself);
    RUN(maglev_spreads_within_two_percent_and_the_ring_within_fifteen);
    RUN(keys_of_a_missing_owner_move_on_or_fail);
    RUN(plain_numbers_are_hashes_as_good);
    RUN(endpoints_of_one_name_share);
    RUN(table_sizes_are_kept_within_reason);
    RUN(extreme_weights_neither_overflow_nor_starve);
    RUN(more_than_a_thousand_endpoints);
    return 0;
}
