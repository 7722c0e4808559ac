/* TLS as the plan wants it: what a chain shows its clients, and what an upstream asks of its servers.
 *
 * Made by plan_new, off the data thread: every file is read here and never again, so a certificate that changes on disk
 * comes with a new plan. Connections hold the OpenSSL contexts by reference; an old plan's may outlive it. */
#ifndef MOSNPY_TLS_CONFIG_H
#define MOSNPY_TLS_CONFIG_H

#include "mpack.h"

struct tls_server; /* of a chain */
struct tls_client; /* of an upstream */

/* From the plan's maps (docs/internals/plan.md). NULL and a sentence in err: a file that can't be read, a key that is not the
 * certificate's. */
struct tls_server *tls_server_new(struct mpack spec, char *err, size_t err_size);
void tls_server_free(struct tls_server *s);
struct tls_client *tls_client_new(struct mpack spec, char *err, size_t err_size);
void tls_client_free(struct tls_client *c);

#endif
