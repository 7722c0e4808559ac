/* Redis' parts for tests in Python, over stdin and stdout: records of an operation byte, a length (32 bits, little-endian) and
 * so many bytes; each is answered by a length (signed, 32 bits) and the bytes. tests/codecs/redis/conftest.py builds and runs it.
 *   T  a command table in MessagePack; kept
 *   L  a COMMAND reply: the table learns it; how many commands that were, 32 bits
 *   Q  a request; kept
 *   K  (no bytes): positions of its keys, 32 bits each
 *   U  a RESP2 reply to it: its RESP3 form; length -1 when it can't be read
 *   S  bytes of replies, given to the scanner in pieces of the size of the last P (0 = at once): their lengths, 32 bits each;
 *      behind them -error when it is broken
 *   P  a decimal number */
#include "../codecs/redis_shape.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t piece;

static void answer(const void *p, size_t n) {
    uint32_t size = (uint32_t)n;
    fwrite(&size, sizeof size, 1, stdout);
    fwrite(p, 1, n, stdout);
}

static void failed(void) {
    int32_t size = -1;
    fwrite(&size, sizeof size, 1, stdout);
}

static void scan(const uint8_t *p, size_t n) {
    static int32_t lengths[1 << 16];
    struct resp_scan s = {0};
    size_t count = 0, length = 0;
    for (size_t at = 0; at < n && count < countof(lengths);) {
        ptrdiff_t got = resp_scan(&s, p + at, piece ? min_size(piece, n - at) : n - at, &resp_limits_default);
        if (got < 0) {
            lengths[count++] = (int32_t)got;
            break;
        }
        at += (size_t)got, length += (size_t)got;
        if (s.done) lengths[count++] = (int32_t)length, length = 0;
    }
    answer(lengths, count * sizeof *lengths);
}

static void keys(const struct redis_table *t, const uint8_t *request, size_t n) {
    static uint32_t positions[1 << 10];
    struct resp_request r = {0};
    struct redis_keys k;
    struct slice key;
    size_t count = 0;
    if (resp_request_parse(&r, request, n, &resp_limits_default) <= 0) exit(1);
    redis_keys_begin(&k, redis_table_resolve(t, &r, request), &r, request);
    while (count < countof(positions) && redis_keys_next(&k, &key)) positions[count++] = k.arg;
    answer(positions, count * sizeof *positions);
}

static struct redis_table *new_table(const uint8_t *p, size_t n) {
    struct mpack root;
    char err[200] = "malformed";
    struct redis_table *t = mpack_open(slice_of(p, n), &root) == 0 ? redis_table_new(root, err, sizeof err) : NULL;
    if (!t) fprintf(stderr, "resp_pipe: %s\n", err), exit(1);
    return t;
}

int main(void) {
    struct redis_table *table = NULL;
    struct resp_out out = {0};
    uint8_t *request = NULL, *kept = NULL, op;
    uint32_t request_size = 0, n;
    while (fread(&op, 1, 1, stdin) == 1 && fread(&n, sizeof n, 1, stdin) == 1) {
        uint8_t *p = malloc((size_t)n + 1);
        if (!p || fread(p, 1, n, stdin) != n) return 1;
        p[n] = 0;
        if (op == 'T' && !table) {
            table = new_table(p, n), kept = p, p = NULL;
            answer("", 0);
        } else if (op == 'Q') {
            free(request), request = p, request_size = n, p = NULL;
            answer("", 0);
        } else if (op == 'L' && table) {
            int learnt = redis_table_learn(table, slice_of(p, n));
            learnt < 0 ? failed() : answer(&learnt, sizeof learnt);
        } else if (op == 'K' && table) {
            keys(table, request, request_size);
        } else if (op == 'P') {
            piece = (uint32_t)strtoul((const char *)p, NULL, 10);
            answer("", 0);
        } else if (op == 'S') {
            scan(p, n);
        } else if (op == 'U' && table) {
            struct resp_request r = {0};
            if (resp_request_parse(&r, request, request_size, &resp_limits_default) <= 0) return 1;
            uint16_t shape = redis_command_shape(redis_table_resolve(table, &r, request), &r, request);
            resp_out_clear(&out);
            redis_shape_up(shape, slice_of(p, n), &out) == 0 ? answer(out.p, out.n) : failed();
        } else {
            return 1;
        }
        fflush(stdout);
        free(p);
    }
    redis_table_free(table);
    resp_out_free(&out);
    free(request), free(kept);
    return 0;
}
