/* What the files of hpack share. */
#ifndef MOSNPY_HPACK_INTERNAL_H
#define MOSNPY_HPACK_INTERNAL_H

#include "hpack.h"

#define HPACK_STATIC 61u
#define HPACK_ENTRY 32u /* bytes an entry counts beside its strings (RFC 7541 §4.1) */

struct hpack_entry {
    struct slice name, value;
    uint8_t id; /* enum http_name of the name */
};
extern struct hpack_entry hpack_static[HPACK_STATIC + 1]; /* by index, from 1; filled when the program starts */
extern uint8_t hpack_static_name[HN_COUNT];               /* first static index of a known name; 0: none */

/* Decodes p[0..n) into `to`. Bytes written; -1: no Huffman code (EOS within, padding that is none); -2: more than cap. */
ssize_t huffman_decode(const uint8_t *p, size_t n, uint8_t *to, size_t cap);

#endif
