/* RESP2 replies become what Redis would have said in RESP3.
 *
 * A pattern says what a value is, read left to right:
 *   *  as it is, nulls as `_`     d  double     b  boolean     v  verbatim text
 *   A p     array of p
 *   E p     array of p, an empty one a set: so Redis tells of subcommands
 *   S p     set of p
 *   M p     flat pairs -> map with values p
 *   P p     flat pairs -> array of [any, p]
 *   N p     array of [any, p] -> map
 *   T p q . array with elements p, q (further ones as they are)
 *   g       array whose last element is [x, y], two doubles; any other value as it is
 *   M{key=p,prefix.*=q}   map whose values of these keys are p and q, the others as they are
 * A value that isn't of the form its pattern expects stays as it is. Patterns are this file's own and nest at most
 * a few deep; replies nest as they like and are walked without recursion wherever no pattern applies. */
#include "redis_shape.h"

#include <stdlib.h>

static const struct {
    const char *word, *pattern;
} shapes[REDIS_SHAPE_COUNT] = {
#define X(name, word, pattern) {word, pattern},
    REDIS_SHAPES(X)
#undef X
};

/* ---- which shape ---- */

static int shape_named(struct slice word) {
    for (int i = 0; i < REDIS_SHAPE_COUNT; i++)
        if (slice_eq(word, slice_of(shapes[i].word, strlen(shapes[i].word)))) return i;
    return -1;
}

static struct slice until(struct slice *text, uint8_t stop) {
    const uint8_t *at = text->n ? memchr(text->p, stop, text->n) : NULL;
    struct slice part = slice_of(text->p, at ? (size_t)(at - text->p) : text->n);
    size_t used = part.n + (at ? 1 : 0);
    text->p += used, text->n -= used;
    return part;
}

static bool parse_rule(struct slice text, struct redis_shape_rule *rule) {
    uint64_t args;
    bool conditional = true;
    *rule = (struct redis_shape_rule){0};
    if (text.n > 4 && memcmp(text.p, "opt:", 4) == 0) {
        text.p += 4, text.n -= 4;
        struct slice word = until(&text, ':');
        if (word.n == 0 || word.n > sizeof rule->word) return false;
        memcpy(rule->word, word.p, word.n);
        rule->word_size = (uint8_t)word.n;
    } else if (text.n > 5 && memcmp(text.p, "args:", 5) == 0) {
        text.p += 5, text.n -= 5;
        if (!resp_uint(until(&text, ':'), &args) || args > UINT8_MAX) return false;
        rule->min_args = (uint8_t)args;
    } else {
        conditional = false;
    }
    if (conditional && !text.n) return false;
    int shape = shape_named(text);
    rule->shape = (uint16_t)shape;
    return shape >= 0;
}

bool redis_shape_parse(struct slice column, struct redis_command *cmd) {
    while (column.n) {
        if (cmd->shape_count == countof(cmd->shapes) ||
            !parse_rule(until(&column, '|'), &cmd->shapes[cmd->shape_count++]))
            return false;
    }
    return true;
}

/* Where option words may begin: behind the keys (HRANDFIELD withvalues 2 has none). A STORE key comes later, so
 * the first range. */
static uint32_t options_from(const struct redis_command *cmd, const struct resp_request *r, const uint8_t *p) {
    struct redis_keys k;
    redis_keys_begin(&k, cmd, r, p);
    return k.count ? k.range[0].last + 1 : 1;
}

uint16_t redis_command_shape(const struct redis_command *cmd, const struct resp_request *r, const uint8_t *p) {
    for (uint32_t i = 0; cmd && i < cmd->shape_count; i++) {
        const struct redis_shape_rule *rule = &cmd->shapes[i];
        if (r->argc < rule->min_args) continue;
        if (!rule->word_size || redis_has_word(r, p, options_from(cmd, r, p), slice_of(rule->word, rule->word_size)))
            return rule->shape;
    }
    return REDIS_SHAPE_NONE;
}

bool redis_shape_up_passes(uint16_t shape, const uint8_t *p, size_t n) {
    if (*p == '+' || *p == '-') return true;
    if (*p == ':') return *shapes[shape].pattern != 'b';
    return *p == '$' && shape == REDIS_SHAPE_NONE && n > 1 && p[1] != '-';
}

/* ---- conversion ---- */

/* Copies one whole value, nulls as `_`. */
static bool copy_value(struct slice *in, struct resp_out *out) {
    for (uint64_t left = 1; left; left--) {
        struct resp_value v;
        if (!resp_read(in, &v)) return false;
        if (v.null) resp_out_null(out, 3);
        else resp_out_raw(out, v.raw.p, v.raw.n);
        left += v.count;
        if (v.type == '|') left++; /* an attribute precedes the value it belongs to */
        if (left > in->n + 2) return false;
    }
    return true;
}

static bool peek(struct slice in, struct resp_value *v) { return resp_read(&in, v); }

/* Behind the pattern at p. */
static const char *pattern_end(const char *p) {
    switch (*p) {
    case 'A':
    case 'E':
    case 'S':
    case 'P':
    case 'N': return pattern_end(p + 1);
    case 'M':
        if (p[1] != '{') return pattern_end(p + 1);
        for (int depth = 0;; p++)
            if (*p == '{') depth++;
            else if (*p == '}' && --depth == 0) return p + 1;
    case 'T':
        for (p++; *p != '.';) p = pattern_end(p);
        return p + 1;
    default: return p + 1;
    }
}

static bool convert(const char *pattern, struct slice *in, struct resp_out *out);

/* What may stand in a double of RESP3: a number, inf or nan. Anything else, a line's end above all, stays in its
 * bulk. */
static bool is_double(struct slice s) {
    size_t i = s.n && (s.p[0] == '-' || s.p[0] == '+');
    struct slice word = slice_of(s.p + i, s.n - i);
    if (slice_eq(word, SLICE("inf")) || slice_eq(word, SLICE("nan"))) return true;
    if (i == s.n || s.n > 512 || word.p[0] < '0' || word.p[0] > '9') return false;
    for (; i < s.n; i++)
        if (!memchr("0123456789.eE+-", s.p[i], 15)) return false;
    return true;
}

static bool scalar(char kind, struct slice *in, struct resp_out *out) {
    struct resp_value v;
    if (!peek(*in, &v)) return false;
    bool text = v.type == '$' && !v.null;
    bool bit = v.type == ':' && v.text.n == 1 && (v.text.p[0] == '0' || v.text.p[0] == '1');
    if (kind == 'd' ? !text || !is_double(v.text) : kind == 'v' ? !text : !bit) return copy_value(in, out);
    if (!resp_read(in, &v)) return false;
    if (kind == 'd') {
        resp_out_raw(out, ",", 1), resp_out_raw(out, v.text.p, v.text.n), resp_out_raw(out, "\r\n", 2);
    } else if (kind == 'v') {
        resp_out_verbatim(out, "txt", v.text, 3);
    } else {
        resp_out_bool(out, v.text.p[0] == '1', 3);
    }
    return true;
}

static bool key_fits(struct slice key, struct slice name) {
    if (name.n && name.p[name.n - 1] == '*') return key.n >= name.n - 1 && memcmp(key.p, name.p, name.n - 1) == 0;
    return slice_eq(key, name);
}

/* The pattern of `key` in "{key=p,…}". */
static const char *field_pattern(const char *p, struct slice key) {
    for (p++; *p != '}';) {
        const char *eq = strchr(p, '=');
        if (key_fits(key, slice_of(p, (size_t)(eq - p)))) return eq + 1;
        p = pattern_end(eq + 1);
        if (*p == ',') p++;
    }
    return "*";
}

static bool map(const char *value, uint32_t count, struct slice *in, struct resp_out *out) {
    resp_out_map(out, count / 2, 3);
    for (uint32_t i = 0; i < count / 2; i++) {
        struct resp_value key;
        if (!peek(*in, &key) || !copy_value(in, out)) return false;
        if (!convert(*value == '{' ? field_pattern(value, key.text) : value, in, out)) return false;
    }
    return true;
}

static bool pairs(const char *value, uint32_t count, struct slice *in, struct resp_out *out) {
    resp_out_array(out, count / 2);
    for (uint32_t i = 0; i < count / 2; i++) {
        resp_out_array(out, 2);
        if (!copy_value(in, out) || !convert(value, in, out)) return false;
    }
    return true;
}

static bool all_pairs(struct slice in, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct resp_value v;
        if (!peek(in, &v) || v.type != '*' || v.count != 2 || !resp_skip(&in)) return false;
    }
    return true;
}

static bool pair_map(const char *value, uint32_t count, struct slice *in, struct resp_out *out) {
    resp_out_map(out, count, 3);
    for (uint32_t i = 0; i < count; i++) {
        struct resp_value head;
        if (!resp_read(in, &head) || !copy_value(in, out) || !convert(value, in, out)) return false;
    }
    return true;
}

static bool tuple(const char *p, uint32_t count, struct slice *in, struct resp_out *out) {
    resp_out_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        bool named = *p != '.';
        if (!convert(named ? p : "*", in, out)) return false;
        if (named) p = pattern_end(p);
    }
    return true;
}

static bool coordinates(uint32_t count, struct slice *in, struct resp_out *out) {
    resp_out_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        struct resp_value v;
        bool point = i + 1 == count && peek(*in, &v) && v.type == '*' && v.count == 2;
        if (!convert(point ? "Ad" : "*", in, out)) return false;
    }
    return true;
}

static bool each(const char *p, uint32_t count, bool set, struct slice *in, struct resp_out *out) {
    if (set) resp_out_set(out, count, 3);
    else resp_out_array(out, count);
    for (uint32_t i = 0; i < count; i++)
        if (!convert(p, in, out)) return false;
    return true;
}

static bool convert(const char *pattern, struct slice *in, struct resp_out *out) {
    struct resp_value head;
    struct slice behind = *in;
    if (*pattern == '*') return copy_value(in, out);
    if (*pattern == 'd' || *pattern == 'b' || *pattern == 'v') return scalar(*pattern, in, out);
    if (!resp_read(&behind, &head)) return false;
    bool even = *pattern == 'M' || *pattern == 'P';
    if (head.type != '*' || head.null || (even && head.count % 2) ||
        (*pattern == 'N' && !all_pairs(behind, head.count)))
        return copy_value(in, out);
    *in = behind;
    switch (*pattern) {
    case 'M': return map(pattern + 1, head.count, in, out);
    case 'P': return pairs(pattern + 1, head.count, in, out);
    case 'N': return pair_map(pattern + 1, head.count, in, out);
    case 'T': return tuple(pattern + 1, head.count, in, out);
    case 'g': return coordinates(head.count, in, out);
    default: return each(pattern + 1, head.count, *pattern == 'S' || (*pattern == 'E' && head.count == 0), in, out);
    }
}

int redis_shape_up(uint16_t shape, struct slice reply, struct resp_out *out) {
    size_t before = out->n;
    if (convert(shapes[shape < REDIS_SHAPE_COUNT ? shape : 0].pattern, &reply, out) && reply.n == 0 && !out->failed)
        return 0;
    out->n = before;
    return -1;
}

int redis_shape_up_each(const uint16_t *each_shape, uint32_t n, struct slice reply, struct resp_out *out) {
    size_t before = out->n;
    struct resp_value head;
    struct slice in = reply;
    if (!resp_read(&in, &head) || head.type != '*' || head.null) return redis_shape_up(REDIS_SHAPE_NONE, reply, out);
    bool ok = true;
    resp_out_array(out, head.count);
    for (uint32_t i = 0; ok && i < head.count; i++)
        ok = convert(shapes[i < n && each_shape[i] < REDIS_SHAPE_COUNT ? each_shape[i] : 0].pattern, &in, out);
    if (ok && in.n == 0 && !out->failed) return 0;
    out->n = before;
    return -1;
}
