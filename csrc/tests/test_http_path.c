/* The normal form of paths. Each case at a guard page, with every length of query behind it that moves the end of a block. */
#include "check.h"
#include "../codecs/http_path.h"

enum { MERGE = 4 };
static const struct {
    int how;                 /* enum http_escaped_slashes, perhaps | MERGE */
    const char *path, *want; /* NULL: refused */
} cases[] = {
    {0, "/", "/"},
    {0, "/a/b", "/a/b"},
    {0, "*", "*"},
    {0, "", ""},
    {0, "a/../b", "a/../b"},
    /* dot segments */
    {0, "/.", "/"},
    {0, "/./", "/"},
    {0, "/a/.", "/a/"},
    {0, "/a/./b", "/a/b"},
    {0, "/a/..", "/"},
    {0, "/a/../", "/"},
    {0, "/a/../b", "/b"},
    {0, "/a/b/../../c", "/c"},
    {0, "/a/b/c/./../../g", "/a/g"},
    {0, "/mid/content=5/../6", "/mid/6"},
    {0, "/.well-known/x", "/.well-known/x"},
    {0, "/a/...", "/a/..."},
    {0, "/a/..b", "/a/..b"},
    {0, "/a/.b./c", "/a/.b./c"},
    {0, "/a./b../", "/a./b../"},
    {0, "/..", NULL},
    {0, "/../a", NULL},
    {0, "/a/../..", NULL},
    {0, "/a/../../b", NULL},
    {0, "/./../a", NULL},
    /* slashes */
    {0, "//", "//"},
    {0, "//a//b", "//a//b"},
    {0, "/a//../b", "/a/b"},
    {0, "//..", "/"},
    {MERGE, "//", "/"},
    {MERGE, "//a///b//", "/a/b/"},
    {MERGE, "/a//../b", "/b"},
    {MERGE, "//..", NULL},
    {MERGE, "/a/.//b", "/a/b"},
    {MERGE, "/a/", "/a/"},
    /* escapes */
    {0, "/%41%62%7E%2d%5F%39", "/Ab~-_9"},
    {0, "/a%20b", "/a%20b"},
    {0, "/%c3%a9", "/%C3%A9"},
    {0, "/%C3%A9", "/%C3%A9"},
    {0, "/%2541", "/%2541"},
    {0, "/%3f%23%25", "/%3F%23%25"},
    {0, "/a/%2e%2E/b", "/b"},
    {0, "/a/.%2e/b", "/b"},
    {0, "/%2e/b", "/b"},
    {0, "/%2e%2e", NULL},
    {0, "/%2e%2e/%2e%2e/etc/passwd", NULL},
    {0, "/%", NULL},
    {0, "/%4", NULL},
    {0, "/a%zz", NULL},
    {0, "/a%4g", NULL},
    {0, "/%%41", NULL},
    {0, "/%-1", NULL},
    {0, "/% 1", NULL},
    {0, "/a%00", NULL},
    {0, "/%00/b", NULL},
    {0, "/%u0041", NULL},
    /* escaped slashes */
    {SLASHES_KEEP, "/a%2fb", "/a%2Fb"},
    {SLASHES_KEEP, "/a%2F..%2Fb", "/a%2F..%2Fb"},
    {SLASHES_KEEP, "/a%5cb", "/a%5Cb"},
    {SLASHES_REJECT, "/a%2fb", NULL},
    {SLASHES_REJECT, "/a%5Cb", NULL},
    {SLASHES_REJECT, "/a%252fb", "/a%252fb"},
    {SLASHES_DECODE, "/a%2fb", "/a/b"},
    {SLASHES_DECODE, "/a%5Cb", "/a/b"},
    {SLASHES_DECODE, "/a%2F..%2Fb", "/b"},
    {SLASHES_DECODE, "/a%5c%2e%2e%5c%2e%2e", NULL},
    {SLASHES_DECODE, "/%2F", "//"},
    {SLASHES_DECODE | MERGE, "/%2F%2fa%5C", "/a/"},
    /* long enough for whole blocks */
    {0, "/0123456789abcd/../x", "/x"},
    {0, "/0123456789abcde/./x", "/0123456789abcde/x"},
    {MERGE, "/0123456789abcd//x", "/0123456789abcd/x"},
    {MERGE, "/0123456789abcdefghijklmnopqrs//x", "/0123456789abcdefghijklmnopqrs/x"},
    {0, "/0123456789abcdefghijklmnopqrstuvwxyz%7e", "/0123456789abcdefghijklmnopqrstuvwxyz~"},
    {0, "/0123456789abcdefghijklmnopqrstuvwxyz//x", "/0123456789abcdefghijklmnopqrstuvwxyz//x"},
};

static void check_case(size_t i, const char *query) {
    char text[400], want[400];
    uint8_t *to;
    struct slice out;
    struct http_path_options o = {.merge_slashes = cases[i].how & MERGE, .escaped_slashes = cases[i].how & 3};
    if (cases[i].path[0] != '/' && query[0]) return;
    size_t n = (size_t)snprintf(text, sizeof text, "%s%s", cases[i].path, query);
    uint8_t *p = guarded(text, n);
    to = guarded(text, n); /* no byte of room more than there is of input */
    int r = http_path_normalize(slice_of(p, n), &o, to, n, &out);
    if (!cases[i].want) {
        CHECK_EQ(r, HTTP_PATH_BAD);
        return;
    }
    size_t size = (size_t)snprintf(want, sizeof want, "%s%s", cases[i].want, query);
    bool same = size == n && memcmp(want, text, n) == 0;
    CHECK_EQ(r, same ? 0 : 1);
    CHECK_BYTES(out.p, out.n, want, size);
    CHECK(out.p == (same ? p : to));
    CHECK_EQ(http_path_normalize(out, &o, guarded(text, n), n, &(struct slice){0}), 0); /* normal already */
    if (!same) CHECK_EQ(http_path_normalize(slice_of(p, n), &o, to, n - 1, &out), HTTP_PATH_BAD);
}

TEST(paths_come_into_their_normal_form) {
    static const char tail[] = "?x=%2e%/../..//%00&0123456789012345678901234567890123456789";
    char query[sizeof tail];
    for (size_t i = 0; i < countof(cases); i++)
        for (size_t n = 0; n < sizeof tail; n++) {
            memcpy(query, tail, n), query[n] = 0;
            check_case(i, query);
        }
}

/* The quick look at 16 bytes a time overlooks nothing: one spot of work at every place of paths of every length. */
TEST(work_is_seen_at_every_place) {
    static const struct {
        const char *spot, *becomes;
        bool merge;
    } spots[] = {{"%41", "A", false}, {"/./", "/", false}, {"//", "/", true}};
    for (size_t k = 0; k < countof(spots); k++)
        for (size_t before = 0; before < 50; before++)
            for (size_t behind = 0; behind < 40; behind++) {
                char text[120], want[120];
                struct http_path_options o = {.merge_slashes = spots[k].merge};
                struct slice out;
                static const char pad[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
                size_t n = (size_t)snprintf(text, sizeof text, "/x%.*s%s%.*s", (int)before, pad, spots[k].spot,
                                            (int)behind, pad);
                size_t m = (size_t)snprintf(want, sizeof want, "/x%.*s%s%.*s", (int)before, pad, spots[k].becomes,
                                            (int)behind, pad);
                uint8_t *p = guarded(text, n), *to = guarded(text, n);
                CHECK_EQ(http_path_normalize(slice_of(p, n), &o, to, n, &out), 1);
                CHECK_BYTES(out.p, out.n, want, m);
            }
}

int main(void) {
    RUN(paths_come_into_their_normal_form);
    RUN(work_is_seen_at_every_place);
    return 0;
}
