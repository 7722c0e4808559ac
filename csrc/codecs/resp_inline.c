/* Inline commands: one line, words split as redis-cli and sdssplitargs() do: blanks separate, "…" knows \n \r \t
 * \b \a \\ \" and \xHH, '…' knows \' only, and a closing quote must be followed by a blank or the end. A vertical
 * tab or a form feed separates too, but does not end a word without quotes: so does Redis. */
#include "resp.h"

static bool ends_word(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0; }

static bool blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f' || c == 0;
}

static int hex(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t escaped(uint8_t c) {
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
    }
}

/* The text between double quotes; *at stands behind the opening one, and behind the closing one afterwards. */
static bool double_quoted(const uint8_t *p, const uint8_t *end, const uint8_t **at, struct resp_out *word) {
    while (p < end && *p != '"') {
        uint8_t c = *p++;
        if (c == '\\' && end - p >= 3 && *p == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
            c = (uint8_t)(hex(p[1]) * 16 + hex(p[2]));
            p += 3;
        } else if (c == '\\' && p < end) {
            c = escaped(*p++);
        }
        resp_out_raw(word, &c, 1);
    }
    *at = p + 1;
    return p < end && (p + 1 == end || blank(p[1]));
}

static bool single_quoted(const uint8_t *p, const uint8_t *end, const uint8_t **at, struct resp_out *word) {
    while (p < end && *p != '\'') {
        if (*p == '\\' && end - p >= 2 && p[1] == '\'') p++;
        resp_out_raw(word, p++, 1);
    }
    *at = p + 1;
    return p < end && (p + 1 == end || blank(p[1]));
}

static bool read_word(const uint8_t **at, const uint8_t *end, struct resp_out *word) {
    const uint8_t *p = *at;
    while (p < end && !ends_word(*p)) {
        bool fine = true;
        if (*p == '"') fine = double_quoted(p + 1, end, &p, word);
        else if (*p == '\'') fine = single_quoted(p + 1, end, &p, word);
        else resp_out_raw(word, p++, 1);
        if (!fine) return false;
    }
    *at = p;
    return true;
}

ptrdiff_t resp_inline_encode(struct resp_request *r, struct slice line, struct resp_out *out,
                             const struct resp_limits *lim) {
    const uint8_t *p = line.p, *end = line.p + line.n;
    struct resp_out word = {0}, words = {0};
    size_t before = out->n;
    uint64_t count = 0;
    enum resp_error error = RESP_OK;
    while (!error) {
        while (p < end && blank(*p)) p++;
        if (p == end) break;
        resp_out_clear(&word);
        if (!read_word(&p, end, &word)) error = RESP_QUOTES;
        else if (++count > lim->max_args || count > lim->guest_args)
            error = count > lim->guest_args ? RESP_GUEST_COUNT : RESP_BAD_COUNT;
        else resp_out_bulk(&words, slice_of(word.p ? word.p : (const uint8_t *)"", word.n));
    }
    if (!error && count) {
        resp_out_array(out, count);
        resp_out_raw(out, words.p, words.n);
    }
    if (word.failed || words.failed || out->failed) error = RESP_NO_MEMORY;
    resp_out_free(&word);
    resp_out_free(&words);
    if (!error) return (ptrdiff_t)(out->n - before);
    out->n = before;
    r->error = (uint8_t)error;
    return -(ptrdiff_t)error;
}
