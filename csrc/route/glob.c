#include "glob.h"

/* Does byte c fit the set whose '[' is at pattern[*at - 1]? Moves *at behind the set in any case. */
static bool set_holds(struct slice pattern, size_t *at, uint8_t c) {
    const uint8_t *p = pattern.p + *at, *end = pattern.p + pattern.n;
    bool negated = p < end && *p == '^', found = false;
    if (negated) p++;
    while (p < end && *p != ']') {
        if (*p == '\\' && end - p >= 2) {
            found |= p[1] == c;
            p += 2;
        } else if (end - p >= 3 && p[1] == '-') {
            uint8_t low = p[0] < p[2] ? p[0] : p[2], high = p[0] < p[2] ? p[2] : p[0];
            found |= low <= c && c <= high;
            p += 3;
        } else {
            found |= *p == c;
            p++;
        }
    }
    *at = (size_t)(p - pattern.p) + (p < end);
    return found != negated;
}

/* Does byte c fit the token at pattern[*at], which is no '*'? Moves *at behind it when so. */
static inline bool token_fits(struct slice pattern, size_t *at, uint8_t c) {
    size_t next = *at + 1;
    bool fits;
    switch (pattern.p[*at]) {
    case '?': fits = true; break;
    case '[': fits = set_holds(pattern, &next, c); break;
    case '\\':
        if (next < pattern.n) {
            fits = pattern.p[next++] == c;
            break;
        } /* fall through */
    default: fits = pattern.p[*at] == c;
    }
    if (fits) *at = next;
    return fits;
}

bool glob_match(struct slice pattern, struct slice text) {
    size_t at = 0, i = 0;
    size_t star = SIZE_MAX, mark = 0; /* behind the last '*' seen; first byte it does not take */
    while (i < text.n) {
        if (at < pattern.n && pattern.p[at] == '*') {
            while (at < pattern.n && pattern.p[at] == '*') at++;
            if (at == pattern.n) return true;
            star = at, mark = i;
        } else if (at < pattern.n && token_fits(pattern, &at, text.p[i])) {
            i++;
            continue;
        } else {
            if (star == SIZE_MAX) return false;
            at = star, mark++;
        }
        uint8_t first = pattern.p[star];
        if (first != '?' && first != '[' && first != '\\') { /* a literal: go where it next occurs */
            if (mark == text.n) return false;
            const uint8_t *hit = memchr(text.p + mark, first, text.n - mark);
            if (!hit) return false;
            mark = (size_t)(hit - text.p);
        }
        i = mark;
    }
    while (at < pattern.n && pattern.p[at] == '*') at++;
    return at == pattern.n;
}

enum glob_form glob_reduce(struct slice pattern, uint8_t *literal, size_t *n) {
    size_t at = 0;
    *n = 0;
    while (at < pattern.n && pattern.p[at] == '*') at++;
    bool open_head = at > 0;
    if (open_head && at == pattern.n) return GLOB_ANY;
    while (at < pattern.n) {
        uint8_t c = pattern.p[at];
        if (c == '*' || c == '?' || c == '[') break;
        if (c == '\\' && at + 1 < pattern.n) c = pattern.p[++at];
        literal[(*n)++] = c;
        at++;
    }
    bool open_tail = at < pattern.n && pattern.p[at] == '*';
    while (at < pattern.n && pattern.p[at] == '*') at++;
    if (at < pattern.n) {
        if (open_head) *n = 0;
        return GLOB_PATTERN;
    }
    if (open_head) return open_tail ? GLOB_CONTAINS : GLOB_SUFFIX;
    return open_tail ? GLOB_PREFIX : GLOB_EXACT;
}

size_t glob_tail(struct slice pattern, uint8_t *literal) {
    size_t n = 0;
    for (size_t at = 0; at < pattern.n;) {
        uint8_t c = pattern.p[at++];
        if (c == '\\' && at < pattern.n) {
            literal[n++] = pattern.p[at++];
        } else if (c == '*' || c == '?' || c == '[') {
            n = 0;
            if (c == '[') set_holds(pattern, &at, 0); /* moves behind the set */
        } else {
            literal[n++] = c;
        }
    }
    return n;
}
