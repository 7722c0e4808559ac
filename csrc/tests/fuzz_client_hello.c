/* libFuzzer target for the reader of ClientHellos. What must hold whatever the bytes: what was refused or found stays so with more
 * bytes behind it; a name is printable and within its limit; what waits for more is no longer than the limit. */
#include "../core/client_hello.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond) ((cond) ? (void)0 : must_failed(__LINE__, #cond))
static void must_failed(int line, const char *what) {
    fprintf(stderr, "fuzz_client_hello.c:%d: %s\n", line, what);
    abort();
}

/* A copy of its own: one byte further is not ours. */
static enum hello read_copy(const uint8_t *p, size_t n, struct client_hello *out) {
    uint8_t *copy = malloc(n + !n);
    if (n) memcpy(copy, p, n);
    enum hello got = client_hello_read(copy, n, out);
    free(copy);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct client_hello whole, part;
    enum hello got = read_copy(data, size, &whole);
    MUST(whole.sni_size <= SNI_MAX && strlen(whole.sni) == whole.sni_size);
    for (uint32_t i = 0; i < whole.sni_size; i++) MUST(whole.sni[i] > ' ' && whole.sni[i] <= '~');
    MUST(got != HELLO_MORE || size <= CLIENT_HELLO_RAW_MAX);
    if (client_hello_begins(data, size) == HELLO_BAD) MUST(got == HELLO_BAD);
    enum hello before = HELLO_MORE;
    for (size_t n = 0; n < size && before == HELLO_MORE; n += 1 + n / 8) {
        before = read_copy(data, n, &part);
        if (before == HELLO_GOOD) MUST(got == HELLO_GOOD && strcmp(part.sni, whole.sni) == 0);
        if (before == HELLO_BAD && n <= CLIENT_HELLO_RAW_MAX) MUST(got == HELLO_BAD);
    }
    return 0;
}
