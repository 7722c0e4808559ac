/* For tests: writes plans, as MessagePack, from calls or from a kind of JSON. */
#ifndef MOSNPY_PACK_H
#define MOSNPY_PACK_H

#include "core/base.h"

#include <stdlib.h>

struct pack {
    uint8_t *p;
    size_t n, room;
};

static inline void pack_bytes(struct pack *k, const void *p, size_t n) {
    if (k->n + n > k->room) k->p = realloc(k->p, k->room = 2 * (k->n + n) + 64);
    if (n) memcpy(k->p + k->n, p, n);
    k->n += n;
}
static inline void pack_head(struct pack *k, uint8_t head, uint64_t n, int width) {
    pack_bytes(k, &head, 1);
    for (int i = width; i-- > 0;) pack_bytes(k, &(uint8_t){(uint8_t)(n >> (8 * i))}, 1);
}
static inline void pack_str(struct pack *k, struct slice s) { pack_head(k, 0xdb, s.n, 4), pack_bytes(k, s.p, s.n); }
static inline void pack_text(struct pack *k, const char *s) { pack_str(k, slice_of(s, strlen(s))); }
static inline void pack_array(struct pack *k, uint32_t n) { pack_head(k, 0xdd, n, 4); }
static inline void pack_map(struct pack *k, uint32_t n) { pack_head(k, 0xdf, n, 4); }
static inline void pack_int(struct pack *k, int64_t i) { pack_head(k, i < 0 ? 0xd3 : 0xcf, (uint64_t)i, 8); }
static inline void pack_bool(struct pack *k, bool b) { pack_head(k, b ? 0xc3 : 0xc2, 0, 0); }
static inline void pack_double(struct pack *k, double d) {
    uint64_t bits;
    memcpy(&bits, &d, 8);
    pack_head(k, 0xcb, bits, 8);
}
static inline void pack_free(struct pack *k) { free(k->p), *k = (struct pack){0}; }

/* JSON with ' for ", so that plans can be written in the tests; no escapes but \\ and \' within strings. */
static inline const char *pack_json(struct pack *k, const char *s) {
    s += strspn(s, " \n,:");
    if (*s == '[' || *s == '{') {
        struct pack inner = {0};
        uint32_t count = 0;
        char close = *s == '[' ? ']' : '}';
        for (s++; s += strspn(s, " \n,:"), *s != close; count++) s = pack_json(&inner, s);
        close == ']' ? pack_array(k, count) : pack_map(k, count / 2);
        pack_bytes(k, inner.p, inner.n);
        pack_free(&inner);
        return s + 1;
    }
    if (*s == '\'') {
        struct pack text = {0};
        for (s++; *s != '\''; s++) {
            if (*s == '\\') s++;
            pack_bytes(&text, s, 1);
        }
        pack_str(k, slice_of(text.p, text.n));
        pack_free(&text);
        return s + 1;
    }
    size_t n = strcspn(s, " ,]}\n");
    if (strncmp(s, "true", n) == 0 || strncmp(s, "false", n) == 0) pack_bool(k, *s == 't');
    else if (strncmp(s, "null", n) == 0) pack_head(k, 0xc0, 0, 0);
    else if (memchr(s, '.', n)) pack_double(k, strtod(s, NULL));
    else *s == '-' ? pack_int(k, strtoll(s, NULL, 10)) : pack_head(k, 0xcf, strtoull(s, NULL, 10), 8);
    return s + n;
}

#endif
