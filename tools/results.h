/* results: writes what a search found as two .npy files.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_RESULTS_H
#define EUM_TOOLS_RESULTS_H

#include "error.h"
#include "topk.h"

/* Writes NAME.indices.npy (queries x top int64) and NAME.scores.npy (queries x top float32). A file that is there is replaced. */
bool results_write(const char *name, const topk_entry *neighbors, uint64_t queries, size_t top, tool_error *error);

#endif
