/* The first message of a TLS client (RFC 8446 section 4.1.2), read for the server name in it (RFC 6066 section 3): before a chain is
 * chosen, and by `tcp` to route without opening the encryption. It may be spread over several records. */
#ifndef MOSNPY_CLIENT_HELLO_H
#define MOSNPY_CLIENT_HELLO_H

#include "base.h"

#define CLIENT_HELLO_MAX 16384u     /* bytes of the message; those with post-quantum keys have about 1,800 */
#define CLIENT_HELLO_RAW_MAX 24576u /* with the heads of its records */
#define SNI_MAX 255u                /* bytes of a DNS name */

enum hello { HELLO_MORE, HELLO_GOOD, HELLO_BAD /* no ClientHello, or a broken or oversized one */ };

struct client_hello {
    char sni[SNI_MAX + 1]; /* in lower case, without a dot at the end, NUL-terminated */
    uint32_t sni_size;     /* 0: none was sent */
};

/* Reads p[0..n), the first bytes of a connection; *out is set when the answer is HELLO_GOOD. */
enum hello client_hello_read(const uint8_t *p, size_t n, struct client_hello *out);

/* Whether these bytes are a ClientHello's, though maybe one that can't be read. */
bool client_hello_is(const uint8_t *p, size_t n);
/* Whether these bytes begin as a TLS connection does. HELLO_MORE for one or two bytes that might; never for none. */
enum hello client_hello_begins(const uint8_t *p, size_t n);

#endif
