/* HTTP/2 connections in the real engine, frame by frame: what a client and a server see, in which order. */
#include "check.h"

#include "http2_stage.h"

static struct stage g;

/* ---- frames that came ---- */

struct seen {
    struct http2_frame f;
    const uint8_t *p;
};

static size_t at; /* how far the client's bytes were looked at */

/* The next frame the peer got; type 0xff: none. */
static struct seen next_of(struct peer *p, size_t *from) {
    struct seen s = {.f.type = 0xff};
    if (p->n - *from < 9) return s;
    s.f = http2_frame_read(p->in + *from), s.p = p->in + *from + 9;
    if (p->n - *from < 9 + s.f.length) return (struct seen){.f.type = 0xff};
    *from += 9 + s.f.length;
    return s;
}
static struct seen next(void) { return next_of(&g.client, &at); }

/* The next frame of this type on this stream; those before it are passed over. */
static struct seen find(uint8_t type, uint32_t id) {
    struct seen s;
    do s = next();
    while (s.f.type != 0xff && (s.f.type != type || s.f.id != id));
    return s;
}

static void expect(int line, struct seen s, uint8_t type, uint32_t id, uint8_t set) {
    check_eq(__FILE__, line, "type", s.f.type, type);
    check_eq(__FILE__, line, "stream", s.f.id, id);
    check_eq(__FILE__, line, "flags", s.f.flags & set, set);
}
#define EXPECT(s, type, id, set) expect(__LINE__, s, type, id, set)

/* ---- frames that are sent ---- */

static void frame_to(struct peer *to, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n) {
    uint8_t bytes[20000];
    uint8_t *behind = http2_frame_write(bytes, (uint32_t)n, type, flags, id);
    if (n) memcpy(behind, p, n);
    CHECK(peer_send(to, bytes, 9 + n));
}
static void frame(uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n) {
    frame_to(&g.client, type, flags, id, p, n);
    stage_turn(&g);
}
static void number(uint8_t type, uint32_t id, uint32_t value) {
    uint8_t p[4];
    http2_put_u32(p, value);
    frame(type, 0, id, p, 4);
}
static void request(uint32_t id, const char *method, const char *path, bool end) {
    uint8_t block[256], *to = hpack_encode_method(block, slice_of(method, strlen(method)));
    to = hpack_encode_scheme(to, SLICE("http"));
    to = hpack_encode_path(to, slice_of(path, strlen(path)));
    to = hpack_encode_authority(to, SLICE("a"));
    frame(H2_HEADERS, (uint8_t)(H2_END_HEADERS | (end ? H2_END_STREAM : 0)), id, block, (size_t)(to - block));
}
/* The server's answer on its stream `id`. */
static void respond(uint32_t id, uint16_t status, const char *body) {
    uint8_t block[16];
    uint8_t *to = hpack_encode_status(block, status);
    frame_to(&g.server[0], H2_HEADERS, (uint8_t)(H2_END_HEADERS | (body ? 0 : H2_END_STREAM)), id, block,
             (size_t)(to - block));
    if (body) frame_to(&g.server[0], H2_DATA, H2_END_STREAM, id, body, strlen(body));
    stage_turn(&g);
}

static uint16_t status_of(struct seen s) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    static uint8_t strings[4096];
    struct hpack_arena arena = {strings, sizeof strings, 0};
    struct http_field fields[32];
    uint32_t count = 0;
    bool too_large;
    CHECK_EQ(hpack_decode(d, s.p, s.f.length, &arena, 4096, fields, 32, &count, &too_large), 0);
    uint16_t status = count ? (uint16_t)strtoul((const char *)fields[0].value.p, NULL, 10) : 0;
    hpack_decoder_free(d);
    return status;
}

static void hello(const void *settings, size_t n) {
    at = 0;
    stage_connect(&g);
    peer_send(&g.client, HTTP2_PREFACE, HTTP2_PREFACE_SIZE);
    frame(H2_SETTINGS, 0, 0, settings, n);
    EXPECT(next(), H2_SETTINGS, 0, 0);
    CHECK_EQ(find(H2_SETTINGS, 0).f.flags, H2_ACK);
}
static void open_stage(const char *options) {
    stage_open(&g, options);
    hello(NULL, 0);
}
static void window_setting(uint32_t value) {
    uint8_t p[6];
    http2_put_setting(p, H2_INITIAL_WINDOW_SIZE, value);
    frame(H2_SETTINGS, 0, 0, p, 6);
}

/* ---- tests ---- */

TEST(an_idle_connection_is_small) { CHECK(sizeof(struct conn) + sizeof(struct http2) + 16 < 2560); }

TEST(settings_tell_what_we_take) {
    stage_open(&g, "{'max_streams': 7, 'stream_window': 100000, 'connection_window': 200000}");
    at = 0;
    stage_connect(&g);
    stage_turn(&g);
    struct seen s = next();
    uint32_t values[16] = {0};
    EXPECT(s, H2_SETTINGS, 0, 0);
    for (uint32_t i = 0; i < s.f.length; i += 6) values[s.p[i + 1] & 15] = http2_u32(s.p + i + 2);
    CHECK_EQ(values[H2_MAX_CONCURRENT_STREAMS], 7);
    CHECK_EQ(values[H2_INITIAL_WINDOW_SIZE], 100000);
    CHECK_EQ(values[H2_MAX_HEADER_LIST_SIZE], 65536);
    CHECK_EQ(values[H2_ENABLE_CONNECT_PROTOCOL], 1);
    s = next();
    EXPECT(s, H2_WINDOW_UPDATE, 0, 0);
    CHECK_EQ(http2_u32(s.p), 200000 - 65535);
    stage_close(&g);
}

TEST(the_last_data_frame_ends_the_stream) {
    open_stage("{}");
    request(1, "GET", "/r", true);
    struct seen s = next();
    EXPECT(s, H2_HEADERS, 1, H2_END_HEADERS);
    CHECK_EQ(status_of(s), 200);
    s = next();
    EXPECT(s, H2_DATA, 1, H2_END_STREAM);
    CHECK_BYTES(s.p, s.f.length, "reply", 5);
    CHECK_EQ(next().f.type, 0xff);
    stage_close(&g);
}

TEST(a_response_waits_for_its_window_and_outlives_its_exchange) {
    open_stage("{}");
    window_setting(2);
    CHECK_EQ(find(H2_SETTINGS, 0).f.flags, H2_ACK);
    request(1, "GET", "/r", true);
    EXPECT(next(), H2_HEADERS, 1, 0);
    struct seen s = next();
    CHECK_BYTES(s.p, s.f.length, "re", 2);
    CHECK_EQ(next().f.type, 0xff);
    CHECK_EQ(g.core->streams.live, 0);
    number(H2_WINDOW_UPDATE, 1, 1);
    s = next();
    CHECK_BYTES(s.p, s.f.length, "p", 1);
    CHECK_EQ(s.f.flags, 0);
    window_setting(1); /* the stream owes 1 now: its window is -1 */
    CHECK_EQ(find(H2_SETTINGS, 0).f.flags, H2_ACK);
    number(H2_WINDOW_UPDATE, 1, 1);
    CHECK_EQ(next().f.type, 0xff);
    number(H2_WINDOW_UPDATE, 1, 10);
    s = next();
    EXPECT(s, H2_DATA, 1, H2_END_STREAM);
    CHECK_BYTES(s.p, s.f.length, "ly", 2);
    stage_close(&g);
}

/* Its length was announced and has come: END_STREAM behind the response is no reason for RST_STREAM. */
TEST(a_request_may_end_after_its_response) {
    uint8_t block[64], *to = block;
    open_stage("{}");
    memcpy(to, "\x83\x86\4\2/u\1\1a\x0f\x0d\1\x31", 13), to += 13; /* POST /u, content-length: 1 */
    frame_to(&g.client, H2_HEADERS, H2_END_HEADERS, 1, block, (size_t)(to - block));
    frame(H2_DATA, 0, 1, "x", 1);
    respond(1, 200, "ok");
    EXPECT(find(H2_DATA, 1), H2_DATA, 1, H2_END_STREAM);
    size_t before = at;
    CHECK_EQ(find(H2_RST_STREAM, 1).f.type, 0xff);
    at = before;
    frame(H2_DATA, H2_END_STREAM, 1, "", 0);
    CHECK_EQ(next().f.type, 0xff);
    stage_close(&g);
}

TEST(a_slow_stream_does_not_hold_up_another) {
    open_stage("{}");
    window_setting(0);
    CHECK_EQ(find(H2_SETTINGS, 0).f.flags, H2_ACK);
    request(1, "GET", "/r", true);
    request(3, "GET", "/r", true);
    number(H2_WINDOW_UPDATE, 3, 5);
    EXPECT(find(H2_DATA, 3), H2_DATA, 3, H2_END_STREAM);
    number(H2_WINDOW_UPDATE, 1, 5);
    EXPECT(find(H2_DATA, 1), H2_DATA, 1, H2_END_STREAM);
    stage_close(&g);
}

TEST(a_malformed_request_resets_its_stream_alone) {
    open_stage("{}");
    frame(H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, 1, "\x82\x86\x84", 3); /* no authority */
    struct seen s = next();
    EXPECT(s, H2_RST_STREAM, 1, 0);
    CHECK_EQ(http2_u32(s.p), H2_PROTOCOL_ERROR);
    request(3, "GET", "/r", true);
    EXPECT(next(), H2_HEADERS, 3, 0);
    stage_close(&g);
}

TEST(streams_beyond_the_limit_are_refused) {
    open_stage("{'max_streams': 1}");
    request(1, "POST", "/u", false);
    request(3, "GET", "/r", true);
    struct seen s = find(H2_RST_STREAM, 3);
    EXPECT(s, H2_RST_STREAM, 3, 0);
    CHECK_EQ(http2_u32(s.p), H2_REFUSED_STREAM);
    number(H2_RST_STREAM, 1, H2_CANCEL);
    request(5, "GET", "/r", true);
    EXPECT(find(H2_HEADERS, 5), H2_HEADERS, 5, 0);
    stage_close(&g);
}

TEST(windows_are_given_back_by_halves) {
    static const uint8_t some[16000];
    open_stage("{'stream_window': 65536, 'connection_window': 65536}");
    request(1, "POST", "/u", false);
    frame(H2_DATA, 0, 1, some, 16000);
    frame(H2_DATA, 0, 1, some, 16000);
    CHECK_EQ(next().f.type, 0xff);
    frame(H2_DATA, H2_PADDED, 1, "\3x\0\0\0", 5); /* padding counts */
    frame(H2_DATA, 0, 1, some, 770);
    struct seen s = find(H2_WINDOW_UPDATE, 0), t;
    CHECK_EQ(http2_u32(s.p), 32775);
    at -= 13;
    t = find(H2_WINDOW_UPDATE, 1);
    CHECK_EQ(http2_u32(t.p), 32775);
    stage_close(&g);
}

TEST(draining_takes_a_round_trip_and_loses_nothing) {
    open_stage("{}");
    request(1, "GET", "/u", true);
    http2_down_drain(g.core->conns[DOWN]);
    stage_turn(&g);
    struct seen s = find(H2_GOAWAY, 0);
    CHECK_EQ(http2_u32(s.p), 0x7fffffff);
    struct seen ping = next();
    EXPECT(ping, H2_PING, 0, 0);
    request(3, "GET", "/r", true); /* sent before it knew */
    EXPECT(find(H2_DATA, 3), H2_DATA, 3, H2_END_STREAM);
    frame(H2_PING, H2_ACK, 0, ping.p, 8);
    s = next();
    EXPECT(s, H2_GOAWAY, 0, 0);
    CHECK_EQ(http2_u32(s.p), 3);
    CHECK_EQ(http2_u32(s.p + 4), H2_NO_ERROR);
    request(5, "GET", "/r", true);
    CHECK_EQ(next().f.type, 0xff);
    CHECK(!g.client.ended);
    respond(1, 200, "late");
    s = find(H2_DATA, 1);
    CHECK_BYTES(s.p, s.f.length, "late", 4);
    CHECK(g.client.ended);
    stage_close(&g);
}

TEST(what_a_server_did_not_look_at_is_sent_again) {
    open_stage("{}");
    request(1, "GET", "/u", true);
    request(3, "GET", "/u", true);
    frame_to(&g.server[0], H2_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0", 8);
    struct peer first = g.server[0];
    g.server[0] = (struct peer){.fd = -1};
    stage_turn(&g); /* a second connection */
    CHECK(g.server[0].fd >= 0);
    respond(1, 201, NULL);
    CHECK_EQ(status_of(find(H2_HEADERS, 3)), 201);
    struct peer second = g.server[0];
    g.server[0] = first;
    respond(1, 202, NULL);
    CHECK_EQ(status_of(find(H2_HEADERS, 1)), 202);
    peer_close(&second);
    stage_close(&g);
}

/* A frame that comes in two reads is no beginning of an answer to anybody. */
TEST(a_goaway_in_two_pieces_loses_nothing) {
    static const uint8_t goaway[] = "\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0";
    open_stage("{}");
    request(1, "POST", "/u", true);
    CHECK(peer_send(&g.server[0], goaway, 12));
    stage_turn(&g);
    CHECK(peer_send(&g.server[0], goaway + 12, 5));
    struct peer first = g.server[0];
    g.server[0] = (struct peer){.fd = -1};
    stage_turn(&g); /* a second connection */
    CHECK(g.server[0].fd >= 0);
    respond(1, 201, NULL);
    CHECK_EQ(status_of(find(H2_HEADERS, 1)), 201);
    peer_close(&first);
    stage_close(&g);
}

/* What paused streams hold keeps the connection's window closed no longer than they live. */
TEST(streams_that_are_reset_give_the_connections_window_back) {
    static const uint8_t some[16000];
    open_stage("{'stream_window': 65536, 'connection_window': 65536}");
    int64_t window = 65536, own;
    uint32_t id = 1;
    for (; id < 100 && window >= 16000; id += 2) {
        request(id, "POST", "/u", false);
        for (own = 65536; own >= 16000 && window >= 16000; own -= 16000, window -= 16000) {
            frame(H2_DATA, 0, id, some, sizeof some);
            for (struct seen s; (s = next()).f.type != 0xff;) {
                if (s.f.type != H2_WINDOW_UPDATE) continue;
                *(s.f.id ? &own : &window) += http2_u32(s.p);
            }
        }
    }
    CHECK(id < 100);
    for (uint32_t i = 1; i < id; i += 2) number(H2_RST_STREAM, i, H2_CANCEL);
    EXPECT(find(H2_WINDOW_UPDATE, 0), H2_WINDOW_UPDATE, 0, 0);
    stage_close(&g);
}

static uint32_t goaway_code(void) { return http2_u32(find(H2_GOAWAY, 0).p + 4); }

TEST(floods_end_the_connection) {
    open_stage("{}");
    for (int i = 0; i < 3000 && !g.client.ended; i++) {
        uint8_t bytes[64],
            *to = http2_frame_write(bytes, 4, H2_HEADERS, H2_END_HEADERS | H2_END_STREAM, (uint32_t)i * 2 + 1);
        memcpy(to, "\x82\x86\x84\x81", 4); /* :authority "" */
        to = http2_frame_write(to + 4, 4, H2_RST_STREAM, 0, (uint32_t)i * 2 + 1);
        http2_put_u32(to, H2_CANCEL);
        peer_send(&g.client, bytes, 26);
        stage_turn(&g);
    }
    CHECK(g.client.ended);
    CHECK_EQ(goaway_code(), H2_ENHANCE_YOUR_CALM);
    stage_hang_up(&g);
    hello(NULL, 0);
    for (int i = 0; i < 5000 && !g.client.ended; i++) frame(H2_PING, 0, 0, "12345678", 8);
    CHECK(g.client.ended);
    CHECK_EQ(goaway_code(), H2_ENHANCE_YOUR_CALM);
    stage_close(&g);
}

TEST(any_cut_means_the_same) {
    uint8_t bytes[256], *to = bytes;
    memcpy(to, HTTP2_PREFACE, 24), to += 24;
    to = http2_frame_write(to, 0, H2_SETTINGS, 0, 0);
    to = http2_frame_write(to, 7, H2_HEADERS, H2_END_HEADERS, 1);
    memcpy(to, "\x83\x86\4\2/r\x41", 7), to += 7; /* a block that ends within a field: COMPRESSION_ERROR */
    for (size_t cut = 1; cut < (size_t)(to - bytes); cut++) {
        stage_open(&g, "{}");
        at = 0;
        stage_connect(&g);
        peer_send(&g.client, bytes, cut);
        stage_turn(&g);
        peer_send(&g.client, bytes + cut, (size_t)(to - bytes) - cut);
        stage_turn(&g);
        CHECK_EQ(goaway_code(), H2_COMPRESSION_ERROR);
        stage_close(&g);
    }
}

/* Until the client has got a frame of this type. */
static struct seen await(uint8_t type) {
    struct seen s;
    uint64_t until = g.core->now_ms + 5000;
    do stage_turn(&g), s = next();
    while (s.f.type != type && g.core->now_ms < until);
    return s;
}
static void await_end(void) {
    for (uint64_t until = g.core->now_ms + 5000; !g.client.ended && g.core->now_ms < until;) stage_turn(&g);
    CHECK(g.client.ended);
}
static uint64_t counted(unsigned stat) { return g.plan->listeners[0].stat[stat]; }

TEST(a_client_that_says_nothing_is_asked_and_then_closed) {
    open_stage("{'keepalive_ms': 30, 'keepalive_timeout_ms': 40}");
    frame(H2_SETTINGS, H2_ACK, 0, NULL, 0);
    request(1, "POST", "/u", false); /* that its request is open excuses nobody */
    for (int i = 0; i < 3; i++) {
        struct seen ping = await(H2_PING);
        EXPECT(ping, H2_PING, 0, 0);
        CHECK(!(ping.f.flags & H2_ACK));
        if (i == 1) number(H2_WINDOW_UPDATE, 0, 1); /* any frame will do */
        else if (i == 0) frame(H2_PING, H2_ACK, 0, ping.p, 8);
    }
    CHECK_EQ(counted(LISTENER_keepalive_timeouts), 0);
    await_end();
    CHECK_EQ(counted(LISTENER_keepalive_timeouts), 1);
    stage_close(&g);
}

/* Answers to PINGs alone are no use of the connection. */
TEST(a_client_that_only_answers_pings_is_idle) {
    open_stage("{'keepalive_ms': 20, 'keepalive_timeout_ms': 1000}");
    g.plan->listeners[0].idle_timeout_ms = 100;
    frame(H2_SETTINGS, H2_ACK, 0, NULL, 0);
    int answered = 0;
    for (uint64_t until = g.core->now_ms + 5000; !g.client.ended && g.core->now_ms < until; stage_turn(&g)) {
        struct seen s = next();
        if (s.f.type == H2_PING && peer_send(&g.client, "\0\0\10\6\1\0\0\0\0alive?\0", 17)) answered++;
    }
    CHECK(g.client.ended);
    CHECK(answered >= 2);
    CHECK_EQ(counted(LISTENER_idle_timeouts), 1);
    CHECK_EQ(counted(LISTENER_keepalive_timeouts), 0);
    stage_close(&g);
}

TEST(settings_are_acknowledged_in_time) {
    open_stage("{'settings_timeout_ms': 30}");
    await_end();
    CHECK_EQ(goaway_code(), H2_SETTINGS_TIMEOUT);
    CHECK_EQ(counted(LISTENER_idle_timeouts), 1);
    stage_hang_up(&g);
    hello(NULL, 0);
    frame(H2_SETTINGS, H2_ACK, 0, NULL, 0);
    CHECK_EQ(http2(g.core->conns[DOWN])->settings_ms, 0);
    stage_close(&g);
}

int main(void) {
    RUN(an_idle_connection_is_small);
    RUN(settings_tell_what_we_take);
    RUN(the_last_data_frame_ends_the_stream);
    RUN(a_response_waits_for_its_window_and_outlives_its_exchange);
    RUN(a_request_may_end_after_its_response);
    RUN(a_slow_stream_does_not_hold_up_another);
    RUN(a_malformed_request_resets_its_stream_alone);
    RUN(streams_beyond_the_limit_are_refused);
    RUN(windows_are_given_back_by_halves);
    RUN(draining_takes_a_round_trip_and_loses_nothing);
    RUN(what_a_server_did_not_look_at_is_sent_again);
    RUN(a_goaway_in_two_pieces_loses_nothing);
    RUN(streams_that_are_reset_give_the_connections_window_back);
    RUN(a_client_that_says_nothing_is_asked_and_then_closed);
    RUN(a_client_that_only_answers_pings_is_idle);
    RUN(settings_are_acknowledged_in_time);
    RUN(floods_end_the_connection);
    RUN(any_cut_means_the_same);
    return 0;
}
