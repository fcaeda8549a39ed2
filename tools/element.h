/* element: what the numbers of a vector file are, and how two vectors are compared, as words.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_ELEMENT_H
#define EUM_TOOLS_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engram_um.h"

/* "float32", "float16", "bfloat16". False: none of these. */
bool element_parse(const char *word, eum_element *out);
/* "cosine", "dot", "l2". False: none of these. */
bool metric_parse(const char *word, eum_metric *out);

size_t element_bytes(eum_element element);
/* dim elements as float32, which holds them all exactly. */
void element_widen(eum_element element, const void *row, uint64_t dim, float *out);

#endif
