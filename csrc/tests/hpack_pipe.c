/* HPACK for tests in Python, over stdin and stdout: records of an operation byte, a length (32 bits, little-endian) and so many bytes;
 * each is answered by a length (signed, 32 bits) and the bytes. tests/codecs/http/test_hpack_differential.py builds and runs it.
 *   N  a table's announced size, 32 bits: a new decoder
 *   D  a block: its fields, each a name and a value, each behind its length (32 bits); length -1 when it's broken, -2 when it's too large
 *   E  fields as D writes them: a block (pseudo-fields by the functions that are for them) */
#include "../codecs/hpack.h"

#include <stdio.h>
#include <stdlib.h>

static uint8_t out[1 << 22], strings[1 << 20];
static struct http_field fields[HTTP_FIELDS_MAX];

static void answer(const void *p, int32_t n) {
    fwrite(&n, sizeof n, 1, stdout);
    if (n > 0) fwrite(p, 1, (size_t)n, stdout);
}

static uint8_t *put(uint8_t *to, struct slice s) {
    uint32_t n = (uint32_t)s.n;
    memcpy(to, &n, sizeof n);
    if (n) memcpy(to + sizeof n, s.p, n);
    return to + sizeof n + n;
}

static struct slice take(const uint8_t **p) {
    uint32_t n;
    memcpy(&n, *p, sizeof n);
    *p += sizeof n + n;
    return slice_of(*p - n, n);
}

static void decode(struct hpack_decoder *d, const uint8_t *block, size_t n) {
    struct hpack_arena arena = {strings, sizeof strings, 0};
    uint32_t count;
    bool too_large;
    int r = hpack_decode(d, block, n, &arena, HTTP_HEAD_MAX, fields, HTTP_FIELDS_MAX, &count, &too_large);
    uint8_t *to = out;
    for (uint32_t i = 0; i < count; i++) to = put(put(to, fields[i].name), fields[i].value);
    answer(out, r ? -1 : too_large ? -2 : (int32_t)(to - out));
}

static uint8_t *encode(uint8_t *to, struct slice name, struct slice value) {
    if (slice_eq(name, SLICE(":method"))) return hpack_encode_method(to, value);
    if (slice_eq(name, SLICE(":scheme"))) return hpack_encode_scheme(to, value);
    if (slice_eq(name, SLICE(":path"))) return hpack_encode_path(to, value);
    if (slice_eq(name, SLICE(":authority"))) return hpack_encode_authority(to, value);
    if (slice_eq(name, SLICE(":status")))
        return hpack_encode_status(to, (uint16_t)strtoul((const char *)value.p, NULL, 10));
    return hpack_encode(to, http_name_find(name.p, name.n), name, value, value.n % 3 == 0);
}

int main(void) {
    struct hpack_decoder *d = NULL;
    uint8_t op;
    uint32_t n, table;
    while (fread(&op, 1, 1, stdin) == 1 && fread(&n, sizeof n, 1, stdin) == 1) {
        uint8_t *p = malloc(n + !n);
        if (!p || fread(p, 1, n, stdin) != n) return 1;
        if (op == 'N' && n == sizeof table) {
            memcpy(&table, p, sizeof table);
            hpack_decoder_free(d);
            if (!(d = hpack_decoder_new(table))) return 1;
            answer("", 0);
        } else if (op == 'D' && d) {
            decode(d, p, n);
        } else if (op == 'E') {
            uint8_t *to = out;
            for (const uint8_t *at = p; at < p + n;) {
                struct slice name = take(&at), value = take(&at);
                to = encode(to, name, value);
            }
            answer(out, (int32_t)(to - out));
        } else {
            return 1;
        }
        fflush(stdout);
        free(p);
    }
    hpack_decoder_free(d);
    return 0;
}
