#include "tls_failure.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

#include "tls.h"

_Static_assert(LISTENER_tls_failed_refused == LISTENER_tls_failed_closed + WHY_tls_failed_refused, "");
_Static_assert(UPSTREAM_tls_failed_refused == UPSTREAM_tls_failed_closed + WHY_tls_failed_refused, "");

#define X(name, kind, help) #name,
static const char *const names[] = {TLS_FAILURE_STATS(X)};
#undef X

/* ---- why ---- */

static enum tls_failure of_certificate(long verdict) {
    switch (verdict) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED: return WHY_tls_failed_unknown_ca;
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_CERT_HAS_EXPIRED: return WHY_tls_failed_expired;
    case X509_V_ERR_CERT_REVOKED:
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_HAS_EXPIRED: return WHY_tls_failed_revoked;
    default: return WHY_tls_failed_bad_certificate;
    }
}

enum tls_failure tls_failure_of(const SSL *ssl) {
    unsigned long error = ERR_peek_error(); /* the first is the cause, the others are its consequences */
    int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) return WHY_tls_failed_protocol;
    if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) return WHY_tls_failed_refused;
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED: return of_certificate(SSL_get_verify_result(ssl));
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return WHY_tls_failed_no_certificate;
    case SSL_R_NO_APPLICATION_PROTOCOL: return WHY_tls_failed_no_shared_protocol;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS: return WHY_tls_failed_no_shared_cipher;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW: return WHY_tls_failed_version;
    default: return WHY_tls_failed_protocol;
    }
}

/* ---- the log ---- */

/* ": certificate verify failed (certificate has expired)", empty when OpenSSL has nothing to say. */
static void openssl_words(const SSL *ssl, char *to, size_t size) {
    unsigned long error = ERR_peek_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL, *more = NULL;
    bool judged = ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    if (judged) more = X509_verify_cert_error_string(SSL_get_verify_result(ssl));
    snprintf(to, size, "%s%s%s%s%s", reason ? ": " : "", reason ? reason : "", more ? " (" : "", more ? more : "",
             more ? ")" : "");
}

/* How many lines were left out since the last one; -1: this one is left out as well. */
static int64_t may_say(struct core *core) {
    if (core->now_ms >= core->tls_log.since_ms + 1000) core->tls_log.since_ms = core->now_ms, core->tls_log.lines = 0;
    if (core->tls_log.lines >= TLS_LOG_RATE) {
        core->tls_log.left_out++;
        return -1;
    }
    core->tls_log.lines++;
    uint32_t left_out = core->tls_log.left_out;
    core->tls_log.left_out = 0;
    return left_out;
}

static void say(struct conn *c, const char *why) {
    struct core *core = c->core;
    char words[256] = "", tail[64] = "", text[768];
    int64_t left_out = may_say(core);
    if (left_out < 0) return;
    if (left_out > 0) snprintf(tail, sizeof tail, " (and %u more before)", (unsigned)left_out);
    if (c->tls) openssl_words(c->tls->ssl, words, sizeof words);
    bool down = c->side == DOWN;
    struct slice name = down ? c->listener->name : c->endpoint->upstream->name;
    snprintf(text, sizeof text, "%s %.*s: TLS handshake with %s%s%.200s failed: %s%s%s", down ? "listener" : "upstream",
             (int)min_size(name.n, 128), (const char *)name.p, down ? conn_address(c) : c->endpoint->name,
             c->sni ? " for " : "", c->sni ? c->sni : "", why, words, tail);
    core_say(core, down ? EVENT_INFO : EVENT_WARNING, text);
}

/* ---- both ---- */

void tls_failed(struct conn *c, enum tls_failure why) {
    if (c->side == UP && !c->endpoint->upstream) return; /* no plan has it any more */
    uint64_t *stat = c->side == DOWN ? c->listener->stat : c->endpoint->upstream->stat;
    stat[c->side == DOWN ? LISTENER_tls_handshakes_failed : UPSTREAM_tls_handshakes_failed]++;
    stat[(c->side == DOWN ? LISTENER_tls_failed_closed : UPSTREAM_tls_failed_closed) + why]++;
    say(c, names[why] + sizeof "tls_failed_" - 1);
}

void tls_unfinished(struct conn *c, enum failure why) {
    bool up = c->side == UP;
    if (SSL_in_before(c->tls->ssl)) return; /* not even connected */
    if (why == FAIL_DRAINING || (up && (why == FAIL_CLIENT_GONE || why == FAIL_NONE))) return;
    const struct upstream *u = up ? c->endpoint->upstream : NULL;
    bool late = up ? u && c->core->now_ms >= c->opened_ms + u->connect_timeout_ms : why == FAIL_TIMEOUT;
    tls_failed(c, late ? WHY_tls_failed_timeout : WHY_tls_failed_closed);
}
