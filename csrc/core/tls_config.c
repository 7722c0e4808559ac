#include "tls_config.h"

#include <stdio.h>
#include <stdlib.h>

#include "tls_context.h"

/* ---- servers ---- */

static void lower(struct tls_names *names) {
    for (uint32_t i = 0; i < names->count; i++)
        for (char *p = names->at[i]; *p; p++)
            if (*p >= 'A' && *p <= 'Z') *p = (char)(*p + 32);
}

static bool same_names(const struct tls_names *a, const struct tls_names *b) {
    bool same = a->count && a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++) same = strcmp(a->at[i], b->at[i]) == 0;
    return same;
}

/* One bit per type; types beyond the usual ones share one, and then have contexts of their own. */
static uint32_t key_type(const SSL_CTX *ctx) {
    int id = EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(ctx));
    return id == EVP_PKEY_RSA ? 1 : id == EVP_PKEY_EC ? 2 : id == EVP_PKEY_ED25519 ? 4 : 8;
}

/* Names of the plan, else those the certificate is for. */
static bool read_names(struct tls_shown *shown, struct mpack spec) {
    struct mpack list = mpack_get(spec, "names");
    bool told = list.type == MP_ARRAY && list.count;
    bool good = told ? tls_names_read(&shown->names, list)
                     : tls_names_of(&shown->names, SSL_CTX_get0_certificate(shown->ctx), true);
    lower(&shown->names);
    return good;
}

static void shown_clear(struct tls_shown *shown) {
    SSL_CTX_free(shown->ctx);
    tls_names_free(&shown->names);
    memset(shown, 0, sizeof *shown);
}

static bool show(struct tls_server *s, struct mpack server, struct mpack spec, const struct tls_anchors *anchors,
                 const struct tls_fault *fault) {
    struct slice cert = mpack_slice(mpack_get(spec, "certificate")), key = mpack_slice(mpack_get(spec, "key"));
    struct tls_shown *shown = &s->shown[s->shown_count++];
    if (!(shown->ctx = tls_context_server(server, anchors, fault))) return false;
    if (!tls_context_identity(shown->ctx, cert, key, fault)) return false;
    if (!read_names(shown, spec)) return tls_fault(fault, "names of a certificate can't be used", cert);
    shown->key_types = key_type(shown->ctx);
    for (struct tls_shown *twin = s->shown; twin < shown; twin++) {
        if (!same_names(&twin->names, &shown->names) || (twin->key_types & shown->key_types)) continue;
        twin->key_types |= shown->key_types;
        shown_clear(shown), s->shown_count--;
        return tls_context_identity(twin->ctx, cert, key, fault);
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    const struct tls_sni *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

static bool sort_names(struct tls_server *s) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->shown_count; i++) count += s->shown[i].names.count;
    if (!(s->sni = calloc(count + 1u, sizeof *s->sni))) return false;
    for (uint32_t i = 0; i < s->shown_count; i++)
        for (uint32_t k = 0; k < s->shown[i].names.count; k++)
            s->sni[s->sni_count++] = (struct tls_sni){s->shown[i].names.at[k], i};
    qsort(s->sni, s->sni_count, sizeof *s->sni, by_name);
    return true;
}

static bool build_server(struct tls_server *s, struct mpack spec, const struct tls_fault *fault) {
    struct mpack list = mpack_get(spec, "certificates"), v;
    struct slice ca = mpack_slice(mpack_get(spec, "client_ca")), crl = mpack_slice(mpack_get(spec, "client_crl"));
    struct tls_anchors anchors = {0};
    s->permissive = slice_eq(mpack_slice(mpack_get(spec, "mode")), SLICE("permissive"));
    if (list.type != MP_ARRAY || !list.count) return tls_fault(fault, "TLS without a certificate", SLICE(""));
    if (!(s->shown = calloc(list.count, sizeof *s->shown))) return tls_fault(fault, "out of memory", SLICE("TLS"));
    bool good =
        !ca.n || (tls_anchors_read(&anchors, ca, fault) && (!crl.n || tls_anchors_revoke(&anchors, crl, fault)));
    for (struct mpack_iter it = mpack_iter(list); good && mpack_next(&it, &v);)
        good = show(s, spec, v, &anchors, fault);
    if (good && !sort_names(s)) good = tls_fault(fault, "out of memory", SLICE("TLS"));
    tls_anchors_free(&anchors);
    return good;
}

struct tls_server *tls_server_new(struct mpack spec, char *err, size_t err_size) {
    struct tls_fault fault = {err, err_size};
    struct tls_server *s = calloc(1, sizeof *s);
    if (s && build_server(s, spec, &fault)) return s;
    tls_server_free(s);
    return NULL;
}

void tls_server_free(struct tls_server *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->shown_count; i++) shown_clear(&s->shown[i]);
    free(s->shown);
    free(s->sni);
    free(s);
}

bool tls_server_asks(const struct tls_server *s) { return SSL_CTX_get_verify_mode(s->shown[0].ctx) != SSL_VERIFY_NONE; }

static const struct tls_sni *find_sni(const struct tls_server *s, const char *name) {
    uint32_t low = 0, high = s->sni_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(s->sni[middle].name, name) < 0) low = middle + 1;
        else high = middle;
    }
    return low < s->sni_count && strcmp(s->sni[low].name, name) == 0 ? &s->sni[low] : NULL;
}

SSL_CTX *tls_server_context(const struct tls_server *s, struct slice sni) {
    char name[256] = "";
    const struct tls_sni *found = NULL;
    if (sni.n && sni.n < sizeof name) {
        memcpy(name, sni.p, sni.n), name[sni.n] = 0;
        found = find_sni(s, name);
        char *dot = strchr(name, '.');
        if (!found && dot && dot > name) dot[-1] = '*', found = find_sni(s, dot - 1);
    }
    return s->shown[found ? found->at : 0].ctx;
}

/* ---- clients ---- */

static bool build_client(struct tls_client *c, struct mpack spec, const struct tls_fault *fault) {
    struct slice ca = mpack_slice(mpack_get(spec, "ca")), crl = mpack_slice(mpack_get(spec, "crl")),
                 sni = mpack_slice(mpack_get(spec, "sni")), certificate = mpack_slice(mpack_get(spec, "certificate")),
                 key = mpack_slice(mpack_get(spec, "key"));
    struct tls_anchors anchors = {0};
    c->verify = mpack_bool(mpack_get(spec, "verify"), true);
    c->need_h2 = slice_eq(mpack_slice(mpack_at(mpack_get(spec, "alpn"), 0)), SLICE("h2"));
    if (sni.n && !(c->sni = strndup((const char *)sni.p, sni.n)))
        return tls_fault(fault, "out of memory", SLICE("TLS"));
    bool good = !c->verify || (tls_anchors_read(&anchors, ca.n ? ca : SLICE("system"), fault) &&
                               (!crl.n || tls_anchors_revoke(&anchors, crl, fault)));
    if (good) c->ctx = tls_context_client(spec, &anchors, fault);
    tls_anchors_free(&anchors);
    if (!c->ctx) return false;
    c->named = tls_policy_of(c->ctx)->names.count > 0;
    if (certificate.n && !tls_context_identity(c->ctx, certificate, key, fault)) return false;
    c->print = hash_bytes(tls_policy_of(c->ctx)->digest, TLS_DIGEST);
    uint8_t own[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (certificate.n && X509_digest(SSL_CTX_get0_certificate(c->ctx), EVP_sha256(), own, &n))
        c->print ^= hash_bytes(own, n);
    return true;
}

uint64_t tls_client_print(const struct tls_client *c) { return c->print; }

struct tls_client *tls_client_new(struct mpack spec, char *err, size_t err_size) {
    struct tls_fault fault = {err, err_size};
    struct tls_client *c = calloc(1, sizeof *c);
    if (c && build_client(c, spec, &fault)) return c;
    tls_client_free(c);
    return NULL;
}

void tls_client_free(struct tls_client *c) {
    if (!c) return;
    SSL_CTX_free(c->ctx);
    free(c->sni);
    free(c);
}
