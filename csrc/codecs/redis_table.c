/* The command table: built from the plan, looked up by name, completed from a server's COMMAND. */
#include "redis_table.h"

#include <stdio.h>
#include <stdlib.h>

#include "redis_shape.h"

struct table_slot { /* a top-level command with what decides a lookup, in one cache line */
    struct redis_command *command;
    uint64_t word;
    uint32_t size;
};

struct redis_table {
    struct redis_command **all; /* by index; each owned */
    uint32_t count, room;
    struct table_slot *slots; /* open addressing */
    uint32_t capacity;            /* a power of two */
};

/* ---- names ---- */

#define NAME_MAX_BYTES 128u

static uint8_t upper(uint8_t c) { return c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c; }

/* Upper case of the ASCII letters among eight bytes at once: a byte is a lower-case letter if adding 0x1f carries it past 0x7f
 * and adding 0x05 doesn't. */
static inline uint64_t upper_word(uint64_t w) {
    const uint64_t ones = 0x0101010101010101ULL, low = w & (0x7f * ones);
    uint64_t from_a = low + (0x80 - 'a') * ones, past_z = low + (0x7f - 'z') * ones;
    return w - (((from_a ^ past_z) & ~w & (0x80 * ones)) >> 2);
}

/* The first eight bytes of a name, zero-padded, upper case. Loads overlap instead of reading past the end. */
static inline uint64_t name_word(struct slice name) {
    uint64_t w = 0;
    if (likely(name.n < 4)) {
        if (likely(name.n)) w = name.p[0] | (uint64_t)name.p[name.n / 2] << (8 * (name.n / 2)) | (uint64_t)name.p[name.n - 1] << (8 * (name.n - 1));
    } else if (name.n < 8) {
        uint32_t a, b;
        memcpy(&a, name.p, 4), memcpy(&b, name.p + name.n - 4, 4);
        w = a | (uint64_t)b << (8 * (name.n - 4));
    } else {
        memcpy(&w, name.p, 8);
    }
    return upper_word(w);
}

static inline uint32_t name_hash(struct slice name, uint64_t word) {
    uint64_t tail = 0;
    if (unlikely(name.n > 8)) memcpy(&tail, name.p + name.n - 8, 8), tail = upper_word(tail);
    return (uint32_t)(((word ^ (tail << 7 | tail >> 57)) * 0x9e3779b97f4a7c15ULL + name.n) >> 40);
}

static bool same_name(struct slice canonical, struct slice name) {
    if (canonical.n != name.n) return false;
    for (size_t i = 0; i < name.n; i++)
        if (canonical.p[i] != upper(name.p[i])) return false;
    return true;
}

const struct redis_command *redis_table_find(const struct redis_table *t, struct slice name) {
    if (unlikely(name.n > NAME_MAX_BYTES)) return NULL;
    uint64_t word = name_word(name);
    for (uint32_t i = name_hash(name, word) & (t->capacity - 1); t->slots[i].command; i = (i + 1) & (t->capacity - 1)) {
        const struct table_slot *slot = &t->slots[i];
        if (unlikely(slot->word != word || slot->size != name.n)) continue;
        if (likely(name.n <= 8) || same_name(slot->command->name, name)) return slot->command;
    }
    return NULL;
}

const struct redis_command *redis_command_sub(const struct redis_command *cmd, struct slice name) {
    for (uint32_t i = 0; i < cmd->sub_count; i++)
        if (same_name(cmd->subs[i]->name, name)) return cmd->subs[i];
    return NULL;
}

const struct redis_command *redis_table_resolve(const struct redis_table *t, const struct resp_request *r, const uint8_t *p) {
    const struct redis_command *cmd = redis_table_find(t, slice_of(p + r->arg[0].off, r->arg[0].len));
    if (likely(!cmd || !cmd->sub_count || r->known < 2)) return cmd;
    const struct redis_command *sub = redis_command_sub(cmd, slice_of(p + r->arg[1].off, r->arg[1].len));
    return sub ? sub : cmd;
}

uint32_t redis_table_count(const struct redis_table *t) { return t->count; }
struct redis_command *redis_table_at(struct redis_table *t, uint32_t index) { return index < t->count ? t->all[index] : NULL; }

/* ---- adding ---- */

static void place(struct redis_table *t, struct redis_command *cmd) {
    uint64_t word = name_word(cmd->name);
    uint32_t i = name_hash(cmd->name, word) & (t->capacity - 1);
    while (t->slots[i].command) i = (i + 1) & (t->capacity - 1);
    t->slots[i] = (struct table_slot){cmd, word, (uint32_t)cmd->name.n};
}

static bool grow_slots(struct redis_table *t) {
    struct table_slot *slots = calloc((size_t)t->capacity * 2, sizeof *slots), *old = t->slots;
    if (!slots) return false;
    uint32_t capacity = t->capacity;
    t->slots = slots, t->capacity *= 2;
    for (uint32_t i = 0; i < capacity; i++)
        if (old[i].command) place(t, old[i].command);
    free(old);
    return true;
}

static struct slice copy_upper(struct slice prefix, struct slice name) {
    size_t gap = prefix.n ? 1 : 0;
    uint8_t *p = malloc(prefix.n + gap + name.n + 1);
    if (!p) return (struct slice){NULL, 0};
    if (gap) memcpy(p, prefix.p, prefix.n), p[prefix.n] = ' ';
    for (size_t i = 0; i < name.n; i++) p[prefix.n + gap + i] = upper(name.p[i]);
    return slice_of(p, prefix.n + gap + name.n);
}

static void command_free(struct redis_command *cmd) {
    free((void *)cmd->full_name.p);
    free(cmd->subs);
    free(cmd);
}

/* A new command named `name`, of `parent` or on its own; registered in the table. NULL: out of memory. */
static struct redis_command *add(struct redis_table *t, struct redis_command *parent, struct slice name) {
    if (t->count == t->room) {
        uint32_t room = t->room ? t->room * 2 : 256;
        struct redis_command **all = realloc(t->all, room * sizeof *all);
        if (!all) return NULL;
        t->all = all, t->room = room;
    }
    if (!parent && t->count * 2 >= t->capacity && !grow_slots(t)) return NULL;
    struct redis_command *cmd = calloc(1, sizeof *cmd);
    if (!cmd || !(cmd->full_name = copy_upper(parent ? parent->full_name : (struct slice){NULL, 0}, name)).p) {
        free(cmd);
        return NULL;
    }
    cmd->name = slice_of(cmd->full_name.p + cmd->full_name.n - name.n, name.n);
    if (parent) {
        struct redis_command **subs = realloc(parent->subs, (parent->sub_count + 1) * sizeof *subs);
        if (!subs) {
            command_free(cmd);
            return NULL;
        }
        parent->subs = subs, subs[parent->sub_count++] = cmd;
        cmd->parent = parent;
    }
    cmd->index = t->count;
    t->all[t->count++] = cmd;
    if (!parent) place(t, cmd);
    return cmd;
}

/* ---- from the plan ---- */

static int word_index(struct slice word, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (slice_eq(word, slice_of(words[i], strlen(words[i])))) return (int)i;
    return -1;
}

#define X(name, word) word,
static const char *const flag_words[] = {REDIS_FLAGS(X)}, *const class_words[] = {REDIS_CLASSES(X)}, *const merge_words[] = {REDIS_MERGES(X)};
#undef X

static bool read_flags(struct mpack list, uint32_t *flags) {
    struct mpack v;
    for (struct mpack_iter it = mpack_iter(list); mpack_next(&it, &v);) {
        int bit = word_index(mpack_slice(v), flag_words, countof(flag_words));
        if (bit < 0) return false;
        *flags |= 1u << bit;
    }
    return true;
}

static bool read_entry(struct redis_table *t, struct redis_command *parent, struct mpack entry, char *err, size_t err_size) {
    struct slice name = mpack_slice(mpack_at(entry, 0));
    struct redis_command *cmd = entry.type == MP_ARRAY && entry.count >= 10 && name.n && name.n <= NAME_MAX_BYTES ? add(t, parent, name) : NULL;
    if (!cmd) return snprintf(err, err_size, "malformed redis command: %.*s", (int)name.n, name.p ? (const char *)name.p : ""), false;
    int class = word_index(mpack_slice(mpack_at(entry, 6)), class_words, countof(class_words));
    int merge = word_index(mpack_slice(mpack_at(entry, 7)), merge_words, countof(merge_words));
    cmd->arity = (int32_t)mpack_int(mpack_at(entry, 1), 0);
    cmd->first = (int32_t)mpack_int(mpack_at(entry, 3), 0);
    cmd->last = (int32_t)mpack_int(mpack_at(entry, 4), 0);
    cmd->step = (int32_t)mpack_int(mpack_at(entry, 5), 0);
    cmd->class = (uint8_t)class, cmd->merge = (uint8_t)merge;
    if (class < 0 || merge < 0 || !read_flags(mpack_at(entry, 2), &cmd->flags) || !redis_shape_parse(mpack_slice(mpack_at(entry, 8)), cmd))
        return snprintf(err, err_size, "redis command %.*s: unknown flag, class, merge or shape", (int)cmd->full_name.n, (const char *)cmd->full_name.p), false;
    cmd->finder = redis_finder_of(cmd);
    struct mpack sub, subs = mpack_at(entry, 9);
    for (struct mpack_iter it = mpack_iter(subs); !parent && mpack_next(&it, &sub);)
        if (!read_entry(t, cmd, sub, err, err_size)) return false;
    return true;
}

struct redis_table *redis_table_new(struct mpack list, char *err, size_t err_size) {
    struct redis_table *t = calloc(1, sizeof *t);
    struct mpack entry;
    if (t) t->capacity = 1024, t->slots = calloc(t->capacity, sizeof *t->slots);
    if (!t || !t->slots || list.type != MP_ARRAY) {
        snprintf(err, err_size, "no redis command table");
        redis_table_free(t);
        return NULL;
    }
    for (struct mpack_iter it = mpack_iter(list); mpack_next(&it, &entry);)
        if (!read_entry(t, NULL, entry, err, err_size)) {
            redis_table_free(t);
            return NULL;
        }
    return t;
}

void redis_table_free(struct redis_table *t) {
    if (!t) return;
    for (uint32_t i = 0; i < t->count; i++) command_free(t->all[i]);
    free(t->all);
    free(t->slots);
    free(t);
}

/* ---- from COMMAND ---- */

static bool read_int(struct slice *in, int32_t *value) {
    struct resp_value v;
    int64_t n;
    if (!resp_read(in, &v) || !resp_int(v.text, &n) || n < INT32_MIN || n > INT32_MAX) return false;
    *value = (int32_t)n;
    return true;
}

static const struct { const char *word; uint32_t flags; } server_flags[] = {
    {"write", REDIS_WRITE},     {"readonly", REDIS_READ},      {"admin", REDIS_ADMIN},       {"pubsub", REDIS_PUBSUB}, {"blocking", REDIS_BLOCKING},
    {"movablekeys", REDIS_MOVABLE}, {"no_auth", REDIS_NOAUTH}, {"no_multi", REDIS_NOMULTI}, {"loading", REDIS_LOADING}, {"stale", REDIS_STALE}};

static bool read_server_flags(struct slice *in, uint32_t *flags) {
    struct resp_value head, word;
    if (!resp_read(in, &head)) return false;
    for (uint32_t i = 0; i < head.count; i++) {
        if (!resp_read(in, &word)) return false;
        for (size_t k = 0; k < countof(server_flags); k++)
            if (slice_eq(word.text, slice_of(server_flags[k].word, strlen(server_flags[k].word)))) *flags |= server_flags[k].flags;
    }
    return true;
}

int redis_table_add(struct redis_table *t, struct slice in) {
    struct resp_value head, name;
    struct redis_command c = {0};
    if (!resp_read(&in, &head)) return -1;
    if (head.null) return 0; /* COMMAND INFO of a name the server doesn't know */
    if (head.count < 6 || !resp_read(&in, &name)) return -1;
    if (!read_int(&in, &c.arity) || !read_server_flags(&in, &c.flags) || !read_int(&in, &c.first) || !read_int(&in, &c.last) || !read_int(&in, &c.step)) return -1;
    if (name.text.n == 0 || name.text.n > NAME_MAX_BYTES || redis_table_find(t, name.text)) return 0;
    struct redis_command *cmd = add(t, NULL, name.text);
    if (!cmd) return -1;
    cmd->arity = c.arity, cmd->flags = c.flags, cmd->first = c.first, cmd->last = c.last, cmd->step = c.step;
    cmd->class = c.flags & REDIS_BLOCKING ? REDIS_CLASS_BLOCKING : REDIS_CLASS_PLAIN;
    cmd->merge = REDIS_MERGE_NONE, cmd->learnt = true;
    return 1;
}

int redis_table_learn(struct redis_table *t, struct slice in) {
    struct resp_value head;
    int added = 0;
    if (!resp_read(&in, &head) || head.type == '-') return -1;
    for (uint32_t i = 0; i < head.count; i++) {
        struct slice entry;
        int r = resp_take(&in, &entry) ? redis_table_add(t, entry) : -1;
        if (r < 0) return -1;
        added += r;
    }
    return added;
}
