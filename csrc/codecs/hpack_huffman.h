/* The Huffman code of RFC 7541 appendix B. */
#ifndef MOSNPY_HPACK_HUFFMAN_H
#define MOSNPY_HPACK_HUFFMAN_H

#include "../core/base.h"

/* No code is shorter than 5 bits, so n bytes decode to no more than this. */
static inline size_t hpack_huffman_bound(size_t n) { return n * 8 / 5; }
/* Decodes; returns the end, NULL when EOS occurs or the padding is wrong (§5.2). `to` has room for hpack_huffman_bound(n), or for
 * what hpack_huffman_size() said. */
uint8_t *hpack_huffman_decode(uint8_t *to, const uint8_t *p, size_t n);
/* How many bytes it decodes to; -1 when it doesn't. */
ptrdiff_t hpack_huffman_size(const uint8_t *p, size_t n);
/* Encodes p[0..n) if that takes fewer than n bytes and returns their count, else 0. Up to n + 4 bytes at `to` are written. */
size_t hpack_huffman_encode(uint8_t *to, const uint8_t *p, size_t n);

#endif
