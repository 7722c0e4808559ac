/* Handshakes that fail: a word for the statistics, a sentence for the log. */
#ifndef MOSNPY_TLS_FAILURE_H
#define MOSNPY_TLS_FAILURE_H

#include <openssl/ssl.h>

#include "conn.h"

#define TLS_LOG_RATE 5u /* lines per second and worker; whoever scans the internet makes thousands */

#define X(name, kind, help) WHY_##name,
enum tls_failure { TLS_FAILURE_STATS(X) TLS_FAILURE_COUNT };
#undef X

/* What OpenSSL's list of errors says of a handshake. The list stays. */
enum tls_failure tls_failure_of(const SSL *ssl);
/* c's handshake has failed: counts it and says so, with what OpenSSL's list of errors says. */
void tls_failed(struct conn *c, enum tls_failure why);
/* c closes for `why` before its handshake was over. That is no failure where we gave it up ourselves. */
void tls_unfinished(struct conn *c, enum failure why);

#endif
