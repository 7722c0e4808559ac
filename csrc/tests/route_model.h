/* For the tests of routing: a codec with attributes that are just set, random tables, and the plain meaning of a
 * predicate, evaluated straight off the plan, that the compiled table must agree with. */
#ifndef MOSNPY_ROUTE_MODEL_H
#define MOSNPY_ROUTE_MODEL_H

#include "pack.h"
#include "route/route.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the codec: struct codec and struct message are whatever these functions make of them --- */

enum {
    MODEL_KEY,
    MODEL_KEYS,
    MODEL_DB,
    MODEL_FLAG,
    MODEL_USER,
    MODEL_TAGS,
    MODEL_COUNT,
    MODEL_OPERATION = MODEL_COUNT,
    MODEL_RESOURCE,
    MODEL_ALL
};
enum { MODEL_STRINGS = 64 };
static const struct {
    const char *name;
    uint16_t id;
    enum attr_type type;
} model_attributes[MODEL_ALL] = {
    {"model.key", ATTR_CODEC + MODEL_KEY, ATTR_STR},   {"model.keys", ATTR_CODEC + MODEL_KEYS, ATTR_STRS},
    {"model.db", ATTR_CODEC + MODEL_DB, ATTR_INT},     {"model.flag", ATTR_CODEC + MODEL_FLAG, ATTR_BOOL},
    {"model.user", ATTR_CODEC + MODEL_USER, ATTR_STR}, {"model.tags", ATTR_CODEC + MODEL_TAGS, ATTR_STRS},
    {"operation", ATTR_operation, ATTR_STR},           {"resource", ATTR_resource, ATTR_STR},
};

struct message {
    bool has[MODEL_ALL];
    struct slice text[MODEL_ALL];
    struct slice keys[MODEL_STRINGS]; /* MODEL_KEYS; MODEL_TAGS is the last half of them, backwards */
    uint32_t key_count;
    int64_t number[MODEL_ALL];
};

static inline bool model_string(const struct message *m, int attribute, uint32_t i, struct slice *s) {
    if (i >= (attribute == MODEL_KEYS ? m->key_count : m->key_count / 2)) return false;
    *s = m->keys[attribute == MODEL_KEYS ? i : m->key_count - 1 - i];
    return true;
}

static uint32_t model_fetches[MODEL_ALL]; /* calls of attr_get since they were last cleared */

bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v) {
    for (uint32_t a = 0; a < MODEL_ALL; a++) {
        if (model_attributes[a].id != id) continue;
        model_fetches[a]++;
        v->type = model_attributes[a].type;
        switch (v->type) {
        case ATTR_STRS: return model_string(msg, (int)a, i, &v->s);
        case ATTR_STR: v->s = msg->text[a]; break;
        case ATTR_INT: v->i = msg->number[a]; break;
        case ATTR_BOOL: v->b = msg->number[a] != 0; break;
        }
        return i == 0 && msg->has[a];
    }
    return false;
}

static inline int model_attribute(struct slice name) {
    for (int a = 0; a < MODEL_ALL; a++) {
        const char *full = model_attributes[a].name;
        if (slice_eq(name, slice_of(full, strlen(full)))) return a;
        if (strncmp(full, "model.", 6) == 0 && slice_eq(name, slice_of(full + 6, strlen(full) - 6))) return a;
    }
    return -1;
}

bool attr_params_full(void) { return false; }

uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type) {
    (void)codec;
    int a = model_attribute(name);
    if (a < 0) return ATTR_NONE;
    *type = model_attributes[a].type;
    return model_attributes[a].id;
}

/* --- what a predicate means --- */

static inline bool model_glob(struct slice g,
                              struct slice s) { /* by dynamic programming: fits[j] = pattern so far takes s[0..j) */
    bool *fits = calloc(s.n + 1, 1), *then = calloc(s.n + 1, 1);
    fits[0] = true;
    for (size_t i = 0; i < g.n;) {
        bool set[256] = {0}, star = false, negated = false;
        uint8_t c = g.p[i++];
        if (c == '*') {
            star = true;
        } else if (c == '?') {
            memset(set, 1, sizeof set);
        } else if (c == '[') {
            if (i < g.n && g.p[i] == '^') negated = true, i++;
            for (; i < g.n && g.p[i] != ']'; i++) {
                if (g.p[i] == '\\' && i + 1 < g.n) {
                    set[g.p[++i]] = true;
                } else if (i + 2 < g.n && g.p[i + 1] == '-') {
                    int a = g.p[i], b = g.p[i + 2];
                    for (int x = a < b ? a : b; x <= (a < b ? b : a); x++) set[x] = true;
                    i += 2;
                } else {
                    set[g.p[i]] = true;
                }
            }
            if (i < g.n) i++;
        } else {
            if (c == '\\' && i < g.n) c = g.p[i++];
            set[c] = true;
        }
        then[0] = star && fits[0];
        for (size_t j = 0; j < s.n; j++)
            then[j + 1] = star ? fits[j + 1] || then[j] : fits[j] && set[s.p[j]] != negated;
        bool *swap = fits;
        fits = then, then = swap;
    }
    bool result = fits[s.n];
    free(fits), free(then);
    return result;
}

/* Segment by segment. Pattern and text are what follows the last slash looked at. */
static inline bool model_segments(struct slice g, struct slice s) {
    const uint8_t *slash = g.n ? memchr(g.p, '/', g.n) : NULL;
    struct slice one = slice_of(g.p, slash ? (size_t)(slash - g.p) : g.n);
    bool brace = one.n && one.p[0] == '{', rest = brace && one.n > 3 && !memcmp(one.p + one.n - 3, "**}", 3);
    if (rest) return true;
    const uint8_t *end = s.n ? memchr(s.p, '/', s.n) : NULL;
    struct slice is = slice_of(s.p, end ? (size_t)(end - s.p) : s.n);
    if (brace ? is.n == 0 : !slice_eq(one, is)) return false;
    if (!slash || !end) return !slash && !end;
    return model_segments(slice_of(slash + 1, g.n - one.n - 1), slice_of(end + 1, s.n - is.n - 1));
}

static inline bool model_decimal(struct slice s, long double *n) {
    size_t digits = s.n && s.p[0] == '-' ? s.n - 1 : s.n;
    if (!digits) return false;
    long double sum = 0;
    for (size_t i = s.n - digits; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        if (sum < 1e19L) sum = sum * 10 + (s.p[i] - '0');
    }
    *n = digits == s.n ? sum : -sum;
    if (*n > INT64_MAX) *n = INT64_MAX;
    if (*n < INT64_MIN) *n = INT64_MIN;
    return true;
}

static inline long double model_number(struct mpack v) {
    return v.type == MP_UINT ? (long double)v.u : v.type == MP_INT ? (long double)v.i : v.d;
}

static inline bool model_equal(int a, const struct message *m, struct slice s, struct mpack v) {
    char digits[40];
    if (model_attributes[a].type == ATTR_STR || model_attributes[a].type == ATTR_STRS) {
        if (v.type == MP_STR) return slice_eq(s, v.s);
        snprintf(digits, sizeof digits, "%.0Lf", v.type == MP_BOOL ? 0 : model_number(v));
        const char *text = v.type == MP_BOOL ? (v.b ? "true" : "false") : digits;
        return slice_eq(s, slice_of(text, strlen(text)));
    }
    long double want;
    if (v.type == MP_BOOL) want = v.b;
    else if (v.type != MP_STR) want = model_number(v);
    else if (!model_decimal(v.s, &want)) want = v.s.n == 4; /* "true" */
    return want == (model_attributes[a].type == ATTR_BOOL ? m->number[a] != 0 : (long double)m->number[a]);
}

static inline bool model_regex(struct slice pattern, struct slice s) { /* PCRE2's interpreter */
    int code;
    size_t offset;
    pcre2_code *regex = pcre2_compile(pattern.p, pattern.n, PCRE2_DOLLAR_ENDONLY, &code, &offset, NULL);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    code = pcre2_match(regex, s.n ? s.p : (PCRE2_SPTR) "", s.n, 0, 0, match, NULL);
    pcre2_match_data_free(match);
    pcre2_code_free(regex);
    return code >= 0;
}

static inline bool model_value(const char *op, int a, const struct message *m, struct slice s, struct mpack v) {
    if (!strcmp(op, "eq")) return model_equal(a, m, s, v);
    if (!strcmp(op, "exists")) return true;
    if (!strcmp(op, "in")) {
        struct mpack one;
        for (struct mpack_iter it = mpack_iter(v); mpack_next(&it, &one);)
            if (model_equal(a, m, s, one)) return true;
        return false;
    }
    if (!strcmp(op, "prefix")) return s.n >= v.s.n && !memcmp(s.n ? s.p : (void *)"", v.s.p, v.s.n);
    if (!strcmp(op, "suffix")) return s.n >= v.s.n && slice_eq(slice_of(s.p ? s.p + s.n - v.s.n : NULL, v.s.n), v.s);
    if (!strcmp(op, "contains")) {
        for (size_t i = 0; i + v.s.n <= s.n; i++)
            if (slice_eq(slice_of(s.p ? s.p + i : NULL, v.s.n), v.s)) return true;
        return false;
    }
    if (!strcmp(op, "glob")) return model_glob(v.s, s);
    if (!strcmp(op, "segments")) return model_segments(v.s, s);
    if (!strcmp(op, "regex")) return model_regex(v.s, s);
    long double n = (long double)m->number[a], with = model_number(v);
    if (model_attributes[a].type != ATTR_INT && !model_decimal(s, &n)) return false;
    return !strcmp(op, "lt") ? n < with : !strcmp(op, "le") ? n <= with : !strcmp(op, "gt") ? n > with : n >= with;
}

static inline bool model_holds(struct mpack p, const struct message *m) {
    if (p.type != MP_ARRAY) return true;
    struct mpack_iter it = mpack_iter(p);
    struct mpack word, child, name, value = {0};
    char op[16] = {0};
    mpack_next(&it, &word);
    memcpy(op, word.s.p, min_size(word.s.n, sizeof op - 1));
    bool all = !strcmp(op, "and");
    if (!strcmp(op, "true")) return true;
    if (!strcmp(op, "not")) return mpack_next(&it, &child) && !model_holds(child, m);
    if (all || !strcmp(op, "or")) {
        while (mpack_next(&it, &child))
            if (model_holds(child, m) != all) return !all;
        return all;
    }
    mpack_next(&it, &name);
    mpack_next(&it, &value);
    int a = model_attribute(name.s);
    if (model_attributes[a].type != ATTR_STRS) return m->has[a] && model_value(op, a, m, m->text[a], value);
    struct slice s;
    for (uint32_t i = 0; model_string(m, a, i, &s); i++)
        if (model_value(op, a, m, s, value)) return true;
    return false;
}

/* The first route that holds, -1 = none. */
static inline int model_find(struct mpack table, const struct message *m) {
    struct mpack_iter it = mpack_iter(mpack_get(table, "routes"));
    struct mpack route;
    for (int i = 0; mpack_next(&it, &route); i++)
        if (model_holds(mpack_get(route, "when"), m)) return i;
    return -1;
}

/* --- random tables and messages, from a generator or from a fuzzer's bytes --- */

struct dice {
    uint64_t rng; /* 0: from the bytes, then zeros */
    const uint8_t *p, *end;
};

static inline uint32_t roll(struct dice *d, uint32_t n) {
    if (d->rng) return (uint32_t)(rng_next(&d->rng) >> 33) % n;
    return d->p < d->end ? *d->p++ % n : 0;
}

/* Few letters and common beginnings, so that strings meet: as prefixes of each other, equal, on both sides of a word.
 * */
static inline struct slice random_text(struct dice *d, uint8_t *room, bool glob) {
    static const char *const heads[] = {"", "", "a", "ab:", "tenant1", "tenant12:ab", "0123456789abcdef:", "a/1/b/"};
    const char *letters = glob ? "ab:1*?[]^-\\*" : "ab:1/", *head = heads[roll(d, countof(heads))];
    size_t n = strlen(head), more = roll(d, roll(d, 4) ? 5 : 20);
    memcpy(room, head, n);
    while (more--) room[n++] = (uint8_t)letters[roll(d, (uint32_t)strlen(letters))];
    return slice_of(room, n);
}

static inline struct slice random_segments(struct dice *d, uint8_t *room) {
    static const char *const pieces[] = {"a", "b", "1", "ab:", "{id}", "{id}", "{name=*}", ""};
    size_t n = 0;
    for (uint32_t left = roll(d, 5) + 1; left--;) {
        const char *piece = pieces[roll(d, countof(pieces))];
        if (left == 0 && roll(d, 4) == 1) piece = "{rest=**}";
        if (n) room[n++] = '/';
        memcpy(room + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return slice_of(room, n);
}

static const char *const random_regexes[] = {"^a", "b$", "a.*b", "^(ab|ba)+:", "[^a]$", "^tenant[0-9]+:", "1"};

static inline void random_value(struct pack *k, struct dice *d, int a) {
    uint8_t room[64];
    static const int64_t numbers[] = {0, 1, 1, 11, -1, 2, INT64_MAX, INT64_MIN};
    switch (model_attributes[a].type) {
    case ATTR_INT:
        if (roll(d, 8) == 0) pack_text(k, roll(d, 2) ? "1" : "-1");
        else pack_int(k, numbers[roll(d, countof(numbers))]);
        break;
    case ATTR_BOOL: roll(d, 4) ? pack_bool(k, roll(d, 2)) : pack_text(k, roll(d, 2) ? "true" : "false"); break;
    default: roll(d, 8) ? pack_str(k, random_text(d, room, false)) : pack_int(k, roll(d, 12));
    }
}

static inline void random_leaf(struct pack *k, struct dice *d) {
    static const char *const ops[] = {"eq",     "in",     "lt",   "le",     "gt",       "ge",    "exists",
                                      "prefix", "prefix", "glob", "suffix", "contains", "regex", "segments"};
    static const double bounds[] = {0.5, -0.5, 1, 1.5, -1e30, 1e30, 11, 9223372036854775808.0};
    int a = (int)roll(d, MODEL_ALL);
    if (roll(d, 2)) a = MODEL_KEY;
    enum attr_type type = model_attributes[a].type;
    const char *op = ops[roll(d, type == ATTR_INT    ? 7
                                 : type == ATTR_BOOL ? 2
                                                     : countof(ops))],
               *name = model_attributes[a].name;
    uint8_t room[64];
    pack_array(k, !strcmp(op, "exists") ? 2 : 3);
    pack_text(k, op);
    pack_text(k, roll(d, 2) && !strncmp(name, "model.", 6) ? name + 6 : name);
    if (!strcmp(op, "exists")) return;
    if (!strcmp(op, "eq")) {
        random_value(k, d, a);
    } else if (!strcmp(op, "in")) {
        uint32_t n = roll(d, 6);
        pack_array(k, n);
        while (n--) random_value(k, d, a);
    } else if (op[0] == 'l' || (op[0] == 'g' && op[1] != 'l')) {
        roll(d, 2) ? pack_int(k, (int64_t)roll(d, 14) - 2) : pack_double(k, bounds[roll(d, countof(bounds))]);
    } else if (!strcmp(op, "segments")) {
        pack_str(k, random_segments(d, room));
    } else if (!strcmp(op, "regex")) {
        pack_text(k, random_regexes[roll(d, countof(random_regexes))]);
    } else {
        pack_str(k, random_text(d, room, !strcmp(op, "glob")));
    }
}

static inline void random_predicate(struct pack *k, struct dice *d, uint32_t depth) {
    uint32_t kind = depth ? roll(d, 8) : 7;
    if (kind > 3) {
        random_leaf(k, d);
    } else if (kind == 3) {
        pack_array(k, 2);
        pack_text(k, "not");
        random_predicate(k, d, depth - 1);
    } else {
        static const char *const groups[] = {"and", "and", "or"};
        uint32_t n = roll(d, 4);
        pack_array(k, n + 1);
        pack_text(k, groups[kind]);
        while (n--) random_predicate(k, d, depth - 1);
    }
}

static inline void random_table(struct pack *k, struct dice *d, uint32_t routes) {
    pack_map(k, 1);
    pack_text(k, "routes");
    pack_array(k, routes);
    for (uint32_t i = 0; i < routes; i++) {
        bool always = roll(d, 60) == 1;
        pack_map(k, always ? 2 : 3);
        pack_text(k, "name"), pack_text(k, "r");
        pack_text(k, "to"), pack_int(k, i % 2);
        if (always) continue;
        pack_text(k, "when");
        random_predicate(k, d, 3);
    }
}

struct random_message {
    struct message m;
    uint8_t room[MODEL_ALL + MODEL_STRINGS][64];
};

static inline void random_message(struct random_message *r, struct dice *d) {
    r->m = (struct message){0};
    for (int a = 0; a < MODEL_ALL; a++) {
        r->m.has[a] = roll(d, 6) != 0;
        r->m.number[a] = (int64_t)roll(d, 14) - 2;
        if (roll(d, 12) == 1) r->m.number[a] = roll(d, 2) ? INT64_MAX : INT64_MIN;
        if (r->m.has[a]) r->m.text[a] = random_text(d, r->room[a], false);
    }
    r->m.key_count = roll(d, roll(d, 4) ? 4 : MODEL_STRINGS);
    for (uint32_t i = 0; i < r->m.key_count; i++) r->m.keys[i] = random_text(d, r->room[MODEL_ALL + i], false);
}

#endif
