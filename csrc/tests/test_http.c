/* HTTP's words: every name is found in any case and nothing else is; what may stand in names, values, hosts and targets. */
#include "check.h"
#include "../codecs/http_scan.h"

static const char *const names[] = {"",
#define X(id, name, hop) name,
                                    HTTP_NAMES(X)
#undef X
};

static enum http_name find(const char *s) { return http_name_find(guarded(s, strlen(s)), strlen(s)); }

TEST(names_are_found_in_any_case) {
    CHECK_EQ(countof(names), HN_COUNT);
    for (unsigned id = 1; id < HN_COUNT; id++) {
        char name[32];
        size_t n = strlen(names[id]);
        CHECK_EQ(find(names[id]), id);
        CHECK_BYTES(http_name_text(id).p, http_name_text(id).n, names[id], n);
        for (unsigned dice = 1; dice < 200; dice++) { /* letters in upper case by the bits of a number */
            for (size_t i = 0; i <= n; i++) {
                bool up = (dice * 2654435761u >> (i + 3)) & 1;
                name[i] = (char)(up && names[id][i] >= 'a' && names[id][i] <= 'z' ? names[id][i] - 32 : names[id][i]);
            }
            CHECK_EQ(find(name), id);
        }
    }
}

/* One byte changed to anything else, one left out, one too many: another name, or none. */
TEST(names_nearly_known_are_not_found) {
    for (unsigned id = 1; id < HN_COUNT; id++) {
        size_t n = strlen(names[id]);
        for (size_t i = 0; i < n; i++) {
            for (unsigned c = 0; c < 256; c++) {
                uint8_t name[32];
                memcpy(name, names[id], n), name[i] = (uint8_t)c;
                bool same = c == (uint8_t)names[id][i] || (names[id][i] >= 'a' && c + 32 == (uint8_t)names[id][i]);
                CHECK_EQ(http_name_find(name, n), same ? id : HN_OTHER);
            }
        }
        CHECK(http_name_find(guarded(names[id], n - 1), n - 1) != id);
        CHECK(http_name_find(guarded(names[id] + 1, n - 1), n - 1) != id);
        CHECK(http_name_find(guarded(names[id], n + 1), n + 1) != id); /* with its NUL */
    }
    CHECK_EQ(find(""), HN_OTHER);
    CHECK_EQ(find("x"), HN_OTHER);
    CHECK_EQ(find("accept-encoding"), HN_OTHER);
}

TEST(hop_by_hop_names_are_told) {
    CHECK(http_name_is_hop(HN_CONNECTION) && http_name_is_hop(HN_KEEP_ALIVE) && http_name_is_hop(HN_TE));
    CHECK(http_name_is_hop(HN_TRANSFER_ENCODING) && http_name_is_hop(HN_UPGRADE) &&
          http_name_is_hop(HN_HTTP2_SETTINGS));
    CHECK(!http_name_is_hop(HN_OTHER) && !http_name_is_hop(HN_CONTENT_LENGTH) && !http_name_is_hop(HN_HOST));
    CHECK(!http_name_is_hop(HN_TRAILER));
}

TEST(methods_are_case_sensitive) {
    static const struct {
        const char *text;
        unsigned method;
    } cases[] = {{"GET", HTTP_GET},
                 {"HEAD", HTTP_HEAD},
                 {"POST", HTTP_POST},
                 {"PUT", HTTP_PUT},
                 {"DELETE", HTTP_DELETE},
                 {"CONNECT", HTTP_CONNECT},
                 {"OPTIONS", HTTP_OPTIONS},
                 {"TRACE", HTTP_TRACE},
                 {"PATCH", HTTP_PATCH},
                 {"get", 0},
                 {"GeT", 0},
                 {"GETX", 0},
                 {"PURGE", 0},
                 {"", 0},
                 {"PROPFIND", 0},
                 {"HEAT", 0},
                 {"DELETF", 0},
                 {"OPTIONX", 0},
                 {"M-SEARCH", 0}};
    for (size_t i = 0; i < countof(cases); i++) {
        size_t n = strlen(cases[i].text);
        CHECK_EQ(http_method_find(guarded(cases[i].text, n), n), cases[i].method);
        if (cases[i].method) {
            struct slice text = http_method_text(cases[i].method);
            CHECK_BYTES(text.p, text.n, cases[i].text, n);
        }
    }
    CHECK_EQ(http_method_text(HTTP_OTHER_METHOD).n, 0);
    CHECK(http_method_idempotent(HTTP_GET) && http_method_idempotent(HTTP_DELETE) &&
          !http_method_idempotent(HTTP_POST));
    CHECK(!http_method_idempotent(HTTP_OTHER_METHOD) && !http_method_idempotent(HTTP_CONNECT));
    CHECK(slice_eq(http_reason(404), SLICE("Not Found")) && http_reason(299).n == 0);
}

TEST(lists_and_words) {
    CHECK(http_is(SLICE("Chunked"), "chunked") && !http_is(SLICE("chunke"), "chunked"));
    CHECK(!http_is(SLICE("chunkedx"), "chunked") && http_is(SLICE(""), "") && !http_is(SLICE("a\0"), "a"));
    CHECK(!http_is(SLICE("\x0d"), "-"));
    CHECK(http_list_has(SLICE("a, Close ,b"), "close") && http_list_has(SLICE("close"), "close"));
    CHECK(http_list_has(SLICE(",,\tclose\t,"), "close") && !http_list_has(SLICE("closed, xclose"), "close"));
    CHECK(!http_list_has(SLICE(""), "close") && !http_list_has(SLICE(", ,"), "") &&
          !http_list_has(SLICE("a close"), "close"));
}

TEST(fields_are_appended_while_there_is_room) {
    struct http_field fields[2];
    struct http_head h = {.fields = fields, .capacity = 2};
    CHECK(!http_find(&h, HN_VIA));
    CHECK(http_add(&h, HN_VIA, SLICE("via"), SLICE("1")) && http_add(&h, HN_VIA, SLICE("via"), SLICE("2")));
    CHECK(!http_add(&h, HN_VIA, SLICE("via"), SLICE("3")));
    CHECK(http_find(&h, HN_VIA) == &fields[0]);
    fields[0].drop = true;
    CHECK(http_find(&h, HN_VIA) == &fields[1]);
    CHECK(!http_find(&h, HN_OTHER));

    struct http_head known = {.fields = fields, .capacity = 2, .absent = ~0u}; /* as a parser says it */
    CHECK(!http_find(&known, HN_DATE));
    CHECK(http_add(&known, HN_DATE, SLICE("date"), SLICE("now")));
    CHECK(http_find(&known, HN_DATE) == &fields[0] && !http_find(&known, HN_VIA));
}

TEST(hosts) {
    static const char *const good[] = {
        "",        "a",     "a.b-c_d~e", "A.Example",          "127.0.0.1",        "a:80", "a:",
        "a:65535", "[::1]", "[::1]:80",  "[1:2:3:4:5:6:7:8]:", "[::ffff:1.2.3.4]", "a.b.", "a:0"};
    static const char *const bad[] = {"a b",          " a",       "a ",    "a/b",    "a?b",     "a#b",      "a@b",
                                      "u:p@a",        "a:80:80",  "a:x",   "a:-1",   "a:65536", "a:123456", ":80",
                                      "[::1",         "::1",      "[]",    "[::1]x", "[::1]:x", "[g::]",    "[v1.a]",
                                      "[::1%25eth0]", "a,b",      "a%41",  "a\\b",   "a\"b",    "a<b",      "a\x01",
                                      "a\x7f",        "\xc3\xa9", "a:8 0", "[::1]]", "[[::1]]", "a|b",      "`"};
    for (size_t i = 0; i < countof(good); i++) {
        bool ok = http_authority_ok(slice_of(guarded(good[i], strlen(good[i])), strlen(good[i])));
        CHECK(ok);
        if (!ok) fprintf(stderr, "  %s\n", good[i]);
    }
    for (size_t i = 0; i < countof(bad); i++) {
        bool ok = http_authority_ok(slice_of(guarded(bad[i], strlen(bad[i])), strlen(bad[i])));
        CHECK(!ok);
        if (ok) fprintf(stderr, "  %s\n", bad[i]);
    }
    CHECK(!http_authority_ok(SLICE("a\0b")) && !http_authority_ok(SLICE("[::1\0]")));
}

static bool stops(int kind, uint8_t c) {
    bool control = (c < 0x20 && c != '\t') || c == 0x7f;
    if (kind == 0) return control;
    if (kind == 1) return control || c == '\t' || c == ' ' || c == '#';
    return !strchr("!#$%&'*+-.^_`|~0123456789", c) && !((c | 32) >= 'a' && (c | 32) <= 'z');
}

static const uint8_t *scan(int kind, const uint8_t *p, const uint8_t *end, const uint8_t *lo) {
    if (kind == 0) return http_scan_value(p, end, lo);
    return kind == 1 ? http_scan_target(p, end, lo) : http_scan_name(p, end, lo);
}

/* Every byte value at every place of runs of every length, with little and with much before them. */
TEST(runs_end_where_they_must) {
    for (int kind = 0; kind < 3; kind++)
        for (size_t n = 0; n < 40; n++)
            for (size_t before = 0; before < 20; before += 19) {
                uint8_t bytes[64], *p;
                memset(bytes, 'a', sizeof bytes);
                p = guarded(bytes, before + n);
                CHECK(scan(kind, p + before, p + before + n, p) == p + before + n);
                for (size_t i = 0; i < n; i++)
                    for (unsigned c = 1; c < 257; c++) {
                        p[before + i] = (uint8_t)c;
                        size_t want = stops(kind, (uint8_t)c) || (kind == 2 && (uint8_t)c == 0) ? i : n;
                        if (scan(kind, p + before, p + before + n, p) != p + before + want)
                            CHECK_EQ(c, -1), CHECK_EQ(kind, (int)n);
                        p[before + i] = 'a';
                    }
            }
}

TEST(values_and_targets) {
    CHECK(http_value_ok((const uint8_t *)"", 0) && http_value_ok((const uint8_t *)"a\tb c\xff", 6));
    CHECK(!http_value_ok((const uint8_t *)" a", 2) && !http_value_ok((const uint8_t *)"a\t", 2));
    CHECK(!http_value_ok((const uint8_t *)"a\0", 2) && !http_value_ok((const uint8_t *)"a\rb", 3));
    CHECK(!http_value_ok((const uint8_t *)"a\n", 2) && !http_value_ok((const uint8_t *)"\x7f", 1));
    CHECK(http_target_ok(SLICE("/a?b=c&d=%20")) && http_target_ok(SLICE("/\xc3\xa9")) && http_target_ok(SLICE("")));
    CHECK(!http_target_ok(SLICE("/a b")) && !http_target_ok(SLICE("/a#b")) && !http_target_ok(SLICE("/a\tb")));
}

int main(void) {
    RUN(names_are_found_in_any_case);
    RUN(names_nearly_known_are_not_found);
    RUN(hop_by_hop_names_are_told);
    RUN(methods_are_case_sensitive);
    RUN(lists_and_words);
    RUN(fields_are_appended_while_there_is_room);
    RUN(hosts);
    RUN(runs_end_where_they_must);
    RUN(values_and_targets);
    return 0;
}
