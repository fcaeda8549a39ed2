/* spin: see spin.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "spin.h"

#include <errno.h>
#include <stdlib.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t eum_spin_limit(const eum_spin *spin)
{
    return least(spin->most_ns, EUM_SPIN_SHORT_NS + spin->credit_ns);
}

void eum_spin_waited(eum_spin *spin, int64_t gap_ns)
{
    if (gap_ns <= spin->most_ns) {
        spin->credit_ns = least(spin->most_ns, spin->credit_ns + EUM_SPIN_REWARD_NS);
        return;
    }
    int64_t beyond = eum_spin_limit(spin) - EUM_SPIN_SHORT_NS;
    spin->credit_ns -= beyond > 0 ? beyond : 0;
}

eum_status eum_spin_parse(const char *text, int64_t *out_ns)
{
    if (text == NULL || *text == 0) {
        *out_ns = EUM_SPIN_DEFAULT_NS;
        return EUM_OK;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long us = strtoull(text, &end, 10);
    if (errno != 0 || *end != 0 || *text < '0' || *text > '9' || us > (unsigned long long)(EUM_SPIN_LARGEST_NS / 1000))
        return eum_fail(
            EUM_ERROR_INVALID_ARGUMENT,
            "EUM_SPIN is \"%s\"; give whole microseconds from 0 (threads of the pool sleep at once) to %lld, or unset it", text,
            (long long)(EUM_SPIN_LARGEST_NS / 1000));
    *out_ns = (int64_t)us * 1000;
    return EUM_OK;
}
