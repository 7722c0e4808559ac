/* TLS as the plan wants it: what a chain shows its clients, and what an upstream asks of its servers.
 *
 * Made by plan_new, off the data thread: every file is read here and never again, so a certificate that changes on disk
 * comes with a new plan. A connection holds its OpenSSL context by reference and may outlive the plan; what callbacks need
 * hangs on the context (struct tls_policy) for that reason. */
#ifndef MOSNPY_TLS_CONFIG_H
#define MOSNPY_TLS_CONFIG_H

#include "mpack.h"

#include <openssl/ssl.h>

#include "tls_names.h"
#include "tls_ticket.h"

#define TLS_DIGEST 32u /* SHA-256 */

struct tls_policy {                 /* of an SSL_CTX, freed with it */
    struct tls_names names;         /* who the peer must be; none: whoever the authority vouches for */
    struct tls_ticket_keys tickets; /* server */
    uint8_t alpn[128];              /* as on the wire: length, name, length, name */
    uint32_t alpn_size;
    uint8_t digest[TLS_DIGEST]; /* of what a peer is checked against: a session may be resumed where it is the same */
};
struct tls_policy *tls_policy_of(const SSL_CTX *ctx);

struct tls_server {    /* of a chain */
    bool permissive;   /* plaintext is welcome as well */
    struct tls_shown { /* certificates for the same names, with keys of different types: the client picks */
        SSL_CTX *ctx;
        struct tls_names names;
        uint32_t key_types;
    } * shown; /* the first is for clients that ask for none of the names */
    uint32_t shown_count;
    struct tls_sni { /* sorted by name, which is one of shown[at].names; of equal names the first counts */
        const char *name;
        uint32_t at;
    } * sni;
    uint32_t sni_count;
};

struct tls_client { /* of an upstream */
    SSL_CTX *ctx;
    char *sni; /* NULL: the endpoint's host name */
    bool verify, named /* policy->names has some */, need_h2;
    uint64_t print;
};

/* From the plan's maps (docs/internals/plan.md). NULL and a sentence in err: a file that can't be read, a key that is not the
 * certificate's. */
struct tls_server *tls_server_new(struct mpack spec, char *err, size_t err_size);
void tls_server_free(struct tls_server *s);
struct tls_client *tls_client_new(struct mpack spec, char *err, size_t err_size);
void tls_client_free(struct tls_client *c);
/* The same for the same configuration and contents of files. */
uint64_t tls_client_print(const struct tls_client *c);

/* Clients are asked for certificates. */
bool tls_server_asks(const struct tls_server *s);

/* The context for a client that asks for `sni` (lower case, may be empty). A wildcard stands for one label. */
SSL_CTX *tls_server_context(const struct tls_server *s, struct slice sni);

/* Whether the certificate that the peer showed when the session began is still valid. A ticket may outlast it, and be renewed again
 * and again while the peer has long had another one: then there must be a whole handshake. */
bool tls_session_good(SSL_SESSION *session);

#endif
