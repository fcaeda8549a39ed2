/* contradiction: see contradiction.h. The rules are in docs/residency.md.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "contradiction.h"

#include <stddef.h>

#include "engine.h"

/* Uses over the link that cost less than so many times what moving costs are not worth a word. */
#define FAR_TIMES 2
/* Results that kernels read so often in a cycle had better be where kernels are. */
#define READS_AGAINST 2
/* Results that so many kernels wrote without that the CPU ever looked are none. */
#define UNSEEN_AGAINST 64

const char *eum_contradiction_sentence(eum_contradiction contradiction)
{
    switch (contradiction) {
    case EUM_CONTRADICTION_QUERY_REWRITTEN:
        return "EUM_ROLE_QUERY contradicts the use: the CPU rewrites the bytes for every use by a kernel, so they are duplicated "
               "no more; EUM_ROLE_AUTO would suit, or EUM_ROLE_STREAM";
    case EUM_CONTRADICTION_TARGETS_REWRITTEN:
        return "EUM_ROLE_TARGETS contradicts the use: the CPU rewrites the bytes for every use by a kernel, so that it pays "
               "nothing to keep them on the device; EUM_ROLE_STREAM would suit";
    case EUM_CONTRADICTION_STREAM_REUSED:
        return "EUM_ROLE_STREAM contradicts the use: kernels use the bytes over the link so often before the CPU rewrites them "
               "that to move them would cost less than half; EUM_ROLE_TARGETS would suit";
    case EUM_CONTRADICTION_RESULTS_REREAD:
        return "EUM_ROLE_RESULTS contradicts the use: kernels read the bytes again, or the CPU does not read them; EUM_ROLE_AUTO "
               "would suit";
    default:
        return NULL;
    }
}

static eum_contradiction contradiction_of(eum_role role)
{
    switch (role) {
    case EUM_ROLE_QUERY:
        return EUM_CONTRADICTION_QUERY_REWRITTEN;
    case EUM_ROLE_TARGETS:
        return EUM_CONTRADICTION_TARGETS_REWRITTEN;
    case EUM_ROLE_STREAM:
        return EUM_CONTRADICTION_STREAM_REUSED;
    case EUM_ROLE_RESULTS:
        return EUM_CONTRADICTION_RESULTS_REREAD;
    default:
        return EUM_CONTRADICTION_NONE;
    }
}

static bool count_against(eum_habit *habit, eum_role role, uint8_t cycles)
{
    habit->judged = true;
    habit->agreeing = 0;
    habit->against = (uint8_t)(habit->against + cycles);
    if (habit->against < EUM_CONTRADICTION_CYCLES)
        return false;
    habit->against = EUM_CONTRADICTION_CYCLES;
    habit->contradiction = contradiction_of(role);
    bool first = !habit->told;
    habit->told = true;
    return first;
}

static void count_agreeing(eum_habit *habit, uint8_t cycles)
{
    habit->judged = true;
    habit->against = 0;
    habit->agreeing = (uint8_t)(habit->agreeing + cycles);
    if (habit->agreeing < EUM_CONTRADICTION_CYCLES)
        return;
    habit->agreeing = EUM_CONTRADICTION_CYCLES;
    habit->contradiction = EUM_CONTRADICTION_NONE;
}

bool eum_habit_rewritten(eum_habit *habit, eum_role role, uint64_t bytes)
{
    bool ends = habit->used > 0 && habit->rewritten > 0, first = false;
    if (ends && !habit->judged) {
        bool once = habit->used <= habit->rewritten;
        if ((role == EUM_ROLE_QUERY || role == EUM_ROLE_TARGETS) && once)
            first = count_against(habit, role, 1);
        else if (role != EUM_ROLE_RESULTS)
            count_agreeing(habit, 1);
    }
    habit->rewritten = bytes;
    habit->used = habit->far_ns = 0;
    if (role != EUM_ROLE_RESULTS)
        habit->judged = false;
    return first;
}

/* A kernel writes results: a cycle ends, and the next begins. */
static bool results_written(eum_habit *habit)
{
    bool first = false;
    if (!habit->judged && habit->reads > 0 && !habit->host_looked)
        first = count_against(habit, EUM_ROLE_RESULTS, 1);
    else if (!habit->judged && habit->host_looked)
        count_agreeing(habit, 1);
    if (habit->unseen < UNSEEN_AGAINST && ++habit->unseen == UNSEEN_AGAINST)
        first |= count_against(habit, EUM_ROLE_RESULTS, EUM_CONTRADICTION_CYCLES);
    habit->judged = habit->host_looked = false;
    habit->reads = 0;
    return first;
}

static bool results_used(eum_habit *habit, eum_access access)
{
    bool first = false;
    if (access != EUM_ACCESS_OVERWRITE && ++habit->reads >= READS_AGAINST) {
        habit->reads = 0;
        first = count_against(habit, EUM_ROLE_RESULTS, 1);
    }
    if (access != EUM_ACCESS_READ)
        first |= results_written(habit);
    return first;
}

bool eum_habit_used(eum_habit *habit, eum_role role, const eum_habit_use *use)
{
    if (role == EUM_ROLE_RESULTS)
        return results_used(habit, use->access);
    habit->used = habit->used > UINT64_MAX - use->bytes ? UINT64_MAX : habit->used + use->bytes;
    if (role == EUM_ROLE_STREAM) {
        habit->far_ns += use->far_ns;
        if (habit->far_ns <= FAR_TIMES * use->move_ns)
            return false;
        habit->far_ns = 0;
        return count_against(habit, role, 1);
    }
    /* Nobody rewrites it any more: that cycle never ends, and says as much as several. */
    if (habit->rewritten > 0 && habit->used / (EUM_CONTRADICTION_CYCLES + 1) >= habit->rewritten)
        count_agreeing(habit, EUM_CONTRADICTION_CYCLES);
    return false;
}

void eum_habit_host_looked(eum_habit *habit)
{
    habit->host_looked = true;
    habit->unseen = 0;
}
