#include "tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

static bool derive(const uint8_t *secret, uint64_t epoch, uint8_t part, uint8_t out[32]) {
    uint8_t label[32] = "mosnpy session ticket ";
    unsigned n = 32;
    for (int i = 0; i < 8; i++) label[22 + i] = (uint8_t)(epoch >> (56 - 8 * i));
    label[30] = part;
    return HMAC(EVP_sha256(), secret, TICKET_SECRET, label, sizeof label, out, &n) != NULL;
}

const struct tls_ticket_key *tls_ticket_key(struct tls_ticket_keys *keys, uint64_t epoch) {
    struct tls_ticket_key *key = &keys->key[epoch & 1];
    uint8_t name[32];
    if (key->epoch == epoch) return key;
    key->epoch = 0;
    if (!derive(keys->secret, epoch, 'n', name) || !derive(keys->secret, epoch, 'a', key->aes) ||
        !derive(keys->secret, epoch, 'm', key->mac))
        return NULL;
    memcpy(key->name, name, sizeof key->name);
    key->epoch = epoch;
    return key;
}

static bool set_mac(EVP_MAC_CTX *mac, const struct tls_ticket_key *key) {
    char digest[] = "SHA256";
    OSSL_PARAM params[3] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, sizeof key->mac),
                            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                            OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tls_ticket_crypt(struct tls_ticket_keys *keys, uint64_t now_s, uint8_t name[16], uint8_t *iv,
                     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal) {
    uint64_t epoch = now_s / TICKET_EPOCH_S;
    const struct tls_ticket_key *key = tls_ticket_key(keys, epoch);
    if (!key) return -1;
    if (seal) {
        memcpy(name, key->name, sizeof key->name);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return -1;
        return EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) == 1 && set_mac(mac, key) ? 1 : -1;
    }
    bool old = memcmp(name, key->name, sizeof key->name) != 0;
    if (old && (!(key = tls_ticket_key(keys, epoch - 1)) || memcmp(name, key->name, sizeof key->name) != 0)) return 0;
    if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) != 1 || !set_mac(mac, key)) return -1;
    return old ? 2 : 1; /* 2: and the client gets a new one */
}
