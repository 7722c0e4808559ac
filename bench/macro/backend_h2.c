/* HTTP/2 with prior knowledge as a server. A path that begins with "/bench." is a gRPC method: its message holds the key. */
#include "backend_http.h"
#include "h2.h"
#include "hpack_path.h"

enum {
    STREAMS = 1024,      /* open at a time, per connection */
    REFILL = 1 << 29,    /* bytes received after which the connection's window is opened again */
    BLOCK_MAX = 256,     /* bytes of a header block of ours */
    FILL_TO = 128 << 10, /* bytes of output kept ready while a big reply is under way */
    REPLY_ROOM = 1024,   /* of a small reply, besides its value */
    GRPC_PREFIX = 5,     /* bytes before a gRPC message: compressed or not, length */
    GRPC_MESSAGE_MAX = 8192,
};

enum kind { VALUE, PUT, GRPC, KINDS };

struct stream {
    uint32_t id;
    enum kind kind;
    bool wrong;
    uint16_t key_length;
    int64_t window; /* what the peer lets us send on it */
    size_t at;      /* bytes of the body received; once it is answered, sent */
    bool answering;
    char key[KEY_MAX];
};

struct h2_server {
    bool greeted;      /* the client's preface is read */
    bool plain;        /* the client's table is smaller than we need: nothing is put there */
    int primed;        /* kind of replies whose fields are in the client's table; -1: none yet */
    int64_t window;    /* what the peer lets us send in all */
    uint32_t received; /* bytes of DATA since its window was opened */
    int32_t initial_window;
    unsigned count;
    struct stream streams[STREAMS];
    struct hpack_path paths;
};

struct block {
    uint8_t bytes[BLOCK_MAX];
    size_t n;
};
/* Header blocks by kind of reply: as the first of a connection, which fills its table; as each further one; and without use of
 * the table. Likewise gRPC's trailers. */
static struct { struct block head, trailers; } first[KINDS], further[KINDS], plain[KINDS];

static const char *const types[KINDS] = {"application/octet-stream", "application/octet-stream", "application/grpc"};

static void prepare(void) {
    for (enum kind k = VALUE; k < KINDS; k++) {
        char length[24];
        snprintf(length, sizeof length, "%zu", value_size);
        struct {
            unsigned index; /* of the name in the static table */
            const char *value;
        } fields[] = {{31, types[k]}, {54, "stub"}, {33, "Mon, 01 Jan 2024 00:00:00 GMT"}, {28, length}};
        unsigned count = k == VALUE ? 4 : 3; /* a PUT's reply has its own length, gRPC's none */
        for (int keep = 0; keep < 2; keep++) {
            struct block *b = keep ? &first[k].head : &plain[k].head;
            uint8_t *to = b->bytes;
            if (!keep) { *to++ = HPACK_TABLE_EMPTY; /* allowed at any block's beginning, needed at the first one's */ }
            *to++ = HPACK_STATUS_200;
            for (unsigned i = 0; i < count; i++) {
                to = hpack_put_field(to, keep, fields[i].index, "", fields[i].value);
            }
            b->n = (size_t)(to - b->bytes);
            b = keep ? &first[k].trailers : &plain[k].trailers;
            b->n = (size_t)(hpack_put_field(b->bytes, keep, 0, "grpc-status", "0") - b->bytes);
        }
        uint8_t *to = further[k].head.bytes;
        *to++ = HPACK_STATUS_200;
        /* the newest entry has the lowest index; of gRPC that is the one of the trailers */
        unsigned newest = HPACK_FIRST_DYNAMIC + (k == GRPC);
        for (unsigned i = 0; i < count; i++) { to = hpack_put_indexed(to, newest + count - 1 - i); }
        further[k].head.n = (size_t)(to - further[k].head.bytes);
        further[k].trailers.n =
            (size_t)(hpack_put_indexed(further[k].trailers.bytes, HPACK_FIRST_DYNAMIC) - further[k].trailers.bytes);
    }
}

void h2_open(struct client *c) {
    if (!first[0].head.n) { prepare(); }
    struct h2_server *h = c->h2 = calloc(1, sizeof *h);
    if (!h) { wire_die("out of memory"); }
    h->primed = -1;
    h->window = h->initial_window = H2_WINDOW;
    hpack_path_init(&h->paths);
    uint8_t *to = out_room(c, 64), *start = to;
    to = h2_put_head(to, 12, H2_SETTINGS, 0, 0);
    to = h2_put_setting(to, H2_MAX_STREAMS, STREAMS);
    to = h2_put_setting(to, H2_INITIAL_WINDOW_SIZE, H2_WINDOW_MAX);
    to = h2_put_window(to, 0, H2_WINDOW_MAX - H2_WINDOW);
    c->out_end += (size_t)(to - start);
}

void h2_close(struct client *c) { free(c->h2); }

static struct stream *find(struct h2_server *h, uint32_t id) {
    for (unsigned i = 0; i < h->count; i++) {
        if (h->streams[i].id == id) { return &h->streams[i]; }
    }
    return NULL;
}

static void forget(struct h2_server *h, struct stream *s) { *s = h->streams[--h->count]; }

static uint8_t *put_block(uint8_t *to, const struct block *b, unsigned flags, uint32_t id) {
    to = h2_put_head(to, (uint32_t)b->n, H2_HEADERS, flags | H2_END_HEADERS, id);
    memcpy(to, b->bytes, b->n);
    return to + b->n;
}

static void reset(struct client *c, uint32_t id, uint32_t code) {
    uint8_t *to = out_room(c, 16), *start = to;
    to = h2_put_head(to, 4, H2_RST_STREAM, 0, id);
    to = h2_put32(to, code);
    c->out_end += (size_t)(to - start);
}

/* Writes the value of a key from byte `at` on. */
static uint8_t *put_value(uint8_t *to, const char *key, size_t key_length, size_t at, size_t n) {
    size_t own, of_key = 0;
    const char *head = wire_value_head(key, key_length, value_size, &own);
    if (at < own) {
        of_key = n < own - at ? n : own - at;
        memcpy(to, head + at, of_key);
    }
    memcpy(to + of_key, pattern + at + of_key, n - of_key);
    return to + n;
}

/* Begins the answer to a request that is complete; a small one is written at once. True: all of it. */
static bool answer(struct client *c, struct stream *s) {
    struct h2_server *h = c->h2;
    if (s->wrong) {
        reset(c, s->id, 2);
        return true;
    }
    bool again = h->primed == (int)s->kind, prime = h->primed < 0 && !h->plain;
    if (prime) { h->primed = (int)s->kind; }
    const struct block *head = again ? &further[s->kind].head : prime ? &first[s->kind].head : &plain[s->kind].head;
    bool small = value_size <= H2_FRAME_MAX - GRPC_PREFIX;
    size_t body = s->kind == PUT ? s->key_length : s->kind == GRPC ? (size_t)GRPC_PREFIX + value_size : value_size;
    uint8_t *to = out_room(c, REPLY_ROOM + (small ? value_size : 0)), *start = to;
    to = put_block(to, head, 0, s->id);
    s->answering = true;
    s->at = 0;
    if ((s->kind == VALUE && !small) || h->window < (int64_t)body || s->window < (int64_t)body) {
        c->out_end += (size_t)(to - start);
        return false;
    }
    h->window -= (int64_t)body;
    to = h2_put_head(to, (uint32_t)body, H2_DATA, s->kind == GRPC ? 0 : H2_END_STREAM, s->id);
    if (s->kind == PUT) {
        memcpy(to, s->key, s->key_length);
        to += s->key_length;
    } else {
        if (s->kind == GRPC) {
            *to++ = 0;
            to = h2_put32(to, (uint32_t)value_size);
        }
        to = put_value(to, s->key, s->key_length, 0, value_size);
    }
    if (s->kind == GRPC) {
        const struct block *end = again   ? &further[GRPC].trailers
                                  : prime ? &first[GRPC].trailers
                                          : &plain[GRPC].trailers;
        to = put_block(to, end, H2_END_STREAM, s->id);
    }
    c->out_end += (size_t)(to - start);
    return true;
}

/* Big values, turn by turn, as far as windows and room go. A small reply that met a closed window is not sent piecemeal: it
 * begins here as a big one would (values only; others are too small to meet one before the stub itself has gone wrong). */
void h2_fill(struct client *c) {
    struct h2_server *h = c->h2;
    bool moved = true;
    while (moved && c->out_end < FILL_TO) {
        moved = false;
        for (unsigned i = 0; i < h->count && c->out_end < FILL_TO; i++) {
            struct stream *s = &h->streams[i];
            int64_t n = (int64_t)(value_size - s->at);
            n = n < H2_FRAME_MAX ? n : H2_FRAME_MAX;
            n = n < s->window ? n : s->window;
            n = n < h->window ? n : h->window;
            if (!s->answering || n <= 0) { continue; }
            if (s->kind != VALUE) { wire_die("backend_http: a window too small for a reply"); }
            uint8_t *to = out_room(c, H2_HEAD + H2_FRAME_MAX);
            bool last = s->at + (size_t)n == value_size;
            to = h2_put_head(to, (uint32_t)n, H2_DATA, last ? H2_END_STREAM : 0, s->id);
            put_value(to, s->key, s->key_length, s->at, (size_t)n);
            c->out_end += H2_HEAD + (size_t)n;
            s->at += (size_t)n;
            s->window -= n;
            h->window -= n;
            moved = true;
            if (last) { forget(h, s); }
        }
    }
}

/* ---- receiving ---- */

static bool on_headers(struct client *c, struct h2_frame *f) {
    struct h2_server *h = c->h2;
    char path[HPACK_PATH_MAX];
    size_t n, key_length;
    if (!(f->flags & H2_END_HEADERS) || h2_unpad(f) || hpack_path_read(&h->paths, f->payload, f->length, path, &n)) {
        return false;
    }
    if (!n || h->count == STREAMS) { return false; } /* request trailers, which our generator never sends */
    struct stream *s = &h->streams[h->count];
    const char *key = key_of(path, n, &key_length);
    if (key_length > KEY_MAX) { return false; }
    s->id = f->stream;
    s->at = 0;
    s->wrong = s->answering = false;
    s->window = h->initial_window;
    s->kind = n > 7 && !memcmp(path, "/bench.", 7) ? GRPC : f->flags & H2_END_STREAM ? VALUE : PUT;
    s->key_length = (uint16_t)key_length;
    memcpy(s->key, key, key_length);
    s->wrong = s->kind == GRPC && f->flags & H2_END_STREAM;
    if (!(f->flags & H2_END_STREAM) || !answer(c, s)) { h->count++; }
    return true;
}

/* A gRPC message comes in one DATA frame, as it was sent, or its end in a second, empty one. */
static void on_message(struct stream *s, const struct h2_frame *f) {
    if (!f->length) { return; }
    uint32_t n = f->length >= GRPC_PREFIX ? h2_get32(f->payload + 1) : 0;
    s->wrong |= s->at || f->length < GRPC_PREFIX || f->payload[0] || n != f->length - GRPC_PREFIX || n > KEY_MAX;
    if (!s->wrong) {
        memcpy(s->key, f->payload + GRPC_PREFIX, n);
        s->key_length = (uint16_t)n;
    }
    s->at += f->length;
}

static bool on_data(struct client *c, struct h2_frame *f) {
    struct h2_server *h = c->h2;
    struct stream *s = find(h, f->stream);
    h->received += f->length;
    if (h->received > REFILL) {
        h2_put_window(out_room(c, H2_HEAD + 4), 0, h->received);
        c->out_end += H2_HEAD + 4;
        h->received = 0;
    }
    if (h2_unpad(f)) { return false; }
    if (!s || s->answering) { return !!s || !f->length; }
    if (s->kind == GRPC) {
        on_message(s, f);
    } else {
        s->wrong |= !wire_value_is(s->key, s->key_length, pattern, value_size, s->at, f->payload, f->length);
        s->at += f->length;
    }
    if (f->flags & H2_END_STREAM) {
        s->wrong |= s->at != (s->kind == GRPC ? (size_t)GRPC_PREFIX + s->key_length : value_size);
        if (answer(c, s)) { forget(h, s); }
    }
    return true;
}

static void on_settings(struct client *c, const struct h2_frame *f) {
    struct h2_server *h = c->h2;
    if (f->flags & H2_ACK) { return; }
    for (const uint8_t *p = f->payload; p + 6 <= f->payload + f->length; p += 6) {
        uint32_t value = h2_get32(p + 2);
        if (p[1] == H2_INITIAL_WINDOW_SIZE) {
            for (unsigned i = 0; i < h->count; i++) { h->streams[i].window += (int64_t)value - h->initial_window; }
            h->initial_window = (int32_t)value;
        } else if (p[1] == H2_HEADER_TABLE_SIZE && value < H2_TABLE) {
            h->plain = true;
        }
    }
    h2_put_head(out_room(c, H2_HEAD), 0, H2_SETTINGS, H2_ACK, 0);
    c->out_end += H2_HEAD;
}

static bool on_frame(struct client *c, struct h2_frame *f) {
    struct h2_server *h = c->h2;
    struct stream *s;
    switch (f->type) {
    case H2_HEADERS: return on_headers(c, f);
    case H2_DATA: return on_data(c, f);
    case H2_SETTINGS: on_settings(c, f); return true;
    case H2_PING:
        if (f->length != 8) { return false; }
        if (!(f->flags & H2_ACK)) {
            memcpy(h2_put_head(out_room(c, H2_HEAD + 8), 8, H2_PING, H2_ACK, 0), f->payload, 8);
            c->out_end += H2_HEAD + 8;
        }
        return true;
    case H2_WINDOW_UPDATE:
        if (f->length != 4) { return false; }
        s = f->stream ? find(h, f->stream) : NULL;
        if (s) { s->window += h2_get32(f->payload); }
        if (!f->stream) { h->window += h2_get32(f->payload); }
        return true;
    case H2_RST_STREAM:
        s = find(h, f->stream);
        if (s) { forget(h, s); }
        return true;
    case H2_CONTINUATION:
    case H2_PUSH_PROMISE: return false;
    default: return true;
    }
}

ssize_t h2_take(struct client *c, const uint8_t *p, size_t n) {
    const uint8_t *start = p, *end = p + n;
    struct h2_frame f;
    int length;
    if (!c->h2->greeted) {
        if (n < sizeof H2_PREFACE - 1) { return 0; }
        c->h2->greeted = true;
        p += sizeof H2_PREFACE - 1;
    }
    while ((length = h2_get_frame(p, (size_t)(end - p), &f)) > 0) {
        if (!on_frame(c, &f)) { return -1; }
        p += length;
    }
    if (length < 0) { return -1; }
    h2_fill(c);
    return p - start;
}
