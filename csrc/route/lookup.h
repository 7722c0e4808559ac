/* The attributes one lookup has read so far, on the stack: each is fetched when first needed, and once.
 *
 * A table numbers the attributes it uses ("slots"); predicates and indexes name slots, not ids. */
#ifndef MOSNPY_ROUTE_LOOKUP_H
#define MOSNPY_ROUTE_LOOKUP_H

#include "../core/attr.h"

enum {
    SLOTS_MAX = 64,  /* different attributes in one table: a bit each in `known` */
    STRINGS_MAX = 32 /* strings of ATTR_STRS attributes kept per lookup; those beyond are fetched at each use */
};

struct attr_slot {
    uint16_t id;
    uint8_t type;    /* enum attr_type */
    uint32_t leaves; /* while compiling: predicates that could be looked up by it */
};
struct attr_slots {
    struct attr_slot at[SLOTS_MAX];
    uint32_t count;
};

struct lookup {
    const struct message *msg;
    const struct attr_slot *slots;
    uint64_t known;    /* bit per slot: fetched (ATTR_STRS: begun) */
    uint64_t finished; /* scalars: it has a value; ATTR_STRS: all its values are kept */
    uint32_t strings_used;
    struct attr_value spare;  /* a string that found no room */
    struct {                  /* valid where known */
        uint8_t first, count; /* the kept strings of an ATTR_STRS slot */
    } kept[SLOTS_MAX];
    struct attr_value values[SLOTS_MAX]; /* valid where known and finished */
    struct attr_value strings[STRINGS_MAX];
};

static inline void lookup_begin(struct lookup *l, const struct message *msg, const struct attr_slots *slots) {
    l->msg = msg;
    l->slots = slots->at;
    l->known = l->finished = 0;
    l->strings_used = 0;
}

/* Value of a slot that is no ATTR_STRS; NULL when the message has none. */
static inline const struct attr_value *lookup_scalar(struct lookup *l, uint32_t slot) {
    uint64_t bit = 1ull << slot;
    if (!(l->known & bit)) {
        l->known |= bit;
        if (attr_get(l->msg, l->slots[slot].id, 0, &l->values[slot])) l->finished |= bit;
    }
    return l->finished & bit ? &l->values[slot] : NULL;
}

/* i-th string of an ATTR_STRS slot, NULL behind the last. Valid until the next call. */
const struct attr_value *lookup_string(struct lookup *l, uint32_t slot, uint32_t i);

static inline const struct attr_value *lookup_value(struct lookup *l, uint32_t slot, uint32_t i) {
    if (l->slots[slot].type == ATTR_STRS) return lookup_string(l, slot, i);
    return i == 0 ? lookup_scalar(l, slot) : NULL;
}

/* ATTR_INT and ATTR_BOOL as the number predicates compare. */
static inline int64_t lookup_number(const struct attr_value *v, uint8_t type) {
    return type == ATTR_BOOL ? v->b : v->i;
}

#endif
