/* libFuzzer target for everything that reads HTTP/1. The first byte says which part, the next eight seed where the input is cut.
 *
 * What must hold whatever the bytes: cut at any places they mean what they mean whole (http1_run.h, which also checks that every
 * slice lies in the bytes given, and gives each piece in a block of its own); a path in its normal form stays as it is.
 * `make fuzz FUZZ=http1` runs it. */
#include "http1_run.h"
#include "../codecs/http_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond) RUN_MUST(cond)

/* Small enough for short inputs to meet them. */
static const struct http1_limits tight = {.head = 300, .fields = 8, .target = 40, .chunk_line = 12, .trailers = 50};

static uint64_t dice;
static size_t most;
static size_t roll(size_t n) { return (size_t)(rng_next(&dice) >> 20) % n; }
static size_t some(void) { return 1 + roll(most); }

/* A head that is cut in the middle of a line may wait with its error for the end of that line. */
static bool same(const char *whole, const char *pieces) {
    size_t n = strlen(pieces);
    if (strcmp(whole, pieces) == 0) return true;
    if (n < 3 || strcmp(pieces + n - 3, "...") != 0 || strncmp(whole, pieces, n - 3) != 0) return false;
    return strncmp(whole + n - 3, "! ", 2) == 0 && (n == 3 || pieces[n - 4] == '\n');
}

static void fuzz_messages(struct http1_run r, const uint8_t *p, size_t n) {
    char *whole = http1_run(&r, p, n), *pieces;
    most = 1 + roll(60), r.piece = some;
    pieces = http1_run(&r, p, n);
    if (!same(whole, pieces)) {
        fprintf(stderr, "whole:  %s\npieces: %s\n", whole, pieces);
        abort();
    }
    free(whole), free(pieces);
}

/* Chunks alone: nothing but their state is kept between pieces. */
static void fuzz_chunks(const uint8_t *p, size_t n) {
    static const uint8_t head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    uint8_t *all = malloc(sizeof head - 1 + n);
    memcpy(all, head, sizeof head - 1);
    if (n) memcpy(all + sizeof head - 1, p, n);
    fuzz_messages((struct http1_run){.limits = tight}, all, sizeof head - 1 + n);
    free(all);
}

/* The path may be in the way of nobody: no dot segment is left, and what comes out stays. */
static void check_normal(struct slice path, const struct http_path_options *o) {
    const uint8_t *mark = path.n ? memchr(path.p, '?', path.n) : NULL, *end = mark ? mark : path.p + path.n;
    for (const uint8_t *p = path.p; p < end; p++) {
        size_t left = (size_t)(end - p);
        if (*p != '/') continue;
        MUST(!(left >= 2 && p[1] == '.' && (left == 2 || p[2] == '/')));
        MUST(!(left >= 3 && p[1] == '.' && p[2] == '.' && (left == 3 || p[3] == '/')));
        MUST(!(o->merge_slashes && left >= 2 && p[1] == '/'));
    }
}

static void fuzz_path(const uint8_t *p, size_t n) {
    struct http_path_options o = {.merge_slashes = roll(2), .escaped_slashes = (uint8_t)roll(3)};
    uint8_t *in = malloc(n + 1), *to = malloc(n + !n), *again = malloc(n + !n);
    struct slice out, same;
    in[0] = '/';
    if (n) memcpy(in, p, n);
    int r = http_path_normalize(slice_of(in, n), &o, to, n, &out);
    MUST(r == 0 || r == 1 || r == HTTP_PATH_BAD);
    if (r >= 0) {
        MUST(out.n <= n && out.p == (r ? to : in));
        if (out.n && out.p[0] == '/') check_normal(out, &o);
        MUST(http_path_normalize(out, &o, again, n, &same) == 0 && slice_eq(same, out));
    }
    free(in), free(to), free(again);
}

static void fuzz_words(const uint8_t *p, size_t n) {
    enum http_name id = http_name_find(p, n);
    if (id != HN_OTHER) MUST(n == http_name_text(id).n && http_is(slice_of(p, n), (const char *)http_name_text(id).p));
    enum http_method m = http_method_find(p, n);
    if (m != HTTP_OTHER_METHOD) MUST(slice_eq(slice_of(p, n), http_method_text(m)));
    http_authority_ok(slice_of(p, n)), http_target_ok(slice_of(p, n)), http_value_ok(p, n);
    http_list_has(slice_of(p, n), "close");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 9) return 0;
    memcpy(&dice, data + 1, sizeof dice), dice |= 1;
    size_t n = size - 9;
    uint8_t *copy = malloc(n + !n);
    if (n) memcpy(copy, data + 9, n);
    struct http1_run r = {.limits = data[0] & 8 ? tight : run_limits};
    switch (data[0] % 8) {
    case 0:
    case 1:
    case 2: fuzz_messages(r, copy, n); break;
    case 3:
    case 4:
        r.response = true;
        r.method = (uint8_t)(enum http_method[]){HTTP_GET, HTTP_HEAD, HTTP_CONNECT}[roll(3)];
        fuzz_messages(r, copy, n);
        break;
    case 5: fuzz_chunks(copy, n); break;
    case 6: fuzz_path(copy, n); break;
    default: fuzz_words(copy, n);
    }
    free(copy);
    return 0;
}
