/* learned: see learned.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "learned.h"

#include "least.h"

#define ONE 1024u
#define LEAST_TIMES (ONE / 8)
#define MOST_TIMES (ONE * 8)
#define FEW_QUERIES 8
#define LEAST_WAIT_NS 1000 /* asking takes as long */

void eum_learned_init(eum_learned *learned, const eum_costs *told, bool measured, bool from_operations)
{
    *learned = (eum_learned){.told = *told, .measured = measured, .from_operations = from_operations};
}

static uint64_t within(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static uint64_t rate_after(uint64_t now, uint64_t told, uint64_t seen)
{
    now = seen > now ? now + (seen - now) / 2 : now - (now - seen) / 8;
    return within(now, told / 4, told * 4);
}

/* A rate that was not seen itself, beside one that was. */
static uint64_t in_proportion(uint64_t rate, uint64_t seen, uint64_t told)
{
    return (uint64_t)((double)rate * (double)seen / (double)told);
}

void eum_learned_copy(eum_learned *learned, eum_costs *costs, bool to_host, uint64_t bytes, uint64_t ns)
{
    const eum_costs *told = &learned->told;
    uint64_t alone = ns > told->copy_ns ? ns - told->copy_ns : 1, seen = (uint64_t)((double)bytes * 1e3 / (double)alone);
    if (told->link_mbps == 0 || told->to_host_mbps == 0)
        return; /* nothing moves here */
    if (to_host) {
        learned->to_host_seen = true;
        costs->to_host_mbps = rate_after(costs->to_host_mbps, told->to_host_mbps, seen);
        return;
    }
    costs->link_mbps = rate_after(costs->link_mbps, told->link_mbps, seen);
    if (learned->measured)
        return;
    costs->in_place_mbps = in_proportion(told->in_place_mbps, costs->link_mbps, told->link_mbps);
    if (!learned->to_host_seen)
        costs->to_host_mbps = in_proportion(told->to_host_mbps, costs->link_mbps, told->link_mbps);
}

uint32_t eum_learned_class(uint64_t queries, bool best, uint64_t bytes)
{
    uint32_t size = 0;
    for (uint64_t rest = bytes >> 12; rest > 0 && size < EUM_LEARNED_SIZES - 1; rest >>= 2)
        size++;
    return ((queries > FEW_QUERIES) * 2u + best) * EUM_LEARNED_SIZES + size;
}

bool eum_learned_saw_the_end(int64_t start_ns, int64_t begin_ns, int64_t now_ns)
{
    return begin_ns >= start_ns && now_ns - begin_ns >= LEAST_WAIT_NS && now_ns - begin_ns >= (now_ns - start_ns) / 4;
}

uint32_t eum_learned_times(const eum_learned *learned, eum_learned_place place, uint32_t class)
{
    return learned->times[place][class] == 0 ? ONE : learned->times[place][class];
}

void eum_learned_took(eum_learned *learned, eum_learned_place place, uint32_t class, uint64_t predicted_ns, uint32_t then,
                      uint64_t actual_ns)
{
    if (predicted_ns == 0 || then == 0)
        return;
    double now = eum_learned_times(learned, place, class), part = (double)actual_ns * then / ((double)predicted_ns * now);
    part = part < 0.5 ? 0.5 : part > 2.0 ? 2.0 : part; /* one call that was interrupted does not count for many */
    learned->times[place][class] = (uint16_t)within((uint64_t)(now + (now * part - now) / 8 + 0.5), LEAST_TIMES, MOST_TIMES);
}

void eum_learned_idle(eum_learned *learned, eum_learned_place place, uint32_t class)
{
    uint32_t now = eum_learned_times(learned, place, class);
    if (now > ONE)
        learned->times[place][class] = (uint16_t)(now - (now - ONE + 63) / 64);
}
