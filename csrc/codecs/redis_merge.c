/* Merging replies of shards. Counting is the server's: numbers add up, errors come first, lists follow one
 * another. */
#include "redis_merge.h"

#include <stdio.h>
#include <stdlib.h>

#define UNEXPECTED "ERR unexpected reply from a shard"

static void unexpected(struct resp_out *out) { resp_out_error(out, SLICE(UNEXPECTED)); }

static int finish(struct resp_out *out, size_t before) {
    if (!out->failed) return 0;
    out->n = before;
    return -1;
}

/* The first error among the replies, or NULL. */
static const struct slice *first_error(const struct slice *replies, uint32_t n) {
    struct slice text;
    for (uint32_t i = 0; i < n; i++)
        if (resp_is_error(replies[i], &text)) return &replies[i];
    return NULL;
}

static bool read_number(struct slice reply, int64_t *v) {
    struct resp_value value;
    return resp_read(&reply, &value) && value.type == ':' && resp_int(value.text, v);
}

/* ---- numbers ---- */

static void sum_or_min(bool sum, const struct slice *replies, uint32_t n, struct resp_out *out) {
    int64_t total = 0, v;
    for (uint32_t i = 0; i < n; i++) {
        if (!read_number(replies[i], &v)) {
            unexpected(out);
            return;
        }
        if (sum && __builtin_add_overflow(total, v, &total)) {
            unexpected(out); /* no count of anything */
            return;
        }
        if (!sum && (i == 0 || v < total)) total = v;
    }
    resp_out_int(out, total);
}

/* Arrays of 0 and 1 of the same length: the logical AND, element by element. One walk over each, all side by side:
 * a request may ask for a million scripts. */
static void logical_and(const struct slice *replies, uint32_t n, struct resp_out *out) {
    struct slice *at = malloc(n * sizeof *at);
    struct resp_value v;
    uint32_t count = 0;
    bool fits = at != NULL;
    for (uint32_t i = 0; fits && i < n; i++) {
        at[i] = replies[i];
        fits = resp_read(&at[i], &v) && v.type == '*' && !v.null && (i == 0 || v.count == count);
        count = v.count;
    }
    size_t before = out->n;
    if (fits) resp_out_array(out, count);
    for (uint32_t element = 0; fits && element < count; element++) {
        bool all = true;
        for (uint32_t i = 0; i < n; i++) {
            fits = fits && resp_read(&at[i], &v) && v.type == ':';
            all = all && v.text.n == 1 && v.text.p[0] == '1';
        }
        resp_out_int(out, all);
    }
    if (!fits) out->n = before, unexpected(out);
    if (!at) out->failed = true;
    free(at);
}

/* ---- lists ---- */

static void concat(const struct slice *replies, uint32_t n, int version, struct resp_out *out) {
    uint64_t count = 0;
    uint8_t type = '*';
    for (uint32_t i = 0; i < n; i++) {
        struct slice in = replies[i];
        struct resp_value head;
        bool list = resp_read(&in, &head) && (head.type == '*' || head.type == '~' || head.type == '%');
        if (!list || (i && (type == '%') != (head.type == '%'))) {
            unexpected(out);
            return;
        }
        if (i == 0) type = head.type;
        count += head.count;
    }
    if (type == '%') resp_out_map(out, count / 2, version);
    else if (type == '~') resp_out_set(out, count, version);
    else resp_out_array(out, count);
    for (uint32_t i = 0; i < n; i++) {
        struct slice in = replies[i];
        struct resp_value head;
        if (resp_read(&in, &head)) resp_out_raw(out, in.p, in.n);
    }
}

int redis_merge_array(const struct slice *replies, uint32_t n, const uint16_t *owner, uint32_t keys, int version,
                      struct resp_out *out) {
    size_t before = out->n;
    struct slice *at = malloc(n * sizeof *at), value;
    bool *whole = malloc(n * sizeof *whole); /* an array; else an error that stands for each of its keys */
    if (!at || !whole) {
        free(at), free(whole);
        return -1;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct resp_value head;
        at[i] = replies[i];
        whole[i] = resp_read(&at[i], &head) && head.type == '*' && !head.null;
    }
    resp_out_array(out, keys);
    for (uint32_t k = 0; k < keys; k++) {
        uint32_t i = owner[k];
        struct resp_value v;
        if (!whole[i]) {
            struct slice text;
            resp_is_error(replies[i], &text) ? resp_out_raw(out, replies[i].p, replies[i].n) : unexpected(out);
        } else if (!resp_take(&at[i], &value)) {
            unexpected(out);
        } else {
            struct slice peek = value;
            if (resp_read(&peek, &v) && v.null) resp_out_null(out, version);
            else resp_out_raw(out, value.p, value.n);
        }
    }
    free(at), free(whole);
    return finish(out, before);
}

/* ---- INFO ---- */

/* Fields that count something each shard has of its own: the whole has their sum. Everything else is told of the
 * first shard. */
static const char *const additive[] = {"connected_clients",
                                       "blocked_clients",
                                       "tracking_clients",
                                       "used_memory",
                                       "used_memory_rss",
                                       "used_memory_dataset",
                                       "total_connections_received",
                                       "total_commands_processed",
                                       "instantaneous_ops_per_sec",
                                       "total_net_input_bytes",
                                       "total_net_output_bytes",
                                       "rejected_connections",
                                       "expired_keys",
                                       "evicted_keys",
                                       "keyspace_hits",
                                       "keyspace_misses",
                                       "pubsub_channels",
                                       "pubsub_patterns",
                                       "total_error_replies",
                                       "total_reads_processed",
                                       "total_writes_processed",
                                       "total_system_memory",
                                       "maxmemory",
                                       "client_recent_max_input_buffer"};

static bool next_line(struct slice *text, struct slice *line) {
    if (!text->n) return false;
    const uint8_t *lf = memchr(text->p, '\n', text->n);
    size_t n = lf ? (size_t)(lf - text->p) + 1 : text->n;
    *line = slice_of(text->p, n);
    while (line->n && (line->p[line->n - 1] == '\n' || line->p[line->n - 1] == '\r')) line->n--;
    text->p += n, text->n -= n;
    return true;
}

static bool field_of(struct slice line, struct slice *name, struct slice *value) {
    const uint8_t *colon = line.n && *line.p != '#' ? memchr(line.p, ':', line.n) : NULL;
    if (!colon) return false;
    *name = slice_of(line.p, (size_t)(colon - line.p));
    *value = slice_of(colon + 1, (size_t)(line.p + line.n - colon - 1));
    return true;
}

static bool find_field(struct slice text, struct slice name, struct slice *value) {
    struct slice line, key;
    while (next_line(&text, &line))
        if (field_of(line, &key, value) && slice_eq(key, name)) return true;
    return false;
}

static bool is_additive(struct slice name) {
    for (size_t i = 0; i < countof(additive); i++)
        if (slice_eq(name, slice_of(additive[i], strlen(additive[i])))) return true;
    return false;
}

static bool is_keyspace(struct slice name) { /* "db" and a number of int */
    if (name.n < 3 || name.n > 12 || memcmp(name.p, "db", 2) != 0) return false;
    for (size_t i = 2; i < name.n; i++)
        if (name.p[i] < '0' || name.p[i] > '9') return false;
    return true;
}

struct keyspace {
    long long keys, expires, ttl;
};

/* Sums of what servers tell stay within range. */
static long long plus(long long a, long long b) {
    long long sum;
    return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}

static long long times(long long a, long long b) { /* neither is negative */
    long long product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static bool read_keyspace(struct slice value, struct keyspace *k) {
    char text[128];
    size_t n = min_size(value.n, sizeof text - 1);
    memcpy(text, value.p, n), text[n] = 0;
    return sscanf(text, "keys=%lld,expires=%lld,avg_ttl=%lld", &k->keys, &k->expires, &k->ttl) == 3 && k->keys >= 0 &&
           k->expires >= 0 && k->ttl >= 0;
}

static void write_keyspace(const struct slice *texts, uint32_t n, struct slice name, struct resp_out *out) {
    struct keyspace total = {0, 0, 0}, one;
    struct slice value;
    char line[160];
    for (uint32_t i = 0; i < n; i++)
        if (find_field(texts[i], name, &value) && read_keyspace(value, &one))
            total = (struct keyspace){plus(total.keys, one.keys), plus(total.expires, one.expires),
                                      plus(total.ttl, times(one.ttl, one.expires))};
    int len = snprintf(line, sizeof line, "%.*s:keys=%lld,expires=%lld,avg_ttl=%lld\r\n", (int)name.n,
                       (const char *)name.p, total.keys, total.expires, total.expires ? total.ttl / total.expires : 0);
    resp_out_raw(out, line, (size_t)len);
}

static void write_sum(const struct slice *texts, uint32_t n, struct slice name, struct resp_out *out) {
    long long total = 0;
    int64_t v;
    struct slice value;
    char line[160];
    for (uint32_t i = 0; i < n; i++)
        if (find_field(texts[i], name, &value) && resp_int(value, &v)) total = plus(total, v);
    resp_out_raw(out, line,
                 (size_t)snprintf(line, sizeof line, "%.*s:%lld\r\n", (int)name.n, (const char *)name.p, total));
}

static bool seen_before(const struct slice *texts, uint32_t i, struct slice name) {
    struct slice value;
    for (uint32_t k = 0; k < i; k++)
        if (find_field(texts[k], name, &value)) return true;
    return false;
}

static void info(const struct slice *replies, uint32_t n, int version, struct resp_out *out) {
    struct slice *texts = malloc(n * sizeof *texts), line, name, value;
    struct resp_out body = {0};
    bool ok = texts != NULL;
    for (uint32_t i = 0; ok && i < n; i++) {
        struct slice in = replies[i];
        struct resp_value v;
        ok = resp_read(&in, &v) && (v.type == '$' || v.type == '=');
        if (ok) texts[i] = v.text;
    }
    struct slice first = ok ? texts[0] : (struct slice){NULL, 0};
    while (next_line(&first, &line)) {
        bool field = field_of(line, &name, &value);
        if (field && is_keyspace(name)) {
            write_keyspace(texts, n, name, &body);
        } else if (field && is_additive(name)) {
            write_sum(texts, n, name, &body);
        } else {
            resp_out_raw(&body, line.p, line.n);
            resp_out_raw(&body, "\r\n", 2);
        }
    }
    for (uint32_t i = 1; ok && i < n;
         i++) /* databases the first shard has no keys in; Keyspace is INFO's last section */
        for (struct slice text = texts[i]; next_line(&text, &line);)
            if (field_of(line, &name, &value) && is_keyspace(name) && !seen_before(texts, i, name))
                write_keyspace(texts, n, name, &body);
    if (ok) resp_out_verbatim(out, "txt", slice_of(body.p, body.n), version);
    else unexpected(out);
    if (body.failed) out->failed = true;
    resp_out_free(&body);
    free(texts);
}

/* ---- all kinds ---- */

int redis_merge(enum redis_merge_kind kind, const struct slice *replies, uint32_t n, int version,
                struct resp_out *out) {
    size_t before = out->n;
    const struct slice *error = first_error(replies, n);
    if (n == 0) unexpected(out);
    else if (error) resp_out_raw(out, error->p, error->n);
    else if (kind == REDIS_MERGE_SPLIT_SUM || kind == REDIS_MERGE_ALL_SUM || kind == REDIS_MERGE_ALL_MIN)
        sum_or_min(kind != REDIS_MERGE_ALL_MIN, replies, n, out);
    else if (kind == REDIS_MERGE_ALL_AND) logical_and(replies, n, out);
    else if (kind == REDIS_MERGE_ALL_CONCAT) concat(replies, n, version, out);
    else if (kind == REDIS_MERGE_ALL_INFO) info(replies, n, version, out);
    else resp_out_raw(out, replies[0].p, replies[0].n);
    return finish(out, before);
}

/* ---- SCAN ---- */

bool redis_scan_decode(struct slice cursor, uint32_t shards, uint32_t *shard, uint64_t *inner) {
    uint64_t v;
    if (!resp_uint(cursor, &v)) return false;
    *shard = (uint32_t)(v % REDIS_SCAN_SHARDS), *inner = v / REDIS_SCAN_SHARDS;
    if (*shard >= shards) *shard = 0, *inner = 0; /* fewer shards than when the scan began: it begins anew */
    return true;
}

int redis_scan_request(const struct resp_request *r, const uint8_t *p, uint64_t inner, struct resp_out *out) {
    size_t before = out->n;
    struct resp_arg_iter it = resp_arg_iter(r, p);
    struct slice arg;
    char text[24];
    resp_out_array(out, r->argc);
    for (uint32_t i = 0; resp_arg_next(&it, &arg); i++) {
        if (i == 1) arg = slice_of(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)inner));
        resp_out_bulk(out, arg);
    }
    return finish(out, before);
}

int redis_scan_reply(struct slice reply, uint32_t shard, uint32_t shards, int version, struct resp_out *out) {
    size_t before = out->n;
    struct resp_value head, cursor;
    struct slice in = reply, text;
    uint64_t inner, next;
    char number[24];
    (void)version; /* a SCAN reply is the same in both */
    if (resp_is_error(reply, &text)) {
        resp_out_raw(out, reply.p, reply.n);
        return finish(out, before);
    }
    if (!resp_read(&in, &head) || head.type != '*' || head.count != 2 || !resp_read(&in, &cursor) ||
        !resp_uint(cursor.text, &inner))
        return -1;
    if (inner > (UINT64_MAX >> 1) / REDIS_SCAN_SHARDS - 1) return -1;
    next = inner ? inner * REDIS_SCAN_SHARDS + shard : shard + 1 < shards ? shard + 1 : 0;
    resp_out_array(out, 2);
    resp_out_bulk(out, slice_of(number, (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)next)));
    resp_out_raw(out, in.p, in.n);
    return finish(out, before);
}
