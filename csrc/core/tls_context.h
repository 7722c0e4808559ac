/* One OpenSSL context, put together from the plan. Only tls_config.c includes this. */
#ifndef MOSNPY_TLS_CONTEXT_H
#define MOSNPY_TLS_CONTEXT_H

#include "tls_config.h"

struct tls_fault { /* where a sentence goes when something is wrong with the plan */
    char *text;
    size_t size;
};
/* Writes "what: name (why)", why being OpenSSL's last word if it said anything. Always false. */
bool tls_fault(const struct tls_fault *fault, const char *what, struct slice name);

/* A path of the plan as a C string. */
bool tls_path(struct slice path, char room[4096], const struct tls_fault *fault);

struct tls_anchors { /* whom to trust */
    X509_STORE *store;
    STACK_OF(X509_NAME) * names; /* told to clients */
    uint8_t digest[TLS_DIGEST];  /* of all of it */
};
/* From a PEM file, or "system" for the machine's own. */
bool tls_anchors_read(struct tls_anchors *a, struct slice path, const struct tls_fault *fault);
/* From now on nobody is trusted whose certificate is in the lists of this PEM file, or whose authority has no valid list in it. */
bool tls_anchors_revoke(struct tls_anchors *a, struct slice path, const struct tls_fault *fault);
void tls_anchors_free(struct tls_anchors *a);

/* A context with its policy, without identity. `anchors` may be empty. NULL: *fault says why. */
SSL_CTX *tls_context_server(struct mpack spec, const struct tls_anchors *anchors, const struct tls_fault *fault);
SSL_CTX *tls_context_client(struct mpack spec, const struct tls_anchors *anchors, const struct tls_fault *fault);
/* Who we are: a chain of certificates and its key. Another key type of the same context stays beside it. */
bool tls_context_identity(SSL_CTX *ctx, struct slice certificate, struct slice key, const struct tls_fault *fault);

#endif
