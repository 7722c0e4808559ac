/* RESP replies: the scanner whole, cut at every place and byte by byte, in memory that ends at a guard page; the cursor
 * over complete replies; the writers. */
#include "check.h"
#include "../codecs/resp.h"

#include <math.h>

#define B(lit) (const uint8_t *)(lit), sizeof(lit) - 1
#define S(lit) slice_of(lit, sizeof(lit) - 1)

struct reply_case {
    const uint8_t *p;
    size_t n;
    uint8_t type;
};

#define ATTRIBUTE "|1\r\n+key-popularity\r\n%2\r\n$1\r\na\r\n,0.1923\r\n$1\r\nb\r\n,0.0012\r\n"
static const struct reply_case replies[] = {
    {B("+OK\r\n"), '+'},
    {B("+\r\n"), '+'},
    {B("+QUEUED\r\n"), '+'},
    {B("+a\rb\nc\r\r\n"), '+'}, /* a CR alone is text, as hiredis reads it */
    {B("-ERR unknown command 'foo'\r\n"), '-'},
    {B(":1\r\n"), ':'},
    {B(":-1\r\n"), ':'},
    {B(":+7\r\n"), ':'},
    {B(":9223372036854775807\r\n"), ':'},
    {B(":00000000000000000000000000000000000000\r\n"), ':'},
    {B("$-1\r\n"), '$'},
    {B("$0\r\n\r\n"), '$'},
    {B("$3\r\nfoo\r\n"), '$'},
    {B("$2\r\n\r\n\r\n"), '$'},
    {B("$12\r\nabcdefghijkl\r\n"), '$'},
    {B("$100\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\r"
       "\n"),
     '$'},
    {B("*0\r\n"), '*'},
    {B("*-1\r\n"), '*'},
    {B("*1\r\n*1\r\n*0\r\n"), '*'},
    {B("*3\r\n$3\r\nfoo\r\n$-1\r\n:12\r\n"), '*'},
    {B("*2\r\n*2\r\n:1\r\n+x\r\n*-1\r\n"), '*'},
    {B("_\r\n"), '_'},
    {B(",3.14\r\n"), ','},
    {B(",-inf\r\n"), ','},
    {B(",1e-10\r\n"), ','},
    {B("#t\r\n"), '#'},
    {B("#f\r\n"), '#'},
    {B("!21\r\nSYNTAX invalid syntax\r\n"), '!'},
    {B("=15\r\ntxt:Some string\r\n"), '='},
    {B("(-3492890328409238509324850943850943825024385\r\n"), '('},
    {B("%0\r\n"), '%'},
    {B("%2\r\n+first\r\n:1\r\n+second\r\n*2\r\n_\r\n#t\r\n"), '%'},
    {B("~3\r\n+a\r\n:1\r\n~0\r\n"), '~'},
    {B(">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n"), '>'},
    {B(">0\r\n"), '>'},
    {B("*1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"), '*'}, /* EXEC of a SUBSCRIBE */
    {B(ATTRIBUTE "*2\r\n:2039123\r\n:9543892\r\n"), '*'},
    {B(ATTRIBUTE "+OK\r\n"), '+'},
    {B("|0\r\n:5\r\n"), ':'},
    {B("|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n:2\r\n$1\r\nx\r\n"), '$'}, /* an attribute within an attribute */
    {B("*3\r\n:1\r\n|1\r\n+ttl\r\n:3600\r\n:2\r\n:3\r\n"), '*'},
    {B("*1\r\n|0\r\n:3\r\n"), '*'},
    {B("%1\r\n|1\r\n+a\r\n:1\r\n+k\r\n|1\r\n+b\r\n:1\r\n+v\r\n"), '%'},
};

static struct resp_scan fresh(void) {
    struct resp_scan s;
    memset(&s, 0xa5, sizeof s); /* reset need not clear the stack */
    resp_scan_reset(&s);
    return s;
}

TEST(replies_end_where_they_end_whole_and_cut_at_every_place) {
    for (size_t i = 0; i < countof(replies); i++)
        for (size_t cut = 0; cut <= replies[i].n; cut++) {
            const struct reply_case *c = &replies[i];
            struct resp_scan s = fresh();
            CHECK_EQ(resp_scan(&s, guarded(c->p, cut), cut, &resp_limits_default), cut);
            CHECK_EQ(s.done, cut == c->n);
            CHECK_EQ(s.open, cut && cut < c->n);
            if (cut == c->n) CHECK_EQ(s.type, c->type);
            if (s.done) continue;
            CHECK_EQ(resp_scan(&s, guarded(c->p + cut, c->n - cut), c->n - cut, &resp_limits_default), c->n - cut);
            CHECK(s.done && !s.open);
            CHECK_EQ(s.type, c->type);
        }
}

TEST(replies_byte_by_byte) {
    for (size_t i = 0; i < countof(replies); i++) {
        const struct reply_case *c = &replies[i];
        struct resp_scan s = fresh();
        for (size_t k = 0; k < c->n; k++) {
            CHECK_EQ(resp_scan(&s, guarded(c->p + k, 1), 1, &resp_limits_default), 1);
            CHECK_EQ(s.done, k + 1 == c->n);
            if (c->p[0] != '|') CHECK_EQ(s.type, c->type);
        }
        CHECK_EQ(s.type, c->type);
    }
}

TEST(a_scanner_goes_on_with_the_next_reply) {
    uint8_t all[2048];
    size_t n = 0, at = 0, seen = 0;
    for (size_t i = 0; i < countof(replies); i++) memcpy(all + n, replies[i].p, replies[i].n), n += replies[i].n;
    struct resp_scan s = fresh();
    uint8_t *p = guarded(all, n);
    for (; at < n; seen++) {
        ptrdiff_t got = resp_scan(&s, p + at, n - at, &resp_limits_default);
        CHECK_EQ(got, replies[seen].n);
        CHECK(s.done);
        CHECK_EQ(s.type, replies[seen].type);
        if (got <= 0) return;
        at += (size_t)got;
    }
    CHECK_EQ(seen, countof(replies));
}

TEST(the_cursor_skips_what_the_scanner_passes) {
    for (size_t i = 0; i < countof(replies); i++) {
        struct slice in = slice_of(guarded(replies[i].p, replies[i].n), replies[i].n), value, all = in;
        CHECK(resp_take(&in, &value));
        CHECK_EQ(in.n, 0);
        CHECK(slice_eq(value, all));
        for (size_t cut = 0; cut < replies[i].n; cut++) {
            in = slice_of(guarded(replies[i].p, cut), cut);
            CHECK(!resp_skip(&in));
            CHECK_EQ(in.n, cut);
        }
    }
}

/* ---- broken replies ---- */

struct broken_case {
    const uint8_t *p;
    size_t n;
    enum resp_error error;
};
static const struct broken_case broken[] = {
    {B("x\r\n"), RESP_REPLY_TYPE},
    {B("\r\n"), RESP_REPLY_TYPE},
    {B("HTTP/1.1 400 Bad Request\r\n"), RESP_REPLY_TYPE},
    {B("$?\r\n"), RESP_REPLY_TYPE},
    {B("*?\r\n"), RESP_REPLY_TYPE},
    {B("*1\r\nx"), RESP_REPLY_TYPE},
    {B(".\r\n"), RESP_REPLY_TYPE},
    {B(";4\r\n"), RESP_REPLY_TYPE},
    {B("$\r\n"), RESP_REPLY_LENGTH},
    {B("$a\r\n"), RESP_REPLY_LENGTH},
    {B("$-\r\n"), RESP_REPLY_LENGTH},
    {B("$-2\r\n"), RESP_REPLY_LENGTH},
    {B("$-11\r\n"), RESP_REPLY_LENGTH},
    {B("$--1\r\n"), RESP_REPLY_LENGTH},
    {B("$1-\r\n"), RESP_REPLY_LENGTH},
    {B("$01\r\n"), RESP_REPLY_LENGTH},
    {B("$+1\r\n"), RESP_REPLY_LENGTH},
    {B("!-1\r\n"), RESP_REPLY_LENGTH},
    {B("=-1\r\n"), RESP_REPLY_LENGTH},
    {B("%-1\r\n"), RESP_REPLY_LENGTH},
    {B("~-1\r\n"), RESP_REPLY_LENGTH},
    {B(">-1\r\n"), RESP_REPLY_LENGTH},
    {B("|-1\r\n"), RESP_REPLY_LENGTH},
    {B("$1099511627777\r\n"), RESP_REPLY_LENGTH},
    {B("$99999999999999999999999999\r\n"), RESP_REPLY_LENGTH},
    {B("*2147483648\r\n"), RESP_REPLY_LENGTH},
    {B("%1073741824\r\n"), RESP_REPLY_LENGTH},
    {B("*1\r\n$18446744073709551615\r\n"), RESP_REPLY_LENGTH},
    {B("$1\rx"), RESP_REPLY_LINE},
    {B("$1\r\nabc"), RESP_REPLY_LINE},
    {B("$1\r\na\rx"), RESP_REPLY_LINE},
    {B("*1\rx"), RESP_REPLY_LINE},
    {B(":\r\n"), RESP_REPLY_LINE},
    {B(":1a\r\n"), RESP_REPLY_LINE},
    {B(":1-\r\n"), RESP_REPLY_LINE},
    {B(":1\rx"), RESP_REPLY_LINE},
    {B("_x\r\n"), RESP_REPLY_LINE},
    {B("#x\r\n"), RESP_REPLY_LINE},
    {B("#tt\r\n"), RESP_REPLY_LINE},
    {B("#\r\n"), RESP_REPLY_LINE},
    {B(",\r\n"), RESP_REPLY_LINE},
    {B(",1 2\r\n"), RESP_REPLY_LINE},
    {B("(12x\r\n"), RESP_REPLY_LINE},
};

TEST(broken_replies_are_told_in_any_pieces_and_stay_broken) {
    for (size_t i = 0; i < countof(broken); i++)
        for (size_t piece = 1; piece <= broken[i].n; piece++) {
            struct resp_scan s = fresh();
            ptrdiff_t got = 0;
            for (size_t at = 0; at < broken[i].n && got >= 0; at += piece) {
                size_t take = min_size(piece, broken[i].n - at);
                got = resp_scan(&s, guarded(broken[i].p + at, take), take, &resp_limits_default);
            }
            CHECK_EQ(got, -(ptrdiff_t)broken[i].error);
            CHECK_EQ(s.error, broken[i].error);
            CHECK(!s.done);
            CHECK_EQ(resp_scan(&s, B("+OK\r\n"), &resp_limits_default), -(ptrdiff_t)broken[i].error);
        }
}

TEST(replies_over_a_limit_are_broken) {
    struct resp_limits lim = resp_limits_default;
    struct resp_scan s = fresh();
    lim.max_reply = 5;
    CHECK_EQ(resp_scan(&s, B("$5\r\nhello\r\n"), &lim), 11);
    CHECK_EQ(resp_scan(&s, B("$6\r\nhello!\r\n"), &lim), -RESP_REPLY_LENGTH);
    s = fresh(), lim = resp_limits_default, lim.max_count = 3;
    CHECK_EQ(resp_scan(&s, B("*3\r\n:1\r\n:2\r\n:3\r\n"), &lim), 16);
    CHECK_EQ(resp_scan(&s, B("%2\r\n"), &lim), -RESP_REPLY_LENGTH);
    lim = resp_limits_default, lim.max_line = 5;
    s = fresh();
    CHECK_EQ(resp_scan(&s, B("+hello\r\n"), &lim), 8);
    CHECK_EQ(resp_scan(&s, B("+hello!\r\n"), &lim), -RESP_REPLY_LINE);
    s = fresh();
    CHECK_EQ(resp_scan(&s, B("+hel"), &lim), 4);
    CHECK_EQ(resp_scan(&s, B("lo!"), &lim), -RESP_REPLY_LINE);
    s = fresh();
    CHECK_EQ(resp_scan(&s, B("(123456\r\n"), &lim), -RESP_REPLY_LINE);
}

TEST(nesting_is_limited) {
    char deep[5 * RESP_DEPTH + 16];
    size_t n = 0;
    for (uint32_t i = 0; i <= RESP_DEPTH; i++) n += (size_t)snprintf(deep + n, sizeof deep - n, "*1\r\n");
    struct resp_scan s = fresh();
    CHECK_EQ(resp_scan(&s, (uint8_t *)deep, n, &resp_limits_default), -RESP_REPLY_DEPTH);
    s = fresh();
    n -= 4, memcpy(deep + n, ":1\r\n", 4);
    CHECK_EQ(resp_scan(&s, (uint8_t *)deep, n + 4, &resp_limits_default), n + 4);
    CHECK(s.done);
    struct resp_limits lim = resp_limits_default;
    lim.max_depth = 0;
    CHECK_EQ(resp_scan(&s, B("*0\r\n"), &lim), 4); /* nothing is open inside an empty one */
    CHECK_EQ(resp_scan(&s, B("*1\r\n:1\r\n"), &lim), -RESP_REPLY_DEPTH);
    lim.max_depth = 1000; /* more than there is room for */
    s = fresh();
    n = 0;
    for (uint32_t i = 0; i <= RESP_DEPTH; i++) n += (size_t)snprintf(deep + n, sizeof deep - n, "*1\r\n");
    CHECK_EQ(resp_scan(&s, (uint8_t *)deep, n, &lim), -RESP_REPLY_DEPTH);
}

TEST(a_long_reply_passes_in_pieces_without_being_looked_at) {
    struct resp_scan s = fresh();
    uint64_t left = (1ull << 40) + 2;
    CHECK_EQ(resp_scan(&s, B("$1099511627776\r\n"), &resp_limits_default), 16);
    while (left > 1ull << 32) { /* the pointer may be anything: a body's bytes are not read */
        CHECK_EQ(resp_scan(&s, (const uint8_t *)8, 1ull << 32, &resp_limits_default), 1ull << 32);
        left -= 1ull << 32;
    }
    CHECK_EQ(resp_scan(&s, (const uint8_t *)8, left - 2, &resp_limits_default), left - 2);
    CHECK(!s.done);
    CHECK_EQ(resp_scan(&s, B("\r\n+OK"), &resp_limits_default), 2);
    CHECK(s.done);
}

/* ---- the cursor ---- */

TEST(the_cursor_reads_every_type) {
    struct slice in = S("%2\r\n+a\r\n:-12\r\n$3\r\nfoo\r\n*-1\r\n=8\r\ntxt:text\r\n!5\r\nERR "
                        "x\r\n_\r\n$-1\r\n~1\r\n#t\r\n(99\r\n,1.5\r\n+x\ry\r\n");
    struct resp_value v;
    int64_t i;
    CHECK(resp_read(&in, &v) && v.type == '%' && v.count == 4 && !v.null);
    CHECK_BYTES(v.raw.p, v.raw.n, "%2\r\n", 4);
    CHECK(resp_read(&in, &v) && v.type == '+' && slice_eq(v.text, S("a")) && slice_eq(v.raw, S("+a\r\n")));
    CHECK(resp_read(&in, &v) && v.type == ':' && resp_int(v.text, &i) && i == -12);
    CHECK(resp_read(&in, &v) && v.type == '$' && slice_eq(v.text, S("foo")) && slice_eq(v.raw, S("$3\r\nfoo\r\n")));
    CHECK(resp_read(&in, &v) && v.type == '*' && v.null && v.count == 0);
    CHECK(resp_read(&in, &v) && v.type == '=' && slice_eq(v.text, S("text")) &&
          slice_eq(v.raw, S("=8\r\ntxt:text\r\n")));
    CHECK(resp_read(&in, &v) && v.type == '!' && slice_eq(v.text, S("ERR x")));
    CHECK(resp_read(&in, &v) && v.type == '_' && v.null);
    CHECK(resp_read(&in, &v) && v.type == '$' && v.null);
    CHECK(resp_read(&in, &v) && v.type == '~' && v.count == 1);
    CHECK(resp_read(&in, &v) && v.type == '#' && slice_eq(v.text, S("t")));
    CHECK(resp_read(&in, &v) && v.type == '(' && slice_eq(v.text, S("99")));
    CHECK(resp_read(&in, &v) && v.type == ',' && slice_eq(v.text, S("1.5")));
    CHECK(resp_read(&in, &v) && v.type == '+' && slice_eq(v.text, S("x\ry")));
    CHECK(!resp_read(&in, &v));
}

TEST(the_cursor_refuses_what_is_no_reply) {
    static const char *const bad[] = {"",
                                      "+",
                                      "+OK",
                                      "+OK\r",
                                      "+OK\n",
                                      "x\r\n",
                                      "$5\r\nabc\r\n",
                                      "$3\r\nabcxx",
                                      "$a\r\n",
                                      "*a\r\n",
                                      "*-2\r\n",
                                      "$-2\r\n",
                                      "%-1\r\n",
                                      "*2147483648\r\n",
                                      "%1073741824\r\n",
                                      "=3\r\ntxt\r\n",
                                      "=5\r\ntext:\r\n",
                                      "$99999999999999999999\r\n",
                                      "$18446744073709551615\r\n"};
    for (size_t i = 0; i < countof(bad); i++) {
        struct resp_value v;
        size_t n = strlen(bad[i]);
        struct slice in = slice_of(guarded(bad[i], n), n);
        CHECK(!resp_read(&in, &v));
        CHECK_EQ(in.n, n);
    }
    struct slice bomb = S("*2147483647\r\n*2147483647\r\n*2147483647\r\n:1\r\n"), text;
    CHECK(!resp_skip(&bomb));
    CHECK(resp_is_error(S("-ERR no\r\n"), &text) && slice_eq(text, S("ERR no")));
    CHECK(resp_is_error(S("!6\r\nERR no\r\n"), &text) && slice_eq(text, S("ERR no")));
    CHECK(resp_is_error(S("|1\r\n+a\r\n*1\r\n:1\r\n-ERR no\r\n"), &text) && slice_eq(text, S("ERR no")));
    CHECK(!resp_is_error(S("+ERR no\r\n"), &text) && !resp_is_error(S("-ERR"), &text));
}

TEST(deep_replies_are_skipped_without_a_stack) {
    size_t depth = 200000, n = 0;
    uint8_t *p = malloc(depth * 4 + 4);
    for (; n < depth * 4; n += 4) memcpy(p + n, "*1\r\n", 4);
    memcpy(p + n, ":1\r\n", 4);
    struct slice in = slice_of(p, n + 4);
    CHECK(resp_skip(&in) && in.n == 0);
    free(p);
}

TEST(numbers_are_read_strictly) {
    uint64_t u;
    int64_t i;
    CHECK(resp_uint(S("0"), &u) && u == 0);
    CHECK(resp_uint(S("18446744073709551615"), &u) && u == UINT64_MAX);
    CHECK(!resp_uint(S("18446744073709551616"), &u) && !resp_uint(S("99999999999999999999"), &u));
    CHECK(!resp_uint(S(""), &u) && !resp_uint(S("-1"), &u) && !resp_uint(S("+1"), &u) && !resp_uint(S("01"), &u) &&
          !resp_uint(S("1 "), &u));
    CHECK(resp_int(S("-9223372036854775808"), &i) && i == INT64_MIN);
    CHECK(resp_int(S("9223372036854775807"), &i) && i == INT64_MAX);
    CHECK(!resp_int(S("9223372036854775808"), &i) && !resp_int(S("-9223372036854775809"), &i));
    CHECK(!resp_int(S("-0"), &i) && !resp_int(S("-"), &i) && !resp_int(S("--1"), &i));
}

/* ---- writers ---- */

#define WROTE(lit) CHECK_BYTES(o.p, o.n, lit, sizeof(lit) - 1)
static void write_all(struct resp_out *o, int version) {
    resp_out_array(o, 1), resp_out_map(o, 2, version), resp_out_set(o, 3, version), resp_out_push(o, 4, version);
    resp_out_null(o, version), resp_out_null_array(o, version), resp_out_bool(o, true, version),
        resp_out_bool(o, false, version);
    resp_out_bulk(o, S("a\r\nb")), resp_out_status(o, S("O\r\nK")), resp_out_error(o, S("ERR a\nb"));
    resp_out_int(o, 0), resp_out_int(o, INT64_MIN), resp_out_verbatim(o, "txt", S("hi"), version);
    resp_out_double(o, 1.5, version), resp_out_double(o, INFINITY, version), resp_out_double(o, -INFINITY, version),
        resp_out_double(o, NAN, version);
    resp_out_double(o, 0.1, version), resp_out_double(o, 1e300, version),
        resp_out_double(o, 3.0000000000000004, version);
}

TEST(values_are_written_for_either_version) {
    struct resp_out o = {0};
    write_all(&o, 3);
    WROTE("*1\r\n%2\r\n~3\r\n>4\r\n_\r\n_\r\n#t\r\n#f\r\n$4\r\na\r\nb\r\n+O  K\r\n-ERR a "
          "b\r\n:0\r\n:-9223372036854775808\r\n=6\r\ntxt:hi\r\n"
          ",1.5\r\n,inf\r\n,-inf\r\n,nan\r\n,0.1\r\n,1e+300\r\n,3.0000000000000004\r\n");
    resp_out_clear(&o);
    write_all(&o, 2);
    WROTE("*1\r\n*4\r\n*3\r\n*4\r\n$-1\r\n*-1\r\n:1\r\n:0\r\n$4\r\na\r\nb\r\n+O  K\r\n-ERR a "
          "b\r\n:0\r\n:-9223372036854775808\r\n$2\r\nhi\r\n"
          "$3\r\n1.5\r\n$3\r\ninf\r\n$4\r\n-inf\r\n$3\r\nnan\r\n$3\r\n0.1\r\n$6\r\n1e+300\r\n$18\r\n3."
          "0000000000000004\r\n");
    resp_out_free(&o);
    CHECK(o.p == NULL && o.n == 0);
}

TEST(a_writer_that_failed_stays_so) {
    struct resp_out o = {0};
    resp_out_int(&o, 1);
    CHECK(!resp_out_reserve(&o, SIZE_MAX / 2));
    CHECK(o.failed);
    resp_out_int(&o, 2);
    resp_out_bulk(&o, S("abc"));
    CHECK_BYTES(o.p, o.n, ":1\r\n", 4);
    resp_out_clear(&o);
    CHECK(!o.failed);
    resp_out_free(&o);
}

TEST(errors_have_a_text) {
    for (int e = RESP_OK; e <= RESP_NO_MEMORY; e++) CHECK(strlen(resp_error_text((enum resp_error)e)) > 5);
    CHECK_STR(resp_error_text((enum resp_error)250), "unknown error");
}

int main(void) {
    RUN(replies_end_where_they_end_whole_and_cut_at_every_place);
    RUN(replies_byte_by_byte);
    RUN(a_scanner_goes_on_with_the_next_reply);
    RUN(the_cursor_skips_what_the_scanner_passes);
    RUN(broken_replies_are_told_in_any_pieces_and_stay_broken);
    RUN(replies_over_a_limit_are_broken);
    RUN(nesting_is_limited);
    RUN(a_long_reply_passes_in_pieces_without_being_looked_at);
    RUN(the_cursor_reads_every_type);
    RUN(the_cursor_refuses_what_is_no_reply);
    RUN(deep_replies_are_skipped_without_a_stack);
    RUN(numbers_are_read_strictly);
    RUN(values_are_written_for_either_version);
    RUN(a_writer_that_failed_stays_so);
    RUN(errors_have_a_text);
    return 0;
}
