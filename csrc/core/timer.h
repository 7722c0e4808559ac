/* A hierarchical timer wheel (4 levels x 256 slots, 1 ms ticks; the top level turns in 2^32 ms): add and cancel are
 * O(1), and a poll without due timers costs a bitmap look. Timers are intrusive; the wheel owns none of them. */
#ifndef MOSNPY_TIMER_H
#define MOSNPY_TIMER_H

#include "base.h"

struct timer;
typedef void timer_fn(struct timer *t, void *arg); /* the timer is unlinked before the call and may be added again */

struct timer {
    struct timer *next, **pprev; /* pprev == NULL: not armed */
    uint64_t when_ms;
    timer_fn *fn;
    void *arg;
};

struct timer_wheel {
    uint64_t now_ms;   /* everything due at or before this has fired */
    uint64_t until_ms; /* where the advance under way is going */
    struct timer *slot[4][256];
    uint64_t used[4][4]; /* bitmap of the slots that hold timers */
    uint32_t armed;      /* timers in the wheel: 0 at teardown, else a leak */
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms);
static inline void timer_init(struct timer *t, timer_fn *fn, void *arg) {
    t->next = NULL, t->pprev = NULL, t->when_ms = 0, t->fn = fn, t->arg = arg;
}
static inline bool timer_armed(const struct timer *t) { return t->pprev != NULL; }
/* Arms or re-arms t. A time that is past fires at the next advance of the clock: never in the one under way, so a
 * callback that arms itself for at once can't hold the loop. */
void timer_set(struct timer_wheel *w, struct timer *t, uint64_t when_ms);
void timer_cancel(struct timer_wheel *w, struct timer *t); /* no-op when not armed */
/* Fires everything due up to now_ms in order of time (any order within a millisecond). Callbacks may set and cancel any
 * timer, themselves included. A clock that stands or goes back fires nothing. */
void timer_advance(struct timer_wheel *w, uint64_t now_ms);
/* Milliseconds until the earliest slot that may be due, at most `max` (>= 0); a lower bound (a cascade may be
 * counted). */
int timer_next_ms(const struct timer_wheel *w, uint64_t now_ms, int max);

#endif
