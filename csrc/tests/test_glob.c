/* Globs: as Redis reads them, in linear time, and what they are reduced to. */
#include "check.h"
#include "route/glob.h"
#include "route_model.h"

static struct slice text(const char *s) { return slice_of(s, strlen(s)); }

TEST(globs_as_redis_reads_them) {
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"***", "abc", true},
        {"?", "", false},
        {"?", "x", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbbd", false},
        {"*a*b*", "xxaxxbxx", true},
        {"*ab", "aab", true},
        {"a?c", "abc", true},
        {"h[ae]llo", "hello", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hallo", true},
        {"h[^e]llo", "hello", false},
        {"h[a-c]llo", "hbllo", true},
        {"h[c-a]llo", "hbllo", true},
        {"h[a-c]llo", "hdllo", false},
        {"[]", "a", false},
        {"[^]", "a", true},
        {"[a", "a", true},
        {"[a", "b", false},
        {"[a-", "-", true},
        {"[", "a", false},
        {"[\\]]", "]", true},
        {"[\\a-c]", "-", true},
        {"[\\a-c]", "b", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\", "\\", true},
        {"a\\", "a\\", true},
        {"*\\?", "ab?", true},
        {"*[bc]", "abc", true},
        {"*?c", "c", false},
        {"*\\a", "ba", true},
        {"a*", "a", true},
        {"*x*y", "xyx", false},
        {"[a-]]", "]", true},
        {"[a-]]", "b]", false},
        {"[]a]", "a", false},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct slice p = text(cases[i].pattern), s = text(cases[i].text);
        CHECK(glob_match(p, s) == cases[i].fits);
        CHECK(model_glob(p, s) == cases[i].fits);
    }
    CHECK(glob_match(slice_of("a\0*", 3), slice_of("a\0\xff", 3)));
    CHECK(glob_match((struct slice){0}, (struct slice){0}));
}

TEST(globs_take_linear_time) {
    size_t n = 1 << 20;
    uint8_t *a = malloc(n);
    memset(a, 'a', n);
    static const char *const patterns[] = {"a*a*a*a*b", "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*?b", "*[a]*[a]*[a]*[a]*[b]",
                                           "*aaaaaaaab*"};
    for (size_t i = 0; i < countof(patterns); i++) CHECK(!glob_match(text(patterns[i]), slice_of(a, n)));
    a[n - 1] = 'b';
    CHECK(glob_match(text("a*a*a*a*b"), slice_of(a, n)));
    free(a);
}

TEST(random_globs_agree_with_their_meaning) {
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

int main(void) {
    RUN(globs_as_redis_reads_them);
    RUN(globs_take_linear_time);
    RUN(random_globs_agree_with_their_meaning);
    return 0;
}
