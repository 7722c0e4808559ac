/* The static table and the encoder, which uses nothing else. RFC 7541 §6 and Appendix A. */
#include "hpack_internal.h"

/* The static table of RFC 7541 Appendix A. */
static const struct {
    const char *name, *value;
} texts[HPACK_STATIC + 1] = {
    {"", ""},
    {":authority", ""},
    {":method", "GET"},
    {":method", "POST"},
    {":path", "/"},
    {":path", "/index.html"},
    {":scheme", "http"},
    {":scheme", "https"},
    {":status", "200"},
    {":status", "204"},
    {":status", "206"},
    {":status", "304"},
    {":status", "400"},
    {":status", "404"},
    {":status", "500"},
    {"accept-charset", ""},
    {"accept-encoding", "gzip, deflate"},
    {"accept-language", ""},
    {"accept-ranges", ""},
    {"accept", ""},
    {"access-control-allow-origin", ""},
    {"age", ""},
    {"allow", ""},
    {"authorization", ""},
    {"cache-control", ""},
    {"content-disposition", ""},
    {"content-encoding", ""},
    {"content-language", ""},
    {"content-length", ""},
    {"content-location", ""},
    {"content-range", ""},
    {"content-type", ""},
    {"cookie", ""},
    {"date", ""},
    {"etag", ""},
    {"expect", ""},
    {"expires", ""},
    {"from", ""},
    {"host", ""},
    {"if-match", ""},
    {"if-modified-since", ""},
    {"if-none-match", ""},
    {"if-range", ""},
    {"if-unmodified-since", ""},
    {"last-modified", ""},
    {"link", ""},
    {"location", ""},
    {"max-forwards", ""},
    {"proxy-authenticate", ""},
    {"proxy-authorization", ""},
    {"range", ""},
    {"referer", ""},
    {"refresh", ""},
    {"retry-after", ""},
    {"server", ""},
    {"set-cookie", ""},
    {"strict-transport-security", ""},
    {"transfer-encoding", ""},
    {"user-agent", ""},
    {"vary", ""},
    {"via", ""},
    {"www-authenticate", ""},
};

struct hpack_entry hpack_static[HPACK_STATIC + 1];
uint8_t hpack_static_name[HN_COUNT];

__attribute__((constructor)) static void fill_static(void) {
    for (uint32_t i = 1; i <= HPACK_STATIC; i++) {
        struct hpack_entry *e = &hpack_static[i];
        e->name = slice_of(texts[i].name, strlen(texts[i].name));
        e->value = slice_of(texts[i].value, strlen(texts[i].value));
        e->id = (uint8_t)http_name_find(e->name.p, e->name.n);
        if (e->id && !hpack_static_name[e->id]) hpack_static_name[e->id] = (uint8_t)i;
    }
}

/* An integer with a prefix of `bits` bits; `first` holds the bits above it (RFC 7541 §5.1). */
static uint8_t *put_int(uint8_t *to, uint8_t first, unsigned bits, size_t value) {
    size_t limit = (1u << bits) - 1;
    if (value < limit) {
        *to++ = (uint8_t)(first | value);
        return to;
    }
    *to++ = (uint8_t)(first | limit);
    for (value -= limit; value >= 128; value >>= 7) *to++ = (uint8_t)(value | 128);
    *to++ = (uint8_t)value;
    return to;
}

/* Never Huffman coded: the third that it saves of a short string costs the encoder and the decoder more than the bytes do. */
static uint8_t *put_string(uint8_t *to, struct slice s) {
    to = put_int(to, 0, 7, s.n);
    if (s.n) memcpy(to, s.p, s.n);
    return to + s.n;
}

static uint8_t *put_name(uint8_t *to, struct slice s) {
    to = put_int(to, 0, 7, s.n);
    for (size_t i = 0; i < s.n; i++) to[i] = (uint8_t)(s.p[i] | (s.p[i] >= 'A' && s.p[i] <= 'Z' ? 0x20 : 0));
    return to + s.n;
}

uint8_t *hpack_encode(uint8_t *to, enum http_name id, struct slice name, struct slice value, bool never) {
    uint32_t index = hpack_static_name[id];
    to = put_int(to, never ? 0x10 : 0, 4, index);
    if (!index) to = put_name(to, name);
    return put_string(to, value);
}

/* Indices of Appendix A. */
enum { AUTHORITY = 1, METHOD_GET = 2, METHOD_POST = 3, PATH = 4, SCHEME_HTTP = 6, SCHEME_HTTPS = 7, STATUS = 8 };

static uint8_t *indexed(uint8_t *to, uint8_t index) {
    *to++ = (uint8_t)(0x80 | index);
    return to;
}

uint8_t *hpack_encode_status(uint8_t *to, uint16_t status) {
    static const uint16_t listed[] = {200, 204, 206, 304, 400, 404, 500};
    for (uint8_t i = 0; i < countof(listed); i++)
        if (listed[i] == status) return indexed(to, (uint8_t)(STATUS + i));
    uint8_t digits[3] = {(uint8_t)('0' + status / 100), (uint8_t)('0' + status / 10 % 10),
                         (uint8_t)('0' + status % 10)};
    *to++ = STATUS;
    return put_string(to, slice_of(digits, 3));
}

uint8_t *hpack_encode_method(uint8_t *to, struct slice method) {
    if (slice_eq(method, SLICE("GET"))) return indexed(to, METHOD_GET);
    if (slice_eq(method, SLICE("POST"))) return indexed(to, METHOD_POST);
    *to++ = METHOD_GET;
    return put_string(to, method);
}

uint8_t *hpack_encode_scheme(uint8_t *to, struct slice scheme) {
    if (slice_eq(scheme, SLICE("http"))) return indexed(to, SCHEME_HTTP);
    if (slice_eq(scheme, SLICE("https"))) return indexed(to, SCHEME_HTTPS);
    *to++ = SCHEME_HTTP;
    return put_string(to, scheme);
}

uint8_t *hpack_encode_path(uint8_t *to, struct slice path) {
    if (path.n == 1 && path.p[0] == '/') return indexed(to, PATH);
    *to++ = PATH;
    return put_string(to, path);
}

uint8_t *hpack_encode_authority(uint8_t *to, struct slice authority) {
    *to++ = AUTHORITY;
    return put_string(to, authority);
}
