/* run: what the operations of a simulated stream do when their turn has come, and what that costs.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <string.h>

static void *copy_address(const eum_sim_op *op, int which, void *plain)
{
    const eum_sim_block *block = op->block[which];
    return block == NULL ? plain : block->raw + op->offset[which];
}

static void count_copy(eum_sim_counters *counters, const eum_sim_op *op)
{
    counters->copies[op->direction]++;
    counters->bytes_copied[op->direction] += op->bytes;
}

static uint64_t run_copy(eum_sim *sim, const eum_sim_op *op)
{
    int to = op->direction == EUM_HOST_TO_DEVICE || op->direction == EUM_DEVICE_TO_DEVICE ? EUM_SIM_DEVICE : EUM_SIM_HOST;
    eum_sim_lock_pages();
    if (op->block[0] != NULL && op->block[0]->page != NULL)
        eum_sim_pages_copied_to(op->block[0], op->offset[0], op->bytes, to);
    count_copy(&sim->counters, op);
    for (int i = 0; i < 2; i++)
        if (op->block[i] != NULL && (i == 0 || op->block[0] != op->block[1]))
            count_copy(&op->block[i]->counters, op);
    eum_sim_unlock_pages();
    memmove(copy_address(op, 0, op->dst), copy_address(op, 1, (void *)(uintptr_t)op->src), op->bytes);
    return eum_sim_cost_copy(sim, op->bytes, op->direction);
}

/* What a kernel costs without its faults: its start, and its bytes from where they are. */
static uint64_t kernel_cost(const eum_sim *sim, const eum_sim_op *op)
{
    uint64_t near = 0, far = 0, read = 0;
    for (size_t i = 0; i < op->argument_count; i++) {
        const eum_sim_block *block = op->arguments[i];
        size_t bytes = op->task->call.bytes[i], remote = 0;
        if (block == NULL)
            continue;
        if (block->page != NULL)
            remote = eum_sim_pages_remote(block, op->argument_offsets[i], bytes);
        else if (block->kind != EUM_MEMORY_DEVICE)
            remote = bytes;
        far += remote;
        if (op->task->accesses == NULL || op->task->accesses[i] != EUM_ACCESS_OVERWRITE)
            read += remote;
        near += bytes - remote;
    }
    return sim->preset->launch + eum_sim_cost_bytes(near, sim->preset->memory_mbps) +
           eum_sim_cost_bytes(far, sim->preset->link_mbps) + eum_cost_reach(read);
}

/* A lost device runs nothing more; what waits for its tasks hears of it. */
static uint64_t lose_kernel(eum_sim *sim, const eum_sim_op *op)
{
    atomic_store(&sim->lost, true);
    eum_callback_depth++;
    if (op->task->finish != NULL)
        op->task->finish(op->task, EUM_ERROR_DEVICE_LOST, 0);
    eum_callback_depth--;
    return 0;
}

static uint64_t run_kernel(eum_sim *sim, const eum_sim_op *op)
{
    eum_task *task = op->task;
    if (op->fatal || atomic_load(&sim->lost))
        return lose_kernel(sim, op);
    eum_kernel_call call = task->call;
    call.stream = NULL;
    call.device = 0;
    uint64_t cost = 0;
    eum_sim_lock_pages();
    if (!sim->preset->concurrent)
        cost += eum_sim_pages_launch(sim);
    sim->kernels_running++;
    eum_sim_unlock_pages();

    eum_callback_depth++;
    eum_sim_in_kernel++;
    eum_sim_fault_ns = 0;
    int32_t code = task->cpu(&call);
    eum_sim_in_kernel--;
    cost += eum_sim_fault_ns;

    eum_sim_lock_pages();
    sim->kernels_running--;
    sim->counters.kernels++;
    cost += kernel_cost(sim, op);
    eum_sim_unlock_pages();
    if (task->finish != NULL)
        task->finish(task, code == 0 ? EUM_OK : EUM_ERROR_JOB_FAILED, code);
    eum_callback_depth--;
    return cost;
}

static uint64_t run_call(eum_sim *sim, const eum_sim_op *op)
{
    /* Whoever it tells knows that the stream came so far. */
    pthread_mutex_lock(&sim->lock);
    eum_sim_clock_join(&sim->host, &op->clock);
    eum_sim_host_learned(sim);
    pthread_mutex_unlock(&sim->lock);
    eum_callback_depth++;
    op->fn(op->user);
    eum_callback_depth--;
    return 0;
}

/* The fixed cost of one. They are in no order: the last comes first here, so that who relies on an order is found out. */
static uint64_t run_prefetches(const eum_sim *sim, const eum_sim_op *op)
{
    uint64_t fixed = sim->preset->prefetch, cost = fixed;
    eum_sim_lock_pages();
    for (size_t i = op->argument_count; i-- > 0;)
        cost += eum_sim_pages_prefetch(op->arguments[i], op->ranges[i].first, op->ranges[i].count, op->ranges[i].side) - fixed;
    eum_sim_unlock_pages();
    return cost;
}

uint64_t eum_sim_op_run(eum_sim *sim, eum_sim_op *op)
{
    uint64_t cost = 0;
    if (atomic_load(&sim->lost) && op->kind != EUM_SIM_OP_KERNEL && op->kind != EUM_SIM_OP_CALL)
        return cost;
    switch (op->kind) {
    case EUM_SIM_OP_COPY:
        return run_copy(sim, op);
    case EUM_SIM_OP_KERNEL:
        return run_kernel(sim, op);
    case EUM_SIM_OP_CALL:
        return run_call(sim, op);
    case EUM_SIM_OP_PREFETCH:
        eum_sim_lock_pages();
        cost = eum_sim_pages_prefetch(op->block[0], op->offset[0], op->bytes, op->side);
        eum_sim_unlock_pages();
        return cost;
    case EUM_SIM_OP_PREFETCH_MANY:
        return run_prefetches(sim, op);
    case EUM_SIM_OP_DISCARD:
        eum_sim_lock_pages();
        eum_sim_pages_discard(op->block[0], op->offset[0], op->bytes);
        eum_sim_unlock_pages();
        return cost;
    default:
        return cost; /* marks and orders are the scheduler's */
    }
}
