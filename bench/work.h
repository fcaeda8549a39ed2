/* work: the data, and what the CPU does with them. The same code and the same threads for every contender.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_BENCH_WORK_H
#define EUM_BENCH_WORK_H

#include "patterns.h"

/* Starts the threads that share the CPU's work; 0: a quarter of the cores that this process may use, 1 to 4. Returns how many. */
uint32_t bench_work_open(uint32_t threads);
void bench_work_close(void);

/* Ends the program with a sentence; what was measured so far is printed first. */
_Noreturn void bench_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Called by bench_stop before the program ends; NULL: nothing. */
extern void (*bench_before_stop)(void);
/* Plain memory, or the end of the program. */
void *bench_memory(size_t bytes);
/* Ends the program if the call of the library failed. */
void bench_ok(eum_status status, const char *what);
#define OK(call) bench_ok(call, #call)

double bench_wall_ns(void);
float bench_random_float(uint64_t *state); /* in [-1, 1) */

/* Row `row` of the targets of an epoch, computed into dst. */
void bench_fill_row(float *dst, size_t dim, uint64_t row, uint32_t epoch);
/* All of them: what BENCH_FILL does. */
void bench_fill(float *targets, bench_shape shape, uint64_t first_row, uint32_t epoch);
/* What BENCH_PUT does by hand, and BENCH_GET. */
void bench_copy(void *dst, const void *src, size_t bytes);
/* What BENCH_EDIT_CPU does: x * 0.5 + bench_edit_add(epoch). */
void bench_edit(float *values, size_t count, float add);
float bench_edit_add(uint32_t epoch);
/* What BENCH_LOOK does: reads everything, returns a checksum. */
uint64_t bench_look(const float *values, size_t count);
/* Makes the array of an epoch from that of the epoch before: one element of each row changes. */
void bench_touch(float *source, bench_shape shape, uint32_t epoch);

/* What the results must be, in float64. */
double bench_expected_cosine(const float *query, const float *row, size_t dim);
double bench_expected_spread(const float *row, size_t dim, size_t number, double scale);
/* The factor of an epoch's BENCH_SPREAD. */
float bench_spread_scale(uint32_t epoch);

#endif
