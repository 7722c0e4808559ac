/* Paths by their segments: "/users/{id}/posts" fits "/users/7/posts".
 *
 * {name} and {name=*} fill a whole segment and take any that is not empty; {name=**} stands at the end and takes the rest,
 * also nothing ("/files/{path=**}" fits all that starts with "/files/"). Names are for people. All else stands for
 * itself. */
#ifndef MOSNPY_SEGMENTS_H
#define MOSNPY_SEGMENTS_H

#include "../core/base.h"

/* Brings `pattern` to the form segments_match takes: written to `to` (room for pattern.n bytes), its length to *n.
 * NULL, or what is wrong with it. */
const char *segments_compile(struct slice pattern, uint8_t *to, size_t *n);
/* Whether the whole of `text` fits; linear in its length. */
bool segments_match(struct slice compiled, struct slice text);
/* Literal bytes every fitting text starts and ends with. */
struct slice segments_head(struct slice compiled);
struct slice segments_tail(struct slice compiled);
/* What a pattern comes down to: SEGMENTS_EXACT has no braces, SEGMENTS_PREFIX only the one at the end; both are their
 * head. */
enum segments_form { SEGMENTS_EXACT, SEGMENTS_PREFIX, SEGMENTS_PATTERN };
enum segments_form segments_form(struct slice compiled);

#endif
