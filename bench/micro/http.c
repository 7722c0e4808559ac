/* Loops over the HTTP/1 parser and HPACK for test_http.py. A loop returns -1 when what it measures does not work. */
#include "codecs/hpack.h"
#include "codecs/http1_parse.h"

#define EXPORT __attribute__((visibility("default")))

enum { FIELDS = 128, ARENA = 64 << 10 };

static const struct http1_limits limits = {64 << 10, 100, 16 << 10, 4 << 10, 16 << 10};
static struct http_field fields[FIELDS];

EXPORT int request_head(const uint8_t *p, size_t n, unsigned times) {
    for (unsigned i = 0; i < times; i++) {
        struct http_head h = {0};
        size_t scanned = 0;
        __asm__ volatile("" : "+r"(p)); /* the bytes may have changed, as far as the compiler knows */
        if (http1_request(p, n, &scanned, &limits, fields, FIELDS, &h) != (ssize_t)n) return -1;
    }
    return 0;
}

EXPORT int response_head(const uint8_t *p, size_t n, unsigned times) {
    for (unsigned i = 0; i < times; i++) {
        struct http_head h = {.method = HTTP_GET};
        size_t scanned = 0;
        __asm__ volatile("" : "+r"(p));
        if (http1_response(p, n, &scanned, &limits, fields, FIELDS, &h) != (ssize_t)n) return -1;
    }
    return 0;
}

/* A chunked body that ends without trailers. */
EXPORT int chunked_body(const uint8_t *p, size_t n, unsigned times) {
    for (unsigned i = 0; i < times; i++) {
        struct http1_chunked c = {0};
        size_t at = 0, taken;
        struct slice data;
        int told;
        __asm__ volatile("" : "+r"(p));
        while ((told = http1_chunked(&c, &limits, p + at, n - at, &taken, &data)) == CHUNK_DATA) at += taken;
        if (told != CHUNK_TRAILERS || at + taken + 2 != n) return -1;
    }
    return 0;
}

static int decode(struct hpack_decoder *d, const uint8_t *p, size_t n) {
    static uint8_t bytes[ARENA];
    struct hpack_arena arena = {bytes, sizeof bytes, 0};
    uint32_t count;
    bool too_large;
    return hpack_decode(d, p, n, &arena, 64 << 10, fields, FIELDS, &count, &too_large) || too_large ? -1 : (int)count;
}

/* Decodes `first` once, which may fill the table, and then the block p[0..n) again and again. */
EXPORT int hpack_blocks(const uint8_t *first, size_t first_n, const uint8_t *p, size_t n, unsigned times) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    int result = d && decode(d, first, first_n) >= 0 ? 0 : -1;
    for (unsigned i = 0; i < times && !result; i++) {
        __asm__ volatile("" : "+r"(p));
        result = decode(d, p, n) > 0 ? 0 : -1;
    }
    hpack_decoder_free(d);
    return result;
}

/* Encodes the fields of the HTTP/1 request head p[0..n) as an HTTP/2 one's. */
EXPORT int hpack_request(const uint8_t *p, size_t n, unsigned times) {
    static uint8_t block[ARENA];
    struct http_head h = {0};
    size_t scanned = 0;
    if (http1_request(p, n, &scanned, &limits, fields, FIELDS, &h) != (ssize_t)n) return -1;
    for (unsigned i = 0; i < times; i++) {
        uint8_t *to = block;
        struct http_field *f = h.fields;
        __asm__ volatile("" : "+r"(f));
        to = hpack_encode_method(to, h.method_text);
        to = hpack_encode_scheme(to, SLICE("http"));
        to = hpack_encode_path(to, h.path);
        to = hpack_encode_authority(to, h.authority);
        for (uint32_t k = 0; k < h.count; k++) to = hpack_encode(to, f[k].id, f[k].name, f[k].value, false);
        __asm__ volatile("" ::"r"(to) : "memory");
    }
    return 0;
}
