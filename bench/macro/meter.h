/* What both load generators measure alike: requests and their latency, CPU time of the watched processes, the first
 * failure, and the three phases of a run: warming up, measuring, letting come home what is under way. */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    METER_SUB = 5,         /* bits below the leading one: a bucket of the histogram is at most 1/32 wide */
    METER_PIDS = 64,       /* watched processes */
    STALL_NS = 2000000000, /* no reply at all for so long: the run has failed */
};

struct meter {
    uint64_t completed;     /* requests answered since the program began */
    uint64_t last_progress; /* ns */
    uint64_t latency_max;   /* ns */
    uint64_t hist[64 << METER_SUB];
    bool measuring, stopping; /* stopping: no further request is begun */
    char failure[256];        /* the first one; "" while all is well */
    int pids[METER_PIDS], pid_count;
};
extern struct meter meter;

/* Names the processes to watch: "PID,PID". */
void meter_watch(char *list);

/* Ends the run as failed; the first reason stays. `bytes` may be anything: they are made fit to stand in JSON. */
void meter_fail(const char *what, const void *bytes, size_t n);
void meter_fail_errno(const char *what);

/* `times` requests begun at `since` (ns) are answered now. */
static inline void meter_count(uint64_t since, uint64_t now, uint64_t times) {
    meter.completed += times;
    meter.last_progress = now;
    if (meter.measuring) {
        uint64_t ns = now - since;
        int top = 63 - __builtin_clzll(ns | (1u << METER_SUB));
        meter.hist[((uint64_t)(top - METER_SUB) << METER_SUB) + (ns >> (top - METER_SUB))] += times;
        meter.latency_max = ns > meter.latency_max ? ns : meter.latency_max;
    }
}

/* The three phases. `turn` handles what is there now without waiting and says whether something is still under way. Prints the
 * figures as one JSON object; returns the exit code: 0, or 3 for a failed run. */
int meter_run(double warmup, double seconds, uint64_t max_requests, bool (*turn)(void));

#endif
