/* repeats: see repeats.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/repeats.h"

#include <string.h>

static eum_repeat *find(eum_repeats *table, const void *identity, size_t bytes)
{
    for (size_t i = 0; i < EUM_REPEATS; i++) {
        eum_repeat *item = &table->items[i];
        if (item->id != 0 && item->bytes == bytes && memcmp(item->identity, identity, bytes) == 0)
            return item;
    }
    return NULL;
}

/* The place whose last use is the longest ago, of those that have something ready, or of those that have not (empty ones first: their use is 0). */
static eum_repeat *oldest(eum_repeats *table, bool made)
{
    eum_repeat *found = NULL;
    for (size_t i = 0; i < EUM_REPEATS; i++) {
        eum_repeat *item = &table->items[i];
        if ((item->made != NULL) == made && (found == NULL || item->used < found->used))
            found = item;
    }
    return found;
}

static eum_repeat *count(eum_repeats *table, eum_repeat *item)
{
    item->used = ++table->uses;
    item->times++;
    return item;
}

eum_repeat *eum_repeats_see(eum_repeats *table, const void *identity, size_t bytes)
{
    if (bytes > EUM_REPEAT_BYTES)
        return NULL;
    eum_repeat *item = find(table, identity, bytes);
    if (item == NULL) {
        item = oldest(table, false); /* there is one: fewer than all have something ready */
        *item = (eum_repeat){.id = ++table->ids, .bytes = bytes};
        memcpy(item->identity, identity, bytes);
    }
    return count(table, item);
}

eum_repeat *eum_repeats_see_again(eum_repeats *table, eum_repeat *item, uint64_t id)
{
    return item != NULL && item->id == id ? count(table, item) : NULL;
}

bool eum_repeats_worth(eum_repeats *table, const eum_repeat *item, eum_repeat **out_victim)
{
    *out_victim = NULL;
    if (item->made != NULL || item->refused || item->times < EUM_REPEATS_WORTH)
        return false;
    size_t made = 0;
    for (size_t i = 0; i < EUM_REPEATS; i++)
        made += table->items[i].made != NULL;
    if (made < EUM_REPEATS_MADE)
        return true;
    eum_repeat *victim = oldest(table, true);
    bool idle = table->uses - victim->used >= EUM_REPEATS_IDLE && table->uses - table->replaced >= EUM_REPEATS_PAUSE;
    if (!idle && item->times < EUM_REPEATS_REPLACE)
        return false;
    victim->times = 0;
    table->replaced = table->uses;
    *out_victim = victim;
    return true;
}
