#include "meter.h"
#include "wire.h"

#include <dirent.h>

struct meter meter;

void meter_watch(char *list) {
    for (char *p = strtok(list, ","); p && meter.pid_count < METER_PIDS; p = strtok(NULL, ",")) {
        meter.pids[meter.pid_count++] = atoi(p);
    }
}

void meter_fail(const char *what, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    if (!*meter.failure) {
        char *to = meter.failure;
        size_t room = sizeof meter.failure, at = (size_t)snprintf(to, room, "%s", what);
        for (size_t i = 0; i < n && i < 60 && at + 8 < room; i++) {
            bool plain = p[i] >= ' ' && p[i] < 127 && p[i] != '"' && p[i] != '\\';
            at += (size_t)snprintf(to + at, room - at, plain ? "%c" : "<%02x>", p[i]);
        }
    }
    meter.stopping = true;
}

void meter_fail_errno(const char *what) {
    const char *text = strerror(errno);
    meter_fail(what, text, strlen(text));
}

/* The latency (us) that a share q of all requests did not exceed: the middle of its bucket. */
static double quantile(double q) {
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < sizeof meter.hist / sizeof *meter.hist; i++) { total += meter.hist[i]; }
    for (size_t i = 0; i < sizeof meter.hist / sizeof *meter.hist; i++) {
        seen += meter.hist[i];
        if (total && seen >= (uint64_t)(q * (double)total)) {
            size_t group = i >> METER_SUB, shift = group ? group - 1 : 0, low = group ? (i & 31u) + 32u : i;
            return ((double)low + 0.5) * (double)(1ull << shift) / 1000;
        }
    }
    return 0;
}

/* Adds up the running and the waiting time (ns) of all threads of the watched processes. */
static void read_cpu(uint64_t *run, uint64_t *wait) {
    *run = *wait = 0;
    for (int i = 0; i < meter.pid_count; i++) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%d/task", meter.pids[i]);
        DIR *d = opendir(path);
        for (struct dirent *t; d && (t = readdir(d));) {
            unsigned long long r, w;
            snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", meter.pids[i], t->d_name);
            FILE *f = *t->d_name == '.' ? NULL : fopen(path, "r");
            if (f && fscanf(f, "%llu %llu", &r, &w) == 2) {
                *run += r;
                *wait += w;
            }
            if (f) { fclose(f); }
        }
        if (d) { closedir(d); }
    }
}

/* Until the clock shows `until`, `limit` requests are complete or nothing is under way any more. */
static bool phase(bool (*turn)(void), uint64_t until, uint64_t limit) {
    bool busy = true;
    while (busy && meter.completed < limit && !*meter.failure) {
        busy = turn();
        uint64_t now = wire_now_ns();
        if (now >= until) { break; }
        if (now > meter.last_progress && now - meter.last_progress > STALL_NS) {
            meter_fail("no reply for 2 s", "", 0);
        }
    }
    return busy;
}

int meter_run(double warmup, double seconds, uint64_t max_requests, bool (*turn)(void)) {
    uint64_t cpu[2], wait[2];
    meter.last_progress = wire_now_ns();
    phase(turn, wire_now_ns() + (uint64_t)(warmup * 1e9), UINT64_MAX);

    uint64_t requests = meter.completed, start = wire_now_ns();
    meter.measuring = true;
    read_cpu(&cpu[0], &wait[0]);
    phase(turn, start + (uint64_t)(seconds * 1e9),
          max_requests < UINT64_MAX - requests ? requests + max_requests : UINT64_MAX);
    read_cpu(&cpu[1], &wait[1]);
    double took = (double)(wire_now_ns() - start) / 1e9;
    requests = meter.completed - requests;
    meter.measuring = false;

    meter.stopping = true; /* a reply lost at the very end counts too */
    if (phase(turn, wire_now_ns() + STALL_NS, UINT64_MAX) && !*meter.failure) {
        meter_fail("replies missing at the end", "", 0);
    }
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"cpu_ns\": %llu, \"wait_ns\": %llu, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"answered\": %llu, \"failure\": \"%s\"}\n",
           (unsigned long long)requests, took, (unsigned long long)(cpu[1] - cpu[0]),
           (unsigned long long)(wait[1] - wait[0]), quantile(0.5), quantile(0.99), quantile(0.999),
           (double)meter.latency_max / 1000, (unsigned long long)meter.completed, meter.failure);
    return *meter.failure ? 3 : 0;
}
