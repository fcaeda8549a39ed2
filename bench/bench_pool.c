/* What making and ending a buffer of a pooled size costs, beside the same without the pool and the raw calls of the host. Prints a table; the
 * argument is the device string.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engram_um.h"

enum { RUNS = 301 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void check(eum_status status)
{
    eum_error error = EUM_ERROR_INIT;
    if (status == EUM_OK)
        return;
    eum_last_error(&error);
    fprintf(stderr, "bench_pool: %s: %s\n", eum_status_name(status), error.sentence);
    exit(EXIT_FAILURE);
}

static eum_context *open_context(const char *device, uint64_t pool)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = device;
    config.pool_bytes = pool;
    check(eum_context_create(&config, &context));
    return context;
}

static double buffers(eum_context *context, size_t bytes)
{
    eum_buffer *buffer = NULL;
    double start = now_us();
    check(eum_buffer_create(context, bytes, NULL, &buffer));
    check(eum_buffer_destroy(buffer));
    return now_us() - start;
}

static double raw(size_t bytes)
{
    double start = now_us();
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (memory == NULL)
        exit(EXIT_FAILURE);
    memset(memory, 1, 1); /* so that the calls are made */
    __asm__ volatile("" : : "r"(memory) : "memory");
    free(memory);
    return now_us() - start;
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {4096, 3072000, (size_t)64 << 20};
    const char *device = argc > 1 ? argv[1] : "host";
    eum_context *with = open_context(device, 0), *without = open_context(device, EUM_POOL_OFF);
    printf("create + destroy on %s, medians of %d, us\n%12s %12s %12s %20s\n", device, RUNS, "bytes", "pool", "no pool",
           "aligned_alloc + free");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        static double runs[3][RUNS];
        (void)buffers(with, sizes[i]);
        for (int run = 0; run < RUNS; run++) {
            runs[0][run] = buffers(with, sizes[i]);
            runs[1][run] = buffers(without, sizes[i]);
            runs[2][run] = raw(sizes[i]);
        }
        for (int k = 0; k < 3; k++)
            qsort(runs[k], RUNS, sizeof **runs, ascending);
        printf("%12zu %12.3f %12.3f %20.3f\n", sizes[i], runs[0][RUNS / 2], runs[1][RUNS / 2], runs[2][RUNS / 2]);
    }
    check(eum_context_destroy(with));
    check(eum_context_destroy(without));
    return EXIT_SUCCESS;
}
