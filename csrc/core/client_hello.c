#include "client_hello.h"

#define RECORD_HEAD 5u
#define MESSAGE_HEAD 4u
#define RECORD_HANDSHAKE 22
#define MESSAGE_CLIENT_HELLO 1
#define EXTENSION_SERVER_NAME 0
#define NAME_HOST 0

/* ---- a window over bytes: every take checks, and failing is sticky ---- */

struct window {
    const uint8_t *p;
    size_t n;
    bool bad;
};

static uint32_t take_number(struct window *w, size_t bytes) {
    uint32_t v = 0;
    if (w->n < bytes) w->bad = true, w->n = 0;
    else
        for (w->n -= bytes; bytes; bytes--) v = v << 8 | *w->p++;
    return v;
}

/* The next n bytes as a window of their own. */
static struct window take(struct window *w, size_t n) {
    struct window part = {w->p, n, false};
    if (w->n < n) {
        w->bad = true, w->n = 0;
        return (struct window){w->p, 0, true};
    }
    w->p += n, w->n -= n;
    return part;
}

/* What a length of `bytes` bytes announces. */
static struct window take_vector(struct window *w, size_t bytes) {
    size_t n = take_number(w, bytes);
    return take(w, n);
}

/* ---- extensions ---- */

static bool keep_name(struct client_hello *out, struct window name) {
    if (name.n && name.p[name.n - 1] == '.') name.n--;
    if (name.n == 0 || name.n > SNI_MAX) return false;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        if (c <= ' ' || c > '~') return false;
        out->sni[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    out->sni[name.n] = 0, out->sni_size = (uint32_t)name.n;
    return true;
}

/* A list of names of different types, of which only host names were ever defined. */
static bool read_server_name(struct client_hello *out, struct window data) {
    struct window list = take_vector(&data, 2);
    bool good = !data.bad && data.n == 0 && list.n > 0;
    while (good && list.n) {
        uint32_t type = take_number(&list, 1);
        struct window name = take_vector(&list, 2);
        good = !list.bad && !(type == NAME_HOST && out->sni_size) && (type != NAME_HOST || keep_name(out, name));
    }
    return good;
}

static bool read_body(struct client_hello *out, struct window body) {
    bool named = false;
    take(&body, 2 + 32); /* legacy version, random */
    struct window session = take_vector(&body, 1), ciphers = take_vector(&body, 2), compression = take_vector(&body, 1);
    if (body.bad || session.n > 32 || ciphers.n < 2 || ciphers.n % 2 || compression.n < 1) return false;
    if (body.n == 0) return true; /* TLS 1.2 without extensions */
    struct window extensions = take_vector(&body, 2);
    if (body.bad || body.n) return false;
    while (extensions.n) {
        uint32_t type = take_number(&extensions, 2);
        struct window data = take_vector(&extensions, 2);
        if (extensions.bad) return false;
        if (type != EXTENSION_SERVER_NAME) continue;
        if (named || !read_server_name(out, data)) return false;
        named = true;
    }
    return true;
}

/* ---- records ---- */

enum hello client_hello_begins(const uint8_t *p, size_t n) {
    if (n == 0) return HELLO_MORE;
    if (p[0] != RECORD_HANDSHAKE || (n > 1 && p[1] != 3) || (n > 2 && p[2] > 4)) return HELLO_BAD;
    return n > 2 ? HELLO_GOOD : HELLO_MORE;
}

/* The message's bytes record after record, as many as are there, into `to` (room for `max`). HELLO_GOOD: `max` bytes. */
static enum hello join(const uint8_t *p, size_t n, uint8_t *to, size_t max) {
    size_t have = 0;
    while (have < max) {
        if (client_hello_begins(p, n) == HELLO_BAD) return HELLO_BAD;
        if (n < RECORD_HEAD) return HELLO_MORE;
        size_t len = (size_t)p[3] << 8 | p[4], part = min_size(min_size(len, n - RECORD_HEAD), max - have);
        if (len == 0 || len > 16384) return HELLO_BAD;
        memcpy(to + have, p + RECORD_HEAD, part);
        have += part;
        if (have < max && part < len) return HELLO_MORE;
        p += RECORD_HEAD + min_size(len, n - RECORD_HEAD), n -= RECORD_HEAD + min_size(len, n - RECORD_HEAD);
    }
    return HELLO_GOOD;
}

bool client_hello_is(const uint8_t *p, size_t n) {
    return client_hello_begins(p, n) == HELLO_GOOD && n > RECORD_HEAD && p[RECORD_HEAD] == MESSAGE_CLIENT_HELLO;
}

enum hello client_hello_read(const uint8_t *p, size_t n, struct client_hello *out) {
    uint8_t message[MESSAGE_HEAD + CLIENT_HELLO_MAX];
    memset(out, 0, sizeof *out);
    enum hello head = join(p, n, message, MESSAGE_HEAD);
    if (head != HELLO_GOOD) {
        bool wrong = head == HELLO_BAD || (n > RECORD_HEAD && p[RECORD_HEAD] != MESSAGE_CLIENT_HELLO);
        return wrong || n > CLIENT_HELLO_RAW_MAX ? HELLO_BAD : HELLO_MORE;
    }
    size_t size = (size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3];
    if (message[0] != MESSAGE_CLIENT_HELLO || size > CLIENT_HELLO_MAX) return HELLO_BAD;
    enum hello all = join(p, n, message, MESSAGE_HEAD + size);
    if (all == HELLO_MORE && n > CLIENT_HELLO_RAW_MAX) return HELLO_BAD;
    if (all != HELLO_GOOD) return all;
    if (read_body(out, (struct window){message + MESSAGE_HEAD, size, false})) return HELLO_GOOD;
    memset(out, 0, sizeof *out);
    return HELLO_BAD;
}
