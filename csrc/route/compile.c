#include "compile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool compile_fail(struct compile *c, const char *format, ...) {
    int n = 0;
    if (c->route.p) n = snprintf(c->err, c->err_size, "route %s: ", quoted(c->route).text);
    if (n < 0 || (size_t)n >= c->err_size) return false;
    va_list args;
    va_start(args, format);
    vsnprintf(c->err + n, c->err_size - (size_t)n, format, args);
    va_end(args);
    return false;
}

bool compile_no_memory(struct compile *c) { return compile_fail(c, "out of memory"); }

bool compile_unknown(struct compile *c, struct slice attribute) {
    if (memchr(attribute.p ? attribute.p : (const uint8_t *)"", '.', attribute.n) && attr_params_full())
        return compile_fail(c, "no room for one more name like %s: too many were used since the process began",
                            quoted(attribute).text);
    return compile_fail(c, "unknown attribute %s", quoted(attribute).text);
}

struct quoted quoted(struct slice s) {
    struct quoted q;
    size_t n = 0, take = min_size(s.n, 80);
    /* not in the middle of an UTF-8 character */
    while (take < s.n && take > 77 && (s.p[take] & 0xc0) == 0x80) take--;
    q.text[n++] = '"';
    for (size_t i = 0; i < take; i++) q.text[n++] = s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : (char)s.p[i];
    if (take < s.n) {
        memcpy(q.text + n, "...", 3);
        n += 3;
    }
    q.text[n++] = '"';
    q.text[n] = 0;
    return q;
}

static bool ends_with(struct slice name, const char *last) {
    size_t n = strlen(last);
    if (name.n < n || memcmp(name.p + name.n - n, last, n) != 0) return false;
    return name.n == n || name.p[name.n - n - 1] == '.';
}

int compile_slot(struct compile *c, struct mpack name) {
    struct slice s = mpack_slice(name);
    enum attr_type type = ATTR_STR;
    uint16_t id = s.n ? attr_find(c->codec, s, &type) : ATTR_NONE;
    if (id == ATTR_NONE) {
        compile_unknown(c, s);
        return -1;
    }
    /* "redis.key", or "key" within a listener of redis */
    if (id == ATTR_resource || ends_with(s, "key") || ends_with(s, "keys") || ends_with(s, "topic"))
        c->uses_resource = true;
    struct attr_slots *slots = c->slots;
    for (uint32_t i = 0; i < slots->count; i++)
        if (slots->at[i].id == id) return (int)i;
    if (slots->count == SLOTS_MAX) {
        compile_fail(c, "more than %d different attributes in one table", SLOTS_MAX);
        return -1;
    }
    slots->at[slots->count] = (struct attr_slot){.id = id, .type = (uint8_t)type};
    return (int)slots->count++;
}

/* Where `s` is, or would be: an entry without p is free. */
static struct slice *text_place(const struct text_set *t, struct slice s) {
    uint32_t i = (uint32_t)hash_bytes(s.p, s.n) & (t->room - 1);
    while (t->at[i].p && !slice_eq(t->at[i], s)) i = (i + 1) & (t->room - 1);
    return &t->at[i];
}

static bool text_set_grow(struct text_set *t) {
    struct text_set grown = {.room = t->room ? t->room * 2 : 256, .count = t->count};
    grown.at = calloc(grown.room, sizeof *grown.at);
    if (!grown.at) return false;
    for (uint32_t i = 0; i < t->room; i++)
        if (t->at[i].p) *text_place(&grown, t->at[i]) = t->at[i];
    free(t->at);
    *t = grown;
    return true;
}

bool compile_text(struct compile *c, struct slice from, struct slice *to) {
    struct text_set *t = c->texts;
    if (2 * t->count >= t->room && !text_set_grow(t)) return compile_no_memory(c);
    struct slice *place = text_place(t, from);
    if (!place->p) {
        if (!arena_copy(c->keep, from, place)) return compile_no_memory(c);
        t->count++;
    }
    *to = *place;
    return true;
}

void text_set_free(struct text_set *t) {
    free(t->at);
    *t = (struct text_set){0};
}
