/* HTTP/2 frames and the rules of messages, one check per rule. */
#include "check.h"

#include "../codecs/http2_frame.h"
#include "../codecs/http2_message.h"

static int check(uint8_t type, uint8_t flags, uint32_t id, uint32_t length) {
    struct http2_frame f = {.type = type, .flags = flags, .id = id, .length = length};
    return http2_frame_check(&f);
}

TEST(a_frame_head_is_read_as_it_was_written) {
    uint8_t p[9];
    CHECK(http2_frame_write(p, 0x123456, 0x9, 0x25, 0x7fedcba9) == p + 9);
    CHECK_BYTES(p, 9, "\x12\x34\x56\x09\x25\x7f\xed\xcb\xa9", 9);
    struct http2_frame f = http2_frame_read(guarded(p, 9));
    CHECK_EQ(f.length, 0x123456);
    CHECK_EQ(f.type, 9);
    CHECK_EQ(f.flags, 0x25);
    CHECK_EQ(f.id, 0x7fedcba9);
}

TEST(the_reserved_bit_is_ignored) { /* §4.1 */
    struct http2_frame f = http2_frame_read((const uint8_t *)"\0\0\0\0\0\xff\xff\xff\xff");
    CHECK_EQ(f.id, 0x7fffffff);
}

TEST(longer_frames_than_announced_break_the_connection) { /* §4.2 */
    for (unsigned type = 0; type < 256; type++) CHECK_EQ(check((uint8_t)type, 0, type < 4, 16385), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_DATA, 0, 1, 16384), 0);
}

TEST(each_type_belongs_to_a_stream_or_to_the_connection) {
    CHECK_EQ(check(H2_DATA, 0, 0, 1), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_HEADERS, 0, 0, 1), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_PRIORITY, 0, 0, 5), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_RST_STREAM, 0, 0, 4), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_SETTINGS, 0, 1, 6), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_PUSH_PROMISE, 0, 0, 6), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_PING, 0, 1, 8), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_GOAWAY, 0, 1, 8), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_CONTINUATION, 0, 0, 1), H2_PROTOCOL_ERROR);
    CHECK_EQ(check(H2_WINDOW_UPDATE, 0, 0, 4), 0);
    CHECK_EQ(check(H2_WINDOW_UPDATE, 0, 1, 4), 0);
    CHECK_EQ(check(0xfa, 0xff, 0, 3), 0);
    CHECK_EQ(check(0xfa, 0xff, 5, 3), 0);
}

TEST(sizes_are_what_the_type_says) {
    CHECK_EQ(check(H2_PRIORITY, 0, 1, 4), -H2_FRAME_SIZE_ERROR); /* §6.3: the stream's */
    CHECK_EQ(check(H2_PRIORITY, 0, 1, 6), -H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_RST_STREAM, 0, 1, 3), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_RST_STREAM, 0, 1, 5), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_SETTINGS, 0, 0, 5), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_SETTINGS, 0, 0, 12), 0);
    CHECK_EQ(check(H2_SETTINGS, H2_ACK, 0, 0), 0);
    CHECK_EQ(check(H2_SETTINGS, H2_ACK, 0, 6), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_PING, 0, 0, 7), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_PING, 0, 0, 9), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_GOAWAY, 0, 0, 7), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_GOAWAY, 0, 0, 100), 0);
    CHECK_EQ(check(H2_WINDOW_UPDATE, 0, 0, 3), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(check(H2_WINDOW_UPDATE, 0, 0, 5), H2_FRAME_SIZE_ERROR);
}

static int body(uint8_t type, uint8_t flags, const char *p, uint32_t n, struct slice *out, uint32_t *depends) {
    struct http2_frame f = {.type = type, .flags = flags, .id = 1, .length = n};
    return http2_frame_body(&f, guarded(p, n), out, depends);
}

TEST(padding_and_priority_are_taken_off) {
    struct slice s;
    uint32_t depends;
    CHECK_EQ(body(H2_HEADERS, 0, "abc", 3, &s, &depends), 0);
    CHECK_BYTES(s.p, s.n, "abc", 3);
    CHECK_EQ(body(H2_HEADERS, H2_PADDED, "\2abc\0\0", 6, &s, &depends), 0);
    CHECK_BYTES(s.p, s.n, "abc", 3);
    CHECK_EQ(body(H2_HEADERS, H2_PADDED | H2_WITH_PRIORITY,
                  "\1\x80\0\0\7\xff"
                  "abc\0",
                  10, &s, &depends),
             0);
    CHECK_BYTES(s.p, s.n, "abc", 3);
    CHECK_EQ(depends, 7);
    CHECK_EQ(body(H2_HEADERS, H2_PADDED, "\0", 1, &s, &depends), 0);
    CHECK_EQ(s.n, 0);
    CHECK_EQ(body(H2_HEADERS, H2_PADDED, "\3\0\0\0", 4, &s, &depends), 0);
    CHECK_EQ(s.n, 0);
    CHECK_EQ(body(H2_HEADERS, H2_PADDED, "\4\0\0\0", 4, &s, &depends), H2_PROTOCOL_ERROR); /* §6.2 */
    CHECK_EQ(body(H2_HEADERS, H2_PADDED, "", 0, &s, &depends), H2_FRAME_SIZE_ERROR);
    CHECK_EQ(body(H2_HEADERS, H2_WITH_PRIORITY, "\0\0\0\1", 4, &s, &depends), H2_FRAME_SIZE_ERROR);
}

TEST(settings_have_ranges) { /* §6.5.2, RFC 8441 §3, RFC 9218 §2.1 */
    CHECK_EQ(http2_setting_check(H2_ENABLE_PUSH, 1, false), 0);
    CHECK_EQ(http2_setting_check(H2_ENABLE_PUSH, 2, false), H2_PROTOCOL_ERROR);
    CHECK_EQ(http2_setting_check(H2_ENABLE_PUSH, 1, true), H2_PROTOCOL_ERROR);
    CHECK_EQ(http2_setting_check(H2_ENABLE_PUSH, 0, true), 0);
    CHECK_EQ(http2_setting_check(H2_INITIAL_WINDOW_SIZE, 0x7fffffff, false), 0);
    CHECK_EQ(http2_setting_check(H2_INITIAL_WINDOW_SIZE, 0x80000000, false), H2_FLOW_CONTROL_ERROR);
    CHECK_EQ(http2_setting_check(H2_MAX_FRAME_SIZE, 16383, false), H2_PROTOCOL_ERROR);
    CHECK_EQ(http2_setting_check(H2_MAX_FRAME_SIZE, 16384, false), 0);
    CHECK_EQ(http2_setting_check(H2_MAX_FRAME_SIZE, 16777215, false), 0);
    CHECK_EQ(http2_setting_check(H2_MAX_FRAME_SIZE, 16777216, false), H2_PROTOCOL_ERROR);
    CHECK_EQ(http2_setting_check(H2_ENABLE_CONNECT_PROTOCOL, 2, true), H2_PROTOCOL_ERROR);
    CHECK_EQ(http2_setting_check(H2_NO_RFC7540_PRIORITIES, 2, true), H2_PROTOCOL_ERROR);
    CHECK_EQ(http2_setting_check(0xfafa, 0xffffffff, true), 0);
}

/* ---- messages ---- */

static struct http_field fields[64];
static uint8_t strings[4096];
static struct http_head h;

/* "name=value" each, up to NULL; "\n" separates nothing: values may be empty. */
static uint32_t list(const char *const *lines) {
    uint32_t n = 0;
    for (; lines[n]; n++) {
        const char *eq = strchr(lines[n] + 1, '=');
        fields[n] = (struct http_field){.name = slice_of(lines[n], (size_t)(eq - lines[n])),
                                        .value = slice_of(eq + 1, strlen(eq + 1))};
        enum http_name id = http_name_find(fields[n].name.p, fields[n].name.n);
        fields[n].id = slice_eq(http_name_text(id), fields[n].name) ? (uint8_t)id : HN_OTHER; /* as hpack_decode */
    }
    return n;
}

static enum http2_malformed request_of(const char *const *lines, bool end, bool extended) {
    struct hpack_arena arena = {strings, sizeof strings, 0};
    return http2_request(fields, list(lines), countof(fields), end, extended, &arena, &h);
}

#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define REQUEST(...) request_of(LINES(__VA_ARGS__), true, false)
#define GET ":method=GET", ":scheme=http", ":path=/", ":authority=a.example"

TEST(a_request_becomes_a_head) {
    CHECK_EQ(
        REQUEST(":method=GET", ":authority=a.example:81", ":scheme=https", ":path=/x?y", "accept=*/*", "te=trailers"),
        0);
    CHECK_EQ(h.method, HTTP_GET);
    CHECK_EQ(h.version, 20);
    CHECK_EQ(h.body, HTTP_NO_BODY);
    CHECK_EQ(h.count, 2);
    CHECK(h.te_trailers);
    CHECK_BYTES(h.authority.p, h.authority.n, "a.example:81", 12);
    CHECK_BYTES(h.path.p, h.path.n, "/x?y", 4);
    CHECK_BYTES(h.scheme.p, h.scheme.n, "https", 5);
    CHECK_EQ(request_of(LINES(GET, "content-length=12"), false, false), 0);
    CHECK_EQ(h.body, HTTP_LENGTH);
    CHECK_EQ(h.length, 12);
    CHECK_EQ(request_of(LINES(GET), false, false), 0);
    CHECK_EQ(h.body, HTTP_CHUNKED);
}

TEST(field_names_are_lower_case_tokens) { /* §8.2.1 */
    static const char *const bad[] = {"Accept=x", "aCcept=x", "a b=x", "a\x01=x",
                                      "a\x7f=x",  "a\x80=x",  "a:b=x", "a(=x"};
    for (size_t i = 0; i < countof(bad); i++) CHECK_EQ(REQUEST(GET, bad[i]), H2M_NAME);
    CHECK_EQ(REQUEST(GET, "x-!#$%&'*+.^_`|~9=x"), 0);
    struct http_field none[] = {{.name = SLICE("")}};
    CHECK_EQ(http2_trailers(none, 1), H2M_NAME);
}

TEST(field_values_have_no_controls_and_no_outer_space) { /* §8.2.1 */
    static const char *const bad[] = {"a=\rx", "a=x\n", "a=x\ny", "a= x", "a=x ", "a=\tx", "a=x\t"};
    for (size_t i = 0; i < countof(bad); i++) CHECK_EQ(REQUEST(GET, bad[i]), H2M_VALUE);
    CHECK_EQ(REQUEST(GET, "a=", "b=x\ty z\xff"), 0);
    struct http_field nul[] = {{.name = SLICE("a"), .value = SLICE("x\0y")}};
    CHECK_EQ(http2_trailers(nul, 1), H2M_VALUE);
}

TEST(fields_of_the_connection_are_malformed) { /* §8.2.2 */
    static const char *const bad[] = {
        "connection=close",          "connection=keep-alive", "keep-alive=1", "proxy-connection=x",
        "transfer-encoding=chunked", "upgrade=h2c",           "te=gzip",      "te=trailers, gzip"};
    for (size_t i = 0; i < countof(bad); i++) CHECK_EQ(REQUEST(GET, bad[i]), H2M_HOP);
}

TEST(pseudo_fields_come_first_once_and_are_known) { /* §8.3 */
    CHECK_EQ(REQUEST(GET, ":x=y"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(GET, ":status=200"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(GET, ":path=/"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(GET, ":method=GET"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":authority=a", "x=y", ":path=/"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":scheme=http", ":path=/", ":authority=a"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=GET", ":path=/", ":authority=a"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":authority=a"), H2M_PSEUDO);
    CHECK_EQ(REQUEST("x=y"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(GET, ":protocol=websocket"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=G T", ":scheme=http", ":path=/", ":authority=a"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=ht tp", ":path=/", ":authority=a"), H2M_PSEUDO);
    CHECK_EQ(http2_request(fields, 0, 64, true, false, NULL, &h), H2M_PSEUDO);
}

TEST(paths_are_absolute) { /* §8.3.1 */
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=", ":authority=a"), H2M_PATH);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=x", ":authority=a"), H2M_PATH);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=*", ":authority=a"), H2M_PATH);
    CHECK_EQ(REQUEST(":method=OPTIONS", ":scheme=http", ":path=*", ":authority=a"), 0);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=/a b", ":authority=a"), H2M_PATH);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=/a\rb", ":authority=a"), H2M_PATH);
}

TEST(authority_and_host_name_the_same) { /* §8.3.1 */
    CHECK_EQ(REQUEST(GET, "host=A.example"), 0);
    CHECK_EQ(h.count, 0);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=/", "host=b", "x=y"), 0);
    CHECK_BYTES(h.authority.p, h.authority.n, "b", 1);
    CHECK_EQ(h.count, 1);
    CHECK_EQ(REQUEST(GET, "host=b"), H2M_AUTHORITY);
    CHECK_EQ(REQUEST(GET, "host=a.example", "host=a.example"), H2M_AUTHORITY);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=/"), H2M_AUTHORITY);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=/", ":authority="), H2M_AUTHORITY);
    CHECK_EQ(REQUEST(":method=GET", ":scheme=http", ":path=/", ":authority=u@a"), H2M_AUTHORITY);
}

TEST(connect_has_its_own_form) { /* §8.5, RFC 8441 §4 */
    CHECK_EQ(request_of(LINES(":method=CONNECT", ":authority=a:443"), false, false), 0);
    CHECK_EQ(h.path.n, 0);
    CHECK_EQ(REQUEST(":method=CONNECT", ":authority=a:443", ":path=/"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=CONNECT", ":authority=a:443", ":scheme=http"), H2M_PSEUDO);
    CHECK_EQ(REQUEST(":method=CONNECT"), H2M_PSEUDO);
    const char *const *ws =
        LINES(":method=CONNECT", ":protocol=websocket", ":scheme=http", ":path=/chat", ":authority=a");
    CHECK_EQ(request_of(ws, false, false), H2M_PSEUDO);
    CHECK_EQ(request_of(ws, false, true), 0);
    CHECK_BYTES(h.upgrade.p, h.upgrade.n, "websocket", 9);
    CHECK_EQ(request_of(LINES(":method=CONNECT", ":protocol=websocket", ":authority=a"), false, true), H2M_PSEUDO);
    CHECK_EQ(request_of(LINES(GET, ":protocol=websocket"), false, true), H2M_PSEUDO);
}

TEST(content_length_is_one_number) { /* §8.1.1 */
    static const char *const bad[] = {"content-length=",  "content-length=-1",  "content-length=+1",
                                      "content-length=x", "content-length=1,1", "content-length=1234567890123456789"};
    for (size_t i = 0; i < countof(bad); i++) CHECK_EQ(request_of(LINES(GET, bad[i]), false, false), H2M_LENGTH);
    CHECK_EQ(request_of(LINES(GET, "content-length=1", "content-length=1"), false, false), H2M_LENGTH);
    CHECK_EQ(REQUEST(GET, "content-length=1"), H2M_LENGTH);
    CHECK_EQ(REQUEST(GET, "content-length=0"), 0);
}

TEST(cookie_crumbs_become_one_cookie) { /* §8.2.3 */
    CHECK_EQ(REQUEST(GET, "a=1", "cookie=x=1", "b=2", "cookie=y=2", "cookie=z=3", "c=3"), 0);
    CHECK_EQ(h.count, 4);
    CHECK_EQ(h.fields[1].id, HN_COOKIE);
    CHECK_BYTES(h.fields[1].value.p, h.fields[1].value.n, "x=1; y=2; z=3", 13);
    CHECK_BYTES(h.fields[3].name.p, h.fields[3].name.n, "c", 1);
    struct hpack_arena small = {strings, 12, 0};
    uint32_t n = list(LINES(GET, "cookie=x=1", "cookie=y=23456"));
    CHECK_EQ(http2_request(fields, n, countof(fields), true, false, &small, &h), H2M_NO_ROOM);
}

static enum http2_malformed response_of(const char *const *lines, uint8_t method, bool end) {
    h.method = method;
    return http2_response(fields, list(lines), countof(fields), end, &h);
}

TEST(a_response_has_one_status_of_three_digits) { /* §8.3.2 */
    CHECK_EQ(response_of(LINES(":status=200", "a=b"), HTTP_GET, false), 0);
    CHECK_EQ(h.status, 200);
    CHECK_EQ(h.count, 1);
    CHECK_EQ(h.method, HTTP_GET);
    CHECK_EQ(response_of(LINES("a=b"), HTTP_GET, false), H2M_PSEUDO);
    CHECK_EQ(response_of(LINES("a=b", ":status=200"), HTTP_GET, false), H2M_PSEUDO);
    CHECK_EQ(response_of(LINES(":status=200", ":status=200"), HTTP_GET, false), H2M_PSEUDO);
    CHECK_EQ(response_of(LINES(":status=200", ":path=/"), HTTP_GET, false), H2M_PSEUDO);
    static const char *const bad[] = {":status=20",  ":status=2000", ":status=2x0",
                                      ":status=099", ":status=",     ":status=101"};
    for (size_t i = 0; i < countof(bad); i++) CHECK_EQ(response_of(LINES(bad[i]), HTTP_GET, false), H2M_PSEUDO);
    CHECK_EQ(response_of(LINES(":status=100"), HTTP_GET, false), 0);
    CHECK_EQ(response_of(LINES(":status=100"), HTTP_GET, true), H2M_PSEUDO);
}

TEST(a_response_without_body_may_announce_a_length) {
    CHECK_EQ(response_of(LINES(":status=200", "content-length=5"), HTTP_GET, true), H2M_LENGTH);
    CHECK_EQ(response_of(LINES(":status=200", "content-length=5"), HTTP_HEAD, true), 0);
    CHECK_EQ(response_of(LINES(":status=304", "content-length=5"), HTTP_GET, true), 0);
    CHECK_EQ(response_of(LINES(":status=200", "connection=close"), HTTP_GET, true), H2M_HOP);
}

TEST(trailers_have_no_pseudo_fields_and_frame_nothing) { /* §8.1, RFC 9110 §6.5.1 */
    CHECK_EQ(http2_trailers(fields, list(LINES("grpc-status=0", "content-length=5", "host=x"))), 0);
    CHECK(!fields[0].drop);
    CHECK(fields[1].drop);
    CHECK(fields[2].drop);
    CHECK_EQ(http2_trailers(fields, list(LINES("a=b", ":status=200"))), H2M_PSEUDO);
    CHECK_EQ(http2_trailers(fields, list(LINES("A=b"))), H2M_NAME);
    CHECK_EQ(http2_trailers(fields, list(LINES("connection=x"))), H2M_HOP);
}

int main(void) {
    RUN(a_frame_head_is_read_as_it_was_written);
    RUN(the_reserved_bit_is_ignored);
    RUN(longer_frames_than_announced_break_the_connection);
    RUN(each_type_belongs_to_a_stream_or_to_the_connection);
    RUN(sizes_are_what_the_type_says);
    RUN(padding_and_priority_are_taken_off);
    RUN(settings_have_ranges);
    RUN(a_request_becomes_a_head);
    RUN(field_names_are_lower_case_tokens);
    RUN(field_values_have_no_controls_and_no_outer_space);
    RUN(fields_of_the_connection_are_malformed);
    RUN(pseudo_fields_come_first_once_and_are_known);
    RUN(paths_are_absolute);
    RUN(authority_and_host_name_the_same);
    RUN(connect_has_its_own_form);
    RUN(content_length_is_one_number);
    RUN(cookie_crumbs_become_one_cookie);
    RUN(a_response_has_one_status_of_three_digits);
    RUN(a_response_without_body_may_announce_a_length);
    RUN(trailers_have_no_pseudo_fields_and_frame_nothing);
    return 0;
}
