/* The timer wheel: when timers fire, what callbacks may do, long jumps, and agreement with a plain list. */
#include "check.h"

#include "../core/timer.h"

static struct timer_wheel wheel;
static uint32_t fired;           /* callbacks so far */
static uint64_t fired_at;        /* wheel time of the last one */
static struct timer timers[512]; /* of the test at hand */

static void count(struct timer *t, void *arg) {
    (void)arg;
    CHECK(!timer_armed(t));
    CHECK(t->when_ms <= wheel.now_ms);
    fired++, fired_at = wheel.now_ms;
}

static void begin(uint64_t now_ms) {
    timer_wheel_init(&wheel, now_ms);
    fired = 0, fired_at = 0;
    for (size_t i = 0; i < countof(timers); i++) timer_init(&timers[i], count, NULL);
}

/* No timer is left, nor a bit that would wake somebody. */
static void end(void) {
    CHECK_EQ(wheel.armed, 0);
    for (int level = 0; level < 4; level++)
        for (int word = 0; word < 4; word++) CHECK_EQ(wheel.used[level][word], 0);
    CHECK_EQ(timer_next_ms(&wheel, wheel.now_ms, 1000), 1000);
}

static const uint64_t starts[] = {0, 1, 255, 256, 65535, 123456789, 0xffffffffULL, 0x100000000ULL, 0x123456789abcULL};
static const uint64_t delays[] = {1,     2,     254,   255,      256,      257,      511,           512,
                                  65535, 65536, 65537, 16777215, 16777216, 16777217, 0xfffffffeULL, 0xffffffffULL};

TEST(a_timer_fires_at_its_millisecond_and_not_before) {
    for (size_t s = 0; s < countof(starts); s++)
        for (size_t d = 0; d < countof(delays); d++) {
            begin(starts[s]);
            uint64_t when = starts[s] + delays[d];
            timer_set(&wheel, &timers[0], when);
            CHECK(timer_armed(&timers[0]));
            timer_advance(&wheel, when - 1);
            CHECK_EQ(fired, 0);
            timer_advance(&wheel, when);
            CHECK_EQ(fired, 1);
            CHECK(!timer_armed(&timers[0]));
            CHECK_EQ(wheel.now_ms, when);
            end();
        }
}

TEST(a_timer_fires_when_the_clock_jumps_over_it) {
    for (size_t s = 0; s < countof(starts); s++)
        for (size_t d = 0; d < countof(delays); d++) {
            begin(starts[s]);
            timer_set(&wheel, &timers[0], starts[s] + delays[d]);
            timer_advance(&wheel, starts[s] + delays[d] + 0x300000005ULL);
            CHECK_EQ(fired, 1);
            CHECK_EQ(fired_at, starts[s] + delays[d]); /* the wheel stands at its time while it fires */
            CHECK_EQ(wheel.now_ms, starts[s] + delays[d] + 0x300000005ULL);
            end();
        }
}

TEST(a_timer_beyond_the_horizon_waits_for_its_time) {
    begin(1000);
    uint64_t when = 1000 + 5 * 0x100000000ULL + 77;
    timer_set(&wheel, &timers[0], when);
    timer_advance(&wheel, when - 1);
    CHECK_EQ(fired, 0);
    timer_advance(&wheel, when);
    CHECK_EQ(fired, 1);
    timer_set(&wheel, &timers[0], UINT64_MAX);
    timer_advance(&wheel, wheel.now_ms + 0x500000000ULL);
    CHECK_EQ(fired, 1);
    timer_cancel(&wheel, &timers[0]);
    end();
}

TEST(a_time_in_the_past_fires_at_the_next_advance) {
    begin(5000);
    timer_set(&wheel, &timers[0], 0);
    timer_set(&wheel, &timers[1], 5000);
    CHECK_EQ(timer_next_ms(&wheel, 5000, 100), 1);
    timer_advance(&wheel, 5000); /* the clock stands */
    timer_advance(&wheel, 4000); /* or goes back */
    CHECK_EQ(fired, 0);
    CHECK_EQ(wheel.now_ms, 5000);
    timer_advance(&wheel, 5001);
    CHECK_EQ(fired, 2);
    end();
}

TEST(cancelling_is_final_and_may_be_repeated) {
    begin(0);
    timer_cancel(&wheel, &timers[0]);
    for (unsigned i = 0; i < 300; i++) timer_set(&wheel, &timers[i], 1 + i * 1000);
    for (unsigned i = 0; i < 300; i += 2) timer_cancel(&wheel, &timers[i]), timer_cancel(&wheel, &timers[i]);
    CHECK_EQ(wheel.armed, 150);
    timer_advance(&wheel, 1000000);
    CHECK_EQ(fired, 150);
    end();
}

TEST(setting_again_replaces) {
    begin(0);
    timer_set(&wheel, &timers[0], 10);
    timer_set(&wheel, &timers[0], 100000);
    timer_set(&wheel, &timers[0], 50);
    CHECK_EQ(wheel.armed, 1);
    timer_advance(&wheel, 49);
    CHECK_EQ(fired, 0);
    timer_advance(&wheel, 1000000);
    CHECK_EQ(fired, 1);
    CHECK_EQ(fired_at, 50);
    end();
}

TEST(a_cancelled_timeout_wakes_nobody) {
    begin(0);
    timer_set(&wheel, &timers[0], 5);
    timer_set(&wheel, &timers[1], 5);
    timer_set(&wheel, &timers[2], 300);
    timer_cancel(&wheel, &timers[0]);
    CHECK_EQ(timer_next_ms(&wheel, 0, 1000), 5);
    timer_cancel(&wheel, &timers[1]);
    CHECK(timer_next_ms(&wheel, 0, 1000) >= 256);
    timer_cancel(&wheel, &timers[2]);
    end();
}

/* ---- what callbacks may do ---- */

static struct timer *others[4];

static void cancel_others(struct timer *t, void *arg) {
    count(t, arg);
    for (size_t i = 0; i < countof(others); i++)
        if (others[i] != t) timer_cancel(&wheel, others[i]);
}

TEST(a_callback_may_cancel_its_neighbours_in_the_slot) {
    for (uint64_t when = 3; when < 1u << 20; when *= 7) { /* in slots of several levels */
        begin(0);
        for (unsigned i = 0; i < countof(others); i++) {
            others[i] = &timers[i];
            timer_init(&timers[i], cancel_others, NULL);
            timer_set(&wheel, &timers[i], when);
        }
        timer_advance(&wheel, when);
        CHECK_EQ(fired, 1); /* whichever came first has cancelled the rest */
        end();
    }
}

static void set_others(struct timer *t, void *arg) {
    count(t, arg);
    for (size_t i = 0; i < countof(others); i++) timer_set(&wheel, others[i], wheel.now_ms + 256 * i);
}

TEST(a_callback_may_set_itself_and_its_neighbours) {
    begin(0);
    for (unsigned i = 0; i < countof(others); i++) others[i] = &timers[i], timer_init(&timers[i], count, NULL);
    timers[2].fn = set_others;
    for (unsigned i = 0; i < countof(others); i++) timer_set(&wheel, &timers[i], 1000);
    timer_advance(&wheel, 1000);
    CHECK(fired >= 1 && fired <= 4);
    CHECK_EQ(wheel.armed, 4);
    for (unsigned i = 0; i < 4; i++) CHECK(timer_armed(&timers[i]));
    timers[2].fn = count;
    fired = 0;
    timer_advance(&wheel, 1001);
    CHECK_EQ(fired, 1);
    timer_advance(&wheel, 1000 + 3 * 256);
    CHECK_EQ(fired, 4);
    end();
}

static void again_at_once(struct timer *t, void *arg) {
    count(t, arg);
    timer_set(&wheel, t, 0);
}

TEST(a_callback_that_sets_itself_for_at_once_fires_once_per_advance) {
    begin(0);
    timers[0].fn = again_at_once;
    timer_set(&wheel, &timers[0], 3);
    timer_advance(&wheel, 100000000); /* however far the clock jumps */
    CHECK_EQ(fired, 1);
    timer_advance(&wheel, 100000001);
    CHECK_EQ(fired, 2);
    timer_advance(&wheel, 900000000);
    CHECK_EQ(fired, 3);
    timer_cancel(&wheel, &timers[0]);
    end();
}

static void again_in_ten(struct timer *t, void *arg) {
    count(t, arg);
    timer_set(&wheel, t, t->when_ms + 10);
}

TEST(a_periodic_timer_keeps_its_beat_over_a_jump) {
    begin(7);
    timers[0].fn = again_in_ten;
    timer_set(&wheel, &timers[0], 17);
    timer_advance(&wheel, 7 + 100000);
    CHECK_EQ(fired, 10000);
    timer_cancel(&wheel, &timers[0]);
    end();
}

static void free_timer(struct timer *t, void *arg) {
    count(t, arg);
    free(t);
}

TEST(a_callback_may_free_its_timer) {
    begin(0);
    for (unsigned i = 0; i < 100; i++) {
        struct timer *t = malloc(sizeof *t);
        timer_init(t, free_timer, NULL);
        timer_set(&wheel, t, 100 + i / 10 * 300);
    }
    timer_advance(&wheel, 1000000);
    CHECK_EQ(fired, 100);
    end();
}

/* ---- how long to sleep ---- */

TEST(the_sleep_is_never_too_long_and_ends) {
    for (size_t s = 0; s < countof(starts); s++)
        for (size_t d = 0; d < countof(delays); d++) {
            begin(starts[s]);
            uint64_t now = starts[s], when = now + delays[d];
            timer_set(&wheel, &timers[0], when);
            unsigned wakes = 0;
            while (!fired && wakes < 1000) {
                int ms = timer_next_ms(&wheel, now, 1 << 30);
                CHECK(ms >= 0 && (uint64_t)ms <= when - now);
                now += (uint64_t)ms;
                timer_advance(&wheel, now);
                wakes++;
            }
            CHECK_EQ(fired, 1);
            CHECK_EQ(now, when);
            CHECK(wakes <= 8); /* a cascade per level, and the longest sleeps in pieces */
            end();
        }
}

TEST(the_sleep_is_bounded_and_counts_from_the_callers_clock) {
    begin(1000);
    timer_set(&wheel, &timers[0], 1050);
    CHECK_EQ(timer_next_ms(&wheel, 1000, 20), 20);
    CHECK_EQ(timer_next_ms(&wheel, 1000, 0), 0);
    CHECK_EQ(timer_next_ms(&wheel, 1020, 100), 4); /* 1024 begins a turn: a lower bound */
    CHECK_EQ(timer_next_ms(&wheel, 1049, 100), 0);
    CHECK_EQ(timer_next_ms(&wheel, 2000, 100), 0); /* overdue: the wheel has not been told yet */
    timer_advance(&wheel, 2000);
    CHECK_EQ(timer_next_ms(&wheel, 2000, 100), 100);
    end();
}

/* ---- against a list ---- */

static uint64_t due[countof(timers)]; /* when; 0: not armed */

static void expected(struct timer *t, void *arg) {
    size_t i = (size_t)(t - timers);
    (void)arg;
    CHECK_EQ(due[i], wheel.now_ms);
    due[i] = 0, fired++;
}

TEST(random_operations_agree_with_a_list) {
    uint64_t rng = 77;
    begin(rng_next(&rng) >> 20);
    for (size_t i = 0; i < countof(timers); i++) timer_init(&timers[i], expected, NULL), due[i] = 0;
    for (unsigned step = 0; step < 20000; step++) {
        for (unsigned k = 0; k < 4; k++) {
            size_t i = rng_next(&rng) % countof(timers);
            if (rng_next(&rng) % 4 == 0) {
                timer_cancel(&wheel, &timers[i]), due[i] = 0;
            } else {
                due[i] = wheel.now_ms + 1 + (rng_next(&rng) >> (rng_next(&rng) % 32 + 32));
                timer_set(&wheel, &timers[i], due[i]);
            }
        }
        uint64_t now = wheel.now_ms + (rng_next(&rng) >> (rng_next(&rng) % 36 + 28));
        timer_advance(&wheel, now);
        uint32_t armed = 0;
        for (size_t i = 0; i < countof(timers); i++) {
            CHECK(due[i] == 0 || due[i] > now);
            CHECK_EQ(timer_armed(&timers[i]), due[i] != 0);
            armed += due[i] != 0;
        }
        CHECK_EQ(wheel.armed, armed);
    }
    CHECK(fired > 10000);
    for (size_t i = 0; i < countof(timers); i++) timer_cancel(&wheel, &timers[i]);
    end();
}

int main(void) {
    RUN(a_timer_fires_at_its_millisecond_and_not_before);
    RUN(a_timer_fires_when_the_clock_jumps_over_it);
    RUN(a_timer_beyond_the_horizon_waits_for_its_time);
    RUN(a_time_in_the_past_fires_at_the_next_advance);
    RUN(cancelling_is_final_and_may_be_repeated);
    RUN(setting_again_replaces);
    RUN(a_cancelled_timeout_wakes_nobody);
    RUN(a_callback_may_cancel_its_neighbours_in_the_slot);
    RUN(a_callback_may_set_itself_and_its_neighbours);
    RUN(a_callback_that_sets_itself_for_at_once_fires_once_per_advance);
    RUN(a_periodic_timer_keeps_its_beat_over_a_jump);
    RUN(a_callback_may_free_its_timer);
    RUN(the_sleep_is_never_too_long_and_ends);
    RUN(the_sleep_is_bounded_and_counts_from_the_callers_clock);
    RUN(random_operations_agree_with_a_list);
    return 0;
}
