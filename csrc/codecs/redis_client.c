/* CLIENT …: about the proxy's clients (of this worker), not the server's, which are the proxy's own connections. */
#include "redis.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static void ok(struct conn *c) { redis_reply(c, "+OK\r\n", 5); }
static void number(struct conn *c, uint64_t n) { redis_reply_text(c, ":%llu\r\n", (unsigned long long)n); }

static void bulk(struct conn *c, const char *text, size_t n, bool verbatim) {
    struct resp_out *out = &redis_core_of(c->core)->inline_request;
    resp_out_clear(out);
    if (verbatim) resp_out_verbatim(out, "txt", slice_of(text, n), redis_down(c)->resp);
    else resp_out_bulk(out, slice_of(text, n));
    redis_reply(c, out->p, out->n);
}

/* ---- INFO, LIST ---- */

static const char *local_address(struct conn *c, char *buf, size_t size) {
    union address a = {0};
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(c->fd, &a.sa, &len) < 0) return "";
    if (a.sa.sa_family == AF_INET)
        snprintf(buf, size, "%s:%u", inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host), ntohs(a.in.sin_port));
    else if (a.sa.sa_family == AF_INET6)
        snprintf(buf, size, "[%s]:%u", inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host),
                 ntohs(a.in6.sin6_port));
    else snprintf(buf, size, "%s:0", a.un.sun_path);
    return buf;
}

static void subscriptions(struct redis_down *d, uint32_t *sub, uint32_t *psub, uint32_t *ssub, bool *monitor) {
    *sub = *psub = *ssub = 0, *monitor = false;
    for (struct conn *up = d->pins; up; up = redis_up(up)->next_pin) {
        *sub += redis_up(up)->channels, *psub += redis_up(up)->patterns, *ssub += redis_up(up)->shard_channels;
        *monitor |= redis_up(up)->monitor;
    }
}

static void describe(struct conn *c, struct resp_out *out) {
    struct redis_down *d = redis_down(c);
    uint32_t sub, psub, ssub;
    bool monitor;
    char line[1536], laddr[128], last[64] = "NULL";
    uint64_t now = c->core->now_ms;
    subscriptions(d, &sub, &psub, &ssub, &monitor);
    if (d->last && d->last_generation == c->listener->plan->generation)
        for (size_t i = 0; i < d->last->full_name.n && i < sizeof last - 1; i++) {
            uint8_t ch = d->last->full_name.p[i];
            last[i] = ch == ' ' ? '|' : ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : (char)ch, last[i + 1] = 0;
        }
    const char *flags = monitor ? "O" : sub || psub || ssub ? "P" : d->special & SPECIAL_MULTI ? "x" : "N";
    int n = snprintf(line, sizeof line,
                     "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%s db=%u sub=%u psub=%u ssub=%u "
                     "multi=%d qbuf=%u qbuf-free=0 "
                     "argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=%zu tot-mem=%zu events=r cmd=%s user=%.*s "
                     "redir=-1 resp=%d lib-name=%s lib-ver=%s",
                     (unsigned long long)c->id, conn_address(c), local_address(c, laddr, sizeof laddr), c->fd,
                     d->name ? d->name : "", (unsigned long long)(now - d->born_ms) / 1000,
                     (unsigned long long)(now - c->active_ms) / 1000, flags, d->db, sub, psub, ssub,
                     d->special & SPECIAL_MULTI ? (int)d->multi_commands : -1, c->in_end - c->in_start,
                     c->out.bytes + c->held, sizeof *c + sizeof *d + c->in_cap + c->out.bytes + c->held, last,
                     (int)min_size(d->user.n ? d->user.n : 7, 128), d->user.n ? (const char *)d->user.p : "default",
                     d->resp, d->lib_name ? d->lib_name : "", d->lib_version ? d->lib_version : "");
    resp_out_raw(out, line, min_size((size_t)n, sizeof line - 1));
    resp_out_raw(out, "\n", 1);
}

struct selection { /* the filters of LIST and KILL */
    int64_t ids[64];
    uint32_t id_count;
    struct slice addr, laddr, user;
    enum { TYPE_ANY, TYPE_NORMAL, TYPE_PUBSUB, TYPE_NONE } type;
    bool skip_me;
};

static bool selected(struct conn *c, struct conn *me, const struct selection *sel) {
    struct redis_down *d = redis_down(c);
    char laddr[128];
    uint32_t sub, psub, ssub;
    bool monitor, found = sel->id_count == 0;
    if (c->codec != &redis_codec || c->state == CONN_DEAD || c->doom || (sel->skip_me && c == me)) return false;
    for (uint32_t i = 0; i < sel->id_count; i++) found |= sel->ids[i] == (int64_t)c->id;
    if (!found) return false;
    if (sel->addr.p && !slice_eq(sel->addr, slice_of(conn_address(c), strlen(conn_address(c))))) return false;
    if (sel->laddr.p && !slice_eq(sel->laddr, slice_of(local_address(c, laddr, sizeof laddr), strlen(laddr))))
        return false;
    if (sel->user.p && !slice_eq(sel->user, d->user.n ? d->user : SLICE("default"))) return false;
    subscriptions(d, &sub, &psub, &ssub, &monitor);
    bool pubsub = sub || psub || ssub;
    return sel->type == TYPE_ANY || (sel->type == TYPE_PUBSUB ? pubsub : sel->type == TYPE_NORMAL && !pubsub);
}

static bool read_type(struct slice word, struct selection *sel) {
    if (slice_is(word, "NORMAL")) sel->type = TYPE_NORMAL;
    else if (slice_is(word, "PUBSUB")) sel->type = TYPE_PUBSUB;
    else if (slice_is(word, "MASTER") || slice_is(word, "REPLICA") || slice_is(word, "SLAVE"))
        sel->type = TYPE_NONE; /* the proxy has no such clients */
    else return false;
    return true;
}

static enum took unknown_type(struct conn *c, struct slice word) {
    redis_reply_text(c, "-ERR Unknown client type '%.*s'\r\n", (int)min_size(word.n, 128), (const char *)word.p);
    return TOOK;
}
static enum took syntax_error(struct conn *c) {
    redis_reply_text(c, "-ERR syntax error\r\n");
    return TOOK;
}

static enum took client_list(const struct redis_request *q) {
    struct conn *me = q->down;
    struct selection sel = {0};
    if (q->r->argc == 4 && slice_is(redis_arg(q, 2), "TYPE")) {
        if (!read_type(redis_arg(q, 3), &sel)) return unknown_type(me, redis_arg(q, 3));
    } else if (q->r->argc > 3 && slice_is(redis_arg(q, 2), "ID")) {
        for (uint32_t i = 3; i < q->r->argc && sel.id_count < countof(sel.ids); i++)
            if (!resp_int(redis_arg(q, i), &sel.ids[sel.id_count++])) {
                redis_reply_text(me, "-ERR Invalid client ID\r\n");
                return TOOK;
            }
    } else if (q->r->argc != 2) {
        return syntax_error(me);
    }
    struct resp_out text = {0};
    for (struct conn *c = me->core->conns[DOWN]; c; c = c->next)
        if (selected(c, me, &sel)) describe(c, &text);
    bulk(me, (const char *)text.p, text.n, true);
    resp_out_free(&text);
    return TOOK;
}

static enum took client_info(const struct redis_request *q) {
    struct resp_out text = {0};
    describe(q->down, &text);
    bulk(q->down, (const char *)text.p, text.n, true);
    resp_out_free(&text);
    return TOOK;
}

/* ---- KILL ---- */

static uint32_t kill_selected(struct conn *me, const struct selection *sel) {
    uint32_t killed = 0;
    for (struct conn *c = me->core->conns[DOWN], *next; c; c = next) {
        next = c->next;
        if (!selected(c, me, sel)) continue;
        killed++;
        if (c == me) conn_finish(c); /* after the reply */
        else conn_doom(c, FAIL_DENIED);
    }
    return killed;
}

static int kill_filter(const struct redis_request *q, uint32_t i, struct selection *sel) {
    struct slice name = redis_arg(q, i), value = redis_arg(q, i + 1);
    if (slice_is(name, "ID")) {
        if (!resp_int(value, &sel->ids[0]) || sel->ids[0] < 1) {
            redis_reply_text(q->down, "-ERR client-id should be greater than 0\r\n");
            return -1;
        }
        sel->id_count = 1;
    } else if (slice_is(name, "ADDR")) {
        sel->addr = value;
    } else if (slice_is(name, "LADDR")) {
        sel->laddr = value;
    } else if (slice_is(name, "USER")) {
        sel->user = value;
    } else if (slice_is(name, "TYPE")) {
        if (!read_type(value, sel)) return unknown_type(q->down, value), -1;
    } else if (slice_is(name, "SKIPME") && (slice_is(value, "YES") || slice_is(value, "NO"))) {
        sel->skip_me = slice_is(value, "YES");
    } else {
        return syntax_error(q->down), -1;
    }
    return 0;
}

static enum took client_kill(const struct redis_request *q) {
    struct conn *me = q->down;
    struct selection sel = {.skip_me = true};
    if (q->r->argc == 3) { /* the old form: an address, itself included, an error when there is none */
        sel.addr = redis_arg(q, 2), sel.skip_me = false;
        bool found = false;
        for (struct conn *c = me->core->conns[DOWN]; c && !found; c = c->next) found = selected(c, me, &sel);
        if (found) ok(me), kill_selected(me, &sel);
        else redis_reply_text(me, "-ERR No such client\r\n");
        return TOOK;
    }
    if (q->r->argc % 2) return syntax_error(me);
    for (uint32_t i = 2; i + 1 < q->r->argc; i += 2)
        if (kill_filter(q, i, &sel) < 0) return TOOK;
    uint32_t count = 0;
    for (struct conn *c = me->core->conns[DOWN]; c; c = c->next) count += selected(c, me, &sel);
    number(me, count);
    kill_selected(me, &sel);
    return TOOK;
}

/* ---- names, PAUSE, REPLY ---- */

static bool set_text(struct conn *c, char **field, struct slice value, const char *what) {
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '!' || value.p[i] > '~' || value.n > REDIS_NAME_MAX) {
            redis_reply_text(c, "-ERR %s cannot contain spaces, newlines or special characters.\r\n", what);
            return false;
        }
    free(*field);
    *field = value.n ? strndup((const char *)value.p, value.n) : NULL;
    ok(c);
    return true;
}

static enum took client_getname(const struct redis_request *q) {
    const char *name = redis_down(q->down)->name;
    if (name) bulk(q->down, name, strlen(name), false);
    else redis_reply_text(q->down, redis_down(q->down)->resp == 3 ? "_\r\n" : "$-1\r\n");
    return TOOK;
}

static enum took client_setname(const struct redis_request *q) {
    set_text(q->down, &redis_down(q->down)->name, redis_arg(q, 2), "Client names");
    return TOOK;
}

static enum took client_setinfo(const struct redis_request *q) {
    struct redis_down *d = redis_down(q->down);
    struct slice which = redis_arg(q, 2);
    if (slice_is(which, "LIB-NAME")) set_text(q->down, &d->lib_name, redis_arg(q, 3), "lib-name");
    else if (slice_is(which, "LIB-VER")) set_text(q->down, &d->lib_version, redis_arg(q, 3), "lib-ver");
    else
        redis_reply_text(q->down, "-ERR Unrecognized option '%.*s'\r\n", (int)min_size(which.n, 128),
                         (const char *)which.p);
    return TOOK;
}

static enum took client_id(const struct redis_request *q) {
    number(q->down, q->down->id);
    return TOOK;
}

static enum took client_pause(const struct redis_request *q) {
    struct conn *c = q->down;
    struct redis_core *rc = redis_core_of(c->core);
    int64_t ms;
    bool all = true;
    if (!resp_int(redis_arg(q, 2), &ms) || ms < 0) {
        redis_reply_text(c, "-ERR timeout is not an integer or out of range\r\n");
        return TOOK;
    }
    if (q->r->argc == 4) {
        all = slice_is(redis_arg(q, 3), "ALL");
        if (!all && !slice_is(redis_arg(q, 3), "WRITE")) {
            redis_reply_text(c, "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n");
            return TOOK;
        }
    }
    uint64_t until = c->core->now_ms + (uint64_t)ms;
    if (until > rc->pause_until_ms) rc->pause_until_ms = until;
    rc->pause_all = all;
    ok(c);
    return TOOK;
}

static enum took client_unpause(const struct redis_request *q) {
    redis_core_of(q->down->core)->pause_until_ms = 0;
    for (struct conn *c = q->down->core->conns[DOWN]; c; c = c->next)
        if (c->codec == &redis_codec && !c->wait_below && !c->waiting_for) conn_unpause(c, PAUSE_WAIT);
    ok(q->down);
    return TOOK;
}

static enum took client_reply(const struct redis_request *q) {
    struct redis_down *d = redis_down(q->down);
    struct slice mode = redis_arg(q, 2);
    if (slice_is(mode, "ON")) {
        d->special &= ~(uint32_t)(SPECIAL_SILENT | SPECIAL_SKIP);
        ok(q->down);
    } else if (slice_is(mode, "OFF")) {
        d->special |= SPECIAL_SILENT;
    } else if (slice_is(mode, "SKIP")) {
        if (!(d->special & SPECIAL_SILENT)) d->special |= SPECIAL_SKIP;
    } else {
        return syntax_error(q->down);
    }
    return TOOK;
}

static enum took client_unblock(const struct redis_request *q) {
    int64_t id;
    if (!resp_int(redis_arg(q, 2), &id)) {
        redis_reply_text(q->down, "-ERR value is not an integer or out of range\r\n");
        return TOOK;
    }
    bool error = q->r->argc == 4 && slice_is(redis_arg(q, 3), "ERROR");
    if (q->r->argc == 4 && !error && !slice_is(redis_arg(q, 3), "TIMEOUT")) {
        redis_reply_text(q->down, "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n");
        return TOOK;
    }
    for (struct conn *c = q->down->core->conns[DOWN]; c; c = c->next) {
        struct stream *s = (int64_t)c->id == id && c->codec == &redis_codec ? c->head : NULL;
        if (!s || !s->up || !s->up->exclusive || s->deadline_ms != UINT64_MAX || s->started) continue;
        /* the server still waits on the borrowed connection: it is closed with the reply */
        struct conn *up = s->up;
        const char *text = error                      ? "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
                           : redis_down(c)->resp == 3 ? "_\r\n"
                                                      : "*-1\r\n";
        stream_reply(s, (const uint8_t *)text, strlen(text));
        stream_end(s);
        conn_doom(up, FAIL_CLIENT_GONE);
        number(q->down, 1);
        return TOOK;
    }
    number(q->down, 0);
    return TOOK;
}

/* CLIENT TRACKING … REDIRECT names one of the proxy's clients; the server must hear the id of the connection that this one has borrowed
 * (for its subscription to __redis__:invalidate). The request as it is to be sent: in `out`, or as it came. */
struct slice redis_redirect(const struct redis_request *q, const struct endpoint *ep, struct resp_out *out) {
    struct slice whole = slice_of(q->p, q->n), arg;
    int64_t id;
    uint64_t server_id = 0;
    bool tracking = q->cmd && q->cmd->parent && slice_is(q->cmd->full_name, "CLIENT TRACKING");
    uint32_t at = 0;
    for (uint32_t i = 3; tracking && i + 1 < q->r->argc && !at; i++)
        if (slice_is(redis_arg(q, i), "REDIRECT")) at = i + 1;
    if (!at || !resp_int(redis_arg(q, at), &id)) return whole;
    for (struct conn *c = q->down->core->conns[DOWN]; c; c = c->next)
        for (struct conn *up = (int64_t)c->id == id && c->codec == &redis_codec ? redis_down(c)->pins : NULL; up;
             up = redis_up(up)->next_pin)
            if (up->endpoint == ep && (!server_id || redis_pin_listens(up))) server_id = redis_up(up)->server_id;
    if (!server_id) return whole;
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)server_id);
    struct resp_arg_iter it = resp_arg_iter(q->r, q->p);
    resp_out_clear(out);
    resp_out_array(out, q->r->argc);
    for (uint32_t i = 0; resp_arg_next(&it, &arg); i++) resp_out_bulk(out, i == at ? slice_of(text, (size_t)n) : arg);
    return out->failed ? whole : slice_of(out->p, out->n);
}

enum took redis_client_command(const struct redis_request *q) {
    static const struct {
        const char *name;
        enum took (*run)(const struct redis_request *q);
    } table[] = {{"ID", client_id},           {"GETNAME", client_getname}, {"SETNAME", client_setname},
                 {"SETINFO", client_setinfo}, {"INFO", client_info},       {"LIST", client_list},
                 {"KILL", client_kill},       {"PAUSE", client_pause},     {"UNPAUSE", client_unpause},
                 {"REPLY", client_reply},     {"UNBLOCK", client_unblock}};
    if (!redis_arity_fits(q->cmd, q->r->argc)) return PASS;
    for (size_t i = 0; i < countof(table); i++)
        if (slice_is(q->cmd->name, table[i].name)) {
            q->down->listener->stat[LISTENER_local_replies]++;
            return table[i].run(q);
        }
    return PASS;
}
