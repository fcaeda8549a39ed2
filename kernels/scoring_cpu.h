/* scoring_cpu: what the files of the CPU's scoring share.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The unit of work is a tile: up to 64 rows against one panel of queries. Up to EUM_FEW_QUERIES queries are scored row by row along the
 * elements (the rows come from memory, and are what counts); more are packed so that a register holds one element of as many queries as it
 * has lanes, and each row's elements are broadcast to them, as in a matrix product. A score is a function of the row, the query, the
 * instruction set and which of these two it is: not of the block, the panel or the thread. */
#ifndef EUM_SCORING_CPU_H
#define EUM_SCORING_CPU_H

#include <float.h>
#include <stdbool.h>

#include "kernels/cosine_cpu.h"
#include "kernels/scoring.h"

#define EUM_TILE_ROWS 64
#define EUM_TILE_QUERIES 48 /* widest panel of all instruction sets */
#define EUM_FEW_QUERIES 8
#define EUM_PANEL_CHUNK 128 /* elements that a packed panel sums in float32 before float64 takes over */

/* One query. */
typedef struct eum_prepared {
    const float *given; /* as the caller has it */
    double norm;        /* cosine only */
    float scale;        /* cosine only: power of two that brings it near 1 */
    float inverse;      /* cosine only: 1 / norm of the scaled query, 0 for a zero query */
    bool nonfinite;     /* its scores are NaN */
} eum_prepared;

typedef struct eum_tile {
    eum_metric metric;
    eum_element element;
    size_t dim;
    size_t ahead;     /* bytes to prefetch ahead of rows side by side, 0: none; for several queries into the second cache */
    bool from_memory; /* rows one after the other without gaps, too many for the caches */
    bool followed;    /* one query: the processor follows these rows by itself, see eum_cpu_following() */
    bool in_pairs;    /* eight queries: two rows at a time, on processors that follow them so */
    const void
        *rows[EUM_TILE_ROWS]; /* `count`, and the last one again up to a multiple of 16; not filled in where `first` is set */
    const char *first;        /* one query and a whole tile of rows without gaps: the first row. Else NULL */
    size_t stride;            /* from one row to the next, where `first` is set */
    unsigned count;
    const eum_prepared *queries; /* of the panel */
    unsigned query_count;
    bool packed;
    bool normed;         /* the inverses are there already */
    bool settled, bad;   /* the scores are final already, and whether some are not finite */
    const float *values; /* of the panel: query after query, `value_stride` floats each, or packed, `width` floats an element */
    size_t value_stride;
    unsigned width;                /* packed: of a row of `scores`, query_count rounded up to whole registers */
    float inverses[EUM_TILE_ROWS]; /* cosine: 1 / the rows' norms, NaN where float32 cannot carry them; filled by ops->norms */
    /* Packed: row after row, `width` floats each, as the panel has the queries. Else query after query, EUM_TILE_ROWS floats each. */
    float scores[EUM_TILE_ROWS * EUM_TILE_QUERIES] __attribute__((aligned(64)));
} eum_tile;

static inline float *eum_tile_score(eum_tile *tile, unsigned r, unsigned q)
{
    return &tile->scores[tile->packed ? r * tile->width + q : q * EUM_TILE_ROWS + r];
}

static inline const void *eum_tile_row(const eum_tile *tile, unsigned r)
{
    return tile->first != NULL ? tile->first + r * tile->stride : tile->rows[r];
}

/* For who needs the addresses of all rows. */
static inline void eum_tile_fill_rows(eum_tile *tile)
{
    for (unsigned r = 0; tile->first != NULL && r < tile->count; r++)
        tile->rows[r] = tile->first + r * tile->stride;
}

/* One instruction set. */
typedef struct eum_scoring_ops {
    unsigned lanes;
    unsigned most_packed; /* registers a panel */
    /* inverses of all rows of the tile, for the metrics that need them. */
    void (*norms)(eum_tile *tile);
    /* scores of all rows and queries. Returns whether some are not finite: those are to be computed by eum_score_exact. */
    bool (*score)(eum_tile *tile);
    /* Bit i: scores[i] is not worse than thresholds[i] (thresholds[0] where `one`), or one of them is NaN. count <= 64; both arrays may
     * be read up to whole registers. */
    uint64_t (*candidates)(const float *scores, const float *thresholds, unsigned count, bool one, bool smaller_is_better);
    /* Bit r: candidates() finds some among the `width` scores of row r, a whole number of registers. rows <= 64. */
    uint64_t (*candidate_rows)(const float *scores, const float *thresholds, unsigned rows, unsigned width, bool smaller_is_better);
} eum_scoring_ops;

extern const eum_scoring_ops eum_scoring_scalar, eum_scoring_avx2, eum_scoring_avx512, eum_scoring_neon;

/* One score in float64: right for every input. */
float eum_score_exact(eum_metric metric, eum_element element, const eum_prepared *query, const void *row, uint64_t dim);
/* Sum of squares of `dim` float32, and of a row, in float64: not finite if an element is not. */
double eum_squares_exact(eum_element element, const void *row, uint64_t dim);

static inline size_t eum_element_bytes(eum_element element)
{
    return element == EUM_ELEMENT_FLOAT32 ? 4 : 2;
}

/* ------------------------------------------------------------------------------------------------- the best -------- */

typedef struct eum_best {
    float score;
    int64_t row;
} eum_best;

/* The best so far of one query: up to `capacity` entries, of which what cannot be among the best k is dropped when it is full. */
typedef struct eum_best_list {
    eum_best *entries;
    size_t count;
    int64_t threshold_row; /* of the k-th best entry, where the threshold is a number */
    bool settled;          /* the first k entries have been seen */
} eum_best_list;

/* Up to so many are kept sorted. */
#define EUM_BEST_SORTED 16u

static inline size_t eum_best_capacity(uint64_t k)
{
    return (size_t)(k <= EUM_BEST_SORTED ? k : 2 * k + 32);
}
/* Adds an entry. *threshold: of this list, NaN at first: what is worse than it cannot be among the best. */
void eum_best_add(eum_best_list *list, float *threshold, uint64_t k, bool smaller, eum_best entry);
/* Adds the entries of another list for the same k. */
void eum_best_join(eum_best_list *list, float *threshold, uint64_t k, bool smaller, const eum_best_list *other);
/* Puts the best k at the front, the best first. Returns how many they are. */
size_t eum_best_finish(eum_best_list *list, uint64_t k, bool smaller);

#endif
