/* A timer sits at the level of the highest byte in which its due time differs from now, in the slot that byte names.
 * When the clock reaches a slot of an upper level, its timers are placed anew, each now at a lower one. Those more
 * than a turn of the top level away stay there, and are looked at once a turn. */
#include "timer.h"

#define SLOT_BITS 8
#define SLOTS 256u
#define LEVELS 4

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms) {
    memset(w, 0, sizeof *w);
    w->now_ms = w->until_ms = now_ms;
}

static unsigned slot_of(uint64_t when_ms, int level) {
    return (unsigned)(when_ms >> (level * SLOT_BITS)) & (SLOTS - 1);
}

static void place(struct timer_wheel *w, struct timer *t) {
    uint64_t when = t->when_ms, differ = when ^ w->now_ms;
    int level = 0;
    while (level < LEVELS - 1 && differ >> ((level + 1) * SLOT_BITS)) level++;
    unsigned slot = slot_of(when, level);
    struct timer **head = &w->slot[level][slot];
    t->next = *head, t->pprev = head;
    if (t->next) t->next->pprev = &t->next;
    *head = t;
    w->used[level][slot >> 6] |= 1ULL << (slot & 63);
}

/* The bit of a slot goes with its last timer: a timeout cancelled in time must not wake anybody later. */
static void unlink_timer(struct timer_wheel *w, struct timer *t) {
    struct timer **link = t->pprev;
    if (t->next) t->next->pprev = link;
    *link = t->next;
    t->next = NULL, t->pprev = NULL;
    uintptr_t at = ((uintptr_t)link - (uintptr_t)w->slot) / sizeof *link; /* beyond the slots: another timer's link */
    if (!*link && at < LEVELS * SLOTS) w->used[at / SLOTS][at % SLOTS >> 6] &= ~(1ULL << (at & 63));
}

void timer_set(struct timer_wheel *w, struct timer *t, uint64_t when_ms) {
    timer_cancel(w, t);
    t->when_ms = when_ms > w->now_ms ? when_ms : w->until_ms + 1;
    place(w, t);
    w->armed++;
}

void timer_cancel(struct timer_wheel *w, struct timer *t) {
    if (!t->pprev) return;
    unlink_timer(w, t);
    w->armed--;
}

/* Moves a slot's timers to where they belong now, or fires those that are due. The slot's list is cut off first, and
 * each timer is unlinked before its callback, so callbacks may do anything to any timer. */
static void run_slot(struct timer_wheel *w, int level, unsigned slot) {
    struct timer *list = w->slot[level][slot];
    w->slot[level][slot] = NULL;
    w->used[level][slot >> 6] &= ~(1ULL << (slot & 63));
    if (list) list->pprev = &list;
    while (list) {
        struct timer *t = list;
        unlink_timer(w, t);
        if (t->when_ms <= w->now_ms) {
            w->armed--;
            t->fn(t, t->arg);
        } else {
            place(w, t);
        }
    }
}

/* First used slot of a level at or behind `from`; SLOTS if there is none up to the end of the level's turn. */
static unsigned next_used(const struct timer_wheel *w, int level, unsigned from) {
    for (unsigned word = from >> 6; word < 4; word++) {
        uint64_t bits = w->used[level][word];
        if (word == from >> 6) bits &= ~0ULL << (from & 63);
        if (bits) return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return SLOTS;
}

/* The next moment at which a slot of any level comes up (to fire or to cascade), at most `limit`. */
static uint64_t next_stop(const struct timer_wheel *w, uint64_t limit) {
    uint64_t best = limit;
    for (int level = 0; level < LEVELS; level++) {
        unsigned at = slot_of(w->now_ms, level), slot = at + 1 < SLOTS ? next_used(w, level, at + 1) : SLOTS;
        int shift = level * SLOT_BITS;
        uint64_t turn = (w->now_ms >> (shift + SLOT_BITS)) << (shift + SLOT_BITS);
        uint64_t stop = turn + ((uint64_t)slot << shift);               /* slot == SLOTS: the begin of the next turn */
        if (slot == SLOTS && next_used(w, level, 0) == SLOTS) continue; /* nothing on this level at all */
        if (stop < best) best = stop;
    }
    return best;
}

void timer_advance(struct timer_wheel *w, uint64_t now_ms) {
    if (now_ms > w->until_ms) w->until_ms = now_ms;
    while (w->now_ms < now_ms) {
        if (!w->armed) {
            w->now_ms = now_ms;
            return;
        }
        w->now_ms = next_stop(w, now_ms);
        for (int level = LEVELS - 1; level > 0; level--)
            if ((w->now_ms & ((1ULL << (level * SLOT_BITS)) - 1)) == 0) run_slot(w, level, slot_of(w->now_ms, level));
        run_slot(w, 0, slot_of(w->now_ms, 0));
    }
}

int timer_next_ms(const struct timer_wheel *w, uint64_t now_ms, int max) {
    if (!w->armed) return max;
    uint64_t stop = next_stop(w, now_ms + (uint64_t)max);
    return stop > now_ms ? (int)(stop - now_ms) : 0;
}
