/* gRPC over HTTP/2: the few texts and numbers of it a proxy must understand. Source: grpc/doc PROTOCOL-HTTP2.md,
 * statuscodes.md, http-grpc-status-mapping.md. */
#ifndef MOSNPY_GRPC_H
#define MOSNPY_GRPC_H

#include "../core/base.h"

enum grpc_code {
    GRPC_OK,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED
};

/* Value of grpc-timeout in microseconds; -1 when malformed. At most 8 digits and a unit, so it can't overflow. */
int64_t grpc_timeout_us(struct slice value);
/* Value of grpc-message for `text`: percent-encoded into `to`, cut when cap is reached (never in the middle of an escape). */
struct slice grpc_message_encode(struct slice text, uint8_t *to, size_t cap);
uint32_t grpc_status_of_http(uint16_t status);
uint32_t grpc_status_of_failure(enum failure why);
/* enum stream_status (core/stream.h) of a grpc-status value, for metrics: codes that blame the server are SERVER_ERROR. */
uint8_t grpc_stream_status(struct slice value);

/* Base64 (RFC 4648 §4) over a stream. Zero it at the start. */
struct base64 {
    uint32_t bits;
    uint8_t count; /* encode: bytes kept (0-2); decode: characters of the group at hand (0-3), padding included */
    uint8_t padding;
};
/* Encodes what makes whole groups; `to` has room for base64_bound(n). Returns bytes written. */
static inline size_t base64_bound(size_t n) { return (n + 2) / 3 * 4 + 4; }
size_t base64_encode(struct base64 *b, const uint8_t *p, size_t n, uint8_t *to);
size_t base64_finish(struct base64 *b, uint8_t *to); /* the last group with its padding; the state is fresh again */
/* Decodes; groups may end with padding anywhere (concatenated messages). `to` has room for n bytes. -1: no base64. */
int64_t base64_decode(struct base64 *b, const uint8_t *p, size_t n, uint8_t *to);

#endif
