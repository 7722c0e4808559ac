/* HTTP's words: names, methods, reasons, and which bytes may stand where (RFC 9110 §5, §9, §15; RFC 3986 §3.2). */
#include "http_scan.h"

#include <arpa/inet.h>

/* "!#$%&'*+-.^_`|~", digits and letters. */
const uint8_t http_token_table[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

/* ---- names ---- */

static const struct slice name_texts[HN_COUNT] = {{(const uint8_t *)"", 0},
#define X(id, name, hop) {(const uint8_t *)(name), sizeof(name) - 1},
                                                  HTTP_NAMES(X)
#undef X
};

#define HOP_BIT(id, name, hop) ((uint32_t)(hop) << HN_##id) |
static const uint32_t hops = HTTP_NAMES(HOP_BIT) 0;
#undef HOP_BIT
_Static_assert(HN_COUNT <= 32, "a set of names fits in 32 bits");

/* No two names meet in this table: two entries with the same index would not compile (-Woverride-init). */
#define SLOT(n, first, last) [HTTP_NAME_SLOT(n, first, last)]
const struct http_name_slot http_name_slots[64] = {
    SLOT(10, 'c', 'n') = {"connection", 10, HN_CONNECTION, 1},
    SLOT(10, 'k', 'e') = {"keep-alive", 10, HN_KEEP_ALIVE, 1},
    SLOT(16, 'p', 'n') = {"proxy-connection", 16, HN_PROXY_CONNECTION, 1},
    SLOT(17, 't', 'g') = {"transfer-encoding", 17, HN_TRANSFER_ENCODING, 1},
    SLOT(7, 'u', 'e') = {"upgrade", 7, HN_UPGRADE, 1},
    SLOT(2, 't', 'e') = {"te", 2, HN_TE, 1},
    SLOT(7, 't', 'r') = {"trailer", 7, HN_TRAILER, 0},
    SLOT(14, 'c', 'h') = {"content-length", 14, HN_CONTENT_LENGTH, 0},
    SLOT(4, 'h', 't') = {"host", 4, HN_HOST, 0},
    SLOT(6, 'e', 't') = {"expect", 6, HN_EXPECT, 0},
    SLOT(15, 'x', 'r') = {"x-forwarded-for", 15, HN_X_FORWARDED_FOR, 0},
    SLOT(17, 'x', 'o') = {"x-forwarded-proto", 17, HN_X_FORWARDED_PROTO, 0},
    SLOT(16, 'x', 't') = {"x-forwarded-host", 16, HN_X_FORWARDED_HOST, 0},
    SLOT(9, 'f', 'd') = {"forwarded", 9, HN_FORWARDED, 0},
    SLOT(3, 'v', 'a') = {"via", 3, HN_VIA, 0},
    SLOT(12, 'x', 'd') = {"x-request-id", 12, HN_X_REQUEST_ID, 0},
    SLOT(6, 'c', 'e') = {"cookie", 6, HN_COOKIE, 0},
    SLOT(12, 'c', 'e') = {"content-type", 12, HN_CONTENT_TYPE, 0},
    SLOT(4, 'd', 'e') = {"date", 4, HN_DATE, 0},
    SLOT(6, 's', 'r') = {"server", 6, HN_SERVER, 0},
    SLOT(10, 'u', 't') = {"user-agent", 10, HN_USER_AGENT, 0},
    SLOT(6, 'a', 't') = {"accept", 6, HN_ACCEPT, 0},
    SLOT(12, 'g', 't') = {"grpc-timeout", 12, HN_GRPC_TIMEOUT, 0},
    SLOT(11, 'g', 's') = {"grpc-status", 11, HN_GRPC_STATUS, 0},
    SLOT(12, 'g', 'e') = {"grpc-message", 12, HN_GRPC_MESSAGE, 0},
    SLOT(14, 'h', 's') = {"http2-settings", 14, HN_HTTP2_SETTINGS, 1},
};

static inline uint64_t load64(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
static inline uint32_t load32(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Bytes of any case against lower-case text: bit 5 is set where the text has a letter (bit 6), and nowhere else, so that no
 * control character passes for '-'. */
static inline bool same64(const uint8_t *p, const uint8_t *text) {
    uint64_t t = load64(text);
    return (load64(p) | (t & 0x4040404040404040u) >> 1) == t;
}
static inline bool same32(const uint8_t *p, const uint8_t *text) {
    uint32_t t = load32(text);
    return (load32(p) | (t & 0x40404040u) >> 1) == t;
}

static bool same_name(const uint8_t *p, const uint8_t *text, size_t n) {
    if (n >= 8) {
        if (!same64(p, text) || !same64(p + n - 8, text + n - 8)) return false;
        return n <= 16 || same64(p + 8, text + 8);
    }
    if (n >= 4) return same32(p, text) && same32(p + n - 4, text + n - 4);
    for (size_t i = 0; i < n; i++)
        if ((p[i] | 0x20) != text[i]) return false; /* letters only in the short names */
    return true;
}

enum http_name http_name_find(const uint8_t *p, size_t n) {
    if (unlikely(n == 0)) return HN_OTHER;
    const struct http_name_slot *slot = &http_name_slots[HTTP_NAME_SLOT(n, p[0] | 0x20u, p[n - 1] | 0x20u)];
    return slot->n == n && same_name(p, slot->text, n) ? (enum http_name)slot->id : HN_OTHER;
}

struct slice http_name_text(enum http_name id) {
    return id < HN_COUNT ? name_texts[id] : name_texts[0];
}
bool http_name_is_hop(enum http_name id) { return id < HN_COUNT && (hops >> id & 1); }

/* ---- methods, reasons ---- */

static const struct slice method_texts[] = {{(const uint8_t *)"", 0},
#define X(m) {(const uint8_t *)#m, sizeof(#m) - 1},
                                            HTTP_METHODS(X)
#undef X
};

#define IS(m) (memcmp(p, #m, sizeof(#m) - 1) == 0 ? HTTP_##m : HTTP_OTHER_METHOD)
enum http_method http_method_find(const uint8_t *p, size_t n) {
    switch (n) {
    case 3: return p[0] == 'G' ? IS(GET) : IS(PUT);
    case 4: return p[0] == 'P' ? IS(POST) : IS(HEAD);
    case 5: return p[0] == 'P' ? IS(PATCH) : IS(TRACE);
    case 6: return IS(DELETE);
    case 7: return p[0] == 'C' ? IS(CONNECT) : IS(OPTIONS);
    default: return HTTP_OTHER_METHOD;
    }
}
#undef IS

struct slice http_method_text(enum http_method m) {
    return m < countof(method_texts) ? method_texts[m] : method_texts[0];
}

bool http_method_idempotent(enum http_method m) {
    return m == HTTP_GET || m == HTTP_HEAD || m == HTTP_PUT || m == HTTP_DELETE || m == HTTP_OPTIONS || m == HTTP_TRACE;
}

struct slice http_reason(uint16_t status) {
    switch (status) {
    case 100: return SLICE("Continue");
    case 101: return SLICE("Switching Protocols");
    case 103: return SLICE("Early Hints");
    case 200: return SLICE("OK");
    case 201: return SLICE("Created");
    case 202: return SLICE("Accepted");
    case 203: return SLICE("Non-Authoritative Information");
    case 204: return SLICE("No Content");
    case 205: return SLICE("Reset Content");
    case 206: return SLICE("Partial Content");
    case 300: return SLICE("Multiple Choices");
    case 301: return SLICE("Moved Permanently");
    case 302: return SLICE("Found");
    case 303: return SLICE("See Other");
    case 304: return SLICE("Not Modified");
    case 307: return SLICE("Temporary Redirect");
    case 308: return SLICE("Permanent Redirect");
    case 400: return SLICE("Bad Request");
    case 401: return SLICE("Unauthorized");
    case 402: return SLICE("Payment Required");
    case 403: return SLICE("Forbidden");
    case 404: return SLICE("Not Found");
    case 405: return SLICE("Method Not Allowed");
    case 406: return SLICE("Not Acceptable");
    case 407: return SLICE("Proxy Authentication Required");
    case 408: return SLICE("Request Timeout");
    case 409: return SLICE("Conflict");
    case 410: return SLICE("Gone");
    case 411: return SLICE("Length Required");
    case 412: return SLICE("Precondition Failed");
    case 413: return SLICE("Content Too Large");
    case 414: return SLICE("URI Too Long");
    case 415: return SLICE("Unsupported Media Type");
    case 416: return SLICE("Range Not Satisfiable");
    case 417: return SLICE("Expectation Failed");
    case 421: return SLICE("Misdirected Request");
    case 422: return SLICE("Unprocessable Content");
    case 425: return SLICE("Too Early");
    case 426: return SLICE("Upgrade Required");
    case 428: return SLICE("Precondition Required");
    case 429: return SLICE("Too Many Requests");
    case 431: return SLICE("Request Header Fields Too Large");
    case 500: return SLICE("Internal Server Error");
    case 501: return SLICE("Not Implemented");
    case 502: return SLICE("Bad Gateway");
    case 503: return SLICE("Service Unavailable");
    case 504: return SLICE("Gateway Timeout");
    case 505: return SLICE("HTTP Version Not Supported");
    default: return SLICE("");
    }
}

/* ---- comparing, lists, fields ---- */

bool http_is(struct slice s, const char *lower) {
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (c != (uint8_t)lower[i] || !lower[i]) return false;
    }
    return lower[s.n] == 0;
}

bool http_list_has(struct slice value, const char *token) {
    const uint8_t *p = value.p, *end = value.p + value.n;
    while (p < end) {
        const uint8_t *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end, *last = stop;
        while (p < last && (*p == ' ' || *p == '\t')) p++;
        while (p < last && (last[-1] == ' ' || last[-1] == '\t')) last--;
        if (p < last && http_is(slice_of(p, (size_t)(last - p)), token)) return true;
        p = stop + 1;
    }
    return false;
}

struct http_field *http_find(const struct http_head *h, enum http_name id) {
    if (h->absent >> id & 1) return NULL;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->fields[i].id == id && !h->fields[i].drop) return &h->fields[i];
    return NULL;
}

bool http_add(struct http_head *h, enum http_name id, struct slice name, struct slice value) {
    if (h->count >= h->capacity) return false;
    h->absent &= ~(1u << id);
    h->fields[h->count++] = (struct http_field){.name = name, .value = value, .id = (uint8_t)id};
    return true;
}

/* ---- what may stand where ---- */

bool http_value_ok(const uint8_t *p, size_t n) {
    if (n == 0) return true;
    if (p[0] == ' ' || p[0] == '\t' || p[n - 1] == ' ' || p[n - 1] == '\t') return false;
    return http_scan_value(p, p + n, p) == p + n;
}

bool http_target_ok(struct slice s) { return http_scan_target(s.p, s.p + s.n, s.p) == s.p + s.n; }

/* Characters of a registered name: unreserved and sub-delims of RFC 3986 without ',', which would make Host a list. Escapes are
 * legal there and used by nobody; what they would mean differs from one server to the next. */
static const uint8_t host_table[256] = {
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['-'] = 1, ['.'] = 1, ['_'] = 1,
    ['~'] = 1,         ['!'] = 1,         ['$'] = 1,         ['&'] = 1, ['('] = 1, [')'] = 1,
    ['\''] = 1,        ['*'] = 1,         ['+'] = 1,         [';'] = 1, ['='] = 1,
};

/* ":" and up to 65535 in digits, perhaps none; or nothing at all. */
static bool port_ok(const uint8_t *p, const uint8_t *end) {
    uint32_t port = 0;
    if (p == end) return true;
    if (*p++ != ':' || end - p > 5) return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9') return false;
        port = port * 10 + (uint32_t)(*p - '0');
    }
    return port <= 65535;
}

/* "[" IPv6 address "]". Zones have no meaning to another machine, IPvFuture none at all. */
static const uint8_t *literal_end(const uint8_t *p, const uint8_t *end) {
    char text[INET6_ADDRSTRLEN];
    uint8_t address[16];
    const uint8_t *close = memchr(p, ']', (size_t)(end - p));
    size_t n = close ? (size_t)(close - p - 1) : 0;
    if (n == 0 || n >= sizeof text) return NULL;
    memcpy(text, p + 1, n), text[n] = 0;
    return strlen(text) == n && inet_pton(AF_INET6, text, address) == 1 ? close + 1 : NULL;
}

bool http_authority_ok(struct slice s) {
    const uint8_t *p = s.p, *end = s.p + s.n;
    if (s.n == 0) return true;
    if (*p == '[') {
        p = literal_end(p, end);
        return p && port_ok(p, end);
    }
    while (end - p >= 4 && (host_table[p[0]] & host_table[p[1]] & host_table[p[2]] & host_table[p[3]])) p += 4;
    while (p < end && host_table[*p]) p++;
    return p > s.p && port_ok(p, end);
}
