/* norms: see norms.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "norms.h"

#include <stdlib.h>

static bool is_same(const eum_norms_shape *a, const eum_norms_shape *b)
{
    return a->version == b->version && a->offset == b->offset && a->rows == b->rows && a->dim == b->dim &&
           a->row_stride == b->row_stride && a->element == b->element;
}

static void let_go(eum_norms *norms)
{
    if (norms != NULL && atomic_fetch_sub(&norms->references, 1) == 1)
        free(norms);
}

/* In place of what the buffer has. NULL, and nothing changed: there is no memory, and it goes without. Lock held. */
static eum_norms *replace(eum_buf *buf, const eum_norms_shape *of, uint64_t values, eum_norms_state state)
{
    eum_norms *norms = malloc(sizeof *norms + values * sizeof norms->values[0]);
    if (norms == NULL)
        return NULL;
    norms->of = *of;
    atomic_init(&norms->references, 1);
    atomic_init(&norms->state, state);
    let_go(buf->norms);
    buf->norms = norms;
    return norms;
}

bool eum_norms_serve(const eum_buf *targets, const eum_scoring_args *args, eum_cpu_isa isa)
{
    return args->metric == EUM_METRIC_COSINE && args->query_count > 1 && args->numbers == NULL && args->rows > 0 &&
           args->dim >= EUM_NORMS_LEAST_DIM && isa != EUM_CPU_SCALAR && !targets->wrapped; /* wrapped bytes may change unseen */
}

/* Lock held. The one whose values are to be read (*out_known) or written; else NULL. */
static eum_norms *find(eum_buf *targets, const eum_norms_shape *of, bool *out_known)
{
    eum_norms *norms = targets->norms;
    if (norms == NULL || !is_same(&norms->of, of)) {
        if (norms == NULL || norms->of.version <= of->version)
            (void)replace(targets, of, 0, EUM_NORMS_SEEN);
        return NULL;
    }
    eum_norms_state now = atomic_load(&norms->state);
    if (now == EUM_NORMS_SEEN)
        norms = replace(targets, of, of->rows, EUM_NORMS_FILLING);
    else if (now == EUM_NORMS_EMPTY)
        atomic_store(&norms->state, EUM_NORMS_FILLING);
    *out_known = now == EUM_NORMS_FULL;
    return now == EUM_NORMS_FILLING ? NULL : norms;
}

eum_norms *eum_norms_begin(eum_buf *targets, uint64_t offset, const uint64_t *version, eum_scoring_args *args)
{
    eum_norms_shape of = {0, offset, args->rows, args->dim, args->row_stride, args->element};
    bool known = false;
    pthread_mutex_lock(&targets->ctx->lock);
    of.version = version != NULL ? *version : targets->version;
    eum_norms *norms = find(targets, &of, &known);
    if (norms != NULL)
        atomic_fetch_add(&norms->references, 1);
    pthread_mutex_unlock(&targets->ctx->lock);
    args->norms = norms != NULL ? norms->values : NULL;
    args->norms_known = known;
    return norms;
}

void eum_norms_done(eum_norms *norms, const eum_scoring_args *args, bool complete)
{
    if (norms != NULL && !args->norms_known)
        atomic_store(&norms->state, complete ? EUM_NORMS_FULL : EUM_NORMS_EMPTY);
    let_go(norms);
}

void eum_norms_drop(eum_buf *buf)
{
    let_go(buf->norms);
    buf->norms = NULL;
}
