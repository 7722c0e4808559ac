/* The cursor over a complete reply, and the writers. */
#include "resp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- numbers ---- */

bool resp_uint(struct slice text, uint64_t *value) {
    uint64_t v = 0;
    if (text.n == 0 || text.n > 20 || (text.n > 1 && text.p[0] == '0')) return false;
    for (size_t i = 0; i < text.n; i++) {
        unsigned digit = text.p[i] - (unsigned)'0';
        if (digit > 9 || v > (UINT64_MAX - digit) / 10) return false;
        v = v * 10 + digit;
    }
    *value = v;
    return true;
}

bool resp_int(struct slice text, int64_t *value) {
    uint64_t v;
    bool negative = text.n && text.p[0] == '-';
    if (negative) text.p++, text.n--;
    if (!resp_uint(text, &v) || (negative && v == 0)) return false;
    if (v > (uint64_t)INT64_MAX + negative) return false;
    *value = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* ---- reading ---- */

static bool aggregate(uint8_t type) { return type == '*' || type == '%' || type == '~' || type == '>' || type == '|'; }
static bool blob(uint8_t type) { return type == '$' || type == '!' || type == '='; }

static bool read_aggregate(struct slice *in, struct resp_value *v, int64_t n, size_t head) {
    bool pairs = v->type == '%' || v->type == '|';
    v->null = n == -1 && v->type == '*';
    if ((n < 0 && !v->null) || n > INT32_MAX / (pairs ? 2 : 1)) return false;
    v->count = v->null ? 0 : (uint32_t)n * (pairs ? 2 : 1);
    v->raw = slice_of(in->p, head);
    in->p += head, in->n -= head;
    return true;
}

static bool read_blob(struct slice *in, struct resp_value *v, int64_t n, size_t head) {
    v->null = n == -1 && v->type == '$';
    if (v->null) {
        v->raw = slice_of(in->p, head);
    } else {
        if (n < 0 || (uint64_t)n + 2 > in->n - head || in->p[head + (size_t)n] != '\r' ||
            in->p[head + (size_t)n + 1] != '\n')
            return false;
        v->text = slice_of(in->p + head, (size_t)n);
        v->raw = slice_of(in->p, head + (size_t)n + 2);
        if (v->type == '=') {
            if (n < 4 || v->text.p[3] != ':') return false;
            v->text.p += 4, v->text.n -= 4;
        }
    }
    in->p += v->raw.n, in->n -= v->raw.n;
    return true;
}

/* The line behind the type byte. A CR alone belongs to it, as to the scanner; only numbers and the like can't hold
 * one. */
static bool read_line(struct slice in, struct slice *line) {
    const uint8_t *from = in.p + 1, *end = in.p + in.n, *cr;
    while (end - from >= 2 && (cr = memchr(from, '\r', (size_t)(end - from) - 1)) != NULL) {
        if (cr[1] == '\n') {
            *line = slice_of(in.p + 1, (size_t)(cr - in.p) - 1);
            return true;
        }
        from = cr + 1;
    }
    return false;
}

bool resp_read(struct slice *in, struct resp_value *v) {
    struct slice line;
    int64_t n = 0;
    if (in->n < 3 || !read_line(*in, &line)) return false;
    *v = (struct resp_value){.type = in->p[0]};
    size_t head = line.n + 3;
    if ((aggregate(v->type) || blob(v->type)) && !resp_int(line, &n)) return false;
    if (aggregate(v->type)) return read_aggregate(in, v, n, head);
    if (blob(v->type)) return read_blob(in, v, n, head);
    if (!memchr("+-:_,#(", v->type, 7)) return false;
    v->null = v->type == '_';
    v->text = line, v->raw = slice_of(in->p, head);
    in->p += head, in->n -= head;
    return true;
}

static bool skip_values(struct slice *in, uint64_t left) {
    struct slice at = *in;
    while (left) {
        struct resp_value v;
        if (!resp_read(&at, &v)) return false;
        left += v.count;
        if (v.type != '|') left--;     /* an attribute precedes the value it belongs to */
        if (left > at.n) return false; /* more values announced than bytes are left */
    }
    *in = at;
    return true;
}

bool resp_skip(struct slice *in) { return skip_values(in, 1); }

bool resp_take(struct slice *in, struct slice *value) {
    const uint8_t *begin = in->p;
    if (!resp_skip(in)) return false;
    *value = slice_of(begin, (size_t)(in->p - begin));
    return true;
}

bool resp_is_error(struct slice reply, struct slice *text) {
    struct resp_value v;
    do
        if (!resp_read(&reply, &v)) return false;
    while (v.type == '|' && skip_values(&reply, v.count));
    if (v.type != '-' && v.type != '!') return false;
    *text = v.text;
    return true;
}

/* ---- writing ---- */

void resp_out_free(struct resp_out *o) {
    free(o->p);
    *o = (struct resp_out){0};
}

bool resp_out_reserve(struct resp_out *o, size_t more) {
    if (o->failed) return false;
    if (o->cap - o->n >= more) return true;
    size_t cap = o->cap ? o->cap : 256;
    while (cap - o->n < more) {
        if (cap > SIZE_MAX / 4) return o->failed = true, false;
        cap *= 2;
    }
    uint8_t *p = realloc(o->p, cap);
    if (!p) return o->failed = true, false;
    o->p = p, o->cap = cap;
    return true;
}

void resp_out_raw(struct resp_out *o, const void *p, size_t n) {
    if (!n || !resp_out_reserve(o, n)) return;
    memcpy(o->p + o->n, p, n);
    o->n += n;
}

/* Type byte, sign, number, CRLF. */
static void number_line(struct resp_out *o, uint8_t type, bool negative, uint64_t v) {
    uint8_t text[24], *end = text + sizeof text, *p = end;
    *--p = '\n', *--p = '\r';
    do *--p = (uint8_t)('0' + v % 10);
    while (v /= 10);
    if (negative) *--p = '-';
    *--p = type;
    resp_out_raw(o, p, (size_t)(end - p));
}

void resp_out_head(struct resp_out *o, uint8_t type, uint64_t count) { number_line(o, type, false, count); }

static void blob_out(struct resp_out *o, uint8_t type, struct slice s) {
    resp_out_head(o, type, s.n);
    resp_out_raw(o, s.p, s.n);
    resp_out_raw(o, "\r\n", 2);
}

void resp_out_bulk(struct resp_out *o, struct slice s) { blob_out(o, '$', s); }

static void line_out(struct resp_out *o, uint8_t type, struct slice s) {
    if (!resp_out_reserve(o, s.n + 3)) return;
    o->p[o->n++] = type;
    for (size_t i = 0; i < s.n; i++) o->p[o->n++] = s.p[i] == '\r' || s.p[i] == '\n' ? ' ' : s.p[i];
    o->p[o->n++] = '\r', o->p[o->n++] = '\n';
}

void resp_out_status(struct resp_out *o, struct slice s) { line_out(o, '+', s); }
void resp_out_error(struct resp_out *o, struct slice s) { line_out(o, '-', s); }

void resp_out_int(struct resp_out *o, int64_t v) { number_line(o, ':', v < 0, v < 0 ? 0 - (uint64_t)v : (uint64_t)v); }

void resp_out_array(struct resp_out *o, uint64_t count) { resp_out_head(o, '*', count); }
void resp_out_map(struct resp_out *o, uint64_t pairs, int version) {
    resp_out_head(o, version == 3 ? '%' : '*', version == 3 ? pairs : pairs * 2);
}
void resp_out_set(struct resp_out *o, uint64_t count, int version) {
    resp_out_head(o, version == 3 ? '~' : '*', count);
}
void resp_out_push(struct resp_out *o, uint64_t count, int version) {
    resp_out_head(o, version == 3 ? '>' : '*', count);
}
void resp_out_null(struct resp_out *o, int version) {
    version == 3 ? resp_out_raw(o, "_\r\n", 3) : resp_out_raw(o, "$-1\r\n", 5);
}
void resp_out_null_array(struct resp_out *o, int version) {
    version == 3 ? resp_out_raw(o, "_\r\n", 3) : resp_out_raw(o, "*-1\r\n", 5);
}

void resp_out_bool(struct resp_out *o, bool v, int version) {
    if (version == 3) resp_out_raw(o, v ? "#t\r\n" : "#f\r\n", 4);
    else resp_out_int(o, v);
}

void resp_out_double(struct resp_out *o, double v, int version) {
    char text[40];
    int n = 0;
    if (isnan(v) || isinf(v)) n = snprintf(text, sizeof text, "%s", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
    else
        for (int digits = 15; digits <= 17; digits++) { /* the first that reads back as it was */
            n = snprintf(text, sizeof text, "%.*g", digits, v);
            if (strtod(text, NULL) == v) break;
        }
    struct slice s = slice_of(text, (size_t)n);
    if (version == 3) line_out(o, ',', s);
    else resp_out_bulk(o, s);
}

void resp_out_verbatim(struct resp_out *o, const char *format, struct slice s, int version) {
    if (version != 3) {
        resp_out_bulk(o, s);
        return;
    }
    resp_out_head(o, '=', s.n + 4);
    resp_out_raw(o, format, 3);
    resp_out_raw(o, ":", 1);
    resp_out_raw(o, s.p, s.n);
    resp_out_raw(o, "\r\n", 2);
}
