/* Answers of the proxy itself: errors for failures, replies and redirects of routes. RFC 9110 §15 for statuses, RFC 9209
 * (Proxy-Status) for the reason, the gRPC HTTP/2 mapping for gRPC calls. */
#include "exchange.h"

#include <stdio.h>
#include <time.h>

#include "grpc_web.h"

static const struct {
    uint16_t status;
    const char *error; /* RFC 9209 §2.3; NULL: none fits */
} table[FAILURE_COUNT] = {
    [FAIL_NO_ROUTE] = {404, "destination_not_found"},
    [FAIL_NO_ENDPOINT] = {503, "destination_unavailable"},
    [FAIL_CONNECT] = {503, "connection_refused"},
    [FAIL_TIMEOUT] = {504, "http_response_timeout"},
    [FAIL_OVERFLOW] = {503, "connection_limit_reached"},
    [FAIL_RATE_LIMITED] = {429, "http_request_denied"},
    [FAIL_DENIED] = {403, "http_request_denied"},
    [FAIL_UPSTREAM_RESET] = {502, "connection_terminated"},
    [FAIL_BAD_REQUEST] = {400, "http_request_error"},
    [FAIL_BAD_REPLY] = {502, "http_protocol_error"},
    [FAIL_DRAINING] = {503, "destination_unavailable"},
    [FAIL_CLIENT_GONE] = {400, NULL},
    [FAIL_SLOW_CLIENT] = {400, NULL},
    [FAIL_INTERNAL] = {500, "proxy_internal_error"},
};

/* IMF-fixdate (RFC 9110 §5.6.7), made once per second. */
static struct slice date_now(struct core *core) {
    struct http_state *state = http_state(core);
    time_t now = time(NULL);
    struct tm tm;
    if ((uint64_t)now != state->date_second && gmtime_r(&now, &tm)) {
        strftime(state->date, sizeof state->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        state->date_second = (uint64_t)now;
    }
    return slice_of(state->date, strlen(state->date));
}

void exchange_reply(struct exchange *x, struct http_head *h, struct slice body) {
    char length[24];
    bool bare = h->status < 200 || h->status == 204 || h->status == 304;
    bool end = body.n == 0 || bare || x->method == HTTP_HEAD;
    h->version = 11, h->keep_alive = true;
    h->body = end ? HTTP_NO_BODY : HTTP_LENGTH, h->length = body.n, h->method = x->method;
    if (!bare) {
        int n = snprintf(length, sizeof length, "%zu", body.n);
        http_add(h, HN_CONTENT_LENGTH, SLICE("content-length"), slice_of(length, (size_t)n));
    }
    http_add(h, HN_DATE, SLICE("date"), date_now(x->core));
    x->down->listener->stat[LISTENER_local_replies]++;
    x->local = true, x->status = h->status;
    x->response = end ? X_DONE : X_BODY;
    x->dv->head(x, h, end);
    if (!end) {
        x->dv->data(x, body.p, body.n);
        x->response = X_DONE;
        x->dv->end(x, (struct http_trailers){NULL, 0});
    }
    exchange_finish(x);
}

/* Trailers-only (gRPC over HTTP/2, "Responses"): the status stands in the one head there is. */
static void reply_grpc(struct exchange *x, uint32_t code, struct slice text) {
    struct http_field fields[8];
    struct http_head h = {.status = 200, .fields = fields, .capacity = countof(fields)};
    char number[12];
    uint8_t message[512];
    int n = snprintf(number, sizeof number, "%u", (unsigned)code);
    struct slice encoded = grpc_message_encode(text, message, sizeof message);
    http_add(&h, HN_CONTENT_TYPE, SLICE("content-type"), x->web ? grpc_web_type(x->web) : SLICE("application/grpc"));
    http_add(&h, HN_GRPC_STATUS, SLICE("grpc-status"), slice_of(number, (size_t)n));
    http_add(&h, HN_GRPC_MESSAGE, SLICE("grpc-message"), encoded);
    if (x->response_edits) http_edit_response(x->response_edits, &h);
    h.version = 11, h.method = x->method, h.keep_alive = true;
    x->down->listener->stat[LISTENER_local_replies]++;
    x->local = true, x->status = 200, x->response = X_DONE;
    x->dv->head(x, &h, true);
    exchange_finish(x);
}

static void reply_text(struct exchange *x, uint16_t status, const char *error, struct slice text) {
    struct http_field fields[40];
    struct http_head h = {.status = status, .fields = fields, .capacity = countof(fields)};
    char body[600], why[80];
    struct slice sentence = text.n ? text : http_reason(status);
    int n = snprintf(body, sizeof body, "%.*s\n", (int)min_size(sentence.n, 512), (const char *)sentence.p);
    http_add(&h, HN_CONTENT_TYPE, SLICE("content-type"), SLICE("text/plain; charset=utf-8"));
    if (error) {
        int k = snprintf(why, sizeof why, "mosnpy; error=%s", error);
        http_add(&h, HN_OTHER, SLICE("proxy-status"), slice_of(why, (size_t)k));
    }
    if (x->response_edits) http_edit_response(x->response_edits, &h);
    exchange_reply(x, &h, slice_of(body, (size_t)n));
}

void exchange_answer(struct exchange *x, uint16_t status, struct slice text) {
    if (x->grpc) reply_grpc(x, grpc_status_of_http(status), text.n ? text : http_reason(status));
    else reply_text(x, status, "http_request_error", text);
}

void exchange_reply_failure(struct exchange *x, enum failure why, struct slice detail) {
    const char *sentence = failure_text(why);
    struct slice text = detail.n ? detail : slice_of(sentence, strlen(sentence));
    if (x->grpc) reply_grpc(x, grpc_status_of_failure(why), text);
    else reply_text(x, table[why].status, table[why].error, text);
}

void http_reply_failure(struct stream *s, enum failure why, struct slice detail) {
    exchange_reply_failure(s->data, why, detail);
}
