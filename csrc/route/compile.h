/* What the steps of compiling a table share: predicate.c reads, index.c and program.c translate, table.c leads. */
#ifndef MOSNPY_ROUTE_COMPILE_H
#define MOSNPY_ROUTE_COMPILE_H

#include "../core/mpack.h"
#include "arena.h"
#include "lookup.h"
#include "regex.h"

enum {
    ROUTES_MAX = 1 << 20,
    PREDICATES_MAX = 1 << 22, /* predicates and `in` values of a table together: about 300 MB while compiling */
    DEPTH_MAX = 32,           /* predicates within predicates: compiling recurses on them, matching does not */
    TEXT_MAX = 64 * 1024      /* bytes of one string compared with */
};

struct text_set { /* all zero = empty; malloc'd */
    struct slice *at;
    uint32_t count, room; /* room: a power of two */
};

struct compile {
    struct arena *keep;     /* lives as long as the table */
    struct arena scratch;   /* gone when the table is built */
    struct text_set *texts; /* strings compared with: equal ones are stored once, and so are equal tests of them */
    const struct codec *codec;
    struct attr_slots *slots;
    struct regex_pool *regexes;
    uint32_t predicates; /* so far, against PREDICATES_MAX */
    bool uses_resource;  /* some rule reads keys or topics */
    struct slice route;  /* name of the route being compiled, for messages; p == NULL: none */
    uint32_t route_index;
    char *err;
    size_t err_size;
};

/* Writes "route "name": …" to err; false, so that callers can return it. */
bool compile_fail(struct compile *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool compile_no_memory(struct compile *c);
/* The same, about a name attr_find() did not know. */
bool compile_unknown(struct compile *c, struct slice attribute);
/* A copy of `from` that lives as long as the table; the same for the same bytes. */
bool compile_text(struct compile *c, struct slice from, struct slice *to);
void text_set_free(struct text_set *t);
/* For messages: at most 80 bytes of s in quotes, control characters replaced. */
struct quoted {
    char text[96];
};
struct quoted quoted(struct slice s);

/* Slot of the attribute called `name` (a STR), -1 with err when there is none. Notes whether it is a resource. */
int compile_slot(struct compile *c, struct mpack name);

#endif
