/* One HTTP request with its response on the way through the proxy, whatever HTTP version either side speaks.
 *
 *   client --feed--> down side --exchange_request*()--> route, pool --> up side --> upstream
 *   client <-------- down side <--exchange_response*()------------------ up side <--feed-- upstream
 *
 * The two sides (http1_down, http2_down; http1_up, http2_up) know the wire, this file knows the meaning: routing, edits, retries,
 * timeouts, errors, what may be streamed when. Both directions stream; each has its own state and its own back-pressure:
 * a sink that can take no more says exchange_*_full(), the source on the other side is paused until exchange_*_drained().
 *
 * Ownership: exchanges live in the core's HTTP state (http_state). `x->s` is the engine's stream of it, with x as s->data. An
 * exchange ends when its response has been handed over whole, or by any abort; then down->done(x) and the memory is reused: after
 * every call into this file a side must look again whether it still has its exchange. */
#ifndef MOSNPY_EXCHANGE_H
#define MOSNPY_EXCHANGE_H

#include "../core/stream.h"
#include "http.h"
#include "http1_parse.h"
#include "http_attr.h"
#include "http_edit.h"

struct exchange;

struct http_trailers { /* borrowed; fields with drop set are left out */
    struct http_field *fields;
    uint32_t count;
};

/* What an exchange asks of its client's connection. */
struct http_down_side {
    /* A response head: 1xx (status < 200, end false) or the final one. `end`: nothing follows. The side drops h's fields with
     * `drop`, adds framing of its own version. */
    void (*head)(struct exchange *x, struct http_head *h, bool end);
    void (*data)(struct exchange *x, const uint8_t *p, size_t n);
    void (*end)(struct exchange *x, struct http_trailers trailers);
    /* The response can't be finished: the client must see that (RST_STREAM, connection reset). */
    void (*reset)(struct exchange *x, enum failure why);
    /* The request's bytes: hand over no more until resumed. What is handed over all the same is queued. */
    void (*pause)(struct exchange *x);
    void (*resume)(struct exchange *x);
    /* x is over (x->request_done says whether all of the request was seen); forget it. Always the last call, exactly once. */
    void (*done)(struct exchange *x);
};

/* And of the upstream's connection. */
struct http_up_side {
    /* The head as this version sends it, without what depends on the connection (HTTP/2: the header block without frames),
     * so that it can be kept and sent again. Returns bytes written at `to`, 0 when cap is too small. `end`: no body follows. */
    size_t (*encode)(struct exchange *x, struct http_head *h, bool end, uint8_t *to, size_t cap);
    /* x->up (attached, CONN_OPEN) gets the encoded head; `end` as it was encoded. */
    void (*begin)(struct exchange *x, const uint8_t *head, size_t n, bool end);
    void (*data)(struct exchange *x, const uint8_t *p, size_t n);
    void (*end)(struct exchange *x, struct http_trailers trailers);
    /* Nobody wants the response any more, or the exchange goes elsewhere: RST_STREAM, or the connection is doomed. Only after
     * begin(). The stream is detached by the caller afterwards. */
    void (*cancel)(struct exchange *x, enum failure why);
    /* The response is complete and the request was sent whole (`clean`) or not: the connection is free again, or done for. Only
     * after begin(); x->s is detached already, `up` is its connection. */
    void (*release)(struct exchange *x, struct conn *up, bool clean);
    void (*pause)(struct exchange *x); /* response bytes: as with the down side */
    void (*resume)(struct exchange *x);
};

/* What a side of HTTP/2 keeps per stream; HTTP/1 sides use `flags` only. */
struct http_leg {
    uint32_t id;                  /* HTTP/2 stream id */
    int32_t send_window;          /* what the peer lets us send on this stream */
    int32_t recv_window;          /* what we let the peer send */
    uint32_t owed;                /* bytes received and passed on, not yet given back by WINDOW_UPDATE */
    uint64_t announced;           /* content-length of what the peer sends, UINT64_MAX: none */
    uint64_t received;            /* of it */
    struct queue waiting;         /* DATA payload that waits for windows */
    struct http_leg *next, *prev; /* on the connection's list of legs with something to send */
    struct http_field *trailers;  /* unused by HTTP/1 */
    uint8_t *tail;                /* encoded trailers that wait behind `waiting`; owned (free()) */
    uint32_t tail_len;
    uint16_t flags; /* the side's own */
    bool listed, end_waiting, paused;
};

#define EXCHANGE_SMALL 512u /* most heads fit: no allocation for keeping them */

enum exchange_progress {          /* of each direction */
                         X_HEAD,  /* head not seen yet */
                         X_BODY,  /* head handed over */
                         X_DONE,  /* end handed over */
                         X_TUNNEL /* upgraded or CONNECT: bytes until either side closes */
};

struct exchange {
    struct stream *s;
    struct core *core;
    struct conn *down, *up; /* down NULL: the client has gone. up NULL: not sent yet, or over */
    const struct http_down_side *dv;
    const struct http_up_side *uv;      /* NULL until routed */
    const struct http_options *options; /* of the listener (plan kept alive by s) */
    uint8_t request, response;          /* enum exchange_progress */
    uint8_t method;                     /* enum http_method */
    uint8_t version;                    /* of the request: 10, 11, 20 */
    bool request_done;                  /* the client has sent everything */
    bool begun;                         /* up side has the head */
    bool fresh;                         /* up had carried no other request before this one */
    bool replayable;                    /* asking twice is asking once */
    bool body_left;                     /* body bytes were handed to the up side: no retry */
    bool request_paused, response_paused;
    bool want_continue;     /* the client waits for 100 before its body */
    bool te_trailers;       /* the client understands trailers */
    bool upgrade;           /* asked for with Upgrade (or extended CONNECT) */
    bool withheld;          /* bytes of a tunnel that the server has not agreed to yet stay in `early` */
    bool grpc;              /* content-type: application/grpc */
    bool local;             /* answered by the proxy */
    uint16_t status;        /* of the final response; 0: none yet */
    struct http_leg leg[2]; /* DOWN, UP */
    uint8_t *kept;          /* encoded head, for waiting or a retry: `small`, or owned (free()) */
    uint32_t kept_len;
    struct queue early;                         /* body bytes from before the up side was ready */
    bool kept_end;                              /* the head was encoded as that of a request without body */
    struct http_trailers late;                  /* trailers from before the up side was ready; owned (one block) */
    struct http_response_edits *response_edits; /* rendered at request time, NULL: none; owned */
    uint64_t request_bytes, response_bytes;     /* of bodies */
    uint64_t body_start_ms, active_ms;
    uint64_t head_deadline_ms;           /* for the response's head, once the request is complete */
    uint64_t hard_deadline_ms;           /* for all of it (grpc-timeout); UINT64_MAX: none */
    struct exchange *mirror, *mirror_of; /* a copy of this one, or what this one is a copy of */
    struct grpc_web *web;                /* the gRPC-Web bridge at work; owned */
    uint8_t small[EXCHANGE_SMALL];       /* not zeroed */
};

/* ---- for down sides ---- */

/* A new exchange of this client; NULL: out of memory. */
struct exchange *exchange_new(struct conn *down, const struct http_down_side *side);
/* The request's head (borrowed); `end`: without body. Routes and sends it, or answers. x may be over on return. */
void exchange_request(struct exchange *x, struct http_head *h, bool end);
void exchange_request_data(struct exchange *x, const uint8_t *p, size_t n);
void exchange_request_end(struct exchange *x, struct http_trailers trailers);
/* The client gave this request up (RST_STREAM, its connection's end is told by the engine through orphan). */
void exchange_client_gone(struct exchange *x);
/* The request broke its own rules after the head (bad chunk, too long a body): `status` is answered if nothing was yet, else the
 * response is reset. */
void exchange_bad_request(struct exchange *x, uint16_t status, const char *text);
/* An answer without an exchange that reached routing: malformed heads. The side has made x by exchange_new. */
void exchange_answer(struct exchange *x, uint16_t status, struct slice text);
/* The client takes no more of the response for now / takes again. */
void exchange_response_full(struct exchange *x);
void exchange_response_drained(struct exchange *x);

/* ---- for up sides ---- */

void exchange_response(struct exchange *x, struct http_head *h, bool end);
void exchange_response_data(struct exchange *x, const uint8_t *p, size_t n);
void exchange_response_end(struct exchange *x, struct http_trailers trailers);
/* This exchange failed on its upstream (RST_STREAM, broken reply). `unseen`: the server says it did nothing with it
 * (REFUSED_STREAM, GOAWAY below its id): sent again whatever its method. x->s must still be attached to x->up. */
void exchange_upstream_failed(struct exchange *x, enum failure why, bool unseen);
void exchange_request_full(struct exchange *x);
void exchange_request_drained(struct exchange *x);

/* ---- options, shared state ---- */

struct http2_times { /* ms; 0: no limit, no keepalive */
    uint32_t settings, keepalive, keepalive_timeout;
};
struct http_options { /* of a listener */
    uint32_t head_timeout_ms, body_timeout_ms, stream_idle_ms;
    struct http1_limits limits;
    uint64_t max_body; /* 0: no limit */
    bool normalize, merge_slashes;
    uint8_t escaped_slashes; /* 0 keep, 1 reject, 2 decode */
    enum { XFF_OFF, XFF_KEEP, XFF_APPEND, XFF_SET } x_forwarded;
    bool forwarded;
    struct slice via;
    uint32_t trusted_hops;
    enum { ID_OFF, ID_KEEP, ID_ALWAYS } request_id;
    bool upgrade, grpc_web;
    uint32_t max_streams, stream_window, connection_window, header_table; /* HTTP/2 */
    struct http2_times times;
};
struct http_upstream { /* options of an upstream */
    uint32_t stream_idle_ms;
    bool pipeline;
    struct http1_limits limits;
    uint32_t stream_window, connection_window, header_table;
    struct http2_times times;
};
static inline const struct http_options *http_options(const struct conn *down) { return down->service->options; }
static inline const struct http_upstream *http_upstream(const struct conn *up) {
    return up->endpoint->upstream ? up->endpoint->upstream->options : NULL;
}

/* Scratch of all HTTP connections of one core: a head is parsed, edited and encoded within one call of feed(). */
#define HTTP_ARENA (2 * HTTP_HEAD_MAX + 65536) /* a whole head decoded, another edited; touched as far as needed */
struct http_state {
    struct slab exchanges;
    struct http_field fields[HTTP_FIELDS_MAX + 64];
    struct http_arena arena; /* edited strings of the head at hand, in `strings`; emptied per head */
    uint8_t strings[HTTP_ARENA];
    uint8_t encoded[HTTP_HEAD_MAX + 65536]; /* the head at hand in its new form */
    uint64_t date_second;
    char date[32]; /* IMF-fixdate of that second */
};
struct http_state *http_state(struct core *core); /* made at the first call; NULL: out of memory */

void *http_listener_new(struct mpack options, struct plan *plan, char *err, size_t err_size);
void *http_upstream_new(struct mpack options, struct plan *plan, char *err, size_t err_size);
void http_options_free(void *options);
uint32_t http_head_timeout_ms(const void *listener_options);
void http_core_close(void *state);
bool http_common_of_conn(const struct message *msg, enum attr_common id, struct attr_value *v);
void http_reply_failure(struct stream *s, enum failure why, struct slice detail);

extern const struct http_up_side http1_up_side, http2_up_side;
extern const struct codec http1_codec, http2_codec;

/* ---- between exchange*.c and http_request.c ---- */

/* Chooses a connection for x (routed, x->s->upstream set) and sends the head, or keeps it until one is there. FAIL_NONE, or why not. */
enum failure exchange_connect(struct exchange *x, struct http_head *h, bool end);
/* Chooses again (x detached from `lost`, its connection so far), if that can't do twice what was asked once. */
bool exchange_retry(struct exchange *x, struct conn *lost, enum failure why, bool unseen);
/* The body so far, with `more` bytes behind it, is kept for that (x->early). */
bool exchange_keeps_body(const struct exchange *x, size_t more);
void exchange_ready(struct stream *s);                     /* stream_ops.ready */
void exchange_turn(struct stream *s, struct endpoint *ep); /* stream_ops.turn */
/* An exchange without client, with the options and the core of `like` (http_mirror.c). NULL: out of memory. */
struct exchange *exchange_new_detached(const struct exchange *like, const struct http_down_side *side);
/* Body bytes in the form in which the upstream gets them. False: x is over. */
bool exchange_hand_over(struct exchange *x, const uint8_t *p, size_t n);
/* Body bytes that were kept until now go to the up side. */
void exchange_send_early(struct exchange *x);
/* Ends x without a word to its client. */
void exchange_drop(struct exchange *x);
void http_mirror_begin(struct exchange *x, const struct route *route, struct http_head *h, bool end);
void http_mirror_data(struct exchange *x, const uint8_t *p, size_t n);
void http_mirror_end(struct exchange *x, struct http_trailers trailers);
void http_mirror_leave(struct exchange *x);
#define EXCHANGE_ATTEMPTS_MAX 8u /* connections tried for one request, those found stale included */
extern const struct stream_ops exchange_ops;
/* The response of the proxy itself: h has status and fields, framing is added. x is over on return. */
void exchange_reply(struct exchange *x, struct http_head *h, struct slice body);
void exchange_reply_failure(struct exchange *x, enum failure why, struct slice detail);
/* x is over: both sides let go, memory is reused. The request may be incomplete. */
void exchange_finish(struct exchange *x);
/* The fields the proxy adds and takes away: X-Forwarded-*, Forwarded, Via, the request id. 0, or a status to answer instead. */
uint16_t http_request_fields(struct exchange *x, const struct http_request_view *view, struct http_head *h);
/* Adds the proxy's Via to a response. */
void http_response_via(struct exchange *x, struct http_head *h);
void exchange_set_deadline(struct exchange *x, uint64_t when_ms);

#endif
