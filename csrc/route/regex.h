/* Regular expressions (PCRE2, compiled to machine code where the platform allows), bounded in time and memory.
 *
 * They search (anchor with ^ and $), over bytes: no UTF mode, '.' is one byte but for newline, $ is the very end.
 * Running into a limit is "does not match": on a deny rule that lets the message pass, so prefer globs there. */
#ifndef MOSNPY_REGEX_H
#define MOSNPY_REGEX_H

#include "arena.h"

struct regex;
struct regex_pool { /* all zero = empty. One per table: what matching needs is allocated once, beforehand */
    struct regex *all;
    void *compiling, *matching, *match_data, *groups, *stack; /* PCRE2's contexts */
};
enum { REGEX_GROUPS = 10 }; /* \0, the whole match, to \9 */

/* NULL and PCRE2's message with the offset in err when the pattern is wrong. */
struct regex *regex_new(struct regex_pool *pool, struct arena *a, struct slice pattern, char *err, size_t err_size);
bool regex_match(const struct regex *r, struct slice text);
/* The first match from byte `from` on, with its groups: those that took no part are empty. False: there is none. */
bool regex_find(const struct regex *r, struct slice text, size_t from, struct slice groups[REGEX_GROUPS]);
uint32_t regex_groups(const struct regex *r); /* in the pattern, the whole not counted */
void regex_pool_free(struct regex_pool *pool);

#endif
