/* What a route changes in a request and its response, and the responses it gives itself. The route's side of it, read
 * from the plan, is in route/action.h.
 *
 * Templates are filled with the request's attributes as it came, all of them before anything is changed. No value gets
 * a control character into a head: such bytes are left out of fields and escaped in paths.
 *
 * Results: 0, or the status to answer instead: 431 when the arena or the field array is full, 400 when what a client
 * sent would lead a rewritten path elsewhere ("..") or a host is none. */
#ifndef MOSNPY_HTTP_EDIT_H
#define MOSNPY_HTTP_EDIT_H

#include "../route/route.h"
#include "http_attr.h"

/* Rewrites path and host and edits the fields of h, the request r was found for; nothing to do for most routes.
 * h->fields must be the caller's to change; strings lie in the arena, the head itself or the plan. A changed host is
 * put into h->authority and, where there is one, the Host field. */
uint16_t http_edit_request(const struct route *r, const struct message *msg, struct http_head *h,
                           struct http_arena *arena);

/* The response edits of r, filled in for this request, to be kept until the response comes; they refer to the plan r is
 * from. NULL with *failed false: there is nothing to edit. Let go of with http_edit_free. */
struct http_response_edits;
struct http_response_edits *http_edit_render_response(const struct route *r, const struct message *msg, bool *failed);
/* Applies them; no string is copied. 0 or 431 (of the fields' room; the caller answers 502). */
uint16_t http_edit_response(const struct http_response_edits *edits, struct http_head *h);
void http_edit_free(struct http_response_edits *edits); /* may be NULL */

/* The whole answer of a ROUTE_REDIRECT, or of a ROUTE_REPLY that has a status: h gets status and fields (it is
 * otherwise ready: zeroed, with room for fields), *body is borrowed from the plan. Response edits of the route are
 * applied too. Framing (content- length, date) is the caller's. */
uint16_t http_edit_answer(const struct route *r, const struct message *msg, struct http_head *h, struct slice *body,
                          struct http_arena *arena);

#endif
