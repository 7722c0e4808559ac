#include "grpc.h"

#include "../core/stream.h"

int64_t grpc_timeout_us(struct slice v) {
    static const struct {
        char unit;
        int64_t us_num, us_den;
    } units[] = {{'H', 3600000000, 1}, {'M', 60000000, 1}, {'S', 1000000, 1},
                 {'m', 1000, 1},       {'u', 1, 1},        {'n', 1, 1000}};
    int64_t number = 0;
    if (v.n < 2 || v.n > 9) return -1;
    for (size_t i = 0; i + 1 < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9') return -1;
        number = number * 10 + (v.p[i] - '0');
    }
    for (size_t i = 0; i < countof(units); i++)
        if (units[i].unit == (char)v.p[v.n - 1]) return number * units[i].us_num / units[i].us_den;
    return -1;
}

struct slice grpc_message_encode(struct slice text, uint8_t *to, size_t cap) {
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        bool plain = c >= 0x20 && c <= 0x7e && c != '%';
        if (n + (plain ? 1 : 3) > cap) break;
        if (plain) {
            to[n++] = c;
            continue;
        }
        to[n++] = '%', to[n++] = (uint8_t)hex[c >> 4], to[n++] = (uint8_t)hex[c & 15];
    }
    while (n && to[n - 1] == ' ') n--; /* a field's value has no white space at its ends */
    return slice_of(to, n);
}

uint32_t grpc_status_of_http(uint16_t status) {
    switch (status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case 413:
    case 431: return GRPC_RESOURCE_EXHAUSTED;
    case 429:
    case 502:
    case 503:
    case 504: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}

uint32_t grpc_status_of_failure(enum failure why) {
    switch (why) {
    case FAIL_NO_ROUTE: return GRPC_UNIMPLEMENTED;
    case FAIL_TIMEOUT: return GRPC_DEADLINE_EXCEEDED;
    case FAIL_RATE_LIMITED:
    case FAIL_OVERFLOW: return GRPC_RESOURCE_EXHAUSTED;
    case FAIL_DENIED: return GRPC_PERMISSION_DENIED;
    case FAIL_CLIENT_GONE: return GRPC_CANCELLED;
    case FAIL_BAD_REQUEST:
    case FAIL_BAD_REPLY:
    case FAIL_INTERNAL: return GRPC_INTERNAL;
    default: return GRPC_UNAVAILABLE;
    }
}

uint8_t grpc_stream_status(struct slice v) {
    uint32_t code = 0;
    if (v.n == 0 || v.n > 2) return STATUS_SERVER_ERROR;
    for (size_t i = 0; i < v.n; i++) code = code * 10 + (uint32_t)(v.p[i] - '0');
    switch (code) {
    case GRPC_OK: return STATUS_OK;
    case GRPC_UNKNOWN:
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_UNIMPLEMENTED:
    case GRPC_INTERNAL:
    case GRPC_UNAVAILABLE:
    case GRPC_DATA_LOSS: return STATUS_SERVER_ERROR;
    default: return code <= GRPC_UNAUTHENTICATED ? STATUS_CLIENT_ERROR : STATUS_SERVER_ERROR;
    }
}

/* ---- base64 ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint8_t *put_group(uint8_t *to, uint32_t bits) {
    for (int shift = 18; shift >= 0; shift -= 6) *to++ = (uint8_t)alphabet[bits >> shift & 63];
    return to;
}

size_t base64_encode(struct base64 *b, const uint8_t *p, size_t n, uint8_t *begin) {
    uint8_t *to = begin;
    for (size_t i = 0; i < n; i++) {
        b->bits = b->bits << 8 | p[i];
        if (++b->count < 3) continue;
        to = put_group(to, b->bits);
        b->bits = 0, b->count = 0;
    }
    return (size_t)(to - begin);
}

size_t base64_finish(struct base64 *b, uint8_t *to) {
    uint8_t count = b->count;
    if (count == 0) return 0;
    put_group(to, b->bits << (8 * (3 - count)));
    for (int i = count + 1; i < 4; i++) to[i] = '=';
    *b = (struct base64){0};
    return 4;
}

static int value_of(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int64_t base64_decode(struct base64 *b, const uint8_t *p, size_t n, uint8_t *begin) {
    uint8_t *to = begin;
    for (size_t i = 0; i < n; i++) {
        int v = p[i] == '=' ? 0 : value_of(p[i]);
        if (v < 0 || (p[i] != '=' && b->padding) || (p[i] == '=' && b->count < 2)) return -1;
        b->padding = (uint8_t)(b->padding + (p[i] == '='));
        b->bits = b->bits << 6 | (uint32_t)v;
        if (++b->count < 4) continue;
        for (int k = 0; k < 3 - b->padding; k++) *to++ = (uint8_t)(b->bits >> (16 - 8 * k));
        *b = (struct base64){0};
    }
    return to - begin;
}
