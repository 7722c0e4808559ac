/* HTTP/1 messages for tests in Python, over stdin and stdout: records of a letter, a length (32 bits, little-endian) and so many bytes;
 * each is answered by a length and the text of http1_run.h, without the bodies' bytes being anything but escaped.
 *   Q  bytes of requests
 *   G, H, C  bytes of responses to GET, HEAD, CONNECT
 * tests/codecs/http/test_http1_differential.py builds and runs it. */
#include "http1_run.h"

int main(void) {
    uint8_t op;
    uint32_t n;
    while (fread(&op, 1, 1, stdin) == 1 && fread(&n, sizeof n, 1, stdin) == 1) {
        uint8_t *p = malloc((size_t)n + 1);
        if (!p || fread(p, 1, n, stdin) != n) return 1;
        struct http1_run r = {.limits = run_limits, .response = op != 'Q'};
        r.method = op == 'H' ? HTTP_HEAD : op == 'C' ? HTTP_CONNECT : HTTP_GET;
        char *text = http1_run(&r, p, n);
        uint32_t size = (uint32_t)strlen(text);
        fwrite(&size, sizeof size, 1, stdout), fwrite(text, 1, size, stdout);
        fflush(stdout);
        free(text), free(p);
    }
    return 0;
}
