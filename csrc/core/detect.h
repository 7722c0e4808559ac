/* What a new client speaks: TLS or not, which chain, which of its protocols. */
#ifndef MOSNPY_DETECT_H
#define MOSNPY_DETECT_H

#include "conn.h"

/* Stands in until the protocol is known. Not among codecs[]; its connections have room for any codec's session. */
extern const struct codec detect_codec;

/* The codec a connection of `l` begins with: the only one there is, if its turn comes at once. Else detect_codec: until it is the
 * codec's turn another plan may say another one, and that must find room for its session. */
const struct codec *detect_first(const struct listener *l);
/* The connection may begin (the PROXY header has come, if there is one): TLS first where the chain has it, then the protocol.
 * False: it was closed. */
bool detect_begin(struct conn *c);
/* TLS is done or there is none: the protocol by ALPN (`alpn` may be empty), by being the only one, or from the first bytes.
 * False: it was closed. */
bool detect_protocol(struct conn *c, struct slice alpn);

#endif
