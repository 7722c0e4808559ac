/* Where the keys of a request are. Fixed places come from the table. Commands whose keys stand behind a count or a
 * word have a finder here, written after what each of them accepts; commands learnt at run time bring key
 * specifications. Arguments Redis would refuse give no keys: whatever it is, the request then goes to a server
 * that says so. */
#include "redis_table.h"

enum finder { FIXED, NUMKEYS, DEST_NUMKEYS, STREAMS, MIGRATE, SORT, GEORADIUS, SPECS };

static const struct {
    const char *name;
    uint8_t finder, at; /* at: of a count its argument position; else where options begin */
} finders[] = {
    {"", FIXED, 0},
    {"EVAL", NUMKEYS, 2},
    {"EVALSHA", NUMKEYS, 2},
    {"EVAL_RO", NUMKEYS, 2},
    {"EVALSHA_RO", NUMKEYS, 2},
    {"FCALL", NUMKEYS, 2},
    {"FCALL_RO", NUMKEYS, 2},
    {"ZUNION", NUMKEYS, 1},
    {"ZINTER", NUMKEYS, 1},
    {"ZDIFF", NUMKEYS, 1},
    {"ZINTERCARD", NUMKEYS, 1},
    {"SINTERCARD", NUMKEYS, 1},
    {"LMPOP", NUMKEYS, 1},
    {"ZMPOP", NUMKEYS, 1},
    {"BLMPOP", NUMKEYS, 2},
    {"BZMPOP", NUMKEYS, 2},
    {"ZUNIONSTORE", DEST_NUMKEYS, 2},
    {"ZINTERSTORE", DEST_NUMKEYS, 2},
    {"ZDIFFSTORE", DEST_NUMKEYS, 2},
    {"XREAD", STREAMS, 1},
    {"XREADGROUP", STREAMS, 1},
    {"MIGRATE", MIGRATE, 6},
    {"SORT", SORT, 2},
    {"GEORADIUS", GEORADIUS, 6},
    {"GEORADIUSBYMEMBER", GEORADIUS, 5},
};
#define FINDER_SPECS countof(finders) /* redis_command.finder is an index of the table above, or this */

uint8_t redis_finder_of(const struct redis_command *cmd) {
    if (cmd->spec_count) return FINDER_SPECS;
    for (size_t i = 1; !cmd->parent && i < countof(finders); i++)
        if (slice_eq(cmd->name, slice_of(finders[i].name, strlen(finders[i].name)))) return (uint8_t)i;
    return 0;
}

/* ---- arguments ---- */

bool redis_has_word(const struct resp_request *r, const uint8_t *p, uint32_t from, struct slice upper) {
    if (from >= r->known) return false;
    struct resp_arg_iter it = resp_arg_from(r, p, from);
    struct slice arg;
    while (resp_arg_next(&it, &arg))
        if (redis_word_is(arg, upper)) return true;
    return false;
}

/* Options of a command: words with so many arguments behind them. */
struct option {
    const char *word;
    uint8_t takes;
    bool key; /* what stands behind it is a key */
};

/* The next option, `it` then standing behind its word and what it takes: its index in `options`, -1 for a word
 * that is none, -2 at the end. */
static int next_option(struct resp_arg_iter *it, const struct option *options, size_t count) {
    struct slice word, taken;
    if (!resp_arg_next(it, &word)) return -2;
    for (size_t i = 0; i < count; i++)
        if (redis_word_is(word, slice_of(options[i].word, strlen(options[i].word)))) {
            for (uint8_t takes = options[i].takes; takes && resp_arg_next(it, &taken);) takes--;
            return (int)i;
        }
    return -1;
}

/* The iterator before argument `at`, or at the end if there are not so many. */
static struct resp_arg_iter from(const struct redis_keys *k, uint32_t at) {
    return resp_arg_from(k->r, k->p, at < k->r->known ? at : k->r->known);
}

/* ---- ranges ---- */

/* Keys at first, first + step … last. What lies behind the arguments known so far is only noted. */
static void add_range(struct redis_keys *k, int64_t first, int64_t last, int64_t step) {
    if (first < 1 || first >= k->r->argc || step < 1 || k->count == REDIS_KEY_RANGES) return;
    if (last >= k->r->argc) last = (int64_t)k->r->argc - 1;
    if (last >= k->r->known) {
        k->partial = true;
        last = (int64_t)k->r->known - 1;
    }
    if (last < first) return;
    k->range[k->count].first = (uint32_t)first, k->range[k->count].last = (uint32_t)last;
    k->range[k->count++].step = (uint32_t)min_size((size_t)step, UINT32_MAX);
}

/* A number of keys at argument `at`, the keys from `first` on; none if there are fewer arguments than it says. */
static void counted(struct redis_keys *k, int64_t at, int64_t first, int64_t step) {
    uint64_t n;
    if (at < 1 || at >= k->r->argc) return;
    if (at >= k->r->known) {
        k->partial = true;
        return;
    }
    if (!resp_uint(resp_arg_at(k->r, k->p, (uint32_t)at), &n) || n == 0 || n > k->r->argc) return;
    int64_t last = first + ((int64_t)n - 1) * step;
    if (last < k->r->argc) add_range(k, first, last, step);
}

/* [COUNT n] [BLOCK ms] [GROUP g c] [NOACK] STREAMS key… id… */
static void streams(struct redis_keys *k, uint32_t at) {
    static const struct option options[] = {
        {"STREAMS", 0, false}, {"COUNT", 1, false}, {"BLOCK", 1, false}, {"GROUP", 2, false}, {"NOACK", 0, false}};
    struct resp_arg_iter it = from(k, at);
    int option;
    do option = next_option(&it, options, countof(options));
    while (option > 0);
    if (option == -2 && k->r->known < k->r->argc) k->partial = true;
    if (option != 0 || (k->r->argc - it.i) % 2) return;
    add_range(k, it.i, (int64_t)it.i + (k->r->argc - it.i) / 2 - 1, 1);
}

/* host port key|"" db timeout [COPY] [REPLACE] [AUTH p] [AUTH2 u p] [KEYS key…] */
static void migrate(struct redis_keys *k, uint32_t at) {
    static const struct option options[] = {{"KEYS", 0, false}, {"AUTH", 1, false}, {"AUTH2", 2, false}};
    struct resp_arg_iter it = from(k, at);
    int option;
    do option = next_option(&it, options, countof(options));
    while (option != 0 && option != -2);
    bool named = k->r->known > 3 && resp_arg_at(k->r, k->p, 3).n > 0;
    if (option == 0 && !named) add_range(k, it.i, (int64_t)k->r->argc - 1, 1); /* Redis refuses both at once */
    if (option == -2) add_range(k, 3, 3, 1);
    if (option == -2 && k->r->known < k->r->argc) k->partial = true;
}

/* key … [STORE key]: the last one counts. Options that take arguments are known, so that none of these is taken
 * for one. */
static void stored(struct redis_keys *k, uint32_t at, const struct option *options, size_t count) {
    struct resp_arg_iter it = from(k, at);
    uint32_t store = 0, before = at;
    for (int option; (option = next_option(&it, options, count)) != -2; before = it.i)
        if (option >= 0 && options[option].key && it.i > before + 1) store = it.i - 1;
    add_range(k, 1, 1, 1);
    if (store) add_range(k, store, store, 1);
    if (k->r->known < k->r->argc) k->partial = true;
}

/* Position of the specification's word, 0 when it isn't there. Backwards it is the last one not behind the start. */
static int64_t find_word(const struct redis_keys *k, const struct redis_key_spec *s) {
    int64_t start = s->begin > 0 ? s->begin : (int64_t)k->r->argc + s->begin, found = 0;
    struct resp_arg_iter it = from(k, s->begin > 0 ? (uint32_t)s->begin : 1);
    struct slice arg;
    for (int64_t at = it.i; (s->begin > 0 ? !found : at <= start) && resp_arg_next(&it, &arg); at++)
        if (redis_word_is(arg, slice_of(s->word, s->word_size))) found = at;
    return found;
}

static void specified(struct redis_keys *k, const struct redis_key_spec *s) {
    int64_t argc = k->r->argc, begin = s->begin;
    if (s->word_size) {
        if (k->r->known < argc) k->partial = true;
        int64_t at = find_word(k, s);
        if (!at) return;
        begin = at + 1;
    }
    if (s->counted) counted(k, begin + s->count_at, begin + s->first, s->step);
    else if (s->last >= 0) add_range(k, begin, begin + s->last, s->step);
    else add_range(k, begin, (s->limit > 1 ? begin + (argc - begin) / s->limit : argc) + s->last, s->step);
}

/* ---- the iteration ---- */

void redis_keys_begin(struct redis_keys *k, const struct redis_command *cmd, const struct resp_request *r,
                      const uint8_t *p) {
    static const struct option sort[] = {{"STORE", 1, true}, {"LIMIT", 2, false}, {"GET", 1, false}, {"BY", 1, false}};
    static const struct option geo[] = {{"STORE", 1, true}, {"STOREDIST", 1, true}};
    k->r = r, k->p = p, k->partial = false, k->at = k->count = 0;
    if (!cmd || r->argc < 2) return;
    uint32_t at = cmd->finder < FINDER_SPECS ? finders[cmd->finder].at : 0;
    switch (cmd->finder < FINDER_SPECS ? finders[cmd->finder].finder : SPECS) {
    case FIXED:
        if (cmd->first > 0)
            add_range(k, cmd->first, cmd->last < 0 ? (int64_t)r->argc + cmd->last : cmd->last, cmd->step);
        break;
    case NUMKEYS: counted(k, at, at + 1, 1); break;
    case DEST_NUMKEYS:
        add_range(k, 1, 1, 1);
        counted(k, at, at + 1, 1);
        break;
    case STREAMS: streams(k, at); break;
    case MIGRATE: migrate(k, at); break;
    case SORT: stored(k, at, sort, countof(sort)); break;
    case GEORADIUS: stored(k, at, geo, countof(geo)); break;
    case SPECS:
        for (uint32_t i = 0; i < cmd->spec_count; i++) specified(k, &cmd->specs[i]);
        break;
    }
    if (k->count) k->next = k->range[0].first, k->it = resp_arg_from(r, p, k->next);
}

bool redis_keys_next(struct redis_keys *k, struct slice *key) {
    struct slice skipped;
    if (k->at >= k->count) return false;
    if (k->next > k->range[k->at].last) {
        if (++k->at == k->count) return false;
        k->next = k->range[k->at].first;
        k->it = resp_arg_from(k->r, k->p, k->next);
    }
    while (k->it.i < k->next)
        if (!resp_arg_next(&k->it, &skipped)) return false;
    if (!resp_arg_next(&k->it, key)) return false;
    k->arg = k->next;
    k->next = k->next <= UINT32_MAX - k->range[k->at].step ? k->next + k->range[k->at].step : UINT32_MAX;
    return true;
}

bool redis_first_key(const struct redis_command *cmd, const struct resp_request *r, const uint8_t *p,
                     struct slice *key) {
    if (likely(!cmd->finder)) {
        if (cmd->first <= 0 || (uint32_t)cmd->first >= r->known) return false;
        *key = resp_arg_at(r, p, (uint32_t)cmd->first);
        return true;
    }
    struct redis_keys k;
    redis_keys_begin(&k, cmd, r, p);
    return redis_keys_next(&k, key);
}
