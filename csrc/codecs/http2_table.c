/* Streams of one connection by id. Ids follow one another: side by side they would be one long run to be searched by every removal, so
 * they are strewn. */
#include "http2.h"

#include <stdlib.h>

#define TABLE_MIN 16u  /* slots at first */
#define TABLE_KEEP 64u /* a larger table is freed when it is empty: an idle connection is small */

static inline uint32_t home(const struct http2 *s, uint32_t id) { return (id >> 1) * 11 & (s->capacity - 1); }

static uint32_t position(const struct http2 *s, uint32_t id) {
    uint32_t i = home(s, id);
    while (s->slots[i].id && s->slots[i].id != id) i = (i + 1) & (s->capacity - 1);
    return i;
}

struct http_leg *http2_find(const struct http2 *s, uint32_t id) {
    if (unlikely(s->count == 0)) return NULL;
    const struct http2_slot *slot = &s->slots[position(s, id)];
    return slot->id ? slot->leg : NULL;
}

static bool grow(struct http2 *s) {
    struct http2_slot *old = s->slots;
    uint32_t n = s->capacity, capacity = n ? n * 2 : TABLE_MIN;
    struct http2_slot *slots = calloc(capacity, sizeof *slots);
    if (!slots) return false;
    s->slots = slots, s->capacity = capacity;
    for (uint32_t i = 0; i < n; i++)
        if (old[i].id) s->slots[position(s, old[i].id)] = old[i];
    free(old);
    return true;
}

int http2_add(struct http2 *s, struct http_leg *leg) {
    if (unlikely(s->count * 2 >= s->capacity) && !grow(s)) return -1;
    s->slots[position(s, leg->id)] = (struct http2_slot){leg->id, leg};
    s->count++;
    return 0;
}

void http2_replace(struct http2 *s, uint32_t id, struct http_leg *leg) { s->slots[position(s, id)].leg = leg; }

/* Those behind the hole move up, so that searches still end at the first free slot. */
static void take_out(struct http2 *s, uint32_t id) {
    uint32_t mask = s->capacity - 1, hole = position(s, id);
    if (!s->slots[hole].id) return;
    for (uint32_t i = (hole + 1) & mask; s->slots[i].id; i = (i + 1) & mask) {
        if (((i - home(s, s->slots[i].id)) & mask) < ((i - hole) & mask)) continue;
        s->slots[hole] = s->slots[i], hole = i;
    }
    s->slots[hole].id = 0;
    s->count--;
    if (unlikely(s->count == 0 && s->capacity > TABLE_KEEP)) {
        free(s->slots);
        s->slots = NULL, s->capacity = 0;
    }
}

void http2_remember(struct http2 *s, uint32_t id, enum http2_past how) {
    s->closed[s->closed_count++ % HTTP2_CLOSED] = id >> 1 << 2 | how;
}

void http2_remove(struct conn *c, struct http_leg *leg, enum http2_past how) {
    struct http2 *s = http2(c);
    uint32_t id = leg->id;
    s->used_ms = c->core->now_ms;
    http2_remember(s, id, how);
    take_out(s, id);
    if (leg->listed) http2_delist(s, leg);
    if (unlikely(leg->paused)) {
        s->held -= leg->owed, leg->paused = false;
        if (s->phase != H2_FAILED) http2_credit_connection(c, 0);
    }
    if (unlikely(leg->waiting.head != NULL)) queue_clear(&c->core->chunks, &leg->waiting);
    if (unlikely(leg->tail != NULL)) free(leg->tail), leg->tail = NULL;
    leg->id = 0;
    if (unlikely(leg->flags & LEG_REST)) free(container_of(leg, struct http2_rest, leg));
}

enum http2_past http2_past(const struct http2 *s, uint32_t id) {
    uint32_t n = s->closed_count < HTTP2_CLOSED ? s->closed_count : HTTP2_CLOSED;
    for (uint32_t i = 0; i < n; i++)
        if (s->closed[i] >> 2 == id >> 1) return (enum http2_past)(s->closed[i] & 3);
    return s->closed_count <= HTTP2_CLOSED ? PAST_NEVER : PAST_UNKNOWN;
}
