#include "grpc_web.h"

#include <stdlib.h>

#define PIECE 12288u /* bytes turned into or from base64 at a time; a multiple of 3 and 4 */

struct grpc_web {
    bool text;
    char request_type[64], response_type[64];
    uint8_t request_type_n, response_type_n;
    struct base64 in, out;
    uint8_t buffer[PIECE / 3 * 4 + 8];
};

#define WEB "application/grpc-web"

static uint8_t join(char *to, size_t cap, const char *base, struct slice suffix) {
    size_t n = strlen(base);
    if (n + suffix.n > cap) suffix.n = 0;
    memcpy(to, base, n);
    if (suffix.n) memcpy(to + n, suffix.p, suffix.n);
    return (uint8_t)(n + suffix.n);
}

int grpc_web_begin(struct exchange *x, struct http_head *h, struct slice type) {
    size_t n = sizeof WEB - 1;
    if (type.n < n || memcmp(type.p, WEB, n) != 0) return 0;
    bool text = type.n >= n + 5 && memcmp(type.p + n, "-text", 5) == 0;
    struct slice suffix = slice_of(type.p + n + (text ? 5 : 0), type.n - n - (text ? 5 : 0));
    if (suffix.n && suffix.p[0] != '+' && suffix.p[0] != ';') return 0;
    struct grpc_web *web = calloc(1, sizeof *web);
    if (!web) return -1;
    web->text = text;
    web->request_type_n = join(web->request_type, sizeof web->request_type, "application/grpc", suffix);
    web->response_type_n = join(web->response_type, sizeof web->response_type, text ? WEB "-text" : WEB, suffix);
    x->web = web, x->te_trailers = true;
    for (uint32_t i = 0; i < h->count; i++) {
        struct http_field *f = &h->fields[i];
        if (f->id == HN_CONTENT_TYPE) f->value = slice_of(web->request_type, web->request_type_n);
        if (f->id == HN_CONTENT_LENGTH && text) f->drop = true;
    }
    if (text && h->body == HTTP_LENGTH) h->body = HTTP_CHUNKED;
    return 0;
}

void grpc_web_free(struct grpc_web *web) { free(web); }

struct slice grpc_web_type(const struct grpc_web *web) {
    return slice_of(web->response_type, web->response_type_n);
}

void grpc_web_request(struct exchange *x, const uint8_t *p, size_t n) {
    struct grpc_web *web = x->web;
    if (!web->text) {
        exchange_hand_over(x, p, n);
        return;
    }
    while (n) {
        size_t piece = min_size(n, PIECE);
        int64_t k = base64_decode(&web->in, p, piece, web->buffer);
        if (k < 0) {
            exchange_bad_request(x, 400, "the body is not base64");
            return;
        }
        if (!exchange_hand_over(x, web->buffer, (size_t)k)) return; /* web is gone with it */
        p += piece, n -= piece;
    }
}

void grpc_web_response(struct exchange *x, struct http_head *h) {
    struct grpc_web *web = x->web;
    for (uint32_t i = 0; i < h->count; i++) {
        struct http_field *f = &h->fields[i];
        if (f->id == HN_CONTENT_TYPE) f->value = grpc_web_type(web);
        if (f->id == HN_CONTENT_LENGTH || f->id == HN_TRAILER) f->drop = true;
    }
}

void grpc_web_response_data(struct exchange *x, const uint8_t *p, size_t n) {
    struct grpc_web *web = x->web;
    if (!web->text) {
        x->dv->data(x, p, n);
        return;
    }
    while (n) {
        size_t piece = min_size(n, PIECE);
        size_t k = base64_encode(&web->out, p, piece, web->buffer);
        if (k) x->dv->data(x, web->buffer, k);
        p += piece, n -= piece;
    }
}

void grpc_web_response_end(struct exchange *x, struct http_trailers *t) {
    struct http_state *state = http_state(x->core);
    uint8_t *begin = state->encoded, *to = begin + 5, *end = begin + sizeof state->encoded;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct http_field *f = &t->fields[i];
        if (f->drop || (size_t)(end - to) < f->name.n + f->value.n + 4) continue;
        memcpy(to, f->name.p, f->name.n), to += f->name.n;
        *to++ = ':', *to++ = ' ';
        if (f->value.n) memcpy(to, f->value.p, f->value.n), to += f->value.n;
        *to++ = '\r', *to++ = '\n';
    }
    uint32_t n = (uint32_t)(to - begin - 5);
    begin[0] = 0x80; /* a frame of trailers, not compressed */
    begin[1] = (uint8_t)(n >> 24), begin[2] = (uint8_t)(n >> 16), begin[3] = (uint8_t)(n >> 8), begin[4] = (uint8_t)n;
    grpc_web_response_data(x, begin, (size_t)(to - begin));
    uint8_t tail[8];
    size_t k = x->web->text ? base64_finish(&x->web->out, tail) : 0;
    if (k) x->dv->data(x, tail, k);
    t->count = 0;
}
