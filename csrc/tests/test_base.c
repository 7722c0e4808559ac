/* Hashing: known values, spread, avalanche. Failures and statistics: texts and blocks. */
#include "check.h"

#include "../core/stats.h"

/* Endpoint placement and sticky splits depend on these: a change of any of them moves keys at the next upgrade. */
TEST(hash_gives_the_pinned_values) {
    static const struct {
        const char *text;
        uint64_t hash;
    } pins[] = {
        {"", 0xd83fcfb88d39804aULL},
        {"a", 0x3c070e20ebe524c8ULL},
        {"ab", 0x9c9dfb556b437690ULL},
        {"abc", 0x8e82bc46ad96774cULL},
        {"abcd", 0x130ae8c1ff714d0fULL},
        {"abcdefg", 0xbcc0826310691461ULL},
        {"abcdefgh", 0x80ac6c0c0d614020ULL},
        {"user:1000", 0x8f66728750ae44efULL},
        {"0123456789abcdef", 0x4e76655965648bcbULL},
        {"0123456789abcdefg", 0x3e93b05de38b8f36ULL},
        {"127.0.0.1:6379", 0xc35693e28aec13d6ULL},
        {"session:8f14e45fceea167a5a36dedd4bea2543", 0xa4967fd5be5cf89bULL},
        {"The quick brown fox jumps over the lazy dog, then does so again and again.", 0x340bfd380caf3ec7ULL},
    };
    for (size_t i = 0; i < countof(pins); i++) {
        size_t n = strlen(pins[i].text);
        CHECK_EQ(hash_bytes(guarded(pins[i].text, n), n), pins[i].hash);
    }
    CHECK_EQ(hash_mix(1), 0x5692161d100b05e5ULL);
}

TEST(hash_reads_no_byte_beyond_the_end_and_depends_on_no_alignment) {
    uint8_t bytes[160];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t n = 0; n <= 100; n++) {
        uint64_t want = hash_bytes(bytes, n);
        CHECK_EQ(hash_bytes(guarded(bytes, n), n), want);
        uint8_t moved[160];
        for (size_t shift = 1; shift < 8; shift++) {
            memcpy(moved + shift, bytes, n);
            CHECK_EQ(hash_bytes(moved + shift, n), want);
        }
    }
}

TEST(hash_tells_lengths_and_repetitions_apart) {
    static const uint8_t zeros[300], ones[300] = {[0 ... 299] = 'a'};
    enum { LENGTHS = 300 };
    uint64_t seen[2 * LENGTHS];
    for (size_t n = 0; n < LENGTHS; n++)
        seen[2 * n] = hash_bytes(zeros, n), seen[2 * n + 1] = n ? hash_bytes(ones, n) : 1;
    for (size_t i = 0; i < countof(seen); i++)
        for (size_t k = 0; k < i; k++) CHECK(seen[i] != seen[k]);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Chi squared of `counts` against an even spread, less its mean, in standard deviations. */
static double unevenness(const uint32_t *counts, size_t buckets, size_t keys) {
    double want = (double)keys / (double)buckets, sum = 0;
    for (size_t i = 0; i < buckets; i++) sum += ((double)counts[i] - want) * ((double)counts[i] - want) / want;
    double excess = sum - (double)(buckets - 1);
    return excess * excess / (2.0 * (double)(buckets - 1)); /* squared, so that no library of mathematics is needed */
}

/* The keys people have: numbered ones, in which only a few characters change. */
TEST(hash_spreads_numbered_keys_evenly_over_low_and_high_bits) {
    static const char *const forms[] = {"%u", "k%u", "user:%u", "user:%08u:profile",
                                        "tenant-7/session/%u/attributes/of/it"};
    enum { KEYS = 200000, BUCKETS = 1024 };
    uint64_t *all = malloc(KEYS * sizeof *all);
    for (size_t f = 0; f < countof(forms); f++) {
        uint32_t low[BUCKETS] = {0}, high[BUCKETS] = {0}, mod[1009] = {0};
        for (unsigned i = 0; i < KEYS; i++) {
            char key[64];
            uint64_t h = all[i] = hash_bytes(key, (size_t)snprintf(key, sizeof key, forms[f], i));
            low[h % BUCKETS]++, high[h >> 54]++, mod[h % 1009]++;
        }
        CHECK(unevenness(low, BUCKETS, KEYS) < 16); /* within 4 standard deviations */
        CHECK(unevenness(high, BUCKETS, KEYS) < 16);
        CHECK(unevenness(mod, 1009, KEYS) < 16);
        qsort(all, KEYS, sizeof *all, by_value);
        for (unsigned i = 1; i < KEYS; i++) CHECK(all[i] != all[i - 1]);
    }
    free(all);
}

/* Each bit of the input, turned, turns each bit of the output in about half of the cases. */
TEST(hash_has_avalanche_for_every_input_bit) {
    static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 33, 48};
    enum { ROUNDS = 2000 };
    uint64_t rng = 42;
    for (size_t l = 0; l < countof(lengths); l++) {
        size_t n = lengths[l];
        for (size_t bit = 0; bit<n * 8; bit += n> 16 ? 5 : 1) {
            uint32_t turned[64] = {0}, rounds = n == 1 ? 256 : ROUNDS; /* of one byte there are no more */
            for (uint32_t r = 0; r < rounds; r++) {
                uint8_t bytes[48];
                for (size_t i = 0; i < n; i++) bytes[i] = n == 1 ? (uint8_t)r : (uint8_t)(rng_next(&rng) >> 32);
                uint64_t before = hash_bytes(bytes, n);
                bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
                uint64_t differ = before ^ hash_bytes(bytes, n);
                for (unsigned o = 0; o < 64; o++) turned[o] += differ >> o & 1;
            }
            double slack = n == 1 ? 0.25 : 0.07; /* six standard deviations; pairs count twice in the small set */
            for (unsigned o = 0; o < 64; o++) {
                double share = (double)turned[o] / rounds;
                CHECK(share > 0.5 - slack && share < 0.5 + slack);
            }
        }
    }
}

TEST(every_failure_has_a_flag_of_two_characters_and_a_text) {
    for (int a = 0; a < FAILURE_COUNT; a++) {
        CHECK_EQ(strlen(failure_flag((enum failure)a)), 2);
        CHECK(strlen(failure_text((enum failure)a)) > 5);
        for (int b = 0; b < a; b++) CHECK(strcmp(failure_flag((enum failure)a), failure_flag((enum failure)b)) != 0);
    }
    CHECK_STR(failure_flag(FAIL_NO_ROUTE), "NR");
    CHECK_STR(failure_flag((enum failure)999), "??");
    CHECK_STR(failure_text((enum failure) - 1), "unknown failure");
}

TEST(latency_goes_into_the_bucket_whose_bound_it_does_not_exceed) {
    uint64_t h[LATENCY_SLOTS + 1] = {0};
    uint64_t sum = 0, total = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS - 1; i++) {
        uint64_t bound = stat_latency_bounds[i];
        CHECK(i == 0 || bound > stat_latency_bounds[i - 1]);
        stat_latency(h, bound); /* the bound belongs to its bucket, one more to the next */
        stat_latency(h, bound + 1);
        sum += 2 * bound + 1;
    }
    stat_latency(h, 0);
    stat_latency(h, UINT32_MAX);
    sum += UINT32_MAX;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) CHECK_EQ(h[i], 2), total += h[i];
    CHECK_EQ(total, 2 * LATENCY_BUCKETS);
    CHECK_EQ(h[LATENCY_SLOTS - 1], sum);
    CHECK_EQ(h[LATENCY_SLOTS], 0); /* nothing behind the block */
}

int main(void) {
    RUN(hash_gives_the_pinned_values);
    RUN(hash_reads_no_byte_beyond_the_end_and_depends_on_no_alignment);
    RUN(hash_tells_lengths_and_repetitions_apart);
    RUN(hash_spreads_numbered_keys_evenly_over_low_and_high_bits);
    RUN(hash_has_avalanche_for_every_input_bit);
    RUN(every_failure_has_a_flag_of_two_characters_and_a_text);
    RUN(latency_goes_into_the_bucket_whose_bound_it_does_not_exceed);
    return 0;
}
