/* Routing: which of a listener's routes takes a message, and where that route sends it.
 *
 * Routes are tried in order, the first whose predicate holds wins. The table is compiled so that the cost does not grow
 * with the number of routes: exact values, prefixes and suffixes of attributes go through tries, where many routes
 * share a value (a host) they are told apart by another attribute (the path) in the same way, and only the candidates
 * these leave (plus routes without an indexable part) have their whole predicate evaluated, in route order. Regular
 * expressions are PCRE2-JIT with match limits. No allocation while matching. Reading order: table.c, predicate.h,
 * index.h, keytrie.h, program.h, lookup.h, action.h. A table is for one thread: matching and splitting keep notes in
 * it.
 *
 * The plan's form (MessagePack, written by mosnpy/config/compile.py):
 *   table  = {"codec": whose attributes its rules name, "routes": [route...]}
 *   route  = {"name": str, "stats": slot, "when": predicate | nil,
 *             "to": upstream index | "split": [[upstream index, weight]...] (+ "sticky": attribute) | "reply": reply
 *                 | "redirect": redirect,
 *             "timeout_ms": int (0 = none), "mirror": {"to": upstream index, "percent": double} | nil,
 *             HTTP only: "rewrite": rewrite | nil, "host": template | nil, "request": edits | nil, "response": edits |
 *             nil}
 *   reply    = {"error": str} | HTTP: {"status": int, "body": str, "headers": [[name, template]...]}
 *   redirect = {"status": 301 | 302 | 303 | 307 | 308, "scheme": str | nil, "host": template | nil, "port": int | nil,
 *               "path": template | nil, "prefix": str | nil with "from": str (what of the path it replaces),
 *               "strip_query": bool}
 *   rewrite  = {"kind": "prefix", "from": str, "to": str} | {"kind": "path", "to": template}
 *            | {"kind": "regex", "from": regex, "to": str with \0 to \9}
 *   edits    = {"remove": [name...], "set": [[name, template]...], "add": [[name, template]...]}, names in lower case
 *   template = str | [str | {"attr": name}...]
 *   predicate = ["and", p...] | ["or", p...] | ["not", p] | ["true"] | ["eq", attr, value] | ["in", attr, [value...]]
 *             | ["prefix", attr, str] | ["suffix", attr, str] | ["contains", attr, str] | ["glob", attr, str] |
 *             ["regex", attr, str]
 *             | ["lt"|"le"|"gt"|"ge", attr, number] | ["exists", attr] | ["segments", attr, str]
 *   value  = str | int | bool
 *   glob: '*' any run (also empty), '?' one byte, '[...]' a set, '\' escapes: as Redis KEYS does it.
 *   segments: a path like "/users/{id}/posts"; {name} or {name=*} stands for one whole segment, not empty; {name=**},
 *   at the end,
 *         for all that follows, also nothing. Names mean nothing here. The rest stands for itself.
 *   regex: searches; bytes, not UTF; $ is the very end. Running into the match limit is "does not match".
 *   A value takes its attribute's type: 7 means "7" to a string, "7" means 7 to an int. See predicate.h.
 * A comparison with an absent attribute is false (so `not` of it is true); on an ATTR_STRS attribute it holds if any
 * value does. */
#ifndef MOSNPY_ROUTE_H
#define MOSNPY_ROUTE_H

#include "../core/attr.h"
#include "../core/mpack.h"

struct upstream;

struct route_http; /* action.h */

enum route_action { ROUTE_TO, ROUTE_SPLIT, ROUTE_REPLY, ROUTE_REDIRECT };

struct route {
    struct slice name;  /* owned by the table */
    uint8_t action;     /* enum route_action */
    bool uses_resource; /* some route of the table reads keys: requests with several must be checked per key */
    uint32_t timeout_ms;
    uint32_t stats;            /* first statistics slot of this route */
    uint32_t index;            /* position in the table */
    struct upstream *to;       /* ROUTE_TO */
    struct slice reply;        /* ROUTE_REPLY: the error text or body, owned by the table */
    struct upstream *mirror;   /* NULL: none */
    uint32_t mirror_ppm;       /* share to mirror, in millionths */
    struct route_split *split; /* ROUTE_SPLIT, see route_upstream */
    struct route_http *http;   /* what is only for HTTP; NULL: none of it */
};

struct route_table;

/* Compiles a table for messages of `codec`. `upstreams` resolves indices. On failure NULL and a sentence in err. */
struct route_table *route_table_new(struct mpack table, const struct codec *codec, struct upstream **upstreams,
                                    uint32_t upstream_count, char *err, size_t err_size);
void route_table_free(struct route_table *t);
uint32_t route_count(const struct route_table *t);
struct route *route_at(struct route_table *t, uint32_t i);
/* The first route whose predicate holds, NULL if none does. */
const struct route *route_find(const struct route_table *t, const struct message *msg);
/* The upstream a TO or SPLIT route sends this message to. Split weights are exact over any run of requests (smooth
 * weighted round robin); with `sticky` the attribute's hash decides, absent attribute = as without. NULL for a REPLY or
 * REDIRECT. */
struct upstream *route_upstream(const struct route *r, const struct message *msg);

#endif
