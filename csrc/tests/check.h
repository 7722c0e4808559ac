/* A tiny test harness. A test file is one program:
 *
 *     TEST(a_sentence_that_holds) { CHECK_EQ(1 + 1, 2); }
 *     int main(void) { RUN(a_sentence_that_holds); return 0; }
 *
 * A failed check is printed with file, line and test, and the test goes on; the program's exit status is then 1,
 * whatever main() returns. A test that is not run does not compile (unused function). MOSNPY_TEST=word runs the
 * tests whose names hold the word. */
#ifndef MOSNPY_CHECK_H
#define MOSNPY_CHECK_H

#include "../core/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK_FAILURES_MAX 20 /* then stop: the rest is most likely the same fault */

static int check_failures;
static const char *check_test = "main";

#define TEST(name) static void name(void)
#define RUN(name) check_run(#name, name)
#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
/* Integers up to 64 bits; both values are printed. */
#define CHECK_EQ(got, want) check_eq(__FILE__, __LINE__, #got " == " #want, (int64_t)(got), (int64_t)(want))
#define CHECK_BYTES(got, got_size, want, want_size) \
    check_bytes(__FILE__, __LINE__, #got, slice_of(got, got_size), slice_of(want, want_size))
#define CHECK_STR(got, want) \
    check_bytes(__FILE__, __LINE__, #got, slice_of(got, strlen(got)), slice_of(want, strlen(want)))

__attribute__((unused, noinline)) static void check_failed(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: in %s: %s\n", file, line, check_test, what);
    if (++check_failures >= CHECK_FAILURES_MAX) exit(1);
}

__attribute__((unused)) static inline void check_eq(const char *file, int line, const char *what, int64_t got,
                                                    int64_t want) {
    char text[512];
    if (likely(got == want)) return;
    snprintf(text, sizeof text, "%s: %" PRId64 " (0x%" PRIx64 "), not %" PRId64 " (0x%" PRIx64 ")", what, got, got,
             want, want);
    check_failed(file, line, text);
}

__attribute__((unused)) static void check_quote(struct slice s) {
    for (size_t i = 0; i < s.n && i < 200; i++)
        fprintf(stderr, s.p[i] >= 32 && s.p[i] < 127 ? "%c" : "\\x%02x", s.p[i]);
    fprintf(stderr, "%s (%zu bytes)\n", s.n > 200 ? "..." : "", s.n);
}

__attribute__((unused)) static void check_bytes(const char *file, int line, const char *what, struct slice got,
                                                struct slice want) {
    if (likely(slice_eq(got, want))) return;
    check_failed(file, line, what);
    fprintf(stderr, "  got:    "), check_quote(got);
    fprintf(stderr, "  wanted: "), check_quote(want);
}

__attribute__((unused)) static void check_run(const char *name, void (*test)(void)) {
    const char *only = getenv("MOSNPY_TEST");
    if (only && !strstr(name, only)) return;
    check_test = name;
    test();
    check_test = "main";
}

/* A copy of p[0..n) whose last byte is the last of a page; the page behind may not be touched, so that a read past
 * the end faults even where ASan can't see it. Writable. Good until GUARDED_MAX further calls; never freed by the
 * caller. */
#define GUARDED_MAX 16
__attribute__((unused)) static uint8_t *guarded(const void *p, size_t n) {
    static struct {
        uint8_t *map;
        size_t size;
    } areas[GUARDED_MAX];
    static unsigned turn;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), usable = (n + page - 1) / page * page;
    unsigned at = turn++ % GUARDED_MAX;
    if (areas[at].map) munmap(areas[at].map, areas[at].size);
    areas[at].size = usable + page;
    areas[at].map = mmap(NULL, areas[at].size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (areas[at].map == MAP_FAILED || mprotect(areas[at].map + usable, page, PROT_NONE) != 0)
        perror("guarded"), abort();
    uint8_t *copy = areas[at].map + usable - n;
    if (n) memcpy(copy, p, n);
    return copy;
}

/* Runs when main() is over: failed checks are the program's exit status. */
__attribute__((destructor)) static void check_exit(void) {
    if (!check_failures) return;
    fprintf(stderr, "%d failed check%s\n", check_failures, check_failures == 1 ? "" : "s");
    fflush(NULL);
    _exit(1);
}

#endif
