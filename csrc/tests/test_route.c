/* Routing: predicates, tables against their plain meaning, splits, and what is said about faults in a plan. */
#include "check.h"
#include "route_model.h"

static struct upstream *const ups[] = {(struct upstream *)"a", (struct upstream *)"b", (struct upstream *)"c"};
static char err[256];

/* Table of a plan's bytes; NULL with err. `doc` may go afterwards. */
static struct route_table *open_table(const struct pack *doc, struct mpack *root) {
    struct slice bytes = slice_of(doc->p, doc->n);
    memset(err, 0, sizeof err);
    if (mpack_open(bytes, root) != 0) return NULL;
    return route_table_new(*root, NULL, (struct upstream **)ups, countof(ups), err, sizeof err);
}

static struct route_table *try_table(const char *json) {
    struct pack doc = {0};
    struct mpack root;
    pack_json(&doc, json);
    struct route_table *t = open_table(&doc, &root);
    pack_free(&doc); /* the table must have copied what it needs */
    return t;
}

/* A table that must be accepted. */
static struct route_table *table_of(const char *json) {
    struct route_table *t = try_table(json);
    if (t) return t;
    fprintf(stderr, "%s\n  is refused: %s\n", json, err);
    exit(1);
}

/* A table that must be refused with these words. */
static void check_refused(const char *json, const char *words) {
    struct route_table *t = try_table(json);
    CHECK(t == NULL);
    CHECK_STR(err, words);
    route_table_free(t);
}

static int find(const struct route_table *t, const struct message *m) {
    const struct route *r = route_find(t, m);
    return r ? (int)r->index : -1;
}

static struct slice text(const char *s) { return slice_of(s, strlen(s)); }

static struct message with(int attribute, const char *s) {
    struct message m = {0};
    m.has[attribute] = true;
    m.text[attribute] = text(s);
    return m;
}

/* --- predicates --- */

static const struct {
    const char *when;
    int attribute;
    const char *value; /* NULL: absent; of a number: its digits */
    bool holds;
} predicates[] = {
    {"['true']", MODEL_KEY, "x", true},
    {"['and']", MODEL_KEY, "x", true},
    {"['or']", MODEL_KEY, "x", false},
    {"['not', ['true']]", MODEL_KEY, "x", false},
    {"['eq', 'key', 'x']", MODEL_KEY, "x", true},
    {"['eq', 'model.key', 'x']", MODEL_KEY, "xx", false},
    {"['eq', 'key', '']", MODEL_KEY, "", true},
    {"['eq', 'key', 'x']", MODEL_KEY, NULL, false},
    {"['not', ['eq', 'key', 'x']]", MODEL_KEY, NULL, true},
    {"['not', ['not', ['eq', 'key', 'x']]]", MODEL_KEY, NULL, false},
    {"['exists', 'key']", MODEL_KEY, "", true},
    {"['exists', 'key']", MODEL_KEY, NULL, false},
    {"['prefix', 'key', '']", MODEL_KEY, NULL, false},
    {"['prefix', 'key', '']", MODEL_KEY, "", true},
    {"['prefix', 'key', 'ab']", MODEL_KEY, "ab", true},
    {"['prefix', 'key', 'ab']", MODEL_KEY, "a", false},
    {"['suffix', 'key', 'ab']", MODEL_KEY, "cab", true},
    {"['suffix', 'key', 'ab']", MODEL_KEY, "b", false},
    {"['contains', 'key', 'ab']", MODEL_KEY, "cabc", true},
    {"['contains', 'key', 'ab']", MODEL_KEY, "acb", false},
    {"['glob', 'key', '*']", MODEL_KEY, NULL, false},
    {"['glob', 'key', 'a*b?']", MODEL_KEY, "axxbc", true},
    {"['segments', 'key', '/u/{id}/x']", MODEL_KEY, "/u/7/x", true},
    {"['segments', 'key', '/u/{id}/x']", MODEL_KEY, "/u//x", false},
    {"['segments', 'key', '/u/{id}/x']", MODEL_KEY, "/u/7/8/x", false},
    {"['segments', 'key', '/u/{id}/x']", MODEL_KEY, "/u/7/x/", false},
    {"['segments', 'key', '/u/{id}/x']", MODEL_KEY, "/u/7", false},
    {"['segments', 'key', '/u/{id}']", MODEL_KEY, "/u/7", true},
    {"['segments', 'key', '/u/{id}']", MODEL_KEY, "/u/", false},
    {"['segments', 'key', '/u/{id=*}/{n}']", MODEL_KEY, "/u/7/8", true},
    {"['segments', 'key', '/u/{id}/f/{p=**}']", MODEL_KEY, "/u/7/f/a/b", true},
    {"['segments', 'key', '/u/{id}/f/{p=**}']", MODEL_KEY, "/u/7/f/", true},
    {"['segments', 'key', '/u/{id}/f/{p=**}']", MODEL_KEY, "/u/7/f", false},
    {"['segments', 'key', '/f/{p=**}']", MODEL_KEY, "/f/a/b", true},
    {"['segments', 'key', '/f/{p=**}']", MODEL_KEY, "/f", false},
    {"['segments', 'key', '/f*']", MODEL_KEY, "/f*", true},
    {"['segments', 'key', '/f*']", MODEL_KEY, "/fx", false},
    {"['segments', 'key', '{all=**}']", MODEL_KEY, "", true},
    {"['segments', 'key', '{all=**}']", MODEL_KEY, NULL, false},
    {"['segments', 'key', '{a}']", MODEL_KEY, "x", true},
    {"['segments', 'key', '{a}']", MODEL_KEY, "", false},
    {"['regex', 'key', '^a+$']", MODEL_KEY, "aaa", true},
    {"['regex', 'key', '^a+$']", MODEL_KEY, "aaa\n", false},
    {"['regex', 'key', '']", MODEL_KEY, "", true},
    {"['regex', 'key', '(*NO_JIT)b']", MODEL_KEY, "abc", true},
    {"['in', 'key', ['a', 'b', 7, true]]", MODEL_KEY, "7", true},
    {"['in', 'key', ['a', 'b', 7, true]]", MODEL_KEY, "true", true},
    {"['not', ['in', 'key', ['a', 'b']]]", MODEL_KEY, "b", false},
    {"['not', ['in', 'key', ['a', 'b']]]", MODEL_KEY, "c", true},
    {"['in', 'key', []]", MODEL_KEY, "", false},
    {"['not', ['in', 'key', []]]", MODEL_KEY, "", true},
    /* numbers as text */
    {"['eq', 'key', 7]", MODEL_KEY, "7", true},
    {"['eq', 'key', 7]", MODEL_KEY, "07", false},
    {"['eq', 'key', -7]", MODEL_KEY, "-7", true},
    {"['eq', 'key', 7.0]", MODEL_KEY, "7", true},
    {"['ge', 'key', 7]", MODEL_KEY, "007", true},
    {"['gt', 'key', 6.5]", MODEL_KEY, "7", true},
    {"['lt', 'key', 7]", MODEL_KEY, "seven", false},
    {"['ge', 'key', 7]", MODEL_KEY, "seven", false},
    {"['lt', 'key', 0]", MODEL_KEY, "-", false},
    {"['gt', 'key', 5]", MODEL_KEY, "99999999999999999999", true},
    {"['lt', 'key', 5]", MODEL_KEY, "-99999999999999999999", true},
    /* numbers */
    {"['eq', 'db', 3]", MODEL_DB, "3", true},
    {"['eq', 'db', '3']", MODEL_DB, "3", true},
    {"['eq', 'db', 3]", MODEL_DB, NULL, false},
    {"['in', 'db', [1, '2', 3.0]]", MODEL_DB, "3", true},
    {"['not', ['in', 'db', [1, '2']]]", MODEL_DB, "2", false},
    {"['lt', 'db', 3]", MODEL_DB, "2", true},
    {"['lt', 'db', 3]", MODEL_DB, "3", false},
    {"['lt', 'db', 2.5]", MODEL_DB, "2", true},
    {"['lt', 'db', 3.0]", MODEL_DB, "3", false},
    {"['le', 'db', 2.5]", MODEL_DB, "3", false},
    {"['gt', 'db', 2.5]", MODEL_DB, "3", true},
    {"['ge', 'db', 2.5]", MODEL_DB, "2", false},
    {"['ge', 'db', -2.5]", MODEL_DB, "-2", true},
    {"['lt', 'db', -2.5]", MODEL_DB, "-3", true},
    {"['lt', 'db', -2.5]", MODEL_DB, "-2", false},
    {"['lt', 'db', 18446744073709551615]", MODEL_DB, "9223372036854775807", true},
    {"['gt', 'db', 18446744073709551615]", MODEL_DB, "9223372036854775807", false},
    {"['gt', 'db', 9223372036854775807]", MODEL_DB, "9223372036854775807", false},
    {"['lt', 'db', -9223372036854775808]", MODEL_DB, "-9223372036854775808", false},
    {"['ge', 'db', -99999999999999999999.0]", MODEL_DB, "-9223372036854775808", true},
    {"['le', 'db', -99999999999999999999.0]", MODEL_DB, "-9223372036854775808", false},
    {"['eq', 'flag', true]", MODEL_FLAG, "1", true},
    {"['eq', 'flag', 'true']", MODEL_FLAG, "0", false},
    {"['in', 'flag', [false, 'true']]", MODEL_FLAG, "0", true},
};

TEST(each_predicate_means_what_it_says) {
    for (size_t i = 0; i < countof(predicates); i++) {
        char json[256];
        snprintf(json, sizeof json, "{'routes': [{'name': 'r', 'to': 0, 'when': %s}]}", predicates[i].when);
        struct route_table *t = table_of(json);
        struct message m = {0};
        int a = predicates[i].attribute;
        if (predicates[i].value) {
            m = with(a, predicates[i].value);
            m.number[a] = strtoll(predicates[i].value, NULL, 10);
        }
        bool holds = find(t, &m) == 0;
        CHECK_EQ(holds, predicates[i].holds);
        if (holds != predicates[i].holds) fprintf(stderr, "  %s of %s\n", predicates[i].when, predicates[i].value);
        route_table_free(t);
    }
}

TEST(a_list_attribute_holds_if_any_value_does) {
    struct route_table *t = table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['suffix', 'keys', ':x']},"
                                     "{'name': 'b', 'to': 0, 'when': ['prefix', 'keys', 'k1']},"
                                     "{'name': 'c', 'to': 0, 'when': ['not', ['eq', 'keys', 'k2']]}]}");
    struct message m = {.keys = {text("k2"), text("k10"), text("a:x")}};
    static const int expected[] = {2, -1, 1, 0};
    for (m.key_count = 0; m.key_count < 4; m.key_count++) CHECK_EQ(find(t, &m), expected[m.key_count]);
    route_table_free(t);
}

TEST(lists_read_in_turns_keep_their_values) {
    struct route_table *t = table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['and', ['suffix', 'keys', 'x'],"
                                     "['suffix', 'tags', 'y'], ['suffix', 'keys', 'q']]},"
                                     "{'name': 'b', 'to': 0, 'when': ['suffix', 'tags', 'ay']}]}");
    struct message m = {.keys = {text("1x"), text("2"), text("3"), text("ay")}, .key_count = 4};
    CHECK_EQ(find(t, &m), 1);
    route_table_free(t);
}

TEST(regex_that_runs_into_its_limit_does_not_match) {
    struct route_table *t = table_of("{'routes': [{'name': 'r', 'to': 0, 'when': ['regex', 'key', '^(a+)+$']},"
                                     "{'name': 'i', 'to': 0, 'when': ['regex', 'key', '(*NO_JIT)^(a+)+$']}]}");
    CHECK(t);
    struct message m = with(MODEL_KEY, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    CHECK_EQ(find(t, &m), -1);
    m = with(MODEL_KEY, "aaaa");
    CHECK_EQ(find(t, &m), 0);
    route_table_free(t);
}

/* --- tables --- */

TEST(first_route_in_order_wins) {
    struct route_table *t =
        table_of("{'routes': ["
                 "{'name': 'deny', 'when': ['in', 'operation', ['KEYS', 'FLUSHALL']], 'reply': {'error': 'ERR no'}},"
                 "{'name': 'long', 'when': ['prefix', 'key', 'session:eu:'], 'to': 0},"
                 "{'name': 'exact', 'when': ['eq', 'key', 'session:1'], 'to': 1},"
                 "{'name': 'glob', 'when': ['glob', 'key', 's*:9'], 'to': 1},"
                 "{'name': 'short', 'when': ['prefix', 'key', 'session:'], 'to': 1},"
                 "{'name': 'both', 'when': ['or', ['prefix', 'user', 'x'], ['eq', 'key', 'y']], 'to': 1},"
                 "{'name': 'rest', 'to': 2, 'timeout_ms': 250, 'stats': 70},"
                 "{'name': 'never', 'when': ['eq', 'key', 'z'], 'to': 0}]}");
    CHECK(t && route_count(t) == 8);
    static const struct {
        const char *key;
        int route;
    } cases[] = {{"session:eu:1", 1}, {"session:1", 2}, {"session:9", 3}, {"session:", 4},
                 {"session", 6},      {"y", 5},         {"z", 6},         {"", 6}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct message m = with(MODEL_KEY, cases[i].key);
        CHECK_EQ(find(t, &m), cases[i].route);
        m.has[MODEL_OPERATION] = true;
        m.text[MODEL_OPERATION] = text("KEYS");
        CHECK_EQ(find(t, &m), 0);
    }
    struct message m = with(MODEL_USER, "xy");
    CHECK_EQ(find(t, &m), 5);
    const struct route *deny = route_at(t, 0), *rest = route_at(t, 6);
    CHECK(deny->action == ROUTE_REPLY && slice_eq(deny->reply, text("ERR no")) && route_upstream(deny, &m) == NULL);
    CHECK(rest->action == ROUTE_TO && rest->timeout_ms == 250 && rest->stats == 70 &&
          route_upstream(rest, &m) == ups[2]);
    CHECK(slice_eq(rest->name, text("rest")) && rest->mirror == NULL && rest->index == 6);
    route_table_free(t);
}

TEST(empty_table_finds_nothing_and_a_lone_route_everything) {
    struct message m = {0};
    struct route_table *t = table_of("{'routes': []}");
    CHECK(t && route_count(t) == 0 && route_find(t, &m) == NULL);
    route_table_free(t);
    t = table_of("{'routes': [{'name': 'all', 'when': null, 'to': 1}]}");
    CHECK_EQ(find(t, &m), 0);
    route_table_free(t);
}

TEST(order_decides_between_a_key_and_its_prefixes) {
    struct route_table *t = table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['eq', 'key', 'a:1']},"
                                     "{'name': 'b', 'to': 0, 'when': ['prefix', 'key', 'a:']},"
                                     "{'name': 'c', 'to': 0, 'when': ['eq', 'key', 'a:2']},"
                                     "{'name': 'd', 'to': 0, 'when': ['prefix', 'key', 'a']},"
                                     "{'name': 'e', 'to': 0, 'when': ['prefix', 'key', 'a:3']}]}");
    static const struct {
        const char *key;
        int route;
    } cases[] = {{"a:1", 0}, {"a:2", 1}, {"a:3", 1}, {"a", 3}, {"ab", 3}, {"b", -1}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct message m = with(MODEL_KEY, cases[i].key);
        CHECK_EQ(find(t, &m), cases[i].route);
    }
    struct message nothing = {0};
    CHECK(find(t, &nothing) == -1);
    route_table_free(t);
    t = table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['eq', 'key', 'b1']}, {'name': 'b', 'to': 0, 'when': "
                 "['prefix', 'key', 'b']},"
                 "{'name': 'c', 'to': 0, 'when': ['prefix', 'key', 'c']}, {'name': 'd', 'to': 0, 'when': ['prefix', "
                 "'key', 'c']},"
                 "{'name': 'e', 'to': 0, 'when': ['prefix', 'key', 'a']}]}");
    struct message m = with(MODEL_KEY, "b1");
    CHECK_EQ(find(t, &m), 0);
    m = with(MODEL_KEY, "b");
    CHECK_EQ(find(t, &m), 1);
    m = with(MODEL_KEY, "c");
    CHECK_EQ(find(t, &m), 2);
    route_table_free(t);
}

/* {"routes": [["prefix"|"eq", "key", "tenant<i>:"]..., catch-all]} */
static struct route_table *many_routes(const char *op, uint32_t n, const char *extra) {
    struct pack doc = {0};
    struct mpack root;
    pack_map(&doc, 1);
    pack_text(&doc, "routes");
    pack_array(&doc, n + 1);
    for (uint32_t i = 0; i <= n; i++) {
        char json[160];
        snprintf(json, sizeof json, "{'name': 'r', 'to': 0, 'when': ['and', %s ['%s', 'key', 'tenant%u:']]}", extra, op,
                 i);
        pack_json(&doc, i < n ? json : "{'name': 'rest', 'to': 1}");
    }
    struct route_table *t = open_table(&doc, &root);
    pack_free(&doc);
    return t;
}

TEST(ten_thousand_routes) {
    static const char *const extras[] = {"", "['eq', 'operation', 'GET'],",
                                         "['not', ['eq', 'operation', 'SET']], ['exists', 'key'],"};
    for (size_t e = 0; e < 2 * countof(extras); e++) {
        bool prefix = e % 2;
        struct route_table *t = many_routes(prefix ? "prefix" : "eq", 10000, extras[e / 2]);
        CHECK(t && route_count(t) == 10001);
        for (int i = 0; i < 10002; i++) {
            char key[64];
            struct message m = with(MODEL_OPERATION, "GET");
            m.has[MODEL_KEY] = true;
            m.text[MODEL_KEY] = slice_of(key, (size_t)snprintf(key, sizeof key, "tenant%d:%s", i, prefix ? "x" : ""));
            CHECK_EQ(find(t, &m), (i < 10000 ? i : 10000));
            m.text[MODEL_OPERATION] = text("SET");
            CHECK(find(t, &m) == (e > 1 || i >= 10000 ? 10000 : i));
        }
        route_table_free(t);
    }
}

TEST(routes_are_found_by_what_tells_them_apart) {
    struct route_table *t =
        many_routes("prefix", 10000, "['suffix', 'keys', 'zz'], ['in', 'operation', ['GET', 'PUT']],");
    struct message m = with(MODEL_OPERATION, "GET");
    m.has[MODEL_KEY] = true;
    m.text[MODEL_KEY] = text("tenant77:");
    for (m.key_count = 0; m.key_count < 40; m.key_count++)
        m.keys[m.key_count] = text("a"); /* more than a lookup keeps */
    memset(model_fetches, 0, sizeof model_fetches);
    CHECK_EQ(find(t, &m), 10000);
    CHECK(model_fetches[MODEL_KEYS] == 41); /* one route was tried, not all those for GET */
    route_table_free(t);
}

TEST(more_prefixes_and_strings_than_are_merged_at_once) {
    struct pack doc = {0};
    struct mpack root;
    uint8_t key[40];
    memset(key, 'a', sizeof key);
    pack_map(&doc, 1);
    pack_text(&doc, "routes");
    pack_array(&doc, 40);
    for (uint32_t i = 0; i < 40; i++) { /* prefixes of growing length, each only for its own user */
        char user[40];
        snprintf(user, sizeof user, "['suffix', 'user', '%u.']", i);
        pack_map(&doc, 3);
        pack_text(&doc, "name"), pack_text(&doc, "r");
        pack_text(&doc, "to"), pack_int(&doc, 0);
        pack_text(&doc, "when"), pack_array(&doc, 3), pack_text(&doc, "and"), pack_json(&doc, user);
        pack_array(&doc, 3), pack_text(&doc, "prefix"), pack_text(&doc, i < 30 ? "key" : "keys");
        pack_str(&doc, slice_of(key, i < 30 ? i + 1 : i - 29));
    }
    struct route_table *t = open_table(&doc, &root);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            char user[16];
            snprintf(user, sizeof user, "_%d.", i);
            struct message m = with(MODEL_USER, user);
            m.has[MODEL_KEY] = true;
            m.text[MODEL_KEY] = slice_of(key, sizeof key);
            for (m.key_count = 0; m.key_count < MODEL_STRINGS; m.key_count++)
                m.keys[m.key_count] = slice_of(key, m.key_count % 12);
            CHECK(find(t, &m) == i % 10 || i >= 10);
            CHECK(find(t, &m) == model_find(root, &m));
        }
    }
    route_table_free(t);
    pack_free(&doc);
}

TEST(random_tables_agree_with_trying_every_route) {
    struct dice d = {.rng = 20240229};
    static struct random_message r;
    uint32_t hits = 0, lookups = 0;
    for (int round = 0; round < 1500; round++) {
        struct pack doc = {0};
        struct mpack root;
        random_table(&doc, &d, roll(&d, round % 20 ? 30 : 300));
        struct route_table *t = open_table(&doc, &root);
        CHECK(t);
        if (!t) exit(1);
        for (int i = 0; i < 40; i++) {
            random_message(&r, &d);
            int found = find(t, &r.m);
            CHECK(found == model_find(root, &r.m));
            hits += found > 0, lookups++;
        }
        route_table_free(t);
        pack_free(&doc);
    }
    CHECK(hits > lookups / 10); /* else nothing was tested */
}

TEST(each_attribute_is_fetched_once) {
    /* seven routes: more than are simply tried in order */
    struct route_table *t =
        table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['prefix', 'key', 'x:']},"
                 "{'name': 'b', 'to': 0, 'when': ['suffix', 'key', ':y']},"
                 "{'name': 'c', 'to': 0, 'when': ['and', ['exists', 'user'], ['eq', 'user', 'me'], ['lt', 'user', 3]]},"
                 "{'name': 'd', 'to': 0, 'when': ['contains', 'keys', 'q']},"
                 "{'name': 'e', 'to': 0, 'when': ['prefix', 'keys', 'z']},"
                 "{'name': 'f', 'to': 0, 'when': ['suffix', 'keys', 'z']},"
                 "{'name': 'g', 'to': 0, 'when': ['suffix', 'keys', 'yz']}]}");
    struct message m = with(MODEL_KEY, "k");
    m.keys[0] = m.keys[1] = m.keys[2] = text("aq1");
    m.keys[1] = text("zz");
    m.keys[2] = text("c");
    m.key_count = 3;
    memset(model_fetches, 0, sizeof model_fetches);
    CHECK_EQ(find(t, &m), 3);
    CHECK(model_fetches[MODEL_KEY] == 1 && model_fetches[MODEL_USER] == 1);
    CHECK(model_fetches[MODEL_KEYS] == 4); /* three and the end */
    CHECK(model_fetches[MODEL_DB] == 0 && model_fetches[MODEL_FLAG] == 0);
    route_table_free(t);
}

TEST(uses_resource) {
    static const struct {
        const char *routes;
        bool uses;
    } cases[] = {
        {"{'name': 'a', 'to': 0, 'when': ['eq', 'user', 'x']}", false},
        {"{'name': 'a', 'to': 0, 'when': ['not', ['eq', 'key', 'x']]}", true},
        {"{'name': 'a', 'to': 0, 'when': ['exists', 'model.keys']}", true},
        {"{'name': 'a', 'to': 0, 'when': ['exists', 'resource']}", true},
        {"{'name': 'a', 'split': [[0, 1]], 'sticky': 'key'}", true},
        {"{'name': 'a', 'split': [[0, 1]], 'sticky': 'user'}", false},
        {"{'name': 'a', 'to': 0}", false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char json[256];
        snprintf(json, sizeof json, "{'routes': [%s, {'name': 'b', 'to': 1}]}", cases[i].routes);
        struct route_table *t = table_of(json);
        CHECK(route_at(t, 0)->uses_resource == cases[i].uses && route_at(t, 1)->uses_resource == cases[i].uses);
        route_table_free(t);
    }
}

/* --- splits --- */

static uint32_t target_of(struct upstream *u) {
    for (uint32_t i = 0; i < countof(ups); i++)
        if (ups[i] == u) return i;
    return UINT32_MAX;
}

TEST(split_is_exact_over_any_run) {
    struct route_table *t = table_of("{'routes': [{'name': 's', 'split': [[0, 95], [1, 5], [2, 0]]}]}");
    struct message m = {0};
    const struct route *r = route_find(t, &m);
    CHECK(r->action == ROUTE_SPLIT);
    uint8_t picks[1000];
    for (size_t i = 0; i < sizeof picks; i++) {
        picks[i] = (uint8_t)target_of(route_upstream(r, &m));
        CHECK(picks[i] < 2);
        if (i < 99) continue;
        uint32_t to_second = 0;
        for (size_t k = i - 99; k <= i; k++) to_second += picks[k];
        CHECK(to_second == 5); /* of every hundred in a row */
    }
    for (size_t i = 0; i + 20 <= sizeof picks; i++) { /* and evenly: one in twenty */
        uint32_t to_second = 0;
        for (size_t k = i; k < i + 20; k++) to_second += picks[k];
        CHECK(to_second == 1);
    }
    route_table_free(t);
}

TEST(sticky_split_keeps_a_client_where_it_is) {
    struct route_table *t = table_of("{'routes': [{'name': 's', 'split': [[0, 90], [1, 10]], 'sticky': 'user'}]}");
    struct route_table *grown = table_of("{'routes': [{'name': 's', 'split': [[0, 70], [1, 30]], 'sticky': 'user'}]}");
    uint32_t second = 0, moved_back = 0;
    for (int i = 0; i < 20000; i++) {
        char user[32];
        snprintf(user, sizeof user, "user%d", i);
        struct message m = with(MODEL_USER, user);
        struct upstream *u = route_upstream(route_at(t, 0), &m);
        CHECK(u == route_upstream(route_at(t, 0), &m));
        second += u == ups[1];
        moved_back += u == ups[1] && route_upstream(route_at(grown, 0), &m) != ups[1];
    }
    CHECK(second > 1800 && second < 2200);
    CHECK(moved_back == 0);
    struct message nobody = {0};
    uint32_t to_second = 0;
    for (int i = 0; i < 100; i++) to_second += route_upstream(route_at(t, 0), &nobody) == ups[1];
    CHECK(to_second == 10); /* without the attribute: by weight */
    route_table_free(t);
    route_table_free(grown);
}

TEST(sticky_by_number) {
    struct route_table *t = table_of("{'routes': [{'name': 's', 'split': [[0, 1], [1, 1]], 'sticky': 'db'}]}");
    uint32_t second = 0;
    for (int i = 0; i < 1000; i++) {
        struct message m = with(MODEL_DB, "");
        m.number[MODEL_DB] = i;
        second += route_upstream(route_at(t, 0), &m) == ups[1];
    }
    CHECK(second > 400 && second < 600);
    route_table_free(t);
}

TEST(mirror) {
    struct route_table *t = table_of("{'routes': [{'name': 'm', 'to': 0, 'mirror': {'to': 2, 'percent': 0.5}},"
                                     "{'name': 'n', 'to': 0, 'mirror': {'to': 1, 'percent': 100}}]}");
    CHECK(route_at(t, 0)->mirror == ups[2] && route_at(t, 0)->mirror_ppm == 5000);
    CHECK(route_at(t, 1)->mirror == ups[1] && route_at(t, 1)->mirror_ppm == 1000000);
    route_table_free(t);
}

/* --- faults in the plan --- */

static const struct {
    const char *route, *err;
} faults[] = {
    {"'to': 0, 'when': ['eq', 'kye', 'x']", "unknown attribute \"kye\""},
    {"'to': 0, 'when': ['eq', '', 'x']", "unknown attribute \"\""},
    {"'to': 0, 'when': ['and', ['eq', 'db', 'x']]",
     "attribute \"db\" is a number, so it takes an integer of at most 64 bits"},
    {"'to': 0, 'when': ['eq', 'db', 1.5]", "attribute \"db\" is a number, so it takes an integer of at most 64 bits"},
    {"'to': 0, 'when': ['eq', 'db', '9223372036854775808']",
     "attribute \"db\" is a number, so it takes an integer of at most 64 bits"},
    {"'to': 0, 'when': ['in', 'flag', [1]]", "attribute \"flag\" is a boolean, so it takes true or false"},
    {"'to': 0, 'when': ['lt', 'flag', 1]", "attribute \"flag\" is a boolean, so it has no order"},
    {"'to': 0, 'when': ['lt', 'db', '1']", "\"lt\" takes a number"},
    {"'to': 0, 'when': ['glob', 'db', '1*']",
     "attribute \"db\" is a number, so only eq, in, lt, le, gt, ge and exists apply to it"},
    {"'to': 0, 'when': ['prefix', 'key', 1]", "the test of \"key\" takes a string"},
    {"'to': 0, 'when': ['eq', 'key', null]", "a value to compare with is no string, integer or boolean"},
    {"'to': 0, 'when': ['in', 'key', 'x']", "\"in\" takes a list of values"},
    {"'to': 0, 'when': ['regex', 'key', 'a(b']", "regular expression \"a(b\": missing closing parenthesis (at byte 3)"},
    {"'to': 0, 'when': ['regex', 'key', '(*UTF)b']",
     "regular expression \"(*UTF)b\": using UTF is disabled by the application (at byte 6)"},
    {"'to': 0, 'when': ['segments', 'key', '/a{b}']", "path \"/a{b}\": braces fill a whole segment"},
    {"'to': 0, 'when': ['segments', 'key', '/{b}a']", "path \"/{b}a\": braces fill a whole segment"},
    {"'to': 0, 'when': ['segments', 'key', '/{b']", "path \"/{b\": a { is not closed"},
    {"'to': 0, 'when': ['segments', 'key', '/b}']", "path \"/b}\": a } closes nothing"},
    {"'to': 0, 'when': ['segments', 'key', '/{a{b}}']", "path \"/{a{b}}\": there is a { or / within braces"},
    {"'to': 0, 'when': ['segments', 'key', '/{a=x}']",
     "path \"/{a=x}\": in braces stands a name, alone or with =* or =** behind it"},
    {"'to': 0, 'when': ['segments', 'key', '/{a=***}']",
     "path \"/{a=***}\": in braces stands a name, alone or with =* or =** behind it"},
    {"'to': 0, 'when': ['segments', 'key', '/{a=**}/b']", "path \"/{a=**}/b\": a {name=**} is the end of the path"},
    {"'to': 0, 'when': ['segments', 'db', '/']",
     "attribute \"db\" is a number, so only eq, in, lt, le, gt, ge and exists apply to it"},
    {"'to': 0, 'when': ['eq', 'key']", "\"eq\" takes an attribute and a value"},
    {"'to': 0, 'when': ['exists', 'key', 1]", "\"exists\" takes an attribute"},
    {"'to': 0, 'when': ['not']", "\"not\" takes one predicate"},
    {"'to': 0, 'when': ['equals', 'key', 'x']", "unknown predicate \"equals\""},
    {"'to': 0, 'when': ['and', 'key']", "a predicate is a list that starts with its name"},
    {"'to': 0, 'when': {}", "a predicate is a list that starts with its name"},
    {"'to': 3", "there is no upstream number 3, only 3"},
    {"'to': -1", "an upstream is given by its number"},
    {"'to': 'main'", "an upstream is given by its number"},
    {"'when': null", "it needs exactly one of to, split, reply and redirect"},
    {"'to': 0, 'reply': {'error': 'x'}", "it needs exactly one of to, split, reply and redirect"},
    {"'reply': {}", "a reply has the text of its \"error\""},
    {"'to': 0, 'sticky': 'key'", "only a split can be sticky"},
    {"'split': []", "a split has 1 to 64 targets"},
    {"'split': [[0, 0], [1, 0]]", "all weights of the split are 0"},
    {"'split': [[0, -1]]", "a weight is an integer from 0 to 1000000"},
    {"'split': [[0]]", "a split is a list of upstream and weight"},
    {"'split': [[9, 1]]", "there is no upstream number 9, only 3"},
    {"'split': [[0, 1]], 'sticky': 'ky'", "unknown attribute \"ky\""},
    {"'to': 0, 'timeout_ms': -5", "\"timeout_ms\" is no integer from 0 to 4294967295"},
    {"'to': 0, 'mirror': {'to': 1, 'percent': 101}", "the percent of a mirror is a number from 0 to 100"},
    {"'to': 0, 'mirror': {'percent': 1}", "an upstream is given by its number"},
};

TEST(faults_name_the_route_and_say_what_is_wrong) {
    for (size_t i = 0; i < countof(faults); i++) {
        char json[256], words[256];
        snprintf(json, sizeof json, "{'routes': [{'name': 'ok', 'to': 0}, {'name': 'bad', %s}]}", faults[i].route);
        snprintf(words, sizeof words, "route \"bad\": %s", faults[i].err);
        check_refused(json, words);
    }
    check_refused("{}", "a table has a list of \"routes\"");
    check_refused("7", "a table has a list of \"routes\"");
    check_refused("{'routes': [{'to': 0}]}", "route number 0 has no name");
    check_refused("{'routes': [null]}", "route number 0 has no name");
}

TEST(nesting_is_limited) {
    char json[1024] = "{'routes': [{'name': 'deep', 'to': 0, 'when': ";
    for (int i = 0; i < 33; i++) strcat(json, "['not', ");
    strcat(json, "['true']");
    for (int i = 0; i < 33; i++) strcat(json, "]");
    strcat(json, "}]}");
    check_refused(json, "route \"deep\": predicates are nested more than 32 deep");
}

TEST(a_short_error_buffer_is_kept_to) {
    struct pack doc = {0};
    struct mpack root;
    pack_json(&doc, "{'routes': [{'name': 'bad', 'to': 99}]}");
    CHECK(mpack_open(slice_of(doc.p, doc.n), &root) == 0);
    for (size_t n = 0; n < 40; n++) {
        char *small = malloc(n ? n : 1);
        CHECK(!route_table_new(root, NULL, (struct upstream **)ups, countof(ups), small, n));
        if (n) CHECK(strlen(small) < n);
        free(small);
    }
    pack_free(&doc);
}

int main(void) {
    RUN(each_predicate_means_what_it_says);
    RUN(a_list_attribute_holds_if_any_value_does);
    RUN(lists_read_in_turns_keep_their_values);
    RUN(regex_that_runs_into_its_limit_does_not_match);
    RUN(first_route_in_order_wins);
    RUN(empty_table_finds_nothing_and_a_lone_route_everything);
    RUN(order_decides_between_a_key_and_its_prefixes);
    RUN(ten_thousand_routes);
    RUN(routes_are_found_by_what_tells_them_apart);
    RUN(more_prefixes_and_strings_than_are_merged_at_once);
    RUN(random_tables_agree_with_trying_every_route);
    RUN(each_attribute_is_fetched_once);
    RUN(uses_resource);
    RUN(split_is_exact_over_any_run);
    RUN(sticky_split_keeps_a_client_where_it_is);
    RUN(sticky_by_number);
    RUN(mirror);
    RUN(faults_name_the_route_and_say_what_is_wrong);
    RUN(nesting_is_limited);
    RUN(a_short_error_buffer_is_kept_to);
    return 0;
}
