#include "check.h"

#include "../core/tls_ticket.h"

#include <openssl/core_names.h>

/* One side of OpenSSL's callback: what it would be given, and what came of it. */
static int use_key(struct tls_ticket_keys *keys, uint64_t now_s, uint8_t name[16], uint8_t iv[16], int seal) {
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC *kind = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(kind);
    int got = tls_ticket_crypt(keys, now_s, name, iv, cipher, mac, seal);
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(kind);
    EVP_CIPHER_CTX_free(cipher);
    return got;
}

#define EPOCH(n) ((uint64_t)TICKET_EPOCH_S * (n))

static struct tls_ticket_keys keys_of(uint8_t secret) {
    struct tls_ticket_keys keys = {0};
    memset(keys.secret, secret, sizeof keys.secret);
    return keys;
}

TEST(a_key_opens_for_two_epochs) {
    struct tls_ticket_keys keys = keys_of(1);
    uint8_t name[16], iv[16];
    CHECK_EQ(use_key(&keys, EPOCH(1000) + 5, name, iv, 1), 1);
    CHECK_EQ(use_key(&keys, EPOCH(1000) + 5, name, iv, 0), 1);
    CHECK_EQ(use_key(&keys, EPOCH(1001) - 1, name, iv, 0), 1);
    CHECK_EQ(use_key(&keys, EPOCH(1001), name, iv, 0), 2); /* and another ticket is given */
    CHECK_EQ(use_key(&keys, EPOCH(1002) - 1, name, iv, 0), 2);
    CHECK_EQ(use_key(&keys, EPOCH(1002), name, iv, 0), 0);
}

TEST(workers_with_the_same_secret_agree) {
    struct tls_ticket_keys a = keys_of(1), b = keys_of(1), other = keys_of(2);
    uint8_t name[16], iv[16];
    CHECK_EQ(use_key(&a, EPOCH(7), name, iv, 1), 1);
    CHECK_EQ(use_key(&b, EPOCH(7), name, iv, 0), 1);
    CHECK_EQ(use_key(&b, EPOCH(8), name, iv, 0), 2);
    CHECK_EQ(use_key(&other, EPOCH(7), name, iv, 0), 0);
}

TEST(keys_differ_by_epoch_and_purpose) {
    struct tls_ticket_keys keys = keys_of(1);
    struct tls_ticket_key first = *tls_ticket_key(&keys, 10), second = *tls_ticket_key(&keys, 11),
                          third = *tls_ticket_key(&keys, 12);
    CHECK(memcmp(first.aes, second.aes, 32) != 0);
    CHECK(memcmp(first.aes, third.aes, 32) != 0);
    CHECK(memcmp(first.name, third.name, 16) != 0);
    CHECK(memcmp(first.aes, first.mac, 32) != 0);
    CHECK(memcmp(first.aes, tls_ticket_key(&keys, 10)->aes, 32) == 0);
}

int main(void) {
    RUN(a_key_opens_for_two_epochs);
    RUN(workers_with_the_same_secret_agree);
    RUN(keys_differ_by_epoch_and_purpose);
    return 0;
}
