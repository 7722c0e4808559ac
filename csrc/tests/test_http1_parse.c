/* Heads of requests and responses: whole, byte by byte, cut at every place, at a guard page; and the smuggling corpus. */
#include "check.h"
#include "http1_run.h"

/* ---- pieces ---- */

static size_t piece_first;
static size_t one_byte(void) { return 1; }
static size_t first_then_all(void) {
    size_t n = piece_first ? piece_first : 1u << 20;
    piece_first = 0;
    return n;
}

static struct http1_run run_of(int method) {
    return (struct http1_run){
        .limits = run_limits, .response = method >= 0, .method = method >= 0 ? (uint8_t)method : HTTP_OTHER_METHOD};
}

/* Compares what the bytes mean, however they come, with `want`. */
static void check_message(struct http1_run r, const char *p, size_t n, const char *want) {
    uint8_t *at_page = guarded(p, n);
    char *text = http1_run(&r, at_page, n);
    CHECK_STR(text, want);
    free(text);
    r.piece = one_byte;
    text = http1_run(&r, (const uint8_t *)p, n);
    CHECK_STR(text, want);
    free(text);
    r.piece = first_then_all;
    for (size_t cut = 1; cut < n; cut++) {
        piece_first = cut;
        text = http1_run(&r, (const uint8_t *)p, n);
        CHECK_STR(text, want);
        free(text);
    }
}

#define H "Host: a\r\n"
#define E "\r\n"
#define G "GET / HTTP/1.1\r\n"
#define B(lit) (lit), sizeof(lit) - 1

/* ---- requests ---- */

static const struct {
    const char *p;
    size_t n;
    const char *want;
} requests[] = {
    {B(G H E), "GET / host=a 1.1 none keep ; Host: a\n"},
    {B("GET / HTTP/1.0\r\n\r\n"), "GET / host= 1.0 none\n"},
    {B("GET /a?b=c HTTP/1.1\r\nhost:\t a.test:80 \t\r\nX:\r\nY: \r\nZ: a\tb  c\r\n" E),
     "GET /a?b=c host=a.test:80 1.1 none keep ; host: a.test:80 ; X:  ; Y:  ; Z: a\\x09b  c\n"},
    {B("\r\n\r\n" G H E), "GET / host=a 1.1 none keep ; Host: a\n"},
    {B("\r\n\r\n\r\n" G H E), "! 400"},
    {B(G "Host:\r\n" E), "GET / host= 1.1 none keep ; Host: \n"},
    {B(G H E G "Host: b\r\n" E), "GET / host=a 1.1 none keep ; Host: a\nGET / host=b 1.1 none keep ; Host: b\n"},
    {B(""), ""},
    {B("\r\n"), "..."},
    {B(G H), "..."},
    {B("M-SEARCH /\xc3\xa9 HTTP/1.1\r\n" H E), "M-SEARCH /\\xc3\\xa9 host=a 1.1 none keep ; Host: a\n"},
    /* names that do not fit in a block, or are not made of letters */
    {B(G H "X_1.2: a\r\nSec-WebSocket-Extensions-And-More: b\r\nX-0123456789-0123456789: c\r\n!#$%&'*+.^`|~: d\r\n" E),
     "GET / host=a 1.1 none keep ; Host: a ; X_1.2: a ; Sec-WebSocket-Extensions-And-More: b ; "
     "X-0123456789-0123456789: "
     "c ; !#$%&'*+.^`|~: d\n"},
    {B(G H "A: 0123456789abcdef\r\nB: 0123456789abcdef0123456789abcdef\x80\xff\r\n" E),
     "GET / host=a 1.1 none keep ; Host: a ; A: 0123456789abcdef ; B: "
     "0123456789abcdef0123456789abcdef\\x80\\xff\n"},
    /* versions */
    {B("GET / HTTP/1.2\r\n" H E), "GET / host=a 1.1 none keep ; Host: a\n"},
    {B("GET / HTTP/1.9\r\n" H E), "GET / host=a 1.1 none keep ; Host: a\n"},
    {B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "! 505"},
    {B("GET / HTTP/3.0\r\n" H E), "! 505"},
    {B("GET / HTTP/2.0\n"), "! 400"},
    {B("\x16\x03\x01\x02"), "! 400"},
    {B("SSH-2.0-OpenSSH\r\n"), "! 400"},
    /* target forms */
    {B("OPTIONS * HTTP/1.1\r\n" H E), "OPTIONS * host=a 1.1 none keep ; Host: a\n"},
    {B("GET http://b.test:81/c?d HTTP/1.1\r\n" H E), "GET /c?d host=b.test:81 1.1 http:// none keep ; Host: a\n"},
    {B("GET HTTPS://b HTTP/1.1\r\n" H E), "GET / host=b 1.1 HTTPS:// none keep ; Host: a\n"},
    {B("OPTIONS http://b HTTP/1.1\r\n" H E), "OPTIONS * host=b 1.1 http:// none keep ; Host: a\n"},
    {B("GET http://[::1]:8/ HTTP/1.0\r\n" E), "GET / host=[::1]:8 1.0 http:// none\n"},
    {B("GET http://b?q HTTP/1.1\r\n" H E), "GET ?q host=b 1.1 http:// none keep ; Host: a\n"},
    {B("GET http://:80/ HTTP/1.1\r\n" H E), "! 400"},
    {B("GET http:// HTTP/1.1\r\n" H E), "! 400"},
    {B("GET :// HTTP/1.1\r\n" H E), "! 400"},
    {B("GET //b/c HTTP/1.1\r\n" H E), "GET //b/c host=a 1.1 none keep ; Host: a\n"},
    {B("CONNECT b:443 HTTP/1.1\r\n" H E), "CONNECT  host=b:443 1.1 none keep ; Host: a\n"},
    {B("CONNECT [::1]:443 HTTP/1.1\r\n" H E), "CONNECT  host=[::1]:443 1.1 none keep ; Host: a\n"},
    {B("CONNECT b: HTTP/1.1\r\n" H E), "! 400"},
    {B("CONNECT :443 HTTP/1.1\r\n" H E), "! 400"},
    {B("CONNECT 443 HTTP/1.1\r\n" H E), "! 400"},
    {B("CONNECT [::1] HTTP/1.1\r\n" H E), "! 400"},
    {B("CONNECT * HTTP/1.1\r\n" H E), "! 400"},
    {B("CONNECT http://b:80/ HTTP/1.1\r\n" H E), "! 400"},
    {B("CONNECT b:443 HTTP/1.1\r\n" H "Content-Length: 0\r\n" E),
     "CONNECT  host=b:443 1.1 none keep ; Host: a ; Content-Length: 0\n"},
    {B("CONNECT b:443 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" E), "! 400"},
    /* bodies */
    {B("POST / HTTP/1.1\r\n" H "Content-Length: 5\r\n" E "hello" G H E),
     "POST / host=a 1.1 length=5 keep ; Host: a ; Content-Length: 5 ; =hello\nGET / host=a 1.1 none keep ; Host: "
     "a\n"},
    {B("GET / HTTP/1.0\r\nContent-Length: 3\r\n" E "abc"), "GET / host= 1.0 length=3 ; Content-Length: 3 ; =abc\n"},
    {B("POST / HTTP/1.1\r\n" H "Content-Length: 4611686018427387904\r\n" E "x"),
     "POST / host=a 1.1 length=4611686018427387904 keep ; Host: a ; Content-Length: 4611686018427387904 ; =x..."},
    {B("POST / HTTP/1.1\r\n" H "Content-Length: 4611686018427387914\r\n" E), "! 400"},
    {B("POST / HTTP/1.1\r\n" H "Content-Length: 46116860184273879040\r\n" E), "! 400"},
    {B("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" E "5\r\nhello\r\n0\r\n\r\n" G H E),
     "POST / host=a 1.1 chunked keep ; Host: a ; @Transfer-Encoding: chunked ; =hello\n"
     "GET / host=a 1.1 none keep ; Host: a\n"},
    /* Connection, TE, Upgrade, Expect */
    {B(G H "Connection: close\r\n" E), "GET / host=a 1.1 none ; Host: a ; @Connection: close\n"},
    {B(G H "Connection: keep-alive, Close\r\n" E),
     "GET / host=a 1.1 none ; Host: a ; @Connection: keep-alive, Close\n"},
    {B("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nKeep-Alive: 5\r\n" E),
     "GET / host= 1.0 none keep ; @Connection: Keep-Alive ; @Keep-Alive: 5\n"},
    {B("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n" E),
     "GET / host= 1.0 none ; @Connection: keep-alive ; @Connection: close\n"},
    {B(G H "X-a: 1\r\nConnection: x-A,, x-missing ,Cookie\r\nx-A: 2\r\nX-b: 3\r\nCookie: c\r\n" E),
     "GET / host=a 1.1 none keep ; Host: a ; @X-a: 1 ; @Connection: x-A,, x-missing ,Cookie ; @x-A: 2 ; X-b: 3 ; "
     "@Cookie: "
     "c\n"},
    {B(G H "Proxy-Connection: close\r\nTrailer: X\r\nHTTP2-Settings: x\r\n" E),
     "GET / host=a 1.1 none keep ; Host: a ; @Proxy-Connection: close ; Trailer: X ; @HTTP2-Settings: x\n"},
    {B(G H "TE: gzip, Trailers\r\n" E), "GET / host=a 1.1 none keep te ; Host: a ; @TE: gzip, Trailers\n"},
    {B(G H "TE: trailers2\r\n" E), "GET / host=a 1.1 none keep ; Host: a ; @TE: trailers2\n"},
    {B(G H "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" E),
     "GET / host=a 1.1 none keep upgrade=websocket ; Host: a ; @Upgrade: websocket ; @Connection: keep-alive, "
     "Upgrade\n"},
    {B(G H "Upgrade: websocket\r\n" E), "GET / host=a 1.1 none keep ; Host: a ; @Upgrade: websocket\n"},
    {B(G H "Connection: upgrade\r\n" E), "GET / host=a 1.1 none keep ; Host: a ; @Connection: upgrade\n"},
    {B("GET / HTTP/1.0\r\n" H "Upgrade: x\r\nConnection: upgrade\r\n" E),
     "GET / host=a 1.0 none ; Host: a ; @Upgrade: x ; @Connection: upgrade\n"},
    {B(G H "Upgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n" E),
     "GET / host=a 1.1 none keep ; Host: a ; @Upgrade: h2c ; @Connection: upgrade, HTTP2-Settings ; @HTTP2-Settings: "
     "AAMAAABk\n"},
    {B("POST / HTTP/1.1\r\n" H "Upgrade: x\r\nConnection: upgrade\r\nContent-Length: 1\r\n" E "a"),
     "POST / host=a 1.1 length=1 keep ; Host: a ; @Upgrade: x ; @Connection: upgrade ; Content-Length: 1 ; =a\n"},
    {B("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n" E "a"),
     "POST / host=a 1.1 length=1 keep expect ; Host: a ; Expect: 100-Continue ; Content-Length: 1 ; =a\n"},
    {B("POST / HTTP/1.0\r\n" H "Expect: x\r\nContent-Length: 1\r\n" E "a"),
     "POST / host=a 1.0 length=1 ; Host: a ; @Expect: x ; Content-Length: 1 ; =a\n"},
    {B(G H "Expect:\r\n" E), "! 417"},
    {B(G H "Expect: 100-continue\r\nExpect: x\r\n" E), "! 417"},
};

TEST(requests_mean_the_same_however_they_come) {
    for (size_t i = 0; i < countof(requests); i++)
        check_message(run_of(-1), requests[i].p, requests[i].n, requests[i].want);
}

/* ---- responses ---- */

#define OK "HTTP/1.1 200 OK\r\n"
#define TE "Transfer-Encoding: chunked\r\n"
static const struct {
    int method;
    const char *p;
    size_t n;
    const char *want;
} responses[] = {
    {HTTP_GET, B(OK "Content-Length: 2\r\n" E "hi"), "200 OK 1.1 length=2 keep ; Content-Length: 2 ; =hi\n"},
    {HTTP_GET, B(OK "Content-Length: 0\r\n" E), "200 OK 1.1 none keep ; Content-Length: 0\n"},
    {HTTP_GET, B(OK TE E "2\r\nhi\r\n0\r\n\r\n"), "200 OK 1.1 chunked keep ; @Transfer-Encoding: chunked ; =hi\n"},
    {HTTP_GET, B(OK E "hi"), "200 OK 1.1 eof ; =hi\n"},
    {HTTP_GET, B("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n" E "hi"), "200 OK 1.0 length=2 ; Content-Length: 2 ; =hi\n"},
    {HTTP_GET, B("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n" E "hi"),
     "200 OK 1.0 length=2 keep ; @Connection: keep-alive ; Content-Length: 2 ; =hi\n"},
    {HTTP_GET, B("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" E "hi"),
     "200 OK 1.0 eof ; @Connection: keep-alive ; =hi\n"},
    {HTTP_GET, B(OK "Connection: close\r\nContent-Length: 2\r\n" E "hi"),
     "200 OK 1.1 length=2 ; @Connection: close ; Content-Length: 2 ; =hi\n"},
    {HTTP_GET, B(OK "Content-Length: 2\r\n" TE E), "! 400"},
    {HTTP_GET, B(OK "Content-Length: 2\r\nContent-Length: 2\r\n" E), "! 400"},
    {HTTP_GET, B(OK "Content-Length: 2, 2\r\n" E), "! 400"},
    {HTTP_GET, B(OK "Transfer-Encoding: gzip, chunked\r\n" E), "! 501"},
    {HTTP_GET, B("HTTP/1.0 200 OK\r\n" TE E), "! 400"},
    {HTTP_GET, B(OK "Connection: content-length\r\nContent-Length: 2\r\n" E), "! 400"},
    /* no body whatever the fields say */
    {HTTP_HEAD, B(OK "Content-Length: 2\r\n" E OK E),
     "200 OK 1.1 none keep ; Content-Length: 2\n200 OK 1.1 none keep\n"},
    {HTTP_HEAD, B(OK TE E), "200 OK 1.1 none keep ; @Transfer-Encoding: chunked\n"},
    {HTTP_GET, B("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n" E),
     "304 Not Modified 1.1 none keep ; Content-Length: 2\n"},
    {HTTP_GET, B("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n" E),
     "204 No Content 1.1 none keep ; @Content-Length: 2\n"},
    {HTTP_GET,
     B("HTTP/1.1 100 Continue\r\n" E "HTTP/1.1 103 Early Hints\r\nLink: x\r\n" E OK "Content-Length: 1\r\n" E "a"),
     "100 Continue 1.1 none keep\n103 Early Hints 1.1 none keep ; Link: x\n"
     "200 OK 1.1 length=1 keep ; Content-Length: 1 ; =a\n"},
    {HTTP_CONNECT, B("HTTP/1.1 200 Established\r\nContent-Length: 9\r\n" E),
     "200 Established 1.1 none keep ; @Content-Length: 9\n"},
    {HTTP_CONNECT, B("HTTP/1.1 407 No\r\nContent-Length: 2\r\n" E "no"),
     "407 No 1.1 length=2 keep ; Content-Length: 2 ; =no\n"},
    {HTTP_GET, B("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" E),
     "101 Switching Protocols 1.1 none keep upgrade=websocket ; @Upgrade: websocket ; @Connection: Upgrade\n"},
    {HTTP_GET, B("HTTP/1.1 200 OK\r\nUpgrade: h2\r\nConnection: Upgrade\r\nContent-Length: 1\r\n" E "a"),
     "200 OK 1.1 length=1 keep ; @Upgrade: h2 ; @Connection: Upgrade ; Content-Length: 1 ; =a\n"},
    /* status lines */
    {HTTP_HEAD, B("HTTP/1.1 200\r\n" E), "200  1.1 none keep\n"},
    {HTTP_HEAD, B("HTTP/1.1 200 \r\n" E), "200  1.1 none keep\n"},
    {HTTP_HEAD, B("HTTP/1.1 599 \xe4 \tx\r\n" E), "599 \\xe4 \\x09x 1.1 none keep\n"},
    {HTTP_HEAD, B("HTTP/1.3 200 OK\r\n" E), "200 OK 1.1 none keep\n"},
    {HTTP_HEAD, B("HTTP/2.0 200 OK\r\n" E), "! 505"},
    {HTTP_HEAD, B("HTTP/1.1 099 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 600 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 20 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 2000 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 +20 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1  200 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1\t200 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1200 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP 200 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("http/1.1 200 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("\r\nHTTP/1.1 200 x\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 200 x\n\n"), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 200 a\rb\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 200 a\0b\r\n" E), "! 400"},
    {HTTP_HEAD, B(OK "X: a\r\n b\r\n" E), "! 400"},
    {HTTP_HEAD, B(OK "X : a\r\n" E), "! 400"},
    {HTTP_HEAD, B("HTTP/1.1 2"), "..."},
    {HTTP_GET, B(OK "Content-Length: 3\r\n" E "hi"), "200 OK 1.1 length=3 keep ; Content-Length: 3 ; =hi..."},
};

TEST(responses_mean_the_same_however_they_come) {
    for (size_t i = 0; i < countof(responses); i++)
        check_message(run_of(responses[i].method), responses[i].p, responses[i].n, responses[i].want);
}

/* ---- limits ---- */

/* `n` bytes of a head without end, and perhaps more behind them. */
static ssize_t try_head(const struct http1_limits *limits, const char *p, size_t n) {
    static struct http_field fields[8];
    struct http_head h;
    size_t scanned = 0;
    return http1_request(guarded(p, n), n, &scanned, limits, fields, countof(fields), &h);
}

TEST(limits_are_refused_before_waiting) {
    static const char head[] = "GET /0123456789 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    struct http1_limits l = run_limits;
    size_t n = sizeof head - 1;
    l.head = (uint32_t)n;
    CHECK_EQ(try_head(&l, head, n), n);
    l.head--;
    CHECK_EQ(try_head(&l, head, n), HTTP1_HEAD_TOO_LARGE);
    CHECK_EQ(try_head(&l, head, n - 1), HTTP1_HEAD_TOO_LARGE); /* whatever comes, it is too much */
    CHECK_EQ(try_head(&l, head, n - 2), 0);
    l = run_limits, l.target = 11;
    CHECK_EQ(try_head(&l, head, n), n);
    l.target = 10;
    CHECK_EQ(try_head(&l, head, n), HTTP1_TARGET_TOO_LONG);
    CHECK_EQ(try_head(&l, head, 15), HTTP1_TARGET_TOO_LONG);
    CHECK_EQ(try_head(&l, head, 14), 0);
    l = run_limits, l.fields = 2;
    CHECK_EQ(try_head(&l, head, n), n);
    l.fields = 1;
    CHECK_EQ(try_head(&l, head, n), HTTP1_HEAD_TOO_LARGE);
    CHECK_EQ(try_head(&l, head, 36), HTTP1_HEAD_TOO_LARGE);
    CHECK_EQ(try_head(&l, head, 35), 0);
}

/* Each piece that comes, however small, is judged: a target without end is not collected up to the limit of heads. */
TEST(a_long_target_in_small_pieces_is_refused_early) {
    struct http1_limits l = run_limits;
    static char text[200] = "\r\nGET /";
    struct http_field fields[8];
    struct http_head h;
    size_t scanned = 0, n = 7;
    ssize_t r = 0;
    l.target = 50;
    memset(text + 7, 'x', sizeof text - 7);
    for (; r == 0 && n < sizeof text; n++) r = http1_request((uint8_t *)text, n, &scanned, &l, fields, 8, &h);
    CHECK_EQ(r, HTTP1_TARGET_TOO_LONG);
    CHECK(n < 60);
}

/* A head that comes byte by byte is looked at again only when a line has ended. */
TEST(every_byte_is_not_the_whole_head_again) {
    enum { SIZE = 60000 };
    static char text[SIZE] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    struct http_field fields[8];
    struct http_head h;
    size_t scanned = 0, begin = strlen(text), at = begin;
    memset(text + begin, 'x', SIZE - begin);
    for (ssize_t r = 0; at < SIZE && r == 0; at++) {
        CHECK(scanned == 0 || scanned == at - 1);
        r = http1_request((uint8_t *)text, at, &scanned, &run_limits, fields, 8, &h);
        CHECK_EQ(r, 0);
    }
    CHECK_EQ(at, SIZE);
}

TEST(fields_named_by_connection_are_bounded) {
    char text[2000] = G H "Connection: ";
    for (int i = 0; i < 64; i++) strcat(text, i ? ",x" : "x");
    size_t n = strlen(text);
    strcat(text, "\r\n\r\n");
    CHECK_EQ(try_head(&run_limits, text, strlen(text)), strlen(text));
    strcpy(text + n, ",x\r\n\r\n");
    CHECK_EQ(try_head(&run_limits, text, strlen(text)), HTTP1_BAD);
}

TEST(errors_have_a_status_and_a_sentence) {
    static const struct {
        int error, status;
    } cases[] = {{HTTP1_BAD, 400},         {HTTP1_HEAD_TOO_LARGE, 431}, {HTTP1_TARGET_TOO_LONG, 414},
                 {HTTP1_BAD_VERSION, 505}, {HTTP1_BAD_CODING, 501},     {HTTP1_BAD_EXPECT, 417}};
    for (size_t i = 0; i < countof(cases); i++) {
        CHECK_EQ(http1_error_status(cases[i].error), cases[i].status);
        CHECK(strlen(http1_error_text(cases[i].error)) > 10);
    }
}

/* ---- the smuggling corpus ---- */

static size_t unescape(const char *s, char *to) {
    size_t n = 0;
    for (; *s; s++) {
        if (*s != '\\') to[n++] = *s;
        else if (*++s == 'x') to[n++] = (char)strtoul((char[]){s[1], s[2], 0}, NULL, 16), s += 2;
        else to[n++] = *s == 'r' ? '\r' : *s == 'n' ? '\n' : *s == 't' ? '\t' : *s;
    }
    return n;
}

/* The statuses of a run's text: 200 for each whole message, then the error. */
static void statuses(const char *text, char *to) {
    size_t n = 0;
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n'), *bang = strstr(line, "! ");
        if (!end) {
            n += (size_t)sprintf(to + n, "%s%s", n ? "," : "", bang ? bang + 2 : "cut");
            break;
        }
        n += (size_t)sprintf(to + n, "%s200", n ? "," : "");
        line = end + 1;
    }
    to[n] = 0;
}

static void check_case(char *line) {
    static char bytes[4096], got[200];
    char *bar = strchr(line, '|'), *second = bar ? strchr(bar + 1, '|') : NULL;
    if (!second) {
        check_failed(__FILE__, __LINE__, line);
        return;
    }
    *bar = *second = 0, second[strcspn(second + 1, "\n") + 1] = 0;
    size_t n = unescape(second + 2, bytes);
    char *want = bar + 2;
    want[strcspn(want, " ")] = 0;
    struct http1_run r = run_of(-1);
    for (int how = 0; how < 2; how++) {
        r.piece = how ? one_byte : NULL;
        char *text = http1_run(&r, guarded(bytes, n), n);
        statuses(text, got);
        if (strcmp(got, want) != 0) {
            check_failed(__FILE__, __LINE__, line);
            fprintf(stderr, "  %s, not %s: %s\n", got, want, text);
        }
        free(text);
    }
}

TEST(what_is_smuggling_shaped_is_refused) {
    FILE *f = fopen("tests/data/http/smuggling.txt", "r");
    char line[4096];
    int cases = 0;
    if (!f) {
        check_failed(__FILE__, __LINE__, "tests/data/http/smuggling.txt: run from the top of the tree");
        return;
    }
    while (fgets(line, sizeof line, f))
        if (line[0] != '#' && line[0] != '\n') check_case(line), cases++;
    fclose(f);
    CHECK(cases >= 120);
}

int main(void) {
    RUN(requests_mean_the_same_however_they_come);
    RUN(responses_mean_the_same_however_they_come);
    RUN(limits_are_refused_before_waiting);
    RUN(a_long_target_in_small_pieces_is_refused_early);
    RUN(every_byte_is_not_the_whole_head_again);
    RUN(fields_named_by_connection_are_bounded);
    RUN(errors_have_a_status_and_a_sentence);
    RUN(what_is_smuggling_shaped_is_refused);
    return 0;
}
