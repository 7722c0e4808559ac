#include "stats.h"

const uint32_t stat_latency_bounds[LATENCY_BUCKETS - 1] = {
#define X(b) b,
    LATENCY_BOUNDS(X)
#undef X
};

void stat_latency(uint64_t *h, uint64_t us) {
    unsigned i = 0;
    while (i < LATENCY_BUCKETS - 1 && us > stat_latency_bounds[i]) i++; /* most replies end within the first few */
    h[i]++;
    h[LATENCY_BUCKETS] += us;
}
