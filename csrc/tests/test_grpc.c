/* gRPC's texts and numbers, and base64 cut at every place. */
#include "check.h"
#include "../codecs/grpc.h"
#include "../core/stream.h"

static struct slice text(const char *s) { return slice_of(s, strlen(s)); }

TEST(timeouts_are_read) {
    static const struct {
        const char *value;
        int64_t us;
    } cases[] = {
        {"1H", 3600000000},
        {"2M", 120000000},
        {"3S", 3000000},
        {"4m", 4000},
        {"5u", 5},
        {"6000n", 6},
        {"999n", 0},
        {"0S", 0},
        {"00000010S", 10000000},
        {"99999999H", 359999996400000000},
        {"99999999n", 99999},
        {"", -1},
        {"S", -1},
        {"1", -1},
        {"1s", -1},
        {"1h", -1},
        {"100000000S", -1},
        {"-1S", -1},
        {"1.5S", -1},
        {" 1S", -1},
        {"1S ", -1},
        {"1SS", -1},
        {"1 S", -1},
        {"+1S", -1},
        {"0x1S", -1},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        size_t n = strlen(cases[i].value);
        check_test = cases[i].value;
        CHECK_EQ(grpc_timeout_us(slice_of(guarded(cases[i].value, n), n)), cases[i].us);
    }
}

TEST(messages_are_percent_encoded) {
    uint8_t to[64];
    struct slice s = grpc_message_encode(text("no route: 100% of /a b~"), to, sizeof to);
    CHECK_BYTES(s.p, s.n, "no route: 100%25 of /a b~", 25);
    s = grpc_message_encode(text("a\r\n\xc3\xa9\x7f\x01"), to, sizeof to);
    CHECK_BYTES(s.p, s.n, "a%0D%0A%C3%A9%7F%01", 19);
    s = grpc_message_encode(text(""), to, sizeof to);
    CHECK_EQ(s.n, 0);
    for (size_t cap = 0; cap < 8; cap++) { /* never within an escape */
        s = grpc_message_encode(text("x\ny"), guarded(to, cap), cap);
        CHECK_EQ(s.n, cap < 1 ? 0 : cap < 4 ? 1 : cap < 5 ? 4 : 5);
    }
    s = grpc_message_encode(text("cut here"), to, 4);
    CHECK_BYTES(s.p, s.n, "cut", 3); /* no blank at the end of a field */
}

TEST(http_statuses_have_grpc_codes) {
    static const struct {
        uint16_t status;
        uint32_t code;
    } cases[] = {
        {400, GRPC_INTERNAL},    {401, GRPC_UNAUTHENTICATED}, {403, GRPC_PERMISSION_DENIED}, {404, GRPC_UNIMPLEMENTED},
        {429, GRPC_UNAVAILABLE}, {502, GRPC_UNAVAILABLE},     {503, GRPC_UNAVAILABLE},       {504, GRPC_UNAVAILABLE},
        {200, GRPC_UNKNOWN},     {301, GRPC_UNKNOWN},         {418, GRPC_UNKNOWN},           {500, GRPC_UNKNOWN},
    };
    for (size_t i = 0; i < countof(cases); i++) CHECK_EQ(grpc_status_of_http(cases[i].status), cases[i].code);
}

TEST(failures_have_grpc_codes) {
    CHECK_EQ(grpc_status_of_failure(FAIL_TIMEOUT), GRPC_DEADLINE_EXCEEDED);
    CHECK_EQ(grpc_status_of_failure(FAIL_NO_ROUTE), GRPC_UNIMPLEMENTED);
    CHECK_EQ(grpc_status_of_failure(FAIL_DENIED), GRPC_PERMISSION_DENIED);
    CHECK_EQ(grpc_status_of_failure(FAIL_RATE_LIMITED), GRPC_RESOURCE_EXHAUSTED);
    CHECK_EQ(grpc_status_of_failure(FAIL_CLIENT_GONE), GRPC_CANCELLED);
    for (unsigned why = FAIL_NONE + 1; why < FAILURE_COUNT; why++) {
        uint32_t code = grpc_status_of_failure((enum failure)why);
        CHECK(code > GRPC_OK && code <= GRPC_UNAUTHENTICATED);
    }
}

TEST(statuses_blame_one_side) {
    CHECK_EQ(grpc_stream_status(text("0")), STATUS_OK);
    CHECK_EQ(grpc_stream_status(text("3")), STATUS_CLIENT_ERROR);
    CHECK_EQ(grpc_stream_status(text("5")), STATUS_CLIENT_ERROR);
    CHECK_EQ(grpc_stream_status(text("13")), STATUS_SERVER_ERROR);
    CHECK_EQ(grpc_stream_status(text("14")), STATUS_SERVER_ERROR);
    CHECK_EQ(grpc_stream_status(text("16")), STATUS_CLIENT_ERROR);
    static const char *const odd[] = {"", "17", "99", "100", "x", "!", "1x", "-1", "\xff\xff"};
    for (size_t i = 0; i < countof(odd); i++) CHECK_EQ(grpc_stream_status(text(odd[i])), STATUS_SERVER_ERROR);
}

/* ---- base64 ---- */

static const struct {
    const char *plain, *coded;
} rfc4648[] = {
    /* §10 */
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
    {"\xff\xef\xbe", "/+++"},
};

TEST(base64_is_that_of_the_rfc_cut_anywhere) {
    uint8_t to[64];
    for (size_t i = 0; i < countof(rfc4648); i++) {
        size_t n = strlen(rfc4648[i].plain), coded = strlen(rfc4648[i].coded);
        for (size_t cut = 0; cut <= n; cut++) {
            struct base64 b = {0};
            size_t k = base64_encode(&b, guarded(rfc4648[i].plain, cut), cut, to);
            k += base64_encode(&b, guarded(rfc4648[i].plain + cut, n - cut), n - cut, to + k);
            k += base64_finish(&b, to + k);
            CHECK_BYTES(to, k, rfc4648[i].coded, coded);
            CHECK(k <= base64_bound(n) && b.count == 0);
        }
        for (size_t cut = 0; cut <= coded; cut++) {
            struct base64 b = {0};
            int64_t k = base64_decode(&b, guarded(rfc4648[i].coded, cut), cut, guarded(to, cut));
            CHECK(k >= 0 && (size_t)k <= cut);
            int64_t more = base64_decode(&b, guarded(rfc4648[i].coded + cut, coded - cut), coded - cut, to);
            CHECK_EQ(k + more, n);
            CHECK(memcmp(to, rfc4648[i].plain + k, (size_t)more) == 0);
            CHECK_EQ(b.count, 0);
        }
    }
}

TEST(base64_of_messages_one_behind_the_other) {
    struct base64 b = {0};
    uint8_t to[64];
    int64_t n = base64_decode(&b, (const uint8_t *)"Zg==Zm8=Zm9v", 12, to);
    CHECK_EQ(n, 6);
    CHECK(memcmp(to, "ffofoo", 6) == 0);
}

TEST(what_is_no_base64_is_refused) {
    static const char *const broken[] = {
        "=", "A=", "A===", "====", "AA=A", "Zg==Z===", "AA-A", "AA_A", "AA A", "AA\n", "\x80"};
    uint8_t to[64];
    for (size_t i = 0; i < countof(broken); i++) {
        struct base64 b = {0};
        check_test = broken[i];
        CHECK_EQ(base64_decode(&b, (const uint8_t *)broken[i], strlen(broken[i]), to), -1);
    }
}

TEST(random_bytes_come_back) {
    static uint8_t plain[3000], coded[5000], back[5000];
    uint64_t dice = 11;
    for (int round = 0; round < 300; round++) {
        size_t n = rng_next(&dice) % sizeof plain, k = 0, got = 0;
        for (size_t i = 0; i < n; i++) plain[i] = (uint8_t)(rng_next(&dice) >> 30);
        struct base64 e = {0}, d = {0};
        for (size_t at = 0, piece; at < n; at += piece) {
            piece = min_size(n - at, 1 + (rng_next(&dice) >> 20) % 700);
            k += base64_encode(&e, plain + at, piece, coded + k);
        }
        k += base64_finish(&e, coded + k);
        CHECK_EQ(k, (n + 2) / 3 * 4);
        for (size_t at = 0, piece; at < k; at += piece) {
            piece = min_size(k - at, 1 + (rng_next(&dice) >> 20) % 700);
            int64_t more = base64_decode(&d, coded + at, piece, back + got);
            CHECK(more >= 0);
            got += (size_t)more;
        }
        CHECK_BYTES(back, got, plain, n);
    }
}

int main(void) {
    RUN(timeouts_are_read);
    RUN(messages_are_percent_encoded);
    RUN(http_statuses_have_grpc_codes);
    RUN(failures_have_grpc_codes);
    RUN(statuses_blame_one_side);
    RUN(base64_is_that_of_the_rfc_cut_anywhere);
    RUN(base64_of_messages_one_behind_the_other);
    RUN(what_is_no_base64_is_refused);
    RUN(random_bytes_come_back);
    return 0;
}
