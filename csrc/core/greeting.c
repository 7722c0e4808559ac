#include "greeting.h"

#include <stdlib.h>

#include "client_hello.h"
#include "detect.h"
#include "tls.h"
#include "tls_failure.h"

static bool mentions(struct mpack v, struct slice word) {
    struct mpack one;
    struct slice key;
    struct mpack_iter it = mpack_iter(v);
    if (v.type == MP_STR) return slice_eq(v.s, word);
    if (v.type == MP_ARRAY)
        while (mpack_next(&it, &one))
            if (mentions(one, word)) return true;
    if (v.type == MP_MAP)
        while (mpack_next_pair(&it, &key, &one))
            if (mentions(one, word)) return true;
    return false;
}

bool greeting_asked_for(struct mpack table) { return mentions(table, SLICE("tls.sni")); }

bool greeting_needed(const struct listener *l) {
    bool needed = l->chain_count > 1 || l->chains[0].tls;
    for (uint32_t i = 0; i < l->chains[0].service_count; i++) needed |= l->chains[0].services[i].asks_name;
    for (uint32_t i = 0; i < l->plan->upstream_count; i++) needed |= l->plan->upstreams[i].hash_attr == ATTR_tls_sni;
    return needed;
}

/* ---- which chain ---- */

/* How well a name of a chain fits: 0 not at all, exact best, then the longest suffix. */
static size_t fits(struct slice name, struct slice sni) {
    if (slice_eq(name, sni)) return SIZE_MAX;
    if (name.n < 2 || name.p[0] != '*' || sni.n < name.n) return 0;
    return memcmp(sni.p + sni.n - (name.n - 1), name.p + 1, name.n - 1) == 0 ? name.n : 0;
}

static const struct chain *choose_chain(const struct listener *l, struct slice sni) {
    const struct chain *best = &l->chains[0];
    size_t best_fit = 0;
    for (uint32_t i = 1; sni.n && i < l->chain_count; i++)
        for (uint32_t k = 0; k < l->chains[i].name_count; k++) {
            size_t fit = fits(l->chains[i].names[k], sni);
            if (fit > best_fit) best = &l->chains[i], best_fit = fit;
        }
    return best;
}

bool greeting_misdirected(const struct conn *c, struct slice host) {
    const struct listener *l = c->listener;
    if (host.n && host.p[host.n - 1] == '.') host.n--;
    const struct chain *meant = choose_chain(l, host);
    const struct tls_server *tls = meant->tls ? meant->tls : l->chains[0].tls;
    return meant != c->chain && tls && tls_server_asks(tls) && !tls_asked_alike(c, tls);
}

/* ---- the greeting ---- */

static void wait_until(struct conn *c, uint64_t when_ms) {
    c->greet_by_ms = when_ms;
    conn_arm_timer(c);
}

static bool server_may_speak_first(const struct chain *chain) {
    for (uint32_t i = 0; i < chain->service_count; i++)
        if (!chain->services[i].codec->match) return true;
    return false;
}

/* Idle clients of a permissive listener are welcome: who said nothing yet may speak plaintext. */
void greeting_begin(struct conn *c) {
    const struct chain *first = &c->listener->chains[0];
    uint32_t patience = GREETING_TLS_MS;
    if (!first->tls) patience = GREETING_PEEK_MS;
    else if (first->tls->permissive) patience = server_may_speak_first(first) ? GREETING_SILENCE_MS : 0;
    c->greeting = true;
    wait_until(c, patience ? c->core->now_ms + patience : 0);
}

/* All of it is the codec's from now on. */
static ssize_t pass_on(struct conn *c, const uint8_t *p, size_t n) {
    c->greeting = false, c->greet_by_ms = 0;
    if (!detect_protocol(c, SLICE(""))) return 0;
    return c->paused || c->doom || n == 0 ? 0 : c->codec->feed(c, p, n);
}

static bool keep_name(struct conn *c, const struct client_hello *hello) {
    return hello->sni_size == 0 || (c->sni = strdup(hello->sni)) != NULL;
}

/* The client's message goes to OpenSSL as well. No plaintext can lie behind it: it does not know our keys yet. */
static ssize_t secure(struct conn *c, const uint8_t *p, size_t n) {
    const struct tls_server *first = c->listener->chains[0].tls;
    c->greeting = false;
    if (!tls_accept(c)) return FEED_CLOSE;
    if ((!first || first->permissive) && !c->greeted) wait_until(c, c->core->now_ms + GREETING_TLS_MS);
    return tls_decrypt(c, p, n) || c->tls->state != TLS_HANDSHAKE ? FEED_CLOSE : (ssize_t)n;
}

ssize_t greeting_feed(struct conn *c, const uint8_t *p, size_t n) {
    const struct tls_server *first = c->listener->chains[0].tls;
    bool strict = first && !first->permissive;
    enum hello got = client_hello_begins(p, n);
    struct client_hello hello = {0};
    if (got == HELLO_MORE) { /* idle was welcome, to keep us guessing is not */
        if (!c->greet_by_ms) wait_until(c, c->core->now_ms + GREETING_TLS_MS);
        return 0;
    }
    if (got == HELLO_BAD && !strict) return pass_on(c, p, n); /* not a record of TLS */
    if (got == HELLO_GOOD) got = client_hello_read(p, n, &hello);
    if (got == HELLO_BAD && !first && client_hello_is(p, n)) return FEED_CLOSE; /* rules can't see whom it asks for */
    if (got == HELLO_MORE) {
        if (first && first->permissive && !c->greeted) wait_until(c, c->core->now_ms + GREETING_TLS_MS);
        c->greeted = true;
        return 0;
    }
    if (got == HELLO_GOOD) {
        if (!keep_name(c, &hello)) return FEED_CLOSE;
        c->chain = choose_chain(c->listener, tls_sni(c));
    }
    if (c->chain->tls || first) return secure(c, p, n); /* OpenSSL has the right alert for a broken one */
    return pass_on(c, p, n);
}

/* Nothing that has come so far keeps it from being plaintext. */
static bool may_be_plaintext(const struct conn *c) {
    const struct tls_server *first = c->listener->chains[0].tls;
    return c->greeting && (!first || (first->permissive && !c->greeted));
}

bool greeting_eof(struct conn *c) {
    if (!may_be_plaintext(c)) return false;
    if (pass_on(c, NULL, 0) == 0 && c->state != CONN_DEAD) conn_read_again(c);
    return true;
}

void greeting_overdue(struct conn *c) {
    if (c->expect_proxy) {
        c->listener->stat[LISTENER_idle_timeouts]++;
        conn_close(c, FAIL_TIMEOUT);
        return;
    }
    if (may_be_plaintext(c)) {
        if (pass_on(c, NULL, 0) == 0 && c->state != CONN_DEAD) conn_list_ready(c);
        return;
    }
    if (!c->tls) tls_failed(c, WHY_tls_failed_timeout);
    conn_close(c, FAIL_TIMEOUT);
}
