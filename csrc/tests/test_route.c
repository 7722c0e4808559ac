/* Routing: globs, the trie, predicates, tables against their plain meaning, splits, errors. */
#include "../route/glob.h"
#include "../route/keytrie.h"
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

static struct route_table *table_of(const char *json) {
    struct pack doc = {0};
    struct mpack root;
    pack_json(&doc, json);
    struct route_table *t = open_table(&doc, &root);
    pack_free(&doc); /* the table must have copied what it needs */
    return t;
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

/* --- globs --- */

static void test_globs_as_redis_reads_them(void) {
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"", "", true}, {"", "a", false}, {"*", "", true}, {"***", "abc", true}, {"?", "", false}, {"?", "x", true},
        {"a*c", "abbbc", true}, {"a*c", "abbbd", false}, {"*a*b*", "xxaxxbxx", true}, {"*ab", "aab", true}, {"a?c", "abc", true},
        {"h[ae]llo", "hello", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hallo", true}, {"h[^e]llo", "hello", false},
        {"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false}, {"[]", "a", false},
        {"[^]", "a", true}, {"[a", "a", true}, {"[a", "b", false}, {"[a-", "-", true}, {"[", "a", false}, {"[\\]]", "]", true},
        {"[\\a-c]", "-", true}, {"[\\a-c]", "b", false}, {"\\*", "*", true}, {"\\*", "a", false}, {"\\", "\\", true},
        {"a\\", "a\\", true}, {"*\\?", "ab?", true}, {"*[bc]", "abc", true}, {"*?c", "c", false}, {"*\\a", "ba", true},
        {"a*", "a", true}, {"*x*y", "xyx", false}, {"[a-]]", "]", true}, {"[a-]]", "b]", false}, {"[]a]", "a", false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct slice p = text(cases[i].pattern), s = text(cases[i].text);
        CHECK(glob_match(p, s) == cases[i].fits);
        CHECK(model_glob(p, s) == cases[i].fits);
    }
    CHECK(glob_match(slice_of("a\0*", 3), slice_of("a\0\xff", 3)));
    CHECK(glob_match((struct slice){0}, (struct slice){0}));
}

static void test_globs_take_linear_time(void) {
    size_t n = 1 << 20;
    uint8_t *a = malloc(n);
    memset(a, 'a', n);
    static const char *const patterns[] = {"a*a*a*a*b", "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*?b", "*[a]*[a]*[a]*[a]*[b]", "*aaaaaaaab*"};
    for (size_t i = 0; i < countof(patterns); i++) CHECK(!glob_match(text(patterns[i]), slice_of(a, n)));
    a[n - 1] = 'b';
    CHECK(glob_match(text("a*a*a*a*b"), slice_of(a, n)));
    free(a);
}

static void test_random_globs_agree_with_their_meaning(void) {
    struct dice d = {.rng = 7};
    uint8_t pattern_room[64], text_room[64], literal[64];
    for (int i = 0; i < 100000; i++) {
        struct slice p = random_text(&d, pattern_room, true), s = random_text(&d, text_room, false);
        bool fits = model_glob(p, s);
        CHECK(glob_match(p, s) == fits);
        size_t n;
        enum glob_form form = glob_reduce(p, literal, &n);
        bool head = s.n >= n && !memcmp(s.p, literal, n), tail = s.n >= n && !memcmp(s.p + s.n - n, literal, n);
        if (form == GLOB_ANY) CHECK(fits);
        if (form == GLOB_EXACT) CHECK(fits == (head && s.n == n));
        if (form == GLOB_PREFIX) CHECK(fits == head);
        if (form == GLOB_SUFFIX) CHECK(fits == tail);
        if (form == GLOB_PATTERN) CHECK(head || !fits);
    }
}

/* --- the trie --- */

/* A copy that ends where its memory ends, so that reading on is seen. */
static struct slice flush_copy(struct slice s) {
    uint8_t *p = malloc(s.n ? s.n : 1);
    if (s.n) memcpy(p, s.p, s.n);
    return slice_of(p, s.n);
}

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
        struct slice key = flush_copy(roll(d, 4) ? random_text(d, room, false) : all[roll(d, n)].key);
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
            expected += all[k].prefix ? all[k].key.n <= key.n && !memcmp(all[k].key.p, key.p, all[k].key.n) : slice_eq(all[k].key, key);
        CHECK(found == expected);
        free((void *)key.p);
    }
    free(all), free(sorted);
    arena_free(&arena);
}

static void test_trie_finds_all_keys_and_no_others(void) {
    struct dice d = {.rng = 3};
    for (uint32_t i = 0; i < 300; i++) check_trie(&d, 1 + roll(&d, i % 10 ? 12 : 400));
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

static void test_each_predicate_means_what_it_says(void) {
    for (size_t i = 0; i < countof(predicates); i++) {
        char json[256];
        snprintf(json, sizeof json, "{'routes': [{'name': 'r', 'to': 0, 'when': %s}]}", predicates[i].when);
        struct route_table *t = table_of(json);
        if (!t) fprintf(stderr, "%s: %s\n", predicates[i].when, err);
        CHECK(t);
        struct message m = {0};
        int a = predicates[i].attribute;
        if (predicates[i].value) {
            m = with(a, predicates[i].value);
            m.number[a] = strtoll(predicates[i].value, NULL, 10);
        }
        if ((find(t, &m) == 0) != predicates[i].holds) fprintf(stderr, "%s of %s\n", predicates[i].when, predicates[i].value);
        CHECK((find(t, &m) == 0) == predicates[i].holds);
        route_table_free(t);
    }
}

static void test_a_list_attribute_holds_if_any_value_does(void) {
    struct route_table *t = table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['suffix', 'keys', ':x']},"
                                     "{'name': 'b', 'to': 0, 'when': ['prefix', 'keys', 'k1']},"
                                     "{'name': 'c', 'to': 0, 'when': ['not', ['eq', 'keys', 'k2']]}]}");
    struct message m = {.keys = {text("k2"), text("k10"), text("a:x")}};
    static const int expected[] = {2, -1, 1, 0};
    for (m.key_count = 0; m.key_count < 4; m.key_count++) CHECK(find(t, &m) == expected[m.key_count]);
    route_table_free(t);
}

static void test_regex_that_runs_into_its_limit_does_not_match(void) {
    struct route_table *t = table_of("{'routes': [{'name': 'r', 'to': 0, 'when': ['regex', 'key', '^(a+)+$']},"
                                     "{'name': 'i', 'to': 0, 'when': ['regex', 'key', '(*NO_JIT)^(a+)+$']}]}");
    CHECK(t);
    struct message m = with(MODEL_KEY, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab");
    CHECK(find(t, &m) == -1);
    m = with(MODEL_KEY, "aaaa");
    CHECK(find(t, &m) == 0);
    route_table_free(t);
}

/* --- tables --- */

static void test_first_route_in_order_wins(void) {
    struct route_table *t = table_of("{'routes': ["
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
    } cases[] = {{"session:eu:1", 1}, {"session:1", 2}, {"session:9", 3}, {"session:", 4}, {"session", 6}, {"y", 5}, {"z", 6}, {"", 6}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct message m = with(MODEL_KEY, cases[i].key);
        CHECK(find(t, &m) == cases[i].route);
        m.has[MODEL_OPERATION] = true;
        m.text[MODEL_OPERATION] = text("KEYS");
        CHECK(find(t, &m) == 0);
    }
    struct message m = with(MODEL_USER, "xy");
    CHECK(find(t, &m) == 5);
    const struct route *deny = route_at(t, 0), *rest = route_at(t, 6);
    CHECK(deny->action == ROUTE_REPLY && slice_eq(deny->reply, text("ERR no")) && route_upstream(deny, &m) == NULL);
    CHECK(rest->action == ROUTE_TO && rest->timeout_ms == 250 && rest->stats == 70 && route_upstream(rest, &m) == ups[2]);
    CHECK(slice_eq(rest->name, text("rest")) && rest->mirror == NULL && rest->index == 6);
    route_table_free(t);
}

static void test_empty_table_finds_nothing_and_a_lone_route_everything(void) {
    struct message m = {0};
    struct route_table *t = table_of("{'routes': []}");
    CHECK(t && route_count(t) == 0 && route_find(t, &m) == NULL);
    route_table_free(t);
    t = table_of("{'routes': [{'name': 'all', 'when': null, 'to': 1}]}");
    CHECK(find(t, &m) == 0);
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
        snprintf(json, sizeof json, "{'name': 'r', 'to': 0, 'when': ['and', %s ['%s', 'key', 'tenant%u:']]}", extra, op, i);
        pack_json(&doc, i < n ? json : "{'name': 'rest', 'to': 1}");
    }
    struct route_table *t = open_table(&doc, &root);
    pack_free(&doc);
    return t;
}

static void test_ten_thousand_routes(void) {
    static const char *const extras[] = {"", "['eq', 'operation', 'GET'],", "['not', ['eq', 'operation', 'SET']], ['exists', 'key'],"};
    for (size_t e = 0; e < 2 * countof(extras); e++) {
        bool prefix = e % 2;
        struct route_table *t = many_routes(prefix ? "prefix" : "eq", 10000, extras[e / 2]);
        CHECK(t && route_count(t) == 10001);
        for (int i = 0; i < 10002; i++) {
            char key[64];
            struct message m = with(MODEL_OPERATION, "GET");
            m.has[MODEL_KEY] = true;
            m.text[MODEL_KEY] = slice_of(key, (size_t)snprintf(key, sizeof key, "tenant%d:%s", i, prefix ? "x" : ""));
            CHECK(find(t, &m) == (i < 10000 ? i : 10000));
            m.text[MODEL_OPERATION] = text("SET");
            CHECK(find(t, &m) == (e > 1 || i >= 10000 ? 10000 : i));
        }
        route_table_free(t);
    }
}

static void test_more_prefixes_and_strings_than_are_merged_at_once(void) {
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
            for (m.key_count = 0; m.key_count < MODEL_STRINGS; m.key_count++) m.keys[m.key_count] = slice_of(key, m.key_count % 12);
            CHECK(find(t, &m) == i % 10 || i >= 10);
            CHECK(find(t, &m) == model_find(root, &m));
        }
    }
    route_table_free(t);
    pack_free(&doc);
}

static void test_random_tables_agree_with_trying_every_route(void) {
    struct dice d = {.rng = 20240229};
    static struct random_message r;
    uint32_t hits = 0, lookups = 0;
    for (int round = 0; round < 1500; round++) {
        struct pack doc = {0};
        struct mpack root;
        random_table(&doc, &d, roll(&d, round % 20 ? 30 : 300));
        struct route_table *t = open_table(&doc, &root);
        if (!t) fprintf(stderr, "round %d: %s\n", round, err);
        CHECK(t);
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

static void test_each_attribute_is_fetched_once(void) {
    struct route_table *t = table_of("{'routes': [{'name': 'a', 'to': 0, 'when': ['prefix', 'key', 'x:']},"
                                     "{'name': 'b', 'to': 0, 'when': ['suffix', 'key', ':y']},"
                                     "{'name': 'c', 'to': 0, 'when': ['and', ['exists', 'user'], ['eq', 'user', 'me'], ['lt', 'user', 3]]},"
                                     "{'name': 'd', 'to': 0, 'when': ['contains', 'keys', 'q']},"
                                     "{'name': 'e', 'to': 0, 'when': ['prefix', 'keys', 'z']},"
                                     "{'name': 'f', 'to': 0, 'when': ['suffix', 'keys', 'z']}]}");
    struct message m = with(MODEL_KEY, "k");
    m.keys[0] = m.keys[1] = m.keys[2] = text("aq1");
    m.keys[1] = text("zz");
    m.keys[2] = text("c");
    m.key_count = 3;
    memset(model_fetches, 0, sizeof model_fetches);
    CHECK(find(t, &m) == 3);
    CHECK(model_fetches[MODEL_KEY] == 1 && model_fetches[MODEL_USER] == 1);
    CHECK(model_fetches[MODEL_KEYS] == 4); /* three and the end */
    CHECK(model_fetches[MODEL_DB] == 0 && model_fetches[MODEL_FLAG] == 0);
    route_table_free(t);
}

static void test_uses_resource(void) {
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

static void test_split_is_exact_over_any_run(void) {
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

static void test_sticky_split_keeps_a_client_where_it_is(void) {
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

static void test_sticky_by_number(void) {
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

static void test_mirror(void) {
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
    {"'to': 0, 'when': ['and', ['eq', 'db', 'x']]", "attribute \"db\" is a number, so it takes an integer of at most 64 bits"},
    {"'to': 0, 'when': ['eq', 'db', 1.5]", "attribute \"db\" is a number, so it takes an integer of at most 64 bits"},
    {"'to': 0, 'when': ['eq', 'db', '9223372036854775808']", "attribute \"db\" is a number, so it takes an integer of at most 64 bits"},
    {"'to': 0, 'when': ['in', 'flag', [1]]", "attribute \"flag\" is a boolean, so it takes true or false"},
    {"'to': 0, 'when': ['lt', 'flag', 1]", "attribute \"flag\" is a boolean, so it has no order"},
    {"'to': 0, 'when': ['lt', 'db', '1']", "\"lt\" takes a number"},
    {"'to': 0, 'when': ['glob', 'db', '1*']", "attribute \"db\" is a number, so only eq, in, lt, le, gt, ge and exists apply to it"},
    {"'to': 0, 'when': ['prefix', 'key', 1]", "the test of \"key\" takes a string"},
    {"'to': 0, 'when': ['eq', 'key', null]", "a value to compare with is no string, integer or boolean"},
    {"'to': 0, 'when': ['in', 'key', 'x']", "\"in\" takes a list of values"},
    {"'to': 0, 'when': ['regex', 'key', 'a(b']", "regular expression \"a(b\": missing closing parenthesis (at byte 3)"},
    {"'to': 0, 'when': ['regex', 'key', '(*UTF)b']", "regular expression \"(*UTF)b\": using UTF is disabled by the application (at byte 6)"},
    {"'to': 0, 'when': ['eq', 'key']", "\"eq\" takes an attribute and a value"},
    {"'to': 0, 'when': ['exists', 'key', 1]", "\"exists\" takes an attribute"},
    {"'to': 0, 'when': ['not']", "\"not\" takes one predicate"},
    {"'to': 0, 'when': ['equals', 'key', 'x']", "unknown predicate \"equals\""},
    {"'to': 0, 'when': ['and', 'key']", "a predicate is a list that starts with its name"},
    {"'to': 0, 'when': {}", "a predicate is a list that starts with its name"},
    {"'to': 3", "there is no upstream number 3, only 3"},
    {"'to': -1", "an upstream is given by its number"},
    {"'to': 'main'", "an upstream is given by its number"},
    {"'when': null", "it needs exactly one of to, split and reply"},
    {"'to': 0, 'reply': {'error': 'x'}", "it needs exactly one of to, split and reply"},
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

static void test_faults_name_the_route_and_say_what_is_wrong(void) {
    for (size_t i = 0; i < countof(faults); i++) {
        char json[256], expected[256];
        snprintf(json, sizeof json, "{'routes': [{'name': 'ok', 'to': 0}, {'name': 'bad', %s}]}", faults[i].route);
        snprintf(expected, sizeof expected, "route \"bad\": %s", faults[i].err);
        CHECK(table_of(json) == NULL);
        if (strcmp(err, expected) != 0) fprintf(stderr, "%s\n  gives %s\n", faults[i].route, err);
        CHECK(strcmp(err, expected) == 0);
    }
    CHECK(!table_of("{}") && strcmp(err, "a table has a list of \"routes\"") == 0);
    CHECK(!table_of("7") && strcmp(err, "a table has a list of \"routes\"") == 0);
    CHECK(!table_of("{'routes': [{'to': 0}]}") && strcmp(err, "route number 0 has no name") == 0);
    CHECK(!table_of("{'routes': [null]}") && strcmp(err, "route number 0 has no name") == 0);
}

static void test_nesting_is_limited(void) {
    char json[1024] = "{'routes': [{'name': 'deep', 'to': 0, 'when': ";
    for (int i = 0; i < 33; i++) strcat(json, "['not', ");
    strcat(json, "['true']");
    for (int i = 0; i < 33; i++) strcat(json, "]");
    strcat(json, "}]}");
    CHECK(!table_of(json) && strcmp(err, "route \"deep\": predicates are nested more than 32 deep") == 0);
}

static void test_a_short_error_buffer_is_kept_to(void) {
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
    test_globs_as_redis_reads_them();
    test_globs_take_linear_time();
    test_random_globs_agree_with_their_meaning();
    test_trie_finds_all_keys_and_no_others();
    test_each_predicate_means_what_it_says();
    test_a_list_attribute_holds_if_any_value_does();
    test_regex_that_runs_into_its_limit_does_not_match();
    test_first_route_in_order_wins();
    test_empty_table_finds_nothing_and_a_lone_route_everything();
    test_ten_thousand_routes();
    test_more_prefixes_and_strings_than_are_merged_at_once();
    test_random_tables_agree_with_trying_every_route();
    test_each_attribute_is_fetched_once();
    test_uses_resource();
    test_split_is_exact_over_any_run();
    test_sticky_split_keeps_a_client_where_it_is();
    test_sticky_by_number();
    test_mirror();
    test_faults_name_the_route_and_say_what_is_wrong();
    test_nesting_is_limited();
    test_a_short_error_buffer_is_kept_to();
    return 0;
}
