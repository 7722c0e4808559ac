/* Replies of RESP2 becoming RESP3. That the outcome is what Redis says is compared with a server in
 * tests/codecs/redis/test_shapes.py; here: each pattern, what is of another form, hostile replies, lost memory. */
#include "check.h"
#include "redis_rows.h"
#include "../codecs/redis_shape.h"

static int up(enum redis_shape shape, const char *reply, size_t n, struct resp_out *out) {
    resp_out_clear(out);
    return redis_shape_up((uint16_t)shape, slice_of(guarded(reply, n), n), out);
}

static void becomes(int line, enum redis_shape shape, const char *reply, size_t n, const char *want, size_t want_n) {
    struct resp_out out = {0};
    check_eq(__FILE__, line, "redis_shape_up()", up(shape, reply, n, &out), 0);
    check_bytes(__FILE__, line, "the reply", slice_of(out.p, out.n), slice_of(want, want_n));
    resp_out_free(&out);
}
#define UP(shape, reply, want) becomes(__LINE__, REDIS_SHAPE_##shape, reply, sizeof(reply) - 1, want, sizeof(want) - 1)
#define STAYS(shape, reply) UP(shape, reply, reply)

TEST(without_a_shape_nulls_alone_change) {
    UP(NONE, "$-1\r\n", "_\r\n");
    UP(NONE, "*-1\r\n", "_\r\n");
    UP(NONE, "*3\r\n$-1\r\n*1\r\n*-1\r\n:1\r\n", "*3\r\n_\r\n*1\r\n_\r\n:1\r\n");
    STAYS(NONE, "*2\r\n$5\r\n$-1\r\n\r\n+$-1\r\n");
    STAYS(NONE, "-ERR no\r\n");
    STAYS(NONE, "*0\r\n");
}

TEST(aggregates_are_built_anew) {
    UP(MAP, "*4\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n*0\r\n", "%2\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n*0\r\n");
    UP(MAP, "*0\r\n", "%0\r\n");
    UP(SET, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "~2\r\n$1\r\na\r\n$1\r\nb\r\n");
    UP(MAPS, "*2\r\n*2\r\n+a\r\n:1\r\n*0\r\n", "*2\r\n%1\r\n+a\r\n:1\r\n%0\r\n");
    UP(MAP_MAP, "*2\r\n+a\r\n*2\r\n+b\r\n:1\r\n", "%1\r\n+a\r\n%1\r\n+b\r\n:1\r\n");
    UP(PAIRS, "*4\r\n+a\r\n+b\r\n+c\r\n+d\r\n", "*2\r\n*2\r\n+a\r\n+b\r\n*2\r\n+c\r\n+d\r\n");
    UP(PAIR_MAP, "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n:1\r\n", "%1\r\n$1\r\ns\r\n*1\r\n:1\r\n");
}

TEST(scores_become_doubles) {
    UP(DOUBLE, "$3\r\n1.5\r\n", ",1.5\r\n");
    UP(DOUBLE, "$4\r\n-inf\r\n", ",-inf\r\n");
    UP(DOUBLE, "$3\r\nnan\r\n", ",nan\r\n");
    UP(DOUBLE, "$24\r\n-1.0000000000000001e+300\r\n", ",-1.0000000000000001e+300\r\n");
    UP(DOUBLES, "*2\r\n$1\r\n1\r\n$-1\r\n", "*2\r\n,1\r\n_\r\n");
    UP(PAIRS_DOUBLE, "*2\r\n$1\r\n9\r\n$1\r\n1\r\n", "*1\r\n*2\r\n$1\r\n9\r\n,1\r\n");
    UP(FLAT_DOUBLE, "*2\r\n$1\r\n9\r\n$1\r\n1\r\n", "*2\r\n$1\r\n9\r\n,1\r\n");
    UP(FLAT_DOUBLE, "*0\r\n", "*0\r\n");
    UP(KEY_DOUBLE, "*3\r\n$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n", "*3\r\n$1\r\n7\r\n$1\r\n8\r\n,9\r\n");
    UP(KEY_PAIRS_DOUBLE, "*2\r\n$1\r\n1\r\n*1\r\n*2\r\n$1\r\n2\r\n$1\r\n3\r\n",
       "*2\r\n$1\r\n1\r\n*1\r\n*2\r\n$1\r\n2\r\n,3\r\n");
    UP(POSITIONS, "*2\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n*-1\r\n", "*2\r\n*2\r\n,1\r\n,2\r\n_\r\n");
    UP(GEO_COORD, "*1\r\n*3\r\n$1\r\n5\r\n$1\r\n6\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
       "*1\r\n*3\r\n$1\r\n5\r\n$1\r\n6\r\n*2\r\n,1\r\n,2\r\n");
}

/* A RESP3 double has no length of its own: whatever else stands in the bulk must stay there. */
TEST(what_is_no_number_stays_in_its_bulk) {
    STAYS(DOUBLE, "$0\r\n\r\n");
    STAYS(DOUBLE, "$3\r\nabc\r\n");
    STAYS(DOUBLE, "$1\r\n-\r\n");
    STAYS(DOUBLE, "$2\r\n.5\r\n");
    STAYS(DOUBLE, "$9\r\n1\r\n+OK\r\n.\r\n");
    STAYS(DOUBLE, "$2\r\n1\0\r\n");
    STAYS(DOUBLE, "$2\r\n1 \r\n");
    STAYS(DOUBLES, "*1\r\n$6\r\n1\r\n:2\r\r\n");
}

TEST(replies_of_another_form_stay) {
    STAYS(MAP, "*3\r\n+a\r\n+b\r\n+c\r\n");
    STAYS(MAP, "$1\r\na\r\n");
    STAYS(MAP, "-ERR no\r\n");
    STAYS(MAP, "%1\r\n+a\r\n+b\r\n");
    UP(MAP, "*-1\r\n", "_\r\n");
    STAYS(SET, "$1\r\na\r\n");
    STAYS(DOUBLE, ":1\r\n");
    STAYS(BOOL, ":2\r\n");
    STAYS(BOOL, ":10\r\n");
    STAYS(BOOL, "$1\r\n1\r\n");
    STAYS(PAIRS, "*1\r\n+a\r\n");
    STAYS(PAIR_MAP, "*2\r\n*2\r\n+a\r\n+b\r\n*3\r\n+a\r\n+b\r\n+c\r\n");
    STAYS(PAIR_MAP, "*1\r\n+a\r\n");
    STAYS(GEO_COORD, "*2\r\n$1\r\na\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    STAYS(KEY_PAIRS_DOUBLE, "*1\r\n$1\r\na\r\n");
}

TEST(scalars_of_a_kind) {
    UP(BOOL, ":1\r\n", "#t\r\n");
    UP(BOOL, ":0\r\n", "#f\r\n");
    UP(VERBATIM, "$3\r\nabc\r\n", "=7\r\ntxt:abc\r\n");
    UP(VERBATIM, "$0\r\n\r\n", "=4\r\ntxt:\r\n");
    UP(VERBATIM, "$-1\r\n", "_\r\n");
    STAYS(VERBATIM, "+OK\r\n");
}

TEST(fields_have_patterns_of_their_own) {
    UP(ACL_USER, "*4\r\n$5\r\nflags\r\n*1\r\n+on\r\n$9\r\nselectors\r\n*1\r\n*2\r\n+a\r\n+b\r\n",
       "%2\r\n$5\r\nflags\r\n~1\r\n+on\r\n$9\r\nselectors\r\n*1\r\n%1\r\n+a\r\n+b\r\n");
    UP(MEMORY_STATS, "*8\r\n+db.0\r\n*2\r\n+x\r\n:1\r\n+db\r\n*0\r\n+fragmentation\r\n$1\r\n2\r\n+x\r\n$1\r\n2\r\n",
       "%4\r\n+db.0\r\n%1\r\n+x\r\n:1\r\n+db\r\n*0\r\n+fragmentation\r\n,2\r\n+x\r\n$1\r\n2\r\n");
    UP(FUNCTION_STATS, "*4\r\n+running_script\r\n*-1\r\n+engines\r\n*2\r\n+LUA\r\n*2\r\n+n\r\n:0\r\n",
       "%2\r\n+running_script\r\n_\r\n+engines\r\n%1\r\n+LUA\r\n%1\r\n+n\r\n:0\r\n");
    UP(ACL_USER, "*2\r\n*1\r\n:1\r\n*0\r\n", "%1\r\n*1\r\n:1\r\n*0\r\n"); /* a key that is no text */
}

TEST(a_command_and_its_subcommands) {
#define NONE "*0\r\n"
#define ENTRY(name, sub) "*10\r\n$1\r\n" name "\r\n:1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n" NONE NONE NONE sub
#define ENTRY3(name, sub) "*10\r\n$1\r\n" name "\r\n:1\r\n~1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n~0\r\n~0\r\n~0\r\n" sub
    UP(COMMAND_INFO, "*2\r\n" ENTRY("a", "*1\r\n" ENTRY("b", NONE)) "*-1\r\n",
       "*2\r\n" ENTRY3("a", "*1\r\n" ENTRY3("b", "~0\r\n")) "_\r\n");
    UP(COMMAND_DOCS, "*2\r\n+a\r\n*2\r\n+subcommands\r\n*2\r\n+b\r\n*2\r\n+arguments\r\n*1\r\n*2\r\n+flags\r\n" NONE,
       "%1\r\n+a\r\n%1\r\n+subcommands\r\n%1\r\n+b\r\n%1\r\n+arguments\r\n*1\r\n%1\r\n+flags\r\n~0\r\n");
}

/* Every shape on every reply, whole and cut at every place: never a byte too far, never a half-written reply. */
TEST(cut_replies_are_refused) {
    static const char *const replies[] = {
        "*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n*-1\r\n",
        "*4\r\n$5\r\nflags\r\n*1\r\n+a\r\n$6\r\ngroups\r\n*1\r\n*2\r\n+a\r\n$1\r\n1\r\n",
        "$3\r\n1.5\r\n",
        ":1\r\n",
    };
    struct resp_out out = {0};
    for (int shape = 0; shape < REDIS_SHAPE_COUNT; shape++)
        for (size_t i = 0; i < countof(replies); i++) {
            size_t n = strlen(replies[i]);
            CHECK_EQ(up((enum redis_shape)shape, replies[i], n, &out), 0);
            struct slice in = slice_of(out.p, out.n);
            CHECK(resp_skip(&in) && in.n == 0);
            for (size_t cut = 0; cut < n; cut++) {
                CHECK_EQ(up((enum redis_shape)shape, replies[i], cut, &out), -1);
                CHECK_EQ(out.n, 0);
            }
        }
    CHECK_EQ(up(REDIS_SHAPE_NONE, "+OK\r\n+OK\r\n", 10, &out), -1); /* more than one */
    CHECK_EQ(up(REDIS_SHAPE_MAP, "*2147483646\r\n+a\r\n", 17, &out), -1);
    resp_out_free(&out);
}

TEST(what_was_written_before_stays) {
    struct resp_out out = {0};
    resp_out_raw(&out, "+A\r\n", 4);
    CHECK_EQ(redis_shape_up(REDIS_SHAPE_MAP, SLICE("*2\r\n+a\r\n"), &out), -1);
    CHECK_BYTES(out.p, out.n, "+A\r\n", 4);
    CHECK_EQ(redis_shape_up(REDIS_SHAPE_MAP, SLICE("*0\r\n"), &out), 0);
    CHECK_BYTES(out.p, out.n, "+A\r\n%0\r\n", 8);
    resp_out_free(&out);
}

TEST(a_reply_that_passes_is_one_that_does_not_change) {
    static const char *const replies[] = {"+OK\r\n",     "-ERR\r\n", ":1\r\n", ":0\r\n",
                                          "$1\r\n1\r\n", "$-1\r\n",  "*0\r\n", "*-1\r\n"};
    struct resp_out out = {0};
    for (int shape = 0; shape < REDIS_SHAPE_COUNT; shape++)
        for (size_t i = 0; i < countof(replies); i++) {
            size_t n = strlen(replies[i]);
            if (!redis_shape_up_passes((uint16_t)shape, guarded(replies[i], 2), 2)) continue;
            CHECK_EQ(up((enum redis_shape)shape, replies[i], n, &out), 0);
            CHECK_BYTES(out.p, out.n, replies[i], n);
        }
    CHECK(redis_shape_up_passes(REDIS_SHAPE_NONE, (const uint8_t *)"$5", 2));
    CHECK(!redis_shape_up_passes(REDIS_SHAPE_NONE, (const uint8_t *)"$-", 2));
    CHECK(!redis_shape_up_passes(REDIS_SHAPE_BOOL, (const uint8_t *)":1", 2));
    resp_out_free(&out);
}

TEST(deep_replies_cost_no_stack) {
    size_t depth = 200000, n = depth * 4;
    char *reply = malloc(n + 4);
    for (size_t i = 0; i < depth; i++) memcpy(reply + i * 4, "*1\r\n", 4);
    memcpy(reply + n, ":1\r\n", 4);
    struct resp_out out = {0};
    for (int shape = 0; shape < REDIS_SHAPE_COUNT; shape++) {
        resp_out_clear(&out);
        CHECK_EQ(redis_shape_up((uint16_t)shape, slice_of(reply, n + 4), &out), 0);
    }
    resp_out_free(&out);
    free(reply);
}

/* ---- which shape ---- */

static uint16_t shape_of(const struct redis_table *t, const char *words) {
    struct resp_request r = {0}, line = {0};
    struct resp_out out = {0};
    resp_inline_encode(&line, slice_of(words, strlen(words)), &out, &resp_limits_default);
    uint8_t *p = guarded(out.p, out.n);
    CHECK(resp_request_parse(&r, p, out.n, &resp_limits_default) > 0);
    uint16_t shape = redis_command_shape(redis_table_resolve(t, &r, p), &r, p);
    resp_out_free(&out);
    return shape;
}

TEST(the_request_tells_the_shape) {
    static struct rows rows;
    char err[200];
    struct redis_table *t = rows_table(&rows, some_rows, countof(some_rows), err, sizeof err);
    CHECK_STR(err, "");
    CHECK_EQ(shape_of(t, "get k"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "nosuch k"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "hgetall k"), REDIS_SHAPE_MAP);
    CHECK_EQ(shape_of(t, "config get x"), REDIS_SHAPE_MAP);
    CHECK_EQ(shape_of(t, "zrange k 0 1"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "zrange k 0 1 withScores"), REDIS_SHAPE_PAIRS_DOUBLE);
    CHECK_EQ(shape_of(t, "zrange k 0 1 withscoresx"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "zpopmin k"), REDIS_SHAPE_FLAT_DOUBLE);
    CHECK_EQ(shape_of(t, "zpopmin k 1"), REDIS_SHAPE_PAIRS_DOUBLE);
    CHECK_EQ(shape_of(t, "spop k"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "spop k 1"), REDIS_SHAPE_SET);
    CHECK_EQ(shape_of(t, "xinfo stream k"), REDIS_SHAPE_XINFO_STREAM);
    CHECK_EQ(shape_of(t, "xinfo stream k full"), REDIS_SHAPE_XINFO_STREAM_FULL);
    CHECK_EQ(shape_of(t, "xinfo stream full"), REDIS_SHAPE_XINFO_STREAM);
    /* keys named like options */
    CHECK_EQ(shape_of(t, "zrange withscores 0 1"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "hrandfield withvalues 2"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "zunion 2 a withscores"), REDIS_SHAPE_NONE);
    CHECK_EQ(shape_of(t, "zunion 2 a withscores withscores"), REDIS_SHAPE_PAIRS_DOUBLE);
    CHECK_EQ(redis_command_shape(NULL, NULL, NULL), REDIS_SHAPE_NONE);
    redis_table_free(t);
}

TEST(shape_columns_are_read_strictly) {
    static const char *const good[] = {
        "", "map", "opt:A:map", "args:3:set", "args:3:set|map", "opt:A:map|args:255:set|double"};
    static const char *const bad[] = {
        "nosuch",       "map|nosuch", "opt:map",         "opt::map", "args:x:map",
        "args:256:map", "args:3",     "map|map|map|map", "MAP",      "opt:AVERYLONGOPTIONWORD:map"};
    for (size_t i = 0; i < countof(good); i++) {
        struct redis_command cmd = {0};
        CHECK(redis_shape_parse(slice_of(good[i], strlen(good[i])), &cmd));
    }
    for (size_t i = 0; i < countof(bad); i++) {
        struct redis_command cmd = {0};
        if (redis_shape_parse(slice_of(bad[i], strlen(bad[i])), &cmd)) CHECK_STR(bad[i], "(refused)");
    }
}

int main(void) {
    RUN(without_a_shape_nulls_alone_change);
    RUN(aggregates_are_built_anew);
    RUN(scores_become_doubles);
    RUN(what_is_no_number_stays_in_its_bulk);
    RUN(replies_of_another_form_stay);
    RUN(scalars_of_a_kind);
    RUN(fields_have_patterns_of_their_own);
    RUN(a_command_and_its_subcommands);
    RUN(cut_replies_are_refused);
    RUN(what_was_written_before_stays);
    RUN(a_reply_that_passes_is_one_that_does_not_change);
    RUN(deep_replies_cost_no_stack);
    RUN(the_request_tells_the_shape);
    RUN(shape_columns_are_read_strictly);
    return 0;
}
