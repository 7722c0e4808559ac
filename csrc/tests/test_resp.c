/* RESP requests and replies: whole, cut at every place, byte by byte, in memory that moves and ends at a guard page. */
#include "check.h"
#include "../codecs/resp.h"

#define B(lit) (const uint8_t *)(lit), sizeof(lit) - 1

/* ---- requests ---- */

struct request_case {
    const uint8_t *p;
    size_t n;
    ptrdiff_t want; /* bytes of the frame, or -enum resp_error */
    uint32_t argc;
    const char *args; /* joined by '|' */
};

#define FIVE "$1\r\na\r\n$1\r\nb\r\n$0\r\n\r\n$12\r\nabcdefghijkl\r\n$1\r\ne\r\n"
#define HUNDRED "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define WHOLE(lit) B(lit), sizeof(lit) - 1
#define BAD(lit, error) B(lit), -error, 0, NULL
static const struct request_case requests[] = {
    {WHOLE("*2\r\n$3\r\nGET\r\n$7\r\nkey:123\r\n"), 2, "GET|key:123"},
    {WHOLE("*3\r\n$3\r\nSET\r\n$7\r\nkey:123\r\n$5\r\nvalue\r\n"), 3, "SET|key:123|value"},
    {WHOLE("*1\r\n$4\r\nPING\r\n"), 1, "PING"},
    {WHOLE("*1\r\n$0\r\n\r\n"), 1, ""},
    {WHOLE("*2\r\n$4\r\n\r\n\r\n\r\n$2\r\n$1\r\n"), 2, "\r\n\r\n|$1"},
    {WHOLE("*2\r\n$100\r\n" HUNDRED "\r\n$1\r\nx\r\n"), 2, HUNDRED "|x"},
    {WHOLE("*5\r\n" FIVE), 5, "a|b||abcdefghijkl|e"},
    {WHOLE("*8\r\n" FIVE "$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n"), 8, "a|b||abcdefghijkl|e|f|g|h"},
    {WHOLE("*9\r\n" FIVE "$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$2\r\nij\r\n"), 9, "a|b||abcdefghijkl|e|f|g|h|ij"},
    {WHOLE("*10\r\n" FIVE FIVE), 10, "a|b||abcdefghijkl|e|a|b||abcdefghijkl|e"},
    {WHOLE("*0\r\n"), 0, ""},
    {WHOLE("*-1\r\n"), 0, ""},
    {WHOLE("*-1234\r\n"), 0, ""},
    {WHOLE("\r\n"), 0, ""},
    {WHOLE("\n"), 0, ""},
    /* what Redis refuses */
    {BAD("*\r\n", RESP_BAD_COUNT)},
    {BAD("*a\r\n", RESP_BAD_COUNT)},
    {BAD("*01\r\n", RESP_BAD_COUNT)},
    {BAD("*+1\r\n", RESP_BAD_COUNT)},
    {BAD("*-0\r\n", RESP_BAD_COUNT)},
    {BAD("*1 \r\n", RESP_BAD_COUNT)},
    {BAD("*2147483648\r\n", RESP_BAD_COUNT)},
    {BAD("*1048577\r\n", RESP_BAD_COUNT)},
    {BAD("*99999999999999999999999999\r\n", RESP_BAD_COUNT)},
    {BAD("*1\r\n$\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$abc\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$-1\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$04\r\nPING\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$536870913\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$2147483648\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$18446744073709551616\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\nfoo\r\n", RESP_NOT_BULK)},
    {BAD("*2\r\n$3\r\nGET\r\n:1\r\n", RESP_NOT_BULK)},
    /* what Redis lets pass and a stricter server behind a shared connection might not */
    {BAD("*1\rX$4\r\nPING\r\n", RESP_BAD_COUNT)},
    {BAD("*1\r\n$4\rXPING\r\n", RESP_BAD_BULK)},
    {BAD("*1\r\n$4\r\nPINGxx", RESP_BAD_BULK)},
    {BAD("*1\r\n$4\r\nPING\rx", RESP_BAD_BULK)},
};

static void check_args(const struct request_case *c, const struct resp_request *r, const uint8_t *p) {
    char got[512] = "";
    size_t n = 0;
    struct slice arg;
    struct resp_arg_iter it = resp_arg_iter(r, p);
    for (uint32_t i = 0; resp_arg_next(&it, &arg); i++) {
        if (i) got[n++] = '|';
        memcpy(got + n, arg.p, arg.n), n += arg.n;
        if (i < RESP_ARGS) CHECK(p + r->arg[i].off == arg.p && r->arg[i].len == arg.n);
        struct slice again = resp_arg_at(r, p, i);
        CHECK(again.p == arg.p && again.n == arg.n);
        struct resp_arg_iter from = resp_arg_from(r, p, i);
        CHECK(resp_arg_next(&from, &again) && again.p == arg.p && from.p == it.p && from.i == it.i);
    }
    CHECK_BYTES(got, n, c->args, strlen(c->args));
}

static void check_request(const struct request_case *c, struct resp_request *r, ptrdiff_t got, const uint8_t *p) {
    CHECK_EQ(got, c->want);
    if (got < 0) {
        CHECK_EQ(r->error, -c->want);
        CHECK_EQ(resp_request_parse(r, p, c->n, &resp_limits_default), c->want); /* it sticks */
        return;
    }
    CHECK_EQ(r->argc, c->argc);
    CHECK_EQ(r->known, c->argc);
    CHECK_EQ(r->form, RESP_MULTIBULK);
    check_args(c, r, p);
}

/* The frame's first `cut` bytes, then all of them, in other memory. */
static void feed_cut(const struct request_case *c, size_t cut) {
    struct resp_request r = {0};
    uint8_t *p = guarded(c->p, cut);
    ptrdiff_t got = resp_request_parse(&r, p, cut, &resp_limits_default);
    if (got == 0) {
        CHECK(r.need > cut);
        CHECK(c->want < 0 || (ptrdiff_t)r.need <= c->want); /* waiting for more than there will be would hang */
        CHECK(!r.large);
        p = guarded(c->p, c->n);
        got = resp_request_parse(&r, p, c->n, &resp_limits_default);
    }
    check_request(c, &r, got, p);
}

TEST(requests_are_the_same_whole_and_cut_at_every_place) {
    for (size_t i = 0; i < countof(requests); i++)
        for (size_t cut = 0; cut <= requests[i].n; cut++) feed_cut(&requests[i], cut);
}

TEST(requests_byte_by_byte) {
    for (size_t i = 0; i < countof(requests); i++) {
        const struct request_case *c = &requests[i];
        struct resp_request r = {0};
        ptrdiff_t got = 0;
        size_t n = 0;
        const uint8_t *p = c->p;
        while (got == 0 && n < c->n) {
            n++;
            p = guarded(c->p, n);
            got = resp_request_parse(&r, p, n, &resp_limits_default);
        }
        if (got > 0) CHECK_EQ(n, c->n);
        check_request(c, &r, got, guarded(c->p, c->n));
    }
}

TEST(requests_waiting_only_for_what_need_says) {
    for (size_t i = 0; i < countof(requests); i++) {
        const struct request_case *c = &requests[i];
        struct resp_request r = {0};
        ptrdiff_t got = 0;
        size_t n = 0;
        while (got == 0 && n <= c->n) {
            got = resp_request_parse(&r, guarded(c->p, n), n, &resp_limits_default);
            if (got == 0) n = r.need;
        }
        check_request(c, &r, got, guarded(c->p, c->n));
    }
}

TEST(bytes_behind_a_request_do_not_matter) {
    static const char *const behind[] = {"*", "x", "\r\n", "*1\r\n$4\r\nPING\r\n", "$", "\n\n"};
    for (size_t i = 0; i < countof(requests); i++)
        for (size_t k = 0; k < countof(behind); k++) {
            char all[512];
            size_t n = requests[i].n, more = strlen(behind[k]);
            memcpy(all, requests[i].p, n), memcpy(all + n, behind[k], more);
            struct resp_request r = {0};
            uint8_t *p = guarded(all, n + more);
            check_request(&requests[i], &r, resp_request_parse(&r, p, n + more, &resp_limits_default), p);
        }
}

TEST(the_fast_path_says_what_the_general_parser_says) {
    for (size_t i = 0; i < countof(requests); i++)
        for (size_t cut = 0; cut <= requests[i].n; cut++) {
            struct resp_request fast = {0}, slow = {0};
            uint8_t *p = guarded(requests[i].p, cut);
            ptrdiff_t got = resp_request_parse(&fast, p, cut, &resp_limits_default);
            CHECK_EQ(got, resp_request_parse_slow(&slow, p, cut, &resp_limits_default));
            CHECK_EQ(fast.known, slow.known);
            CHECK_EQ(fast.argc, slow.argc);
            CHECK_EQ(fast.need, slow.need);
            CHECK_EQ(fast.error, slow.error);
            CHECK(memcmp(fast.arg, slow.arg, min_size(fast.known, RESP_ARGS) * sizeof *fast.arg) == 0);
        }
}

/* ---- limits ---- */

static ptrdiff_t parse(struct resp_request *r, const char *text, size_t n, const struct resp_limits *lim) {
    resp_request_reset(r);
    return resp_request_parse(r, guarded(text, n), n, lim);
}
#define PARSE(r, lit, lim) parse(r, lit, sizeof(lit) - 1, lim)

TEST(a_guest_has_tighter_limits) {
    struct resp_request r;
    const struct resp_limits *g = &resp_limits_guest;
    CHECK_EQ(PARSE(&r, "*10\r\n", g), 0);
    CHECK_EQ(PARSE(&r, "*11\r\n", g), -RESP_GUEST_COUNT);
    CHECK_EQ(PARSE(&r, "*2000000\r\n", g), -RESP_GUEST_COUNT); /* as Redis: only beyond int is it "invalid" */
    CHECK_EQ(PARSE(&r, "*2147483648\r\n", g), -RESP_BAD_COUNT);
    CHECK_EQ(PARSE(&r, "*1\r\n$16384\r\n", g), 0);
    CHECK(!r.large);
    CHECK_EQ(PARSE(&r, "*1\r\n$16385\r\n", g), -RESP_GUEST_BULK);
    CHECK_EQ(PARSE(&r, "*1\r\n$536870913\r\n", g), -RESP_BAD_BULK);
}

TEST(limits_hold_on_the_fast_path_too) {
    struct resp_request r;
    struct resp_limits lim = resp_limits_default;
    lim.max_bulk = 3;
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n", &lim), 22);
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$4\r\nabcd\r\n", &lim), -RESP_BAD_BULK);
    lim = resp_limits_default, lim.guest_bulk = 3;
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$4\r\nabcd\r\n", &lim), -RESP_GUEST_BULK);
    lim = resp_limits_default, lim.max_args = 1;
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", &lim), -RESP_BAD_COUNT);
    lim = resp_limits_default, lim.guest_args = 1;
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", &lim), -RESP_GUEST_COUNT);
    lim = resp_limits_default, lim.stream_above = 19;
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", &lim), 0);
    CHECK(r.large);
    lim.stream_above = 20;
    CHECK_EQ(PARSE(&r, "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", &lim), 20);
}

/* A line of `n` bytes that begins with `begin` and never ends: refused at the limit, whatever the pieces. */
static void endless_line(const char *begin, enum resp_error want, size_t piece) {
    static uint8_t buf[1 << 17];
    memset(buf, 'A', sizeof buf);
    memcpy(buf, begin, strlen(begin));
    size_t line = strlen(begin) - (strrchr(begin, '\n') ? (size_t)(strrchr(begin, '\n') + 1 - begin) : 0);
    size_t start = strlen(begin) - line, n = 0;
    struct resp_request r = {0};
    ptrdiff_t got = 0;
    while (got == 0 && n < sizeof buf) n += piece, got = resp_request_parse(&r, buf, n, &resp_limits_default);
    CHECK_EQ(got, -(ptrdiff_t)want);
    CHECK(n >= start + 65536 && n <= start + 65536 + piece);
}

TEST(endless_lines_are_refused_at_their_limit) {
    static const size_t pieces[] = {1, 7, 4096};
    for (size_t i = 0; i < countof(pieces); i++) {
        endless_line("*", RESP_BIG_COUNT, pieces[i]);
        endless_line("*1\r\n$", RESP_BIG_LENGTH, pieces[i]);
        endless_line("PING ", RESP_BIG_INLINE, pieces[i]);
    }
}

TEST(a_nul_in_a_line_is_refused_at_once) {
    struct resp_request r;
    CHECK_EQ(PARSE(&r, "\0A", &resp_limits_default), -RESP_BIG_INLINE);
    CHECK_EQ(PARSE(&r, "PING\0\r\n", &resp_limits_default), -RESP_BIG_INLINE);
    CHECK_EQ(PARSE(&r, "PING\r\n\0", &resp_limits_default), 6);
}

/* Bytes the parser has passed are taken away from it. */
static void never_looks_back(size_t piece, bool inline_form) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0, shut = 0, total = 15 * page;
    uint8_t *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct resp_request r = {0};
    struct resp_limits lim = resp_limits_default;
    ptrdiff_t got = 0;
    if (inline_form) {
        memset(p, 'x', total);
    } else {
        n = (size_t)snprintf((char *)p, total, "*100000\r\n");
        while (n + 200 < total)
            n += (size_t)snprintf((char *)p + n, total - n, "$%d\r\n%0*d\r\n", (int)(n % 150) + 1, (int)(n % 150) + 1,
                                  0);
        total = n, n = 0;
    }
    for (; got == 0 && n < total;) {
        n = min_size(n + piece, total);
        got = resp_request_parse(&r, p, n, &lim);
        size_t passed = max_size(r.pos, r.seen) / page * page;
        if (passed > shut) mprotect(p, passed, PROT_NONE), shut = passed;
    }
    CHECK_EQ(got, 0);
    CHECK(shut + 2 * page >= total);
    munmap(p, 15 * page);
}

TEST(no_byte_is_looked_at_twice) {
    never_looks_back(1, false), never_looks_back(13, false), never_looks_back(5000, false);
    never_looks_back(1, true), never_looks_back(5000, true);
}

/* ---- error replies ---- */

static void error_text(const char *bytes, size_t n, const struct resp_limits *lim, const char *want) {
    struct resp_request r;
    char buf[RESP_ERROR_REPLY_MAX];
    CHECK(parse(&r, bytes, n, lim) < 0);
    struct slice text = resp_error_reply(&r, buf);
    CHECK_BYTES(text.p, text.n, want, strlen(want));
}

TEST(errors_are_worded_as_redis_words_them) { /* compared with redis-server 7.0.15 */
    const struct resp_limits *d = &resp_limits_default, *g = &resp_limits_guest;
    static char as[70000];
    memset(as, 'A', sizeof as);
    error_text("*a\r\n", 4, d, "-ERR Protocol error: invalid multibulk length\r\n");
    error_text("*1\r\n$a\r\n", 8, d, "-ERR Protocol error: invalid bulk length\r\n");
    error_text("*1\r\nfoo\r\n", 9, d, "-ERR Protocol error: expected '$', got 'f'\r\n");
    error_text("*1\r\n\r\n", 6, d, "-ERR Protocol error: expected '$', got ' '\r\n");
    error_text("*1\r\n\xff\r\n", 7, d, "-ERR Protocol error: expected '$', got '\xff'\r\n");
    error_text("*11\r\n", 5, g, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    error_text("*1\r\n$16385\r\n", 12, g, "-ERR Protocol error: unauthenticated bulk length\r\n");
    error_text(as, sizeof as, d, "-ERR Protocol error: too big inline request\r\n");
    as[0] = '*';
    error_text(as, sizeof as, d, "-ERR Protocol error: too big mbulk count string\r\n");
    memcpy(as, "*1\r\n$", 5);
    error_text(as, sizeof as, d, "-ERR Protocol error: too big bulk count string\r\n");
    struct resp_request fine = {0};
    char buf[RESP_ERROR_REPLY_MAX];
    CHECK_EQ(resp_error_reply(&fine, buf).n, 0);
}

TEST(a_nul_instead_of_a_dollar_is_told_whole) {
    struct resp_request r;
    char buf[RESP_ERROR_REPLY_MAX];
    CHECK_EQ(PARSE(&r, "*1\r\n\0\r\n", &resp_limits_default), -RESP_NOT_BULK);
    struct slice text = resp_error_reply(&r, buf);
    CHECK_BYTES(text.p, text.n, "-ERR Protocol error: expected '$', got '\0'\r\n", 44);
}

TEST(http_is_told_by_its_words) {
    CHECK(resp_is_http(SLICE("POST")) && resp_is_http(SLICE("post")) && resp_is_http(SLICE("Host:")));
    CHECK(!resp_is_http(SLICE("GET")) && !resp_is_http(SLICE("HOST")) && !resp_is_http(SLICE("")));
}

/* ---- large requests ---- */

/* Parses head first with `above`, the rest in pieces of `piece`; what is passed must be the frame exactly. */
static void stream(const char *frame, size_t n, uint32_t above, size_t piece, uint32_t known, uint32_t pos) {
    struct resp_limits lim = resp_limits_default;
    lim.stream_above = above;
    struct resp_request r = {0};
    size_t have = 0;
    ptrdiff_t got = 0;
    while (!r.large && got == 0 && have < n) {
        have = min_size(have + piece, n);
        got = resp_request_parse(&r, guarded(frame, have), have, &lim);
    }
    CHECK_EQ(got, 0);
    CHECK(r.large);
    CHECK_EQ(r.known, known);
    CHECK_EQ(r.pos, pos);
    size_t at = r.pos;
    bool done = false;
    char more[1024];
    memcpy(more, frame, n), memcpy(more + n, "*1\r\n$4\r\nPING\r\n", 14); /* the next request is not touched */
    while (!done && at < n + 14) {
        size_t take = min_size(piece, n + 14 - at);
        got = resp_request_rest(&r, guarded(more + at, take), take, &done, &lim);
        CHECK(got > 0 && (done || (size_t)got == take));
        at += (size_t)got;
    }
    CHECK(done);
    CHECK_EQ(at, n);
    resp_request_reset(&r);
    CHECK_EQ(resp_request_parse(&r, B("*1\r\n$4\r\nPING\r\n"), &resp_limits_default), 14);
}

TEST(a_large_request_is_handed_over_head_first) {
    static const char set[] = "*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n" HUNDRED "\r\n$2\r\nEX\r\n$3\r\n100\r\n";
    static const char many[] = "*12\r\n" FIVE FIVE "$0\r\n\r\n$1\r\nz\r\n";
    for (size_t piece = 1; piece < 200; piece += piece < 40 ? 1 : 53) {
        stream(set, sizeof set - 1, 60, piece, 2, 20);
        stream(set, sizeof set - 1, 127, piece, 2, 20);
        stream(set, sizeof set - 1, 128, piece, 3, 128);
        stream(set, sizeof set - 1, 144, piece, 4, 136);
        stream(set, sizeof set - 1, 0, piece, 0, 4);
        stream(many, sizeof many - 1, 50, piece, 4, 44);
        stream(many, sizeof many - 1, 51, piece, 5, 51);
        stream(many, sizeof many - 1, 97, piece, 10, 97);
    }
}

TEST(a_large_request_may_be_collected_after_all) {
    static const char set[] = "*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\n" HUNDRED "\r\n$2\r\nEX\r\n$3\r\n100\r\n";
    struct resp_limits lim = resp_limits_default;
    for (size_t cut = 27; cut < sizeof set; cut++) {
        struct resp_request r = {0};
        lim.stream_above = 60;
        CHECK_EQ(resp_request_parse(&r, guarded(set, cut), cut, &lim), 0);
        CHECK(r.large);
        lim.stream_above = 1000;
        uint8_t *p = guarded(set, sizeof set - 1);
        CHECK_EQ(resp_request_parse(&r, p, sizeof set - 1, &lim), sizeof set - 1);
        CHECK(!r.large);
        CHECK_EQ(r.known, 5);
        CHECK_BYTES(p + r.arg[4].off, r.arg[4].len, "100", 3);
    }
}

static void broken_rest(const char *rest, enum resp_error want, const struct resp_limits *limits) {
    static const char head[] = "*3\r\n$3\r\nSET\r\n$500\r\n";
    struct resp_limits lim = *limits;
    lim.stream_above = 100;
    for (size_t piece = 1; piece < 20; piece++) {
        struct resp_request r = {0};
        bool done;
        CHECK_EQ(resp_request_parse(&r, B(head), &lim), 0);
        CHECK(r.large && r.pos == 13);
        ptrdiff_t got = 1;
        for (size_t at = 0, n = strlen(rest); at < n && got >= 0; at += piece)
            got = resp_request_rest(&r, guarded(rest + at, min_size(piece, n - at)), min_size(piece, n - at), &done,
                                    &lim);
        CHECK_EQ(got, -(ptrdiff_t)want);
        CHECK_EQ(resp_request_rest(&r, B("$1\r\n"), &done, &lim), -(ptrdiff_t)want);
    }
}

TEST(the_rest_of_a_large_request_is_checked) {
    const struct resp_limits *d = &resp_limits_default, *g = &resp_limits_guest;
    broken_rest("x", RESP_NOT_BULK, d);
    broken_rest("$\r\n", RESP_BAD_BULK, d);
    broken_rest("$-1\r\n", RESP_BAD_BULK, d);
    broken_rest("$01\r\n", RESP_BAD_BULK, d);
    broken_rest("$1x", RESP_BAD_BULK, d);
    broken_rest("$536870913\r\n", RESP_BAD_BULK, d);
    broken_rest("$99999999999999999999\r\n", RESP_BAD_BULK, d);
    broken_rest("$1\rx", RESP_BAD_BULK, d);
    broken_rest("$1\r\naxx", RESP_BAD_BULK, d);
    broken_rest("$1\r\na\rx", RESP_BAD_BULK, d);
    broken_rest("$1\r\na\r\n:1\r\n", RESP_NOT_BULK, d);
    broken_rest("$16385\r\n", RESP_GUEST_BULK, g);
}

/* ---- inline commands ---- */

static void inline_case(const char *line, size_t n, const char *want, size_t want_n) {
    struct resp_request r = {0};
    struct resp_out out = {0};
    uint8_t *p = guarded(line, n);
    CHECK_EQ(resp_request_parse(&r, p, n, &resp_limits_default), n);
    CHECK_EQ(r.form, RESP_INLINE);
    ptrdiff_t got = resp_inline_encode(&r, slice_of(p, n), &out, &resp_limits_default);
    if (want) {
        CHECK_EQ(got, want_n);
        CHECK_BYTES(out.p, out.n, want, want_n);
    } else {
        CHECK_EQ(got, -RESP_QUOTES);
        CHECK_EQ(r.error, RESP_QUOTES);
        CHECK_EQ(out.n, 0);
    }
    resp_out_free(&out);
}
#define INLINE_IS(line, want) inline_case(line, sizeof(line) - 1, want, sizeof(want) - 1)
#define INLINE_BAD(line) inline_case(line, sizeof(line) - 1, NULL, 0)

TEST(inline_commands_are_split_as_redis_splits_them) { /* compared with redis-server 7.0.15 */
    INLINE_IS("PING\r\n", "*1\r\n$4\r\nPING\r\n");
    INLINE_IS("PING\n", "*1\r\n$4\r\nPING\r\n");
    INLINE_IS("  set\tk  v \r\n", "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1\r\nv\r\n");
    INLINE_IS("PING \"a b\"\r\n", "*2\r\n$4\r\nPING\r\n$3\r\na b\r\n");
    INLINE_IS("PING 'a b'\r\n", "*2\r\n$4\r\nPING\r\n$3\r\na b\r\n");
    INLINE_IS("PING \"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\\x4\"\r\n", "*2\r\n$4\r\nPING\r\n$11\r\nA\n\r\t\b\a\\\"qx4\r\n");
    INLINE_IS("PING \"\\x00\\xfF\"\r\n", "*2\r\n$4\r\nPING\r\n$2\r\n\0\xff\r\n");
    INLINE_IS("PING 'a\\'b\\n'\r\n", "*2\r\n$4\r\nPING\r\n$5\r\na'b\\n\r\n");
    INLINE_IS("PING ''\r\n", "*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
    INLINE_IS("PING a\"b c\"\r\n", "*2\r\n$4\r\nPING\r\n$4\r\nab c\r\n");
    INLINE_IS("PING \vx\r\n", "*2\r\n$4\r\nPING\r\n$1\r\nx\r\n");
    INLINE_IS("PING\vx\r\n", "*1\r\n$6\r\nPING\vx\r\n");
    INLINE_IS("PING\rx\r\n", "*2\r\n$4\r\nPING\r\n$1\r\nx\r\n");
    INLINE_IS("$5\r\n", "*1\r\n$2\r\n$5\r\n");
    INLINE_IS("   \r\n", "");
    INLINE_BAD("SET a \"b\r\n");
    INLINE_BAD("SET a 'b\r\n");
    INLINE_BAD("SET a \"b\"c\r\n");
    INLINE_BAD("SET a 'b'c\r\n");
    INLINE_BAD("SET a \"b\\\r\n");
    INLINE_BAD("SET a \"\\\"\r\n");
}

TEST(a_long_inline_command_becomes_a_request) {
    static char line[65536];
    memset(line, ' ', sizeof line);
    for (size_t i = 0; i < sizeof line - 2; i += 2) line[i] = 'w';
    line[sizeof line - 1] = '\n';
    struct resp_request r = {0};
    struct resp_out out = {0};
    struct resp_limits lim = resp_limits_default;
    CHECK_EQ(resp_request_parse(&r, B(line) + 1, &lim), sizeof line);
    CHECK(resp_inline_encode(&r, slice_of(line, sizeof line), &out, &lim) > 0);
    resp_request_reset(&r);
    CHECK_EQ(resp_request_parse(&r, out.p, out.n, &lim), out.n);
    CHECK_EQ(r.argc, 32767);
    resp_request_reset(&r);
    lim.max_args = 100, resp_out_clear(&out);
    CHECK_EQ(resp_inline_encode(&r, slice_of(line, sizeof line), &out, &lim), -RESP_BAD_COUNT);
    CHECK_EQ(out.n, 0);
    resp_out_free(&out);
}

int main(void) {
    RUN(requests_are_the_same_whole_and_cut_at_every_place);
    RUN(requests_byte_by_byte);
    RUN(requests_waiting_only_for_what_need_says);
    RUN(bytes_behind_a_request_do_not_matter);
    RUN(the_fast_path_says_what_the_general_parser_says);
    RUN(a_guest_has_tighter_limits);
    RUN(limits_hold_on_the_fast_path_too);
    RUN(endless_lines_are_refused_at_their_limit);
    RUN(a_nul_in_a_line_is_refused_at_once);
    RUN(no_byte_is_looked_at_twice);
    RUN(errors_are_worded_as_redis_words_them);
    RUN(a_nul_instead_of_a_dollar_is_told_whole);
    RUN(http_is_told_by_its_words);
    RUN(a_large_request_is_handed_over_head_first);
    RUN(a_large_request_may_be_collected_after_all);
    RUN(the_rest_of_a_large_request_is_checked);
    RUN(inline_commands_are_split_as_redis_splits_them);
    RUN(a_long_inline_command_becomes_a_request);
    return 0;
}
