/* HPACK: the RFC's own examples, every error it names, the dynamic table against a model, heads that are too large, and what the
 * encoder writes. Blocks lie in front of a guard page. */
#include "check.h"
#include "../codecs/hpack_huffman.h"
#include "../codecs/hpack_table.h"

static uint8_t arena_bytes[1 << 16];
static struct http_field fields[64];
static uint32_t count;
static bool too_large;

static size_t from_hex(const char *text, uint8_t *to, size_t cap) {
    size_t digits = 0;
    for (; *text; text++) {
        if (*text == ' ') continue;
        unsigned v = *text <= '9' ? (unsigned)(*text - '0') : (unsigned)(*text - 'a' + 10);
        if (digits / 2 >= cap || v > 15) abort();
        to[digits / 2] = (uint8_t)(digits % 2 ? to[digits / 2] | v : v << 4);
        digits++;
    }
    return digits / 2;
}

static int decode_within(struct hpack_decoder *d, const void *p, size_t n, uint32_t arena, uint32_t bytes,
                         uint32_t most) {
    struct hpack_arena a = {arena_bytes, arena, 0};
    memset(arena_bytes, 0xee, sizeof arena_bytes);
    memset(fields, 1, sizeof fields); /* as another head, of HTTP/1 even, left them */
    return hpack_decode(d, guarded(p, n), n, &a, bytes, fields, most, &count, &too_large);
}

static int decode(struct hpack_decoder *d, const void *p, size_t n) {
    return decode_within(d, p, n, sizeof arena_bytes, 1 << 20, countof(fields));
}

static int decode_hex(struct hpack_decoder *d, const char *hex) {
    uint8_t block[1000];
    return decode(d, block, from_hex(hex, block, sizeof block));
}

/* "name: value\n" of every field. */
static const char *listed(void) {
    static char text[1 << 17];
    char *to = text;
    for (uint32_t i = 0; i < count; i++) {
        to = mempcpy(to, fields[i].name.p, fields[i].name.n), to = mempcpy(to, ": ", 2);
        to = mempcpy(to, fields[i].value.p, fields[i].value.n), *to++ = '\n';
    }
    *to = 0;
    return text;
}

/* ---- RFC 7541 appendix C ---- */

#define FIRST ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
#define THIRD \
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n"
#define PRIVATE "cache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n"
#define LAST                                                                                                         \
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n" \
    "content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"

struct example {
    const char *block, *list;
    uint32_t used; /* §4.1 size of the table behind it */
};
static const struct example c2[] = {
    {"400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header\n", 55},
    {"040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", 55},
    {"1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n", 55},
    {"82", ":method: GET\n", 55},
};
static const struct example c3[] = {
    {"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57},
    {"8286 84be 5808 6e6f 2d63 6163 6865", FIRST "cache-control: no-cache\n", 110},
    {"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD, 164},
};
static const struct example c4[] = {
    {"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57},
    {"8286 84be 5886 a8eb 1064 9cbf", FIRST "cache-control: no-cache\n", 110},
    {"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164},
};
static const struct example c5[] = {
    {"3fe1 01", "", 0},
    {"4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d "
     "546e"
     "1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
     ":status: 302\n" PRIVATE, 222},
    {"4803 3330 37c1 c0bf", ":status: 307\n" PRIVATE, 222},
    {"88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f "
     "6f3d"
     "4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 "
     "6572"
     "7369 6f6e 3d31",
     LAST, 215},
};
static const struct example c6[] = {
    {"3fe1 01", "", 0},
    {"4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 "
     "8f0b"
     "97c8 e9ae 82ae 43d3",
     ":status: 302\n" PRIVATE, 222},
    {"4883 640e ffc1 c0bf", ":status: 307\n" PRIVATE, 222},
    {"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 "
     "dfdf"
     "cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
     LAST, 215},
};

static void check_examples(const struct example *e, size_t n) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(decode_hex(d, e[i].block), 0);
        CHECK_STR(listed(), e[i].list);
        CHECK_EQ(d->used, e[i].used);
    }
    hpack_decoder_free(d);
}

TEST(examples_of_appendix_c_decode) {
    check_examples(c2, countof(c2));
    check_examples(c3, countof(c3));
    check_examples(c4, countof(c4));
    check_examples(c5, countof(c5));
    check_examples(c6, countof(c6));
}

TEST(integers_of_appendix_c_1) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    CHECK_EQ(decode_hex(d, "2a"), 0);
    CHECK_EQ(d->limit, 10);
    CHECK_EQ(decode_hex(d, "3f9a0a"), 0);
    CHECK_EQ(d->limit, 1337);
    CHECK_EQ(decode_hex(d, "3f9a8a808000"), 0); /* zeros behind are allowed, up to what a limit needs */
    CHECK_EQ(decode_hex(d, "3f8000"), 0);
    CHECK_EQ(d->limit, 31);
    hpack_decoder_free(d);
}

TEST(static_entries_have_ids) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    for (uint8_t i = 1; i <= HPACK_STATIC; i++) {
        uint8_t block = 0x80 | i;
        CHECK_EQ(decode(d, &block, 1), 0);
        CHECK_EQ(count, 1);
        CHECK_EQ(fields[0].id, http_name_find(fields[0].name.p, fields[0].name.n));
        CHECK_EQ(fields[0].name.p[0] == ':', i < 15);
    }
    hpack_decoder_free(d);
}

/* ---- what is refused ---- */

TEST(broken_blocks_are_refused) {
    static const struct {
        const char *why, *block;
    } broken[] = {
        {"§6.1: index 0", "80"},
        {"§2.3.3: index behind both tables", "be"},
        {"the same, in several bytes", "ff00"},
        {"name's index behind both tables, indexed", "7e00"},
        {"name's index behind both tables", "0f2f00"},
        {"name's index behind both tables, never indexed", "1f2f00"},
        {"§4.2: size update behind a field", "8220"},
        {"§6.3: size over the announced one", "3fe21f"},
        {"§5.1: integer that has no end", "ff8080808080808080808000"},
        {"§5.1: integer over 32 bits", "ffffffffff7f"},
        {"§5.1: integer over 31 bits", "ff80ffffff0f"},
        {"§5.1: string longer than any", "007fffffffffffffffffff7f"},
        {"name longer than the block", "000361"},
        {"value longer than the block", "0001610261"},
        {"§5.2: EOS in a string", "000161 84ffffffff"},
        {"EOS behind a symbol", "000161 851fffffffff"},
        {"§5.2: padding of eight bits", "000161 821fff"},
        {"a byte of padding alone", "000161 81ff"},
        {"§5.2: padding of zeros", "000161 8118"},
        {"padding with one zero", "000161 811e"},
        {"all of it in a name", "0081ff00"},
        {"in a name to be indexed", "4081ff00"},
    };
    for (size_t i = 0; i < countof(broken); i++) {
        struct hpack_decoder *d = hpack_decoder_new(4096);
        check_test = broken[i].why;
        CHECK_EQ(decode_hex(d, broken[i].block), HPACK_BROKEN);
        hpack_decoder_free(d);
        /* and in a head that is too large */
        uint8_t block[100] = {0x82, 0x82};
        size_t n = from_hex(broken[i].block, block + 2, sizeof block - 2);
        d = hpack_decoder_new(4096);
        CHECK_EQ(decode_within(d, block, n + 2, 100, 1000, 1), HPACK_BROKEN);
        hpack_decoder_free(d);
    }
}

TEST(no_beginning_of_a_field_is_a_block) {
    static const char *const whole[] = {
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        "1008 7061 7373 776f 7264 0673 6563 7265 74",
        "418c f1e3 c2e5 f23a 6ba0 ab90 f4ff",
        "4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        "3f9a0a",
        "0f0d 03 616263",
    };
    uint8_t block[100];
    for (size_t i = 0; i < countof(whole); i++) {
        size_t n = from_hex(whole[i], block, sizeof block);
        for (size_t cut = 1; cut <= n; cut++) {
            struct hpack_decoder *d = hpack_decoder_new(4096);
            CHECK_EQ(decode(d, block, cut), cut == n ? 0 : HPACK_BROKEN);
            hpack_decoder_free(d);
        }
    }
}

TEST(upper_case_names_have_no_id) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    CHECK_EQ(decode_hex(d, "4006 436f 6f6b 6965 0161  4006 636f 6f6b 6965 0161 bf be"), 0);
    CHECK_STR(listed(), "Cookie: a\ncookie: a\nCookie: a\ncookie: a\n");
    CHECK_EQ(fields[0].id, HN_OTHER);
    CHECK_EQ(fields[1].id, HN_COOKIE);
    CHECK_EQ(fields[2].id, HN_OTHER);
    CHECK_EQ(fields[3].id, HN_COOKIE);
    hpack_decoder_free(d);
}

/* ---- the dynamic table ---- */

TEST(an_update_evicts_and_a_smaller_announcement_asks_for_one) {
    struct hpack_decoder *d = hpack_decoder_new(100);
    CHECK_EQ(decode_hex(d, "3fe11f 4001610162 4001630164"), 0); /* 4096: it may not know of the 100 yet */
    CHECK_EQ(d->used, 68);
    CHECK_EQ(decode_hex(d, "3f0b bf"), HPACK_BROKEN); /* 42: the older one is gone */
    CHECK_EQ(decode_hex(d, "be"), 0);
    CHECK_STR(listed(), "c: d\n");
    CHECK_EQ(decode_hex(d, "3fe11f"), 0);
    hpack_decoder_acknowledged(d);
    CHECK_EQ(decode_hex(d, "be"), HPACK_BROKEN);
    CHECK_EQ(decode_hex(d, "3f46 be"), HPACK_BROKEN); /* 101 */
    CHECK_EQ(decode_hex(d, "20 3f45"), 0);            /* 0, then 100 */
    CHECK_EQ(decode_hex(d, "be"), HPACK_BROKEN);
    CHECK_EQ(decode_hex(d, "82"), 0);
    hpack_decoder_free(d);
    d = hpack_decoder_new(0);
    hpack_decoder_acknowledged(d);
    CHECK_EQ(decode_hex(d, "20 4001610162"), 0);
    CHECK_EQ(d->used, 0);
    CHECK_EQ(decode_hex(d, "21"), HPACK_BROKEN);
    hpack_decoder_free(d);
}

TEST(an_entry_larger_than_the_table_empties_it) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    CHECK_EQ(decode_hex(d, "3f03 4001610162"), 0); /* 34 bytes, as that entry counts */
    CHECK_EQ(d->count, 1);
    CHECK_EQ(decode_hex(d, "4001610262 63"), 0);
    CHECK_STR(listed(), "a: bc\n");
    CHECK_EQ(d->count, 0);
    hpack_decoder_free(d);
}

TEST(a_name_outlives_its_entry) {
    for (uint32_t most = 0; most < 8; most++) { /* too large at any place: the table is the same */
        struct hpack_decoder *d = hpack_decoder_new(4096);
        uint8_t block[100];
        size_t n =
            from_hex("3f09 4004 6e616d65 0431323334 7e0435363738 7e0439303132", block, sizeof block); /* limit 40 */
        CHECK_EQ(decode_within(d, block, n, 1000, 1000, most), 0);
        CHECK_EQ(too_large, most < 3);
        CHECK_EQ(d->count, 1);
        CHECK_EQ(decode_hex(d, "be"), 0);
        CHECK_STR(listed(), "name: 9012\n");
        hpack_decoder_free(d);
    }
}

/* The table as a plain list, newest first. */
#define MODEL_MAX 200
struct model {
    struct {
        uint8_t name[300], value[600];
        size_t name_size, value_size;
    } entries[MODEL_MAX];
    uint32_t count, used, limit;
};
static struct model model;

static void model_evict(uint32_t size) {
    while (model.used > size) {
        model.count--;
        model.used -= (uint32_t)(model.entries[model.count].name_size + model.entries[model.count].value_size + 32);
    }
}

static uint64_t dice = 7;
static size_t roll(size_t n) { return (size_t)(rng_next(&dice) >> 20) % n; }

static uint8_t *put_text(uint8_t *to, const uint8_t *p, size_t n) {
    uint8_t coded[1024];
    size_t k = roll(2) ? hpack_huffman_encode(coded, p, n) : 0;
    size_t size = k ? k : n;
    if (size < 127) *to++ = (uint8_t)((k ? 0x80 : 0) | size);
    else {
        *to++ = k ? 0xff : 0x7f;
        for (size -= 127; size >= 128; size >>= 7) *to++ = (uint8_t)(size | 0x80);
        *to++ = (uint8_t)size;
        size = k ? k : n;
    }
    memcpy(to, k ? coded : p, size);
    return to + size;
}

static uint8_t *put_index(uint8_t *to, uint8_t first, unsigned mask, uint32_t index) {
    if (index < mask) *to++ = (uint8_t)(first | index);
    else {
        *to++ = (uint8_t)(first | mask);
        for (index -= mask; index >= 128; index >>= 7) *to++ = (uint8_t)(index | 0x80);
        *to++ = (uint8_t)index;
    }
    return to;
}

/* Writes a random insertion and does it to the model; `text` gets the line it means. */
static uint8_t *model_insert(uint8_t *to, char **text) {
    uint8_t name[300], value[600];
    size_t value_size = roll(4) ? roll(30) : roll(600), name_size = roll(4) ? 1 + roll(20) : roll(300);
    uint32_t from = roll(3) ? 0 : (uint32_t)roll(62 + model.count);
    for (size_t i = 0; i < value_size; i++) value[i] = (uint8_t)(' ' + roll(90));
    if (from > 61) {
        name_size = model.entries[from - 62].name_size;
        memcpy(name, model.entries[from - 62].name, name_size);
    } else if (from) {
        name_size = hpack_static[from].name.n;
        memcpy(name, hpack_static[from].name.p, name_size);
    } else if (roll(4) == 0) {
        struct slice known = http_name_text((enum http_name)(1 + roll(HN_COUNT - 1)));
        memcpy(name, known.p, name_size = known.n);
    } else {
        for (size_t i = 0; i < name_size; i++) name[i] = (uint8_t)('a' + roll(26));
    }
    to = put_index(to, 0x40, 63, from);
    if (!from) to = put_text(to, name, name_size);
    to = put_text(to, value, value_size);
    *text = mempcpy(mempcpy(*text, name, name_size), ": ", 2);
    *text = mempcpy(*text, value, value_size), *(*text)++ = '\n';
    uint32_t size = (uint32_t)(name_size + value_size + 32);
    model_evict(size > model.limit ? 0 : model.limit - size);
    if (size > model.limit) return to;
    memmove(&model.entries[1], &model.entries[0], model.count * sizeof model.entries[0]);
    memcpy(model.entries[0].name, name, name_size), memcpy(model.entries[0].value, value, value_size);
    model.entries[0].name_size = name_size, model.entries[0].value_size = value_size;
    model.count++, model.used += size;
    return to;
}

TEST(the_table_is_what_a_plain_list_is) {
    static uint8_t block[8000];
    static char want[20000];
    struct hpack_decoder *d = hpack_decoder_new(4096);
    model.limit = 4096;
    for (int round = 0; round < 4000; round++) {
        uint8_t *to = block;
        char *text = want;
        if (roll(10) == 0) {
            model.limit = roll(2) ? (uint32_t)roll(4097) : 4096;
            to = put_index(to, 0x20, 31, model.limit), model_evict(model.limit);
        }
        for (size_t n = 1 + roll(4); n; n--) {
            if (model.count && roll(2)) {
                uint32_t i = (uint32_t)roll(model.count);
                to = put_index(to, 0x80, 127, 62 + i);
                text = mempcpy(text, model.entries[i].name, model.entries[i].name_size), text = mempcpy(text, ": ", 2);
                text = mempcpy(text, model.entries[i].value, model.entries[i].value_size), *text++ = '\n';
            } else {
                to = model_insert(to, &text);
            }
        }
        *text = 0;
        bool tight = roll(3) == 0;
        uint32_t arena = tight ? (uint32_t)roll(500) : sizeof arena_bytes, most = tight ? (uint32_t)roll(4) : 10;
        CHECK_EQ(decode_within(d, block, (size_t)(to - block), arena, tight ? (uint32_t)roll(900) : 1 << 20, most), 0);
        if (!too_large) CHECK_STR(listed(), want);
        else CHECK(tight && memcmp(listed(), want, strlen(listed())) == 0);
        CHECK_EQ(d->count, model.count);
        CHECK_EQ(d->used, model.used);
        for (uint32_t i = 0; i < d->count && i < model.count; i++) {
            const struct hpack_entry *e = hpack_entry(d, i);
            struct slice name = e->known ? hpack_known_text(e->known) : slice_of(hpack_entry_bytes(d, e), e->name_size);
            const uint8_t *value = hpack_entry_bytes(d, e) + (e->known ? 0 : e->name_size);
            CHECK_BYTES(name.p, name.n, model.entries[i].name, model.entries[i].name_size);
            CHECK_BYTES(value, e->value_size, model.entries[i].value, model.entries[i].value_size);
            CHECK_EQ(e->id, http_name_find(name.p, name.n));
        }
    }
    CHECK(d->capacity <= 16384); /* whatever came, bytes are four times the table at most */
    CHECK(d->slots <= 128);
    hpack_decoder_free(d);
}

TEST(an_idle_decoder_has_no_table) {
    struct hpack_decoder *d = hpack_decoder_new(1u << 31);
    CHECK_EQ(decode_hex(d, "82 86 84 0001610162"), 0);
    CHECK(!d->bytes && !d->entries);
    CHECK_EQ(decode_hex(d, "4001610162"), 0);
    CHECK(d->capacity <= 256);
    hpack_decoder_free(d);
}

/* ---- heads that are too large ---- */

TEST(limits_of_a_head_are_met_exactly) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    uint8_t block[100];
    size_t n = from_hex("82 84 0001610162", block, sizeof block); /* 42 + 38 + 34 */
    CHECK_EQ(decode_within(d, block, n, 0, 114, 3), 0);
    CHECK(!too_large && count == 3);
    CHECK_EQ(decode_within(d, block, n, 0, 113, 3), 0);
    CHECK(too_large && count == 2);
    CHECK_EQ(decode_within(d, block, n, 0, 114, 2), 0);
    CHECK(too_large && count == 2);
    CHECK_EQ(decode_within(d, block, n, 0, 10, 3), 0);
    CHECK(too_large && count == 0);
    n = from_hex("418c f1e3 c2e5 f23a 6ba0 ab90 f4ff", block, sizeof block); /* www.example.com, coded */
    CHECK_EQ(decode_within(d, block, n, 14, 1000, 3), 0);
    CHECK(too_large && count == 0);
    CHECK_EQ(decode_within(d, block, n, 15, 1000, 3), 0);
    CHECK(!too_large && count == 1);
    CHECK_EQ(d->count, 2); /* both times */
    block[0] = 0xbe;
    CHECK_EQ(decode_within(d, block, 1, 14, 1000, 3), 0);
    CHECK(too_large && count == 0);
    CHECK_EQ(decode_within(d, block, 1, 15, 1000, 3), 0);
    CHECK_STR(listed(), ":authority: www.example.com\n");
    hpack_decoder_free(d);
}

TEST(a_name_nobody_read_still_has_its_id) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    uint8_t block[100] = {0x82, 0x40}, coded[30];
    size_t n = hpack_huffman_encode(coded, (const uint8_t *)"content-length", 14);
    block[2] = (uint8_t)(0x80 | n), memcpy(block + 3, coded, n);
    block[3 + n] = 1, block[4 + n] = '5';
    CHECK_EQ(decode_within(d, block, n + 5, 0, 1000, 0), 0);
    CHECK(too_large);
    CHECK_EQ(decode_hex(d, "be 7e0136"), 0);
    CHECK_STR(listed(), "content-length: 5\ncontent-length: 6\n");
    CHECK_EQ(fields[0].id, HN_CONTENT_LENGTH);
    CHECK_EQ(fields[1].id, HN_CONTENT_LENGTH);
    hpack_decoder_free(d);
}

TEST(copies_of_long_names_end_the_connection) {
    static uint8_t block[20000];
    struct hpack_decoder *d = hpack_decoder_new(4096);
    uint8_t *to = put_index(block, 0x40, 63, 0);
    to = put_index(to, 0, 127, 3900), memset(to, 'n', 3900), to += 3900, *to++ = 0;
    CHECK_EQ(decode(d, block, (size_t)(to - block)), 0);
    for (int i = 0; i < 5000; i++) memcpy(block + 2 * i, "\x7e", 2);
    CHECK_EQ(decode_within(d, block, 200, 100, 1000, 64), 0);
    CHECK(too_large);
    CHECK_EQ(decode_within(d, block, 10000, 100, 1000, 64), HPACK_BROKEN);
    hpack_decoder_free(d);
    d = hpack_decoder_new(4096); /* entries of the table, ever again: no more than the limit is copied */
    CHECK_EQ(decode(d, block, 0), 0);
    uint8_t bomb[1 + 2 + 4000];
    memset(bomb, 'v', sizeof bomb), bomb[0] = 0x41, bomb[1] = 0x7f;
    to = put_index(bomb + 1, 0, 127, 3900);
    CHECK_EQ(decode(d, bomb, (size_t)(to - bomb) + 3900), 0);
    memset(block, 0xbe, sizeof block);
    CHECK_EQ(decode_within(d, block, sizeof block, sizeof arena_bytes, 65536, 64), 0);
    CHECK(too_large && count == 16);
    hpack_decoder_free(d);
}

/* ---- Huffman ---- */

TEST(every_pair_of_octets_is_coded_and_decoded) {
    uint8_t plain[64], coded[300], back[300];
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            size_t n = 0;
            memset(plain, 'e', sizeof plain); /* enough short codes that all of it is shorter */
            plain[a % 30] = (uint8_t)a, plain[40] = (uint8_t)b;
            n = hpack_huffman_encode(coded, plain, sizeof plain);
            CHECK(n > 0 && n < sizeof plain);
            uint8_t *p = memcpy(malloc(n), coded, n); /* ASan sees a byte too many */
            CHECK_EQ(hpack_huffman_size(p, n), sizeof plain);
            uint8_t *end = hpack_huffman_decode(back, p, n);
            CHECK(end == back + sizeof plain && memcmp(back, plain, sizeof plain) == 0);
            free(p);
        }
}

TEST(only_what_gets_shorter_is_coded) {
    uint8_t to[100];
    CHECK_EQ(hpack_huffman_encode(to, (const uint8_t *)"", 0), 0);
    CHECK_EQ(hpack_huffman_encode(to, (const uint8_t *)"a", 1), 0);
    CHECK_EQ(hpack_huffman_encode(to, (const uint8_t *)"{}{}{}{}{}{}", 12), 0);
    CHECK_EQ(hpack_huffman_encode(to, (const uint8_t *)"\xff\xff\xff\xff\xff\xff", 6), 0);
    CHECK_EQ(hpack_huffman_encode(to, (const uint8_t *)"aaaaaaaa", 8), 5);
}

/* ---- the encoder ---- */

static uint8_t wire[100000];

static void check_wire(const uint8_t *end, const char *hex) {
    uint8_t want[300];
    size_t n = from_hex(hex, want, sizeof want);
    CHECK_BYTES(wire, (size_t)(end - wire), want, n);
}

TEST(common_pairs_are_a_byte) {
    check_wire(hpack_encode_method(wire, SLICE("GET")), "82");
    check_wire(hpack_encode_method(wire, SLICE("POST")), "83");
    check_wire(hpack_encode_method(wire, SLICE("get")), "0203676574");
    check_wire(hpack_encode_scheme(wire, SLICE("http")), "86");
    check_wire(hpack_encode_scheme(wire, SLICE("https")), "87");
    check_wire(hpack_encode_path(wire, SLICE("/")), "84");
    check_wire(hpack_encode_path(wire, SLICE("/index.html")), "85");
    check_wire(hpack_encode_path(wire, SLICE("{}")), "04027b7d");
    static const uint16_t entries[] = {200, 204, 206, 304, 400, 404, 500};
    for (uint8_t i = 0; i < countof(entries); i++) {
        CHECK(hpack_encode_status(wire, entries[i]) == wire + 1);
        CHECK_EQ(wire[0], 0x88 + i);
    }
    check_wire(hpack_encode(wire, HN_OTHER, SLICE("Accept-Encoding"), SLICE("gzip, deflate"), false), "90");
    check_wire(hpack_encode(wire, HN_OTHER, SLICE("accept-encoding"), SLICE("{}"), false), "0f01027b7d");
    check_wire(hpack_encode(wire, HN_COOKIE, SLICE("COOKIE"), SLICE("{}"), true), "1f11027b7d");
    check_wire(hpack_encode(wire, HN_OTHER, SLICE("authorization"), SLICE("{}"), true), "1f08027b7d");
}

static void check_round_trip(enum http_name id, struct slice name, const char *lower, struct slice value, bool never) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    size_t bound = hpack_bound(name.n, value.n);
    memset(wire, 0x5a, sizeof wire);
    uint8_t *end = hpack_encode(wire, id, name, value, never);
    CHECK((size_t)(end - wire) <= bound && wire[bound] == 0x5a);
    CHECK(wire[0] & 0x80 || (wire[0] & 0xf0) == (never ? 0x10 : 0));
    CHECK_EQ(decode_within(d, wire, (size_t)(end - wire), sizeof arena_bytes, 1 << 20, 64), 0);
    CHECK_EQ(count, 1);
    CHECK_BYTES(fields[0].name.p, fields[0].name.n, lower, strlen(lower));
    CHECK_BYTES(fields[0].value.p, fields[0].value.n, value.p, value.n);
    CHECK_EQ(fields[0].id, http_name_find(name.p, name.n));
    CHECK_EQ(d->count, 0);
    hpack_decoder_free(d);
}

TEST(what_is_encoded_decodes_to_the_same_in_lower_case) {
    static uint8_t value[70000];
    static const size_t sizes[] = {0, 1, 2, 15, 16, 17, 126, 127, 128, 254, 255, 256, 16383, 16510, 16511, 70000};
    static const char *const letters[] = {"a", "{", "\xff", "0123456789"};
    for (size_t s = 0; s < countof(sizes); s++)
        for (size_t l = 0; l < countof(letters); l++) {
            for (size_t i = 0; i < sizes[s]; i++) value[i] = (uint8_t)letters[l][i % strlen(letters[l])];
            struct slice v = slice_of(value, sizes[s]);
            for (unsigned id = 1; id < HN_COUNT; id++) {
                if (s > 6 && id > 3) break;
                char lower[40], upper[40];
                struct slice name = http_name_text((enum http_name)id);
                memcpy(lower, name.p, name.n), lower[name.n] = 0;
                for (size_t i = 0; i <= name.n; i++) upper[i] = lower[i] >= 'a' ? (char)(lower[i] - 32) : lower[i];
                check_round_trip((enum http_name)id, slice_of(upper, name.n), lower, v, id & 1);
            }
            check_round_trip(HN_OTHER, SLICE("X-Custom@[`{Zz-\xc1"), "x-custom@[`{zz-\xc1", v, false);
            check_round_trip(HN_OTHER, SLICE("Authorization"), "authorization", v, true);
            check_round_trip(HN_OTHER, SLICE("set-cookie"), "set-cookie", v, true);
            check_round_trip(HN_OTHER, SLICE(":protocol"), ":protocol", v, false);
            check_round_trip(HN_OTHER, SLICE("A"), "a", v, false);
            check_round_trip(HN_OTHER, SLICE("X-B"), "x-b", v, false);
        }
    char long_name[300];
    memset(long_name, 'x', sizeof long_name), long_name[299] = 0;
    check_round_trip(HN_OTHER, slice_of(long_name, 299), long_name, SLICE("v"), false);
}

TEST(static_names_are_found_in_any_case) {
    for (unsigned i = 15; i <= HPACK_STATIC; i++) {
        char name[40];
        struct slice text = hpack_static[i].name;
        memcpy(name, text.p, text.n);
        CHECK_EQ(hpack_static_name(text), i);
        name[0] = (char)(name[0] - 32);
        CHECK_EQ(hpack_static_name(slice_of(name, text.n)), i);
        name[1] = '_';
        CHECK_EQ(hpack_static_name(slice_of(name, text.n)), 0);
    }
    CHECK_EQ(hpack_static_name(SLICE("user\ragent")), 0);
    CHECK_EQ(hpack_static_name(SLICE("")), 0);
}

TEST(pseudo_fields_decode) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    uint8_t *to = hpack_encode_method(wire, SLICE("PROPFIND"));
    to = hpack_encode_scheme(to, SLICE("ftp"));
    to = hpack_encode_authority(to, SLICE("www.example.com:8080"));
    to = hpack_encode_path(to, SLICE("/a/rather/long/path/with?a=query&of=some+kind"));
    to = hpack_encode_status(to, 599);
    CHECK_EQ(decode(d, wire, (size_t)(to - wire)), 0);
    CHECK_STR(listed(), ":method: PROPFIND\n:scheme: ftp\n:authority: www.example.com:8080\n"
                        ":path: /a/rather/long/path/with?a=query&of=some+kind\n:status: 599\n");
    hpack_decoder_free(d);
}

TEST(what_must_never_be_indexed_is_told) { /* §6.2.3: whoever passes it on must do the same */
    struct hpack_decoder *d = hpack_decoder_new(4096);
    CHECK_EQ(decode_hex(d, "1001 6101 62 0001 6301 64 4001 6501 66 be 82"),
             0); /* never, without, with indexing; indexed */
    CHECK_EQ(count, 5);
    CHECK(fields[0].never);
    for (uint32_t i = 1; i < count; i++) CHECK(!fields[i].never);
    hpack_decoder_free(d);
}

TEST(nothing_of_an_earlier_head_is_left_in_a_field) {
    struct hpack_decoder *d = hpack_decoder_new(4096);
    CHECK_EQ(decode_hex(d, "0001 6301 64 4001 6501 66 be 82"), 0); /* without and with indexing; both tables */
    CHECK_EQ(count, 4);
    for (uint32_t i = 0; i < count; i++) CHECK(!fields[i].drop && !fields[i].never && !fields[i].line);
    hpack_decoder_free(d);
}

int main(void) {
    RUN(examples_of_appendix_c_decode);
    RUN(integers_of_appendix_c_1);
    RUN(static_entries_have_ids);
    RUN(broken_blocks_are_refused);
    RUN(no_beginning_of_a_field_is_a_block);
    RUN(upper_case_names_have_no_id);
    RUN(an_update_evicts_and_a_smaller_announcement_asks_for_one);
    RUN(an_entry_larger_than_the_table_empties_it);
    RUN(a_name_outlives_its_entry);
    RUN(the_table_is_what_a_plain_list_is);
    RUN(an_idle_decoder_has_no_table);
    RUN(limits_of_a_head_are_met_exactly);
    RUN(a_name_nobody_read_still_has_its_id);
    RUN(copies_of_long_names_end_the_connection);
    RUN(every_pair_of_octets_is_coded_and_decoded);
    RUN(only_what_gets_shorter_is_coded);
    RUN(common_pairs_are_a_byte);
    RUN(what_is_encoded_decodes_to_the_same_in_lower_case);
    RUN(static_names_are_found_in_any_case);
    RUN(pseudo_fields_decode);
    RUN(what_must_never_be_indexed_is_told);
    RUN(nothing_of_an_earlier_head_is_left_in_a_field);
    return 0;
}
