/* gRPC-Web (grpc/doc PROTOCOL-WEB.md) for browsers before gRPC servers: the trailers become the last message of the body, and with
 * application/grpc-web-text both bodies are base64. */
#ifndef MOSNPY_GRPC_WEB_H
#define MOSNPY_GRPC_WEB_H

#include "grpc.h"
#include "exchange.h"

/* If `type` (of the content-type field) is gRPC-Web, the bridge begins (x->web) and the head becomes that of a gRPC call.
 * -1: out of memory. */
int grpc_web_begin(struct exchange *x, struct http_head *h, struct slice type);
void grpc_web_free(struct grpc_web *web);
struct slice grpc_web_type(const struct grpc_web *web); /* of its responses */
/* Request bytes, handed over as the server is to get them. x may be over on return. */
void grpc_web_request(struct exchange *x, const uint8_t *p, size_t n);
void grpc_web_response(struct exchange *x, struct http_head *h);
void grpc_web_response_data(struct exchange *x, const uint8_t *p, size_t n);
/* The trailers leave as a message; none are left. */
void grpc_web_response_end(struct exchange *x, struct http_trailers *trailers);

#endif
