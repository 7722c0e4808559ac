/* Patterns with '*', '?', '[...]' and '\', over bytes, as Redis' KEYS reads them:
 *   [abc] [a-z] [^a]  one byte of (not of) a set; bounds in either order; '\' takes the next byte literally; a set that is
 *                     not closed ends with the pattern; [] holds no byte, [^] every byte
 *   \                 takes the next byte literally; as the pattern's last byte it stands for itself */
#ifndef MOSNPY_GLOB_H
#define MOSNPY_GLOB_H

#include "../core/base.h"

/* Whether the whole of `text` fits. At most pattern.n * text.n steps: only the last '*' is ever tried again. */
bool glob_match(struct slice pattern, struct slice text);

/* What a pattern comes down to, cheapest test first. */
enum glob_form { GLOB_ANY, GLOB_EXACT, GLOB_PREFIX, GLOB_SUFFIX, GLOB_CONTAINS, GLOB_PATTERN };
/* Writes the literal part, unescaped, to `literal` (room for pattern.n bytes) and its length to *n. For GLOB_PATTERN that is
 * what every fitting text starts with, perhaps nothing. */
enum glob_form glob_reduce(struct slice pattern, uint8_t *literal, size_t *n);
/* Writes what every fitting text ends with, perhaps nothing, to `literal` (room for pattern.n bytes); returns its length. */
size_t glob_tail(struct slice pattern, uint8_t *literal);

#endif
