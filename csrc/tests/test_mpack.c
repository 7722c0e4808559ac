/* The MessagePack reader: documents of another writer (mpack_documents.txt), every form of the specification by
 * hand, and documents that are cut, changed or made up. With file arguments it reads those instead of the committed
 * documents. */
#include "check.h"

#include "../core/mpack.h"

/* ---- what a value says, as mpack_documents.py writes it ---- */

struct text {
    char *p;
    size_t n, cap;
};

static void add(struct text *t, const char *s, size_t n) {
    if (t->n + n + 1 > t->cap) t->p = realloc(t->p, t->cap = 2 * (t->n + n + 1));
    memcpy(t->p + t->n, s, n);
    t->n += n;
    t->p[t->n] = 0;
}

static void add_hex(struct text *t, char kind, struct slice s) {
    add(t, &kind, 1);
    for (size_t i = 0; i < s.n; i++) {
        char two[3];
        snprintf(two, sizeof two, "%02x", s.p[i]);
        add(t, two, 2);
    }
}

static void say(struct text *t, struct mpack v);

static void say_members(struct text *t, struct mpack v) {
    struct mpack_iter it = mpack_iter(v);
    struct mpack value;
    struct slice key;
    uint32_t n = 0;
    add(t, v.type == MP_MAP ? "{" : "[", 1);
    if (v.type == MP_MAP)
        for (; mpack_next_pair(&it, &key, &value); n++) {
            if (n) add(t, ",", 1);
            add_hex(t, 's', key);
            add(t, ":", 1);
            say(t, value);
        }
    else
        for (; mpack_next(&it, &value); n++) {
            if (n) add(t, ",", 1);
            say(t, value);
        }
    CHECK_EQ(n, v.count);
    add(t, v.type == MP_MAP ? "}" : "]", 1);
}

static void say(struct text *t, struct mpack v) {
    char number[40];
    uint64_t bits;
    switch (v.type) {
    case MP_NIL: add(t, "n", 1); break;
    case MP_BOOL: add(t, v.b ? "t" : "f", 1); break;
    case MP_INT: add(t, number, (size_t)snprintf(number, sizeof number, "i%" PRId64, v.i)); break;
    case MP_UINT: add(t, number, (size_t)snprintf(number, sizeof number, "i%" PRIu64, v.u)); break;
    case MP_DOUBLE:
        memcpy(&bits, &v.d, 8);
        add(t, number, (size_t)snprintf(number, sizeof number, "d%016" PRIx64, bits));
        break;
    case MP_STR: add_hex(t, 's', v.s); break;
    case MP_BIN: add_hex(t, 'b', v.s); break;
    case MP_ARRAY:
    case MP_MAP: say_members(t, v); break;
    default: CHECK(!"a type that can be read"); break;
    }
}

static size_t unhex(const char *hex, size_t digits, uint8_t *to) {
    for (size_t i = 0; i < digits / 2; i++) sscanf(hex + 2 * i, "%2hhx", &to[i]);
    return digits / 2;
}

/* Opens bytes that lie flush against a guard page. */
static int open_guarded(const uint8_t *p, size_t n, struct mpack *root) {
    return mpack_open(slice_of(guarded(p, n), n), root);
}

/* Opened, a document can be walked whatever it is: all of it, and by every accessor. */
static void walk(const uint8_t *p, size_t n) {
    struct mpack root;
    struct text t = {0};
    if (open_guarded(p, n, &root) != 0) return;
    say(&t, root);
    (void)mpack_get(root, "k"), (void)mpack_at(root, 3);
    (void)mpack_int(root, 0), (void)mpack_double(root, 0), (void)mpack_bool(root, false), (void)mpack_slice(root);
    free(t.p);
}

/* ---- against the other writer ---- */

static void check_document(const uint8_t *p, size_t n, const char *want, bool cut) {
    struct mpack root;
    struct text t = {0};
    CHECK_EQ(open_guarded(p, n, &root), 0);
    say(&t, root);
    CHECK_STR(t.p, want);
    free(t.p);
    for (size_t part = 0; cut && part < n; part++) CHECK_EQ(open_guarded(p, part, &root), -1);
    uint8_t *longer = malloc(n + 1);
    memcpy(longer, p, n);
    longer[n] = 0xc0;
    CHECK_EQ(open_guarded(longer, n + 1, &root), -1);
    free(longer);
}

/* Each bit of a small document turned, one after the other. */
static void walk_changed(const uint8_t *p, size_t n) {
    uint8_t *changed = malloc(n);
    memcpy(changed, p, n);
    for (size_t bit = 0; bit < n * 8; bit++) {
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        walk(changed, n);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(changed);
}

static uint32_t read_documents(const char *path, bool thorough) {
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    uint32_t documents = 0;
    if (!f) return 0;
    for (ssize_t n; (n = getline(&line, &cap, f)) > 0; documents++) {
        if (line[n - 1] == '\n') line[n - 1] = 0;
        size_t digits = strcspn(line, " ");
        uint8_t *doc = malloc(digits / 2 + 1);
        size_t size = unhex(line, digits, doc);
        check_document(doc, size, line + digits + 1, size < 2000);
        if (thorough && size < 400) walk_changed(doc, size);
        free(doc);
    }
    free(line);
    fclose(f);
    return documents;
}

TEST(documents_of_another_writer_say_the_same_and_no_part_of_them_is_one) {
    char path[512];
    snprintf(path, sizeof path, "%.*s/mpack_documents.txt", (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__);
    CHECK(read_documents(path, true) > 200); /* from the repository's root, where make runs */
}

/* ---- every form of the specification ---- */

TEST(each_head_is_read_in_its_longer_forms_too) {
    static const struct {
        const char *hex, *want;
    } forms[] = {
        {"00", "i0"},
        {"7f", "i127"},
        {"e0", "i-32"},
        {"ff", "i-1"},
        {"cc05", "i5"},
        {"cd0005", "i5"},
        {"ce00000005", "i5"},
        {"cf0000000000000005", "i5"},
        {"d005", "i5"},
        {"d0fb", "i-5"},
        {"d1fffb", "i-5"},
        {"d2fffffffb", "i-5"},
        {"d3fffffffffffffffb", "i-5"},
        {"d38000000000000000", "i-9223372036854775808"},
        {"cfffffffffffffffff", "i18446744073709551615"},
        {"ca3f800000", "d3ff0000000000000"},
        {"caff800000", "dfff0000000000000"},
        {"cb0000000000000001", "d0000000000000001"},
        {"d900", "s"},
        {"d90161", "s61"},
        {"da000161", "s61"},
        {"db0000000161", "s61"},
        {"a161", "s61"},
        {"c400", "b"},
        {"c40161", "b61"},
        {"c5000161", "b61"},
        {"c60000000161", "b61"},
        {"90", "[]"},
        {"91c0", "[n]"},
        {"dc0001c2", "[f]"},
        {"dd00000002c3c0", "[t,n]"},
        {"80", "{}"},
        {"81a16b01", "{s6b:i1}"},
        {"de0001a16b01", "{s6b:i1}"},
        {"df00000001d9016b01", "{s6b:i1}"},
    };
    for (size_t i = 0; i < countof(forms); i++) {
        uint8_t doc[64];
        check_document(doc, unhex(forms[i].hex, strlen(forms[i].hex), doc), forms[i].want, true);
        walk_changed(doc, strlen(forms[i].hex) / 2);
    }
}

TEST(broken_documents_are_refused) {
    static const char *const broken[] = {
        "",
        "c1",
        "c7017f00",
        "c8",
        "c9",
        "d40100",
        "d5",
        "d6",
        "d7",
        "d8", /* unused, extensions */
        "d9",
        "d902",
        "da00",
        "dbffffffff",
        "dbffffffff61",
        "c6ffffffff00", /* lengths beyond the end */
        "ddffffffff",
        "dfffffffff",
        "dd7fffffffc0",
        "df80000000c0c0",
        "dc0002c0",
        "92c0",
        "81a16b",
        "82a16bc0",
        "81",
        "c0c0",
        "91c0c0",
        "cd00",
        "ce000000",
        "cf00000000000000",
        "ca000000",
        "cb00000000000000",
        "d1ff",
        "d3ffff",
    };
    for (size_t i = 0; i < countof(broken); i++) {
        uint8_t doc[64];
        struct mpack root;
        CHECK_EQ(open_guarded(doc, unhex(broken[i], strlen(broken[i]), doc), &root), -1);
    }
    CHECK_EQ(mpack_open((struct slice){NULL, 0}, &(struct mpack){0}), -1);
}

TEST(depth_is_limited_to_64) {
    uint8_t doc[100000];
    struct mpack root;
    memset(doc, 0x91, sizeof doc);
    doc[64] = 0xc0;
    CHECK_EQ(open_guarded(doc, 65, &root), 0);
    doc[64] = 0x91, doc[65] = 0xc0;
    CHECK_EQ(open_guarded(doc, 66, &root), -1);
    CHECK_EQ(open_guarded(doc, sizeof doc, &root), -1);
}

TEST(long_strings_and_long_arrays) {
    static const uint32_t sizes[] = {65535, 65536, 200000};
    uint8_t *doc = malloc(200010);
    for (size_t i = 0; i < countof(sizes); i++) {
        uint32_t n = sizes[i];
        uint8_t head[5] = {0xdb, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
        struct mpack root, last;
        memcpy(doc, head, 5);
        memset(doc + 5, 'x', n);
        CHECK_EQ(open_guarded(doc, n + 5, &root), 0);
        CHECK_EQ(mpack_slice(root).n, n);
        CHECK_EQ(open_guarded(doc, n + 4, &root), -1);
        doc[0] = 0xdd; /* an array of small integers */
        CHECK_EQ(open_guarded(doc, n + 5, &root), 0);
        CHECK_EQ(root.count, n);
        last = mpack_at(root, n - 1);
        CHECK_EQ(mpack_int(last, 0), 'x');
        CHECK_EQ(mpack_at(root, n).type, MP_NONE);
        CHECK_EQ(open_guarded(doc, n + 4, &root), -1);
    }
    free(doc);
}

/* ---- accessors ---- */

/* {"a": 1, "b": {"a": -2}, "c": [true, 2.5, "x"], "": nil, "u": 2^64 - 1} */
static struct mpack sample(void) {
    static const uint8_t doc[] =
        "\x85\xa1"
        "a\x01\xa1"
        "b\x81\xa1"
        "a\xfe\xa1"
        "c\x93\xc3\xcb\x40\x04\x00\x00\x00\x00\x00\x00\xa1x\xa0\xc0\xa1u\xcf\xff\xff\xff\xff\xff\xff\xff\xff";
    struct mpack root;
    CHECK_EQ(open_guarded(doc, sizeof doc - 1, &root), 0);
    return root;
}

TEST(members_are_found_by_key_and_place) {
    struct mpack root = sample(), list = mpack_get(root, "c");
    CHECK_EQ(root.type, MP_MAP);
    CHECK_EQ(mpack_int(mpack_get(root, "a"), 0), 1);
    CHECK_EQ(mpack_int(mpack_get(mpack_get(root, "b"), "a"), 0), -2);
    CHECK_EQ(mpack_get(root, "").type, MP_NIL);
    CHECK_EQ(mpack_get(root, "d").type, MP_NONE);
    CHECK_EQ(mpack_get(root, "aa").type, MP_NONE);
    CHECK_EQ(mpack_at(list, 0).type, MP_BOOL);
    CHECK(mpack_bool(mpack_at(list, 0), false));
    CHECK(mpack_double(mpack_at(list, 1), 0) == 2.5);
    CHECK(slice_eq(mpack_slice(mpack_at(list, 2)), SLICE("x")));
    CHECK_EQ(mpack_at(list, 3).type, MP_NONE);
    CHECK_EQ(mpack_get(list, "a").type, MP_NONE); /* no map */
    CHECK_EQ(mpack_at(root, 0).type, MP_NONE);    /* no array */
    CHECK_EQ(mpack_get(mpack_get(root, "d"), "a").type, MP_NONE);
}

TEST(a_value_absent_or_of_another_type_is_the_default) {
    struct mpack root = sample(), none = mpack_get(root, "none"), list = mpack_get(root, "c");
    CHECK_EQ(mpack_int(none, 7), 7);
    CHECK_EQ(mpack_int(mpack_get(root, "u"), 7), 7); /* does not fit */
    CHECK_EQ(mpack_int(list, 7), 7);
    CHECK_EQ(mpack_int(mpack_at(list, 1), 7), 7);
    CHECK(mpack_double(none, 1.5) == 1.5);
    CHECK(mpack_double(mpack_get(root, "a"), 0) == 1.0);
    CHECK(mpack_double(mpack_get(mpack_get(root, "b"), "a"), 0) == -2.0);
    CHECK(mpack_double(mpack_at(list, 2), 1.5) == 1.5);
    CHECK(mpack_bool(none, true));
    CHECK(!mpack_bool(mpack_get(root, "a"), false)); /* 1 is not true */
    CHECK(mpack_slice(none).p == NULL);
    CHECK(mpack_slice(mpack_get(root, "a")).p == NULL);
}

TEST(iterating_what_is_no_container_yields_nothing) {
    struct mpack root = sample(), value;
    struct slice key;
    struct mpack_iter it = mpack_iter(mpack_get(root, "a"));
    CHECK(!mpack_next(&it, &value));
    it = mpack_iter(mpack_get(root, "none"));
    CHECK(!mpack_next_pair(&it, &key, &value));
}

TEST(a_key_that_is_no_string_is_passed_over) {
    static const uint8_t doc[] = {0x83, 0x05, 0x01, 0x91, 0xc0, 0x02, 0xa1, 'k', 0x03};
    struct mpack root, value;
    struct slice key;
    CHECK_EQ(open_guarded(doc, sizeof doc, &root), 0);
    CHECK_EQ(mpack_int(mpack_get(root, "k"), 0), 3);
    CHECK_EQ(mpack_get(root, "").type, MP_NONE);
    struct mpack_iter it = mpack_iter(root);
    for (int i = 0; i < 3; i++) {
        CHECK(mpack_next_pair(&it, &key, &value));
        CHECK_EQ(mpack_int(value, 0), i + 1);
        CHECK_EQ(key.p != NULL, i == 2);
    }
    CHECK(!mpack_next_pair(&it, &key, &value));
}

TEST(made_up_bytes_never_crash) {
    uint64_t rng = 5;
    static const uint8_t heads[] = {0x81, 0x83, 0x92, 0xa2, 0xc0, 0xc4, 0xcb, 0xcd,
                                    0xd0, 0xd3, 0xd9, 0xdc, 0xdd, 0xde, 0xdf};
    for (int round = 0; round < 30000; round++) {
        uint8_t doc[48];
        size_t n = rng_next(&rng) % sizeof doc;
        for (size_t i = 0; i < n; i++) {
            uint64_t r = rng_next(&rng) >> 16;
            doc[i] = r % 3 ? (uint8_t)(r >> 8) % 4
                           : heads[(r >> 8) % countof(heads)]; /* small lengths: more that is whole */
        }
        walk(doc, n);
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) printf("%s: %u documents\n", argv[i], read_documents(argv[i], false));
    if (argc > 1) return 0;
    RUN(documents_of_another_writer_say_the_same_and_no_part_of_them_is_one);
    RUN(each_head_is_read_in_its_longer_forms_too);
    RUN(broken_documents_are_refused);
    RUN(depth_is_limited_to_64);
    RUN(long_strings_and_long_arrays);
    RUN(members_are_found_by_key_and_place);
    RUN(a_value_absent_or_of_another_type_is_the_default);
    RUN(iterating_what_is_no_container_yields_nothing);
    RUN(a_key_that_is_no_string_is_passed_over);
    RUN(made_up_bytes_never_crash);
    return 0;
}
