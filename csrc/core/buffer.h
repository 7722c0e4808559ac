/* Byte queues made of pooled chunks: what is to be written to a socket, or what is held back for later.
 *
 * A queue owns its chunks. `base` counts the bytes that ever left at the front, so a position in the stream (base +
 * index) stays valid while bytes are consumed: that is how a stream knows whether its request left (stream.h). */
#ifndef MOSNPY_BUFFER_H
#define MOSNPY_BUFFER_H

#include "base.h"

#include <sys/uio.h>

#define CHUNK_SIZE 16384u    /* bytes of payload in a pooled chunk */
#define CHUNK_POOL_MAX 1024u /* free chunks kept (16 MiB); the rest goes back to malloc */

struct chunk {
    struct chunk *next;
    uint32_t start, end; /* live bytes are data[start..end) */
    uint32_t cap;        /* size of data; CHUNK_SIZE means pooled */
    uint8_t data[];
};

struct chunk_pool {
    struct chunk *free;
    uint32_t free_count;
    uint64_t live; /* chunks handed out and not given back: 0 at teardown, else a leak */
};

struct queue {
    struct chunk *head, *tail;
    size_t bytes;  /* live bytes */
    uint64_t base; /* bytes consumed since queue_init */
};

void chunk_pool_init(struct chunk_pool *pool);
void chunk_pool_free(struct chunk_pool *pool); /* frees the free list; live chunks must be 0 */
/* A chunk of at least `cap` bytes (pooled if cap <= CHUNK_SIZE); NULL when memory is out. Owner: the caller. */
struct chunk *chunk_new(struct chunk_pool *pool, size_t cap);
void chunk_free(struct chunk_pool *pool, struct chunk *c);

void queue_init(struct queue *q);
/* Copies p[0..n) to the end. 0, or -1 when memory is out (queue unchanged). Inline for the usual case, some bytes
 * that fit the last chunk: one comparison and the copy. */
int queue_append_slow(struct chunk_pool *pool, struct queue *q, const void *p, size_t n);
static inline int queue_append(struct chunk_pool *pool, struct queue *q, const void *p, size_t n) {
    struct chunk *c = q->tail;
    if (unlikely(!c || n - 1 >= c->cap - c->end))
        return queue_append_slow(pool, q, p, n); /* n == 0 wraps: slow as well */
    memcpy(c->data + c->end, p, n);
    c->end += (uint32_t)n, q->bytes += n;
    return 0;
}
/* Appends a chunk; ownership moves to the queue. */
void queue_adopt(struct queue *q, struct chunk *c);
/* n contiguous writable bytes at the end, n <= CHUNK_SIZE; NULL when memory is out. Follow with queue_commit(q,
 * used<=n). */
uint8_t *queue_reserve_slow(struct chunk_pool *pool, struct queue *q, size_t n);
static inline uint8_t *queue_reserve(struct chunk_pool *pool, struct queue *q, size_t n) {
    struct chunk *c = q->tail;
    return likely(c && c->cap - c->end >= n) ? c->data + c->end : queue_reserve_slow(pool, q, n);
}
static inline void queue_commit(struct queue *q, size_t used) { q->tail->end += (uint32_t)used, q->bytes += used; }
/* Fills up to `max` iovecs with the live bytes from the front; returns how many. */
int queue_iov(const struct queue *q, struct iovec *iov, int max);
/* Drops n bytes (n <= bytes) from the front; base grows by n. */
void queue_consume(struct chunk_pool *pool, struct queue *q, size_t n);
/* Drops everything; base grows by what was dropped. */
void queue_clear(struct chunk_pool *pool, struct queue *q);
/* Moves all bytes of src behind those of dst without copying (small tails may be copied); src becomes empty. */
void queue_splice(struct chunk_pool *pool, struct queue *dst, struct queue *src);
/* Copies n bytes at absolute position pos (base <= pos, pos + n <= base + bytes) to dst. */
void queue_copy(const struct queue *q, uint64_t pos, void *dst, size_t n);
/* Makes bytes [0, n) of the live content contiguous and returns a pointer to them (may reallocate the head chunk);
 * NULL when memory is out or n > bytes. Valid until the next change of the queue. */
const uint8_t *queue_pullup(struct chunk_pool *pool, struct queue *q, size_t n);

#endif
