/* A connection that hears nothing but HTTP/1 messages, for tests: bytes come in pieces, and what they mean is written down as text,
 * which must not depend on the pieces.
 *
 * A request:   GET /path host=a.test 1.1 [http://] none|chunked|length=5 keep expect te upgrade=x ; a: 1 ; @connection: x ;
 * A response:  200 OK 1.1 none|chunked|length=5|eof keep upgrade=x ; ...
 * Fields that are dropped have an '@'. Then " ; =" with the body's bytes and " ; / ; a: 1 ;" for trailers where there are any, "\n" at the
 * end of a message, and at last "! 400" for an error, "..." for a message that is cut. Bytes that are not visible ASCII, ';' and '\\' are
 * written \x3b; so what lies between two " ; " is one thing. */
#ifndef MOSNPY_HTTP1_RUN_H
#define MOSNPY_HTTP1_RUN_H

#include "../codecs/http1_parse.h"

#include <stdio.h>
#include <stdlib.h>

#define RUN_FIELDS 64

struct http1_run {
    struct http1_limits limits;
    bool response;
    uint8_t method;        /* of the request a response belongs to */
    size_t (*piece)(void); /* how many bytes come next, > 0; NULL: all at once */
    FILE *to;
};

static const struct http1_limits run_limits = {
    .head = 65536, .fields = RUN_FIELDS, .target = 16384, .chunk_line = 4096, .trailers = 16384};

#define RUN_MUST(cond) ((cond) ? (void)0 : run_failed(__LINE__, #cond))
static void run_failed(int line, const char *what) {
    fprintf(stderr, "http1_run.h:%d: %s\n", line, what);
    abort();
}

/* ---- writing down ---- */

static void run_text(FILE *to, struct slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] > ' ' && s.p[i] < 0x7f && s.p[i] != '\\' && s.p[i] != ';') putc(s.p[i], to);
        else fprintf(to, s.p[i] == ' ' ? " " : "\\x%02x", s.p[i]);
}

static bool run_inside(struct slice s, const uint8_t *p, size_t n) {
    return s.n == 0 ? s.p != NULL : s.p >= p && s.p + s.n <= p + n;
}

static void run_fields(FILE *to, const struct http_field *f, uint32_t count, const uint8_t *p, size_t n) {
    for (uint32_t i = 0; i < count; i++) {
        RUN_MUST(run_inside(f[i].name, p, n) && run_inside(f[i].value, p, n) && f[i].name.n > 0);
        RUN_MUST(http_value_ok(f[i].value.p, f[i].value.n));
        RUN_MUST(f[i].id == http_name_find(f[i].name.p, f[i].name.n) && f[i].id < HN_COUNT);
        fputs(f[i].drop ? " ; @" : " ; ", to), run_text(to, f[i].name), fputs(": ", to), run_text(to, f[i].value);
    }
}

static void run_head(struct http1_run *r, const struct http_head *h, const uint8_t *p, size_t n) {
    static const char *const bodies[] = {"none", "length", "chunked", "eof"};
    FILE *to = r->to;
    bool constant = h->path.n == 1 && (h->path.p[0] == '/' || h->path.p[0] == '*');
    RUN_MUST(h->request != r->response && h->capacity == RUN_FIELDS && h->count <= r->limits.fields);
    RUN_MUST((constant || run_inside(h->path, p, n)) && run_inside(h->authority, p, n) && run_inside(h->scheme, p, n));
    RUN_MUST(run_inside(h->reason, p, n) && run_inside(h->upgrade, p, n) && run_inside(h->method_text, p, n));
    RUN_MUST((h->body == HTTP_LENGTH) == (h->length > 0));
    if (r->response) {
        fprintf(to, "%u ", h->status), run_text(to, h->reason);
    } else {
        run_text(to, h->method_text), putc(' ', to), run_text(to, h->path);
        fputs(" host=", to), run_text(to, h->authority);
        RUN_MUST(h->method == http_method_find(h->method_text.p, h->method_text.n));
        RUN_MUST(http_authority_ok(h->authority) && http_target_ok(h->path));
    }
    fprintf(to, " %u.%u ", h->version / 10, h->version % 10);
    if (h->scheme.n) run_text(to, h->scheme), fputs(":// ", to);
    fputs(bodies[h->body], to);
    if (h->length) fprintf(to, "=%llu", (unsigned long long)h->length);
    fprintf(to, "%s%s%s", h->keep_alive ? " keep" : "", h->expect ? " expect" : "", h->te_trailers ? " te" : "");
    if (h->upgrade.n) fputs(" upgrade=", to), run_text(to, h->upgrade);
    run_fields(to, h->fields, h->count, p, n);
}

/* ---- reading ---- */

/* p[at..have) in memory of its own, so that the sanitizers see the first byte too many. */
struct run_input {
    const uint8_t *p;
    size_t n, at, have;
    uint8_t *copy;
};

static void run_present(struct run_input *in) {
    size_t n = in->have - in->at;
    free(in->copy);
    in->copy = malloc(n + !n);
    if (n) memcpy(in->copy, in->p + in->at, n);
}

/* More bytes. false: there are no more. */
static bool run_more(struct http1_run *r, struct run_input *in) {
    if (in->have == in->n) return false;
    in->have += min_size(in->n - in->have, r->piece ? r->piece() : in->n);
    run_present(in);
    return true;
}

static void run_take(struct run_input *in, size_t n) {
    RUN_MUST(n <= in->have - in->at);
    in->at += n;
    run_present(in);
}

static int run_chunks(struct http1_run *r, struct run_input *in) {
    static struct http_field fields[RUN_FIELDS];
    struct http1_chunked c = {0};
    uint32_t count = 0;
    int k;
    do {
        size_t n = in->have - in->at, taken;
        struct slice data;
        k = http1_chunked(&c, &r->limits, in->copy, n, &taken, &data);
        if (k < 0) return k;
        RUN_MUST(taken <= n && k <= CHUNK_END);
        if (k == CHUNK_DATA) {
            RUN_MUST(data.n > 0 && run_inside(data, in->copy, taken));
            run_text(r->to, data);
        }
        RUN_MUST(k != CHUNK_MORE || taken == n);
        run_take(in, taken);
        if (k == CHUNK_MORE && !run_more(r, in)) return 0;
    } while (k != CHUNK_TRAILERS);
    for (;;) {
        ssize_t t = http1_trailers(in->copy, in->have - in->at, &r->limits, fields, RUN_FIELDS, &count);
        if (t < 0) return (int)t;
        if (t > 0) {
            if (count) fputs(" ; /", r->to);
            run_fields(r->to, fields, count, in->copy, (size_t)t);
            run_take(in, (size_t)t);
            return 1;
        }
        if (!run_more(r, in)) return 0;
    }
}

/* The body of `h`: 1 whole, 0 cut, < 0 an error. */
static int run_body(struct http1_run *r, struct run_input *in, const struct http_head *h) {
    uint64_t left = h->body == HTTP_TO_EOF ? UINT64_MAX : h->length;
    if (h->body == HTTP_NO_BODY) return 1;
    fputs(" ; =", r->to);
    if (h->body == HTTP_CHUNKED) return run_chunks(r, in);
    while (left) {
        size_t n = in->have - in->at;
        if (n > left) n = (size_t)left;
        run_text(r->to, slice_of(in->copy, n));
        left -= n;
        run_take(in, n);
        if (left && !run_more(r, in)) return h->body == HTTP_TO_EOF;
    }
    return 1;
}

/* One message: 1 whole, 0 cut, < 0 an error. */
static int run_message(struct http1_run *r, struct run_input *in) {
    static struct http_field fields[RUN_FIELDS];
    struct http_head h = {.method = r->method};
    size_t scanned = 0;
    for (;;) {
        size_t n = in->have - in->at;
        ssize_t k =
            (r->response ? http1_response : http1_request)(in->copy, n, &scanned, &r->limits, fields, RUN_FIELDS, &h);
        if (k < 0) return (int)k;
        RUN_MUST((size_t)k <= n && scanned <= n);
        if (k > 0) {
            run_head(r, &h, in->copy, (size_t)k);
            run_take(in, (size_t)k);
            return run_body(r, in, &h);
        }
        if (!run_more(r, in)) return 0;
    }
}

/* Everything in p[0..n). The text is the caller's to free. */
__attribute__((unused)) static char *http1_run(struct http1_run *r, const uint8_t *p, size_t n) {
    struct run_input in = {.p = p, .n = n};
    char *text = NULL;
    size_t size;
    int k = 1;
    r->to = open_memstream(&text, &size);
    run_present(&in);
    while (k > 0 && (in.at < in.have || run_more(r, &in))) {
        k = run_message(r, &in);
        if (k > 0) putc('\n', r->to);
    }
    if (k == 0) fputs("...", r->to);
    if (k < 0) fprintf(r->to, "! %u", http1_error_status(k));
    fclose(r->to);
    free(in.copy);
    return text;
}

#endif
