/* What the three files of a connection share: conn.c, conn_read.c, conn_write.c. */
#ifndef MOSNPY_CONN_PARTS_H
#define MOSNPY_CONN_PARTS_H

#include "conn.h"

/* c->out has grown: too much of it? */
void conn_note_full(struct conn *c);
/* The last that a TLS peer hears, as c closes for `why`. */
void conn_part(struct conn *c, enum failure why);
/* The socket is dead: closes c for the reason that is for its side. */
void conn_broken(struct conn *c);

#endif
