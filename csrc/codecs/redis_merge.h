/* Merging: one request was sent to several shards, their complete replies become the one the client sees. */
#ifndef MOSNPY_REDIS_MERGE_H
#define MOSNPY_REDIS_MERGE_H

#include "redis_table.h"

/* Appends to `out` the merged reply for a client of RESP `version` (2 or 3). replies[0..n) are complete, in shard
 * order, of either version each. Kinds SPLIT_SUM, SPLIT_OK, ALL_*; also ANY/HOME/NONE (the first). An error in any
 * child is the reply (the first one wins), but for SPLIT_ARRAY, see below. A child of an unexpected form is "-ERR
 * unexpected reply from a shard". 0, or -1 when memory is out (out->n restored). */
int redis_merge(enum redis_merge_kind kind, const struct slice *replies, uint32_t n, int version, struct resp_out *out);

/* MGET: owner[i] (i < keys) is the child that was asked for the i-th key; each child got its keys in this order. A
 * child's error stands in the place of each of its keys. */
int redis_merge_array(const struct slice *replies, uint32_t n, const uint16_t *owner, uint32_t keys, int version,
                      struct resp_out *out);

/* SCAN over shards: the client's cursor is the shard's cursor * REDIS_SCAN_SHARDS + shard, so "0" starts at shard
 * 0 and it survives a change in the number of shards. Fits 63 bits while a shard's cursor is below 2^53. */
#define REDIS_SCAN_SHARDS 1024u
/* false when the argument is no cursor ("-ERR invalid cursor") */
bool redis_scan_decode(struct slice cursor, uint32_t shards, uint32_t *shard, uint64_t *inner);
/* The same request with its cursor (argument 1) replaced by `inner`. -1 when memory is out. */
int redis_scan_request(const struct resp_request *r, const uint8_t *p, uint64_t inner, struct resp_out *out);
/* Rewrites the cursor in the reply of `shard` (of `shards`): at a shard's end the next shard's start, at the last
 * one's "0". The elements are written for `version`; an error passes. -1 when the reply is no SCAN reply or memory
 * is out. */
int redis_scan_reply(struct slice reply, uint32_t shard, uint32_t shards, int version, struct resp_out *out);

#endif
