/* A client's first message, looked at before anything else: is it TLS's, and which server does it ask for? The name chooses the chain
 * (with or without TLS in it) and stays known as tls.sni; plaintext goes to the first chain. */
#ifndef MOSNPY_GREETING_H
#define MOSNPY_GREETING_H

#include "conn.h"

#define GREETING_TLS_MS \
    10000u /* for a whole TLS handshake, from the accept or, where plaintext is welcome, from its first byte */
#define GREETING_PEEK_MS 5000u /* for a ClientHello that is only read and passed on */
#define GREETING_SILENCE_MS \
    500u /* plaintext is welcome and the client says nothing: its server may have to speak first */

/* Whether a rule of this routing table, in the form of the plan, asks for the name. */
bool greeting_asked_for(struct mpack table);
/* Whether clients of this listener are looked at: for TLS, for chains, or because a rule asks for the name. */
bool greeting_needed(const struct listener *l);
/* c (no byte of it was taken yet) greets first. */
void greeting_begin(struct conn *c);
/* As feed(), while c->greeting. */
ssize_t greeting_feed(struct conn *c, const uint8_t *p, size_t n);
/* FIN, while c->greeting. True: it goes on as plaintext, where that is welcome and nothing of TLS has come. */
bool greeting_eof(struct conn *c);
/* c->greet_by_ms has passed (it is 0 again): the handshake failed, or it goes on as plaintext. May close c. */
void greeting_overdue(struct conn *c);

/* Whether `host` of a request belongs to a chain that asks for client certificates, and not in the way c's client was asked in its
 * handshake: 421 (RFC 9110 section 15.5.20). Else whoever asks for the server name of an open chain could get at what a closed one
 * guards, where both lead to the same routes. Only for listeners that are `guarded`. */
bool greeting_misdirected(const struct conn *c, struct slice host);

#endif
