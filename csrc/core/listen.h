/* Accepting: sockets that somebody else bound, listens on and keeps open. */
#ifndef MOSNPY_LISTEN_H
#define MOSNPY_LISTEN_H

#include "core.h"

/* Makes the set of acceptors what (id, fd) pairs say: new ones start, missing ones stop and are announced. */
void acceptors_set(struct core *core, const void *id_fd_pairs, uint32_t count);
void acceptor_remove(struct core *core, struct acceptor *a);
void acceptor_stop(struct core *core, struct acceptor *a);
/* For good: takes in who is queued already, then refuses new connections. */
void acceptor_drain(struct core *core, struct acceptor *a);
/* Accepts what waits, at most a batch of it. */
void acceptor_ready(struct acceptor *a);

#endif
