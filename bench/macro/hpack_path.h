/* Reads the :path out of HPACK header blocks (RFC 7541) and keeps the dynamic table up to date; every other field is skipped.
 * Huffman strings may hold printable ASCII only. */
#ifndef BENCH_HPACK_PATH_H
#define BENCH_HPACK_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HPACK_PATH_MAX = 256, HPACK_ENTRIES = 128 /* 4096 / 32: more never fit */ };

struct hpack_path {
    struct hpack_entry {
        uint32_t size; /* as RFC 7541, 4.1 counts */
        uint32_t name; /* bytes of its name */
        bool is_path;
        uint16_t length;
        char value[HPACK_PATH_MAX]; /* of a :path only */
    } entries[HPACK_ENTRIES];       /* a ring, the newest at `newest` */
    uint32_t newest, count, size, limit;
};

void hpack_path_init(struct hpack_path *t);

/* Reads one whole block. 0: path[0..*length) is the path, at most HPACK_PATH_MAX bytes (*length 0: the block has none, as
 * trailers); -1: broken, or beyond what is understood here. */
int hpack_path_read(struct hpack_path *t, const uint8_t *p, size_t n, char *path, size_t *length);

#endif
