/* The client's side of TLS 1.3. Every proxy gets the same offer (AES-128-GCM, X25519), so that none does dearer cryptography
 * than another; certificates are not verified, sessions never resumed. */
#include "loadgen_http.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;

static void prepare(void) {
    static const uint8_t h1[] = "\x08http/1.1", h2[] = "\x02h2";
    context = SSL_CTX_new(TLS_client_method());
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") || !SSL_CTX_set1_groups_list(context, "X25519") ||
        SSL_CTX_set_alpn_protos(context, option.h2 ? h2 : h1, option.h2 ? sizeof h2 - 1 : sizeof h1 - 1)) {
        wire_die("loadgen_http: no TLS 1.3: %s", ERR_reason_error_string(ERR_get_error()));
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
}

void tls_open(struct conn *c) {
    if (!context) { prepare(); }
    SSL *ssl = SSL_new(context);
    if (!ssl || !SSL_set_fd(ssl, c->fd) || !SSL_set_tlsext_host_name(ssl, "bench.example.com")) { wire_die("SSL_new"); }
    SSL_set_connect_state(ssl);
    c->ssl = ssl;
    c->handshaking = true;
}

void tls_close(struct conn *c) {
    SSL_set_quiet_shutdown(c->ssl, 0);
    if (!c->handshaking) { SSL_shutdown(c->ssl); }
    SSL_free(c->ssl);
    c->ssl = NULL;
}

/* What a call that returned n <= 0 means: as recv, errno EAGAIN for either direction. */
static ssize_t result(struct conn *c, int n) {
    int error = SSL_get_error(c->ssl, n);
    if (error == SSL_ERROR_ZERO_RETURN) { return 0; }
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
    } else if (error == SSL_ERROR_SSL) {
        const char *why = ERR_reason_error_string(ERR_peek_error());
        meter_fail("TLS: ", why ? why : "?", why ? strlen(why) : 1);
        errno = EPROTO;
    } else if (!errno) {
        return 0; /* the end without close_notify */
    }
    ERR_clear_error();
    return -1;
}

int tls_handshake(struct conn *c) {
    const unsigned char *protocol;
    unsigned length;
    errno = 0;
    int n = SSL_do_handshake(c->ssl);
    if (n <= 0) {
        ssize_t told = result(c, n);
        if (told < 0 && errno == EAGAIN) { return 0; }
        told ? meter_fail_errno("handshake: ") : meter_fail("closed during the handshake", "", 0);
        return -1;
    }
    SSL_get0_alpn_selected(c->ssl, &protocol, &length);
    if (option.h2 && (length != 2 || memcmp(protocol, "h2", 2))) {
        meter_fail("the proxy did not choose h2", "", 0);
        return -1;
    }
    c->handshaking = false;
    return 1;
}

ssize_t tls_recv(struct conn *c, void *to, size_t n) {
    errno = 0;
    int got = SSL_read(c->ssl, to, (int)n);
    return got > 0 ? got : result(c, got);
}

ssize_t tls_send(struct conn *c, const void *from, size_t n) {
    errno = 0;
    int sent = SSL_write(c->ssl, from, (int)n);
    ssize_t told = sent > 0 ? sent : result(c, sent);
    return told ? told : -1;
}

bool tls_pending(struct conn *c) { return SSL_has_pending(c->ssl); }
