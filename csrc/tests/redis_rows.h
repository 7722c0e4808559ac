/* A command table for the tests of Redis' parts: rows as text, made into the MessagePack the plan has. The rows are chosen for
 * what they exercise; whether the real table is right is compared with a server (tests/codecs/redis). */
#ifndef MOSNPY_REDIS_ROWS_H
#define MOSNPY_REDIS_ROWS_H

#include "../codecs/redis_table.h"

#include <stdio.h>
#include <stdlib.h>

struct rows { /* MessagePack being written; the table borrows from it, so it lives as long */
    uint8_t p[1 << 14];
    size_t n;
};

static inline void rows_bytes(struct rows *k, const void *p, size_t n) {
    if (n > sizeof k->p - k->n) fprintf(stderr, "redis_rows.h: out of room\n"), abort();
    if (n) memcpy(k->p + k->n, p, n);
    k->n += n;
}
static inline void rows_byte(struct rows *k, uint8_t b) { rows_bytes(k, &b, 1); }
static inline void rows_array(struct rows *k, uint32_t n) {
    rows_byte(k, 0xdc), rows_byte(k, (uint8_t)(n >> 8)), rows_byte(k, (uint8_t)n);
}
static inline void rows_int(struct rows *k, int64_t v) {
    rows_byte(k, 0xd3);
    for (int shift = 56; shift >= 0; shift -= 8) rows_byte(k, (uint8_t)((uint64_t)v >> shift));
}
static inline void rows_str(struct rows *k, struct slice s) {
    rows_byte(k, 0xd9), rows_byte(k, (uint8_t)s.n), rows_bytes(k, s.p, s.n);
}
static inline void rows_text(struct rows *k, const char *s) { rows_str(k, slice_of(s, strlen(s))); }

struct row {
    const char *name;
    int arity;
    const char *flags; /* blanks between */
    int first, last, step;
    const char *kind, *merge, *shape;
    int subs; /* so many of the rows behind it are its subcommands */
};

static inline void rows_flags(struct rows *k, const char *s) {
    uint32_t count = 0;
    for (const char *p = s; *p; p += strspn(p, " ")) count++, p += strcspn(p, " ");
    rows_array(k, count);
    for (; *s; s += strspn(s, " ")) {
        size_t n = strcspn(s, " ");
        rows_str(k, slice_of(s, n)), s += n;
    }
}

/* Writes the row at r and its subcommands. How many rows that were. */
static inline size_t rows_entry(struct rows *k, const struct row *r) {
    rows_array(k, 10);
    rows_text(k, r->name), rows_int(k, r->arity), rows_flags(k, r->flags);
    rows_int(k, r->first), rows_int(k, r->last), rows_int(k, r->step);
    rows_text(k, r->kind), rows_text(k, r->merge), rows_text(k, r->shape);
    rows_array(k, (uint32_t)r->subs);
    for (int i = 1; i <= r->subs; i++) rows_entry(k, r + i);
    return 1 + (size_t)r->subs;
}

static inline struct redis_table *rows_table(struct rows *k, const struct row *rows, size_t count, char *err,
                                             size_t err_size) {
    uint32_t commands = 0;
    struct mpack root;
    k->n = 0;
    for (size_t i = 0; i < count; i += 1 + (size_t)rows[i].subs) commands++;
    rows_array(k, commands);
    for (size_t i = 0; i < count;) i += rows_entry(k, &rows[i]);
    if (mpack_open(slice_of(k->p, k->n), &root) != 0) fprintf(stderr, "redis_rows.h: malformed\n"), abort();
    err[0] = 0;
    return redis_table_new(root, err, err_size);
}

/* Commands of every way to have keys, with the shapes and merges of codecs/redis. */
static const struct row some_rows[] = {
    {"GET", 2, "read idempotent", 1, 1, 1, "plain", "", "", 0},
    {"SET", -3, "write", 1, 1, 1, "plain", "", "", 0},
    {"MGET", -2, "read", 1, -1, 1, "plain", "split_array", "", 0},
    {"MSET", -3, "write", 1, -1, 2, "plain", "split_ok", "", 0},
    {"DEL", -2, "write", 1, -1, 1, "plain", "split_sum", "", 0},
    {"BLPOP", -3, "write blocking", 1, -2, 1, "blocking", "", "", 0},
    {"RENAME", 3, "write", 1, 2, 1, "plain", "", "", 0},
    {"PING", -1, "session", 0, 0, 0, "session", "", "", 0},
    {"EVAL", -3, "write movable", 0, 0, 0, "plain", "", "", 0},
    {"ZUNION", -3, "read movable", 0, 0, 0, "plain", "", "opt:WITHSCORES:pairs_double", 0},
    {"ZUNIONSTORE", -4, "write movable", 1, 1, 1, "plain", "", "", 0},
    {"LMPOP", -4, "write movable", 0, 0, 0, "plain", "", "", 0},
    {"BLMPOP", -5, "write blocking movable", 0, 0, 0, "blocking", "", "", 0},
    {"XREAD", -4, "read blocking movable", 0, 0, 0, "blocking", "", "pair_map", 0},
    {"XREADGROUP", -7, "write blocking movable", 0, 0, 0, "blocking", "", "pair_map", 0},
    {"MIGRATE", -6, "write movable", 3, 3, 1, "plain", "", "", 0},
    {"SORT", -2, "write movable", 1, 1, 1, "plain", "", "", 0},
    {"GEORADIUS", -6, "write movable", 1, 1, 1, "plain", "", "opt:WITHCOORD:geo_coord", 0},
    {"GEORADIUSBYMEMBER", -5, "write movable", 1, 1, 1, "plain", "", "opt:WITHCOORD:geo_coord", 0},
    {"HRANDFIELD", -2, "read", 1, 1, 1, "plain", "", "opt:WITHVALUES:pairs", 0},
    {"ZRANGE", -4, "read", 1, 1, 1, "plain", "", "opt:WITHSCORES:pairs_double", 0},
    {"ZADD", -4, "write", 1, 1, 1, "plain", "", "opt:INCR:double", 0},
    {"ZPOPMIN", -2, "write", 1, 1, 1, "plain", "", "args:3:pairs_double|flat_double", 0},
    {"SPOP", -2, "write", 1, 1, 1, "plain", "", "args:3:set", 0},
    {"HGETALL", 2, "read", 1, 1, 1, "plain", "", "map", 0},
    {"CONFIG", -2, "admin", 0, 0, 0, "plain", "any", "", 2},
    {"GET", -3, "admin loading stale", 0, 0, 0, "plain", "any", "map", 0},
    {"SET", -4, "admin loading stale", 0, 0, 0, "plain", "all_ok", "", 0},
    {"XINFO", -2, "read", 0, 0, 0, "plain", "", "", 1},
    {"STREAM", -3, "read", 2, 2, 1, "plain", "", "opt:FULL:xinfo_stream_full|xinfo_stream", 0},
    {"SCAN", -2, "read", 0, 0, 0, "plain", "scan", "", 0},
};

#endif
