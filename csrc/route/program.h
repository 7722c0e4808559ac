/* Predicates as a flat array of tests with two exits each: "on yes go there, on no go there".
 *
 * and, or, not and the order of evaluation are all in the exits, so evaluating is a loop without a stack. Every exit
 * leads to a lower number than the test itself, which is why the loop ends. */
#ifndef MOSNPY_ROUTE_PROGRAM_H
#define MOSNPY_ROUTE_PROGRAM_H

#include "keytrie.h"
#include "predicate.h"

enum { PROGRAM_NO, PROGRAM_YES, PROGRAM_FIRST }; /* exits that are no test */
enum { PROGRAM_FAILED = UINT32_MAX };

struct test {
    uint8_t op;   /* enum predicate_op, a leaf */
    uint8_t slot; /* attribute it looks at */
    uint8_t type; /* enum attr_type of that */
    uint8_t pad;
    uint32_t yes, no;
    uint32_t pad_2;
    union {
        struct {
            int64_t low, high;
        } range;
        struct slice text;
        const struct keytrie *set;
        const struct regex *regex;
    };
};

_Static_assert(sizeof(struct test) == 32, "tests are compared byte by byte: no hidden padding");

struct program {        /* all zero = empty */
    struct test *tests; /* [0], [1] unused */
    uint32_t count, room;
    uint32_t *same,
        same_room; /* while it grows: equal tests are stored once. Hash table of tests, 0 = free; room: 2^n */
};

/* Adds predicate `p`, in which `given` (itself or one of its children; may be NULL) is known to hold. Returns where to
 * start: PROGRAM_YES = always, PROGRAM_NO = never, PROGRAM_FAILED = out of memory (err set). */
uint32_t program_add(struct program *g, struct compile *c, const struct predicate *p, const struct predicate *given);
bool program_holds(const struct program *g, uint32_t start, struct lookup *l);
/* The same, with the commonest predicate, one prefix of one attribute, compared on the spot. */
static inline bool program_holds_quick(const struct program *g, uint32_t start, struct lookup *l) {
    if (start < PROGRAM_FIRST) return start == PROGRAM_YES;
    const struct test *t = &g->tests[start];
    if (unlikely(t->op != WHEN_PREFIX || t->type != ATTR_STR || t->yes != PROGRAM_YES || t->no != PROGRAM_NO))
        return program_holds(g, start, l);
    const struct attr_value *v = lookup_scalar(l, t->slot);
    return v && v->s.n >= t->text.n && *v->s.p == *t->text.p && memcmp(v->s.p, t->text.p, t->text.n) == 0;
}
void program_done(struct program *g); /* nothing will be added any more */
void program_free(struct program *g);

#endif
