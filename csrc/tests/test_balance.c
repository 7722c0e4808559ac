/* The balancers: shares, order, who is taken when endpoints are down. Counts have bounds far outside chance:
 * the draws are seeded, so a test that passes passes always. */
#include "balance_model.h"

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
    RUN(extreme_weights_neither_overflow_nor_starve);
    RUN(more_than_a_thousand_endpoints);
    return 0;
}
