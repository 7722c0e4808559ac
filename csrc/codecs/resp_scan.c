/* Replies passing through: where each one ends, without storing a byte of it. */
#include "resp.h"

/* One state per place a call can stop at. */
enum {
    TYPE = RESP_SCAN_TYPE, /* at the first byte of a value */
    LENGTH,                /* behind the type byte of a string or an aggregate, or further in its number */
    LENGTH_LF,
    BODY,
    BODY_CR,
    BODY_LF,
    LINE, /* in a value that is one line */
    LINE_LF,
    BROKEN,
};
#define ATTRIBUTE 0x80000000u /* on a level of the stack: what it holds precedes a value instead of being one */

static ptrdiff_t broken(struct resp_scan *s, enum resp_error e) {
    s->state = BROKEN, s->error = e, s->done = false;
    return -(ptrdiff_t)e;
}

/* A value ended; with it perhaps the aggregates it was the last of. true when the reply ended. */
static bool ended(struct resp_scan *s) {
    s->state = TYPE;
    while (s->depth) {
        uint32_t *left = &s->stack[s->depth - 1];
        if ((--*left & ~ATTRIBUTE) != 0) return false;
        s->depth--;
        if (*left & ATTRIBUTE) return false; /* the value it belongs to follows */
    }
    s->open = false, s->done = true;
    return true;
}

/* The first byte of a value. 0, or the error. */
static enum resp_error start(struct resp_scan *s, uint8_t c) {
    switch (c) {
    case '$':
    case '*':
    case '!':
    case '=':
    case '%':
    case '~':
    case '|':
    case '>': /* inside a reply as well: EXEC with SUBSCRIBE among its commands nests the confirmations */
        s->state = LENGTH;
        break;
    case '+':
    case '-':
    case ':':
    case '_':
    case ',':
    case '#':
    case '(': s->state = LINE; break;
    default: return RESP_REPLY_TYPE;
    }
    if (s->depth == 0) s->type = c;
    s->head = c, s->digits = 0, s->left = 0, s->sign = 0, s->open = true;
    return RESP_OK;
}

/* One more character of a length: strict decimal, "-1" for the two types that have a null. */
static enum resp_error length_digit(struct resp_scan *s, uint8_t c) {
    if (c == '?') return RESP_REPLY_TYPE; /* streamed strings and aggregates: specified, never sent by Redis */
    if (c == '-' && s->digits == 0 && (s->head == '$' || s->head == '*')) {
        s->sign = s->digits = 1;
        return RESP_OK;
    }
    if (c < '0' || c > '9') return RESP_REPLY_LENGTH;
    if (s->sign ? c != '1' || s->digits > 1 : s->digits && s->left == 0) return RESP_REPLY_LENGTH;
    s->digits++;
    s->left = s->left * 10 + (c - '0');
    return s->left > 1ull << 48 ? RESP_REPLY_LENGTH : RESP_OK;
}

/* The line with a length ended. 1 the reply ended too, 0 it goes on, < 0 the error. */
static int length_end(struct resp_scan *s, const struct resp_limits *lim) {
    if (s->sign) return ended(s);
    if (s->head == '$' || s->head == '!' || s->head == '=') {
        if (s->left > lim->max_reply) return -RESP_REPLY_LENGTH;
        s->state = s->left ? BODY : BODY_CR;
        return 0;
    }
    uint64_t count = s->head == '%' || s->head == '|' ? s->left * 2 : s->left;
    if (count > lim->max_count || count > INT32_MAX) return -RESP_REPLY_LENGTH;
    if (count == 0 && s->head != '|') return ended(s);
    s->state = TYPE;
    if (count == 0) return 0; /* an empty attribute: the value follows */
    if (s->depth >= lim->max_depth || s->depth >= RESP_DEPTH) return -RESP_REPLY_DEPTH;
    s->stack[s->depth++] = (uint32_t)count | (s->head == '|' ? ATTRIBUTE : 0);
    return 0;
}

/* One more character of a number, a boolean or a null: only what their grammar may hold, so that nothing else is
 * passed for one. The grammar's order is left to the client. */
static bool line_char(const struct resp_scan *s, uint8_t c) {
    bool digit = c >= '0' && c <= '9', sign = c == '-' || c == '+';
    switch (s->head) {
    case ':':
    case '(': return digit || (sign && s->digits == 0);
    case ',': return digit || sign || c == '.' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); /* inf, nan, exponents */
    case '#': return (c == 't' || c == 'f') && s->digits == 0;
    default: return false; /* '_' holds nothing */
    }
}

/* Bytes of a one-line value from p on: how many were taken; *end when its CR was among them; < 0 the error. */
static ptrdiff_t line(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim, bool *end) {
    const uint8_t *cr = NULL;
    size_t len;
    if (s->head == '+' || s->head == '-') {
        cr = memchr(p, '\r', n);
        len = cr ? (size_t)(cr - p) : n;
        if (len > lim->max_line - min_size(s->digits, lim->max_line)) return -RESP_REPLY_LINE;
        s->digits += (uint32_t)len;
    } else {
        for (len = 0; len < n && !cr; len++) {
            if (p[len] == '\r') {
                cr = p + len--;
            } else {
                if (!line_char(s, p[len]) || s->digits >= lim->max_line) return -RESP_REPLY_LINE;
                s->digits++;
            }
        }
        if (cr && s->digits == 0 && s->head != '_') return -RESP_REPLY_LINE;
    }
    *end = cr != NULL;
    return (ptrdiff_t)len + (cr != NULL);
}

ptrdiff_t resp_scan_slow(struct resp_scan *s, const uint8_t *p, size_t n, const struct resp_limits *lim) {
    s->done = false;
    size_t i = 0;
    enum resp_error e = RESP_OK;
    while (i < n) {
        switch (s->state) {
        case TYPE: {
            size_t whole = resp_whole_reply(p + i, p + n, lim); /* elements of a long array */
            if (likely(whole)) {
                if (s->depth == 0) s->type = p[i]; /* behind an attribute */
                i += whole;
                if (ended(s)) return (ptrdiff_t)i;
                break;
            }
            e = start(s, p[i++]);
            break;
        }
        case LENGTH:
            if (p[i] != '\r') {
                e = length_digit(s, p[i]);
            } else {
                if (s->digits == (s->sign ? 1u : 0u)) e = RESP_REPLY_LENGTH;
                s->state = LENGTH_LF;
            }
            i++;
            break;
        case LENGTH_LF: {
            if (p[i++] != '\n') return broken(s, RESP_REPLY_LINE);
            int got = length_end(s, lim);
            if (got < 0) return broken(s, (enum resp_error) - got);
            if (got) return (ptrdiff_t)i;
            break;
        }
        case BODY: {
            size_t take = s->left < n - i ? (size_t)s->left : n - i;
            s->left -= take, i += take;
            if (s->left == 0) s->state = BODY_CR;
            break;
        }
        case BODY_CR:
            if (p[i++] != '\r') e = RESP_REPLY_LINE;
            s->state = BODY_LF;
            break;
        case BODY_LF:
            if (p[i++] != '\n') return broken(s, RESP_REPLY_LINE);
            if (ended(s)) return (ptrdiff_t)i;
            break;
        case LINE: {
            bool end;
            ptrdiff_t took = line(s, p + i, n - i, lim, &end);
            if (took < 0) return broken(s, (enum resp_error) - took);
            i += (size_t)took;
            if (end) s->state = LINE_LF;
            break;
        }
        case LINE_LF:
            if (p[i] == '\n') {
                i++;
                if (ended(s)) return (ptrdiff_t)i;
            } else if (s->head == '+' || s->head == '-') {
                s->state = LINE; /* a CR alone belongs to the text, as other readers take it */
            } else {
                e = RESP_REPLY_LINE;
            }
            break;
        default: return -(ptrdiff_t)s->error;
        }
        if (unlikely(e)) return broken(s, e);
    }
    return (ptrdiff_t)i;
}
