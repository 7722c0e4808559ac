#include "tls_context.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tls.h"

/* TLS 1.2: forward secrecy and authenticated encryption only, which is also what RFC 9113 appendix A leaves over. 1.3 has no others. */
#define SERVER_CIPHERS "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20"
/* 128 bits before 256: a quarter less work for what nobody breaks either. */
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

/* ---- policy: what callbacks find on a context ---- */

static int policy_slot = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void policy_gone(void *parent, void *policy, CRYPTO_EX_DATA *data, int slot, long l, void *p) {
    (void)parent, (void)data, (void)slot, (void)l, (void)p;
    struct tls_policy *gone = policy;
    if (!gone) return;
    tls_names_free(&gone->names);
    OPENSSL_cleanse(&gone->tickets, sizeof gone->tickets);
    free(gone);
}
static void policy_slot_new(void) { policy_slot = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, policy_gone); }
struct tls_policy *tls_policy_of(const SSL_CTX *ctx) {
    return SSL_CTX_get_ex_data(ctx, policy_slot);
}

static bool read_alpn(struct tls_policy *policy, struct mpack list) {
    struct mpack v;
    if (list.type != MP_ARRAY) return true;
    for (struct mpack_iter it = mpack_iter(list); mpack_next(&it, &v);) {
        struct slice name = mpack_slice(v);
        if (name.n == 0 || name.n > 255 || policy->alpn_size + 1 + name.n > sizeof policy->alpn) return false;
        policy->alpn[policy->alpn_size++] = (uint8_t)name.n;
        memcpy(policy->alpn + policy->alpn_size, name.p, name.n);
        policy->alpn_size += (uint32_t)name.n;
    }
    return true;
}

/* Two contexts with the same digest ask the same of a peer, so that one may resume what the other began. */
static void set_digest(SSL_CTX *ctx, const struct tls_anchors *anchors, struct slice sni) {
    struct tls_policy *policy = tls_policy_of(ctx);
    long settings[] = {SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_min_proto_version(ctx),
                       SSL_CTX_get_max_proto_version(ctx)};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    EVP_DigestUpdate(md, settings, sizeof settings);
    EVP_DigestUpdate(md, policy->alpn, policy->alpn_size);
    EVP_DigestUpdate(md, anchors->digest, sizeof anchors->digest);
    for (uint32_t i = 0; i < policy->names.count; i++)
        EVP_DigestUpdate(md, policy->names.at[i], strlen(policy->names.at[i]) + 1);
    EVP_DigestUpdate(md, sni.p, sni.n);
    EVP_DigestFinal_ex(md, policy->digest, NULL);
    EVP_MD_CTX_free(md);
}

/* ---- who the peer is ---- */

/* Called for every certificate of a peer's chain; `good` is OpenSSL's opinion. The peer's own comes last. */
static int check_names(int good, X509_STORE_CTX *chain) {
    if (!good || X509_STORE_CTX_get_error_depth(chain) != 0) return good;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_names *names = &tls_policy_of(SSL_get_SSL_CTX(ssl))->names;
    X509 *cert = X509_STORE_CTX_get_current_cert(chain);
    for (uint32_t i = 0; i < names->count; i++)
        if (tls_name_fits(names->at[i], cert)) return 1;
    if (!names->count) return 1;
    X509_STORE_CTX_set_error(chain, X509_V_ERR_HOSTNAME_MISMATCH);
    return 0;
}

/* ---- contexts ---- */

static int no_passphrase(char *buf, int size, int writing, void *arg) {
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1; /* a sealed key is an error, not a question on the terminal */
}

static SSL_CTX *new_context(const SSL_METHOD *method, struct mpack spec, const char *names,
                            const struct tls_fault *fault) {
    pthread_once(&once, policy_slot_new);
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(method);
    struct tls_policy *policy = calloc(1, sizeof *policy);
    if (!ctx || !policy || !SSL_CTX_set_ex_data(ctx, policy_slot, policy)) {
        free(policy);
        goto fail;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_msg_callback(ctx, tls_note_message);
    SSL_CTX_set_read_ahead(ctx, 1);
    int min = (int)mpack_int(mpack_get(spec, "min"), TLS1_2_VERSION), max = (int)mpack_int(mpack_get(spec, "max"), 0);
    if (!SSL_CTX_set_ciphersuites(ctx, SUITES)) goto fail;
    if (!SSL_CTX_set_min_proto_version(ctx, min) || !SSL_CTX_set_max_proto_version(ctx, max)) goto fail;
    if (!read_alpn(policy, mpack_get(spec, "alpn")) || !tls_names_read(&policy->names, mpack_get(spec, names)))
        goto fail;
    return ctx;
fail:
    tls_fault(fault, "TLS settings can't be used", SLICE(""));
    SSL_CTX_free(ctx);
    return NULL;
}

/* RFC 7301 section 3.2: a client none of whose protocols we speak must not be answered in another one. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *asked,
                       unsigned asked_n, void *arg) {
    const struct tls_policy *policy = arg;
    (void)ssl;
    int found = SSL_select_next_proto((unsigned char **)out, n, policy->alpn, policy->alpn_size, asked, asked_n);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int crypt_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                        int seal) {
    struct tls_policy *policy = tls_policy_of(SSL_get_SSL_CTX(ssl));
    return tls_ticket_crypt(&policy->tickets, (uint64_t)time(NULL), name, iv, cipher, mac, seal);
}

bool tls_session_good(SSL_SESSION *session) {
    X509 *cert = SSL_SESSION_get0_peer(session);
    return !cert || X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

/* A client's ticket was opened, or could not be. */
static SSL_TICKET_RETURN take_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t n,
                                     SSL_TICKET_STATUS status, void *arg) {
    (void)ssl, (void)name, (void)n, (void)arg;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (!tls_session_good(session)) return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

static bool set_tickets(SSL_CTX *ctx, struct mpack spec) {
    struct tls_policy *policy = tls_policy_of(ctx);
    struct slice key = mpack_slice(mpack_get(spec, "ticket_key"));
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (!mpack_bool(mpack_get(spec, "tickets"), true)) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        return SSL_CTX_set_num_tickets(ctx, 0);
    }
    SSL_CTX_set_timeout(ctx, TICKET_LIFETIME_S);
    if (key.n >= TICKET_SECRET) memcpy(policy->tickets.secret, key.p, TICKET_SECRET);
    else if (RAND_bytes(policy->tickets.secret, TICKET_SECRET) != 1)
        return false; /* known to this plan and worker alone */
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, crypt_ticket) == 1 &&
           SSL_CTX_set_session_ticket_cb(ctx, NULL, take_ticket, NULL) == 1;
}

SSL_CTX *tls_context_server(struct mpack spec, const struct tls_anchors *anchors, const struct tls_fault *fault) {
    struct slice client = mpack_slice(mpack_get(spec, "client")), ciphers = mpack_slice(mpack_get(spec, "ciphers"));
    SSL_CTX *ctx = new_context(TLS_server_method(), spec, "client_names", fault);
    if (!ctx) return NULL;
    struct tls_policy *policy = tls_policy_of(ctx);
    char list[1024] = SERVER_CIPHERS;
    if (ciphers.n)
        snprintf(list, sizeof list, "%.*s", (int)min_size(ciphers.n, sizeof list - 1), (const char *)ciphers.p);
    int mode = SSL_VERIFY_NONE;
    if (slice_eq(client, SLICE("optional"))) mode = SSL_VERIFY_PEER;
    else if (slice_eq(client, SLICE("required"))) mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, check_names);
    if (mode != SSL_VERIFY_NONE && !anchors->store) {
        tls_fault(fault, "client certificates are asked for without client_ca", SLICE("client_ca"));
    } else if (!SSL_CTX_set_cipher_list(ctx, list)) {
        tls_fault(fault, "no usable cipher in", slice_of(list, strlen(list)));
    } else if (anchors->store && !SSL_CTX_set1_verify_cert_store(ctx, anchors->store)) {
        tls_fault(fault, "out of memory for TLS", SLICE(""));
    } else {
        if (policy->alpn_size) SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, policy);
        if (anchors->names) SSL_CTX_set_client_CA_list(ctx, SSL_dup_CA_list(anchors->names));
        set_digest(ctx, anchors, SLICE(""));
        if (SSL_CTX_set_session_id_context(ctx, policy->digest, TLS_DIGEST) && set_tickets(ctx, spec)) return ctx;
        tls_fault(fault, "session tickets can't be had", SLICE(""));
    }
    SSL_CTX_free(ctx);
    return NULL;
}

SSL_CTX *tls_context_client(struct mpack spec, const struct tls_anchors *anchors, const struct tls_fault *fault) {
    SSL_CTX *ctx = new_context(TLS_client_method(), spec, "names", fault);
    if (!ctx) return NULL;
    struct tls_policy *policy = tls_policy_of(ctx);
    int mode = anchors->store ? SSL_VERIFY_PEER : SSL_VERIFY_NONE;
    SSL_CTX_set_verify(ctx, mode, check_names);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, tls_keep_session);
    set_digest(ctx, anchors, mpack_slice(mpack_get(spec, "sni")));
    bool good = !anchors->store || SSL_CTX_set1_verify_cert_store(ctx, anchors->store);
    if (good && policy->alpn_size) good = SSL_CTX_set_alpn_protos(ctx, policy->alpn, policy->alpn_size) == 0;
    if (good) return ctx;
    tls_fault(fault, "out of memory for TLS", SLICE(""));
    SSL_CTX_free(ctx);
    return NULL;
}

bool tls_context_identity(SSL_CTX *ctx, struct slice certificate, struct slice key, const struct tls_fault *fault) {
    char path[4096];
    ERR_clear_error();
    if (!tls_path(certificate, path, fault)) return false;
    if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
        return tls_fault(fault, "certificate can't be read", certificate);
    if (!tls_path(key, path, fault)) return false;
    if (SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) != 1) {
        bool other = ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH;
        return tls_fault(fault, other ? "key is not the certificate's" : "key can't be read", key);
    }
    return SSL_CTX_check_private_key(ctx) == 1 || tls_fault(fault, "key is not the certificate's", key);
}
