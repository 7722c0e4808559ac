/* Commands a table learns from an upstream's COMMAND reply: modules, and servers newer than the table. An entry is
 * [name, arity, flags, first key, last key, step, ACL categories, tips, key specifications, subcommands]; servers
 * before 7.0 send the first six or seven only. */
#include "redis_table.h"

#include <stdlib.h>

#define SPECS_MAX 8 /* key specifications per command; Redis' own have three at most */

static bool read_int(struct slice *in, int32_t *value) {
    struct resp_value v;
    int64_t n;
    if (!resp_read(in, &v) || v.type != ':' || !resp_int(v.text, &n) || n < INT32_MIN || n > INT32_MAX) return false;
    *value = (int32_t)n;
    return true;
}

static const struct {
    const char *word;
    uint32_t flags;
} server_flags[] = {
    {"write", REDIS_WRITE},         {"readonly", REDIS_READ},   {"admin", REDIS_ADMIN},
    {"pubsub", REDIS_PUBSUB},       {"loading", REDIS_LOADING}, {"blocking", REDIS_BLOCKING},
    {"movablekeys", REDIS_MOVABLE}, {"no_auth", REDIS_NOAUTH},  {"no_multi", REDIS_NOMULTI},
    {"stale", REDIS_STALE},
};

static bool read_flags(struct slice *in, uint32_t *flags) {
    struct resp_value head, word;
    if (!resp_read(in, &head) || (head.type != '*' && head.type != '~')) return false;
    for (uint32_t i = 0; i < head.count; i++) {
        if (!resp_read(in, &word) || word.count) return false;
        for (size_t k = 0; k < countof(server_flags); k++)
            if (slice_eq(word.text, slice_of(server_flags[k].word, strlen(server_flags[k].word))))
                *flags |= server_flags[k].flags;
    }
    return true;
}

/* ---- key specifications ---- */

/* The value of `key` in a map at `in` (RESP3, or flat in RESP2), as bytes. */
static bool member(struct slice in, const char *key, struct slice *value) {
    struct resp_value head, name;
    if (!resp_read(&in, &head) || (head.type != '*' && head.type != '%')) return false;
    for (uint32_t i = 0; i + 1 < head.count; i += 2) {
        if (!resp_read(&in, &name) || name.count || !resp_take(&in, value)) return false;
        if (slice_eq(name.text, slice_of(key, strlen(key)))) return true;
    }
    return false;
}

static bool member_int(struct slice map, const char *key, int32_t *value) {
    struct slice v;
    return member(map, key, &v) && read_int(&v, value) && *value > -(1 << 20) && *value < 1 << 20;
}

static bool member_is(struct slice map, const char *key, const char *word) {
    struct slice v;
    struct resp_value text;
    return member(map, key, &v) && resp_read(&v, &text) && slice_eq(text.text, slice_of(word, strlen(word)));
}

static bool read_begin(struct slice map, struct redis_key_spec *s) {
    struct slice spec, word;
    struct resp_value v;
    if (!member(map, "spec", &spec)) return false;
    if (member_is(map, "type", "index")) return member_int(spec, "index", &s->begin) && s->begin > 0;
    if (!member_is(map, "type", "keyword") || !member(spec, "keyword", &word) || !resp_read(&word, &v)) return false;
    if (v.text.n == 0 || v.text.n > sizeof s->word) return false;
    s->word_size = (uint8_t)v.text.n;
    for (size_t i = 0; i < v.text.n; i++)
        s->word[i] = (char)(v.text.p[i] >= 'a' && v.text.p[i] <= 'z' ? v.text.p[i] - 32 : v.text.p[i]);
    return member_int(spec, "startfrom", &s->begin) && s->begin != 0;
}

static bool read_find(struct slice map, struct redis_key_spec *s) {
    struct slice spec;
    if (!member(map, "spec", &spec) || !member_int(spec, "keystep", &s->step) || s->step < 1) return false;
    if (member_is(map, "type", "range"))
        return member_int(spec, "lastkey", &s->last) && member_int(spec, "limit", &s->limit) && s->limit >= 0;
    s->counted = member_is(map, "type", "keynum");
    return s->counted && member_int(spec, "keynumidx", &s->count_at) && member_int(spec, "firstkey", &s->first) &&
           s->count_at >= 0 && s->first >= 0;
}

/* Those of the specifications that say where keys are ("unknown" ones do not). false: malformed, or memory is out. */
static bool read_specs(struct slice *in, struct redis_command *cmd) {
    struct resp_value head;
    if (!resp_read(in, &head) || (head.type != '*' && head.type != '~')) return false;
    uint32_t room = (uint32_t)min_size(head.count, SPECS_MAX);
    if (room && !cmd->specs && !(cmd->specs = calloc(room, sizeof *cmd->specs))) return false;
    for (uint32_t i = 0; i < head.count; i++) {
        struct slice spec, begin, find;
        if (!resp_take(in, &spec)) return false;
        if (cmd->spec_count == room || !member(spec, "begin_search", &begin) || !member(spec, "find_keys", &find))
            continue;
        struct redis_key_spec s = {0};
        if (read_begin(begin, &s) && read_find(find, &s)) cmd->specs[cmd->spec_count++] = s;
    }
    return true;
}

/* ---- entries ---- */

static int add_entry(struct redis_table *t, struct redis_command *parent, struct slice in);

static bool add_subcommands(struct redis_table *t, struct redis_command *cmd, struct slice *in) {
    struct resp_value head;
    if (!resp_read(in, &head) || (head.type != '*' && head.type != '~')) return false;
    for (uint32_t i = 0; i < head.count; i++) {
        struct slice entry;
        if (!resp_take(in, &entry) || add_entry(t, cmd, entry) < 0) return false;
    }
    return true;
}

/* "xgroup|create" -> "create" */
static struct slice bare(struct slice name) {
    const uint8_t *bar = name.n ? memchr(name.p, '|', name.n) : NULL;
    return bar ? slice_of(bar + 1, (size_t)(name.p + name.n - bar - 1)) : name;
}

static int add_entry(struct redis_table *t, struct redis_command *parent, struct slice in) {
    struct resp_value head, name;
    struct redis_command c = {0};
    if (!resp_read(&in, &head) || head.type != '*') return -1;
    if (head.null) return 0; /* COMMAND INFO of a name the server doesn't know */
    if (head.count < 6 || !resp_read(&in, &name) || (name.type != '$' && name.type != '+')) return -1;
    if (!read_int(&in, &c.arity) || !read_flags(&in, &c.flags) || !read_int(&in, &c.first) || !read_int(&in, &c.last) ||
        !read_int(&in, &c.step))
        return -1;
    struct slice own = parent ? bare(name.text) : name.text;
    if (own.n == 0 || own.n > 128 || (parent ? redis_command_sub(parent, own) : redis_table_find(t, own))) return 0;
    for (uint32_t i = 6; i < head.count && i < 8; i++) /* ACL categories and tips */
        if (!resp_skip(&in)) return -1;
    struct redis_command *cmd = redis_table_insert(t, parent, own);
    if (!cmd) return -1;
    cmd->arity = c.arity, cmd->flags = c.flags, cmd->learnt = true;
    if (c.first > 0 && c.step > 0) cmd->first = c.first, cmd->last = c.last, cmd->step = c.step;
    cmd->class = c.flags & REDIS_BLOCKING ? REDIS_CLASS_BLOCKING : REDIS_CLASS_PLAIN;
    cmd->merge = REDIS_MERGE_NONE;
    if (head.count > 8 && !read_specs(&in, cmd)) return -1;
    /* the six numbers say it all unless keys move about; then the specifications do, as far as they go */
    if (cmd->spec_count && (c.flags & REDIS_MOVABLE || cmd->first == 0)) cmd->finder = redis_finder_of(cmd);
    if (head.count > 9 && !parent && !add_subcommands(t, cmd, &in)) return -1;
    return 1;
}

int redis_table_add(struct redis_table *t, struct slice entry) { return add_entry(t, NULL, entry); }

int redis_table_learn(struct redis_table *t, struct slice in) {
    struct resp_value head;
    int added = 0;
    if (!resp_read(&in, &head) || (head.type != '*' && head.type != '~')) return -1;
    for (uint32_t i = 0; i < head.count; i++) {
        struct slice entry;
        int got = resp_take(&in, &entry) ? redis_table_add(t, entry) : -1;
        if (got < 0) return -1;
        added += got;
    }
    return added;
}
