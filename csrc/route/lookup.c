#include "lookup.h"

const struct attr_value *lookup_string(struct lookup *l, uint32_t slot, uint32_t i) {
    uint64_t bit = 1ull << slot;
    if (!(l->known & bit)) {
        l->known |= bit;
        l->kept[slot].first = (uint8_t)l->strings_used;
        l->kept[slot].count = 0;
    }
    uint32_t first = l->kept[slot].first, count = l->kept[slot].count;
    if (i < count) return &l->strings[first + i];
    if (l->finished & bit) return NULL;
    /* Another attribute's strings may have come to lie behind this one's, or the room may be used up. */
    bool keep = i == count && first + count == l->strings_used && l->strings_used < STRINGS_MAX;
    struct attr_value *v = keep ? &l->strings[first + count] : &l->spare;
    if (!attr_get(l->msg, l->slots[slot].id, i, v)) {
        if (i == count) l->finished |= bit;
        return NULL;
    }
    if (keep) {
        l->kept[slot].count++;
        l->strings_used++;
    }
    return v;
}
