/* A reader for MessagePack: how the plan reaches the core. Reads in place from bytes it does not own; never allocates;
 * every read is bounds-checked and depth is limited (64), so a corrupt plan is an error message, not a crash. */
#ifndef MOSNPY_MPACK_H
#define MOSNPY_MPACK_H

#include "base.h"

enum mpack_type { MP_NONE, MP_NIL, MP_BOOL, MP_INT, MP_UINT, MP_DOUBLE, MP_STR, MP_BIN, MP_ARRAY, MP_MAP };

struct mpack { /* one value; a view into the document */
    enum mpack_type type;
    const uint8_t *p, *end; /* the value's own bytes (behind its head) up to the end of the document */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        struct slice s; /* STR, BIN */
        uint32_t count; /* ARRAY: elements; MAP: pairs */
    };
};

/* Checks the whole document once (lengths, depth, nothing trailing) and gives its root. 0, or -1 when malformed.
 * The accessors below may then walk without failing. */
int mpack_open(struct slice doc, struct mpack *root);
/* Member of a map by key; type MP_NONE when absent or when v is no map. Linear. */
struct mpack mpack_get(struct mpack v, const char *key);
/* i-th element of an array; MP_NONE when out of range. Linear: iterate over long arrays. */
struct mpack mpack_at(struct mpack v, uint32_t i);
/* Iteration: `it` starts as the array or map value itself; each call yields the next element (arrays) or key and value
 * (maps; a key that is no string is p == NULL). False at the end. */
struct mpack_iter {
    const uint8_t *p, *end;
    uint32_t left;
};
struct mpack_iter mpack_iter(struct mpack v);
bool mpack_next(struct mpack_iter *it, struct mpack *value);
bool mpack_next_pair(struct mpack_iter *it, struct slice *key, struct mpack *value);
/* Typed reads with a default when absent or of another type (ints convert between signed and unsigned when they
 * fit). */
int64_t mpack_int(struct mpack v, int64_t dflt);
double mpack_double(struct mpack v, double dflt);
bool mpack_bool(struct mpack v, bool dflt);
struct slice mpack_slice(struct mpack v); /* empty (p == NULL) when no STR/BIN */

#endif
