/* For the tests of HTTP's attributes and edits: a connection of a codec that answers them, and requests put together by
 * hand. */
#ifndef MOSNPY_HTTP_MESSAGES_H
#define MOSNPY_HTTP_MESSAGES_H

#include "codecs/http_attr.h"
#include "core/conn.h"

static const struct codec message_codec = {
    .name = "http1",
    .prefix = "http",
    .attributes = http_attributes,
    .attribute_count = HTTP_ATTRIBUTE_COUNT,
    .attribute = http_attribute,
    .parameter = http_parameter,
    .parameter_new = http_parameter_new,
    .common = http_common,
};

enum { REQUEST_FIELDS = 32 };
struct request {
    struct http_field fields[REQUEST_FIELDS];
    struct http_head head;
    struct http_request_view view;
    struct message msg;
    struct http_arena arena;
    uint8_t room[4096];
};

static _Alignas(16) uint8_t request_conn[sizeof(struct conn)];

static inline struct slice request_text(const char *s) { return slice_of(s, strlen(s)); }

/* `target` as in a request line, `authority` with its port. */
static inline void request_begin(struct request *r, const char *method, const char *authority, const char *target) {
    memset(r, 0, sizeof *r);
    ((struct conn *)request_conn)->codec = &message_codec;
    struct slice path = request_text(target), host = request_text(authority);
    const uint8_t *mark = path.n ? memchr(path.p, '?', path.n) : NULL,
                  *colon = host.n ? memrchr(host.p, ':', host.n) : NULL;
    r->head = (struct http_head){.request = true, .version = 11, .fields = r->fields, .capacity = REQUEST_FIELDS};
    r->head.method_text = request_text(method);
    r->head.method = (uint8_t)http_method_find(r->head.method_text.p, r->head.method_text.n);
    r->head.authority = host;
    r->head.path = path;
    r->arena = (struct http_arena){r->room, sizeof r->room, 0};
    r->view = (struct http_request_view){.head = &r->head, .scheme = SLICE("http"), .arena = &r->arena};
    r->view.host = colon && host.p[host.n - 1] != ']' ? slice_of(host.p, (size_t)(colon - host.p)) : host;
    r->view.path = mark ? slice_of(path.p, (size_t)(mark - path.p)) : path;
    if (mark) r->view.query = slice_of(mark + 1, path.n - r->view.path.n - 1);
    r->msg = (struct message){(struct conn *)request_conn, &r->view};
}

static inline void request_field(struct request *r, const char *name, const char *value) {
    struct slice n = request_text(name);
    http_add(&r->head, http_name_find(n.p, n.n), n, request_text(value));
}

#endif
