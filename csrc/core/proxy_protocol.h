/* The PROXY protocol, versions 1 and 2 (haproxy.org/download/2.6/doc/proxy-protocol.txt): who the client really is. */
#ifndef MOSNPY_PROXY_PROTOCOL_H
#define MOSNPY_PROXY_PROTOCOL_H

#include "base.h"

#include <sys/types.h>

#define PROXY_HEADER_MS 10000u /* for a client to send its header; balancers send it with the first segment */

struct conn;

/* Reads the header a client of such a listener must begin with and takes its source address as the client's.
 * Returns bytes taken (0: more needed), or FEED_CLOSE when there is no valid header. */
ssize_t proxy_protocol_read(struct conn *c, const uint8_t *p, size_t n);
/* Queues a header of `version` on a fresh upstream connection: the owner's address, or "unknown" on shared ones. */
void proxy_protocol_write(struct conn *up, int version);

#endif
