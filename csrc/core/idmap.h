/* Streams of one multiplexed upstream connection by the id they have on the wire. Open addressing, linear probing; the
 * map owns its slots only, the streams are the core's. */
#ifndef MOSNPY_IDMAP_H
#define MOSNPY_IDMAP_H

#include "stream.h"

struct idmap {
    struct stream **slots;
    uint32_t capacity, count; /* capacity: 0 or a power of two, at most half full */
};

void idmap_free(struct idmap *m);
int idmap_add(struct idmap *m, struct stream *s); /* by s->wire_id, which is not in the map; -1: out of memory */
struct stream *idmap_take(struct idmap *m, uint64_t wire_id); /* removes; NULL: no such id */
struct stream *idmap_find(const struct idmap *m, uint64_t wire_id);

#endif
