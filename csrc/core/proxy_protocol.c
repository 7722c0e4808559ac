#include "proxy_protocol.h"

#include "detect.h"
#include "greeting.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "conn.h"

#define V1_MAX 107u /* longest v1 line, CRLF included (section 2.1) */
#define V2_HEAD 16u
#define V2_MAX 4096u /* our limit for addresses and TLVs; the field could say 65,535 */

static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

/* ---- reading ---- */

static bool read_v1_address(union address *a, const char *family, const char *ip, const char *port_text) {
    char *end;
    unsigned long port = strtoul(port_text, &end, 10);
    memset(a, 0, sizeof *a);
    if (*end || end == port_text || port > 65535) return false;
    if (strcmp(family, "TCP4") == 0) {
        a->in.sin_family = AF_INET, a->in.sin_port = htons((uint16_t)port);
        return inet_pton(AF_INET, ip, &a->in.sin_addr) == 1;
    }
    a->in6.sin6_family = AF_INET6, a->in6.sin6_port = htons((uint16_t)port);
    return strcmp(family, "TCP6") == 0 && inet_pton(AF_INET6, ip, &a->in6.sin6_addr) == 1;
}

/* Who called, and whom: both are passed on (proxy_protocol_write). */
static bool set_addresses(struct conn *c, const union address *src, const union address *dst) {
    c->addr = *src, c->addr_text[0] = 0;
    if (!c->local && !(c->local = malloc(sizeof *c->local))) return false;
    *c->local = *dst;
    return true;
}

static ssize_t read_v1(struct conn *c, const uint8_t *p, size_t n) {
    const uint8_t *eol = memchr(p, '\n', min_size(n, V1_MAX));
    if (!eol) return n < V1_MAX ? 0 : FEED_CLOSE;
    size_t len = (size_t)(eol - p) + 1;
    char line[V1_MAX + 1], family[8], src[64], dst[64], sport[8], dport[8];
    if (len < 8 || p[len - 2] != '\r') return FEED_CLOSE;
    memcpy(line, p, len - 2), line[len - 2] = 0;
    if (strncmp(line, "PROXY UNKNOWN", 13) == 0) return (ssize_t)len;
    if (sscanf(line, "PROXY %7s %63s %63s %7s %7s", family, src, dst, sport, dport) != 5) return FEED_CLOSE;
    union address from, to;
    if (!read_v1_address(&from, family, src, sport) || !read_v1_address(&to, family, dst, dport)) return FEED_CLOSE;
    return set_addresses(c, &from, &to) ? (ssize_t)len : FEED_CLOSE;
}

static ssize_t read_v2(struct conn *c, const uint8_t *p, size_t n) {
    if (n < V2_HEAD) return 0;
    size_t len = (size_t)p[14] << 8 | p[15];
    uint8_t command = p[12], family = p[13];
    if ((command >> 4) != 2 || (command & 15) > 1 || len > V2_MAX) return FEED_CLOSE;
    if (n < V2_HEAD + len) return 0;
    const uint8_t *a = p + V2_HEAD;
    if ((command & 15) == 0) return (ssize_t)(V2_HEAD + len); /* LOCAL: the sender speaks for itself */
    union address from = {0}, to = {0};
    if (family >> 4 == 1 && len >= 12) {
        from.in.sin_family = to.in.sin_family = AF_INET;
        memcpy(&from.in.sin_addr, a, 4), memcpy(&to.in.sin_addr, a + 4, 4);
        memcpy(&from.in.sin_port, a + 8, 2), memcpy(&to.in.sin_port, a + 10, 2);
    } else if (family >> 4 == 2 && len >= 36) {
        from.in6.sin6_family = to.in6.sin6_family = AF_INET6;
        memcpy(&from.in6.sin6_addr, a, 16), memcpy(&to.in6.sin6_addr, a + 16, 16);
        memcpy(&from.in6.sin6_port, a + 32, 2), memcpy(&to.in6.sin6_port, a + 34, 2);
    } else {
        return family >> 4 == 1 || family >> 4 == 2 ? FEED_CLOSE
                                                    : (ssize_t)(V2_HEAD + len); /* unix, unspecified: nothing to tell */
    }
    return set_addresses(c, &from, &to) ? (ssize_t)(V2_HEAD + len) : FEED_CLOSE;
}

ssize_t proxy_protocol_read(struct conn *c, const uint8_t *p, size_t n) {
    ssize_t k = FEED_CLOSE;
    size_t head = min_size(n, sizeof v2_signature);
    if (memcmp(p, v2_signature, head) == 0) k = n < sizeof v2_signature ? 0 : read_v2(c, p, n);
    else if (memcmp(p, "PROXY ", min_size(n, 6)) == 0) k = read_v1(c, p, n);
    if (k <= 0) return k;
    c->expect_proxy = false, c->greet_by_ms = 0;
    if (!detect_begin(c)) return FEED_CLOSE;
    if ((size_t)k == n || c->paused || c->state != CONN_OPEN) return k;
    /* what came along behind the header */
    ssize_t more = (c->greeting ? greeting_feed : c->codec->feed)(c, p + k, n - (size_t)k);
    return more < 0 ? more : k + more;
}

/* ---- writing ---- */

static const char *v1_host(const union address *a, char *buf, size_t size, unsigned *port) {
    if (a->sa.sa_family == AF_INET6) {
        *port = ntohs(a->in6.sin6_port);
        return inet_ntop(AF_INET6, &a->in6.sin6_addr, buf, (socklen_t)size);
    }
    *port = ntohs(a->in.sin_port);
    return inet_ntop(AF_INET, &a->in.sin_addr, buf, (socklen_t)size);
}

static void write_v1(struct conn *up, const union address *src, const union address *dst) {
    char line[V1_MAX + 1], a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
    unsigned sport, dport;
    int n;
    if (src && dst && src->sa.sa_family == dst->sa.sa_family && v1_host(src, a, sizeof a, &sport) &&
        v1_host(dst, b, sizeof b, &dport))
        n = snprintf(line, sizeof line, "PROXY TCP%c %s %s %u %u\r\n", src->sa.sa_family == AF_INET ? '4' : '6', a, b,
                     sport, dport);
    else n = snprintf(line, sizeof line, "PROXY UNKNOWN\r\n");
    conn_send(up, line, (size_t)n);
}

static void write_v2(struct conn *up, const union address *src, const union address *dst) {
    uint8_t m[V2_HEAD + 36] = {0};
    size_t len = 0;
    memcpy(m, v2_signature, sizeof v2_signature);
    m[12] = 0x20; /* LOCAL */
    if (src && dst && src->sa.sa_family == dst->sa.sa_family && src->sa.sa_family == AF_INET) {
        m[12] = 0x21, m[13] = 0x11, len = 12;
        memcpy(m + 16, &src->in.sin_addr, 4), memcpy(m + 20, &dst->in.sin_addr, 4);
        memcpy(m + 24, &src->in.sin_port, 2), memcpy(m + 26, &dst->in.sin_port, 2);
    } else if (src && dst && src->sa.sa_family == dst->sa.sa_family && src->sa.sa_family == AF_INET6) {
        m[12] = 0x21, m[13] = 0x21, len = 36;
        memcpy(m + 16, &src->in6.sin6_addr, 16), memcpy(m + 32, &dst->in6.sin6_addr, 16);
        memcpy(m + 48, &src->in6.sin6_port, 2), memcpy(m + 50, &dst->in6.sin6_port, 2);
    }
    m[15] = (uint8_t)len;
    conn_send(up, m, V2_HEAD + len);
}

void proxy_protocol_write(struct conn *up, int version) {
    union address local = {0};
    socklen_t len = sizeof local;
    const union address *src = NULL, *dst = NULL;
    if (up->owner && up->owner->addr.sa.sa_family != AF_UNIX) {
        src = &up->owner->addr;
        dst = up->owner->local ? up->owner->local : getsockname(up->owner->fd, &local.sa, &len) == 0 ? &local : NULL;
    }
    if (version == 1) write_v1(up, src, dst);
    else write_v2(up, src, dst);
}
