/* report: prints what a search found.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_REPORT_H
#define EUM_TOOLS_REPORT_H

#include "engram_um.h"
#include "labels.h"
#include "topk.h"

/* Everything is borrowed. */
typedef struct report {
    const topk_entry *neighbors; /* queries x top, the best first */
    size_t top;
    uint64_t queries;
    uint64_t first_query; /* number of the first query's row, in VECTORS or in the query file */
    bool query_is_row;    /* the query is a row of VECTORS */
    const labels *names;  /* one a row of VECTORS, or NULL */
    const eum_info *info;
    eum_backing backing;
    double ms;
    uint64_t bytes_moved;
    bool faults_known;
    uint64_t gpu_faults;
} report;

/* Both print to stdout, whose error flag tells of failed writes. */
void report_text(const report *r);
void report_json(const report *r);

#endif
