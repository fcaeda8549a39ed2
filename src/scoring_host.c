/* scoring_host: a similarity operation on the calling thread, whatever the device: the operands are held as maps hold them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <inttypes.h>

#include "launch.h"
#include "norms.h"
#include "scoring.h"

eum_status eum_scoring_check(eum_ctx *ctx, const eum_scoring_operands *all)
{
    const eum_launch_request as_launch = {
        .ranges = all->ranges, .accesses = all->accesses, .count = all->count, .names = all->names};
    eum_status status = eum_launch_check(ctx->default_stream, &as_launch); /* views that overlap */
    for (size_t i = 0; i < all->count && status == EUM_OK; i++) {
        eum_buf *buf = all->ranges[i].buf;
        status = eum_buf_enter(buf, "a similarity operation");
        if (status != EUM_OK)
            return status;
        status = eum_buf_check_mapped(buf, all->ranges[i].offset, all->ranges[i].bytes, all->accesses[i]);
        eum_ctx_unlock(ctx);
    }
    return status;
}

static eum_status check(eum_ctx *ctx, const eum_scoring_operands *all)
{
    eum_status status = eum_check_may_wait("a similarity operation on the CPU");
    if (status == EUM_OK)
        status = eum_scoring_check(ctx, all);
    for (size_t i = 0; i < all->count && status == EUM_OK; i++)
        if (all->ranges[i].buf->backing == EUM_BACKING_DEVICE)
            status = eum_fail(
                EUM_ERROR_NO_HOST_ACCESS,
                "an operand wraps device memory, which the CPU cannot reach; use EUM_EXECUTOR_DEVICE or EUM_EXECUTOR_AUTO");
    return status;
}

static void let_go(const eum_scoring_operands *all, const uint64_t *leases, size_t held)
{
    while (held > 0) {
        held--;
        eum_buf_let_go(all->ranges[held].buf, leases[held]);
    }
}

eum_status eum_scoring_on_host(eum_ctx *ctx, const eum_scoring_request *request, bool *out_begun)
{
    eum_scoring_operands all = eum_scoring_operands_of(request);
    void *addresses[EUM_SCORING_OPERANDS] = {NULL};
    uint64_t leases[EUM_SCORING_OPERANDS] = {0};
    size_t held = 0;
    *out_begun = false;
    eum_status status = check(ctx, &all);
    for (; status == EUM_OK && held < all.count; held += status == EUM_OK)
        status = eum_buf_hold_for_kernel(all.ranges[held], all.accesses[held], &addresses[held], &leases[held]);
    *out_begun = held > EUM_SCORES;
    if (status == EUM_OK) {
        eum_scoring_args args = eum_scoring_args_of(request, addresses);
        eum_buf *targets = request->targets.buf; /* held, as all operands: no write takes its turn now */
        eum_norms *norms =
            eum_norms_serve(targets, &args, ctx->isa) ? eum_norms_begin(targets, request->targets.offset, NULL, &args) : NULL;
        int32_t code = eum_scoring_compute(request->operation, &args, ctx->isa, ctx->workers);
        eum_norms_done(norms, &args, code == 0);
        if (code != 0)
            status = eum_fail(EUM_ERROR_JOB_FAILED,
                              "the CPU kernels returned %" PRId32 ": no memory for their copies of %" PRIu64
                              " queries; pass fewer at once. The results are undefined until they are written again",
                              code, request->query_count);
    }
    eum_error saved;
    eum_error_save(&saved);
    let_go(&all, leases, held);
    eum_error_restore(&saved);
    return status;
}
