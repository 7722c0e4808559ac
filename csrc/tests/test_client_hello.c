#include "check.h"

#include "../core/client_hello.h"

/* ---- a ClientHello, put together piece by piece ---- */

static uint8_t wire[1 << 17];
static size_t wire_size;

static void put(const void *p, size_t n) { memcpy(wire + wire_size, p, n), wire_size += n; }
static void put_number(size_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) wire[wire_size++] = (uint8_t)(v >> (8 * i));
}

/* A name list of `names` entries of one name; `padding`: bytes of another extension before it. */
static size_t make_message(uint8_t *to, const char *name, int names, size_t padding) {
    wire_size = 0;
    size_t n = name ? strlen(name) : 0, list = (n + 3) * (size_t)names,
           extensions = 4 + padding + (name ? 4 + 2 + list : 0);
    put_number(1, 1), put_number(2 + 32 + 1 + 32 + 2 + 4 + 2 + 2 + extensions, 3);
    put_number(0x0303, 2);
    for (int i = 0; i < 32; i++) put_number((size_t)i, 1);
    put_number(32, 1);
    for (int i = 0; i < 32; i++) put_number(0xaa, 1);
    put_number(4, 2), put_number(0x13011302, 4);
    put_number(1, 1), put_number(0, 1);
    put_number(extensions, 2);
    put_number(21, 2), put_number(padding, 2);
    for (size_t i = 0; i < padding; i++) put_number(0, 1);
    if (name) {
        put_number(0, 2), put_number(2 + list, 2), put_number(list, 2);
        for (int i = 0; i < names; i++) put_number(0, 1), put_number(n, 2), put(name, n);
    }
    memcpy(to, wire, wire_size);
    return wire_size;
}

/* In records of at most `piece` bytes; the result is in `wire`. */
static size_t make_records(const uint8_t *message, size_t n, size_t piece) {
    wire_size = 0;
    for (size_t at = 0; at < n; at += piece) {
        size_t part = min_size(piece, n - at);
        put_number(22, 1), put_number(0x0301, 2), put_number(part, 2), put(message + at, part);
    }
    return wire_size;
}

static uint8_t message[1 << 16];

static enum hello read_as(const char *name, int names, size_t padding, size_t piece, struct client_hello *out) {
    size_t n = make_message(message, name, names, padding);
    n = make_records(message, n, piece);
    return client_hello_read(guarded(wire, n), n, out);
}

/* ---- tests ---- */

TEST(the_name_is_found) {
    struct client_hello hello;
    CHECK_EQ(read_as("shop.example.com", 1, 0, 16384, &hello), HELLO_GOOD);
    CHECK_STR(hello.sni, "shop.example.com");
    CHECK_EQ(hello.sni_size, 16);
}

TEST(case_and_the_last_dot_make_no_difference) {
    struct client_hello hello;
    CHECK_EQ(read_as("Shop.EXAMPLE.com.", 1, 0, 16384, &hello), HELLO_GOOD);
    CHECK_STR(hello.sni, "shop.example.com");
}

TEST(without_a_name_there_is_none) {
    struct client_hello hello;
    CHECK_EQ(read_as(NULL, 0, 100, 16384, &hello), HELLO_GOOD);
    CHECK_EQ(hello.sni_size, 0);
    CHECK_STR(hello.sni, "");
}

TEST(records_may_be_small) {
    struct client_hello hello;
    for (size_t piece = 1; piece < 40; piece++) {
        CHECK_EQ(read_as("a.example.com", 1, 300, piece, &hello), HELLO_GOOD);
        CHECK_STR(hello.sni, "a.example.com");
    }
}

TEST(every_prefix_wants_more) {
    struct client_hello hello;
    size_t pieces[] = {1, 7, 16384};
    for (size_t k = 0; k < countof(pieces); k++) {
        size_t n = make_message(message, "a.example.com", 1, 30), all = make_records(message, n, pieces[k]);
        for (size_t have = 0; have < all; have++)
            CHECK_EQ(client_hello_read(guarded(wire, have), have, &hello), HELLO_MORE);
        CHECK_EQ(client_hello_read(guarded(wire, all), all, &hello), HELLO_GOOD);
    }
}

TEST(what_follows_is_not_looked_at) {
    struct client_hello hello;
    size_t n = make_records(message, make_message(message, "a.b", 1, 0), 16384);
    memcpy(wire + n, "\x17\x03\x03\xff\xff", 5);
    CHECK_EQ(client_hello_read(wire, n + 5, &hello), HELLO_GOOD);
}

TEST(names_that_are_none_are_refused) {
    struct client_hello hello;
    char longest[300];
    memset(longest, 'a', sizeof longest), longest[255] = 0;
    CHECK_EQ(read_as(longest, 1, 0, 16384, &hello), HELLO_GOOD);
    CHECK_EQ(hello.sni_size, 255);
    longest[255] = 'a', longest[256] = 0;
    CHECK_EQ(read_as(longest, 1, 0, 16384, &hello), HELLO_BAD);
    CHECK_EQ(read_as("", 1, 0, 16384, &hello), HELLO_BAD);
    CHECK_EQ(read_as(".", 1, 0, 16384, &hello), HELLO_BAD);
    CHECK_EQ(read_as("a b", 1, 0, 16384, &hello), HELLO_BAD);
    CHECK_EQ(read_as("a\x80", 1, 0, 16384, &hello), HELLO_BAD);
    CHECK_EQ(read_as("a.b", 2, 0, 16384, &hello), HELLO_BAD); /* RFC 6066: no two of a type */
}

TEST(size_is_bounded) {
    struct client_hello hello;
    CHECK_EQ(read_as("a.b", 1, CLIENT_HELLO_MAX - 200, 16384, &hello), HELLO_GOOD);
    CHECK_EQ(read_as("a.b", 1, CLIENT_HELLO_MAX, 16384, &hello), HELLO_BAD);
    CHECK_EQ(read_as("a.b", 1, CLIENT_HELLO_MAX - 200, 1, &hello), HELLO_GOOD); /* whole: it is there anyway */
    size_t n = make_records(message, make_message(message, "a.b", 1, CLIENT_HELLO_MAX - 200), 1);
    CHECK_EQ(client_hello_read(wire, n - 1, &hello), HELLO_BAD); /* but is not waited for in crumbs */
    CHECK_EQ(client_hello_read((const uint8_t *)"\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9, &hello), HELLO_BAD);
}

/* Every byte changed to a few others: never more than a wrong answer. */
TEST(broken_bytes_break_nothing) {
    struct client_hello hello;
    size_t n = make_records(message, make_message(message, "a.example.com", 1, 20), 100);
    static const uint8_t flips[] = {0xff, 0x01, 0x80, 0x7f};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < countof(flips); k++) {
            wire[i] ^= flips[k];
            client_hello_read(guarded(wire, n), n, &hello);
            CHECK(hello.sni_size <= SNI_MAX && hello.sni[hello.sni_size] == 0);
            wire[i] ^= flips[k];
        }
}

TEST(other_protocols_are_told_apart) {
    CHECK_EQ(client_hello_begins((const uint8_t *)"", 0), HELLO_MORE);
    CHECK_EQ(client_hello_begins((const uint8_t *)"\x16", 1), HELLO_MORE);
    CHECK_EQ(client_hello_begins((const uint8_t *)"\x16\x03", 2), HELLO_MORE);
    CHECK_EQ(client_hello_begins((const uint8_t *)"\x16\x03\x01", 3), HELLO_GOOD);
    CHECK_EQ(client_hello_begins((const uint8_t *)"\x16\x03\x05", 3), HELLO_BAD);
    CHECK_EQ(client_hello_begins((const uint8_t *)"\x16\x16", 2), HELLO_BAD);
    CHECK_EQ(client_hello_begins((const uint8_t *)"G", 1), HELLO_BAD);
    CHECK_EQ(client_hello_begins((const uint8_t *)"*1\r\n", 4), HELLO_BAD);
    CHECK_EQ(client_hello_begins((const uint8_t *)"PRI ", 4), HELLO_BAD);
}

int main(void) {
    RUN(the_name_is_found);
    RUN(case_and_the_last_dot_make_no_difference);
    RUN(without_a_name_there_is_none);
    RUN(records_may_be_small);
    RUN(every_prefix_wants_more);
    RUN(what_follows_is_not_looked_at);
    RUN(names_that_are_none_are_refused);
    RUN(size_is_bounded);
    RUN(broken_bytes_break_nothing);
    RUN(other_protocols_are_told_apart);
    return 0;
}
