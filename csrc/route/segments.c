#include "segments.h"

enum { ANY = 0 }; /* in a compiled pattern: a segment; twice, which two braces in a row can't give: the rest */

/* The brace at pattern.p[*at]; moves *at behind it. How many ANY it is, 0 with *err. */
static size_t read_brace(struct slice pattern, size_t *at, const char **err) {
    const uint8_t *open = pattern.p + *at, *end = pattern.p + pattern.n;
    const uint8_t *close = memchr(open, '}', (size_t)(end - open));
    if (!close) return *err = "a { is not closed", 0;
    if (memchr(open + 1, '{', (size_t)(close - open) - 1) || memchr(open, '/', (size_t)(close - open)))
        return *err = "there is a { or / within braces", 0;
    const uint8_t *equals = memchr(open, '=', (size_t)(close - open));
    size_t stars = equals ? (size_t)(close - equals) - 1 : 1;
    if (stars == 0 || stars > 2 || (equals && memcmp(equals + 1, "**", stars) != 0))
        return *err = "in braces stands a name, alone or with =* or =** behind it", 0;
    if ((*at && open[-1] != '/') || (close + 1 < end && close[1] != '/'))
        return *err = "braces fill a whole segment", 0;
    if (stars == 2 && close + 1 != end) return *err = "a {name=**} is the end of the path", 0;
    *at = (size_t)(close - pattern.p) + 1;
    return stars;
}

const char *segments_compile(struct slice pattern, uint8_t *to, size_t *n) {
    const char *err = NULL;
    *n = 0;
    for (size_t at = 0; at < pattern.n;) {
        uint8_t c = pattern.p[at];
        if (c == '}') return "a } closes nothing";
        if (c == ANY) return "there is a NUL in it";
        if (c != '{') {
            to[(*n)++] = c;
            at++;
            continue;
        }
        size_t marks = read_brace(pattern, &at, &err);
        if (!marks) return err;
        while (marks--) to[(*n)++] = ANY;
    }
    return NULL;
}

bool segments_match(struct slice compiled, struct slice text) {
    const uint8_t *p = compiled.p, *p_end = p + compiled.n, *t = text.p, *t_end = t + text.n;
    while (p < p_end) {
        const uint8_t *mark = memchr(p, ANY, (size_t)(p_end - p));
        size_t literal = (size_t)((mark ? mark : p_end) - p);
        if ((size_t)(t_end - t) < literal || (literal && memcmp(t, p, literal) != 0)) return false;
        t += literal;
        if (!mark) break;
        if (p_end - mark > 1 && mark[1] == ANY) return true;
        const uint8_t *slash = t < t_end ? memchr(t, '/', (size_t)(t_end - t)) : t;
        if (!slash) slash = t_end;
        if (slash == t) return false;
        t = slash;
        p = mark + 1;
    }
    return t == t_end;
}

struct slice segments_head(struct slice compiled) {
    const uint8_t *mark = compiled.n ? memchr(compiled.p, ANY, compiled.n) : NULL;
    return slice_of(compiled.p, mark ? (size_t)(mark - compiled.p) : compiled.n);
}

struct slice segments_tail(struct slice compiled) {
    const uint8_t *mark = compiled.n ? memrchr(compiled.p, ANY, compiled.n) : NULL;
    return mark ? slice_of(mark + 1, (size_t)(compiled.p + compiled.n - mark) - 1) : compiled;
}

enum segments_form segments_form(struct slice compiled) {
    size_t head = segments_head(compiled).n;
    if (head == compiled.n) return SEGMENTS_EXACT;
    return head + 2 == compiled.n && compiled.p[head + 1] == ANY ? SEGMENTS_PREFIX : SEGMENTS_PATTERN;
}
