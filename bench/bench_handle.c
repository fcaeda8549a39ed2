/* What a pin and an unpin of a handle cost, uncontended: the price that every call of the C ABI pays. Prints one line.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "handle.h"

enum { RUNS = 101, PAIRS = 100000 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(void)
{
    static double runs[RUNS];
    int thing = 0;
    void *handle = NULL, *object = NULL;
    if (eum_handle_create(EUM_HANDLE_BUFFER, &thing, NULL, &handle) != EUM_OK)
        return EXIT_FAILURE;
    for (int run = 0; run < RUNS; run++) {
        double start = now_ns();
        for (int i = 0; i < PAIRS; i++) {
            if (eum_handle_pin(handle, EUM_HANDLE_BUFFER, &object) != EUM_OK || object != &thing)
                return EXIT_FAILURE;
            eum_handle_unpin(handle);
        }
        runs[run] = (now_ns() - start) / PAIRS;
    }
    qsort(runs, RUNS, sizeof *runs, ascending);
    printf("handle pin + unpin: %.1f ns (median of %d runs of %d pairs; fastest %.1f, slowest %.1f)\n", runs[RUNS / 2], RUNS, PAIRS,
           runs[0], runs[RUNS - 1]);
    eum_handle_retire(handle, EUM_HANDLE_BUFFER, true);
    return EXIT_SUCCESS;
}
