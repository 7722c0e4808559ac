/* Where the keys of a request are. Fixed places come from the table; the commands that name their keys by a count or behind a
 * word have a finder here. Arguments Redis would refuse give no keys. */
#include "redis_table.h"

enum finder { FIND_RANGE, FIND_NUMKEYS, FIND_DEST_NUMKEYS, FIND_STREAMS, FIND_MIGRATE, FIND_STORE };

static const struct {
    const char *name;
    uint8_t finder, at;
} finders[] = {
    {"EVAL", FIND_NUMKEYS, 2},
    {"EVALSHA", FIND_NUMKEYS, 2},
    {"EVAL_RO", FIND_NUMKEYS, 2},
    {"EVALSHA_RO", FIND_NUMKEYS, 2},
    {"FCALL", FIND_NUMKEYS, 2},
    {"FCALL_RO", FIND_NUMKEYS, 2},
    {"ZUNION", FIND_NUMKEYS, 1},
    {"ZINTER", FIND_NUMKEYS, 1},
    {"ZDIFF", FIND_NUMKEYS, 1},
    {"ZINTERCARD", FIND_NUMKEYS, 1},
    {"SINTERCARD", FIND_NUMKEYS, 1},
    {"LMPOP", FIND_NUMKEYS, 1},
    {"ZMPOP", FIND_NUMKEYS, 1},
    {"BLMPOP", FIND_NUMKEYS, 2},
    {"BZMPOP", FIND_NUMKEYS, 2},
    {"ZUNIONSTORE", FIND_DEST_NUMKEYS, 2},
    {"ZINTERSTORE", FIND_DEST_NUMKEYS, 2},
    {"ZDIFFSTORE", FIND_DEST_NUMKEYS, 2},
    {"XREAD", FIND_STREAMS, 1},
    {"XREADGROUP", FIND_STREAMS, 1},
    {"MIGRATE", FIND_MIGRATE, 3},
    {"SORT", FIND_STORE, 2},
    {"GEORADIUS", FIND_STORE, 6},
    {"GEORADIUSBYMEMBER", FIND_STORE, 5},
};

uint8_t redis_finder_of(const struct redis_command *cmd) {
    for (size_t i = 0; !cmd->parent && i < countof(finders); i++)
        if (slice_eq(cmd->name, slice_of(finders[i].name, strlen(finders[i].name)))) return (uint8_t)(i + 1);
    return 0;
}

static bool same_word(struct slice s, struct slice upper) {
    if (s.n != upper.n) return false;
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 32 : s.p[i]) != upper.p[i]) return false;
    return true;
}

/* Position of the word from argument `from` on, 0 when absent. */
static uint32_t find_word(const struct resp_request *r, const uint8_t *p, uint32_t from, struct slice word) {
    if (from >= r->known) return 0;
    struct resp_arg_iter it = resp_arg_from(r, p, from);
    struct slice arg;
    for (uint32_t i = from; resp_arg_next(&it, &arg); i++)
        if (same_word(arg, word)) return i;
    return 0;
}

bool redis_has_word(const struct resp_request *r, const uint8_t *p, uint32_t from, struct slice word) {
    return find_word(r, p, from, word) != 0;
}

static void add_range(struct redis_keys *k, int64_t first, int64_t last, int32_t step) {
    if (first < 1 || last < first || first >= k->r->argc || k->count == REDIS_KEY_RANGES) return;
    if (last >= k->r->argc) last = k->r->argc - 1;
    if (last >= k->r->known) {
        k->partial = true;
        if (first >= k->r->known) return;
        last = k->r->known - 1;
    }
    k->range[k->count].first = (uint32_t)first, k->range[k->count].last = (uint32_t)last,
    k->range[k->count].step = step > 0 ? (uint32_t)step : 1;
    k->count++;
}

static void counted(struct redis_keys *k, uint32_t at) {
    uint64_t n;
    if (at >= k->r->known) {
        k->partial |= at < k->r->argc;
        return;
    }
    if (!resp_uint(resp_arg_at(k->r, k->p, at), &n) || n == 0 || n >= k->r->argc || at + n >= k->r->argc) return;
    add_range(k, at + 1, (int64_t)(at + n), 1);
}

/* The option words of a command, as far as their own arguments must be passed over: a value may look like another word. */
struct option {
    struct slice word;
    uint32_t values;
};
#define OPTION(word, values) ((struct option){SLICE(word), values})

/* Goes over options from argument `at` on; words that are none of them count as options without a value. Where `sought`
 * stands, the last one if `last`, else the first; 0 when it is absent. */
static uint32_t find_option(struct redis_keys *k, uint32_t at, struct slice sought, const struct option *options,
                            size_t count, bool last) {
    uint32_t found = 0, next = at;
    struct slice arg;
    if (at >= k->r->known) {
        if (at < k->r->argc) k->partial = true;
        return 0;
    }
    struct resp_arg_iter it = resp_arg_from(k->r, k->p, at);
    for (; resp_arg_next(&it, &arg); at++) {
        if (at < next) continue;
        next = at + 1;
        if (same_word(arg, sought)) {
            found = at++;
            if (!last || !resp_arg_next(&it, &arg)) break;
            next = at + 1;
            continue;
        }
        for (size_t i = 0; i < count; i++)
            if (same_word(arg, options[i].word)) next += options[i].values;
    }
    if ((last || !found) && k->r->known < k->r->argc) k->partial = true;
    return found;
}

static void streams(struct redis_keys *k, uint32_t from) {
    const struct option options[] = {OPTION("COUNT", 1), OPTION("BLOCK", 1), OPTION("GROUP", 2)};
    uint32_t at = find_option(k, from, SLICE("STREAMS"), options, countof(options), false),
             left = at ? k->r->argc - 1 - at : 0;
    if (left && left % 2 == 0) add_range(k, at + 1, at + left / 2, 1);
}

static void migrate(struct redis_keys *k) {
    const struct option options[] = {OPTION("AUTH", 1), OPTION("AUTH2", 2)};
    uint32_t at = find_option(k, 6, SLICE("KEYS"), options, countof(options), false);
    if (k->r->known > 3 && resp_arg_at(k->r, k->p, 3).n) add_range(k, 3, 3, 1);
    if (at) add_range(k, at + 1, k->r->argc - 1, 1);
}

/* Of several destinations the last one is written. */
static void stored(struct redis_keys *k, uint32_t from) {
    const struct option sort[] = {OPTION("BY", 1), OPTION("GET", 1), OPTION("LIMIT", 2)};
    const struct option geo[] = {OPTION("COUNT", 1), OPTION("STOREDIST", 1)},
                        dist[] = {OPTION("COUNT", 1), OPTION("STORE", 1)};
    bool is_sort = from == 2;
    uint32_t at =
        find_option(k, from, SLICE("STORE"), is_sort ? sort : geo, is_sort ? countof(sort) : countof(geo), true);
    uint32_t distances = is_sort ? 0 : find_option(k, from, SLICE("STOREDIST"), dist, countof(dist), true);
    add_range(k, 1, 1, 1);
    if (at) add_range(k, at + 1, at + 1, 1);
    if (distances) add_range(k, distances + 1, distances + 1, 1);
}

void redis_keys_begin(struct redis_keys *k, const struct redis_command *cmd, const struct resp_request *r,
                      const uint8_t *p) {
    memset(k, 0, sizeof *k);
    k->r = r, k->p = p;
    if (!cmd || r->argc < 2) return;
    uint32_t at = cmd->finder ? finders[cmd->finder - 1].at : 0;
    switch (cmd->finder ? finders[cmd->finder - 1].finder : FIND_RANGE) {
    case FIND_NUMKEYS: counted(k, at); break;
    case FIND_DEST_NUMKEYS: add_range(k, 1, 1, 1), counted(k, at); break;
    case FIND_STREAMS: streams(k, at); break;
    case FIND_MIGRATE: migrate(k); break;
    case FIND_STORE: stored(k, at); break;
    default:
        if (cmd->first > 0)
            add_range(k, cmd->first, cmd->last < 0 ? (int64_t)r->argc + cmd->last : cmd->last, cmd->step);
    }
    if (k->count) k->next = k->range[0].first, k->it = resp_arg_from(r, p, k->next);
}

bool redis_keys_next(struct redis_keys *k, struct slice *key) {
    struct slice skipped;
    while (k->at < k->count) {
        if (k->next > k->range[k->at].last) {
            if (++k->at == k->count) return false;
            k->next = k->range[k->at].first;
            k->it = resp_arg_from(k->r, k->p, k->next);
            continue;
        }
        while (k->it.i < k->next)
            if (!resp_arg_next(&k->it, &skipped)) return false;
        if (!resp_arg_next(&k->it, key)) return false;
        k->arg = k->next;
        k->next += k->range[k->at].step;
        return true;
    }
    return false;
}

bool redis_first_key(const struct redis_command *cmd, const struct resp_request *r, const uint8_t *p,
                     struct slice *key) {
    if (likely(!cmd->finder)) {
        if (cmd->first <= 0 || (uint32_t)cmd->first >= r->known) return false;
        *key = likely(cmd->first < RESP_ARGS) ? slice_of(p + r->arg[cmd->first].off, r->arg[cmd->first].len)
                                              : resp_arg_at(r, p, (uint32_t)cmd->first);
        return true;
    }
    struct redis_keys k;
    redis_keys_begin(&k, cmd, r, p);
    return redis_keys_next(&k, key);
}
