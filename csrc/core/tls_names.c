#include "tls_names.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "../route/glob.h"

bool tls_names_add(struct tls_names *names, struct slice name) {
    if (memchr(name.p, 0, name.n)) return false;
    char **at = realloc(names->at, (names->count + 1) * sizeof *at);
    if (!at) return false;
    names->at = at;
    char *copy = at[names->count] = malloc(name.n + 1);
    if (!copy) return false;
    memcpy(copy, name.p, name.n), copy[name.n] = 0;
    names->count++;
    return true;
}

bool tls_names_read(struct tls_names *names, struct mpack list) {
    struct mpack v;
    if (list.type != MP_ARRAY) return true;
    for (struct mpack_iter it = mpack_iter(list); mpack_next(&it, &v);) {
        struct slice name = mpack_slice(v);
        if (!name.n || !tls_names_add(names, name)) return false;
    }
    return true;
}

void tls_names_free(struct tls_names *names) {
    for (uint32_t i = 0; i < names->count; i++) free(names->at[i]);
    free(names->at);
    memset(names, 0, sizeof *names);
}

bool tls_is_ip(const char *name) {
    struct in6_addr any;
    return inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1;
}

/* ---- the names of a certificate ---- */

/* One name as text in `room` (256 bytes); empty when it is of another kind, too long, or holds a NUL: a name that two readers
 * would read differently is none. */
static struct slice name_text(const GENERAL_NAME *g, char *room, size_t size) {
    struct slice none = {(const uint8_t *)room, 0};
    if (g->type == GEN_IPADD) {
        int n = ASN1_STRING_length(g->d.iPAddress), family = n == 4 ? AF_INET : AF_INET6;
        if (n != 4 && n != 16) return none;
        const char *text = inet_ntop(family, ASN1_STRING_get0_data(g->d.iPAddress), room, (socklen_t)size);
        return slice_of(room, text ? strlen(room) : 0);
    }
    if (g->type != GEN_DNS && g->type != GEN_URI && g->type != GEN_EMAIL) return none;
    size_t n = (size_t)ASN1_STRING_length(g->d.ia5);
    const uint8_t *p = ASN1_STRING_get0_data(g->d.ia5);
    if (n >= size || memchr(p, 0, n)) return none;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = p[i];
        room[i] = (char)(g->type == GEN_DNS && c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    room[n] = 0;
    return slice_of(room, n);
}

static GENERAL_NAMES *names_in(X509 *cert) { return X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL); }

bool tls_names_of(struct tls_names *names, X509 *cert, bool dns_only) {
    GENERAL_NAMES *all = names_in(cert);
    bool good = true;
    for (int i = 0; good && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        char room[512];
        struct slice text = name_text(g, room, sizeof room);
        if (text.n && (!dns_only || g->type == GEN_DNS)) good = tls_names_add(names, text);
    }
    GENERAL_NAMES_free(all);
    return good;
}

/* ---- matching ---- */

/* Names of one type are not taken for another's: whoever may choose the path of a URI shall not pass for a host. */
static bool any_fits(X509 *cert, const char *pattern, bool glob) {
    bool uris = strpbrk(pattern, ":/") != NULL, everything = strspn(pattern, "*") == strlen(pattern);
    GENERAL_NAMES *all = names_in(cert);
    bool found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        char room[512];
        if (everything ? g->type != GEN_URI && g->type != GEN_DNS : g->type != (uris ? GEN_URI : GEN_DNS)) continue;
        struct slice text = name_text(g, room, sizeof room), wanted = slice_of(pattern, strlen(pattern));
        found = text.n && (glob ? glob_match(wanted, text) : slice_eq(wanted, text));
    }
    GENERAL_NAMES_free(all);
    return found;
}

bool tls_name_fits(const char *pattern, X509 *cert) {
    if (tls_is_ip(pattern)) return X509_check_ip_asc(cert, pattern, 0) == 1;
    if (strpbrk(pattern, "*?[")) return any_fits(cert, pattern, true);
    if (strstr(pattern, "://")) return any_fits(cert, pattern, false);
    unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    return X509_check_host(cert, pattern, strlen(pattern), flags, NULL) == 1;
}
