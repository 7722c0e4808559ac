/* A route's predicate as a tree, read from the plan, checked, typed and brought to its simplest form:
 * a glob that is a prefix becomes a prefix, comparisons of numbers a range, and-in-and one and.
 *
 * Types: a predicate's value is turned into its attribute's type here, so that matching never converts:
 *   string attribute   eq/in with a number or boolean compare with its decimal text or true/false (so 7 is not "07");
 *                      lt/le/gt/ge read the attribute as a decimal integer, other text is false
 *   int attribute      eq/in take a string too if it is a decimal integer; no booleans
 *   bool attribute     eq/in take true, false and those words as strings; no order
 *   prefix, suffix, contains, glob, segments and regex are for strings only. */
#ifndef MOSNPY_PREDICATE_H
#define MOSNPY_PREDICATE_H

#include "compile.h"

enum predicate_op {
    WHEN_TRUE,
    WHEN_AND,
    WHEN_OR,
    WHEN_NOT, /* of others */
    WHEN_EXISTS,
    WHEN_RANGE,
    WHEN_EQ,
    WHEN_PREFIX,
    WHEN_SUFFIX,
    WHEN_IN,
    WHEN_CONTAINS,
    WHEN_GLOB,
    WHEN_SEGMENTS,
    WHEN_REGEX
};

enum { TAIL_MAX = 64 }; /* bytes of a text's end it is looked up by */

struct predicate {          /* a cache line */
    uint8_t op;             /* enum predicate_op */
    uint8_t slot;           /* leaves: the attribute */
    bool exact;             /* index_keys.c: the keys found imply the whole predicate */
    bool by_tail;           /* index_keys.c: it is looked up by `tail` */
    uint32_t tail_n;        /* 0: none */
    uint64_t cost;          /* index_keys.c: messages expected to get here by its keys; NO_KEYS: none */
    struct predicate *next; /* next sibling */
    union {
        struct {
            struct predicate *first; /* AND OR NOT: children, dearest to evaluate first (program.c emits backwards) */
            struct predicate *best;  /* index_keys.c, WHEN_AND: the child whose keys are used */
        };
        struct {
            int64_t low, high;
        } range; /* numbers in [low, high]; low > high: none. Bools are 0 and 1 */
        struct {
            struct slice text,
                head; /* EQ PREFIX SUFFIX CONTAINS GLOB SEGMENTS; the last two: what fitting texts start with */
            const uint8_t *tail; /* SUFFIX GLOB SEGMENTS: the last bytes of fitting texts, last one first */
        };
        struct {
            struct slice *values;
            uint32_t count;
        }; /* IN: texts, or numbers as predicate_number_key() gives them */
        struct regex *regex;
    };
};
_Static_assert(sizeof(struct predicate) == 64, "a predicate fills a cache line");

/* NULL with err set when the plan's predicate is wrong. nil is true. */
struct predicate *predicate_read(struct compile *c, struct mpack when);
static inline bool predicate_is_leaf(const struct predicate *p) { return p->op > WHEN_NOT; }
/* Numbers are looked up by their eight bytes. */
static inline struct slice predicate_number_key(const int64_t *n) { return slice_of(n, sizeof *n); }
/* Decimal integer, '-' allowed. 0 = no such text, 1 = yes, 2 = yes, but beyond 64 bits: *n is the nearest. */
int predicate_decimal(struct slice text, int64_t *n);

#endif
