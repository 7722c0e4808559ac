/* What an HTTP route does beside picking an upstream, as read from the plan: rewrites, field edits, redirects, replies
 * of its own. Only the reading is here; codecs/http_edit.c applies it. Everything lives as long as the table. */
#ifndef MOSNPY_ROUTE_ACTION_H
#define MOSNPY_ROUTE_ACTION_H

#include "../core/attr.h"

struct compile;
struct mpack;
struct regex;
struct route;

enum { EDITS_MAX = 64, TEMPLATE_PARTS_MAX = 32 }; /* names of one list of edits; parts of a template */

/* Text with attributes in it: "%client_ip%, %http.host%". */
struct template_part {
    uint16_t attribute; /* id; ATTR_NONE: `text` as it is */
    struct slice text;
};
struct template {
    uint32_t count; /* of parts; a literal has at most one */
    bool literal;   /* no attributes in it */
    const struct template_part *parts;
};
static inline struct slice template_text(const struct template *t) { /* of a literal */
    return t->count ? t->parts[0].text : (struct slice){0};
}

struct edit_name {
    struct slice text; /* lower case */
    uint8_t id;        /* enum http_name */
};
struct edit_field {
    struct edit_name name;
    struct template value;
};
/* Edits with their values filled in for one request. */
struct http_response_edits {
    const struct route_edits *edits;
    bool owned;                 /* malloc'd, with `values` in the same block */
    const struct slice *values; /* of set, then of add; NULL: they are literal */
};
struct route_edits { /* in the order they apply */
    const struct edit_name *remove;
    const struct edit_field *set, *add; /* set: in place of all fields of the name; add: behind them */
    uint32_t remove_count, set_count, add_count;
    bool literal;                      /* no attributes in any value */
    struct http_response_edits filled; /* of literal ones: nothing needs to be filled in */
};

enum rewrite_kind { REWRITE_NONE, REWRITE_PREFIX, REWRITE_PATH, REWRITE_REGEX };
struct route_rewrite { /* of the path; the query stays unless the new path has one */
    uint8_t kind;
    struct slice from;         /* PREFIX: a path that does not start with it stays as it is */
    struct slice to;           /* PREFIX, REGEX (with \0 to \9) */
    struct template path;      /* PATH */
    const struct regex *regex; /* REGEX: every match in the path is replaced */
};

struct route_redirect {
    uint16_t status; /* 301 302 303 307 308 */
    uint16_t port;   /* 0: that of the request, or the scheme's own where scheme or host change */
    bool strip_query, has_path;
    struct slice scheme; /* empty: as asked for */
    struct template host;
    struct template path;      /* where has_path */
    struct slice prefix, from; /* else from -> prefix, where there is a from */
};

struct route_http {
    struct route_rewrite rewrite;
    struct template host;                   /* count 0: as asked for */
    struct route_edits *request, *response; /* NULL: none */
    struct route_redirect *redirect;
    uint16_t status; /* of a ROUTE_REPLY; 0: the codec's own way to say route->reply, an error */
    const struct edit_field *fields;
    uint32_t field_count;
};

/* Reads "rewrite", "host", "request", "response" and "redirect" of a route; r->http stays NULL when it has none. False:
 * err set. */
bool action_read(struct compile *c, struct route *r, struct mpack route);
/* Reads "reply". */
bool action_read_reply(struct compile *c, struct route *r, struct mpack reply);

#endif
