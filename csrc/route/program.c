#include "program.h"

#include <stdlib.h>

#include "glob.h"
#include "segments.h"

/* --- evaluating --- */

static inline bool text_starts(struct slice s, struct slice head) {
    return s.n >= head.n && *s.p == *head.p && memcmp(s.p, head.p, head.n) == 0; /* head.n > 0: see predicate.c */
}

static inline bool text_ends(struct slice s, struct slice tail) {
    return s.n >= tail.n && memcmp(s.p + s.n - tail.n, tail.p, tail.n) == 0;
}

static inline bool is_text(uint8_t type) { return type == ATTR_STR || type == ATTR_STRS; }

static bool in_range(const struct test *t, const struct attr_value *v) {
    int64_t n;
    if (!is_text(t->type)) n = lookup_number(v, t->type);
    else if (!predicate_decimal(v->s, &n)) return false;
    return t->range.low <= n && n <= t->range.high;
}

static bool in_set(const struct test *t, const struct attr_value *v) {
    if (is_text(t->type)) return keytrie_find(t->set, v->s).exact != NULL;
    int64_t n = lookup_number(v, t->type);
    return keytrie_find(t->set, predicate_number_key(&n)).exact != NULL;
}

static inline bool value_fits(const struct test *t, const struct attr_value *v) {
    if (likely(t->op == WHEN_PREFIX)) return text_starts(v->s, t->text);
    switch (t->op) {
    case WHEN_EXISTS: return true;
    case WHEN_RANGE: return in_range(t, v);
    case WHEN_EQ: return slice_eq(v->s, t->text);
    case WHEN_PREFIX: return text_starts(v->s, t->text);
    case WHEN_SUFFIX: return text_ends(v->s, t->text);
    case WHEN_IN: return in_set(t, v);
    case WHEN_CONTAINS: return v->s.n >= t->text.n && memmem(v->s.p, v->s.n, t->text.p, t->text.n) != NULL;
    case WHEN_GLOB: return glob_match(t->text, v->s);
    case WHEN_SEGMENTS: return segments_match(t->text, v->s);
    case WHEN_REGEX: return regex_match(t->regex, v->s);
    default: return false;
    }
}

static inline bool test_holds(const struct test *t, struct lookup *l) {
    const struct attr_value *v;
    if (likely(t->type != ATTR_STRS)) {
        v = lookup_scalar(l, t->slot);
        return v && value_fits(t, v);
    }
    for (uint32_t i = 0; (v = lookup_string(l, t->slot, i)); i++)
        if (value_fits(t, v)) return true;
    return false;
}

bool program_holds(const struct program *g, uint32_t start, struct lookup *l) {
    uint32_t at = start;
    while (at >= PROGRAM_FIRST) {
        const struct test *t = &g->tests[at];
        at = test_holds(t, l) ? t->yes : t->no;
    }
    return at == PROGRAM_YES;
}

/* --- adding --- */

static const struct keytrie *make_set(struct compile *c, const struct predicate *p) {
    struct keytrie *set = arena_alloc(c->keep, sizeof *set);
    struct posting *postings = arena_alloc(&c->scratch, p->count * sizeof *postings);
    if (!set || !postings) return NULL;
    for (uint32_t i = 0; i < p->count; i++) postings[i] = (struct posting){.key = p->values[i]};
    return keytrie_build(set, postings, p->count, c->keep) ? set : NULL;
}

static bool grow(struct program *g) {
    if (g->count < g->room) return true;
    uint32_t room = g->room ? g->room * 2 : 64;
    struct test *tests = realloc(g->tests, room * sizeof *tests);
    if (!tests) return false;
    g->tests = tests;
    g->room = room;
    if (g->count == 0) {
        memset(tests, 0, PROGRAM_FIRST * sizeof *tests);
        g->count = PROGRAM_FIRST;
    }
    return true;
}

/* Where the number of a test like `t` is, or would be. */
static uint32_t *same_place(const struct program *g, const struct test *t) {
    uint32_t i = (uint32_t)hash_bytes(t, sizeof *t) & (g->same_room - 1);
    while (g->same[i] && memcmp(&g->tests[g->same[i]], t, sizeof *t) != 0) i = (i + 1) & (g->same_room - 1);
    return &g->same[i];
}

static bool grow_same(struct program *g) {
    if (g->same && 2 * g->count < g->same_room) return true;
    free(g->same);
    g->same_room = g->same_room ? g->same_room * 2 : 128;
    g->same = calloc(g->same_room, sizeof *g->same);
    if (!g->same) return false;
    for (uint32_t i = PROGRAM_FIRST; i < g->count; i++) *same_place(g, &g->tests[i]) = i;
    return true;
}

/* Ten thousand hosts with the same ten paths share ten tests, which then stay in the processor's cache. */
static uint32_t add_test(struct program *g, const struct test *t) {
    if (!grow(g) || !grow_same(g)) return PROGRAM_FAILED;
    uint32_t *place = same_place(g, t);
    if (*place) return *place;
    g->tests[g->count] = *t;
    return *place = g->count++;
}

static uint32_t add_leaf(struct program *g, struct compile *c, const struct predicate *p, uint32_t yes, uint32_t no) {
    if (yes == no) return yes;
    if (p->op == WHEN_TRUE) return yes;
    if (p->op == WHEN_IN && p->count == 0) return no;
    if (p->op == WHEN_RANGE && p->range.low > p->range.high) return no;
    struct test t;
    memset(&t, 0, sizeof t);
    t.op = p->op, t.slot = p->slot, t.type = c->slots->at[p->slot].type, t.yes = yes, t.no = no;
    switch (p->op) {
    case WHEN_EXISTS: break;
    case WHEN_RANGE: t.range.low = p->range.low, t.range.high = p->range.high; break;
    case WHEN_IN: t.set = make_set(c, p); break;
    case WHEN_REGEX: t.regex = p->regex; break;
    default: t.text = p->text;
    }
    uint32_t at = p->op == WHEN_IN && !t.set ? PROGRAM_FAILED : add_test(g, &t);
    if (at == PROGRAM_FAILED) compile_no_memory(c);
    return at;
}

/* Backwards, so that every exit is known when a test is written. Recursion: at most DEPTH_MAX deep. */
static uint32_t add(struct program *g, struct compile *c, const struct predicate *p, const struct predicate *given,
                    uint32_t yes, uint32_t no) {
    if (p == given) return yes;
    if (p->op == WHEN_NOT) return add(g, c, p->first, NULL, no, yes);
    if (p->op != WHEN_AND && p->op != WHEN_OR) return add_leaf(g, c, p, yes, no);
    uint32_t next = p->op == WHEN_AND ? yes : no; /* of an empty group: the and holds, the or does not */
    for (const struct predicate *child = p->first; child && next != PROGRAM_FAILED; child = child->next)
        next = p->op == WHEN_AND ? add(g, c, child, given, next, no) : add(g, c, child, given, yes, next);
    return next;
}

uint32_t program_add(struct program *g, struct compile *c, const struct predicate *p, const struct predicate *given) {
    return add(g, c, p, given, PROGRAM_YES, PROGRAM_NO);
}

void program_done(struct program *g) {
    free(g->same);
    g->same = NULL;
    g->same_room = 0;
}

void program_free(struct program *g) {
    program_done(g);
    free(g->tests);
    *g = (struct program){0};
}
