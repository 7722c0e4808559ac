#include "tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>

#include "tls_failure.h"

#define GATHER 16384u /* plaintext of a record: small pieces of a queue are put together up to this */

/* ---- OpenSSL's way to our buffers ---- */

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int bio_read(BIO *b, char *to, size_t room, size_t *got) {
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    *got = 0;
    if (unlikely(t->talk > TLS_TALK_MAX && t->state == TLS_READY)) return 0; /* an error: there is no retry flag */
    *got = min_size(room, t->in_size);
    if (*got == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    memcpy(to, t->in, *got);
    t->in += *got, t->in_size -= *got;
    return 1;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *taken) {
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    *taken = n;
    return n == 0 || queue_append(&t->conn->core->chunks, &t->out, p, n) == 0;
}

static long bio_ctrl(BIO *b, int what, long number, void *arg) {
    (void)b, (void)number, (void)arg;
    return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP;
}

static int bio_create(BIO *b) {
    BIO_set_init(b, 1);
    return 1;
}

static void make_method(void) {
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "mosnpy connection");
    if (!m || !BIO_meth_set_read_ex(m, bio_read) || !BIO_meth_set_write_ex(m, bio_write) ||
        !BIO_meth_set_ctrl(m, bio_ctrl) || !BIO_meth_set_create(m, bio_create))
        return;
    method = m;
}

/* ---- birth and death ---- */

static bool begin(struct conn *c, SSL_CTX *ctx) {
    struct tls *t = calloc(1, sizeof *t);
    BIO *bio = NULL;
    pthread_once(&once, make_method);
    ERR_clear_error();
    if (!t || !method || !(t->ssl = SSL_new(ctx)) || !(bio = BIO_new(method))) {
        if (t) SSL_free(t->ssl);
        free(t);
        ERR_clear_error();
        return false;
    }
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    queue_init(&t->out);
    t->conn = c, c->tls = t;
    return true;
}

bool tls_accept(struct conn *c) {
    const struct tls_server *server = c->chain->tls ? c->chain->tls : c->listener->chains[0].tls;
    if (!server || !begin(c, tls_server_context(server, tls_sni(c)))) return false;
    SSL_set_accept_state(c->tls->ssl);
    return true;
}

/* "api.example.com:443", "[::1]:443", "/run/x.sock": the part that names a host; empty: none does. */
static void host_of(const struct endpoint *ep, char host[128]) {
    const char *name = ep->name, *colon = strrchr(name, ':');
    size_t n = colon ? (size_t)(colon - name) : 0;
    if (ep->addr.sa.sa_family == AF_UNIX) n = 0;
    if (n >= 2 && name[0] == '[' && name[n - 1] == ']') name++, n -= 2;
    memcpy(host, name, n), host[n] = 0;
}

/* Whom the certificate must be for, where the plan names nobody: the name that is asked for, else the endpoint itself. */
static bool expect(SSL *ssl, const char *name) {
    if (tls_is_ip(name)) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, *name ? name : "unix.invalid") == 1; /* a path is in no certificate */
}

bool tls_prepare(struct conn *c, const struct tls_client *config) {
    char host[128];
    host_of(c->endpoint, host);
    const char *name = config->sni ? config->sni : host;
    if (!begin(c, config->ctx)) return false;
    SSL *ssl = c->tls->ssl;
    SSL_set_connect_state(ssl);
    c->tls->need_h2 = config->need_h2;
    if (*name && !tls_is_ip(name) && SSL_set_tlsext_host_name(ssl, name) != 1) return false;
    if (config->verify && !config->named && !expect(ssl, name)) return false;
    SSL_SESSION *session = c->endpoint->tls_session;
    if (session && SSL_SESSION_is_resumable(session) && tls_session_good(session)) SSL_set_session(ssl, session);
    ERR_clear_error();
    return true;
}

void tls_free(struct conn *c) {
    struct tls *t = c->tls;
    if (!t) return;
    c->tls = NULL;
    queue_clear(&c->core->chunks, &t->out);
    SSL_set_shutdown(t->ssl,
                     SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session is taken for unfit to be resumed */
    SSL_free(t->ssl);
    tls_names_free(&t->names);
    OPENSSL_free(t->subject);
    free(t);
}

/* Key updates cost a peer 27 bytes each and us more than a request; OpenSSL takes any number of them. */
void tls_note_message(int written, int version, int type, const void *p, size_t n, SSL *ssl, void *arg) {
    (void)written, (void)version, (void)p, (void)n, (void)arg;
    struct tls *t = SSL_get_app_data(ssl);
    if (type == SSL3_RT_HANDSHAKE || type == SSL3_RT_ALERT) t->talk++;
}

/* ---- sessions of endpoints ---- */

int tls_keep_session(SSL *ssl, SSL_SESSION *session) {
    struct tls *t = SSL_get_app_data(ssl);
    struct endpoint *ep = t->conn->endpoint;
    SSL_SESSION_free(ep->tls_session);
    ep->tls_session = session;
    return 1; /* ours now */
}

void tls_drop_session(struct endpoint *ep) {
    SSL_SESSION_free(ep->tls_session);
    ep->tls_session = NULL;
}

/* ---- handshake ---- */

static void count(const struct conn *c, uint32_t listener_stat, uint32_t upstream_stat) {
    if (c->side == DOWN) c->listener->stat[listener_stat]++;
    else if (c->endpoint->upstream) c->endpoint->upstream->stat[upstream_stat]++;
}

/* The next handshake shall not fail for the session this one tried to resume. */
static void give_up_for(struct tls *t, enum tls_failure why) {
    struct conn *c = t->conn;
    /* A server that does not like our certificate says so only after the handshake of TLS 1.3. */
    bool refused = t->state == TLS_READY && c->side == UP && !t->spoken && why == WHY_tls_failed_refused;
    if (t->state == TLS_HANDSHAKE || refused) {
        tls_failed(c, why);
        if (c->side == UP) tls_drop_session(c->endpoint);
    }
    ERR_clear_error();
    t->state = TLS_FAILED;
}
static void give_up(struct tls *t) { give_up_for(t, tls_failure_of(t->ssl)); }

static void established(struct tls *t) {
    struct conn *c = t->conn;
    if (t->need_h2 && !slice_eq(tls_alpn(c), SLICE("h2"))) {
        give_up_for(t, WHY_tls_failed_no_shared_protocol);
        return;
    }
    t->state = TLS_READY, t->talk = 0;
    count(c, LISTENER_tls_handshakes_total, UPSTREAM_tls_handshakes_total);
    if (SSL_session_reused(t->ssl)) count(c, LISTENER_tls_handshakes_resumed, UPSTREAM_tls_handshakes_resumed);
    ERR_clear_error(); /* a ticket that could not be opened leaves its word */
    conn_secured(c);
}

/* OpenSSL's list of errors is empty between calls: whoever fails clears it, and a turn of the core begins without. Here once more, for
 * a call outside TLS may have failed. */
static void shake_hands(struct tls *t) {
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    if (r == 1) established(t);
    else if (SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ) give_up(t);
}

void tls_clear_errors(void) { ERR_clear_error(); }

void tls_connect(struct conn *c) {
    struct tls *t = c->tls;
    queue_splice(&c->core->chunks, &t->out, &c->out);
    shake_hands(t);
    conn_mark_dirty(c);
}

/* ---- reading ---- */

static bool plain_room(struct core *core) {
    uint32_t size = core->scratch_size + TLS_SLACK;
    if (core->plain_size >= size) return true;
    free(core->plain);
    core->plain = malloc(size);
    core->plain_size = core->plain ? size : 0;
    return core->plain != NULL;
}

/* One record after the other, until the ciphertext is used up. */
static size_t read_records(struct tls *t) {
    struct core *core = t->conn->core;
    size_t have = 0, got;
    while (have < core->plain_size) {
        int r = SSL_read_ex(t->ssl, core->plain + have, core->plain_size - have, &got);
        if (r == 1) {
            have += got;
            if (t->in_size == 0 && !SSL_has_pending(t->ssl)) break;
            continue;
        }
        int why = SSL_get_error(t->ssl, r);
        if (why == SSL_ERROR_ZERO_RETURN) t->closed = true;
        else if (why != SSL_ERROR_WANT_READ) give_up(t);
        break;
    }
    if (have) t->spoken = true, t->talk = 0;
    return have;
}

size_t tls_decrypt(struct conn *c, const uint8_t *p, size_t n) {
    struct tls *t = c->tls;
    size_t have = 0;
    if (t->state == TLS_FAILED || t->closed) return 0; /* whatever comes behind the end is not looked at */
    if (!plain_room(c->core)) give_up(t);
    t->in = p, t->in_size = n;
    if (t->state == TLS_HANDSHAKE) shake_hands(t);
    if (t->state == TLS_READY && c->state != CONN_DEAD) have = read_records(t);
    t->in_size = 0;
    if (t->out.bytes > TLS_OUT_MAX) give_up(t);
    if ((t->out.bytes || c->out.bytes) && c->state != CONN_DEAD) conn_mark_dirty(c); /* see write_record() */
    return have;
}

bool tls_asked_alike(const struct conn *c, const struct tls_server *s) {
    if (!c->tls) return false;
    const uint8_t *theirs = tls_policy_of(SSL_get_SSL_CTX(c->tls->ssl))->digest;
    return memcmp(theirs, tls_policy_of(s->shown[0].ctx)->digest, TLS_DIGEST) == 0;
}

bool tls_between(const struct conn *c) {
    return !c->tls || (c->tls->state == TLS_READY && !SSL_has_pending(c->tls->ssl));
}

/* ---- writing ---- */

/* False: not now, as half of the peer's new ticket or key update has come and OpenSSL wants the rest first; or c is doomed. */
static bool write_record(struct tls *t, const uint8_t *p, size_t n) {
    size_t taken;
    int r = SSL_write_ex(t->ssl, p, n, &taken);
    if (likely(r == 1)) return true;
    if (SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ) return false;
    give_up(t);
    conn_doom(t->conn, FAIL_INTERNAL);
    return false;
}

size_t tls_seal(struct conn *c, const uint8_t *p, size_t n) {
    struct tls *t = c->tls;
    size_t room = t->out.bytes < TLS_AHEAD ? TLS_AHEAD - t->out.bytes : 0;
    if (t->state != TLS_READY || t->said_bye || !room) return 0;
    if (n > room) n = max_size(room / GATHER, 1) * GATHER; /* whole records */
    return write_record(t, p, n) ? n : 0;
}

/* Small pieces from the front of the queue, as one record. */
static __attribute__((noinline)) bool write_gathered(struct tls *t, struct queue *q) {
    uint8_t record[GATHER];
    size_t n = min_size(q->bytes, sizeof record);
    queue_copy(q, q->base, record, n);
    if (!write_record(t, record, n)) return false;
    queue_consume(&t->conn->core->chunks, q, n);
    return true;
}

void tls_encrypt(struct conn *c) {
    struct tls *t = c->tls;
    struct queue *q = &c->out;
    if (unlikely(t->said_bye && q->bytes)) { /* as a socket says EPIPE */
        conn_doom(c, c->side == UP ? FAIL_UPSTREAM_RESET : FAIL_CLIENT_GONE);
        return;
    }
    while (q->bytes && t->out.bytes < TLS_AHEAD && t->state == TLS_READY) {
        struct iovec piece = {0};
        queue_iov(q, &piece, 1);
        if (piece.iov_len < GATHER && piece.iov_len < q->bytes) {
            if (!write_gathered(t, q)) return;
            continue;
        }
        size_t n = tls_seal(c, piece.iov_base, piece.iov_len);
        if (n == 0) return;
        queue_consume(&c->core->chunks, q, n);
    }
}

void tls_bye(struct conn *c) {
    struct tls *t = c->tls;
    if (t->said_bye || t->state != TLS_READY) return;
    t->said_bye = true;
    ERR_clear_error();
    if (SSL_shutdown(t->ssl) < 0) give_up(t);
}

/* ---- attributes ---- */

struct slice tls_sni(const struct conn *c) {
    return slice_of(c->sni, c->sni ? strlen(c->sni) : 0);
}

struct slice tls_alpn(const struct conn *c) {
    const unsigned char *name = NULL;
    unsigned n = 0;
    if (c->tls) SSL_get0_alpn_selected(c->tls->ssl, &name, &n);
    return slice_of(name, n);
}

struct slice tls_version(const struct conn *c) {
    if (!c->tls) return SLICE("");
    return SSL_version(c->tls->ssl) == TLS1_3_VERSION ? SLICE("1.3") : SLICE("1.2");
}

/* OpenSSL fails the handshake when a certificate does not verify; one that is there is good. */
static void ask(struct tls *t) {
    X509 *cert = SSL_get0_peer_certificate(t->ssl);
    t->asked = true;
    if (!cert || SSL_get_verify_mode(t->ssl) == SSL_VERIFY_NONE || SSL_get_verify_result(t->ssl) != X509_V_OK) return;
    tls_names_of(&t->names, cert, false);
    BIO *text = BIO_new(BIO_s_mem());
    char *p = NULL;
    if (text &&
        X509_NAME_print_ex(text, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        long n = BIO_get_mem_data(text, &p);
        t->subject = OPENSSL_strndup(p, n > 0 ? (size_t)n : 0);
    }
    BIO_free(text);
    ERR_clear_error();
}

struct slice tls_subject(struct conn *c) {
    if (c->tls && !c->tls->asked) ask(c->tls);
    const char *subject = c->tls ? c->tls->subject : NULL;
    return slice_of(subject, subject ? strlen(subject) : 0);
}

bool tls_san(struct conn *c, uint32_t i, struct slice *name) {
    if (c->tls && !c->tls->asked) ask(c->tls);
    if (!c->tls || i >= c->tls->names.count) return false;
    *name = slice_of(c->tls->names.at[i], strlen(c->tls->names.at[i]));
    return true;
}
