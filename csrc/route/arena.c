#include "arena.h"

#include <stdlib.h>

enum { LINE = 64, BLOCK = 16 * 1024 };

struct arena_block {
    struct arena_block *next;
    uint8_t pad[LINE - sizeof(struct arena_block *)]; /* so that what follows starts on a line */
};

static bool add_block(struct arena *a, size_t least) {
    size_t size = sizeof(struct arena_block) + max_size(least, BLOCK);
    size = (size + LINE - 1) & ~(size_t)(LINE - 1);
    struct arena_block *b = aligned_alloc(LINE, size);
    if (!b) return false;
    memset(b, 0, size);
    b->next = a->blocks;
    a->blocks = b;
    a->at = (uint8_t *)(b + 1);
    a->end = (uint8_t *)b + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t n) {
    if (n > SIZE_MAX / 2) return NULL;
    size_t align = n >= LINE ? LINE : 16;
    n = (max_size(n, 1) + 15) & ~(size_t)15;
    size_t skip = a->at ? (align - (uintptr_t)a->at % align) % align : 0;
    if ((size_t)(a->end - a->at) < skip + n) {
        if (!add_block(a, n)) return NULL;
        skip = 0;
    }
    void *p = a->at + skip;
    a->at += skip + n;
    return p;
}

bool arena_copy(struct arena *a, struct slice from, struct slice *to) {
    uint8_t *p = arena_alloc(a, from.n);
    if (!p) return false;
    if (from.n) memcpy(p, from.p, from.n);
    *to = slice_of(p, from.n);
    return true;
}

void arena_free(struct arena *a) {
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (struct arena){0};
}
