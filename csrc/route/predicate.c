#include "predicate.h"

#include <stdio.h>

#include "glob.h"
#include "segments.h"

static struct predicate *read_at(struct compile *c, struct mpack when, uint32_t depth);

static bool count_one(struct compile *c) {
    if (c->predicates == PREDICATES_MAX)
        return compile_fail(c, "the table has more than %d predicates", PREDICATES_MAX);
    c->predicates++;
    return true;
}

static struct predicate *new_predicate(struct compile *c, enum predicate_op op) {
    if (!count_one(c)) return NULL;
    struct predicate *p = arena_alloc(&c->scratch, sizeof *p);
    if (p) p->op = (uint8_t)op;
    else compile_no_memory(c);
    return p;
}

int predicate_decimal(struct slice text, int64_t *n) {
    size_t i = text.n && text.p[0] == '-';
    bool negative = i == 1, over = false;
    if (i == text.n) return 0;
    int64_t sum = 0; /* kept negative: that side reaches one further */
    for (; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return 0;
        over |= __builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, text.p[i] - '0', &sum);
    }
    over |= !negative && sum == INT64_MIN;
    *n = over ? (negative ? INT64_MIN : INT64_MAX) : (negative ? sum : -sum);
    return over ? 2 : 1;
}

static const char *const type_names[] = {"a string", "a number", "a boolean", "a list of strings"};

static bool wrong_type(struct compile *c, const struct predicate *p, struct slice attribute, const char *what) {
    const char *type = type_names[c->slots->at[p->slot].type];
    return compile_fail(c, "attribute %s is %s, so %s", quoted(attribute).text, type, what);
}

static bool is_text(const struct compile *c, const struct predicate *p) {
    uint8_t type = c->slots->at[p->slot].type;
    return type == ATTR_STR || type == ATTR_STRS;
}

/* The integer v stands for, if it is one that fits. */
static bool whole_number(struct mpack v, int64_t *n) {
    switch (v.type) {
    case MP_INT: *n = v.i; return true;
    case MP_UINT: *n = (int64_t)v.u; return v.u <= INT64_MAX;
    case MP_DOUBLE:
        if (!(v.d >= -0x1p63 && v.d < 0x1p63)) return false;
        *n = (int64_t)v.d;
        return (double)*n == v.d;
    default: return false;
    }
}

/* Value of eq or in against a string. */
static bool read_text(struct compile *c, struct mpack v, struct slice *text) {
    char digits[24];
    int64_t n;
    struct slice from;
    if (v.type == MP_STR || v.type == MP_BIN) from = v.s;
    else if (v.type == MP_BOOL) from = v.b ? SLICE("true") : SLICE("false");
    else if (whole_number(v, &n))
        from = slice_of(digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)n));
    else return compile_fail(c, "a value to compare with is no string, integer or boolean");
    if (from.n > TEXT_MAX) return compile_fail(c, "a value to compare with has more than %d bytes", TEXT_MAX);
    return compile_text(c, from, text);
}

/* Value of eq or in against a number or boolean. */
static bool read_number(struct compile *c, const struct predicate *p, struct slice attribute, struct mpack v,
                        int64_t *n) {
    bool text = v.type == MP_STR || v.type == MP_BIN;
    if (c->slots->at[p->slot].type == ATTR_INT) {
        if (text ? predicate_decimal(v.s, n) == 1 : whole_number(v, n)) return true;
        return wrong_type(c, p, attribute, "it takes an integer of at most 64 bits");
    }
    if (v.type == MP_BOOL) *n = v.b;
    else if (text && (slice_eq(v.s, SLICE("true")) || slice_eq(v.s, SLICE("false")))) *n = v.s.n == 4;
    else return wrong_type(c, p, attribute, "it takes true or false");
    return true;
}

static bool read_eq(struct compile *c, struct predicate *p, struct slice attribute, struct mpack v) {
    if (is_text(c, p)) return read_text(c, v, &p->text);
    p->op = WHEN_RANGE;
    if (!read_number(c, p, attribute, v, &p->range.low)) return false;
    p->range.high = p->range.low;
    return true;
}

static bool read_in(struct compile *c, struct predicate *p, struct slice attribute, struct mpack list) {
    if (list.type != MP_ARRAY) return compile_fail(c, "\"in\" takes a list of values");
    p->count = list.count;
    p->values = arena_alloc(c->keep, (size_t)list.count * sizeof *p->values);
    if (!p->values) return compile_no_memory(c);
    struct mpack_iter it = mpack_iter(list);
    struct mpack v;
    for (uint32_t i = 0; i < p->count && mpack_next(&it, &v); i++) {
        if (!count_one(c)) return false;
        if (is_text(c, p)) {
            if (!read_text(c, v, &p->values[i])) return false;
            continue;
        }
        int64_t *n = arena_alloc(c->keep, sizeof *n);
        if (!n) return compile_no_memory(c);
        if (!read_number(c, p, attribute, v, n)) return false;
        p->values[i] = predicate_number_key(n);
    }
    return true;
}

static bool read_order(struct compile *c, struct predicate *p, struct slice attribute, struct slice op,
                       struct mpack v) {
    if (c->slots->at[p->slot].type == ATTR_BOOL) return wrong_type(c, p, attribute, "it has no order");
    bool below = op.p[0] == 'l', with = op.p[1] == 'e'; /* lt le gt ge */
    int64_t bound, *low = &p->range.low, *high = &p->range.high;
    *low = INT64_MIN, *high = INT64_MAX;
    if (v.type == MP_DOUBLE && v.d >= -0x1p63 && v.d < 0x1p63) {
        bound = (int64_t)v.d;
        bound -= (double)bound > v.d;          /* the integer at or below */
        with |= below && (double)bound != v.d; /* x < 1.5 is x <= 1; x >= 1.5 is x > 1 */
        with &= below || (double)bound == v.d;
    } else if (!whole_number(v, &bound)) { /* beyond every integer: all of them, or none, are on the side asked for */
        bool huge = (v.type == MP_DOUBLE && v.d >= 0x1p63) || v.type == MP_UINT;
        if (!huge && !(v.type == MP_DOUBLE && v.d < 0)) return compile_fail(c, "%s takes a number", quoted(op).text);
        if (huge != below) *low = 1, *high = 0;
        return true;
    }
    if (with) *(below ? high : low) = bound;
    else if (bound == (below ? INT64_MIN : INT64_MAX)) *low = 1, *high = 0;
    else *(below ? high : low) = below ? bound - 1 : bound + 1;
    return true;
}

/* Keeps the end of `literal`, backwards, for looking the predicate up by it. */
static bool set_tail(struct compile *c, struct predicate *p, struct slice literal) {
    size_t n = min_size(literal.n, TAIL_MAX);
    uint8_t *tail = arena_alloc(&c->scratch, n);
    if (!tail) return compile_no_memory(c);
    for (size_t i = 0; i < n; i++) tail[i] = literal.p[literal.n - 1 - i];
    p->tail = tail;
    p->tail_n = (uint32_t)n;
    return true;
}

static bool read_glob(struct compile *c, struct predicate *p) {
    static const uint8_t forms[] = {
        [GLOB_ANY] = WHEN_EXISTS,    [GLOB_EXACT] = WHEN_EQ,          [GLOB_PREFIX] = WHEN_PREFIX,
        [GLOB_SUFFIX] = WHEN_SUFFIX, [GLOB_CONTAINS] = WHEN_CONTAINS, [GLOB_PATTERN] = WHEN_GLOB,
    };
    size_t n;
    uint8_t *literal = arena_alloc(&c->scratch, p->text.n);
    if (!literal) return compile_no_memory(c);
    p->op = forms[glob_reduce(p->text, literal, &n)];
    if (!compile_text(c, slice_of(literal, n), p->op == WHEN_GLOB ? &p->head : &p->text)) return false;
    if (p->op == WHEN_SUFFIX) return set_tail(c, p, p->text);
    if (p->op != WHEN_GLOB) return true;
    uint8_t *tail = arena_alloc(&c->scratch, p->text.n);
    return tail ? set_tail(c, p, slice_of(tail, glob_tail(p->text, tail))) : compile_no_memory(c);
}

static bool read_segments(struct compile *c, struct predicate *p) {
    static const uint8_t forms[] = {
        [SEGMENTS_EXACT] = WHEN_EQ, [SEGMENTS_PREFIX] = WHEN_PREFIX, [SEGMENTS_PATTERN] = WHEN_SEGMENTS};
    size_t n;
    uint8_t *compiled = arena_alloc(&c->scratch, p->text.n);
    if (!compiled) return compile_no_memory(c);
    const char *fault = segments_compile(p->text, compiled, &n);
    if (fault) return compile_fail(c, "path %s: %s", quoted(p->text).text, fault);
    if (!compile_text(c, slice_of(compiled, n), &p->text)) return false;
    p->head = segments_head(p->text);
    p->op = forms[segments_form(p->text)];
    if (p->op == WHEN_SEGMENTS) return set_tail(c, p, segments_tail(p->text));
    if (!compile_text(c, p->head, &p->text)) return false;
    if (p->op == WHEN_PREFIX && p->text.n == 0) p->op = WHEN_EXISTS;
    return true;
}

static bool read_string_test(struct compile *c, struct predicate *p, struct slice attribute, struct mpack v) {
    if (!is_text(c, p)) return wrong_type(c, p, attribute, "only eq, in, lt, le, gt, ge and exists apply to it");
    if (v.type != MP_STR && v.type != MP_BIN)
        return compile_fail(c, "the test of %s takes a string", quoted(attribute).text);
    if (p->op == WHEN_REGEX) {
        char err[160];
        p->regex = regex_new(c->regexes, c->keep, v.s, err, sizeof err);
        return p->regex || compile_fail(c, "regular expression %s: %s", quoted(v.s).text, err);
    }
    if (!read_text(c, v, &p->text)) return false;
    if (p->op == WHEN_GLOB) return read_glob(c, p);
    if (p->op == WHEN_SEGMENTS) return read_segments(c, p);
    if (p->text.n == 0) p->op = WHEN_EXISTS; /* every text starts with nothing, ends with it, contains it */
    return p->op != WHEN_SUFFIX || set_tail(c, p, p->text);
}

static struct predicate *read_leaf(struct compile *c, enum predicate_op op, struct slice name, struct mpack_iter *it) {
    struct predicate *p = new_predicate(c, op);
    struct mpack attribute = {0}, value = {0}, more;
    if (!p) return NULL;
    bool whole = mpack_next(it, &attribute) && (op == WHEN_EXISTS || mpack_next(it, &value)) && !mpack_next(it, &more);
    if (!whole || attribute.type != MP_STR) {
        compile_fail(c, "%s takes an attribute%s", quoted(name).text, op == WHEN_EXISTS ? "" : " and a value");
        return NULL;
    }
    int slot = compile_slot(c, attribute);
    if (slot < 0) return NULL;
    p->slot = (uint8_t)slot;
    bool ok = op == WHEN_EXISTS  ? true
              : op == WHEN_EQ    ? read_eq(c, p, attribute.s, value)
              : op == WHEN_IN    ? read_in(c, p, attribute.s, value)
              : op == WHEN_RANGE ? read_order(c, p, attribute.s, name, value)
                                 : read_string_test(c, p, attribute.s, value);
    return ok ? p : NULL;
}

/* How dear a predicate is to evaluate; the cheap ones of an and/or go first. */
enum { PRICES = 4 };
static uint32_t price(const struct predicate *p) {
    if (!predicate_is_leaf(p)) return p->first ? price(p->first) : 0; /* children are sorted: the dearest is first */
    return p->op == WHEN_REGEX ? 3 : p->op >= WHEN_CONTAINS ? 2 : p->op >= WHEN_IN ? 1 : 0;
}

static struct predicate *read_group(struct compile *c, enum predicate_op op, struct mpack_iter *it, uint32_t depth) {
    struct predicate *p = new_predicate(c, op), *heads[PRICES] = {0}, *tails[PRICES] = {0};
    struct mpack element;
    if (!p) return NULL;
    while (mpack_next(it, &element)) {
        struct predicate *child = read_at(c, element, depth + 1), *next = NULL;
        if (!child) return NULL;
        bool merge = child->op == op; /* and in and: take its children; they come last to first */
        for (child = merge ? child->first : child; child; child = next) {
            next = merge ? child->next : NULL;
            uint32_t at = price(child);
            child->next = heads[at];
            heads[at] = child;
            if (!tails[at]) tails[at] = child;
        }
    }
    struct predicate **link = &p->first;
    for (uint32_t at = PRICES; at-- > 0;) {
        if (!heads[at]) continue;
        *link = heads[at];
        link = &tails[at]->next;
    }
    return p->first && !p->first->next ? p->first : p;
}

static struct predicate *read_not(struct compile *c, struct mpack_iter *it, uint32_t depth) {
    struct mpack element, more;
    if (!mpack_next(it, &element) || mpack_next(it, &more)) {
        compile_fail(c, "\"not\" takes one predicate");
        return NULL;
    }
    struct predicate *child = read_at(c, element, depth + 1);
    if (!child || child->op == WHEN_NOT) return child ? child->first : NULL;
    struct predicate *p = new_predicate(c, WHEN_NOT);
    if (p) p->first = child;
    return p;
}

static const struct {
    const char *name;
    enum predicate_op op;
} words[] = {
    {"and", WHEN_AND},
    {"or", WHEN_OR},
    {"not", WHEN_NOT},
    {"true", WHEN_TRUE},
    {"eq", WHEN_EQ},
    {"in", WHEN_IN},
    {"prefix", WHEN_PREFIX},
    {"suffix", WHEN_SUFFIX},
    {"contains", WHEN_CONTAINS},
    {"glob", WHEN_GLOB},
    {"lt", WHEN_RANGE},
    {"le", WHEN_RANGE},
    {"gt", WHEN_RANGE},
    {"ge", WHEN_RANGE},
    {"regex", WHEN_REGEX},
    {"exists", WHEN_EXISTS},
    {"segments", WHEN_SEGMENTS},
};

static struct predicate *read_at(struct compile *c, struct mpack when, uint32_t depth) {
    if (depth > DEPTH_MAX) {
        compile_fail(c, "predicates are nested more than %d deep", DEPTH_MAX);
        return NULL;
    }
    struct mpack word;
    struct mpack_iter it = mpack_iter(when);
    if (when.type != MP_ARRAY || !mpack_next(&it, &word) || word.type != MP_STR) {
        compile_fail(c, "a predicate is a list that starts with its name");
        return NULL;
    }
    for (size_t i = 0; i < countof(words); i++) {
        if (!slice_eq(word.s, slice_of(words[i].name, strlen(words[i].name)))) continue;
        switch (words[i].op) {
        case WHEN_AND:
        case WHEN_OR: return read_group(c, words[i].op, &it, depth);
        case WHEN_NOT: return read_not(c, &it, depth);
        case WHEN_TRUE: return new_predicate(c, WHEN_TRUE);
        default: return read_leaf(c, words[i].op, word.s, &it);
        }
    }
    compile_fail(c, "unknown predicate %s", quoted(word.s).text);
    return NULL;
}

struct predicate *predicate_read(struct compile *c, struct mpack when) {
    if (when.type == MP_NIL || when.type == MP_NONE) return new_predicate(c, WHEN_TRUE);
    return read_at(c, when, 0);
}
