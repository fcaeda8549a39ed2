/* batch: see batch.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "batch.h"

#include <string.h>

#define EIGHTHS 8u /* of the fixed parts: so much must be saved, at least 1 of 8 */

size_t eum_batch_least(eum_batch_setting setting, bool there, const eum_costs *costs)
{
    if (!there || setting == EUM_BATCH_NEVER)
        return EUM_BATCH_NONE;
    if (setting == EUM_BATCH_ALWAYS)
        return 2;
    if (costs->batch_waits != 0 || costs->batch_range_ns >= costs->prefetch_ns)
        return EUM_BATCH_NONE;
    /* n ranges: EIGHTHS * (n - 1) * saved >= n * prefetch_ns. */
    uint64_t saved = EIGHTHS * (costs->prefetch_ns - costs->batch_range_ns);
    if (saved <= costs->prefetch_ns)
        return EUM_BATCH_NONE;
    uint64_t gain = saved - costs->prefetch_ns;
    return (size_t)((saved + gain - 1) / gain);
}

eum_status eum_batch_parse(const char *text, eum_batch_setting *out)
{
    static const char *const names[] = {[EUM_BATCH_AUTO] = "auto", [EUM_BATCH_ALWAYS] = "always", [EUM_BATCH_NEVER] = "never"};
    *out = EUM_BATCH_AUTO;
    if (text == NULL || *text == '\0')
        return EUM_OK;
    for (int i = EUM_BATCH_AUTO; i <= EUM_BATCH_NEVER; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (eum_batch_setting)i;
            return EUM_OK;
        }
    return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "EUM_PREFETCH_BATCH is \"%s\"; use auto, always or never, or unset it", text);
}
