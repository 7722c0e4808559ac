/* HTTP/2 as a client: a fixed number of streams in flight on each connection, header blocks prepared beforehand.
 *
 * Replies are not decoded as HPACK: a status of 200 is the static table's entry 8 with every encoder there is, and comes first.
 * Body and message are compared byte by byte; of gRPC's trailers only their being there is checked, and that nothing came
 * instead of a message. */
#include "h2.h"
#include "loadgen_http.h"

enum {
    REQUEST_MAX = 1024,
    WINDOW = 16 << 20,     /* per stream: bodies are smaller, so no stream's window is ever opened again */
    OPEN_WINDOW = 1 << 30, /* of the connection */
    REFILL = 1 << 29,
    GRPC_PREFIX = 5,
};

struct slot {
    uint32_t id; /* 0: idle */
    bool in_body;
    size_t at; /* bytes of the body (with gRPC's prefix) received */
    const struct request *request;
    uint64_t sent_at;
};

struct h2_client {
    uint32_t next_id, received;
    int64_t window; /* what the peer lets us send */
    unsigned idle;  /* slots */
    bool greeted;   /* the table's entries are made */
    struct slot slots[STREAMS_MAX];
};

/* What all requests have in common. Their fields are put into the table with the first one, so that further ones name them. */
static const struct field {
    unsigned index; /* of the name in the static table; 0: by itself */
    const char *name, *value;
} web[] = {{1, "", "bench.example.com"},
           {58, "", "Mozilla/5.0 (X11; Linux x86_64) bench/1.0"},
           {19, "", "application/json, */*;q=0.5"},
           {16, "", "gzip, deflate"},
           {17, "", "en-US,en;q=0.5"},
           {32, "", "session=0123456789abcdef"},
           {0, "x-tenant", "acme"},
           {24, "", "no-cache"}},
  grpc[] = {{1, "", "bench.example.com"},
            {31, "", "application/grpc"},
            {0, "te", "trailers"},
            {58, "", "grpc-c/1.60.0 (linux; bench)"},
            {0, "grpc-accept-encoding", "identity, deflate, gzip"},
            {16, "", "identity"}};

static uint8_t *put_fields(uint8_t *to, const struct request *r, bool further) {
    bool call = option.op == GRPC;
    const struct field *fields = call ? grpc : web;
    unsigned count = call ? sizeof grpc / sizeof *grpc : sizeof web / sizeof *web;
    char path[64];
    snprintf(path, sizeof path, "/bench/%.*s", KEY_LENGTH, r->key);
    to = option.op == PUT ? hpack_put_field(to, false, 2, "", "PUT") : hpack_put_indexed(to, call ? 3 : 2);
    to = hpack_put_indexed(to, option.tls ? 7 : 6);
    to = hpack_put_field(to, false, 4, "", call ? "/bench.Echo/Unary" : path);
    for (unsigned i = 0; i < count; i++) {
        to = further ? hpack_put_indexed(to, HPACK_FIRST_DYNAMIC + count - 1 - i)
                     : hpack_put_field(to, true, fields[i].index, fields[i].name, fields[i].value);
    }
    return to;
}

void h2_prepare(struct request *r) {
    for (int further = 0; further < 2; further++) {
        uint8_t *start = malloc(REQUEST_MAX), *to = start;
        if (!start) { wire_die("out of memory"); }
        to = put_fields(start + H2_HEAD, r, further);
        h2_put_head(start, (uint32_t)(to - start - H2_HEAD), H2_HEADERS,
                    H2_END_HEADERS | (option.op == GET ? H2_END_STREAM : 0), 0);
        if (option.op == GRPC) {
            r->form[further].data_at = (size_t)(to - start);
            to = h2_put_head(to, GRPC_PREFIX + KEY_LENGTH, H2_DATA, H2_END_STREAM, 0);
            *to++ = 0;
            to = h2_put32(to, KEY_LENGTH);
            memcpy(to, r->key, KEY_LENGTH);
            to += KEY_LENGTH;
        }
        r->form[further].bytes = start;
        r->form[further].n = (size_t)(to - start);
    }
}

static void begin(struct conn *c, struct slot *s) {
    struct h2_client *h = c->h2;
    const struct request *r = next_request(c);
    uint8_t *to = c->out + c->out_end;
    bool further = h->greeted;
    size_t data_at = r->form[further].data_at;
    h->greeted = true;
    out_add(c, r->form[further].bytes, r->form[further].n);
    h2_put32(to + 5, h->next_id);
    if (data_at) {
        h2_put32(to + data_at + 5, h->next_id);
        h->window -= GRPC_PREFIX + KEY_LENGTH;
    }
    *s = (struct slot){.id = h->next_id, .request = r, .sent_at = option.reconnect ? c->sent_at : wire_now_ns()};
    h->next_id += 2;
    h->idle--;
    under_way++;
}

static void begin_idle(struct conn *c) {
    struct h2_client *h = c->h2;
    for (unsigned i = 0; i < option.streams && h->idle && !meter.stopping; i++) {
        if (h->window < GRPC_PREFIX + KEY_LENGTH) { return; }
        if (!h->slots[i].id) { begin(c, &h->slots[i]); }
    }
}

void h2_open(struct conn *c) {
    uint8_t bytes[64], *to = bytes;
    struct h2_client *h = c->h2 = calloc(1, sizeof *h);
    if (!h) { wire_die("out of memory"); }
    h->next_id = 1;
    h->window = H2_WINDOW;
    h->idle = option.streams;
    out_add(c, H2_PREFACE, sizeof H2_PREFACE - 1);
    to = h2_put_head(to, 12, H2_SETTINGS, 0, 0);
    to = h2_put_setting(to, H2_ENABLE_PUSH, 0);
    to = h2_put_setting(to, H2_INITIAL_WINDOW_SIZE, WINDOW);
    to = h2_put_window(to, 0, OPEN_WINDOW);
    out_add(c, bytes, (size_t)(to - bytes));
    begin_idle(c);
}

void h2_close(struct conn *c) {
    free(c->h2);
    c->h2 = NULL;
}

/* ---- replies ---- */

static struct slot *find(struct h2_client *h, uint32_t id) {
    for (unsigned i = 0; i < option.streams; i++) {
        if (h->slots[i].id == id) { return &h->slots[i]; }
    }
    return NULL;
}

static bool fail(const char *what, const struct h2_frame *f) {
    meter_fail(what, f->payload, f->length);
    return false;
}

static void finish(struct conn *c, struct slot *s) {
    meter_count(s->sent_at, wire_now_ns(), 1);
    s->id = 0;
    c->h2->idle++;
    under_way--;
}

/* Whether a block says first of all that the status is 200. */
static bool is_ok(const uint8_t *p, uint32_t n) {
    while (n && (*p & 0xE0) == HPACK_TABLE_EMPTY) { /* a change of the table's size may come before */
        bool longer = (*p & 31) == 31;
        for (p++, n--; longer && n; p++, n--) { longer = *p & 128; }
    }
    return n && *p == HPACK_STATUS_200;
}

static bool on_headers(struct conn *c, struct h2_frame *f) {
    struct slot *s = find(c->h2, f->stream);
    if (!s) { return fail("headers of a stream that is not open: ", f); }
    if (!(f->flags & H2_END_HEADERS) || h2_unpad(f)) { return fail("headers cut or broken: ", f); }
    if (s->in_body) { /* trailers */
        size_t all = GRPC_PREFIX + option.value_size;
        if (option.op != GRPC || !(f->flags & H2_END_STREAM) || s->at != all) {
            return fail("trailers too early: ", f);
        }
        finish(c, s);
        return true;
    }
    if (!is_ok(f->payload, f->length)) { return fail("a status that is not 200, as HPACK: ", f); }
    if (option.probe) { exit(0); }
    if (f->flags & H2_END_STREAM) { return fail("a reply without a body: ", f); }
    s->in_body = true;
    return true;
}

static bool message_is_right(const struct slot *s, const uint8_t *p, uint32_t n) {
    uint8_t prefix[GRPC_PREFIX] = {0};
    size_t at = s->at, of_prefix = 0;
    h2_put32(prefix + 1, (uint32_t)option.value_size);
    if (at < GRPC_PREFIX) {
        of_prefix = n < GRPC_PREFIX - at ? n : GRPC_PREFIX - at;
        if (memcmp(prefix + at, p, of_prefix)) { return false; }
    }
    return reply_is(s->request, at + of_prefix - GRPC_PREFIX, p + of_prefix, n - of_prefix);
}

static bool on_data(struct conn *c, struct h2_frame *f) {
    struct h2_client *h = c->h2;
    struct slot *s = find(h, f->stream);
    h->received += f->length;
    if (h->received > REFILL) {
        uint8_t update[H2_HEAD + 4];
        h2_put_window(update, 0, h->received);
        out_add(c, update, sizeof update);
        h->received = 0;
    }
    if (!s || !s->in_body || h2_unpad(f)) { return fail("a body nobody asked for: ", f); }
    bool right = option.op == GRPC ? message_is_right(s, f->payload, f->length)
                                   : reply_is(s->request, s->at, f->payload, f->length);
    if (f->length && !right) { return fail("wrong body: ", f); }
    s->at += f->length;
    if (f->flags & H2_END_STREAM) {
        size_t want = option.op == PUT ? KEY_LENGTH : option.value_size;
        if (option.op == GRPC || s->at != want) { return fail("a body cut short: ", f); }
        finish(c, s);
    }
    return true;
}

static bool on_settings(struct conn *c, const struct h2_frame *f) {
    uint8_t ack[H2_HEAD];
    if (f->flags & H2_ACK) { return true; }
    for (const uint8_t *p = f->payload; p + 6 <= f->payload + f->length; p += 6) {
        uint32_t value = h2_get32(p + 2);
        if ((p[1] == H2_HEADER_TABLE_SIZE && value < H2_TABLE) || (p[1] == H2_MAX_STREAMS && value < option.streams)) {
            return fail("settings below what this load needs: ", f);
        }
    }
    h2_put_head(ack, 0, H2_SETTINGS, H2_ACK, 0);
    out_add(c, ack, sizeof ack);
    return true;
}

static bool on_frame(struct conn *c, struct h2_frame *f) {
    uint8_t pong[H2_HEAD + 8];
    switch (f->type) {
    case H2_HEADERS: return on_headers(c, f);
    case H2_DATA: return on_data(c, f);
    case H2_SETTINGS: return on_settings(c, f);
    case H2_PING:
        if (f->length == 8 && !(f->flags & H2_ACK)) {
            memcpy(h2_put_head(pong, 8, H2_PING, H2_ACK, 0), f->payload, 8);
            out_add(c, pong, sizeof pong);
        }
        return true;
    case H2_WINDOW_UPDATE:
        if (!f->stream && f->length == 4) { c->h2->window += h2_get32(f->payload); }
        return true;
    case H2_RST_STREAM: return fail("stream reset: ", f);
    case H2_GOAWAY: return fail("goaway: ", f);
    case H2_CONTINUATION:
    case H2_PUSH_PROMISE: return fail("a frame this client does not expect: ", f);
    default: return true;
    }
}

ssize_t h2_take(struct conn *c, const uint8_t *p, size_t n) {
    const uint8_t *start = p, *end = p + n;
    struct h2_frame f;
    int length;
    while ((length = h2_get_frame(p, (size_t)(end - p), &f)) > 0) {
        if (!on_frame(c, &f)) { return -1; }
        p += length;
    }
    if (length < 0) {
        meter_fail("a frame too long, or no HTTP/2: ", p, (size_t)(end - p));
        return -1;
    }
    if (option.reconnect && c->h2->idle == option.streams) {
        conn_done(c);
    } else {
        begin_idle(c);
    }
    return p - start;
}
