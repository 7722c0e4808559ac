/* Chunked bodies and trailers: whole, byte by byte, cut at every place, at a guard page. */
#include "check.h"
#include "../codecs/http1_parse.h"

#define B(lit) (lit), sizeof(lit) - 1
#define BAD "\1"  /* refused */
#define MORE "\3" /* cut */

/* What chunks hold: the payload, or how they fail. */
static const struct {
    const char *p;
    size_t n;
    const char *want;
} bodies[] = {
    {B("0\r\n"), ""},
    {B("5\r\nhello\r\n0\r\n"), "hello"},
    {B("5\r\nhello\r\n6\r\n world\r\n0\r\n"), "hello world"},
    {B("a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n"), "01234567890123456789"},
    {B("0005\r\nhello\r\n000\r\n"), "hello"},
    {B("10\r\n0123456789abcdef\r\n0\r\n"), "0123456789abcdef"},
    {B("5\r\n\r\n\r\n0\r\n0\r\n"), "\r\n\r\n0"},
    {B("5;a\r\nhello\r\n0;b=c\r\n"), "hello"},
    {B("5;a=\"b;c\"; d\t= e\r\nhello\r\n0\r\n"), "hello"},
    {B("5 ;a\r\nhello\r\n0\t;b\r\n"), "hello"},
    {B("5;\xff\r\nhello\r\n0\r\n"), "hello"},
    {B("5;\r\nhello\r\n0\r\n"), "hello"},
    /* sizes */
    {B("\r\n"), BAD},
    {B("g\r\n"), BAD},
    {B("0x5\r\nhello\r\n"), BAD},
    {B("+5\r\nhello\r\n"), BAD},
    {B("-5\r\nhello\r\n"), BAD},
    {B(" 5\r\nhello\r\n"), BAD},
    {B("5 \r\nhello\r\n"), BAD},
    {B("5 5\r\nhello\r\n"), BAD},
    {B("5\t\r\nhello\r\n"), BAD},
    {B("5,5\r\nhello\r\n"), BAD},
    {B("5_\r\nhello\r\n"), BAD},
    {B("5\0\r\nhello\r\n"), BAD},
    {B(";a\r\n"), BAD},
    {B("\xef\xbc\x95\r\nhello\r\n"), BAD},
    {B("4000000000000001\r\n"), BAD},
    {B("8000000000000000\r\n"), BAD},
    {B("ffffffffffffffff\r\n"), BAD},
    {B("10000000000000000\r\n"), BAD},
    {B("10000000000000005\r\nhello\r\n0\r\n"), BAD},
    {B("4000000000000000\r\n"), MORE},
    /* line ends */
    {B("5\nhello\r\n0\r\n"), BAD},
    {B("5\rhello\r\n0\r\n"), BAD},
    {B("5\r\rhello\r\n0\r\n"), BAD},
    {B("5\n\rhello\r\n0\r\n"), BAD},
    {B("5;a\nb\r\nhello\r\n0\r\n"), BAD},
    {B("5;a\rb\r\nhello\r\n0\r\n"), BAD},
    {B("5;a\x01\r\nhello\r\n0\r\n"), BAD},
    {B("5;a\x7f\r\nhello\r\n0\r\n"), BAD},
    {B("5\r\nhello\n0\r\n"), BAD},
    {B("5\r\nhello0\r\n"), BAD},
    {B("5\r\nhello\r0\r\n"), BAD},
    {B("5\r\nhello\rX0\r\n"), BAD},
    {B("4\r\nhello\r\n0\r\n"), BAD},
    {B("6\r\nhello\r\n0\r\n"), BAD},
    {B("5\r\nhello\r\n0\n"), BAD},
    {B("5\r\nhello\r\n\r\n0\r\n"), BAD},
    /* cut */
    {B(""), MORE},
    {B("5"), MORE},
    {B("5\r\nhell"), MORE},
    {B("5\r\nhello"), MORE},
    {B("5\r\nhello\r\n"), MORE},
    {B("0\r"), MORE},
    /* the limit of a line is 20 here */
    {B("0000000000000000005\r\nhello\r\n0\r\n"), BAD},
    {B("000000000000000005\r\nhello\r\n0\r\n"), "hello"},
    {B("5;0123456789abcdefgh"), MORE},
    {B("5;0123456789abcdefghi"), BAD},
};

static const struct http1_limits limits = {.head = 1000, .fields = 4, .target = 100, .chunk_line = 20, .trailers = 60};

/* Pieces of `first` bytes, then of `others`. */
static void check_body(size_t i, size_t first, size_t others) {
    struct http1_chunked c = {0};
    char got[100] = "";
    size_t size = 0, at = 0, n = bodies[i].n;
    int r = CHUNK_MORE;
    for (size_t have = min_size(first, n);;) {
        size_t taken = 0;
        struct slice data;
        uint8_t *p = guarded(bodies[i].p + at, have - at);
        r = http1_chunked(&c, &limits, p, have - at, &taken, &data);
        if (r < 0) break;
        CHECK(taken <= have - at);
        at += taken;
        if (r == CHUNK_DATA) {
            CHECK(data.n > 0 && data.p >= p && data.p + data.n == p + taken);
            memcpy(got + size, data.p, data.n), size += data.n;
        }
        if (r == CHUNK_TRAILERS || (r == CHUNK_MORE && have == n)) break;
        if (r == CHUNK_MORE) have = min_size(n, have + others);
    }
    if (bodies[i].want[0] == BAD[0]) {
        CHECK_EQ(r, HTTP1_BAD);
        CHECK_EQ(http1_chunked(&c, &limits, (const uint8_t *)"0", 1, &at, &(struct slice){0}),
                 HTTP1_BAD); /* it sticks */
    } else if (bodies[i].want[0] == MORE[0]) {
        CHECK_EQ(r, CHUNK_MORE);
        CHECK_EQ(at, n);
    } else {
        CHECK_EQ(r, CHUNK_TRAILERS);
        CHECK_EQ(at, n);
        CHECK_BYTES(got, size, bodies[i].want, strlen(bodies[i].want));
    }
    if (check_failures) fprintf(stderr, "  body %zu, pieces of %zu and %zu\n", i, first, others);
}

TEST(bodies_mean_the_same_however_they_come) {
    for (size_t i = 0; i < countof(bodies); i++) {
        for (size_t first = 0; first <= bodies[i].n; first++) check_body(i, first, bodies[i].n);
        for (size_t piece = 1; piece < 5; piece++) check_body(i, piece, piece);
    }
}

TEST(what_follows_the_last_chunk_is_not_touched) {
    struct http1_chunked c = {0};
    struct slice data;
    size_t taken;
    CHECK_EQ(http1_chunked(&c, &limits, (const uint8_t *)"0\r\nX: y\r\n", 9, &taken, &data), CHUNK_TRAILERS);
    CHECK_EQ(taken, 3);
    CHECK_EQ(http1_chunked(&c, &limits, (const uint8_t *)"X: y\r\n", 6, &taken, &data), CHUNK_TRAILERS);
    CHECK_EQ(taken, 0);
}

/* ---- trailers ---- */

static const struct {
    const char *p;
    size_t n;
    ssize_t want;       /* as http1_trailers() */
    const char *fields; /* with '-' for those that are dropped */
} trailers[] = {
    {B("\r\n"), 2, ""},
    {B("\r\nGET"), 2, ""},
    {B("X-Sum: 1\r\n\r\n"), 12, "X-Sum"},
    {B("grpc-status: 0\r\ngrpc-message: \r\n\r\n"), 34, "grpc-status grpc-message"},
    {B("Host: a\r\nVia: b\r\n\r\n"), 19, "-Host -Via"},
    {B("Content-Length: 1\r\nSET-cookie: a\r\nx: y\r\n\r\n"), 42, "-Content-Length -SET-cookie x"},
    {B("Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"), 42, "-Transfer-Encoding -Trailer"},
    {B("Authorization: a\r\nCache-Control: b\r\n\r\n"), 38, "-Authorization -Cache-Control"},
    {B("Connection: x\r\nX-Forwarded-For: a\r\n\r\n"), 37, "-Connection -X-Forwarded-For"},
    {B("Age: 1\r\nAgent: a\r\n\r\n"), 20, "-Age Agent"},
    {B("X: a\r\n b\r\n\r\n"), HTTP1_BAD, ""},
    {B("X : a\r\n\r\n"), HTTP1_BAD, ""},
    {B("X\r\n\r\n"), HTTP1_BAD, ""},
    {B("X: a\nY: b\r\n\r\n"), HTTP1_BAD, ""},
    {B("\n"), HTTP1_BAD, ""},
    {B("\r\r"), HTTP1_BAD, ""},
    {B("X: a\r\n\n"), HTTP1_BAD, ""},
    {B("X: a\x01\r\n\r\n"), HTTP1_BAD, ""},
    {B(": a\r\n\r\n"), HTTP1_BAD, ""},
    {B("X: a\r\n"), 0, ""},
    {B("X: a\r\n\r"), 0, ""},
    {B(""), 0, ""},
    {B("a: b\r\nc: d\r\ne: f\r\ng: h\r\n\r\n"), 26, "a c e g"},
    {B("a: b\r\nc: d\r\ne: f\r\ng: h\r\ni"), HTTP1_HEAD_TOO_LARGE, ""},
    {B("a: 0123456789012345678901234567890123456789012345678901234567"), HTTP1_HEAD_TOO_LARGE, ""},
    {B("a: 01234567890123456789012345678901234567890123456789012345"), 0, ""},
};

TEST(trailers_mean_the_same_however_they_come) {
    struct http_field fields[8];
    for (size_t i = 0; i < countof(trailers); i++) {
        uint32_t count = 0;
        size_t n = trailers[i].n;
        char got[200] = "";
        ssize_t r = 0;
        for (size_t have = 0; r == 0 && have <= n; have++)
            r = http1_trailers(guarded(trailers[i].p, have), have, &limits, fields, countof(fields), &count);
        CHECK_EQ(r, trailers[i].want);
        r = http1_trailers(guarded(trailers[i].p, n), n, &limits, fields, countof(fields), &count);
        CHECK_EQ(r, trailers[i].want);
        for (uint32_t k = 0; r > 0 && k < count; k++)
            sprintf(got + strlen(got), "%s%s%.*s", k ? " " : "", fields[k].drop ? "-" : "", (int)fields[k].name.n,
                    fields[k].name.p);
        CHECK_STR(got, trailers[i].fields);
    }
}

int main(void) {
    RUN(bodies_mean_the_same_however_they_come);
    RUN(what_follows_the_last_chunk_is_not_touched);
    RUN(trailers_mean_the_same_however_they_come);
    return 0;
}
