/* libFuzzer target for everything that reads RESP. The first byte says which part, the next eight seed where the input is cut.
 *
 * What must hold whatever the bytes: cut at any places they mean what they mean whole; nothing behind them is read (each
 * piece lies at the end of a block of its own, so that ASan sees the first byte too many); no more is consumed than was
 * given; what is written can be read. `make fuzz FUZZ=resp` runs it. */
#include "redis_rows.h"
#include "../codecs/redis_merge.h"
#include "../codecs/redis_shape.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond) ((cond) ? (void)0 : must_failed(__LINE__, #cond))
static void must_failed(int line, const char *what) {
    fprintf(stderr, "fuzz_resp.c:%d: %s\n", line, what);
    abort();
}

/* Limits small enough for short inputs to meet them. */
static const struct resp_limits tight = {.max_bulk = 900,
                                         .max_args = 40,
                                         .max_inline = 60,
                                         .max_depth = 5,
                                         .max_count = 30,
                                         .max_line = 50,
                                         .max_reply = 700,
                                         .stream_above = 120,
                                         .guest_args = 20,
                                         .guest_bulk = 500};

static uint64_t dice;
static size_t roll(size_t n) { return (size_t)(rng_next(&dice) >> 20) % n; }

/* A copy of its own for p[0..n): one byte further is not ours. The caller frees. */
static uint8_t *alone(const uint8_t *p, size_t n) {
    uint8_t *copy = malloc(n + !n);
    if (n) memcpy(copy, p, n);
    return copy;
}

/* ---- requests ---- */

static void same_request(const struct resp_request *a, const struct resp_request *b) {
    MUST(a->error == b->error && a->argc == b->argc && a->known == b->known && a->form == b->form);
    MUST(a->large == b->large && a->got == b->got);
    for (uint32_t i = 0; i < a->known && i < RESP_ARGS; i++)
        MUST(a->arg[i].off == b->arg[i].off && a->arg[i].len == b->arg[i].len);
}

static void walk_args(const struct resp_request *r, const uint8_t *p, size_t n) {
    struct resp_arg_iter it = resp_arg_iter(r, p);
    struct slice arg, again;
    uint32_t i = 0;
    for (; resp_arg_next(&it, &arg); i++) {
        MUST(arg.p >= p && arg.n <= n && arg.p + arg.n + 2 <= p + n);
        if (i < 12) {
            again = resp_arg_at(r, p, i);
            MUST(again.p == arg.p && again.n == arg.n);
        }
    }
    MUST(i == r->known);
}

/* As a client's bytes come: the frame grows by pieces, each time in other memory. */
static ptrdiff_t parse_in_pieces(struct resp_request *r, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    ptrdiff_t got = 0;
    size_t most = 1 + roll(40);
    for (size_t have = 0; got == 0 && !r->large;) {
        uint8_t *copy = alone(p, have);
        got = resp_request_parse(r, copy, have, lim);
        free(copy);
        MUST(got <= (ptrdiff_t)have);
        MUST(got || r->large || r->need > have);
        if (have == n) break;
        have = min_size(n, have + 1 + roll(most));
    }
    return got;
}

static void fuzz_request(const uint8_t *p, size_t n, const struct resp_limits *lim) {
    struct resp_request whole = {0}, slow = {0}, cut = {0};
    uint8_t *copy = alone(p, n);
    ptrdiff_t got = resp_request_parse(&whole, copy, n, lim);
    MUST(resp_request_parse_slow(&slow, copy, n, lim) == got);
    same_request(&whole, &slow);
    if (got >= 0) walk_args(&whole, copy, got ? (size_t)got : n);
    if (got < 0) {
        char text[RESP_ERROR_REPLY_MAX];
        struct slice reply = resp_error_reply(&whole, text);
        struct resp_scan s = {0};
        MUST(resp_scan(&s, reply.p, reply.n, &resp_limits_default) == (ptrdiff_t)reply.n && s.done);
        MUST(resp_request_parse(&whole, copy, n, lim) == got);
    }
    ptrdiff_t again = parse_in_pieces(&cut, p, n, lim);
    MUST(again == got);
    same_request(&whole, &cut);
    MUST(got || whole.need == cut.need || whole.large);
    free(copy);
}

/* A frame handed over head first is the frame collected: same end, same error or none. */
static void fuzz_rest(const uint8_t *p, size_t n) {
    struct resp_limits lim = tight, all = tight;
    lim.stream_above = (uint32_t)roll(100), all.stream_above = UINT32_MAX;
    struct resp_request head = {0}, collected = {0};
    uint8_t *copy = alone(p, n);
    ptrdiff_t want = resp_request_parse(&collected, copy, n, &all), got = resp_request_parse(&head, copy, n, &lim);
    free(copy);
    if (!head.large) {
        MUST(got == want);
        return;
    }
    MUST(got == 0 && head.pos <= n);
    size_t at = head.pos, most = 1 + roll(60);
    bool done = false;
    while (got >= 0 && !done && at < n) {
        size_t piece = min_size(n - at, 1 + roll(most));
        copy = alone(p + at, piece);
        got = resp_request_rest(&head, copy, piece, &done, &lim);
        free(copy);
        MUST(got <= (ptrdiff_t)piece && (got < 0 || done || got == (ptrdiff_t)piece));
        if (got > 0) at += (size_t)got;
    }
    if (got < 0) MUST(want <= 0); /* the rest may see earlier, or later, that it is broken; the texts may differ then */
    else if (done) MUST(want == (ptrdiff_t)at && head.argc == collected.argc);
    else MUST(want <= 0);
}

static void fuzz_inline(const uint8_t *p, size_t n) {
    struct resp_request r = {0}, parsed = {0};
    struct resp_out out = {0};
    uint8_t *copy = alone(p, n);
    ptrdiff_t got = resp_inline_encode(&r, slice_of(copy, n), &out, &tight);
    free(copy);
    MUST(got < 0 ? out.n == 0 && r.error == -got : (size_t)got == out.n);
    if (got > 0) {
        copy = alone(out.p, out.n);
        MUST(resp_request_parse(&parsed, copy, out.n, &resp_limits_default) == got && parsed.argc > 0);
        walk_args(&parsed, copy, out.n);
        free(copy);
    }
    resp_out_free(&out);
}

/* ---- replies ---- */

static ptrdiff_t scan_in_pieces(struct resp_scan *s, const uint8_t *p, size_t n) {
    size_t at = 0, most = 1 + roll(30);
    while (at < n) {
        size_t piece = min_size(n - at, 1 + roll(most));
        uint8_t *copy = alone(p + at, piece);
        ptrdiff_t got = resp_scan(s, copy, piece, &tight);
        free(copy);
        if (got < 0) return got;
        MUST(got <= (ptrdiff_t)piece && (s->done || got == (ptrdiff_t)piece));
        at += (size_t)got;
        if (s->done) break;
    }
    return (ptrdiff_t)at;
}

static void fuzz_reply(const uint8_t *p, size_t n) {
    for (int replies = 0; n && replies < 50; replies++) {
        struct resp_scan whole = {0}, slow = {0}, cut = {0};
        uint8_t *copy = alone(p, n);
        ptrdiff_t got = resp_scan(&whole, copy, n, &tight);
        MUST(resp_scan_slow(&slow, copy, n, &tight) == got && whole.done == slow.done && whole.open == slow.open);
        MUST(got <= (ptrdiff_t)n && (got < 0 || whole.done || got == (ptrdiff_t)n));
        MUST(got < 0 || whole.type == slow.type);
        MUST(scan_in_pieces(&cut, p, n) == got && cut.done == whole.done && cut.error == whole.error);
        MUST(got < 0 || (cut.type == whole.type && cut.open == whole.open));
        struct slice in = slice_of(copy, got > 0 ? (size_t)got : n), value;
        bool taken = resp_take(&in, &value);
        /* the cursor is stricter about the contents of one-line values only where it needs them */
        if (taken && whole.done) MUST(value.n == (size_t)got);
        if (got > 0 && !whole.done) MUST(!taken);
        free(copy);
        if (got < 0 || !whole.done) return;
        p += got, n -= (size_t)got;
    }
}

/* ---- commands ---- */

static struct redis_table *table;
static struct rows rows;

static bool whole_reply(struct slice bytes) {
    struct slice value;
    return resp_take(&bytes, &value) && bytes.n == 0;
}

/* Bytes that are one complete reply to the scanner, as everything that reaches shapes and merges is. */
static bool scanned(const uint8_t *p, size_t n, size_t *size) {
    struct resp_scan s = {0};
    ptrdiff_t got = n ? resp_scan(&s, p, n, &resp_limits_default) : 0;
    *size = got > 0 ? (size_t)got : 0;
    return got > 0 && s.done;
}

static void fuzz_shape(const uint8_t *p, size_t n) {
    uint16_t shape = (uint16_t)roll(REDIS_SHAPE_COUNT);
    struct resp_out out = {0};
    size_t size;
    uint8_t *copy = alone(p, n);
    bool complete = scanned(copy, n, &size);
    if (complete) n = size;
    uint8_t *one = alone(copy, n);
    int got = redis_shape_up(shape, slice_of(one, n), &out);
    if (got < 0) MUST(out.n == 0);
    else MUST(whole_reply(slice_of(out.p, out.n)));
    if (got == 0 && complete) {
        struct resp_scan s = {0};
        MUST(resp_scan(&s, out.p, out.n, &resp_limits_default) == (ptrdiff_t)out.n && s.done);
        if (n >= 2 && redis_shape_up_passes(shape, one, n)) MUST(slice_eq(slice_of(out.p, out.n), slice_of(one, n)));
    }
    resp_out_free(&out);
    free(one), free(copy);
}

static void fuzz_merge(const uint8_t *p, size_t n) {
    struct slice replies[8];
    uint32_t count = 0;
    uint8_t *copies[8];
    for (size_t size; count < countof(replies) && scanned(p, n, &size); count++) {
        copies[count] = alone(p, size);
        replies[count] = slice_of(copies[count], size);
        p += size, n -= size;
    }
    struct resp_out out = {0};
    int version = 2 + (int)roll(2);
    bool whole = true; /* to the cursor, which looks into verbatim texts */
    for (uint32_t i = 0; i < count; i++) whole &= whole_reply(replies[i]);
    for (int kind = 0; kind <= REDIS_MERGE_HOME; kind++) {
        resp_out_clear(&out);
        MUST(redis_merge((enum redis_merge_kind)kind, replies, count, version, &out) == 0);
        MUST(!whole || whole_reply(slice_of(out.p, out.n)));
    }
    if (count) {
        uint16_t owner[32];
        uint32_t keys = (uint32_t)roll(countof(owner));
        for (uint32_t i = 0; i < keys; i++) owner[i] = (uint16_t)roll(count);
        resp_out_clear(&out);
        MUST(redis_merge_array(replies, count, owner, keys, version, &out) == 0);
        resp_out_clear(&out);
        if (redis_scan_reply(replies[0], (uint32_t)roll(3), 3, version, &out) < 0) MUST(out.n == 0);
    }
    resp_out_free(&out);
    while (count) free(copies[--count]);
}

static void fuzz_keys(const uint8_t *p, size_t n) {
    struct resp_limits lim = resp_limits_default;
    struct resp_request r = {0};
    if (roll(2)) lim.stream_above = (uint32_t)roll(100);
    uint8_t *copy = alone(p, n);
    ptrdiff_t got = resp_request_parse(&r, copy, n, &lim);
    if (got < 0 || !r.known || r.form != RESP_MULTIBULK) {
        free(copy);
        return;
    }
    const struct redis_command *cmd = redis_table_resolve(table, &r, copy);
    struct redis_keys k;
    struct slice key, first;
    uint32_t count = 0;
    redis_keys_begin(&k, cmd, &r, copy);
    MUST(!k.partial || r.known < r.argc);
    for (; redis_keys_next(&k, &key); count++) {
        struct slice arg = resp_arg_at(&r, copy, k.arg);
        MUST(k.arg >= 1 && k.arg < r.known && arg.p == key.p && arg.n == key.n);
        MUST(count < REDIS_KEY_RANGES * r.argc);
        struct slice tag = redis_key_tag(key);
        MUST(tag.p >= key.p && tag.p + tag.n <= key.p + key.n);
        if (count == 0) MUST(redis_first_key(cmd, &r, copy, &first) && first.p == key.p && first.n == key.n);
    }
    if (cmd) redis_command_shape(cmd, &r, copy);
    free(copy);
}

static void fuzz_learn(const uint8_t *p, size_t n) {
    char err[100];
    struct rows own;
    struct redis_table *t = rows_table(&own, some_rows, 8, err, sizeof err);
    uint32_t before = redis_table_count(t);
    uint8_t *copy = alone(p, n);
    int added = redis_table_learn(t, slice_of(copy, n));
    free(copy);
    MUST(added < 0 || redis_table_count(t) >= before + (uint32_t)added); /* subcommands come on top */
    for (uint32_t i = before; i < redis_table_count(t); i++)
        MUST(redis_table_at(t, i)->parent || redis_table_find(t, redis_table_at(t, i)->name) == redis_table_at(t, i));
    static const uint8_t frame[] = "*4\r\n$1\r\nx\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
    struct resp_request r = {0};
    MUST(resp_request_parse(&r, frame, sizeof frame - 1, &resp_limits_default) > 0);
    for (uint32_t i = before; i < redis_table_count(t); i++) {
        struct redis_keys k;
        struct slice key;
        int count = 0;
        for (redis_keys_begin(&k, redis_table_at(t, i), &r, frame); redis_keys_next(&k, &key);)
            MUST(++count <= 3 * REDIS_KEY_RANGES);
    }
    redis_table_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char err[100];
    if (size < 9) return 0;
    if (!table) table = rows_table(&rows, some_rows, countof(some_rows), err, sizeof err);
    memcpy(&dice, data + 1, sizeof dice), dice |= 1;
    const uint8_t *p = data + 9;
    size_t n = size - 9;
    switch (data[0] % 10) {
    case 0: fuzz_request(p, n, &tight); break;
    case 1: fuzz_request(p, n, &resp_limits_default); break;
    case 2: fuzz_rest(p, n); break;
    case 3: fuzz_inline(p, n); break;
    case 4: fuzz_reply(p, n); break;
    case 5: fuzz_shape(p, n); break;
    case 6: fuzz_merge(p, n); break;
    case 7: fuzz_keys(p, n); break;
    case 8: fuzz_learn(p, n); break;
    default: fuzz_request(p, n, &resp_limits_guest); break;
    }
    return 0;
}
