/* submit: the operations of a simulated stream, up to its queue: arguments are checked, and the checker hears what they will use.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <stdlib.h>

/* cudaError_t values that real devices give for the failures that can be injected. */
#define CUDA_INVALID_VALUE 1
#define CUDA_NOT_SUPPORTED 801
#define CUDA_UNKNOWN 999

static eum_sim_op *new_op(eum_sim *sim, eum_sim_op_kind kind)
{
    eum_sim_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to queue an operation of the simulated GPU");
        return NULL;
    }
    op->kind = kind;
    eum_sim_lock_pages();
    op->submitted = sim->time;
    eum_sim_unlock_pages();
    return op;
}

static void free_op(eum_sim_op *op)
{
    eum_sim_clock_free(&op->clock);
    free(op->arguments);
    free(op->argument_offsets);
    free(op->ranges);
    free(op);
}

void eum_sim_op_end(eum_sim_stream *stream, eum_sim_op *op)
{
    eum_sim *sim = eum_sim_of(stream);
    for (int i = 0; i < 2; i++)
        if (op->block[i] != NULL)
            eum_sim_unpin(sim, op->block[i]);
    for (size_t i = 0; i < op->argument_count; i++)
        if (op->arguments[i] != NULL)
            eum_sim_unpin(sim, op->arguments[i]);
    if (op->other != NULL)
        eum_sim_stream_unref(op->other);
    free_op(op);
}

/* Finds the block under an address that should be on `side`. *out_block is NULL for plain host memory. sim->lock held. */
static eum_status resolve(eum_sim *sim, const void *address, size_t bytes, int side, const char *what, eum_sim_block **out_block,
                          size_t *out_offset)
{
    int found_side = 0;
    eum_sim_lock_pages();
    eum_sim_block *block = eum_sim_find(sim, address, &found_side, out_offset);
    eum_sim_unlock_pages();
    *out_block = block;
    if (block == NULL && side == EUM_SIM_DEVICE)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s at %p is not memory of the simulated device", what, address);
    if (block == NULL)
        return EUM_OK;
    if (block->owner != sim)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s at %p is memory of another simulated device", what, address);
    if (block->external ? block->view[side] == NULL : found_side != side)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s at %p is an address of the %s, and the %s uses it", what, address,
                        side == EUM_SIM_DEVICE ? "host" : "device", side == EUM_SIM_DEVICE ? "device" : "host");
    if (bytes > block->bytes || *out_offset > block->bytes - bytes)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s at %p: %zu bytes from byte %zu on end after their block of %zu bytes", what,
                        address, bytes, *out_offset, block->bytes);
    return EUM_OK;
}

eum_status eum_sim_copy(eum_dstream *base, void *dst, const void *src, size_t bytes, eum_direction direction)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = eum_sim_of(stream);
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_COPY))
        return eum_fail_cuda(CUDA_UNKNOWN, "cudaErrorUnknown", "the simulated GPU was told to fail this copy of %zu bytes", bytes);
    int to = direction == EUM_HOST_TO_DEVICE || direction == EUM_DEVICE_TO_DEVICE ? EUM_SIM_DEVICE : EUM_SIM_HOST;
    int from = direction == EUM_DEVICE_TO_HOST || direction == EUM_DEVICE_TO_DEVICE ? EUM_SIM_DEVICE : EUM_SIM_HOST;
    eum_sim_op *op = new_op(sim, EUM_SIM_OP_COPY);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    op->dst = dst;
    op->src = src;
    op->bytes = bytes;
    op->direction = direction;

    const int anywhere = EUM_SIM_AT_HOST | EUM_SIM_AT_DEVICE; /* a copy finds the bytes wherever they are */
    eum_sim_block *block[2] = {NULL, NULL};
    pthread_mutex_lock(&sim->lock);
    eum_status status = resolve(sim, dst, bytes, to, "the destination of a copy", &block[0], &op->offset[0]);
    if (status == EUM_OK)
        status = resolve(sim, src, bytes, from, "the source of a copy", &block[1], &op->offset[1]);
    if (status == EUM_OK)
        status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK) {
        eum_sim_check_begin(stream);
        for (int i = 0; i < 2; i++) {
            op->block[i] = block[i];
            if (block[i] == NULL)
                continue;
            block[i]->pending++;
            eum_sim_check_use(stream, block[i], op->offset[i], bytes, i == 0 ? EUM_SIM_USE_WRITE : EUM_SIM_USE_READ, anywhere,
                              "a copy");
        }
    }
    pthread_mutex_unlock(&sim->lock);
    if (status != EUM_OK)
        free_op(op);
    return status;
}

/* How a prefetch disturbs the others: the pages' advice says. Page lock held. Returns false if it takes nothing from anybody. */
static bool movement_kind(const eum_sim_block *block, size_t first, size_t count, int side, eum_sim_use_kind *out)
{
    bool duplicates = true, maps = side == EUM_SIM_HOST;
    for (size_t i = first; i < first + count; i++) {
        const eum_sim_page *page = &block->page[i];
        bool read_mostly = (page->flags & EUM_SIM_READ_MOSTLY) != 0;
        duplicates = duplicates && read_mostly;
        maps = maps && !read_mostly && (page->accessed_by & EUM_SIM_AT_DEVICE) != 0;
    }
    *out = duplicates ? EUM_SIM_USE_DUPLICATE : EUM_SIM_USE_MOVE;
    return !maps;
}

static eum_status check_managed(eum_sim *sim, const eum_block *block, size_t offset, size_t bytes, const char *what)
{
    const eum_sim_block *inner = (const eum_sim_block *)block->token;
    if (!sim->preset->concurrent)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "%s needs concurrent managed access, which a simulated %s does not have", what,
                        sim->preset->arch);
    if (inner == NULL || inner->page == NULL || inner->owner != sim)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s needs a managed block of this simulated device", what);
    if (bytes == 0 || offset > block->bytes || bytes > block->bytes - offset) /* whole pages may end after the block does */
        if (bytes == 0 || offset >= inner->span || bytes > inner->span - offset)
            return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "%s: bytes [%zu, %zu) are not in the block of %zu bytes", what, offset,
                            offset + bytes, block->bytes);
    return EUM_OK;
}

/* Offset in the allocation of an offset in a block, which is a part of it where it was adopted. */
static size_t inner_offset(const eum_block *block, size_t offset)
{
    const eum_sim_block *inner = (const eum_sim_block *)block->token;
    return (size_t)((const unsigned char *)block->host - inner->view[EUM_SIM_HOST]) + offset;
}

static eum_status submit_pages(eum_sim_stream *stream, eum_sim_op_kind kind, eum_sim_block *block, size_t offset, size_t bytes,
                               int side)
{
    eum_sim *sim = eum_sim_of(stream);
    eum_sim_op *op = new_op(sim, kind);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    size_t first = offset / EUM_SIM_PAGE, end = (offset + bytes - 1) / EUM_SIM_PAGE + 1;
    if (end > block->pages)
        end = block->pages;
    op->side = side;
    op->offset[0] = first;
    op->bytes = end - first; /* pages, here */
    eum_sim_use_kind use = EUM_SIM_USE_DISCARD;
    bool disturbs = true;

    pthread_mutex_lock(&sim->lock);
    if (kind == EUM_SIM_OP_PREFETCH) {
        eum_sim_lock_pages();
        disturbs = movement_kind(block, first, end - first, side, &use);
        eum_sim_unlock_pages();
    }
    eum_status status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK) {
        op->block[0] = block;
        block->pending++;
        eum_sim_check_begin(stream);
        int where = kind == EUM_SIM_OP_PREFETCH ? 1 << side : EUM_SIM_AT_HOST | EUM_SIM_AT_DEVICE;
        if (disturbs)
            eum_sim_check_use(stream, block, first * EUM_SIM_PAGE, (end - first) * EUM_SIM_PAGE, use, where,
                              kind == EUM_SIM_OP_PREFETCH ? "a prefetch" : "a discard");
    }
    pthread_mutex_unlock(&sim->lock);
    if (status != EUM_OK)
        free_op(op);
    return status;
}

static eum_status check_location(eum_location where)
{
    if (where == EUM_LOCATION_HOST || where == 0)
        return EUM_OK;
    return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "location %d: there is the host (-1) and one simulated device (0)", (int)where);
}

eum_status eum_sim_prefetch(eum_dstream *base, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    if (eum_sim_alive(eum_sim_of(stream)) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(eum_sim_of(stream), EUM_SIM_PREFETCH))
        return eum_fail_cuda(CUDA_INVALID_VALUE, "cudaErrorInvalidValue", "the simulated GPU was told to fail this prefetch");
    eum_status status = check_managed(eum_sim_of(stream), block, offset, bytes, "a prefetch");
    if (status == EUM_OK)
        status = check_location(where);
    if (status != EUM_OK)
        return status;
    return submit_pages(stream, EUM_SIM_OP_PREFETCH, (eum_sim_block *)block->token, inner_offset(block, offset), bytes,
                        where == EUM_LOCATION_HOST ? EUM_SIM_HOST : EUM_SIM_DEVICE);
}

static eum_sim_range range_of(const eum_piece *piece)
{
    const eum_sim_block *block = (const eum_sim_block *)piece->block->token;
    size_t begin = inner_offset(piece->block, piece->offset), end = (begin + piece->bytes - 1) / EUM_SIM_PAGE + 1;
    size_t first = begin / EUM_SIM_PAGE;
    return (eum_sim_range){.first = first,
                           .count = (end < block->pages ? end : block->pages) - first,
                           .side = piece->where == EUM_LOCATION_HOST ? EUM_SIM_HOST : EUM_SIM_DEVICE};
}

/* Ranges of one call are in no order. */
static void check_disjoint(eum_sim *sim, const eum_sim_op *op, size_t count)
{
    eum_sim_lock_pages();
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++) {
            const eum_sim_range *a = &op->ranges[k], *b = &op->ranges[i];
            if (op->arguments[k] == op->arguments[i] && a->first < b->first + b->count && b->first < a->first + a->count)
                eum_sim_violation(sim, "ranges %zu and %zu of a prefetch of %zu have pages in common, and nothing orders them", k,
                                  i, count);
        }
    eum_sim_unlock_pages();
    eum_sim_log_violations(sim);
}

static eum_status fill_ranges(eum_sim *sim, const eum_piece *pieces, size_t count, eum_sim_op *op)
{
    eum_status status = EUM_OK;
    for (size_t i = 0; i < count && status == EUM_OK; i++) {
        status = check_managed(sim, pieces[i].block, pieces[i].offset, pieces[i].bytes, "a prefetch of many ranges");
        if (status == EUM_OK)
            status = check_location(pieces[i].where);
        if (status != EUM_OK)
            return status;
        op->arguments[i] = (eum_sim_block *)pieces[i].block->token;
        op->ranges[i] = range_of(&pieces[i]);
    }
    check_disjoint(sim, op, count);
    return status;
}

/* sim->lock held. */
static void use_ranges(eum_sim_stream *stream, eum_sim_op *op, size_t count)
{
    op->argument_count = count;
    eum_sim_check_begin(stream);
    for (size_t i = 0; i < count; i++) {
        const eum_sim_range *range = &op->ranges[i];
        eum_sim_use_kind use;
        op->arguments[i]->pending++;
        eum_sim_lock_pages();
        bool disturbs = movement_kind(op->arguments[i], range->first, range->count, range->side, &use);
        eum_sim_unlock_pages();
        if (disturbs)
            eum_sim_check_use(stream, op->arguments[i], range->first * EUM_SIM_PAGE, range->count * EUM_SIM_PAGE, use,
                              1 << range->side, "a prefetch");
    }
}

eum_status eum_sim_prefetch_many(eum_dstream *base, const eum_piece *pieces, size_t count)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = eum_sim_of(stream);
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_PREFETCH_MANY))
        return eum_fail_cuda(CUDA_INVALID_VALUE, "cudaErrorInvalidValue",
                             "the simulated GPU was told to fail this prefetch of %zu ranges", count);
    if (!sim->preset->prefetch_many)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "a simulated %s cannot prefetch many ranges by one call", sim->preset->arch);
    eum_sim_op *op = new_op(sim, EUM_SIM_OP_PREFETCH_MANY);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    op->arguments = calloc(count, sizeof(eum_sim_block *));
    op->ranges = calloc(count, sizeof(eum_sim_range));
    eum_status status = EUM_OK;
    if (op->arguments == NULL || op->ranges == NULL)
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to queue a prefetch of %zu ranges", count);
    if (status == EUM_OK)
        status = fill_ranges(sim, pieces, count, op);
    pthread_mutex_lock(&sim->lock);
    if (status == EUM_OK)
        status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK)
        use_ranges(stream, op, count);
    pthread_mutex_unlock(&sim->lock);
    if (status != EUM_OK)
        free_op(op);
    return status;
}

eum_status eum_sim_discard(eum_dstream *base, const eum_block *block, size_t offset, size_t bytes)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    if (eum_sim_alive(eum_sim_of(stream)) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(eum_sim_of(stream), EUM_SIM_DISCARD))
        return eum_fail_cuda(CUDA_NOT_SUPPORTED, "cudaErrorNotSupported", "the simulated GPU was told to fail this discard");
    if (!eum_sim_of(stream)->preset->discard)
        return eum_fail(EUM_ERROR_NOT_SUPPORTED, "a simulated %s cannot discard", eum_sim_of(stream)->preset->arch);
    eum_status status = check_managed(eum_sim_of(stream), block, offset, bytes, "a discard");
    if (status != EUM_OK)
        return status;
    size_t from = inner_offset(block, offset);
    if (from % EUM_SIM_PAGE != 0 || bytes % EUM_SIM_PAGE != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "a discard of %zu bytes from byte %zu on is not one of whole pages", bytes,
                        offset);
    return submit_pages(stream, EUM_SIM_OP_DISCARD, (eum_sim_block *)block->token, from, bytes, EUM_SIM_HOST);
}

eum_status eum_sim_advise(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                          eum_location where)
{
    eum_sim *sim = (eum_sim *)device;
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_ADVISE))
        return eum_fail_cuda(CUDA_INVALID_VALUE, "cudaErrorInvalidValue", "the simulated GPU was told to fail this advice");
    eum_status status = check_managed(sim, block, offset, bytes, "advice");
    if (status == EUM_OK && advice >= EUM_ADVICE_PREFERRED_LOCATION && advice != EUM_ADVICE_UNSET_PREFERRED_LOCATION)
        status = check_location(where);
    if (status == EUM_OK && (advice < EUM_ADVICE_READ_MOSTLY || advice > EUM_ADVICE_UNSET_ACCESSED_BY))
        status = eum_fail(EUM_ERROR_INVALID_ENUM, "advice %d is not known", (int)advice);
    if (status != EUM_OK)
        return status;
    eum_sim_block *inner = (eum_sim_block *)block->token;
    size_t from = inner_offset(block, offset), first = from / EUM_SIM_PAGE, end = (from + bytes - 1) / EUM_SIM_PAGE + 1;
    eum_sim_lock_pages();
    eum_sim_pages_advise(inner, first, (end < inner->pages ? end : inner->pages) - first, advice,
                         where == EUM_LOCATION_HOST ? EUM_SIM_HOST : EUM_SIM_DEVICE);
    eum_sim_unlock_pages();
    return EUM_OK;
}

static eum_status resolve_arguments(eum_sim *sim, const eum_task *task, eum_sim_op *op)
{
    if (task->call.count == 0)
        return EUM_OK;
    for (size_t i = 0; i < task->call.count; i++) {
        op->arguments[i] = NULL;
        if (task->call.bytes[i] == 0)
            continue;
        eum_status status = resolve(sim, task->call.addresses[i], task->call.bytes[i], EUM_SIM_DEVICE, "an argument of a kernel",
                                    &op->arguments[i], &op->argument_offsets[i]);
        if (status != EUM_OK)
            return status;
    }
    return EUM_OK;
}

eum_status eum_sim_submit(eum_dstream *base, eum_task *task)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = eum_sim_of(stream);
    size_t count = task->call.count;
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_SUBMIT))
        return eum_fail(EUM_ERROR_LAUNCH_FAILED, "the simulated GPU was told to fail this launch");
    if (task->cpu == NULL)
        return eum_fail(EUM_ERROR_NO_KERNEL, "the launch has no CPU callback, which is what a simulated GPU runs");
    eum_sim_op *op = new_op(sim, EUM_SIM_OP_KERNEL);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    op->task = task;
    op->fatal = eum_sim_inject_loss(sim);
    op->arguments = count == 0 ? NULL : calloc(count, sizeof(eum_sim_block *));
    op->argument_offsets = count == 0 ? NULL : calloc(count, sizeof(size_t));
    if (count > 0 && (op->arguments == NULL || op->argument_offsets == NULL)) {
        free_op(op);
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to queue a kernel with %zu arguments", count);
    }

    pthread_mutex_lock(&sim->lock);
    eum_status status = resolve_arguments(sim, task, op);
    if (status == EUM_OK)
        status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK) {
        op->argument_count = count;
        eum_sim_check_begin(stream);
        stream->kernel_tick = stream->clock.tick[stream->slot];
        for (size_t i = 0; i < count; i++) {
            if (op->arguments[i] == NULL)
                continue;
            op->arguments[i]->pending++;
            bool reads = task->accesses != NULL && task->accesses[i] == EUM_ACCESS_READ;
            eum_sim_check_use(stream, op->arguments[i], op->argument_offsets[i], task->call.bytes[i],
                              reads ? EUM_SIM_USE_READ : EUM_SIM_USE_WRITE, EUM_SIM_AT_DEVICE, "a kernel");
        }
        if (!sim->preset->concurrent) {
            eum_sim_lock_pages();
            eum_sim_pages_close_host(sim);
            eum_sim_unlock_pages();
        }
    }
    pthread_mutex_unlock(&sim->lock);
    if (status != EUM_OK)
        free_op(op);
    return status;
}

eum_status eum_sim_host_call(eum_dstream *base, void (*fn)(void *user), void *user)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = eum_sim_of(stream);
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_HOST_CALL))
        return eum_fail_cuda(CUDA_UNKNOWN, "cudaErrorUnknown", "the simulated GPU was told to fail this host call");
    eum_sim_op *op = new_op(sim, EUM_SIM_OP_CALL);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    op->fn = fn;
    op->user = user;
    pthread_mutex_lock(&sim->lock);
    eum_status status = EUM_OK;
    if (!eum_sim_clock_reserve(&op->clock, sim->slots))
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory to queue a host call of the simulated GPU");
    if (status == EUM_OK)
        status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK) {
        eum_sim_check_begin(stream);
        eum_sim_clock_join(&op->clock, &stream->clock);
    }
    pthread_mutex_unlock(&sim->lock);
    if (status != EUM_OK)
        free_op(op);
    return status;
}

eum_status eum_sim_mark_stream(eum_dstream *base, uint64_t *out_sequence)
{
    eum_sim_stream *stream = (eum_sim_stream *)base;
    eum_sim *sim = eum_sim_of(stream);
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_MARK))
        return eum_fail_cuda(CUDA_UNKNOWN, "cudaErrorUnknown", "the simulated GPU was told to fail this mark");
    eum_sim_op *op = new_op(sim, EUM_SIM_OP_MARK);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim->lock);
    eum_status status = EUM_OK;
    eum_sim_mark mark = {.sequence = stream->sequence + 1, .time = stream->time};
    op->sequence = mark.sequence;
    if (!eum_sim_mark_reserve(stream) || !eum_sim_clock_reserve(&mark.clock, sim->slots))
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "no memory for a mark on a stream of the simulated GPU");
    bool idle = stream->head == NULL;
    if (status == EUM_OK && !idle)
        status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK) {
        eum_sim_clock_join(&mark.clock, &stream->clock);
        stream->mark[stream->mark_first + stream->mark_count++] = mark;
        *out_sequence = stream->sequence = mark.sequence;
        if (idle) /* nothing is in front of it */
            stream->passed = mark.sequence;
    } else {
        eum_sim_clock_free(&mark.clock);
    }
    pthread_mutex_unlock(&sim->lock);
    if (idle || status != EUM_OK)
        free_op(op);
    return status;
}

eum_status eum_sim_order(eum_dstream *base, eum_dstream *other_base, uint64_t sequence)
{
    eum_sim_stream *stream = (eum_sim_stream *)base, *other = (eum_sim_stream *)other_base;
    eum_sim *sim = eum_sim_of(stream);
    if (eum_sim_alive(sim) != EUM_OK)
        return EUM_ERROR_DEVICE_LOST;
    if (eum_sim_inject(sim, EUM_SIM_ORDER))
        return eum_fail_cuda(CUDA_UNKNOWN, "cudaErrorUnknown", "the simulated GPU was told to fail this ordering");
    eum_sim_op *op = new_op(sim, EUM_SIM_OP_ORDER);
    if (op == NULL)
        return EUM_ERROR_OUT_OF_MEMORY;
    op->sequence = sequence;
    pthread_mutex_lock(&sim->lock);
    eum_status status = EUM_OK;
    if (sequence > other->sequence)
        status = eum_fail(EUM_ERROR_INVALID_ARGUMENT, "point %llu of a stream whose last is %llu would never pass",
                          (unsigned long long)sequence, (unsigned long long)other->sequence);
    if (status == EUM_OK)
        status = eum_sim_enqueue(stream, op);
    if (status == EUM_OK) {
        op->other = other;
        other->references++;
        eum_sim_check_begin(stream);
        const eum_sim_mark *mark = eum_sim_mark_find(other, sequence);
        if (mark != NULL) /* else the host knows, and so does what it submits */
            eum_sim_clock_join(&stream->clock, &mark->clock);
    }
    pthread_mutex_unlock(&sim->lock);
    if (status != EUM_OK)
        free_op(op);
    return status;
}
