/* What the plan says to HTTP listeners and upstreams; defaults are those of docs/reference/configuration.md. */
#include "exchange.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t read_int(struct mpack map, const char *key, uint64_t dflt) {
    int64_t v = mpack_int(mpack_get(map, key), -1);
    return v < 0 ? dflt : (uint64_t)v;
}

static uint32_t read_u32(struct mpack map, const char *key, uint32_t dflt, uint32_t max) {
    uint64_t v = read_int(map, key, dflt);
    return v > max ? max : (uint32_t)v;
}

static struct http1_limits read_limits(struct mpack map) {
    return (struct http1_limits){
        .head = read_u32(map, "head", 64u << 10, HTTP_HEAD_MAX),
        .fields = read_u32(map, "fields", 100, HTTP_FIELDS_MAX),
        .target = read_u32(map, "target", 16u << 10, HTTP_HEAD_MAX),
        .chunk_line = read_u32(map, "chunk_line", 4096, 65536),
        .trailers = read_u32(map, "trailers", 16u << 10, HTTP_HEAD_MAX),
    };
}

static struct http2_times read_times(struct mpack map) {
    return (struct http2_times){
        .settings = read_u32(map, "settings_timeout_ms", 10000, UINT32_MAX),
        .keepalive = read_u32(map, "keepalive_ms", 0, UINT32_MAX),
        .keepalive_timeout = read_u32(map, "keepalive_timeout_ms", 10000, UINT32_MAX),
    };
}

static int one_of(struct slice s, const char *const *names, int dflt) {
    for (int i = 0; names[i]; i++)
        if (slice_eq(s, slice_of(names[i], strlen(names[i])))) return i;
    return dflt;
}

#define HEADER_TABLE_MAX 65536u
#define WINDOW_MAX 0x7fffffffu
#define STREAM_WINDOW (256u << 10)
#define CONNECTION_WINDOW (1u << 20)

void *http_listener_new(struct mpack options, struct plan *plan, char *err, size_t err_size) {
    static const char *const slashes[] = {"keep", "reject", "decode", NULL};
    static const char *const forwards[] = {"off", "keep", "append", "set", NULL};
    static const char *const ids[] = {"off", "keep", "always", NULL};
    struct mpack path = mpack_get(options, "path"), forwarded = mpack_get(options, "forwarded");
    struct http_options *o = calloc(1, sizeof *o);
    (void)plan;
    if (!o) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    o->head_timeout_ms = read_u32(options, "head_timeout_ms", 10000, UINT32_MAX);
    o->body_timeout_ms = read_u32(options, "body_timeout_ms", 60000, UINT32_MAX);
    o->stream_idle_ms = read_u32(options, "stream_idle_ms", 300000, UINT32_MAX);
    o->limits = read_limits(mpack_get(options, "limits"));
    o->max_body = read_int(mpack_get(options, "limits"), "body", 0);
    o->normalize = mpack_bool(mpack_get(path, "normalize"), true);
    o->merge_slashes = mpack_bool(mpack_get(path, "merge_slashes"), false);
    o->escaped_slashes = (uint8_t)one_of(mpack_slice(mpack_get(path, "escaped_slashes")), slashes, 0);
    o->x_forwarded = (uint8_t)one_of(mpack_slice(mpack_get(forwarded, "x_forwarded")), forwards, XFF_APPEND);
    o->forwarded = mpack_bool(mpack_get(forwarded, "forwarded"), false);
    o->via = mpack_slice(mpack_get(forwarded, "via"));
    o->trusted_hops = read_u32(forwarded, "trusted_hops", 0, 64);
    o->request_id = (uint8_t)one_of(mpack_slice(mpack_get(options, "request_id")), ids, ID_KEEP);
    o->upgrade = mpack_bool(mpack_get(options, "upgrade"), true);
    o->grpc_web = mpack_bool(mpack_get(options, "grpc_web"), false);
    o->max_streams = read_u32(options, "max_streams", 128, WINDOW_MAX);
    o->stream_window = read_u32(options, "stream_window", STREAM_WINDOW, WINDOW_MAX);
    o->connection_window = read_u32(options, "connection_window", CONNECTION_WINDOW, WINDOW_MAX);
    o->header_table = read_u32(options, "header_table", 4096, HEADER_TABLE_MAX);
    o->times = read_times(options);
    return o;
}

void *http_upstream_new(struct mpack options, struct plan *plan, char *err, size_t err_size) {
    struct http_upstream *o = calloc(1, sizeof *o);
    (void)plan;
    if (!o) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    o->stream_idle_ms = read_u32(options, "stream_idle_ms", 300000, UINT32_MAX);
    o->pipeline = mpack_bool(mpack_get(options, "pipeline"), false);
    o->limits = read_limits(mpack_get(options, "limits"));
    o->stream_window = read_u32(options, "stream_window", STREAM_WINDOW, WINDOW_MAX);
    o->connection_window = read_u32(options, "connection_window", CONNECTION_WINDOW, WINDOW_MAX);
    o->header_table = read_u32(options, "header_table", 4096, HEADER_TABLE_MAX);
    o->times = read_times(options);
    return o;
}

void http_options_free(void *options) { free(options); }

uint32_t http_head_timeout_ms(const void *options) { return ((const struct http_options *)options)->head_timeout_ms; }
