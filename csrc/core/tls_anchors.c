/* Whom to trust: certificates of authorities, and the lists of what they have revoked. */
#include "tls_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

bool tls_fault(const struct tls_fault *fault, const char *what, struct slice name) {
    unsigned long code = ERR_peek_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;
    if (code && ERR_SYSTEM_ERROR(code)) why = strerror(ERR_GET_REASON(code));
    snprintf(fault->text, fault->size, "%s: %.*s%s%s%s", what, (int)name.n, name.n ? (const char *)name.p : "",
             why ? " (" : "", why ? why : "", why ? ")" : "");
    ERR_clear_error();
    return false;
}

bool tls_path(struct slice path, char room[4096], const struct tls_fault *fault) {
    if (path.n == 0 || path.n >= 4096 || memchr(path.p, 0, path.n))
        return tls_fault(fault, "not a path of a file", path);
    memcpy(room, path.p, path.n), room[path.n] = 0;
    return true;
}

/* ---- authorities ---- */

static bool add_anchor(struct tls_anchors *a, EVP_MD_CTX *md, X509 *cert) {
    uint8_t print[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));
    if (!name || !sk_X509_NAME_push(a->names, name)) {
        X509_NAME_free(name);
        return false;
    }
    return X509_digest(cert, EVP_sha256(), print, &n) && EVP_DigestUpdate(md, print, n) &&
           X509_STORE_add_cert(a->store, cert);
}

/* Nothing more was found in a file that had `count` of them: it has ended, or something in it is broken. */
static bool at_end(int count) {
    if (count && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) ERR_clear_error();
    return count && !ERR_peek_error();
}

static bool read_anchors(struct tls_anchors *a, EVP_MD_CTX *md, BIO *file) {
    bool good = true;
    int count = 0;
    for (X509 *cert; good && (cert = PEM_read_bio_X509_AUX(file, NULL, NULL, NULL)) != NULL; X509_free(cert), count++)
        good = add_anchor(a, md, cert);
    return good && at_end(count);
}

static bool read_lists(struct tls_anchors *a, EVP_MD_CTX *md, BIO *file) {
    uint8_t print[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool good = true;
    int count = 0;
    for (X509_CRL *crl; good && (crl = PEM_read_bio_X509_CRL(file, NULL, NULL, NULL)) != NULL;
         X509_CRL_free(crl), count++)
        good = X509_CRL_digest(crl, EVP_sha256(), print, &n) && EVP_DigestUpdate(md, print, n) &&
               X509_STORE_add_crl(a->store, crl);
    return good && at_end(count);
}

/* What `read` finds in a file goes into the digest as well. */
static bool read_file(struct tls_anchors *a, const char *name,
                      bool (*read)(struct tls_anchors *, EVP_MD_CTX *, BIO *)) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    BIO *file = BIO_new_file(name, "r");
    bool good = md && file && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
                EVP_DigestUpdate(md, a->digest, sizeof a->digest) && read(a, md, file) &&
                EVP_DigestFinal_ex(md, a->digest, NULL);
    BIO_free(file);
    EVP_MD_CTX_free(md);
    return good;
}

/* Debian and its kin, Fedora and its kin, Alpine; first what OpenSSL itself would read. A folder of hashed names is left alone: it
 * would be read while clients wait. */
static const char *system_anchors(void) {
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    const char *own = getenv(X509_get_default_cert_file_env());
    struct stat st;
    if (!own) own = X509_get_default_cert_file();
    if (stat(own, &st) == 0) return own;
    for (size_t i = 0; i < countof(places); i++)
        if (stat(places[i], &st) == 0) return places[i];
    return own;
}

bool tls_anchors_read(struct tls_anchors *a, struct slice path, const struct tls_fault *fault) {
    char room[4096];
    const char *name = room;
    ERR_clear_error();
    if (slice_eq(path, SLICE("system"))) name = system_anchors();
    else if (!tls_path(path, room, fault)) return false;
    a->store = X509_STORE_new(), a->names = sk_X509_NAME_new_null();
    /* An intermediate authority may be an anchor: SPIFFE bundles and pinned certificates are such. */
    bool good = a->store && a->names && X509_STORE_set_flags(a->store, X509_V_FLAG_PARTIAL_CHAIN) &&
                read_file(a, name, read_anchors);
    return good || tls_fault(fault, "certificates of authorities can't be read", slice_of(name, strlen(name)));
}

/* Every certificate of a chain, not the peer's alone: else a revoked intermediate authority could go on. */
bool tls_anchors_revoke(struct tls_anchors *a, struct slice path, const struct tls_fault *fault) {
    char name[4096];
    ERR_clear_error();
    if (!tls_path(path, name, fault)) return false;
    bool good = X509_STORE_set_flags(a->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) &&
                read_file(a, name, read_lists);
    return good || tls_fault(fault, "lists of revoked certificates can't be read", path);
}

void tls_anchors_free(struct tls_anchors *a) {
    X509_STORE_free(a->store);
    sk_X509_NAME_pop_free(a->names, X509_NAME_free);
    memset(a, 0, sizeof *a);
}
