/* scoring: the similarity operations, from a checked request to scores. One mechanism for all four of them.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * eum_engine_scoring (scoring_source.c) makes a buffer of targets that are in memory of the caller's, for the call. eum_scoring_run (scoring.c) asks
 * dispatch.h where to run, runs, falls back, and counts. There are three ways to run: as one launch (scoring_launch.c), as launches on chunks that
 * pass through staging buffers (scoring_chunks.c; their size: scoring_shape.h), and on the calling thread (scoring_host.c). The first does not wait
 * but where launches do; the other two return when the results are there, and so does everything with targets in memory of the caller's. */
#ifndef EUM_SRC_SCORING_H
#define EUM_SRC_SCORING_H

#include "kernels/scoring.h"

#include "buffer.h"
#include "scoring_shape.h"
#include "stream.h"

/* The operands of a request, in this order; without indices there are three. */
enum { EUM_QUERIES, EUM_TARGETS, EUM_SCORES, EUM_INDICES, EUM_SCORING_OPERANDS };
typedef struct eum_scoring_operands {
    eum_range ranges[EUM_SCORING_OPERANDS];
    eum_access accesses[EUM_SCORING_OPERANDS];
    size_t count;
    const char *const *names; /* as the public structs have them */
} eum_scoring_operands;
eum_scoring_operands eum_scoring_operands_of(const eum_scoring_request *request);

/* The request with its operands at these addresses. */
eum_scoring_args eum_scoring_args_of(const eum_scoring_request *request, void *const *addresses);
size_t eum_scoring_element_bytes(const eum_scoring_request *request);
/* The whole operation on this thread and the workers. Returns 0, or ENOMEM with nothing written. */
int32_t eum_scoring_compute(eum_operation operation, const eum_scoring_args *args, eum_cpu_isa isa, eum_workers *workers);

static inline bool eum_scoring_streams(const eum_scoring_request *request)
{
    return request->query_count <= EUM_STREAMED_QUERIES && request->numbers == NULL;
}

/* The targets are a buffer, be it one for this call (request->source is not NULL). */
eum_status eum_scoring_run(eum_strm *stream, const eum_scoring_request *request, eum_job *out);

/* As one launch. run: what is counted if the call repeats it. Errors: as eum_engine_launch. */
eum_status eum_scoring_launch(eum_strm *stream, const eum_scoring_request *request, const eum_run *run, eum_job *out);
/* Bytes of device memory that the context's kernels need beside the operands; 0: none. */
size_t eum_scoring_scratch(const eum_ctx *ctx, const eum_scoring_request *request);

/* A launch failed for want of room (`status`): could it do in chunks? */
bool eum_scoring_may_chunk(const eum_scoring_request *request, eum_status status);
/* WAITS. In chunks, on the context's device. *out_begun: results may have been written, so on failure they are undefined. */
eum_status eum_scoring_in_chunks(eum_strm *stream, const eum_scoring_request *request, bool *out_begun);

/* What can be refused is refused before results are held, or written in part: overlap, maps, results that are read-only. */
eum_status eum_scoring_check(eum_ctx *ctx, const eum_scoring_operands *all);
/* WAITS. On the calling thread. *out_begun as above. */
eum_status eum_scoring_on_host(eum_ctx *ctx, const eum_scoring_request *request, bool *out_begun);

#endif
