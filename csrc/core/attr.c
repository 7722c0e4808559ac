#include "attr.h"

#include <pthread.h>
#include <stdlib.h>

#include "../codec.h"
#include "conn.h"
#include "tls.h"

static const struct attr_def common[] = {
#define X(id, name, type, doc) {name, type, doc},
    COMMON_ATTRIBUTES(X)
#undef X
};

/* --- members of families --- */

/* Append-only and never freed: ids outlive the plan that asked for them, as two plans are alive at once during a
 * reload, and a configuration that comes again finds its ids again. Readers need no lock: an id is given out only after
 * its entry is in place, and travels to the data thread within a plan. */
struct attr_entry {
    const struct attr_def *attributes; /* of the codec, or codecs, whose messages have it */
    uint32_t index;                    /* of the family therein */
    uint32_t next;                     /* with the same hash: position + 1 */
    struct attr_param param;
    uint8_t name[];
};

enum { PARAMS_MAX = 16384, PARAM_NAME_MAX = 1024, PARAM_CHAINS = 4096 };
static struct attr_entry *params[PARAMS_MAX];
static uint32_t param_count, param_chains[PARAM_CHAINS];
static pthread_mutex_t param_lock = PTHREAD_MUTEX_INITIALIZER;

static struct attr_entry *new_entry(const struct codec *codec, uint32_t index, struct slice name) {
    struct attr_entry *e = name.n && name.n <= PARAM_NAME_MAX ? malloc(sizeof *e + name.n) : NULL;
    if (!e) return NULL;
    *e = (struct attr_entry){.attributes = codec->attributes, .index = index, .param.name = {e->name, name.n}};
    memcpy(e->name, name.p, name.n);
    if (!codec->parameter_new || codec->parameter_new(index, e->name, name.n, &e->param.key)) return e;
    free(e);
    return NULL;
}

static bool same_entry(const struct attr_entry *a, const struct attr_entry *b) {
    return a->attributes == b->attributes && a->index == b->index && slice_eq(a->param.name, b->param.name);
}

/* Takes e over. Under param_lock. */
static uint16_t intern(struct attr_entry *e) {
    uint32_t *chain = &param_chains[hash_bytes(e->param.name.p, e->param.name.n) % PARAM_CHAINS], at = *chain;
    while (at && !same_entry(params[at - 1], e)) at = params[at - 1]->next;
    if (at || param_count == PARAMS_MAX) {
        free(e);
        return at ? (uint16_t)(ATTR_PARAM + at - 1) : (uint16_t)ATTR_NONE;
    }
    e->next = *chain;
    params[param_count] = e;
    *chain = ++param_count;
    return (uint16_t)(ATTR_PARAM + param_count - 1);
}

static uint16_t find_parameter(const struct codec *codec, uint32_t index, struct slice name) {
    struct attr_entry *e = new_entry(codec, index, name);
    if (!e) return ATTR_NONE;
    pthread_mutex_lock(&param_lock);
    uint16_t id = intern(e);
    pthread_mutex_unlock(&param_lock);
    return id;
}

bool attr_params_full(void) {
    pthread_mutex_lock(&param_lock);
    bool full = param_count == PARAMS_MAX;
    pthread_mutex_unlock(&param_lock);
    return full;
}

/* --- values --- */

struct slice conn_ip(struct conn *c) {
    const char *text = conn_address(c);
    size_t n = strlen(text);
    const char *colon = memrchr(text, ':', n);
    if (colon) n = (size_t)(colon - text);
    if (n >= 2 && text[0] == '[') text++, n -= 2;
    return slice_of(text, n);
}

/* A protocol may know of clients behind those that connect (HTTP: trusted proxies). */
static bool client_ip(const struct message *msg, struct attr_value *v) {
    const struct codec *codec = msg->conn->codec;
    if (codec->common && codec->common(msg, ATTR_client_ip, v)) return true;
    v->s = conn_ip(msg->conn);
    return true;
}

static bool found(struct slice s, struct attr_value *v) { return v->s = s, s.n != 0; }

/* Whom the protocol knows, else whom TLS knows: the first name in the client's certificate. */
static bool client_id(const struct message *msg, struct attr_value *v) {
    const struct codec *codec = msg->conn->codec;
    if (codec->common && codec->common(msg, ATTR_client_id, v)) return true;
    return tls_san(msg->conn, 0, &v->s);
}

static bool get_common(const struct message *msg, enum attr_common id, uint32_t i, struct attr_value *v) {
    struct conn *c = msg->conn;
    v->type = ATTR_STR;
    if (id == ATTR_tls_san) return tls_san(c, i, &v->s);
    if (i) return false;
    switch (id) {
    case ATTR_protocol: v->s = slice_of(c->codec->name, strlen(c->codec->name)); return true;
    case ATTR_listener: v->s = c->listener->name; return true;
    case ATTR_client_ip: return client_ip(msg, v);
    case ATTR_client_id: return client_id(msg, v);
    case ATTR_tls_sni: return found(tls_sni(c), v);
    case ATTR_tls_subject: return found(tls_subject(c), v);
    case ATTR_tls_version: return found(tls_version(c), v);
    case ATTR_tls_alpn: return found(tls_alpn(c), v);
    default: return c->codec->common && c->codec->common(msg, id, v);
    }
}

static bool get_parameter(const struct message *msg, uint32_t at, uint32_t i, struct attr_value *v) {
    const struct codec *codec = msg->conn->codec;
    const struct attr_entry *e = at < PARAMS_MAX ? params[at] : NULL;
    return e && e->attributes == codec->attributes && codec->parameter &&
           codec->parameter(msg, e->index, &e->param, i, v);
}

bool attr_get(const struct message *msg, uint16_t id, uint32_t i, struct attr_value *v) {
    if (id >= ATTR_PARAM) return get_parameter(msg, id - ATTR_PARAM, i, v);
    if (id >= ATTR_CODEC) return msg->conn->codec->attribute && msg->conn->codec->attribute(msg, id - ATTR_CODEC, i, v);
    return id < ATTR_COMMON_COUNT && get_common(msg, (enum attr_common)id, i, v);
}

/* --- names --- */

/* Is this the name, or the family of it? *member: what stands in the star's place, empty for a plain name. */
static bool named(const char *full, struct slice name, struct slice *member) {
    size_t n = strlen(full);
    *member = (struct slice){0};
    if (n < 2 || memcmp(full + n - 2, ".*", 2) != 0) return name.n == n && memcmp(full, name.p, n) == 0;
    if (name.n < n || memcmp(full, name.p, n - 1) != 0) return false; /* one byte of a name at least */
    *member = slice_of(name.p + n - 1, name.n - (n - 1));
    return true;
}

/* `name` among the codec's attributes; `prefix`: what stands before it there; empty: nothing. */
static uint16_t find_own(const struct codec *codec, const char *prefix, struct slice name, enum attr_type *type) {
    size_t skip = strlen(prefix);
    for (uint32_t i = 0; i < codec->attribute_count; i++) {
        const char *full = codec->attributes[i].name;
        struct slice member;
        if (skip && (strncmp(full, prefix, skip) != 0 || full[skip] != '.')) continue;
        if (!named(skip ? full + skip + 1 : full, name, &member)) continue;
        *type = codec->attributes[i].type;
        return member.n ? find_parameter(codec, i, member) : (uint16_t)(ATTR_CODEC + i);
    }
    return ATTR_NONE;
}

uint16_t attr_find(const struct codec *codec, struct slice name, enum attr_type *type) {
    struct slice none;
    for (uint16_t i = 0; i < ATTR_COMMON_COUNT; i++)
        if (named(common[i].name, name, &none)) return *type = common[i].type, i;
    uint16_t id = find_own(codec, "", name, type);
    return id != ATTR_NONE ? id : find_own(codec, codec->prefix ? codec->prefix : codec->name, name, type);
}

const struct attr_def *attr_common_table(void) { return common; }
