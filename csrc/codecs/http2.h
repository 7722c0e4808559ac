/* HTTP/2 connections: what both sides share. RFC 9113.
 *
 *   http2_frame.c    frames as bytes             http2_feed.c  what comes in, frame by frame; header blocks put together
 *   http2_message.c  what a head must look like  http2_conn.c  settings, ping, goaway, floods; beginning and end
 *   http2_table.c    stream id -> leg            http2_send.c  what goes out: DATA under flow control, windows, header blocks
 *   http2_down.c, http2_up.c  the two sides of an exchange  http2_alive.c  whether the peer is still there
 *
 * A stream's state lies in the leg of its exchange (exchange.h); leg->id is 0 when the leg is on no connection's table. A response
 * that is complete but still waits for the client's window outlives its exchange as a *rest*: a leg of its own. */
#ifndef MOSNPY_HTTP2_H
#define MOSNPY_HTTP2_H

#include "exchange.h"
#include "hpack.h"
#include "http2_frame.h"
#include "http2_message.h"

#define HTTP2_CLOSED 128u /* streams remembered after their end, to tell late frames from wrong ones */
#define HTTP2_CORK \
    (384u * 1024) /* with more waiting for the socket, DATA waits on its stream, so that small frames stay quick */
#define HTTP2_FULL (64u * 1024)     /* a stream with more waiting for windows says so to its source */
#define HTTP2_DRAINED (16u * 1024)  /* and takes more below this */
#define HTTP2_STREAMS_UP_MAX 1024u  /* streams on one upstream connection, however many its server allows */
#define HTTP2_STREAMS_UP_FIRST 100u /* before the server has said anything (§6.5.2 recommends no less) */
#define HTTP2_HELD_WINDOWS \
    8u /* paused streams may hold this many connection windows before that window closes as well */
#define HTTP2_BLOCK_SLACK HTTP2_FRAME_MAX /* a header block may be this much longer than the list it holds */

/* leg->flags; the high byte is 1 + the code of the RST_STREAM that ended it, for the other side to pass on. */
enum {
    LEG_IN_ENDED = 1,   /* END_STREAM came */
    LEG_OUT_ENDED = 2,  /* END_STREAM was written */
    LEG_FULL = 4,       /* exchange_*_full() was said */
    LEG_REST = 8,       /* its exchange is over: this is a struct http2_rest */
    LEG_HEAD_SEEN = 16, /* up: the final response's head came */
    LEG_NO_BODY = 32,   /* up: of HEAD, 204, 304: no DATA may come */
    LEG_UPGRADE =
        64, /* up: an HTTP/1 upgrade that became an extended CONNECT; leg->tail holds what the 101 must answer */
    LEG_LATER = 128 /* up: to be answered 501 by http2_up_later() */
};

/* What peers may do now and then but not all the time; each has a counter that halves every second. */
#define HTTP2_FLOODS(X)                                                                       \
    X(RESET, 1000) /* RST_STREAM for streams that were still being served (CVE-2023-44487) */ \
    X(ERROR, 400)  /* frames that break a stream (CVE-2025-8671) */                           \
    X(SETTINGS, 200)                                                                          \
    X(PING, 2000)                                                                             \
    X(EMPTY, 2000) /* DATA, CONTINUATION with next to nothing in them; unknown frames */      \
    X(PRIORITY, 4000)                                                                         \
    X(WINDOW, 8000) /* WINDOW_UPDATE, less two per DATA frame sent */
enum http2_flood {
#define X(name, limit) FLOOD_##name,
    HTTP2_FLOODS(X)
#undef X
        FLOODS
};

struct http2_slot {
    uint32_t id; /* 0: free */
    struct http_leg *leg;
};

enum http2_phase { H2_UNOPENED, H2_WANT_PREFACE, H2_WANT_SETTINGS, H2_RUNNING, H2_FAILED };

struct http2 {
    struct hpack_decoder *decoder; /* made for the first header block; owned */
    struct http2_slot *slots;      /* open addressing; owned */
    uint32_t capacity, count;
    struct http_leg *first, *last; /* legs that have something to send and a window for it, in turn */
    int64_t send_window;           /* the connection's */
    int64_t recv_window;
    uint32_t window, owed;  /* what recv_window is kept up to; bytes not yet given back */
    uint32_t stream_window; /* we announced */
    uint32_t peer_window;   /* the peer announced, for new streams */
    uint32_t last_id;       /* down: highest id the client has opened. Up: highest we have */
    uint32_t goaway_id;     /* down: what our last GOAWAY said; streams above are not looked at */
    uint64_t held;          /* bytes that paused streams have not passed on */
    uint8_t phase;
    bool acked;                    /* the peer has acknowledged our settings */
    bool feeding;                  /* feed() is on the stack: failures take effect at its end */
    bool table_gone, table_told;   /* the peer wants a smaller dynamic table: the next block says that ours is empty */
    bool connect_protocol;         /* RFC 8441: announced by the peer (up), by us (down) */
    bool goaway_seen, goaway_sent; /* ours: the final one */
    bool leaving;                  /* graceful: the first GOAWAY and the PING behind it are sent */
    bool pump;                     /* windows have opened */
    bool block_end;                /* END_STREAM stood on the HEADERS frame of the block at hand */
    bool data_end;                 /* and of the DATA frame at hand */
    uint32_t data_id, data_left, data_pad; /* the DATA frame at hand: payload and padding to come */
    uint32_t block_id;                     /* of a header block in several frames; 0: none */
    uint8_t *block;                        /* owned */
    uint32_t block_len, block_cap;
    uint8_t *end_flags; /* flags byte of the last DATA frame written, to set END_STREAM while it is still queued */
    uint64_t end_pos;   /* where that frame begins in conn->out */
    uint32_t end_id;    /* of which stream */
    uint32_t closed_count;
    uint32_t closed[HTTP2_CLOSED]; /* ring: (id / 2) << 2 | enum http2_past; ids are odd */
    uint16_t flood[FLOODS];
    uint64_t flood_ms;    /* when they were last halved */
    uint64_t deadline_ms; /* for the preface, or the rest of a head; 0: none */
    uint64_t sweep_ms;    /* when bodies and rests are looked at next; 0: there are none */
    uint64_t leave_ms;    /* when the final GOAWAY is sent even if nobody has answered the PING */
    uint64_t settings_ms; /* our settings must be acknowledged by then; 0: they are, or nobody minds */
    uint64_t heard_ms;    /* when bytes came last */
    uint64_t used_ms;     /* when a stream ended last */
    uint64_t alive_ms;    /* when the peer's silence is looked at next; 0: never */
    uint64_t ping_ms;     /* when it was asked whether it is there; 0: not now */
    struct timer later;   /* up: exchanges to fail outside of their own calls */
};

/* A response that waits for its client's window. */
struct http2_rest {
    struct http_leg leg;
    uint64_t active_ms; /* last time some of it left */
};

/* Shared by all HTTP/2 connections of a core. */
struct http2_state {
    struct hpack_arena arena;               /* in `strings`; emptied per block */
    uint8_t strings[HTTP_HEAD_MAX + 65536]; /* decoded strings of the header block at hand */
};
struct http2_state *http2_state(struct core *core); /* made at the first call; NULL: out of memory */

static inline struct http2 *http2(struct conn *c) { return (struct http2 *)c->session; }
static inline struct exchange *http2_exchange(struct http_leg *leg, enum conn_side side) {
    if (leg->flags & LEG_REST) return NULL;
    return side == DOWN ? container_of(leg, struct exchange, leg[DOWN]) : container_of(leg, struct exchange, leg[UP]);
}

/* Not opened yet, by whoever opens streams here. Servers would with even ids: we have refused their pushes. */
static inline bool http2_idle(const struct http2 *s, uint32_t id) { return !(id & 1) || id > s->last_id; }

/* Nothing is missing from what the peer sends on this stream, or nothing but the word that it was all: that may come when the
 * stream is forgotten, and no RST_STREAM must answer for it (clients take that for an error). */
static inline bool http2_received_all(const struct http_leg *leg) {
    return leg->flags & LEG_IN_ENDED || leg->received == leg->announced;
}

/* ---- http2_table.c ---- */

struct http_leg *http2_find(const struct http2 *s, uint32_t id); /* NULL: no open stream */
int http2_add(struct http2 *s, struct http_leg *leg);            /* by leg->id, which is not there; -1: out of memory */
void http2_replace(struct http2 *s, uint32_t id, struct http_leg *leg);
/* What became of a stream that is not open: both sides ended it, we reset it (or late
 * frames are to be expected for another reason), the peer did; or it is so long ago that nobody
 * knows, or it was passed over. */
enum http2_past { PAST_ENDED, PAST_RESET, PAST_GONE, PAST_UNKNOWN, PAST_NEVER };
void http2_remember(struct http2 *s, uint32_t id, enum http2_past how); /* one of the first three */
/* Takes the leg off table and list, frees what it holds; leg->id is 0 afterwards. */
void http2_remove(struct conn *c, struct http_leg *leg, enum http2_past how);
/* `id` is not open and not above last_id. */
enum http2_past http2_past(const struct http2 *s, uint32_t id);

/* ---- http2_send.c ---- */

void http2_control(struct conn *c, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n);
void http2_reset(struct conn *c, uint32_t id, enum http2_error code); /* RST_STREAM */
/* A header block in one HEADERS frame or more. */
void http2_send_block(struct conn *c, uint32_t id, const uint8_t *block, size_t n, bool end);
/* A header block encoded in place: begin gives room for `bound` bytes in the out queue where they fit a frame, else in the core's
 * scratch; end writes what lies up to `behind`. w.at is NULL when there is no room: the stream is lost then. */
struct http2_writer {
    uint8_t *at;
    bool direct;
};
struct http2_writer http2_block_begin(struct conn *c, size_t bound);
void http2_block_end(struct conn *c, struct http2_writer w, const uint8_t *behind, uint32_t id, bool end);
/* The fields of a head or of trailers behind what is at `to`; drops what must not be sent. Room: http2_fields_bound. */
size_t http2_fields_bound(const struct http_field *fields, uint32_t count);
uint8_t *http2_put_fields(uint8_t *to, const struct http_field *fields, uint32_t count);
/* Sends what windows allow, keeps the rest. */
void http2_send_data(struct conn *c, struct http_leg *leg, const uint8_t *p, size_t n);
void http2_send_end(struct conn *c, struct http_leg *leg, struct http_trailers trailers);
/* Everything listed gets its turn, a frame each, while windows and socket take it. */
void http2_pump(struct conn *c);
void http2_enlist(struct http2 *s, struct http_leg *leg);
void http2_delist(struct http2 *s, struct http_leg *leg);
/* n bytes of a stream's DATA have been passed on, or wait with a paused exchange. */
void http2_credit(struct conn *c, struct http_leg *leg, uint32_t n);
void http2_credit_connection(struct conn *c, uint32_t n);
void http2_pause(struct conn *c, struct http_leg *leg);
void http2_resume(struct conn *c, struct http_leg *leg);

/* ---- http2_conn.c ---- */

extern const uint8_t http2_leave_ping[8];
int http2_open(struct conn *c);
void http2_close(struct conn *c);
/* GOAWAY with this code; the connection ends when feed() returns, or at the next safe point. */
void http2_fail(struct conn *c, enum http2_error code);
void http2_goaway(struct conn *c, uint32_t last_id, enum http2_error code);
void http2_goaway_final(struct conn *c); /* down: streams up to the last one seen are served, none beyond */
/* Down: no stream is open any more and none will come: closes. */
void http2_maybe_finish(struct conn *c);
/* Counts; true: too many, the connection has failed. */
bool http2_flooded(struct conn *c, enum http2_flood kind);
/* A stream error; of broken_id on a stream in whatever state. */
void http2_broken(struct conn *c, struct http_leg *leg, enum http2_error code, const char *text);
void http2_broken_id(struct conn *c, uint32_t id, enum http2_error code);
void http2_on_settings(struct conn *c, const struct http2_frame *f, const uint8_t *p);
void http2_on_ping(struct conn *c, const struct http2_frame *f, const uint8_t *p);
void http2_on_window_update(struct conn *c, const struct http2_frame *f, const uint8_t *p);
void http2_on_reset(struct conn *c, const struct http2_frame *f, const uint8_t *p);
void http2_on_priority(struct conn *c, const struct http2_frame *f, const uint8_t *p);

/* ---- http2_alive.c ---- */

/* Our settings are out, and it's the peer's turn: its silence counts from now on. */
void http2_watch(struct conn *c);
/* http2_overdue() comes at `when` or before. */
void http2_look_by(struct conn *c, uint64_t when_ms);
void http2_overdue(struct conn *c);

/* ---- http2_feed.c ---- */

ssize_t http2_feed(struct conn *c, const uint8_t *p, size_t n);
/* Decodes a whole block into the core's fields. 0 or an error of the connection. */
int http2_decode(struct conn *c, const uint8_t *block, size_t n, uint32_t max_bytes, uint32_t max_fields,
                 uint32_t *count, bool *too_large);

/* ---- the sides ---- */

/* A whole header block of stream `id`. `leg`: NULL when the stream is not open. */
void http2_down_block(struct conn *c, uint32_t id, struct http_leg *leg, const uint8_t *block, size_t n, bool end);
void http2_up_block(struct conn *c, uint32_t id, struct http_leg *leg, const uint8_t *block, size_t n, bool end);
/* The peer broke this stream's rules, or gave it up (`code` of its RST_STREAM). The leg's stream is reset in any case. */
void http2_down_broken(struct conn *c, struct http_leg *leg, enum http2_error code, const char *text);
void http2_up_broken(struct conn *c, struct http_leg *leg, enum http2_error code);
void http2_down_gone(struct conn *c, struct http_leg *leg);
void http2_up_gone(struct conn *c, struct http_leg *leg, enum http2_error code);
void http2_up_goaway(struct conn *c, uint32_t last_id);
void http2_up_settings(struct conn *c, bool first);
void http2_up_later(struct timer *t, void *conn);
void http2_down_overdue(struct conn *c);
/* The client has let a time pass; its streams end, and the connection behind its GOAWAY. */
void http2_down_late(struct conn *c, enum http2_error code);
void http2_down_drain(struct conn *c);
void http2_down_eof(struct conn *c);
bool http2_down_busy(const struct conn *c);
extern const struct http_down_side http2_down_side;

#endif
