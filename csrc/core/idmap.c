#include "idmap.h"

#include <stdlib.h>

static uint32_t home(const struct idmap *m, uint64_t id) {
    return (uint32_t)hash_mix(id + 0x9e3779b97f4a7c15ULL) & (m->capacity - 1);
}
static uint32_t next(const struct idmap *m, uint32_t i) { return (i + 1) & (m->capacity - 1); }

void idmap_free(struct idmap *m) {
    free(m->slots);
    *m = (struct idmap){0};
}

static void put(struct idmap *m, struct stream *s) {
    uint32_t i = home(m, s->wire_id);
    while (m->slots[i]) i = next(m, i);
    m->slots[i] = s;
}

static bool grow(struct idmap *m) {
    struct idmap bigger = {.capacity = m->capacity ? m->capacity * 2 : 16, .count = m->count};
    if (!(bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots))) return false;
    for (uint32_t i = 0; i < m->capacity; i++)
        if (m->slots[i]) put(&bigger, m->slots[i]);
    free(m->slots);
    *m = bigger;
    return true;
}

int idmap_add(struct idmap *m, struct stream *s) {
    if (m->count * 2 >= m->capacity && !grow(m)) return -1;
    put(m, s);
    m->count++;
    return 0;
}

static uint32_t position(const struct idmap *m, uint64_t id) {
    if (!m->capacity) return UINT32_MAX;
    for (uint32_t i = home(m, id); m->slots[i]; i = next(m, i))
        if (m->slots[i]->wire_id == id) return i;
    return UINT32_MAX;
}

struct stream *idmap_find(const struct idmap *m, uint64_t wire_id) {
    uint32_t i = position(m, wire_id);
    return i == UINT32_MAX ? NULL : m->slots[i];
}

struct stream *idmap_take(struct idmap *m, uint64_t wire_id) {
    uint32_t hole = position(m, wire_id);
    if (hole == UINT32_MAX) return NULL;
    struct stream *s = m->slots[hole];
    /* Moves back what would become unreachable behind the hole (Knuth 6.4, algorithm R). */
    for (uint32_t i = next(m, hole); m->slots[i]; i = next(m, i)) {
        uint32_t want = home(m, m->slots[i]->wire_id);
        bool reachable = hole <= i ? (hole < want && want <= i) : (hole < want || want <= i);
        if (reachable) continue;
        m->slots[hole] = m->slots[i], hole = i;
    }
    m->slots[hole] = NULL;
    m->count--;
    return s;
}
