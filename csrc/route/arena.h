/* Memory of a compiled table: handed out piece by piece, never given back singly, freed at once. */
#ifndef MOSNPY_ROUTE_ARENA_H
#define MOSNPY_ROUTE_ARENA_H

#include "../core/base.h"

struct arena_block;
struct arena { /* all zero = empty */
    struct arena_block *blocks;
    uint8_t *at, *end; /* free part of the newest block */
};

/* n zeroed bytes on a cache line's boundary when n is at least a line, else on 16 bytes. NULL when memory is out. */
void *arena_alloc(struct arena *a, size_t n);
/* A copy of `from` that lives as long as the arena; false when memory is out. */
bool arena_copy(struct arena *a, struct slice from, struct slice *to);
void arena_free(struct arena *a);

#endif
