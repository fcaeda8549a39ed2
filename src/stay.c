/* stay: see stay.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "stay.h"

static uint64_t move_ns(const eum_stay_question *question)
{
    return question->by_copies ? eum_cost_copy(question->costs, question->bytes)
                               : eum_cost_prefetch(question->costs, question->bytes);
}

static uint64_t in_place_ns(const eum_stay_question *question)
{
    return question->stores ? eum_cost_store(question->costs, question->over_link)
                            : eum_cost_in_place(question->costs, question->over_link);
}

eum_stay_answer eum_stay_choose(const eum_stay *stay, const eum_stay_question *question)
{
    eum_stay_answer answer = {.in_place_ns = in_place_ns(question), .move_ns = move_ns(question)};
    uint64_t expected = stay->last_ns > stay->used_ns ? stay->last_ns - stay->used_ns : 0;
    answer.stays = question->bytes > 0 && stay->spent_ns + answer.in_place_ns <= answer.move_ns && expected <= answer.move_ns;
    return answer;
}

/* sum + each x times, at most `most`. */
static uint64_t add(uint64_t sum, uint64_t each, uint32_t times, uint64_t most)
{
    uint64_t more;
    return __builtin_mul_overflow(each, times, &more) || sum > most || more > most - sum ? most : sum + more;
}

void eum_stay_used(eum_stay *stay, const eum_stay_answer *answer, const eum_stay_question *whole, uint32_t times)
{
    stay->spent_ns = add(stay->spent_ns, answer->in_place_ns, times, move_ns(whole)); /* more need not be earned back */
}

void eum_stay_credit(eum_stay *stay, const eum_stay_question *used)
{
    uint64_t credit = move_ns(used);
    stay->spent_ns -= credit < stay->spent_ns ? credit : stay->spent_ns;
}

void eum_stay_seen(eum_stay *stay, const eum_stay_question *use, uint32_t times)
{
    stay->used_ns = add(stay->used_ns, in_place_ns(use), times, UINT64_MAX);
}

eum_stay_time eum_stay_rewritten(eum_stay *stay, const eum_stay_question *whole)
{
    if (stay->used_ns == 0)
        return EUM_STAY_UNUSED;
    uint64_t most = move_ns(whole), clearly = most - most / 8;
    stay->last_ns = stay->used_ns;
    stay->used_ns = 0;
    return stay->last_ns <= clearly ? EUM_STAY_BRIEF : EUM_STAY_LONG;
}
