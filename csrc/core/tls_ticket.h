/* Session tickets (RFC 5077; RFC 8446 section 4.6.1): the keys they are sealed with.
 *
 * All workers hold the same secret, so each opens what another one sealed, and it survives reloads. Keys are derived from the
 * secret and the time of day: a key seals for TICKET_EPOCH_S and opens for twice as long, without a word between workers. */
#ifndef MOSNPY_TLS_TICKET_H
#define MOSNPY_TLS_TICKET_H

#include <openssl/ssl.h>

#include "base.h"

#define TICKET_SECRET 32u      /* bytes */
#define TICKET_EPOCH_S 21600u  /* 6 h */
#define TICKET_LIFETIME_S 7200 /* told to clients; RFC 8446 allows a week */

struct tls_ticket_keys {
    uint8_t secret[TICKET_SECRET];
    struct tls_ticket_key {
        uint64_t epoch; /* 0: not derived yet */
        uint8_t name[16], aes[32], mac[32];
    } key[2]; /* by the epoch's lowest bit */
};

/* The key of `epoch`, derived when it is not there. NULL: out of memory. */
const struct tls_ticket_key *tls_ticket_key(struct tls_ticket_keys *keys, uint64_t epoch);
/* What SSL_CTX_set_tlsext_ticket_key_evp_cb asks for (`seal`: 1, else 0), with the keys at `now_s` of the wall clock. */
int tls_ticket_crypt(struct tls_ticket_keys *keys, uint64_t now_s, uint8_t name[16], uint8_t *iv,
                     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal);

#endif
