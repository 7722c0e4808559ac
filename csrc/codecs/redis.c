/* The redis codec: options from the plan, attributes for rules, the life of a connection. See redis.h for the map. */
#include "redis.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what a core's redis connections share ---- */

struct redis_core *redis_core_of(struct core *core) {
    void **slot = &core->shared[SHARED_REDIS];
    if (unlikely(!*slot)) *slot = calloc(1, sizeof(struct redis_core));
    return *slot;
}

static void core_close(void *state) {
    struct redis_core *rc = state;
    for (struct redis_identity *i = rc->identities, *next; i; i = next) next = i->next, free(i);
    resp_out_free(&rc->inline_request);
    resp_out_free(&rc->text);
    free(rc);
}

struct redis_identity *redis_identity_get(struct core *core, struct slice user, struct slice password) {
    struct redis_core *rc = redis_core_of(core);
    struct redis_identity *i;
    if (!rc || user.n > REDIS_NAME_MAX || password.n > 65536) return NULL;
    for (i = rc->identities; i; i = i->next)
        if (slice_eq(i->user, user) && slice_eq(i->password, password)) return i->refs++, i;
    if (!(i = malloc(sizeof *i + user.n + password.n))) return NULL;
    if (user.n) memcpy(i->bytes, user.p, user.n);
    if (password.n) memcpy(i->bytes + user.n, password.p, password.n);
    i->user = slice_of(i->bytes, user.n), i->password = slice_of(i->bytes + user.n, password.n);
    i->id = ++rc->next_identity, i->refs = 1;
    i->next = rc->identities, rc->identities = i;
    return i;
}

void redis_identity_put(struct core *core, struct redis_identity *identity) {
    if (!identity || --identity->refs) return;
    struct redis_identity **at = &redis_core_of(core)->identities;
    while (*at != identity) at = &(*at)->next;
    *at = identity->next;
    explicit_bzero(identity->bytes, identity->user.n + identity->password.n);
    free(identity);
}

struct redis_identity *redis_identity_find(struct core *core, uint32_t id) {
    for (struct redis_identity *i = redis_core_of(core)->identities; i; i = i->next)
        if (i->id == id) return i;
    return NULL;
}

/* ---- options ---- */

static void *section_new(struct mpack v, struct plan *plan, char *err, size_t err_size) {
    struct redis_section *s = calloc(1, sizeof *s);
    struct mpack operations = mpack_get(v, "operations"), base;
    struct slice name;
    if (!s || !(s->table = redis_table_new(mpack_get(v, "commands"), err, err_size))) {
        free(s);
        return NULL;
    }
    for (struct mpack_iter it = mpack_iter(operations); mpack_next_pair(&it, &name, &base);) {
        struct redis_command *cmd = (struct redis_command *)redis_table_find(s->table, name);
        uint32_t slot = (uint32_t)mpack_int(base, 0);
        if (!cmd || !plan_stat(plan, slot, OPERATION_SLOTS)) continue;
        cmd->stats = slot;
        for (uint32_t i = 0; i < cmd->sub_count; i++) cmd->subs[i]->stats = slot;
    }
    return s;
}

static void section_free(void *section) {
    struct redis_section *s = section;
    redis_table_free(s->table);
    free(s);
}

static uint32_t limit(struct mpack map, const char *key, uint32_t dflt) {
    int64_t v = mpack_int(mpack_get(map, key), dflt);
    return v <= 0 ? dflt : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

#define STREAM_ABOVE (128u * 1024) /* longer requests are not collected: they go through on a connection of their own */

static void *listener_new(struct mpack options, struct plan *plan, char *err, size_t err_size) {
    struct redis_listener *l = calloc(1, sizeof *l);
    struct redis_section *section = plan_section(plan, &redis_codec);
    struct mpack users = mpack_get(mpack_get(options, "auth"), "users"), limits = mpack_get(options, "limits"), v;
    uint32_t count = users.type == MP_ARRAY ? users.count : 0;
    if (!section || !l || !(l->users = calloc(count + 1u, sizeof *l->users))) {
        snprintf(err, err_size, section ? "out of memory" : "the plan has no redis command table");
        free(l);
        return NULL;
    }
    for (struct mpack_iter it = mpack_iter(users); mpack_next(&it, &v);)
        l->users[l->user_count++] =
            (struct redis_user){mpack_slice(mpack_get(v, "name")), mpack_slice(mpack_get(v, "password"))};
    l->table = section->table;
    l->limits = resp_limits_default, l->guest = resp_limits_guest;
    l->limits.max_bulk = limit(limits, "bulk", l->limits.max_bulk);
    l->limits.max_args = limit(limits, "args", l->limits.max_args);
    l->limits.max_inline = limit(limits, "inline", l->limits.max_inline);
    l->limits.stream_above = l->guest.stream_above = STREAM_ABOVE;
    l->collect = limit(limits, "collect", 64u << 20);
    l->pipeline = limit(limits, "pipeline", 4096);
    return l;
}

static void listener_free(void *options) {
    struct redis_listener *l = options;
    free(l->users);
    free(l);
}

static void *upstream_new(struct mpack options, struct plan *plan, char *err, size_t err_size) {
    struct redis_upstream *u = calloc(1, sizeof *u);
    (void)plan;
    if (!u) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    u->user = mpack_slice(mpack_get(options, "username")), u->password = mpack_slice(mpack_get(options, "password"));
    u->resp3 = mpack_bool(mpack_get(options, "resp3"), true);
    return u;
}

/* ---- attributes ---- */

/* id, name, type, doc */
#define REDIS_ATTRIBUTES(X)                                                                                 \
    X(command, ATTR_STR, "the command in upper case: GET, CONFIG")                                          \
    X(subcommand, ATTR_STR, "the subcommand in upper case where the command has any: CONFIG GET gives GET") \
    X(key, ATTR_STR, "the first key; of a request split by keys, each key in its turn")                     \
    X(keys, ATTR_STRS, "all keys")                                                                          \
    X(db, ATTR_INT, "number of the selected database")                                                      \
    X(user, ATTR_STR, "authenticated user, or default")                                                     \
    X(argc, ATTR_INT, "arguments, the command's name counted")
enum redis_attribute {
#define X(name, type, doc) REDIS_ATTR_##name,
    REDIS_ATTRIBUTES(X)
#undef X
};
static const struct attr_def attributes[] = {
#define X(name, type, doc) {"redis." #name, type, doc},
    REDIS_ATTRIBUTES(X)
#undef X
};

/* An unknown command's name, upper-cased in a buffer that the next such call reuses. */
static struct slice upper_name(struct slice name) {
    static _Thread_local uint8_t buf[64];
    size_t n = min_size(name.n, sizeof buf);
    for (size_t i = 0; i < n; i++)
        buf[i] = name.p[i] >= 'a' && name.p[i] <= 'z' ? (uint8_t)(name.p[i] - 32) : name.p[i];
    return slice_of(buf, n);
}

static struct slice command_name(const struct redis_request *q) {
    if (!q->cmd) return upper_name(redis_arg(q, 0));
    return q->cmd->parent ? q->cmd->parent->name : q->cmd->name;
}

static bool nth_key(const struct redis_request *q, uint32_t n, struct slice *key) {
    struct redis_keys it;
    redis_keys_begin(&it, q->cmd, q->r, q->p);
    while (redis_keys_next(&it, key))
        if (n-- == 0) return true;
    return false;
}

static struct slice user_name(struct conn *c) {
    struct redis_down *d = redis_down(c);
    return d->user.n ? d->user : SLICE("default");
}

static bool attribute(const struct message *msg, uint32_t index, uint32_t i, struct attr_value *v) {
    const struct redis_request *q = msg->body;
    v->type = ATTR_STR;
    if (likely(index == REDIS_ATTR_key && i == 0 && !q->key.p && q->cmd && q->cmd->first == 1 && !q->cmd->finder &&
               q->r->known > 1))
        return v->s = slice_of(q->p + q->r->arg[1].off, q->r->arg[1].len), true;
    if (i && index != REDIS_ATTR_keys) return false;
    switch ((enum redis_attribute)index) {
    case REDIS_ATTR_command: v->s = command_name(q); return true;
    case REDIS_ATTR_subcommand:
        if (!q->cmd || !q->cmd->parent) return false;
        v->s = q->cmd->name;
        return true;
    case REDIS_ATTR_key:
        if (q->key.p) return v->s = q->key, true;
        return q->cmd && redis_first_key(q->cmd, q->r, q->p, &v->s);
    case REDIS_ATTR_keys: return q->cmd && nth_key(q, i, &v->s);
    case REDIS_ATTR_db: v->type = ATTR_INT, v->i = redis_down(msg->conn)->db; return true;
    case REDIS_ATTR_user: v->s = user_name(msg->conn); return true;
    case REDIS_ATTR_argc: v->type = ATTR_INT, v->i = q->r->argc; return true;
    }
    return false;
}

static struct slice access_word(const struct redis_command *cmd) {
    if (!cmd || cmd->flags & REDIS_WRITE) return SLICE("write"); /* of an unknown command, expect the worst */
    if (cmd->flags & REDIS_ADMIN) return SLICE("admin");
    return cmd->flags & REDIS_READ ? SLICE("read") : SLICE("session");
}

static bool common(const struct message *msg, enum attr_common id, struct attr_value *v) {
    const struct redis_request *q = msg->body;
    v->type = ATTR_STR;
    switch (id) {
    case ATTR_operation: v->s = command_name(q); return true;
    case ATTR_resource: return attribute(msg, REDIS_ATTR_key, 0, v);
    case ATTR_access: v->s = access_word(q->cmd); return true;
    case ATTR_idempotent:
        v->type = ATTR_BOOL, v->b = q->cmd && q->cmd->flags & (REDIS_IDEMPOTENT | REDIS_READ);
        return true;
    case ATTR_request_size: v->type = ATTR_INT, v->i = (int64_t)q->n; return true;
    case ATTR_client_id: return v->s = redis_down(msg->conn)->user, v->s.n != 0;
    default: return false;
    }
}

static enum match match(const uint8_t *p, size_t n) {
    if (n == 0) return MATCH_MORE;
    if (*p == '*') return n == 1 ? MATCH_MORE : (p[1] >= '0' && p[1] <= '9') || p[1] == '-' ? MATCH_YES : MATCH_NO;
    return MATCH_NO;
}

/* ---- connections ---- */

static int open_conn(struct conn *c) {
    if (!redis_core_of(c->core)) return -1;
    if (c->side == UP) return redis_up_open(c);
    struct redis_down *d = redis_down(c);
    d->core = redis_core_of(c->core);
    d->resp = 2, d->born_ms = c->core->now_ms, d->multi_db = UINT32_MAX;
    if (redis_options(c)->user_count) d->special |= SPECIAL_GUEST;
    return 0;
}

static ssize_t feed(struct conn *c, const uint8_t *p, size_t n) {
    return c->side == DOWN ? redis_down_feed(c, p, n) : redis_up_feed(c, p, n);
}

/* FIN from a client: replies under way are still delivered, but nobody waits for a list element or a message any longer. */
static void eof(struct conn *c) {
    if (c->side == UP) conn_close(c, FAIL_UPSTREAM_RESET);
    else if (redis_down(c)->pins || redis_down(c)->body) conn_close(c, FAIL_CLIENT_GONE);
    else conn_finish(c);
}

static void drained(struct conn *c) {
    if (c->side == UP) redis_unpause_clients(c->core);
}

static void close_conn(struct conn *c) {
    if (c->side == UP) {
        queue_clear(&c->core->chunks, &redis_up(c)->frame);
        redis_unpause_clients(c->core);
        return;
    }
    struct redis_down *d = redis_down(c);
    if (d->body && d->body_up) conn_doom(d->body_up, FAIL_CLIENT_GONE); /* half a request is out */
    redis_unpin_all(c);
    redis_identity_put(c->core, d->identity);
    redis_identity_put(c->core, d->login);
    free(d->name);
    free(d->lib_name);
    free(d->lib_version);
    free(d->multi_shapes);
    resp_out_free(&d->lazy);
}

/* Waiting for messages is what a subscriber is for. */
static bool busy(const struct conn *c) { return redis_down((struct conn *)c)->pins != NULL; }

static void reply_failure(struct stream *s, enum failure why, struct slice detail) {
    char text[256];
    struct slice refusal = redis_core_of(s->core)->refusal;
    if (refusal.n) {
        stream_reply(s, refusal.p, refusal.n);
        return;
    }
    if (!detail.n) detail = slice_of(failure_text(why), strlen(failure_text(why)));
    int n = snprintf(text, sizeof text, "-ERR mosnpy: %.*s\r\n", (int)min_size(detail.n, 200), (const char *)detail.p);
    stream_reply(s, (const uint8_t *)text, (size_t)n);
}

const struct codec redis_codec = {
    .name = "redis",
    .mode = POOL_PIPELINE,
    .down_session = sizeof(struct redis_down),
    .up_session = sizeof(struct redis_up),
    .max_stash = 1u << 30, /* redis_down_feed bounds it: stream_above, or the listener's collect limit */
    .attributes = attributes,
    .attribute_count = countof(attributes),
    .attribute = attribute,
    .common = common,
    .match = match,
    .refusal = {(const uint8_t *)"-ERR max number of clients reached\r\n", 36},
    .codec_new = section_new,
    .codec_free = section_free,
    .listener_new = listener_new,
    .listener_free = listener_free,
    .upstream_new = upstream_new,
    .upstream_free = free,
    .open = open_conn,
    .feed = feed,
    .eof = eof,
    .drained = drained,
    .close = close_conn,
    .reply_failure = reply_failure,
    .busy = busy,
    .core_close = core_close,
    .shared = SHARED_REDIS,
    .pin_lost = redis_pin_lost,
};
