#include "buffer.h"

#include <stdlib.h>

/* ---- chunks: the free list is a stack, so the next one handed out is the one most likely still in the cache ---- */

void chunk_pool_init(struct chunk_pool *pool) { memset(pool, 0, sizeof *pool); }

void chunk_pool_free(struct chunk_pool *pool) {
    for (struct chunk *c = pool->free, *next; c; c = next) next = c->next, free(c);
    pool->free = NULL, pool->free_count = 0;
}

struct chunk *chunk_new(struct chunk_pool *pool, size_t cap) {
    struct chunk *c;
    if (cap > UINT32_MAX) return NULL;
    if (cap <= CHUNK_SIZE && pool->free) {
        c = pool->free;
        pool->free = c->next, pool->free_count--;
    } else {
        if (cap < CHUNK_SIZE) cap = CHUNK_SIZE;
        if (!(c = malloc(sizeof *c + cap))) return NULL;
        c->cap = (uint32_t)cap;
    }
    c->next = NULL, c->start = c->end = 0;
    pool->live++;
    return c;
}

void chunk_free(struct chunk_pool *pool, struct chunk *c) {
    pool->live--;
    if (c->cap == CHUNK_SIZE && pool->free_count < CHUNK_POOL_MAX) {
        c->next = pool->free, pool->free = c, pool->free_count++;
        return;
    }
    free(c);
}

/* ---- queues ---- */

void queue_init(struct queue *q) { memset(q, 0, sizeof *q); }

static void link_chunk(struct queue *q, struct chunk *c) {
    c->next = NULL;
    if (q->tail) q->tail->next = c;
    else q->head = c;
    q->tail = c;
}

/* The usual case: something short for an empty queue, and a chunk at hand. */
static inline bool begin_queue(struct chunk_pool *pool, struct queue *q, const void *p, size_t n) {
    struct chunk *c = pool->free;
    if (q->tail || !c || n - 1 >= CHUNK_SIZE) return false; /* n == 0 wraps: an empty queue holds no chunk */
    pool->free = c->next, pool->free_count--, pool->live++;
    c->next = NULL, c->start = 0, c->end = (uint32_t)n;
    q->head = q->tail = c, q->bytes = n;
    memcpy(c->data, p, n);
    return true;
}

/* Fills the last chunk up and puts the rest into one new chunk. The chunk comes first: without memory nothing has
 * changed. */
int queue_append_slow(struct chunk_pool *pool, struct queue *q, const void *data, size_t n) {
    const uint8_t *p = data;
    if (likely(begin_queue(pool, q, p, n))) return 0;
    size_t room = q->tail ? q->tail->cap - q->tail->end : 0, first = min_size(room, n);
    struct chunk *c = NULL;
    if (n > first && !(c = chunk_new(pool, n - first))) return -1;
    if (first) {
        memcpy(q->tail->data + q->tail->end, p, first);
        q->tail->end += (uint32_t)first;
    }
    if (c) {
        memcpy(c->data, p + first, n - first);
        c->end = (uint32_t)(n - first);
        link_chunk(q, c);
    }
    q->bytes += n;
    return 0;
}

void queue_adopt(struct queue *q, struct chunk *c) {
    link_chunk(q, c);
    q->bytes += c->end - c->start;
}

uint8_t *queue_reserve_slow(struct chunk_pool *pool, struct queue *q, size_t n) {
    struct chunk *c = chunk_new(pool, n);
    if (!c) return NULL;
    link_chunk(q, c);
    return c->data;
}

int queue_iov(const struct queue *q, struct iovec *iov, int max) {
    int n = 0;
    for (struct chunk *c = q->head; c && n < max; c = c->next)
        if (c->end > c->start) iov[n++] = (struct iovec){c->data + c->start, c->end - c->start};
    return n;
}

static void drop_head(struct chunk_pool *pool, struct queue *q) {
    struct chunk *c = q->head;
    q->head = c->next;
    if (!q->head) q->tail = NULL;
    chunk_free(pool, c);
}

void queue_consume(struct chunk_pool *pool, struct queue *q, size_t n) {
    q->bytes -= n, q->base += n;
    while (n) {
        struct chunk *c = q->head;
        size_t live = c->end - c->start, take = min_size(live, n);
        c->start += (uint32_t)take, n -= take;
        if (take == live) drop_head(pool, q);
    }
    if (q->bytes == 0)
        while (q->head) drop_head(pool, q); /* reserved and never committed */
}

void queue_clear(struct chunk_pool *pool, struct queue *q) {
    q->base += q->bytes, q->bytes = 0;
    while (q->head) drop_head(pool, q);
}

void queue_splice(struct chunk_pool *pool, struct queue *dst, struct queue *src) {
    if (src->bytes <= 1024 && dst->tail && dst->tail->cap - dst->tail->end >= src->bytes) {
        for (struct chunk *c = src->head; c; c = c->next) {
            memcpy(dst->tail->data + dst->tail->end, c->data + c->start, c->end - c->start);
            queue_commit(dst, c->end - c->start);
        }
        queue_clear(pool, src);
        return;
    }
    if (!src->head) return;
    if (dst->tail) dst->tail->next = src->head;
    else dst->head = src->head;
    dst->tail = src->tail, dst->bytes += src->bytes;
    src->base += src->bytes, src->bytes = 0, src->head = src->tail = NULL;
}

void queue_copy(const struct queue *q, uint64_t pos, void *dst, size_t n) {
    size_t skip = (size_t)(pos - q->base);
    uint8_t *to = dst;
    for (struct chunk *c = q->head; c && n; c = c->next) {
        size_t live = c->end - c->start;
        if (skip >= live) {
            skip -= live;
            continue;
        }
        size_t take = min_size(live - skip, n);
        memcpy(to, c->data + c->start + skip, take);
        to += take, n -= take, skip = 0;
    }
}

const uint8_t *queue_pullup(struct chunk_pool *pool, struct queue *q, size_t n) {
    if (n > q->bytes) return NULL;
    if (n == 0) return (const uint8_t *)"";
    while (q->head->end == q->head->start) drop_head(pool, q); /* reserved and never committed */
    if (q->head->end - q->head->start >= n) return q->head->data + q->head->start;
    struct chunk *c = chunk_new(pool, n);
    if (!c) return NULL;
    uint64_t base = q->base; /* the bytes move to the front, they don't leave */
    queue_copy(q, base, c->data, n);
    c->end = (uint32_t)n;
    queue_consume(pool, q, n);
    q->base = base, q->bytes += n;
    c->next = q->head, q->head = c;
    if (!q->tail) q->tail = c;
    return c->data;
}
