/* The command table: lookup, commands learnt from COMMAND, keys of requests. */
#include "check.h"
#include "redis_rows.h"
#include "../codecs/redis_shape.h"

static struct rows kept;

static struct redis_table *table(void) {
    char err[200];
    struct redis_table *t = rows_table(&kept, some_rows, countof(some_rows), err, sizeof err);
    CHECK(t != NULL);
    memset(kept.p, 0xee, sizeof kept.p); /* nothing of the plan is kept */
    return t;
}

static const struct redis_command *find(const struct redis_table *t, const char *name) {
    size_t n = strlen(name);
    return redis_table_find(t, slice_of(guarded(name, n), n));
}

static bool named(const struct redis_command *c, const char *name) {
    return c && slice_eq(c->full_name, slice_of(name, strlen(name)));
}

/* A request of words divided by blanks, "" for an empty one, against a guard page. Good until the next call but few. */
struct request {
    struct resp_request r;
    const uint8_t *p;
    size_t n;
};
static struct request request(const char *words) {
    struct resp_out out = {0}, body = {0};
    struct request q = {{0}, NULL, 0};
    uint64_t count = 0;
    for (const char *w = words; *w; w += strspn(w, " "), count++) {
        size_t n = strcspn(w, " ");
        resp_out_bulk(&body, n == 2 && w[0] == '"' ? slice_of("", 0) : slice_of(w, n));
        w += n;
    }
    resp_out_array(&out, count);
    resp_out_raw(&out, body.p, body.n);
    q.p = guarded(out.p, out.n), q.n = out.n;
    CHECK_EQ(resp_request_parse(&q.r, q.p, q.n, &resp_limits_default), q.n);
    resp_out_free(&out), resp_out_free(&body);
    return q;
}

/* ---- lookup ---- */

TEST(commands_are_found_in_any_case) {
    struct redis_table *t = table();
    CHECK(named(find(t, "GET"), "GET") && named(find(t, "get"), "GET") && named(find(t, "gEt"), "GET"));
    CHECK(named(find(t, "georadiusbymember"), "GEORADIUSBYMEMBER")); /* more than 16 bytes */
    CHECK(named(find(t, "ZUNIONSTORE"), "ZUNIONSTORE") && named(find(t, "Blmpop"), "BLMPOP"));
    for (uint32_t i = 0; i < redis_table_count(t); i++) {
        struct redis_command *c = redis_table_at(t, i);
        CHECK_EQ(c->index, i);
        if (!c->parent) CHECK(redis_table_find(t, c->name) == c);
        else CHECK(redis_command_sub(c->parent, c->name) == c);
    }
    CHECK(redis_table_at(t, redis_table_count(t)) == NULL);
    redis_table_free(t);
}

TEST(other_names_are_not_found) {
    static const char *const names[] = {"",
                                        "G",
                                        "GE",
                                        "GETX",
                                        "XGET",
                                        "GETGETGET",
                                        "SE",
                                        "\x07"
                                        "ET",
                                        "GE\x14",
                                        "georadiusbyme_ber",
                                        "georadiusbxmember",
                                        "GEORADIUSBYMEMBERR",
                                        "[ET",
                                        "ge`",
                                        "\xc7\xc5\xd4",
                                        "MGE4",
                                        "BL\rPOP"};
    struct redis_table *t = table();
    for (size_t i = 0; i < countof(names); i++) CHECK(find(t, names[i]) == NULL);
    char longest[4000];
    memset(longest, 'G', sizeof longest);
    CHECK(redis_table_find(t, slice_of(longest, sizeof longest)) == NULL);
    CHECK(redis_table_find(t, slice_of("GET\0", 4)) == NULL && redis_table_find(t, slice_of("\0GET", 4)) == NULL);
    CHECK(redis_table_find(t, slice_of(NULL, 0)) == NULL);
    redis_table_free(t);
}

TEST(bytes_that_are_no_letters_keep_their_case) {
    static const struct row rows[] = {{"BITFIELD_RO", -2, "", 1, 1, 1, "plain", "", "", 0},
                                      {"RESTORE-ASKING", -4, "", 1, 1, 1, "plain", "", "", 0},
                                      {"X@[`{", -1, "", 0, 0, 0, "plain", "", "", 0}};
    char err[200];
    struct redis_table *t = rows_table(&kept, rows, countof(rows), err, sizeof err);
    CHECK(find(t, "bitfield_ro") && !find(t, "bitfield\x7fro") && find(t, "restore-asking") &&
          !find(t, "restore\rasking"));
    CHECK(find(t, "x@[`{") && !find(t, "x`{@[") && !find(t, "x@{`["));
    redis_table_free(t);
}

TEST(subcommands_are_resolved) {
    struct redis_table *t = table();
    struct request q = request("config set maxmemory 1");
    const struct redis_command *c = redis_table_resolve(t, &q.r, q.p);
    CHECK(named(c, "CONFIG SET") && slice_eq(c->name, SLICE("SET")) && c->merge == REDIS_MERGE_ALL_OK &&
          named(c->parent, "CONFIG"));
    q = request("CONFIG nonsense");
    CHECK(named(redis_table_resolve(t, &q.r, q.p), "CONFIG"));
    q = request("CONFIG");
    CHECK(named(redis_table_resolve(t, &q.r, q.p), "CONFIG"));
    q = request("SET config get");
    CHECK(named(redis_table_resolve(t, &q.r, q.p), "SET"));
    q = request("nonsense get");
    CHECK(redis_table_resolve(t, &q.r, q.p) == NULL);
    CHECK(redis_command_sub(find(t, "GET"), SLICE("GET")) == NULL);
    redis_table_free(t);
}

TEST(rows_are_read_whole) {
    struct redis_table *t = table();
    const struct redis_command *c = find(t, "BLPOP");
    CHECK(c->arity == -3 && c->flags == (REDIS_WRITE | REDIS_BLOCKING) && c->class == REDIS_CLASS_BLOCKING &&
          c->merge == REDIS_MERGE_NONE);
    CHECK(c->first == 1 && c->last == -2 && c->step == 1 && !c->learnt && !c->finder && c->stats == 0);
    CHECK(find(t, "MGET")->merge == REDIS_MERGE_SPLIT_ARRAY && find(t, "EVAL")->finder);
    CHECK(redis_arity_fits(c, 3) && redis_arity_fits(c, 9) && !redis_arity_fits(c, 2));
    CHECK(redis_arity_fits(find(t, "GET"), 2) && !redis_arity_fits(find(t, "GET"), 3) &&
          !redis_arity_fits(find(t, "GET"), 1));
    redis_table_free(t);
}

static void refused(const struct row *rows, size_t count, const char *want) {
    char err[200];
    struct redis_table *t = rows_table(&kept, rows, count, err, sizeof err);
    CHECK(t == NULL);
    CHECK_STR(err, want);
    redis_table_free(t);
}

TEST(malformed_rows_are_refused_with_their_name) {
    static const struct row flags[] = {{"GET", 2, "read red", 1, 1, 1, "plain", "", "", 0}};
    static const struct row class[] = {{"GET", 2, "read", 1, 1, 1, "plane", "", "", 0}};
    static const struct row merge[] = {{"GET", 2, "read", 1, 1, 1, "plain", "sum", "", 0}};
    static const struct row shape[] = {{"GET", 2, "read", 1, 1, 1, "plain", "", "opt:X", 0}};
    static const struct row arity[] = {{"GET", 0, "read", 1, 1, 1, "plain", "", "", 0}};
    static const struct row keys[] = {{"GET", 2, "read", 1, 1, 0, "plain", "", "", 0}};
    static const struct row twice[] = {{"GET", 2, "read", 1, 1, 1, "plain", "", "", 0},
                                       {"get", 2, "read", 1, 1, 1, "plain", "", "", 0}};
    static const struct row sub[] = {{"CONFIG", -2, "", 0, 0, 0, "plain", "", "", 2},
                                     {"GET", -2, "", 0, 0, 0, "plain", "", "", 0},
                                     {"GET", -2, "", 0, 0, 0, "plain", "", "", 0}};
    static const struct row empty[] = {{"", 2, "read", 1, 1, 1, "plain", "", "", 0}};
    refused(flags, 1, "redis command table: GET: bad flags");
    refused(class, 1, "redis command table: GET: bad class");
    refused(merge, 1, "redis command table: GET: bad merge");
    refused(shape, 1, "redis command table: GET: bad shape");
    refused(arity, 1, "redis command table: GET: bad arity");
    refused(keys, 1, "redis command table: GET: bad key positions");
    refused(twice, 2, "redis command table: get: bad name, it comes twice");
    refused(sub, 3, "redis command table: CONFIG GET: bad name, it comes twice");
    refused(empty, 1, "redis command table: : bad entry");
    char err[200];
    struct mpack nothing = {.type = MP_NONE};
    CHECK(redis_table_new(nothing, err, sizeof err) == NULL);
    CHECK_STR(err, "no redis command table");
    redis_table_free(NULL);
}

/* ---- keys ---- */

static void keys_are(const struct redis_table *t, const char *words, const char *want) {
    struct request q = request(words);
    const struct redis_command *c = redis_table_resolve(t, &q.r, q.p);
    struct redis_keys k;
    struct slice key;
    char got[512] = "";
    size_t n = 0, count = 0;
    redis_keys_begin(&k, c, &q.r, q.p);
    CHECK(!k.partial);
    for (; redis_keys_next(&k, &key); count++) {
        if (count) got[n++] = ' ';
        memcpy(got + n, key.p, key.n), n += key.n;
        struct slice again = resp_arg_at(&q.r, q.p, k.arg);
        CHECK(again.p == key.p && again.n == key.n);
        if (count == 0) CHECK(redis_first_key(c, &q.r, q.p, &again) && again.p == key.p);
    }
    CHECK(!redis_keys_next(&k, &key));
    CHECK_BYTES(got, n, want, strlen(want));
}

TEST(keys_at_fixed_places) {
    struct redis_table *t = table();
    keys_are(t, "GET a", "a");
    keys_are(t, "GET", "");
    keys_are(t, "PING a", "");
    keys_are(t, "nonsense a b", "");
    keys_are(t, "MGET a b c d e f g h i j", "a b c d e f g h i j");
    keys_are(t, "MSET a 1 b 2 c 3 d 4 e 5", "a b c d e");
    keys_are(t, "BLPOP a b c 0", "a b c");
    keys_are(t, "BLPOP a", "");
    keys_are(t, "RENAME a b", "a b");
    keys_are(t, "XINFO STREAM s FULL", "s");
    keys_are(t, "XINFO", "");
    redis_table_free(t);
}

TEST(keys_behind_a_count) {
    struct redis_table *t = table();
    keys_are(t, "EVAL script 2 a b c", "a b");
    keys_are(t, "EVAL script 0 a b", "");
    keys_are(t, "EVAL script 3 a b", "");
    keys_are(t, "EVAL script -1 a", "");
    keys_are(t, "EVAL script 01 a", "");
    keys_are(t, "EVAL script x a", "");
    keys_are(t, "EVAL script 18446744073709551615 a", "");
    keys_are(t, "EVAL script 4294967297 a", "");
    keys_are(t, "EVAL script", "");
    keys_are(t, "EVAL script 10 a b c d e f g h i j k", "a b c d e f g h i j");
    keys_are(t, "ZUNION 2 a b WITHSCORES", "a b");
    keys_are(t, "ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b");
    keys_are(t, "ZUNIONSTORE d 9 a b", "d");
    keys_are(t, "LMPOP 2 a b LEFT", "a b");
    keys_are(t, "BLMPOP 0 2 a b LEFT COUNT 3", "a b");
    redis_table_free(t);
}

TEST(keys_behind_a_word) {
    struct redis_table *t = table();
    keys_are(t, "XREAD COUNT 2 BLOCK 0 streams a b 0 0", "a b");
    keys_are(t, "XREAD STREAMS streams 0", "streams");
    keys_are(t, "XREAD STREAMS a b 0", "");
    keys_are(t, "XREAD STREAMS", "");
    keys_are(t, "XREAD COUNT STREAMS a 0", "");
    keys_are(t, "XREAD nonsense STREAMS a 0", "");
    keys_are(t, "XREAD COUNT", "");
    keys_are(t, "XREADGROUP GROUP STREAMS c NOACK STREAMS k >", "k");
    keys_are(t, "XREADGROUP GROUP g", "");
    keys_are(t, "MIGRATE h 1 k 0 100", "k");
    keys_are(t, "MIGRATE h 1 k 0 100 COPY REPLACE", "k");
    keys_are(t, "MIGRATE h 1 \"\" 0 100 KEYS a b", "a b");
    keys_are(t, "MIGRATE h 1 \"\" 0 100 AUTH keys COPY KEYS a b", "a b");
    keys_are(t, "MIGRATE h 1 \"\" 0 100 AUTH2 keys keys KEYS a b", "a b");
    keys_are(t, "MIGRATE h 1 k 0 100 KEYS a b", "");
    keys_are(t, "MIGRATE h 1 \"\" 0 100 KEYS", "");
    keys_are(t, "MIGRATE h", "");
    keys_are(t, "SORT k", "k");
    keys_are(t, "SORT k BY store GET store LIMIT 0 1 STORE d", "k d");
    keys_are(t, "SORT k STORE d STORE e", "k e");
    keys_are(t, "SORT k STORE d STORE", "k d");
    keys_are(t, "SORT k STORE", "k");
    keys_are(t, "SORT k LIMIT 1", "k");
    keys_are(t, "GEORADIUS k 1 2 3 m STORE d", "k d");
    keys_are(t, "GEORADIUS store 1 2 3 m STOREDIST d", "store d");
    keys_are(t, "GEORADIUS k 1 2 3 m COUNT 1 STORE d STOREDIST e", "k e");
    keys_are(t, "GEORADIUSBYMEMBER k store 3 m STORE d", "k d");
    redis_table_free(t);
}

TEST(a_head_tells_that_keys_may_follow) {
    static const struct {
        const char *words; /* all of the request */
        uint32_t above;    /* stream_above */
        const char *keys;
        bool partial;
    } cases[] = {
        {"SET k aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 30, "k", false},
        {"MSET a 1 b aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa c 3", 45, "a b", true},
        {"MGET a b c d e f g h i j k l", 60, "a b c d e f", true},
        {"SET aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b", 30, "", true},
        {"EVAL aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1 b", 30, "", true},
        {"SORT k STORE aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40, "k", true},
        {"XREAD STREAMS k aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40, "k", false},
    };
    struct redis_table *t = table();
    for (size_t i = 0; i < countof(cases); i++) {
        struct request q = request(cases[i].words);
        struct resp_limits lim = resp_limits_default;
        lim.stream_above = cases[i].above;
        resp_request_reset(&q.r);
        CHECK_EQ(resp_request_parse(&q.r, q.p, q.n, &lim), 0);
        CHECK(q.r.large);
        struct redis_keys k;
        struct slice key;
        char got[100] = "";
        size_t n = 0;
        redis_keys_begin(&k, redis_table_resolve(t, &q.r, q.p), &q.r, q.p);
        for (; redis_keys_next(&k, &key); got[n++] = ' ') memcpy(got + n, key.p, key.n), n += key.n;
        if (n) n--;
        CHECK_BYTES(got, n, cases[i].keys, strlen(cases[i].keys));
        CHECK_EQ(k.partial, cases[i].partial);
    }
    redis_table_free(t);
}

TEST(keys_of_a_long_request_take_one_walk) { /* 300,000 arguments: a walk for each would never end */
    struct redis_table *t = table();
    struct resp_out out = {0};
    struct resp_limits lim = resp_limits_default;
    lim.stream_above = UINT32_MAX;
    static const char *const names[] = {"MSET", "SORT", "XREAD", "EVAL", "MIGRATE", "GEORADIUS"};
    for (size_t i = 0; i < countof(names); i++) {
        resp_out_clear(&out);
        resp_out_array(&out, 300001);
        resp_out_bulk(&out, slice_of(names[i], strlen(names[i])));
        for (uint32_t k = 0; k < 300000; k++) resp_out_bulk(&out, k == 1 ? SLICE("299998") : SLICE("NOACK"));
        struct resp_request r = {0};
        CHECK_EQ(resp_request_parse(&r, out.p, out.n, &lim), out.n);
        struct redis_keys k;
        struct slice key;
        uint32_t count = 0;
        redis_keys_begin(&k, redis_table_resolve(t, &r, out.p), &r, out.p);
        while (redis_keys_next(&k, &key)) count++;
        CHECK(count <= 299998);
        if (i == 0) CHECK_EQ(count, 150000);
        if (i == 3) CHECK_EQ(count, 299998);
    }
    resp_out_free(&out);
    redis_table_free(t);
}

static void tag_is(const char *key, const char *want) {
    struct slice tag = redis_key_tag(slice_of(key, strlen(key)));
    CHECK_BYTES(tag.p, tag.n, want, strlen(want));
}

TEST(hash_tags_are_those_of_redis_cluster) {
    tag_is("user", "user"), tag_is("", ""), tag_is("{user}.a", "user"), tag_is("a{user}b", "user"),
        tag_is("a{}b{c}", "a{}b{c}");
    tag_is("a{{b}}", "{b"), tag_is("a{b}{c}", "b"), tag_is("a{b", "a{b"), tag_is("a}b{", "a}b{"), tag_is("{", "{"),
        tag_is("}{", "}{");
}

/* ---- commands learnt from COMMAND ---- */

/* As redis-server 7 tells them, RESP2; MSETEX is 8.4's. */
static const char msetex[] =
    "*10\r\n$6\r\nmsetex\r\n:-4\r\n*2\r\n+write\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n*1\r\n+@write\r\n*0\r\n"
    "*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+OW\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*"
    "2\r\n$5\r\nindex\r\n:1\r\n"
    "$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$6\r\nkeynum\r\n$4\r\nspec\r\n*6\r\n$9\r\nkeynumidx\r\n:0\r\n$"
    "8\r\nfirstkey\r\n:1\r\n$7\r\nkeystep\r\n:2\r\n*0\r\n";
/* A command with a word, RESP3: keys behind KEYS, searched backwards from the end; and a fixed one. */
static const char wordy[] =
    "*10\r\n$7\r\nm.wordy\r\n:-2\r\n~2\r\n+readonly\r\n+movablekeys\r\n:1\r\n:1\r\n:1\r\n~0\r\n~0\r\n"
    "~3\r\n%3\r\n$5\r\nflags\r\n~1\r\n+RO\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%"
    "1\r\n$5\r\nindex\r\n:1\r\n"
    "$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$"
    "7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
    "%3\r\n$5\r\nflags\r\n~1\r\n+RO\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$7\r\nkeyword\r\n$4\r\nspec\r\n%"
    "2\r\n$7\r\nkeyword\r\n$4\r\nKeys\r\n$9\r\nstartfrom\r\n:-2\r\n"
    "$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:-1\r\n$"
    "7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:2\r\n"
    "%3\r\n$5\r\nflags\r\n~1\r\n+RO\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$7\r\nunknown\r\n$4\r\nspec\r\n%"
    "0\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$7\r\nunknown\r\n$4\r\nspec\r\n%0\r\n"
    "*0\r\n";
static const char container[] =
    "*10\r\n$5\r\nm.box\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n"
    "*2\r\n*10\r\n$9\r\nm.box|put\r\n:-4\r\n*1\r\n+write\r\n:2\r\n:2\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n"
    "*10\r\n$10\r\nm.box|help\r\n:2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n*0\r\n";
static const char old[] = "*6\r\n$6\r\nm.wait\r\n:-3\r\n*3\r\n+write\r\n+blocking\r\n+no_auth\r\n:1\r\n:-2\r\n:1\r\n";

static int learn(struct redis_table *t, const char *entry) {
    size_t n = strlen(entry);
    return redis_table_add(t, slice_of(guarded(entry, n), n));
}

TEST(commands_are_learnt_with_their_keys) {
    struct redis_table *t = table();
    uint32_t before = redis_table_count(t);
    CHECK_EQ(learn(t, msetex), 1);
    CHECK_EQ(learn(t, wordy), 1);
    CHECK_EQ(learn(t, container), 1);
    CHECK_EQ(learn(t, old), 1);
    CHECK_EQ(redis_table_count(t), before + 6);
    const struct redis_command *c = find(t, "MSETEX");
    CHECK(c->learnt && c->arity == -4 && c->flags == (REDIS_WRITE | REDIS_MOVABLE) && c->class == REDIS_CLASS_PLAIN &&
          c->finder);
    keys_are(t, "MSETEX 2 a 1 b 2 EX 10", "a b");
    keys_are(t, "MSETEX 3 a 1 b 2", "");
    keys_are(t, "MSETEX 18446744073709551615 a 1", "");
    keys_are(t, "MSETEX", "");
    keys_are(t, "M.WORDY k a keys b keys c d e f", "k c d");
    keys_are(t, "M.WORDY k a b", "k");
    keys_are(t, "M.WORDY k keys", "k"); /* the search begins before the last argument */
    keys_are(t, "M.BOX put k v", "k");
    keys_are(t, "M.BOX help", "");
    keys_are(t, "M.WAIT a b 0", "a b");
    c = find(t, "m.wait");
    CHECK(c->class == REDIS_CLASS_BLOCKING && c->flags == (REDIS_WRITE | REDIS_BLOCKING | REDIS_NOAUTH) && !c->finder);
    redis_table_free(t);
}

TEST(what_is_known_is_not_changed) {
    struct redis_table *t = table();
    CHECK_EQ(learn(t, "*6\r\n$3\r\nget\r\n:-9\r\n*1\r\n+write\r\n:3\r\n:3\r\n:1\r\n"), 0);
    CHECK(find(t, "GET")->arity == 2 && find(t, "GET")->flags == (REDIS_READ | REDIS_IDEMPOTENT));
    CHECK_EQ(learn(t, msetex), 1);
    CHECK_EQ(learn(t, msetex), 0);
    CHECK_EQ(learn(t, "*-1\r\n"), 0);
    redis_table_free(t);
}

TEST(malformed_entries_are_refused_wherever_they_are_cut) {
    static const char *const entries[] = {msetex, wordy, container, old};
    for (size_t i = 0; i < countof(entries); i++)
        for (size_t n = 0; n < strlen(entries[i]); n++) {
            struct redis_table *t = table();
            CHECK_EQ(redis_table_add(t, slice_of(guarded(entries[i], n), n)), -1);
            redis_table_free(t);
        }
    struct redis_table *t = table();
    CHECK_EQ(learn(t, "$3\r\nabc\r\n"), -1);
    CHECK_EQ(learn(t, "*6\r\n*0\r\n:1\r\n*0\r\n:0\r\n:0\r\n:0\r\n"), -1);
    CHECK_EQ(learn(t, "*6\r\n$1\r\na\r\n$1\r\n1\r\n*0\r\n:0\r\n:0\r\n:0\r\n"), -1);
    CHECK_EQ(learn(t, "*6\r\n$1\r\na\r\n:9999999999\r\n*0\r\n:0\r\n:0\r\n:0\r\n"), -1);
    CHECK_EQ(learn(t, "*5\r\n$1\r\na\r\n:1\r\n*0\r\n:0\r\n:0\r\n"), -1);
    CHECK_EQ(learn(t, "*6\r\n$0\r\n\r\n:1\r\n*0\r\n:0\r\n:0\r\n:0\r\n"), 0);
    redis_table_free(t);
}

TEST(a_whole_command_reply_is_learnt) {
    struct redis_table *t = table();
    struct resp_out out = {0};
    char name[32];
    resp_out_array(&out, 2002);
    for (int i = 0; i < 2000; i++) { /* the table grows */
        resp_out_array(&out, 6);
        resp_out_bulk(&out, slice_of(name, (size_t)snprintf(name, sizeof name, "module.command%d", i)));
        resp_out_int(&out, -2), resp_out_array(&out, 0), resp_out_int(&out, 1), resp_out_int(&out, 1),
            resp_out_int(&out, 1);
    }
    resp_out_raw(&out, old, sizeof old - 1), resp_out_raw(&out, "*-1\r\n", 5);
    const struct redis_command *get = find(t, "GET");
    CHECK_EQ(redis_table_learn(t, slice_of(out.p, out.n)), 2001);
    CHECK(find(t, "GET") == get && find(t, "MODULE.COMMAND1999") && find(t, "module.command0") && find(t, "M.WAIT"));
    CHECK_EQ(redis_table_learn(t, slice_of(out.p, out.n)), 0);
    CHECK_EQ(redis_table_learn(t, SLICE("-ERR unknown command\r\n")), -1);
    CHECK_EQ(redis_table_learn(t, SLICE("*1\r\n+x\r\n")), -1);
    CHECK_EQ(redis_table_learn(t, SLICE("*2\r\n*-1\r\n")), -1);
    resp_out_free(&out);
    redis_table_free(t);
}

int main(void) {
    RUN(commands_are_found_in_any_case);
    RUN(other_names_are_not_found);
    RUN(bytes_that_are_no_letters_keep_their_case);
    RUN(subcommands_are_resolved);
    RUN(rows_are_read_whole);
    RUN(malformed_rows_are_refused_with_their_name);
    RUN(keys_at_fixed_places);
    RUN(keys_behind_a_count);
    RUN(keys_behind_a_word);
    RUN(a_head_tells_that_keys_may_follow);
    RUN(keys_of_a_long_request_take_one_walk);
    RUN(hash_tags_are_those_of_redis_cluster);
    RUN(commands_are_learnt_with_their_keys);
    RUN(what_is_known_is_not_changed);
    RUN(malformed_entries_are_refused_wherever_they_are_cut);
    RUN(a_whole_command_reply_is_learnt);
    return 0;
}
