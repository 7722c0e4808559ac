#include "regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

enum {
    PATTERN_MAX = 4096,      /* bytes; a rule longer than this is a list in disguise */
    NEST_MAX = 50,           /* brackets within brackets: PCRE2's compiler recurses on them (its default: 250) */
    MATCH_LIMIT = 100000,    /* steps of a match: `(a+)+$` gives up after 0.2 ms, interpreted 1.2 (default: 10 M) */
    DEPTH_LIMIT = 1000,      /* nested backtracking, for the interpreter only */
    HEAP_LIMIT = 256,        /* KiB, for the interpreter only: it alone may allocate while matching */
    STACK_FIRST = 32 * 1024, /* bytes of the machine code's own stack */
    STACK_MAX = 256 * 1024
};

struct regex {
    struct regex *next;
    const struct regex_pool *pool;
    pcre2_code *code;
    bool native; /* compiled to machine code */
};

static bool pool_open(struct regex_pool *pool) {
    if (pool->match_data) return true;
    pcre2_compile_context *compiling = pool->compiling = pcre2_compile_context_create(NULL);
    pcre2_match_context *matching = pool->matching = pcre2_match_context_create(NULL);
    if (!compiling || !matching) return false;
    pcre2_set_max_pattern_length(compiling, PATTERN_MAX);
    pcre2_set_parens_nest_limit(compiling, NEST_MAX);
    pcre2_set_match_limit(matching, MATCH_LIMIT);
    pcre2_set_depth_limit(matching, DEPTH_LIMIT);
    pcre2_set_heap_limit(matching, HEAP_LIMIT);
    pool->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MAX, NULL);
    if (pool->stack) pcre2_jit_stack_assign(matching, NULL, pool->stack); /* else it runs on the machine's */
    pool->groups = pcre2_match_data_create(REGEX_GROUPS, NULL);
    pool->match_data = pool->groups ? pcre2_match_data_create(1, NULL) : NULL;
    return pool->match_data != NULL;
}

/* PCRE2 10.42 takes no NULL, not even for nothing. */
static PCRE2_SPTR bytes(struct slice s) { return s.n ? s.p : (PCRE2_SPTR) ""; }

struct regex *regex_new(struct regex_pool *pool, struct arena *a, struct slice pattern, char *err, size_t err_size) {
    struct regex *r = arena_alloc(a, sizeof *r);
    if (!r || !pool_open(pool)) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    int code;
    PCRE2_SIZE offset;
    uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
    r->code = pcre2_compile(bytes(pattern), pattern.n, options, &code, &offset, pool->compiling);
    if (!r->code) {
        PCRE2_UCHAR text[128];
        pcre2_get_error_message(code, text, sizeof text);
        snprintf(err, err_size, "%s (at byte %zu)", (char *)text, (size_t)offset);
        return NULL;
    }
    size_t machine_code = 0; /* none: no JIT on this platform, or the pattern starts with (*NO_JIT) */
    r->native = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0 &&
                pcre2_pattern_info(r->code, PCRE2_INFO_JITSIZE, &machine_code) == 0 && machine_code > 0;
    r->pool = pool;
    r->next = pool->all;
    pool->all = r;
    return r;
}

static int run(const struct regex *r, struct slice text, size_t from, pcre2_match_data *data) {
    pcre2_match_context *matching = r->pool->matching;
    return r->native ? pcre2_jit_match(r->code, bytes(text), text.n, from, 0, data, matching)
                     : pcre2_match(r->code, bytes(text), text.n, from, 0, data, matching);
}

bool regex_match(const struct regex *r, struct slice text) { return run(r, text, 0, r->pool->match_data) >= 0; }

bool regex_find(const struct regex *r, struct slice text, size_t from, struct slice groups[REGEX_GROUPS]) {
    int n = run(r, text, from, r->pool->groups);
    if (n < 0) return false;
    if (n == 0) n = REGEX_GROUPS; /* there are more groups than room: those with a name */
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(r->pool->groups);
    for (int i = 0; i < REGEX_GROUPS; i++) {
        bool part = i < n && at[2 * i] != PCRE2_UNSET && at[2 * i] <= at[2 * i + 1]; /* \K can turn a match around */
        groups[i] =
            part ? slice_of(bytes(text) + at[2 * i], at[2 * i + 1] - at[2 * i]) : slice_of(bytes(text) + from, 0);
    }
    return true;
}

uint32_t regex_groups(const struct regex *r) {
    uint32_t n = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &n);
    return n;
}

void regex_pool_free(struct regex_pool *pool) {
    for (struct regex *r = pool->all; r; r = r->next) pcre2_code_free(r->code);
    pcre2_match_data_free(pool->match_data);
    pcre2_match_data_free(pool->groups);
    pcre2_jit_stack_free(pool->stack);
    pcre2_match_context_free(pool->matching);
    pcre2_compile_context_free(pool->compiling);
    *pool = (struct regex_pool){0};
}
