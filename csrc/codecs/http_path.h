/* Paths in one form, so that a rule about /admin also holds for /x/../admin and /%61dmin. RFC 3986 §5.2.4, §6.2.2. */
#ifndef MOSNPY_HTTP_PATH_H
#define MOSNPY_HTTP_PATH_H

#include "http.h"

#include <sys/types.h>

enum { SLASHES_KEEP, SLASHES_REJECT, SLASHES_DECODE }; /* what becomes of %2F and %5C */

struct http_path_options {
    bool merge_slashes; /* "//" means "/" */
    uint8_t escaped_slashes;
};

/* Dot segments are resolved, escaped unreserved characters written out, other escapes with upper-case digits; the query
 * stays as it is. 0: nothing to do, *out is the input. 1: *out lies in `to` (cap >= the input's length). -1: refused (a bad
 * escape, %00, a way above the root, an escaped slash where they are rejected). */
int http_path_normalize(struct slice path_and_query, const struct http_path_options *o, uint8_t *to, size_t cap,
                        struct slice *out);

#endif
