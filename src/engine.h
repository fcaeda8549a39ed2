/* engine: what the C ABI layer calls. Objects instead of handles; arguments already checked where the comment says so.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Division of work. ffi/ checks everything that can be checked without looking into an object: NULL outputs, struct_size (it hands over
 * full, current structs), enumeration values, flags, handles (it pins them for the call), bytes == EUM_WHOLE_SIZE, overflow of
 * offset + bytes, bounds (eum_buf_bytes), alignment and shape of similarity operands, and eum_check_may_wait for calls that wait. The
 * engine checks what needs state: access to read-only buffers, live maps, overlap, contexts, undefined data, memory, devices.
 * Every function is thread-safe, writes outputs only on success, and sets this thread's error detail when it fails. */
#ifndef EUM_SRC_ENGINE_H
#define EUM_SRC_ENGINE_H

#include <stdbool.h>

#include "status.h"

typedef struct eum_ctx eum_ctx;   /* context */
typedef struct eum_buf eum_buf;   /* buffer */
typedef struct eum_strm eum_strm; /* stream */

/* A checked view: offset + bytes <= eum_buf_bytes(buf), no overflow. */
typedef struct eum_range {
    eum_buf *buf;
    size_t offset;
    size_t bytes;
} eum_range;

/* Contexts. The handle holds the reference that create returns and drops it with eum_ctx_end. Buffers and streams hold references of
 * their own. */
eum_status eum_ctx_create(const eum_context_config *config, eum_ctx **out);
void eum_ctx_end(eum_ctx *ctx);
eum_status eum_ctx_info(eum_ctx *ctx, eum_info *out);
eum_status eum_ctx_trim(eum_ctx *ctx, uint64_t keep);
eum_status eum_ctx_stats(eum_ctx *ctx, eum_stats *out);
eum_status eum_ctx_operation_stats(eum_ctx *ctx, eum_operation operation, eum_operation_stats *out);
eum_status eum_ctx_costs(eum_ctx *ctx, eum_costs_info *out);
eum_status eum_ctx_calibrate(eum_ctx *ctx, eum_costs_info *out); /* waits */
eum_status eum_ctx_save_costs(eum_ctx *ctx, const char *path);
/* A checked shape: query_count x dim x 4 and dim x 4 fit. */
eum_status eum_ctx_break_even(eum_ctx *ctx, const eum_break_even_config *config, eum_break_even *out);
eum_strm *eum_ctx_default_stream(eum_ctx *ctx);
/* Waits (unless timeout is 0). stream and sequence as in eum_job; 0, 0 is done. */
eum_status eum_ctx_job_wait(eum_ctx *ctx, uint64_t stream, uint64_t sequence, int64_t timeout_ns);

/* Counting windows; begin and end wait. */
eum_status eum_ctx_faults_begin(eum_ctx *ctx);
eum_status eum_ctx_faults_end(eum_ctx *ctx, eum_faults *out);
eum_status eum_buf_faults(eum_buf *buf, eum_faults *out);

/* Buffers. */
eum_status eum_buf_create(eum_ctx *ctx, size_t bytes, const eum_buffer_config *config, eum_buf **out);
eum_status eum_buf_wrap(eum_ctx *ctx, const eum_wrap_config *config, eum_buf **out);
size_t eum_buf_bytes(const eum_buf *buf); /* constant, no lock */
/* Is its address (of wrapped memory: anything) a multiple of `to`, a power of two <= 256? */
bool eum_buf_aligned(const eum_buf *buf, size_t to);
bool eum_buf_is_wrapped(const eum_buf *buf); /* destroy waits: retire its handle with wait_for_pins */
eum_ctx *eum_buf_context(const eum_buf *buf);
/* Waits. On success the object is empty: every later call on it fails with EUM_ERROR_INVALID_HANDLE; retire the handle then. */
eum_status eum_buf_into_raw(eum_buf *buf, eum_raw *out);
/* Finalizer of the handle. A wrapped buffer waits for its jobs. */
void eum_buf_end(eum_buf *buf);
eum_status eum_buf_set_role(eum_buf *buf, eum_role role);
eum_status eum_buf_explain(eum_buf *buf, eum_decision *out);
/* What contradicts, and which role would suit: a sentence without its end. Static; NULL: no contradiction, or an unknown one. */
const char *eum_contradiction_sentence(eum_contradiction contradiction);
eum_status eum_buf_info(eum_buf *buf, eum_buffer_info *out);

/* Maps and transfers; the first four wait. */
eum_status eum_buf_map(eum_range range, eum_access access, void **out);
eum_status eum_buf_unmap(eum_buf *buf, void *mapped);
eum_status eum_buf_write(eum_range range, const void *src);
eum_status eum_buf_read(eum_range range, void *dst);
eum_status eum_buf_prefetch(eum_range range, eum_location where, eum_strm *stream); /* stream NULL: default */
eum_status eum_buf_advise(eum_range range, eum_advice advice, eum_location where, eum_hint *out);

/* Streams. */
eum_status eum_strm_create(eum_ctx *ctx, const eum_stream_config *config, eum_strm **out);
eum_status eum_strm_wrap(eum_ctx *ctx, void *cuda_stream, eum_strm **out);
void eum_strm_end(eum_strm *stream); /* finalizer of the handle; does not wait */
eum_status eum_strm_synchronize(eum_strm *stream);
eum_status eum_strm_on_done(eum_strm *stream, eum_done_fn fn, void *user);
eum_ctx *eum_strm_context(const eum_strm *stream);
eum_status eum_strm_native(eum_strm *stream, void **out);
eum_status eum_ctx_job_event(eum_ctx *ctx, uint64_t stream, uint64_t sequence, void **out);

/* What a call was given, byte for byte. */
typedef struct eum_call_key {
    int32_t kind; /* 0: a launch; else the eum_operation */
    size_t bytes;
    const void *given;
} eum_call_key;
#define EUM_CALL_KEY_BYTES 192u /* longer ones are not remembered */
/* If the same call was made on the stream just now, and nothing has happened that would make it another launch, launches it again: true, and
 * *out_status is how that went. config: the callbacks and params of a launch; NULL: an operation, whose are known. */
bool eum_engine_again(eum_strm *stream, const eum_call_key *key, const eum_launch_config *config, eum_job *out,
                      eum_status *out_status);

/* Rows of memory of the caller's that a launch hands its kernel: all of them, or, in one of several launches for one call, a chunk. */
typedef struct eum_launch_rows {
    const void *address; /* where the kernel reads them; NULL: there are none, or they are staged: */
    bool staged;         /* they are the last of the ranges, of which the kernel is not told as one of its arguments */
    uint64_t first, count;
    struct eum_launch_parts *parts; /* launch.h; NULL: this is the only launch */
    bool continues; /* another one for the same call was before it, with the same arguments, which nobody else has had since */
    bool last;
} eum_launch_rows;

struct eum_node;

/* Launches. arguments: checked ranges; params: copied. The job's context field is left to the caller. */
typedef struct eum_launch_request {
    eum_kernel_fn gpu, cpu;
    const eum_range *ranges;
    const eum_access *accesses;
    size_t count;
    const char *const *names; /* what sentences call the arguments, for ever valid; NULL: "argument 0" and so on */
    const void *params;
    size_t params_bytes;
    void *user;
    uint64_t once; /* bit i: the kernel reads or writes each byte of argument i once, without atomics */
    bool (*node)(const eum_kernel_call *call,
                 struct eum_node *out); /* device/device.h; NULL: it may be more than one kernel, or another's */
    bool anywhere;                      /* the kernels are the library's own: a thread that waits for the CPU's may run it */
    size_t versioned;            /* 1 + which argument's version the library's own CPU kernel is told, by call->user; 0: none */
    bool chosen;                 /* its place was chosen by cost, and is chosen anew when bytes have moved */
    const eum_call_key *key;     /* NULL: the launch is not remembered. Else copied */
    const struct eum_run *run;   /* of an operation; copied with the key */
    const eum_launch_rows *rows; /* NULL: none. Else copied, and there is no key */
} eum_launch_request;
eum_status eum_engine_launch(eum_strm *stream, const eum_launch_request *request, eum_job *out);

/* rows x row_bytes bytes from `address` on: they fit, and are of no row only if address may be NULL. */
typedef struct eum_launch_source {
    const void *address;
    uint64_t rows;
    size_t row_bytes; /* 1 or more */
} eum_launch_source;
/* A launch whose kernel reads a source. May wait; see launch_source.c. request: without key and rows, and with at most 63 arguments. */
eum_status eum_engine_launch_source(eum_strm *stream, const eum_launch_request *request, const eum_launch_source *source,
                                    eum_job *out);

/* Acquire and release by code that works outside; counts and arrays as in a launch. */
eum_status eum_engine_acquire(eum_strm *stream, const eum_range *ranges, const eum_access *accesses, size_t count,
                              void **out_addresses);
eum_status eum_engine_release(eum_strm *stream, const eum_range *ranges, const eum_access *accesses, size_t count, eum_job *out);

/* The similarity operations: all scores, the best rows, or the scores of a list of rows. Shapes fit; strides are not 0. */
typedef struct eum_scoring_request {
    eum_operation operation; /* EUM_OPERATION_COSINE: one float32 query by cosine */
    eum_executor executor;
    eum_metric metric;
    eum_element element;
    eum_range queries, targets, scores;
    eum_range indices; /* buf NULL: all scores */
    const void
        *source; /* NULL, or the targets in memory of the caller's, read during the call only; targets then has their bytes alone */
    const int64_t *numbers; /* NULL: all rows. Else `rows` numbers in range; copied */
    uint64_t query_count, rows, dim, k;
    size_t query_stride, row_stride;
    const eum_call_key *key; /* NULL: each call is looked at */
    eum_status tried;        /* EUM_OK; else eum_engine_again launched it, and this is how that failed */
} eum_scoring_request;
/* May wait: src/scoring.h says when. */
eum_status eum_engine_scoring(eum_strm *stream, const eum_scoring_request *request, eum_job *out);

#endif
