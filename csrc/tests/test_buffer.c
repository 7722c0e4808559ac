/* Chunks and queues, step by step and against a flat array of bytes. */
#include "check.h"

#include "../core/buffer.h"

static struct chunk_pool pool;
static struct queue q;

/* Byte i of every stream of these tests: chunks that are mixed up or shifted show. */
static uint8_t pattern(uint64_t i) { return (uint8_t)(i * 131 + (i >> 8) * 7); }

static void append_pattern(struct queue *to, uint64_t from, size_t n) {
    uint8_t *bytes = malloc(n + 1);
    for (size_t i = 0; i < n; i++) bytes[i] = pattern(from + i);
    CHECK_EQ(queue_append(&pool, to, bytes, n), 0);
    free(bytes);
}

/* The queue holds pattern(from) ff., found the same way by queue_iov and by queue_copy. */
static void check_holds(const struct queue *s, uint64_t from, size_t n) {
    struct iovec iov[512];
    int pieces = queue_iov(s, iov, (int)countof(iov));
    size_t at = 0;
    for (int i = 0; i < pieces; i++) {
        const uint8_t *p = iov[i].iov_base;
        CHECK(iov[i].iov_len > 0);
        for (size_t k = 0; k < iov[i].iov_len; k++, at++)
            if (p[k] != pattern(from + at)) {
                CHECK_EQ(p[k], pattern(from + at));
                return;
            }
    }
    CHECK_EQ(at, n);
    CHECK_EQ(s->bytes, n);
    uint8_t *copy = malloc(n + 1);
    queue_copy(s, s->base, copy, n);
    for (size_t i = 0; i < n; i++)
        if (copy[i] != pattern(from + i)) {
            CHECK_EQ(copy[i], pattern(from + i));
            break;
        }
    free(copy);
}

static void begin(void) {
    chunk_pool_init(&pool);
    queue_init(&q);
}

static void end(void) {
    queue_clear(&pool, &q);
    CHECK_EQ(q.bytes, 0);
    CHECK(q.head == NULL && q.tail == NULL);
    CHECK_EQ(pool.live, 0);
    chunk_pool_free(&pool);
}

TEST(the_chunk_given_back_last_is_handed_out_first) {
    begin();
    struct chunk *a = chunk_new(&pool, 1), *b = chunk_new(&pool, CHUNK_SIZE);
    CHECK_EQ(a->cap, CHUNK_SIZE);
    CHECK_EQ(pool.live, 2);
    chunk_free(&pool, a);
    chunk_free(&pool, b);
    CHECK_EQ(pool.free_count, 2);
    CHECK(chunk_new(&pool, 100) == b);
    CHECK(chunk_new(&pool, 100) == a);
    CHECK_EQ(pool.free_count, 0);
    a->start = 5, a->end = 9;
    chunk_free(&pool, a);
    a = chunk_new(&pool, 1);
    CHECK_EQ(a->start, 0), CHECK_EQ(a->end, 0);
    CHECK(a->next == NULL);
    chunk_free(&pool, a);
    chunk_free(&pool, b);
    end();
}

TEST(large_chunks_are_not_pooled_and_the_pool_is_bounded) {
    begin();
    struct chunk *large = chunk_new(&pool, CHUNK_SIZE + 1);
    CHECK(large->cap >= CHUNK_SIZE + 1);
    large->data[CHUNK_SIZE] = 1;
    chunk_free(&pool, large);
    CHECK_EQ(pool.free_count, 0);
    struct chunk *all = NULL;
    for (unsigned i = 0; i < CHUNK_POOL_MAX + 10; i++) {
        struct chunk *c = chunk_new(&pool, 1);
        c->next = all, all = c;
    }
    while (all) {
        struct chunk *next = all->next;
        chunk_free(&pool, all);
        all = next;
    }
    CHECK_EQ(pool.free_count, CHUNK_POOL_MAX);
    CHECK(chunk_new(&pool, (size_t)UINT32_MAX + 1) == NULL);
    end();
}

TEST(small_appends_share_a_chunk) {
    begin();
    for (unsigned i = 0; i < 500; i++) append_pattern(&q, i * 30, 30);
    CHECK_EQ(pool.live, 1);
    check_holds(&q, 0, 15000);
    append_pattern(&q, 15000, 3000); /* fills the first to the brim, the rest goes on in a second */
    CHECK_EQ(pool.live, 2);
    CHECK_EQ(q.head->end, CHUNK_SIZE);
    check_holds(&q, 0, 18000);
    end();
}

TEST(appending_reads_exactly_what_it_was_given) {
    begin();
    uint8_t bytes[3 * CHUNK_SIZE];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = pattern(i);
    static const size_t sizes[] = {1, 30, 4096, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE};
    for (size_t i = 0; i < countof(sizes); i++) {
        CHECK_EQ(queue_append(&pool, &q, guarded(bytes, sizes[i]), sizes[i]), 0);
        check_holds(&q, 0, sizes[i]);
        queue_clear(&pool, &q);
    }
    end();
}

TEST(appending_nothing_changes_nothing) {
    begin();
    CHECK_EQ(queue_append(&pool, &q, NULL, 0), 0);
    CHECK(q.head == NULL);
    append_pattern(&q, 0, CHUNK_SIZE);
    CHECK_EQ(queue_append(&pool, &q, NULL, 0), 0);
    CHECK_EQ(q.bytes, CHUNK_SIZE);
    CHECK_EQ(pool.live, 1);
    end();
}

TEST(an_append_that_can_not_be_kept_leaves_the_queue_as_it_was) {
    begin();
    append_pattern(&q, 0, 100);
    CHECK_EQ(queue_append(&pool, &q, "x", (size_t)UINT32_MAX + CHUNK_SIZE), -1);
    CHECK_EQ(pool.live, 1);
    check_holds(&q, 0, 100);
    end();
}

TEST(reserve_gives_room_that_commit_makes_bytes) {
    begin();
    uint64_t at = 0;
    static const size_t wanted[] = {10, 4000, CHUNK_SIZE, 1, CHUNK_SIZE - 1, 2, 300};
    for (size_t i = 0; i < countof(wanted); i++) {
        uint8_t *room = queue_reserve(&pool, &q, wanted[i]);
        size_t used = i % 2 ? wanted[i] : wanted[i] / 2;
        for (size_t k = 0; k < used; k++) room[k] = pattern(at + k);
        queue_commit(&q, used);
        at += used;
        check_holds(&q, 0, at);
    }
    end();
}

TEST(room_reserved_and_never_used_is_no_byte_and_no_leak) {
    begin();
    CHECK(queue_reserve(&pool, &q, 100) != NULL);
    struct iovec iov[4];
    CHECK_EQ(queue_iov(&q, iov, 4), 0);
    queue_consume(&pool, &q, 0);
    CHECK_EQ(pool.live, 0);
    append_pattern(&q, 0, CHUNK_SIZE - 10);
    CHECK(queue_reserve(&pool, &q, 100) != NULL); /* an empty chunk behind a nearly full one */
    append_pattern(&q, CHUNK_SIZE - 10, 50);
    check_holds(&q, 0, CHUNK_SIZE + 40);
    CHECK(queue_pullup(&pool, &q, CHUNK_SIZE + 1) != NULL);
    check_holds(&q, 0, CHUNK_SIZE + 40);
    queue_consume(&pool, &q, CHUNK_SIZE + 40);
    CHECK_EQ(pool.live, 0);
    CHECK(queue_reserve(&pool, &q, 7) != NULL);
    struct chunk *c = chunk_new(&pool, 10);
    c->data[0] = pattern(0), c->end = 1;
    queue_adopt(&q, c);
    CHECK_EQ(*queue_pullup(&pool, &q, 1), pattern(0)); /* the first chunk holds nothing */
    end();
}

TEST(consuming_moves_the_base_and_gives_chunks_back) {
    begin();
    append_pattern(&q, 0, 5 * CHUNK_SIZE / 2);
    append_pattern(&q, 5 * CHUNK_SIZE / 2, 5 * CHUNK_SIZE / 2);
    uint64_t chunks = pool.live;
    queue_consume(&pool, &q, 1);
    CHECK_EQ(pool.live, chunks);
    check_holds(&q, 1, 5 * CHUNK_SIZE - 1);
    queue_consume(&pool, &q, 3 * CHUNK_SIZE);
    CHECK(pool.live < chunks);
    CHECK_EQ(q.base, 3 * CHUNK_SIZE + 1);
    check_holds(&q, 3 * CHUNK_SIZE + 1, 2 * CHUNK_SIZE - 1);
    queue_consume(&pool, &q, 2 * CHUNK_SIZE - 1);
    CHECK_EQ(pool.live, 0);
    CHECK_EQ(q.base, 5 * CHUNK_SIZE);
    end();
}

TEST(clearing_counts_as_leaving) {
    begin();
    append_pattern(&q, 0, 1000);
    queue_consume(&pool, &q, 10);
    queue_clear(&pool, &q);
    CHECK_EQ(q.base, 1000);
    append_pattern(&q, 1000, 10);
    check_holds(&q, 1000, 10);
    end();
}

TEST(an_adopted_chunk_is_not_copied) {
    begin();
    append_pattern(&q, 0, 100);
    struct chunk *c = chunk_new(&pool, 100000);
    for (unsigned i = 0; i < 70000; i++) c->data[i + 5] = pattern(100 + i);
    c->start = 5, c->end = 70005;
    queue_adopt(&q, c);
    CHECK(q.tail == c);
    check_holds(&q, 0, 70100);
    append_pattern(&q, 70100, 20000); /* goes on in its room */
    CHECK(q.tail == c);
    check_holds(&q, 0, 90100);
    end();
}

TEST(iovecs_stop_at_the_limit) {
    begin();
    for (unsigned i = 0; i < 5; i++) append_pattern(&q, (uint64_t)i * CHUNK_SIZE, CHUNK_SIZE);
    struct iovec iov[5];
    CHECK_EQ(queue_iov(&q, iov, 3), 3);
    CHECK_EQ(queue_iov(&q, iov, 5), 5);
    CHECK_EQ(queue_iov(&q, iov, 0), 0);
    end();
}

TEST(splicing_moves_all_bytes_behind) {
    static const size_t sizes[] = {0, 1, 1000, 1024, 1025, CHUNK_SIZE - 3, CHUNK_SIZE, 3 * CHUNK_SIZE};
    for (size_t a = 0; a < countof(sizes); a++)
        for (size_t b = 0; b < countof(sizes); b++) {
            begin();
            struct queue src;
            queue_init(&src);
            append_pattern(&q, 0, sizes[a]);
            append_pattern(&src, sizes[a], sizes[b] / 2);
            append_pattern(&src, sizes[a] + sizes[b] / 2, sizes[b] - sizes[b] / 2);
            queue_splice(&pool, &q, &src);
            CHECK_EQ(src.bytes, 0);
            CHECK_EQ(src.base, sizes[b]);
            CHECK(src.head == NULL && src.tail == NULL);
            check_holds(&q, 0, sizes[a] + sizes[b]);
            append_pattern(&src, 7, 3); /* both go on living */
            append_pattern(&q, sizes[a] + sizes[b], 3);
            check_holds(&q, 0, sizes[a] + sizes[b] + 3);
            queue_clear(&pool, &src);
            end();
        }
}

TEST(pullup_makes_the_front_contiguous_and_keeps_the_base) {
    static const size_t wanted[] = {0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, 4 * CHUNK_SIZE};
    for (size_t i = 0; i < countof(wanted); i++) {
        begin();
        for (unsigned k = 0; k < 4; k++) append_pattern(&q, (uint64_t)k * CHUNK_SIZE, CHUNK_SIZE);
        queue_consume(&pool, &q, 10);
        size_t n = min_size(wanted[i], q.bytes);
        const uint8_t *p = queue_pullup(&pool, &q, n);
        CHECK(p != NULL);
        for (size_t k = 0; k < n; k++)
            if (p[k] != pattern(10 + k)) {
                CHECK_EQ(p[k], pattern(10 + k));
                break;
            }
        CHECK_EQ(q.base, 10);
        check_holds(&q, 10, 4 * CHUNK_SIZE - 10);
        CHECK(queue_pullup(&pool, &q, q.bytes + 1) == NULL);
        append_pattern(&q, 4 * CHUNK_SIZE, 70); /* also when all of it is one chunk now */
        check_holds(&q, 10, 4 * CHUNK_SIZE + 60);
        end();
    }
    begin();
    CHECK(queue_pullup(&pool, &q, 0) != NULL);
    CHECK(queue_pullup(&pool, &q, 1) == NULL);
    CHECK(q.head == NULL);
    end();
}

static size_t some_size(uint64_t *rng) {
    static const size_t scale[] = {8, 64, 2000, CHUNK_SIZE, 3 * CHUNK_SIZE};
    return rng_next(rng) % scale[rng_next(rng) % countof(scale)];
}

TEST(random_operations_agree_with_a_flat_stream) {
    uint64_t rng = 20260101;
    begin();
    struct queue src;
    queue_init(&src);
    uint64_t in = 0; /* bytes put in so far; what is queued is pattern(q.base) .. pattern(in) */
    for (int step = 0; step < 6000; step++) {
        size_t n = some_size(&rng);
        switch (rng_next(&rng) % 8) {
        case 0:
        case 1: append_pattern(&q, in, n), in += n; break;
        case 2: {
            n = min_size(n, CHUNK_SIZE);
            uint8_t *room = queue_reserve(&pool, &q, n);
            size_t used = n ? rng_next(&rng) % (n + 1) : 0;
            for (size_t i = 0; i < used; i++) room[i] = pattern(in + i);
            queue_commit(&q, used), in += used;
            break;
        }
        case 3: {
            append_pattern(&src, in, n), in += n;
            append_pattern(&src, in, n / 3), in += n / 3;
            queue_splice(&pool, &q, &src);
            break;
        }
        case 4: {
            struct chunk *c = chunk_new(&pool, n + 9);
            c->start = (uint32_t)(rng_next(&rng) % 8), c->end = c->start + (uint32_t)n;
            for (size_t i = 0; i < n; i++) c->data[c->start + i] = pattern(in + i);
            queue_adopt(&q, c), in += n;
            break;
        }
        case 5: n = min_size(n, q.bytes), CHECK(queue_pullup(&pool, &q, n) != NULL); break;
        default: queue_consume(&pool, &q, min_size(2 * n, q.bytes)); break;
        }
        CHECK_EQ(q.base + q.bytes, in);
        if (step % 16 == 0) check_holds(&q, q.base, q.bytes);
        if (q.bytes) {
            uint8_t byte;
            uint64_t pos = q.base + rng_next(&rng) % q.bytes;
            queue_copy(&q, pos, &byte, 1);
            CHECK_EQ(byte, pattern(pos));
        }
    }
    end();
}

int main(void) {
    RUN(the_chunk_given_back_last_is_handed_out_first);
    RUN(large_chunks_are_not_pooled_and_the_pool_is_bounded);
    RUN(small_appends_share_a_chunk);
    RUN(appending_reads_exactly_what_it_was_given);
    RUN(appending_nothing_changes_nothing);
    RUN(an_append_that_can_not_be_kept_leaves_the_queue_as_it_was);
    RUN(reserve_gives_room_that_commit_makes_bytes);
    RUN(room_reserved_and_never_used_is_no_byte_and_no_leak);
    RUN(consuming_moves_the_base_and_gives_chunks_back);
    RUN(clearing_counts_as_leaving);
    RUN(an_adopted_chunk_is_not_copied);
    RUN(iovecs_stop_at_the_limit);
    RUN(splicing_moves_all_bytes_behind);
    RUN(pullup_makes_the_front_contiguous_and_keeps_the_base);
    RUN(random_operations_agree_with_a_flat_stream);
    return 0;
}
