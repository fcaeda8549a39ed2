/* stream: the streams of a context, and points on them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_STREAM_H
#define EUM_SRC_STREAM_H

#include "context.h"

struct eum_strm {
    eum_ctx *ctx;
    eum_dstream *device_stream;
    uint64_t serial;     /* never reused in a context, from 1 */
    uint64_t sequence;   /* of the newest mark */
    uint32_t references; /* waiters and launches in flight; under the context's lock */
    bool ended;          /* the handle is gone */
    bool wrapped;        /* a CUDA stream of the user's own */
    bool exposed;        /* the user has its CUDA stream */
    uint64_t waited;     /* the newest sequence that somebody has waited for */
    uint64_t promised; /* the newest sequence that a job has; more than the newest mark's if that is still to come, or never came */
    bool ordered;      /* the newest thing on it may be an order, which no mark is behind; false if it is wrapped */
    bool internal;     /* the default and the transfer stream: hold no reference to the context */
};

/* Lock held for all of these. */
/* native: where the cudaStream_t to wrap stands (it may be CUDA's stream 0); NULL: a stream of our own. */
eum_status eum_strm_open(eum_ctx *ctx, bool internal, void *const *native, eum_strm **out);
eum_strm *eum_strm_find(eum_ctx *ctx, uint64_t serial); /* NULL: gone, so all its work is done */
/* A point after everything submitted to the stream so far. */
eum_status eum_strm_mark(eum_strm *stream, eum_point *out);
/* The same, which has passed, as has everything; on devices that can drain. */
void eum_strm_mark_passed(eum_strm *stream);
bool eum_point_passed(eum_ctx *ctx, eum_point point);
bool eum_point_passed_in(void *ctx, eum_point point); /* the same, for eum_hazards_prune */
/* Has somebody waited for all that the library has put on it? */
bool eum_strm_is_idle(const eum_strm *stream);
/* Makes what is submitted to `stream` from now on run after the point. */
eum_status eum_strm_order(eum_strm *stream, eum_point point);
/* An order has to pass, too, before its stream may go. If nothing is behind it (a launch that was refused, a prefetch of what is there), it gets a
 * mark. Where that fails, the stream stays until the context ends. */
void eum_strm_mark_orders(eum_strm *stream);
/* Frees the ended streams that have passed. */
void eum_streams_reap(eum_ctx *ctx);
/* Remembers that the job at the point failed. */
void eum_failure_add(eum_ctx *ctx, eum_point point, eum_status status, int32_t code);

/* WAITS; lock not held. */
eum_status eum_point_wait(eum_ctx *ctx, eum_point point, int64_t timeout_ns);

#endif
