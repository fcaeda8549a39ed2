/* operations: see operations.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "operations.h"

static void timed(eum_operations *operations, const eum_run *run, int64_t now_ns)
{
    eum_operation_stats *stats = &operations->stats[run->operation - 1];
    uint64_t actual = now_ns > run->start_ns ? (uint64_t)(now_ns - run->start_ns) : 0;
    stats->timed[run->executor]++;
    stats->predicted_ns[run->executor] += run->predicted_ns[run->executor];
    stats->actual_ns[run->executor] += actual;
    stats->last_actual_ns = actual;
}

static void count(eum_operations *operations, const eum_run *run, uint32_t runs)
{
    eum_operation_stats *stats = &operations->stats[run->operation - 1];
    stats->runs[run->executor] += runs;
    stats->last_executor = run->executor;
    for (int i = 0; i < EUM_EXECUTORS; i++)
        stats->last_predicted_ns[i] = run->predicted_ns[i];
}

static void watch(eum_operations *operations, const eum_run *run, eum_point point)
{
    eum_operations_forget(operations, point); /* the one before is not alone at its point */
    operations->watched[operations->next].point = point;
    operations->watched[operations->next].run = *run;
    operations->next = (operations->next + 1) % EUM_OPERATIONS_WATCHED;
}

void eum_operations_started(eum_operations *operations, const eum_run *run, eum_point point, int64_t now_ns)
{
    eum_operation_stats *stats = &operations->stats[run->operation - 1];
    count(operations, run, 1);
    stats->chunked += run->chunked;
    stats->fallbacks += run->fallback;
    if (point.sequence == 0)
        timed(operations, run, now_ns);
    else
        watch(operations, run, point);
}

void eum_operations_repeated(eum_operations *operations, const eum_run *run, uint32_t runs, eum_point point)
{
    count(operations, run, runs);
    if (point.sequence != 0)
        watch(operations, run, point);
}

int eum_operations_watched(const eum_operations *operations, eum_point point)
{
    for (int i = 0; i < EUM_OPERATIONS_WATCHED && point.sequence != 0; i++)
        if (operations->watched[i].point.stream == point.stream && operations->watched[i].point.sequence == point.sequence)
            return i;
    return -1;
}

void eum_operations_forget(eum_operations *operations, eum_point point)
{
    int newest = (operations->next + EUM_OPERATIONS_WATCHED - 1) % EUM_OPERATIONS_WATCHED; /* no other is at the newest point */
    if (operations->watched[newest].point.stream == point.stream && operations->watched[newest].point.sequence == point.sequence)
        operations->watched[newest].point.sequence = 0;
}

const eum_run *eum_operations_ended(eum_operations *operations, int place, eum_point point, int64_t now_ns)
{
    if (place != eum_operations_watched(operations, point))
        return NULL;
    const eum_run *run = &operations->watched[place].run;
    if (now_ns >= 0)
        timed(operations, run, now_ns);
    operations->watched[place].point.sequence = 0;
    return now_ns >= 0 ? run : NULL;
}

bool eum_operations_device(eum_operations *operations, bool failed)
{
    if (!failed) {
        operations->failures = 0;
        return false;
    }
    if (operations->failures < EUM_DEVICE_TRIES)
        operations->failures++;
    if (operations->failures == EUM_DEVICE_TRIES)
        operations->rest = EUM_DEVICE_REST;
    return operations->rest > 0;
}

bool eum_operations_resting(eum_operations *operations)
{
    if (operations->rest == 0)
        return false;
    operations->rest--;
    return true;
}
