#include "host.h"

#include <stdio.h>
#include <stdlib.h>

#include "plan.h"

/* ---- mail ---- */

static struct mail *new_mail(int kind) {
    struct mail *m = calloc(1, sizeof *m);
    if (m) m->kind = kind;
    return m;
}

int host_post_plan(struct core *core, const uint8_t *doc, size_t n, const uint32_t *ids, const int *fds, uint32_t count,
                   char *err, size_t err_size) {
    struct mail *m = new_mail(MAIL_PLAN);
    struct plan *plan = plan_new(doc, n, core->stats, err, err_size);
    if (m && plan) m->listeners = calloc(count + 1u, sizeof *m->listeners);
    if (!m || !plan || !m->listeners) {
        plan_free(plan);
        free(m);
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) m->listeners[i].id = ids[i], m->listeners[i].fd = fds[i];
    m->plan = plan, m->listener_count = count;
    core_post(core, m);
    return 0;
}

int host_check_plan(const uint8_t *doc, size_t n, char *err, size_t err_size) {
    struct plan *plan = plan_new(doc, n, (struct stats){NULL, 0}, err, err_size);
    plan_free(plan);
    return plan ? 0 : -1;
}

int host_post_drain(struct core *core, uint32_t timeout_ms) {
    struct mail *m = new_mail(MAIL_DRAIN);
    if (!m) return -1;
    m->timeout_ms = timeout_ms;
    core_post(core, m);
    return 0;
}

int host_post_stop(struct core *core) {
    struct mail *m = new_mail(MAIL_STOP);
    if (!m) return -1;
    core_post(core, m);
    return 0;
}

int host_take_event(struct core *core, int *kind, uint64_t *value, char *text, size_t size) {
    struct core_event *e = core_take_event(core);
    if (!e) return 0;
    *kind = e->kind, *value = e->value;
    snprintf(text, size, "%s", e->text);
    free(e);
    return 1;
}

void host_set_first_id(struct core *core, uint64_t base) { core->next_id = base; }
void host_set_inline(struct core *core, bool on) { core->inline_host = on; }

void host_counts(const struct core *core, struct host_counts *out) {
    *out = (struct host_counts){core->conn_count[0], core->conn_count[1], core->streams.live,
                                core->chunks.live,   core->wheel.armed,   0};
    for (const struct endpoint *ep = core->endpoints; ep; ep = ep->next) out->endpoints++;
}

/* ---- names ---- */

struct stat_row {
    const char *name, *kind, *help;
};
#define X(name, kind, help) {#name, #kind, help},
static const struct stat_row worker_rows[] = {WORKER_STATS(X)}, listener_rows[] = {LISTENER_STATS(X)},
                             upstream_rows[] = {UPSTREAM_STATS(X)}, endpoint_rows[] = {ENDPOINT_STATS(X)},
                             route_rows[] = {ROUTE_STATS(X)}, operation_rows[] = {OPERATION_STATS(X)};
#undef X
#define X(name, flag, text) {#name, flag, text},
static const struct stat_row failure_rows[] = {FAILURES(X)};
#undef X

static const struct {
    const char *list;
    const struct stat_row *rows;
    uint32_t count, block;
} lists[] = {
    {"worker", worker_rows, countof(worker_rows), WORKER_STAT_COUNT},
    {"listener", listener_rows, countof(listener_rows), LISTENER_SLOTS},
    {"upstream", upstream_rows, countof(upstream_rows), UPSTREAM_SLOTS},
    {"endpoint", endpoint_rows, countof(endpoint_rows), ENDPOINT_SLOTS},
    {"route", route_rows, countof(route_rows), ROUTE_SLOTS},
    {"operation", operation_rows, countof(operation_rows), OPERATION_SLOTS},
    {"failure", failure_rows, countof(failure_rows), FAILURE_COUNT},
};

bool host_stat_name(const char *list, uint32_t i, const char **name, const char **kind, const char **help) {
    for (size_t k = 0; k < countof(lists); k++) {
        if (strcmp(lists[k].list, list) != 0) continue;
        if (i >= lists[k].count) return false;
        *name = lists[k].rows[i].name, *kind = lists[k].rows[i].kind, *help = lists[k].rows[i].help;
        return true;
    }
    return false;
}

uint32_t host_block_size(const char *list) {
    for (size_t k = 0; k < countof(lists); k++)
        if (strcmp(lists[k].list, list) == 0) return lists[k].block;
    return 0;
}

uint32_t host_latency_bound(uint32_t i) { return i < countof(stat_latency_bounds) ? stat_latency_bounds[i] : 0; }

const char *host_codec_name(uint32_t k) {
    for (uint32_t i = 0; codecs[i]; i++)
        if (i == k) return codecs[i]->name;
    return NULL;
}

bool host_attribute(int k, uint32_t i, const char **name, const char **type, const char **doc) {
    static const char *const types[] = {"str", "int", "bool", "strs"};
    const struct attr_def *table = k < 0 ? attr_common_table() : codecs[k]->attributes;
    uint32_t count = k < 0 ? ATTR_COMMON_COUNT : codecs[k]->attribute_count;
    if (i >= count) return false;
    *name = table[i].name, *type = types[table[i].type], *doc = table[i].doc;
    return true;
}
