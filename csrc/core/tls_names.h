/* Names of certificates: what one says it is (subject alternative names), and whether that fits what was asked for.
 * The subject's common name is not looked at: RFC 9525 section 2. */
#ifndef MOSNPY_TLS_NAMES_H
#define MOSNPY_TLS_NAMES_H

#include <openssl/x509.h>

#include "mpack.h"

struct tls_names { /* owned strings, NUL-terminated */
    char **at;
    uint32_t count;
};

/* From a list of the plan; an absent one has no names. False: out of memory, or a name that holds a NUL. */
bool tls_names_read(struct tls_names *names, struct mpack list);
bool tls_names_add(struct tls_names *names, struct slice name);
void tls_names_free(struct tls_names *names);

/* The names of a certificate as text: DNS names in lower case, URIs, IP addresses, mail addresses. `dns_only`: those a server is
 * asked for. False: out of memory. */
bool tls_names_of(struct tls_names *names, X509 *cert, bool dns_only);

/* Whether the certificate has a name that fits `pattern`: with '*', '?' or '[' a glob ('*' is any run of characters) over URIs if it
 * has a ':' or '/', else over DNS names in lower case, "*" alone over both; without, an IP address, a URI, or a host name, which a
 * wildcard of the certificate may stand for. */
bool tls_name_fits(const char *pattern, X509 *cert);

bool tls_is_ip(const char *name); /* an IPv4 or IPv6 address */

#endif
