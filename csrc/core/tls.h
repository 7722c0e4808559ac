/* TLS of one connection: what lies between its socket and its codec.
 *
 *   recv -> core->scratch -> tls_decrypt -> core->plain -> codec        c->out (plaintext) -> tls_encrypt -> tls->out -> send
 *
 * OpenSSL never sees the socket: it reads from the scratch and writes to a queue. All that was read is decrypted at once, so that
 * nothing is left in OpenSSL but the beginning of a record; what a paused codec does not take waits as plaintext, as without TLS.
 * Records are made when they can be sent: bytes in c->out have not left, those in tls->out have.
 *
 * A client's first message chooses the chain and the certificate (greeting.h); from then on it has a struct tls. */
#ifndef MOSNPY_TLS_H
#define MOSNPY_TLS_H

#include "conn.h"

#include <openssl/ssl.h>

#include "tls_config.h"

#define TLS_AHEAD (256u * 1024)    /* ciphertext made but not sent; what is more stays plaintext */
#define TLS_OUT_MAX (1024u * 1024) /* of answers to TLS messages that the peer does not read: then it is given up */
#define TLS_TALK_MAX 64u /* messages of TLS itself in a row (tickets, key updates, alerts) without plaintext between */
#define TLS_SLACK \
    (SSL3_RT_MAX_ENCRYPTED_LENGTH + 256u) /* room for a record whose beginning came with an earlier read */

enum tls_state {
    TLS_HANDSHAKE,
    TLS_READY, /* plaintext flows */
    TLS_FAILED /* nothing is decrypted or encrypted any more; an alert may wait in `out` */
};

struct tls {
    struct conn *conn;
    SSL *ssl;
    uint8_t state;
    bool closed;   /* the peer's close_notify has come */
    bool said_bye; /* ours is in `out`, or sent */
    bool spoken;   /* application data has come */
    bool need_h2;  /* up */
    bool asked;    /* `names` and `subject` were made */
    uint32_t talk; /* handshake messages and alerts since the handshake, or since plaintext came */
    struct queue out;
    const uint8_t *in; /* ciphertext at hand, during tls_decrypt */
    size_t in_size;
    struct tls_names names; /* of the peer's certificate */
    char *subject;
};

/* Down: the handshake begins, with a certificate for the name in c->sni. False: out of memory, or the chain has no TLS. */
bool tls_accept(struct conn *c);
/* Up: c will speak TLS as `config` says, which may go afterwards. The handshake begins with tls_connect(), when the socket is
 * connected and c->out holds what goes before it in plaintext (the PROXY header). */
bool tls_prepare(struct conn *c, const struct tls_client *config);
void tls_connect(struct conn *c);
/* After the batch in which c died: others may be in the middle of it until then. */
void tls_free(struct conn *c);

/* Takes ciphertext in, all of it; returns how many bytes of plaintext lie in core->plain. Calls conn_secured() when the handshake
 * is over. Afterwards look at c->state, tls->state and tls->closed. */
size_t tls_decrypt(struct conn *c, const uint8_t *p, size_t n);
/* Makes records of c->out, up to TLS_AHEAD of them. */
void tls_encrypt(struct conn *c);
/* Makes records of p[0..n) in the same bounds; returns the bytes taken. */
size_t tls_seal(struct conn *c, const uint8_t *p, size_t n);
/* Tells the peer that nothing more will come; only the first call does anything. */
void tls_bye(struct conn *c);

/* What `s` asks of its clients was asked of c's in its handshake. */
bool tls_asked_alike(const struct conn *c, const struct tls_server *s);
/* Neither a handshake nor a record is half done. */
bool tls_between(const struct conn *c);

/* Of every context: OpenSSL tells what records hold. */
void tls_note_message(int written, int version, int type, const void *p, size_t n, SSL *ssl, void *arg);
/* OpenSSL's errors belong to the thread: where that is a host's own, its earlier ones would be taken for ours. */
void tls_clear_errors(void);

/* Endpoints keep their last session, for the next connection to resume. */
int tls_keep_session(SSL *ssl, SSL_SESSION *session);
void tls_drop_session(struct endpoint *ep);

/* For attributes; of plaintext connections all are empty. Borrowed from the connection. */
struct slice tls_sni(const struct conn *c); /* also of one whose ClientHello was read and passed on */
struct slice tls_alpn(const struct conn *c);
struct slice tls_version(const struct conn *c);               /* "1.2", "1.3" */
struct slice tls_subject(struct conn *c);                     /* of the verified certificate, as RFC 2253 writes it */
bool tls_san(struct conn *c, uint32_t i, struct slice *name); /* i-th name in it */

/* Bytes of c that the socket has not taken. */
static inline size_t conn_unsent(const struct conn *c) {
    return c->out.bytes + (unlikely(c->tls) ? c->tls->out.bytes : 0);
}

#endif
