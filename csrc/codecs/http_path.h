/* The path of a request in the form that rules and upstreams see (RFC 3986 §6.2.2): no way around a rule by spelling a path
 * differently. */
#ifndef MOSNPY_HTTP_PATH_H
#define MOSNPY_HTTP_PATH_H

#include "../core/base.h"

/* What becomes of %2F and %5C. Decoded, both are '/': to servers that take a backslash for anything special it is one. */
enum http_escaped_slashes { SLASHES_KEEP, SLASHES_REJECT, SLASHES_DECODE };

struct http_path_options {
    bool merge_slashes;      /* "//" is "/" */
    uint8_t escaped_slashes; /* enum http_escaped_slashes */
};

#define HTTP_PATH_BAD (-1)

/* Escapes of unreserved characters are decoded, those of others get upper-case digits; then "." and ".." segments are resolved. The
 * query is left as it is, and so is what does not begin with '/' ("*", nothing). `to` has room for path_and_query.n bytes (the result
 * is never longer) and does not overlap it.
 * 0 nothing changes, *out is the input; 1 *out lies in `to`; HTTP_PATH_BAD (400): an incomplete or malformed escape, %00, a way above
 * the root, an escaped slash where they are rejected, or too little room. */
int http_path_normalize(struct slice path_and_query, const struct http_path_options *o, uint8_t *to, size_t cap,
                        struct slice *out);

#endif
