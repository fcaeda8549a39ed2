/* copy: copies of memory by the CPU, by several threads where that pays, past the caches where that pays.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_COPY_H
#define EUM_SRC_COPY_H

#include <stdbool.h>
#include <stddef.h>

#include "workers.h"

/* Who reads the destination next: what the CPU reads should be in its caches. */
typedef enum eum_reader { EUM_READER_CPU, EUM_READER_DEVICE } eum_reader;

/* Pure: does a copy of so many bytes go past the caches? */
bool eum_copy_streams(size_t bytes, eum_reader reader);

/* memcpy. workers: NULL for the calling thread alone. */
void eum_workers_copy(eum_workers *workers, void *dst, const void *src, size_t bytes, eum_reader reader);

#endif
