/* Replies of several shards becoming one: every kind, errors, forms no shard should send, numbers beyond all range. */
#include "check.h"
#include "../codecs/redis_merge.h"

#define MOST 8
#define UNEXPECTED "-ERR unexpected reply from a shard\r\n"

/* The merged reply to NUL-terminated `want`; each reply at a guard page. */
static void merges(int line, enum redis_merge_kind kind, int version, const char *const *texts, uint32_t n,
                   const char *want) {
    struct slice replies[MOST];
    struct resp_out out = {0};
    resp_out_raw(&out, "+A\r\n", 4); /* what stands there already stays */
    for (uint32_t i = 0; i < n; i++) replies[i] = slice_of(guarded(texts[i], strlen(texts[i])), strlen(texts[i]));
    check_eq(__FILE__, line, "redis_merge()", redis_merge(kind, replies, n, version, &out), 0);
    check_bytes(__FILE__, line, "the reply", slice_of(out.p + 4, out.n - 4), slice_of(want, strlen(want)));
    resp_out_free(&out);
}
#define MERGE(kind, version, want, ...)                                               \
    merges(__LINE__, REDIS_MERGE_##kind, version, (const char *const[]){__VA_ARGS__}, \
           (uint32_t)countof(((const char *const[]){__VA_ARGS__})), want)

TEST(numbers_add_up) {
    MERGE(SPLIT_SUM, 2, ":6\r\n", ":1\r\n", ":2\r\n", ":3\r\n");
    MERGE(ALL_SUM, 2, ":0\r\n", ":0\r\n", ":0\r\n");
    MERGE(ALL_SUM, 2, ":-1\r\n", ":1\r\n", ":-2\r\n");
    MERGE(ALL_MIN, 2, ":1\r\n", ":3\r\n", ":1\r\n", ":2\r\n");
    MERGE(ALL_MIN, 2, ":-5\r\n", ":3\r\n", ":-5\r\n");
}

TEST(sums_beyond_the_range_are_no_sums) {
    MERGE(ALL_SUM, 2, ":9223372036854775807\r\n", ":9223372036854775806\r\n", ":1\r\n");
    MERGE(ALL_SUM, 2, UNEXPECTED, ":9223372036854775807\r\n", ":1\r\n");
    MERGE(ALL_SUM, 2, UNEXPECTED, ":-9223372036854775808\r\n", ":-1\r\n");
    MERGE(ALL_SUM, 2, UNEXPECTED, ":99999999999999999999\r\n");
}

TEST(the_first_error_is_the_reply) {
    static const enum redis_merge_kind kinds[] = {REDIS_MERGE_SPLIT_SUM,  REDIS_MERGE_SPLIT_OK, REDIS_MERGE_ALL_OK,
                                                  REDIS_MERGE_ALL_CONCAT, REDIS_MERGE_ALL_AND,  REDIS_MERGE_ALL_MIN,
                                                  REDIS_MERGE_ALL_FIRST,  REDIS_MERGE_ALL_INFO};
    const char *const replies[] = {":1\r\n", "-ERR one\r\n", "-ERR two\r\n"};
    for (size_t i = 0; i < countof(kinds); i++) merges(__LINE__, kinds[i], 2, replies, 3, "-ERR one\r\n");
    MERGE(ALL_OK, 3, "!7\r\nERR one\r\n", "+OK\r\n", "!7\r\nERR one\r\n");
}

TEST(one_answer_of_many) {
    MERGE(SPLIT_OK, 2, "+OK\r\n", "+OK\r\n", "+OK\r\n");
    MERGE(ALL_OK, 2, "+OK\r\n", "+OK\r\n", "+OK\r\n");
    MERGE(ALL_FIRST, 2, "$1\r\na\r\n", "$1\r\na\r\n", "$1\r\nb\r\n");
    MERGE(ANY, 2, "$-1\r\n", "$-1\r\n");
}

TEST(truth_of_all) {
    MERGE(ALL_AND, 2, "*3\r\n:1\r\n:0\r\n:0\r\n", "*3\r\n:1\r\n:0\r\n:1\r\n", "*3\r\n:1\r\n:1\r\n:0\r\n");
    MERGE(ALL_AND, 2, "*0\r\n", "*0\r\n", "*0\r\n");
    MERGE(ALL_AND, 2, UNEXPECTED, "*1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n");
    MERGE(ALL_AND, 2, UNEXPECTED, "*1\r\n:1\r\n", "*1\r\n$1\r\n1\r\n");
    MERGE(ALL_AND, 2, UNEXPECTED, "*1\r\n:1\r\n", ":1\r\n");
    MERGE(ALL_AND, 2, UNEXPECTED, "*-1\r\n", "*-1\r\n");
    MERGE(ALL_AND, 2, UNEXPECTED, "*2\r\n*1\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n");
}

TEST(truth_of_all_takes_time_in_proportion) {
    enum { COUNT = 300000 }; /* pairs of elements, were they compared each with all before, would take minutes */
    size_t n = 0;
    char *reply = malloc(COUNT * 4 + 32);
    n += (size_t)sprintf(reply, "*%d\r\n", COUNT);
    for (int i = 0; i < COUNT; i++, n += 4) memcpy(reply + n, ":1\r\n", 4);
    struct slice replies[3] = {slice_of(reply, n), slice_of(reply, n), slice_of(reply, n)};
    struct resp_out out = {0};
    CHECK_EQ(redis_merge(REDIS_MERGE_ALL_AND, replies, 3, 2, &out), 0);
    CHECK_BYTES(out.p, out.n, reply, n);
    resp_out_free(&out);
    free(reply);
}

TEST(lists_follow_one_another) {
    MERGE(ALL_CONCAT, 2, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*0\r\n",
          "*1\r\n$1\r\nc\r\n");
    MERGE(ALL_CONCAT, 3, "~2\r\n+a\r\n+b\r\n", "~1\r\n+a\r\n", "~1\r\n+b\r\n");
    MERGE(ALL_CONCAT, 2, "*2\r\n+a\r\n+b\r\n", "~1\r\n+a\r\n", "~1\r\n+b\r\n");
    MERGE(ALL_CONCAT, 3, "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:2\r\n");
    MERGE(ALL_CONCAT, 2, "*4\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:2\r\n");
    MERGE(ALL_CONCAT, 3, UNEXPECTED, "%1\r\n+a\r\n:1\r\n", "*1\r\n+b\r\n"); /* half a pair */
    MERGE(ALL_CONCAT, 2, UNEXPECTED, "*1\r\n+a\r\n", "+OK\r\n");
    MERGE(ALL_CONCAT, 2, UNEXPECTED, "$1\r\na\r\n");
}

TEST(no_shard_no_answer) {
    struct resp_out out = {0};
    for (int kind = 0; kind <= REDIS_MERGE_HOME; kind++) {
        resp_out_clear(&out);
        CHECK_EQ(redis_merge((enum redis_merge_kind)kind, NULL, 0, 2, &out), 0);
        CHECK_BYTES(out.p, out.n, UNEXPECTED, sizeof UNEXPECTED - 1);
    }
    resp_out_free(&out);
}

/* ---- MGET ---- */

static void mget(int line, int version, const char *const *texts, uint32_t n, const uint16_t *owner, uint32_t keys,
                 const char *want) {
    struct slice replies[MOST];
    struct resp_out out = {0};
    for (uint32_t i = 0; i < n; i++) replies[i] = slice_of(guarded(texts[i], strlen(texts[i])), strlen(texts[i]));
    check_eq(__FILE__, line, "redis_merge_array()", redis_merge_array(replies, n, owner, keys, version, &out), 0);
    check_bytes(__FILE__, line, "the reply", slice_of(out.p, out.n), slice_of(want, strlen(want)));
    resp_out_free(&out);
}
#define OWNER(...) (const uint16_t[]){__VA_ARGS__}, (uint32_t)countof(((const uint16_t[]){__VA_ARGS__}))
#define REPLIES(...) (const char *const[]){__VA_ARGS__}, (uint32_t)countof(((const char *const[]){__VA_ARGS__}))

TEST(values_stand_in_the_order_of_the_keys) {
    mget(__LINE__, 2, REPLIES("*2\r\n$1\r\na\r\n$1\r\nc\r\n", "*1\r\n$1\r\nb\r\n"), OWNER(0, 1, 0),
         "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    mget(__LINE__, 2, REPLIES("*1\r\n_\r\n", "*1\r\n$-1\r\n"), OWNER(1, 0), "*2\r\n$-1\r\n$-1\r\n");
    mget(__LINE__, 3, REPLIES("*1\r\n_\r\n", "*1\r\n$-1\r\n"), OWNER(1, 0), "*2\r\n_\r\n_\r\n");
    mget(__LINE__, 2, REPLIES("*1\r\n*1\r\n+a\r\n", "*1\r\n:1\r\n"), OWNER(1, 0), "*2\r\n:1\r\n*1\r\n+a\r\n");
    mget(__LINE__, 2, REPLIES("*0\r\n"), (const uint16_t[]){0}, 0, "*0\r\n");
}

TEST(an_error_stands_for_each_of_its_keys) {
    mget(__LINE__, 2, REPLIES("-ERR no\r\n", "*1\r\n$1\r\nb\r\n"), OWNER(0, 1, 0),
         "*3\r\n-ERR no\r\n$1\r\nb\r\n-ERR no\r\n");
    mget(__LINE__, 2, REPLIES("+OK\r\n", "*-1\r\n"), OWNER(0, 1), "*2\r\n" UNEXPECTED UNEXPECTED);
    mget(__LINE__, 2, REPLIES("*1\r\n+a\r\n"), OWNER(0, 0), "*2\r\n+a\r\n" UNEXPECTED);        /* too few */
    mget(__LINE__, 2, REPLIES("*3\r\n+a\r\n+b\r\n+c\r\n"), OWNER(0, 0), "*2\r\n+a\r\n+b\r\n"); /* too many */
}

/* ---- INFO ---- */

static void info(int line, int version, const char *const *texts, uint32_t n, const char *want) {
    char bulks[MOST][1024], whole[1100];
    const char *replies[MOST];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(bulks[i], sizeof bulks[i], "$%zu\r\n%s\r\n", strlen(texts[i]), texts[i]);
        replies[i] = bulks[i];
    }
    if (version == 2) snprintf(whole, sizeof whole, "$%zu\r\n%s\r\n", strlen(want), want);
    else snprintf(whole, sizeof whole, "=%zu\r\ntxt:%s\r\n", strlen(want) + 4, want);
    merges(line, REDIS_MERGE_ALL_INFO, version, replies, n, whole);
}

TEST(info_is_the_first_shards_with_sums) {
    for (int version = 2; version <= 3; version++)
        info(__LINE__, version,
             REPLIES("# Server\r\nredis_version:7.0\r\n\r\n# Clients\r\nconnected_clients:2\r\nx:a:b\r\n",
                     "# Server\r\nredis_version:7.2\r\n\r\n# Clients\r\nconnected_clients:40\r\n"),
             "# Server\r\nredis_version:7.0\r\n\r\n# Clients\r\nconnected_clients:42\r\nx:a:b\r\n");
}

TEST(keyspaces_are_added) {
    info(__LINE__, 2,
         REPLIES("# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=100\r\n",
                 "# Keyspace\r\ndb0:keys=2,expires=3,avg_ttl=200\r\ndb1:keys=5,expires=0,avg_ttl=0\r\n",
                 "# Keyspace\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n"),
         "# Keyspace\r\ndb0:keys=3,expires=4,avg_ttl=175\r\ndb1:keys=6,expires=0,avg_ttl=0\r\n");
}

TEST(info_with_senseless_values_stays_in_range) {
    info(__LINE__, 2, REPLIES("used_memory:9223372036854775807\r\n", "used_memory:1\r\n"),
         "used_memory:9223372036854775807\r\n");
    info(__LINE__, 2, REPLIES("used_memory:-9223372036854775808\r\n", "used_memory:-1\r\n"),
         "used_memory:-9223372036854775808\r\n");
    info(__LINE__, 2, REPLIES("used_memory:x\r\n", "used_memory:7\r\n"), "used_memory:7\r\n");
    info(__LINE__, 2,
         REPLIES("db0:keys=9223372036854775807,expires=3,avg_ttl=9223372036854775807\r\n",
                 "db0:keys=1,expires=1,avg_ttl=1\r\n"),
         "db0:keys=9223372036854775807,expires=4,avg_ttl=2305843009213693951\r\n");
    info(__LINE__, 2, REPLIES("db0:keys=-1,expires=-1,avg_ttl=-9223372036854775808\r\n"),
         "db0:keys=0,expires=0,avg_ttl=0\r\n");
    char name[400], text[500]; /* a database's name is a number of int, or the line is any other */
    memset(name, '7', sizeof name), name[0] = 'd', name[1] = 'b', name[399] = 0;
    snprintf(text, sizeof text, "%s:keys=1,expires=0,avg_ttl=0\r\n", name);
    info(__LINE__, 2, REPLIES(text), text);
    info(__LINE__, 2, REPLIES("", "db0:keys=1,expires=0,avg_ttl=0\n"), "db0:keys=1,expires=0,avg_ttl=0\r\n");
}

TEST(info_of_another_form) {
    MERGE(ALL_INFO, 2, UNEXPECTED, "$0\r\n\r\n", ":1\r\n");
    MERGE(ALL_INFO, 2, UNEXPECTED, "*0\r\n");
    MERGE(ALL_INFO, 2, "$0\r\n\r\n", "$-1\r\n");
    MERGE(ALL_INFO, 2, "$5\r\na:1\r\n\r\n", "=7\r\ntxt:a:1\r\n", "$0\r\n\r\n");
}

/* ---- SCAN ---- */

static void scans(int line, const char *reply, uint32_t shard, uint32_t shards, const char *want) {
    struct resp_out out = {0};
    int got = redis_scan_reply(slice_of(guarded(reply, strlen(reply)), strlen(reply)), shard, shards, 2, &out);
    check_eq(__FILE__, line, "redis_scan_reply()", got, want ? 0 : -1);
    if (want) check_bytes(__FILE__, line, "the reply", slice_of(out.p, out.n), slice_of(want, strlen(want)));
    else check_eq(__FILE__, line, "bytes written", (int64_t)out.n, 0);
    resp_out_free(&out);
}

TEST(a_scan_goes_from_shard_to_shard) {
    scans(__LINE__, "*2\r\n$2\r\n17\r\n*1\r\n+a\r\n", 0, 3, "*2\r\n$5\r\n17408\r\n*1\r\n+a\r\n");
    scans(__LINE__, "*2\r\n$2\r\n17\r\n*0\r\n", 2, 3, "*2\r\n$5\r\n17410\r\n*0\r\n");
    scans(__LINE__, "*2\r\n$1\r\n0\r\n*0\r\n", 0, 3, "*2\r\n$1\r\n1\r\n*0\r\n");
    scans(__LINE__, "*2\r\n$1\r\n0\r\n*0\r\n", 2, 3, "*2\r\n$1\r\n0\r\n*0\r\n");
    scans(__LINE__, "*2\r\n$1\r\n0\r\n*0\r\n", 5, 3, "*2\r\n$1\r\n0\r\n*0\r\n");
    scans(__LINE__, "-ERR no\r\n", 0, 3, "-ERR no\r\n");
    scans(__LINE__, "*2\r\n$16\r\n9007199254740990\r\n*0\r\n", 0, 3, "*2\r\n$19\r\n9223372036854773760\r\n*0\r\n");
    scans(__LINE__, "*2\r\n$16\r\n9007199254740991\r\n*0\r\n", 0, 3, NULL);
    scans(__LINE__, "*2\r\n$20\r\n18446744073709551615\r\n*0\r\n", 0, 3, NULL);
    scans(__LINE__, "*2\r\n$1\r\nx\r\n*0\r\n", 0, 3, NULL);
    scans(__LINE__, "*1\r\n$1\r\n0\r\n", 0, 3, NULL);
    scans(__LINE__, ":0\r\n", 0, 3, NULL);
    scans(__LINE__, "", 0, 3, NULL);
}

TEST(cursors_come_back) {
    uint32_t shard;
    uint64_t inner;
    CHECK(redis_scan_decode(SLICE("0"), 3, &shard, &inner) && shard == 0 && inner == 0);
    CHECK(redis_scan_decode(SLICE("17410"), 3, &shard, &inner) && shard == 2 && inner == 17);
    CHECK(redis_scan_decode(SLICE("17410"), 2, &shard, &inner) && shard == 0 && inner == 0); /* a shard fewer */
    CHECK(redis_scan_decode(SLICE("18446744073709551615"), 1024, &shard, &inner) && shard == 1023);
    CHECK(!redis_scan_decode(SLICE("18446744073709551616"), 3, &shard, &inner));
    CHECK(!redis_scan_decode(SLICE(""), 3, &shard, &inner));
    CHECK(!redis_scan_decode(SLICE("-1"), 3, &shard, &inner));
    CHECK(!redis_scan_decode(SLICE("1x"), 3, &shard, &inner));
}

TEST(the_request_gets_the_shards_cursor) {
    static const char scan[] = "*4\r\n$4\r\nSCAN\r\n$5\r\n17410\r\n$5\r\nMATCH\r\n$1\r\n*\r\n";
    struct resp_request r = {0};
    struct resp_out out = {0};
    const uint8_t *p = guarded(scan, sizeof scan - 1);
    CHECK_EQ(resp_request_parse(&r, p, sizeof scan - 1, &resp_limits_default), sizeof scan - 1);
    CHECK_EQ(redis_scan_request(&r, p, UINT64_MAX, &out), 0);
    static const char want[] = "*4\r\n$4\r\nSCAN\r\n$20\r\n18446744073709551615\r\n$5\r\nMATCH\r\n$1\r\n*\r\n";
    CHECK_BYTES(out.p, out.n, want, sizeof want - 1);
    resp_out_free(&out);
}

int main(void) {
    RUN(numbers_add_up);
    RUN(sums_beyond_the_range_are_no_sums);
    RUN(the_first_error_is_the_reply);
    RUN(one_answer_of_many);
    RUN(truth_of_all);
    RUN(truth_of_all_takes_time_in_proportion);
    RUN(lists_follow_one_another);
    RUN(no_shard_no_answer);
    RUN(values_stand_in_the_order_of_the_keys);
    RUN(an_error_stands_for_each_of_its_keys);
    RUN(info_is_the_first_shards_with_sums);
    RUN(keyspaces_are_added);
    RUN(info_with_senseless_values_stays_in_range);
    RUN(info_of_another_form);
    RUN(a_scan_goes_from_shard_to_shard);
    RUN(cursors_come_back);
    RUN(the_request_gets_the_shards_cursor);
    return 0;
}
