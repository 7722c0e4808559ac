/* RESP, the wire protocol of Redis: requests in, replies through, replies read and written. RESP2 and RESP3.
 * https://redis.io/docs/latest/develop/reference/protocol-spec/
 *
 * Pure functions over bytes the caller owns: no I/O, no allocation but in `struct resp_out`. Three answers
 * everywhere: got it (> 0), more is needed (0), broken (< 0, sticky). A frame may arrive in any pieces and its
 * memory may move between calls; the parsers keep offsets and counts, never pointers, and look at no byte twice
 * (time is linear in the bytes).
 *
 * Reading order: limits; requests (resp.c, inline commands in resp_inline.c); the reply scanner that forwards
 * without understanding (resp_scan.c); the cursor that walks a complete reply and the writers (resp_write.c). */
#ifndef MOSNPY_RESP_H
#define MOSNPY_RESP_H

#include "../core/base.h"

/* ---- Limits ----
 * Every length read from the wire meets one of these before anything is waited for, skipped or stored by it. */
struct resp_limits {
    /* Requests, which are stored until whole. */
    uint32_t max_bulk;     /* bytes in one argument; Redis: proto-max-bulk-len, 512 MiB */
    uint32_t max_args;     /* arguments in one request; Redis up to 6.2: 1,048,576 (7.0: INT_MAX) */
    uint32_t max_inline;   /* bytes in an inline command, or in the line of a count; Redis: 64 KiB */
    uint32_t guest_args;   /* arguments before authentication; Redis: 10. UINT32_MAX once authenticated */
    uint32_t guest_bulk;   /* bytes in one of those; Redis: 16 KiB. UINT32_MAX once authenticated */
    uint32_t stream_above; /* bytes; a longer request is handed over head first (RESP_HEAD) */
    /* Replies, which pass through without being stored: these only tell a broken upstream from a large reply. */
    uint32_t max_depth; /* nesting, at most RESP_DEPTH; hiredis: 7, later 1,024. COMMAND DOCS nests about 10 deep */
    uint32_t max_count; /* values in one aggregate, at most INT32_MAX; hiredis: 2^32 - 1 */
    uint32_t max_line;  /* bytes in one line (simple string, error, number); 1 MiB */
    uint64_t max_reply; /* bytes in one bulk, at most 2^48; 1 TiB, as DUMP may exceed 512 MiB */
};
#define RESP_DEPTH 128u
extern const struct resp_limits resp_limits_default; /* an authenticated client, or no authentication asked */
extern const struct resp_limits resp_limits_guest;   /* a client that has yet to authenticate */

enum resp_error {
    RESP_OK,
    /* a request that Redis answers with "-ERR Protocol error: …" before it closes (resp_error_reply) */
    RESP_BAD_COUNT,   /* invalid multibulk length */
    RESP_BAD_BULK,    /* invalid bulk length; also a line or a bulk not ended by CRLF, which Redis lets pass */
    RESP_NOT_BULK,    /* expected '$', got 'x' */
    RESP_BIG_COUNT,   /* too big mbulk count string */
    RESP_BIG_LENGTH,  /* too big bulk count string */
    RESP_BIG_INLINE,  /* too big inline request */
    RESP_QUOTES,      /* unbalanced quotes in request */
    RESP_GUEST_COUNT, /* unauthenticated multibulk length */
    RESP_GUEST_BULK,  /* unauthenticated bulk length */
    /* a reply no Redis sends: the upstream is broken */
    RESP_REPLY_TYPE,   /* unknown type byte, or a streamed aggregate or string */
    RESP_REPLY_LENGTH, /* a length that is no number, too large, or negative where null is not allowed */
    RESP_REPLY_LINE,   /* a line over max_line, a malformed one, or a bulk not ended by CRLF */
    RESP_REPLY_DEPTH,  /* nested deeper than max_depth */
    RESP_NO_MEMORY,    /* a resp_out could not grow */
};
/* A few words for logs; for requests Redis' own, behind "Protocol error: ". */
const char *resp_error_text(enum resp_error e);

/* ---- Requests ---- */
#define RESP_ARGS 8 /* arguments whose place is remembered while parsing; the rest is found by resp_arg_next() */

struct resp_arg {
    uint32_t off, len; /* bytes; off counts from the start of the frame */
};

enum resp_form { RESP_MULTIBULK, RESP_INLINE };

/* One request while it arrives. All zero = fresh (resp_request_reset). 96 bytes, freely copyable. */
struct resp_request {
    uint32_t pos;   /* offset up to which all is parsed. RESP_HEAD: where resp_request_rest() goes on */
    uint32_t seen;  /* private: offset up to which the current line was searched for its end; rest: arguments passed */
    uint32_t need;  /* bytes of the frame worth waiting for before the next call (always > the n of the last call) */
    uint32_t argc;  /* arguments announced; 0 = nothing to do (`*0`, `*-1`, an empty line), or an inline command */
    uint32_t known; /* arguments completely in the buffer; == argc once whole */
    uint32_t left;  /* private: bytes of the current bulk (rest: still to come) */
    uint8_t state;  /* private */
    uint8_t error;  /* enum resp_error */
    uint8_t got;    /* RESP_NOT_BULK: the byte that stood where '$' was expected */
    uint8_t form;   /* enum resp_form */
    bool large;     /* RESP_HEAD was returned */
    struct resp_arg arg[RESP_ARGS];
};

static inline void resp_request_reset(struct resp_request *r) { memset(r, 0, offsetof(struct resp_request, arg)); }

/* Looks at p[0..n), the frame's bytes so far (n grows from call to call; p is always the start of the frame).
 *   > 0  the whole request is there and this long. argc == 0: nothing to do, drop the bytes. form == RESP_INLINE:
 *        hand the bytes to resp_inline_encode() and parse what that gives. Otherwise arg[0..min(argc, RESP_ARGS))
 *        lie in p.
 *   0    more is needed: at least up to r->need bytes in all. If r->large: RESP_HEAD, see below
 *   < 0  -enum resp_error; every later call says the same.
 * After a whole request: resp_request_reset() before the next.
 *
 * RESP_HEAD (0 and r->large): the bulk announced next would make the frame exceed lim->stream_above. arg[0..known)
 * are there, the frame is parsed up to r->pos (just before that bulk's "$"). The caller either forwards p[0..pos)
 * and gives everything behind it to resp_request_rest(); or calls again with a greater stream_above to collect the
 * frame after all; or refuses. */
static inline ptrdiff_t resp_request_parse(struct resp_request *r, const uint8_t *p, size_t n,
                                           const struct resp_limits *lim);

/* The remainder of a frame handed over by RESP_HEAD, in pieces, none of them stored: how many of p[0..n) belong to
 * it (all n unless *done), < 0 when broken. The first call starts at frame offset r->pos. Afterwards
 * resp_request_reset(). */
ptrdiff_t resp_request_rest(struct resp_request *r, const uint8_t *p, size_t n, bool *done,
                            const struct resp_limits *lim);

/* What Redis 7.0 answers to this broken request, CRLF included, in buf (RESP_ERROR_REPLY_MAX bytes). Empty if r is
 * not broken. */
#define RESP_ERROR_REPLY_MAX 80
struct slice resp_error_reply(const struct resp_request *r, char *buf);

/* Names with which an HTTP request begins when it is read as inline commands. Redis drops such a client without a
 * word, because a browser was made to talk to it (cross-protocol scripting): "POST" and "Host:", any case. */
bool resp_is_http(struct slice name);

/* Iterates the arguments of a request (of a RESP_HEAD one: those known). p: the frame. */
struct resp_arg_iter {
    const uint8_t *p; /* the next argument's "$" */
    uint32_t i, n;    /* index of the next argument, arguments in all */
};
static inline struct resp_arg_iter resp_arg_iter(const struct resp_request *r, const uint8_t *p);
static inline bool resp_arg_next(struct resp_arg_iter *it, struct slice *arg);
/* Argument i < known. Direct for i < RESP_ARGS, else a walk from there. */
struct slice resp_arg_at(const struct resp_request *r, const uint8_t *p, uint32_t i);
/* The iterator standing before argument i (i <= known). */
struct resp_arg_iter resp_arg_from(const struct resp_request *r, const uint8_t *p, uint32_t i);

/* ---- Replies passing through ---- */
/* One reply while it passes. All zero = fresh; fresh again by itself when a reply ended. */
struct resp_scan {
    uint8_t state; /* private */
    uint8_t error; /* enum resp_error */
    uint8_t type;  /* first byte of the reply; '|' only until the attributes before it have passed. 0 before any byte */
    bool done;     /* the last call ended exactly at the reply's end */
    bool open;     /* bytes of a reply that has not ended have passed */
    uint8_t head;  /* private: type byte of the value being read */
    uint8_t sign;  /* private: a '-' was read in a length */
    uint16_t depth;             /* private: open aggregates */
    uint32_t digits;            /* private: characters of the current line so far */
    uint64_t left;              /* private: length being read, or bytes of the current bulk still to come */
    uint32_t stack[RESP_DEPTH]; /* private: values still to come on each level */
};
static inline void resp_scan_reset(struct resp_scan *s) { memset(s, 0, offsetof(struct resp_scan, stack)); }

/* How many of p[0..n) belong to the current reply (they may be forwarded at once): n, or fewer with s->done.
 * Returns < 0 (-enum resp_error, sticky) when broken; nothing of that call's bytes should be forwarded then. A
 * push ('>') is a reply of its own; inside another (EXEC of a SUBSCRIBE) it is a value like any. */
static inline ptrdiff_t resp_scan(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim);

/* ---- Complete replies: a cursor ---- */
struct resp_value {
    uint8_t type;      /* the type byte: + - : $ * _ , # ! = ( % ~ > | */
    bool null;         /* `_`, `$-1` or `*-1` */
    uint32_t count;    /* aggregates: values that follow (twice the pairs of a map) */
    struct slice text; /* scalars: their bytes, without head and CRLF. `=`: behind "txt:" (format in `raw`) */
    struct slice raw;  /* head and text as they stand in the reply; of an aggregate the head only */
};
/* Reads one head (of a scalar: all of it) and advances *in. false when *in is empty or malformed (*in unchanged). */
bool resp_read(struct slice *in, struct resp_value *v);
/* Advances over one whole value, attributes before it included. false when malformed or cut. Depth costs no stack. */
bool resp_skip(struct slice *in);
/* One whole value, as bytes. */
bool resp_take(struct slice *in, struct slice *value);
/* Strict decimal, as Redis reads lengths and cursors: no '+', no leading zeros, no blanks. */
bool resp_int(struct slice text, int64_t *value);
bool resp_uint(struct slice text, uint64_t *value);
/* The reply is an error (`-` or `!`): its text. */
bool resp_is_error(struct slice reply, struct slice *text);

/* ---- Writing ---- */
/* Bytes being written. All zero = empty. The owner frees with resp_out_free(). When memory is out `failed` sticks
 * and nothing more is appended, so a caller checks once at the end. */
struct resp_out {
    uint8_t *p;
    size_t n, cap;
    bool failed;
};
void resp_out_free(struct resp_out *o);
static inline void resp_out_clear(struct resp_out *o) { o->n = 0, o->failed = false; }
bool resp_out_reserve(struct resp_out *o, size_t more); /* room for `more` bytes behind n */
void resp_out_raw(struct resp_out *o, const void *p, size_t n);
void resp_out_bulk(struct resp_out *o, struct slice s);
void resp_out_status(struct resp_out *o, struct slice s); /* "+…"; CR and LF become blanks */
void resp_out_error(struct resp_out *o, struct slice s);  /* "-…" with s as "ERR text"; CR and LF become blanks */
void resp_out_int(struct resp_out *o, int64_t v);
void resp_out_head(struct resp_out *o, uint8_t type, uint64_t count); /* type byte, number, CRLF */
/* `version` is 2 or 3, the client's: aggregates and values RESP2 lacks are written as Redis writes them to a RESP2
 * client. */
void resp_out_array(struct resp_out *o, uint64_t count);
void resp_out_map(struct resp_out *o, uint64_t pairs, int version);
void resp_out_set(struct resp_out *o, uint64_t count, int version);
void resp_out_push(struct resp_out *o, uint64_t count, int version);
void resp_out_null(struct resp_out *o, int version);       /* `$-1` or `_` */
void resp_out_null_array(struct resp_out *o, int version); /* `*-1` or `_` */
void resp_out_bool(struct resp_out *o, bool v, int version);
void resp_out_double(struct resp_out *o, double v, int version); /* the shortest text that reads back as v */
/* format: three letters, "txt" */
void resp_out_verbatim(struct resp_out *o, const char *format, struct slice s, int version);

/* ---- Inline commands ---- */
/* Splits one inline command (the bytes resp_request_parse() found whole, line end included) by Redis' quoting
 * rules and appends it to `out` as a multibulk. Bytes appended; 0 when the line holds no word; < 0 broken (quotes,
 * memory, too many arguments): r->error is set, out->n is what it was. */
ptrdiff_t resp_inline_encode(struct resp_request *r, struct slice line, struct resp_out *out,
                             const struct resp_limits *lim);

#include "resp_fast.h"
#endif
