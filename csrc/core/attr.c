#include "attr.h"

#include "../codec.h"
#include "conn.h"

static const struct attr_def common[] = {
#define X(name, type, doc) {#name, type, doc},
    COMMON_ATTRIBUTES(X)
#undef X
};

static struct slice client_ip(struct conn *c) {
    const char *text = conn_address(c);
    size_t n = strlen(text);
    const char *colon = memrchr(text, ':', n);
    if (colon) n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[') text++, n -= 2;
    return slice_of(text, n);
}

static bool get_common(const struct message *msg, enum attr_common id, struct attr_value *v) {
    v->type = ATTR_STR;
    switch (id) {
    case ATTR_protocol: v->s = slice_of(msg->conn->codec->name, strlen(msg->conn->codec->name)); return true;
    case ATTR_listener: v->s = msg->conn->listener->name; return true;
    case ATTR_client_ip: v->s = client_ip(msg->conn); return true;
    default: return msg->conn->codec->common && msg->conn->codec->common(msg, id, v);
    }
}

bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v) {
    if (id >= ATTR_CODEC) return msg->conn->codec->attribute && msg->conn->codec->attribute(msg, id - ATTR_CODEC, i, v);
    return i == 0 && id < ATTR_COMMON_COUNT && get_common(msg, (enum attr_common)id, v);
}

static bool named(const char *full, const char *prefix, struct slice name) {
    size_t n = strlen(prefix);
    if (n && (strncmp(full, prefix, n) != 0 || full[n] != '.')) return false;
    if (n) full += n + 1;
    return strlen(full) == name.n && memcmp(full, name.p, name.n) == 0;
}

uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type) {
    for (uint16_t i = 0; i < ATTR_COMMON_COUNT; i++)
        if (named(common[i].name, "", name)) return *type = common[i].type, i;
    bool dotted = memchr(name.p, '.', name.n) != NULL;
    for (uint16_t i = 0; i < codec->attribute_count; i++)
        if (named(codec->attributes[i].name, dotted ? "" : codec->name, name))
            return *type = codec->attributes[i].type, (uint16_t)(ATTR_CODEC + i);
    return ATTR_NONE;
}

const struct attr_def *attr_common_table(void) { return common; }
