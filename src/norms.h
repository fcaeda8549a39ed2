/* norms: the row norms of targets that are scored by cosine again and again on the CPU, kept with their buffer.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * They are of one version of the buffer's bytes, and of one shape of the rows. Who scores is told the version when its call takes its turn among
 * those that use the buffer, and has it until it has passed; the version changes when a write takes its turn. So it does not matter when
 * the scoring runs, or what is written meanwhile: norms of another version are not seen. The first time, the shape is noted; the second time,
 * the norms are kept as they are computed; from then on they are read. They take 4 bytes a row, at most a sixteenth of what the rows take. */
#ifndef EUM_SRC_NORMS_H
#define EUM_SRC_NORMS_H

#include <stdatomic.h>

#include "buffer.h"
#include "kernels/scoring.h"

/* What norms are of. */
typedef struct eum_norms_shape {
    uint64_t version, offset, rows, dim, row_stride;
    eum_element element;
} eum_norms_shape;

typedef enum eum_norms_state { EUM_NORMS_SEEN, EUM_NORMS_EMPTY, EUM_NORMS_FILLING, EUM_NORMS_FULL } eum_norms_state;

typedef struct eum_norms {
    eum_norms_shape of;
    atomic_uint references; /* the buffer's, and one of each call that uses it */
    _Atomic eum_norms_state state;
    float values[]; /* not where only the shape was seen */
} eum_norms;

/* Fewer elements a row, and the norms would be much beside the rows, and save little. */
#define EUM_NORMS_LEAST_DIM 16u

/* Could the operation read them, or leave some? */
bool eum_norms_serve(const eum_buf *targets, const eum_scoring_args *args, eum_cpu_isa isa);
/* Sets args->norms and norms_known for the rows at `offset` of `targets`, whose bytes are of that version; version NULL: of the newest one. Gives NULL where
 * there are none, and none are to be kept. Else eum_norms_done follows. Takes the context's lock. */
eum_norms *eum_norms_begin(eum_buf *targets, uint64_t offset, const uint64_t *version, eum_scoring_args *args);
/* args: as begin left them. complete: the kernels have run to their end. norms may be NULL. */
void eum_norms_done(eum_norms *norms, const eum_scoring_args *args, bool complete);

/* The buffer has them no more. */
void eum_norms_drop(eum_buf *buf);

#endif
