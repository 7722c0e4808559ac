/* libFuzzer target for HTTP/2 connections of both sides, in the real engine. Input is a list of pieces (kind, two bytes of length,
 * bytes) that a client or a server sends, cut wherever the pieces end.
 *
 * What must hold whatever the bytes: no fault, no endless loop, and when both have hung up nothing is left: no connection, no
 * stream, no buffer. `make fuzz FUZZ=http2` runs it. */
#include "http2_stage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct stage g;

/* A request's block: GET (or POST) http a, with a path; enough for the other bytes to mean something. */
static void quick_request(uint8_t which, uint8_t id) {
    static const char *const paths[] = {"\4\2/r", "\4\2/u", "\4\2/1", "\4\2/u"};
    uint8_t frame[64], *to = http2_frame_write(frame, 0, H2_HEADERS, 0, 0);
    *to++ = which & 4 ? 0x83 : 0x82, *to++ = 0x86;
    memcpy(to, paths[which & 3], 4), to += 4;
    memcpy(to, "\1\1a", 3), to += 3;
    http2_frame_write(frame, (uint32_t)(to - frame) - 9, H2_HEADERS,
                      (uint8_t)(H2_END_HEADERS | (which & 4 ? 0 : H2_END_STREAM)), (uint32_t)id * 2 + 1);
    peer_send(&g.client, frame, (size_t)(to - frame));
}

static void piece(uint8_t kind, const uint8_t *p, size_t n) {
    switch (kind & 7) {
    case 0:
    case 1: peer_send(&g.client, p, n); break;
    case 2: peer_send(&g.server[0], p, n); break;
    case 3: peer_send(&g.server[1], p, n); break;
    case 4:
        if (n >= 2) quick_request(p[0], p[1]);
        break;
    case 5:
        if (g.client.fd >= 0) shutdown(g.client.fd, SHUT_WR);
        break;
    case 6: peer_close(&g.server[0]); break;
    case 7: core_poll(g.core, 0); return; /* half a turn */
    }
    if (!(kind & 8)) stage_turn(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t hello[] = HTTP2_PREFACE "\0\0\0\4\0\0\0\0";
    if (!g.core)
        stage_open(&g, "{'max_streams': 8, 'stream_window': 70000, 'connection_window': 100000,"
                       " 'limits': {'head': 2000, 'fields': 20, 'trailers': 500, 'body': 30000}}");
    stage_connect(&g);
    if (size && !(data[0] & 1)) peer_send(&g.client, hello, sizeof hello);
    for (size_t at = 1, pieces = 0; at + 3 <= size && pieces < 200; pieces++) {
        size_t n = min_size((size_t)data[at + 1] | (size_t)data[at + 2] << 8, size - at - 3);
        piece(data[at], data + at + 3, n);
        at += 3 + n;
    }
    stage_turn(&g);
    stage_hang_up(&g);
    if (g.core->conn_count[DOWN] || g.core->conn_count[UP] || g.core->streams.live || g.core->chunks.live) abort();
    return 0;
}
