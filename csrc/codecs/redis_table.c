/* The command table: built from the plan, looked up by name. */
#include "redis_table.h"

#include <stdio.h>
#include <stdlib.h>

#include "redis_shape.h"

#define NAME_MAX_BYTES 128u

struct table_slot { /* what decides nearly every lookup, without a look at the command */
    uint64_t key[2];
    struct redis_command *command;
    size_t size;
};

struct redis_table {
    struct redis_command **all; /* by index; each owned */
    uint32_t count, room;
    uint32_t names;           /* slots taken */
    struct table_slot *slots; /* top-level commands; open addressing, at most half full */
    uint32_t capacity;        /* a power of two */
};

/* ---- names ---- */

/* Eight characters at once: those from 'a' to 'z' lose bit 5, all others stay, so unequal names stay unequal. */
static inline uint64_t upper8(uint64_t x) {
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t low7 = x & (ones * 0x7f);
    uint64_t from_a = low7 + ones * (0x80 - 'a'), above_z = low7 + ones * (0x7f - 'z');
    return x ^ ((from_a & ~above_z & ~x & (ones * 0x80)) >> 2);
}

/* The name's first and last eight bytes (which overlap, or are padded, when it is shorter), upper case: together
 * with the length all of a name of up to 16 bytes. Reads nothing outside of it. */
static inline void name_key(struct slice name, uint64_t key[2]) {
    const uint8_t *p = name.p;
    uint64_t a = 0, b = 0;
    if (name.n >= 8) {
        memcpy(&a, p, 8), memcpy(&b, p + name.n - 8, 8);
        b = upper8(b);
    } else if (name.n >= 4) {
        a = resp_load32(p) | (uint64_t)resp_load32(p + name.n - 4) << 32;
    } else if (name.n) {
        a = p[0] | (uint64_t)p[name.n / 2] << 8 | (uint64_t)p[name.n - 1] << 16;
    }
    key[0] = upper8(a), key[1] = b;
}

static inline uint32_t key_hash(const uint64_t key[2], size_t n) {
    return (uint32_t)(((key[0] ^ (key[1] << 23 | key[1] >> 41) ^ n) * 0x9e3779b97f4a7c15ULL) >> 40);
}

static inline bool same(const uint64_t key[2], struct slice name, const uint64_t other[2], size_t other_size,
                        const struct redis_command *cmd) {
    return key[0] == other[0] && key[1] == other[1] && name.n == other_size &&
           (likely(name.n <= 16) || redis_word_is(name, cmd->name));
}

const struct redis_command *redis_table_find(const struct redis_table *t, struct slice name) {
    uint64_t key[2];
    name_key(name, key);
    for (uint32_t i = key_hash(key, name.n);; i++) {
        const struct table_slot *slot = &t->slots[i & (t->capacity - 1)];
        if (likely(same(key, name, slot->key, slot->size, slot->command)))
            return slot->command; /* an empty slot for "" */
        if (!slot->command) return NULL;
    }
}

const struct redis_command *redis_command_sub(const struct redis_command *cmd, struct slice name) {
    uint64_t key[2];
    name_key(name, key);
    for (uint32_t i = 0; i < cmd->sub_count; i++)
        if (same(key, name, cmd->subs[i]->key, cmd->subs[i]->name.n, cmd->subs[i])) return cmd->subs[i];
    return NULL;
}

const struct redis_command *redis_table_resolve(const struct redis_table *t, const struct resp_request *r,
                                                const uint8_t *p) {
    const struct redis_command *cmd = redis_table_find(t, slice_of(p + r->arg[0].off, r->arg[0].len));
    if (likely(!cmd || !cmd->sub_count || r->known < 2)) return cmd;
    const struct redis_command *sub = redis_command_sub(cmd, slice_of(p + r->arg[1].off, r->arg[1].len));
    return sub ? sub : cmd;
}

uint32_t redis_table_count(const struct redis_table *t) { return t->count; }

struct redis_command *redis_table_at(struct redis_table *t, uint32_t index) {
    return index < t->count ? t->all[index] : NULL;
}

/* ---- adding ---- */

static void place(struct redis_table *t, struct redis_command *cmd) {
    uint32_t i = key_hash(cmd->key, cmd->name.n);
    while (t->slots[i & (t->capacity - 1)].command) i++;
    t->slots[i & (t->capacity - 1)] = (struct table_slot){{cmd->key[0], cmd->key[1]}, cmd, cmd->name.n};
}

static bool reserve(struct redis_table *t) {
    if (t->count == t->room) {
        uint32_t room = t->room ? t->room * 2 : 512;
        struct redis_command **all = realloc(t->all, room * sizeof *all);
        if (!all) return false;
        t->all = all, t->room = room;
    }
    if (t->names * 2 < t->capacity) return true;
    struct table_slot *old = t->slots, *slots = calloc((size_t)t->capacity * 2, sizeof *slots);
    if (!slots) return false;
    uint32_t capacity = t->capacity;
    t->slots = slots, t->capacity *= 2;
    for (uint32_t i = 0; i < capacity; i++)
        if (old[i].command) place(t, old[i].command);
    free(old);
    return true;
}

static void command_free(struct redis_command *cmd) {
    free((void *)cmd->full_name.p);
    free(cmd->specs);
    free(cmd->subs);
    free(cmd);
}

/* "PARENT NAME", upper case, in memory of its own; p NULL when there is none. */
static struct slice full_name(const struct redis_command *parent, struct slice name) {
    size_t before = parent ? parent->full_name.n + 1 : 0;
    uint8_t *p = malloc(before + name.n);
    if (!p) return slice_of(NULL, 0);
    if (parent) memcpy(p, parent->full_name.p, before - 1), p[before - 1] = ' ';
    for (size_t i = 0; i < name.n; i++)
        p[before + i] = name.p[i] >= 'a' && name.p[i] <= 'z' ? (uint8_t)(name.p[i] - 32) : name.p[i];
    return slice_of(p, before + name.n);
}

struct redis_command *redis_table_insert(struct redis_table *t, struct redis_command *parent, struct slice name) {
    if (name.n == 0 || name.n > NAME_MAX_BYTES || !reserve(t)) return NULL;
    struct redis_command *cmd = calloc(1, sizeof *cmd);
    if (!cmd) return NULL;
    cmd->full_name = full_name(parent, name);
    struct redis_command **subs = parent ? realloc(parent->subs, (parent->sub_count + 1) * sizeof *subs) : NULL;
    if (subs) parent->subs = subs;
    if (!cmd->full_name.p || (parent && !subs)) {
        command_free(cmd);
        return NULL;
    }
    cmd->name = slice_of(cmd->full_name.p + cmd->full_name.n - name.n, name.n);
    name_key(cmd->name, cmd->key);
    cmd->parent = parent;
    cmd->index = t->count;
    t->all[t->count++] = cmd;
    if (parent) subs[parent->sub_count++] = cmd;
    else t->names++, place(t, cmd);
    return cmd;
}

/* ---- from the plan ---- */

static int word_index(struct slice word, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (slice_eq(word, slice_of(words[i], strlen(words[i])))) return (int)i;
    return -1;
}

#define X(name, word) word,
static const char *const flag_words[] = {REDIS_FLAGS(X)};
static const char *const class_words[] = {REDIS_CLASSES(X)};
static const char *const merge_words[] = {REDIS_MERGES(X)};
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

/* The column that is malformed, NULL when none is. */
static const char *read_columns(struct redis_command *cmd, struct mpack entry) {
    int class = word_index(mpack_slice(mpack_at(entry, 6)), class_words, countof(class_words));
    int merge = word_index(mpack_slice(mpack_at(entry, 7)), merge_words, countof(merge_words));
    cmd->arity = (int32_t)mpack_int(mpack_at(entry, 1), 0);
    cmd->first = (int32_t)mpack_int(mpack_at(entry, 3), 0);
    cmd->last = (int32_t)mpack_int(mpack_at(entry, 4), 0);
    cmd->step = (int32_t)mpack_int(mpack_at(entry, 5), 0);
    cmd->class = (uint8_t) class, cmd->merge = (uint8_t)merge;
    if (cmd->arity == 0) return "arity";
    if (!read_flags(mpack_at(entry, 2), &cmd->flags)) return "flags";
    if (cmd->first < 0 || cmd->step < 0 || (cmd->first > 0 && cmd->step == 0)) return "key positions";
    if (class < 0) return "class";
    if (merge < 0) return "merge";
    if (!redis_shape_parse(mpack_slice(mpack_at(entry, 8)), cmd)) return "shape";
    return NULL;
}

static bool read_entry(struct redis_table *t, struct redis_command *parent, struct mpack entry, char *err,
                       size_t err_size) {
    struct slice name = mpack_slice(mpack_at(entry, 0));
    const char *wrong = NULL;
    struct redis_command *cmd = NULL;
    if (entry.type != MP_ARRAY || entry.count < 9 || name.n == 0 || name.n > NAME_MAX_BYTES) wrong = "entry";
    else if (parent ? redis_command_sub(parent, name) : redis_table_find(t, name)) wrong = "name, it comes twice";
    else if (!(cmd = redis_table_insert(t, parent, name))) wrong = "memory";
    else wrong = read_columns(cmd, entry);
    if (wrong) {
        snprintf(err, err_size, "redis command table: %.*s%s%.*s: bad %s", parent ? (int)parent->name.n : 0,
                 parent ? (const char *)parent->name.p : "", parent ? " " : "", (int)min_size(name.n, NAME_MAX_BYTES),
                 name.n ? (const char *)name.p : "", wrong);
        return false;
    }
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
