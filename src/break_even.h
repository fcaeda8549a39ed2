/* break_even: from how many rows, and from how many uses, the device pays. Pure: asks dispatch.h and placement.h, as a call would.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_BREAK_EVEN_H
#define EUM_SRC_BREAK_EVEN_H

#include "dispatch.h"
#include "learned.h"
#include "placement.h"

typedef struct eum_break_even_question {
    eum_backing_question backing; /* of the buffers; its bytes are not used */
    eum_cpu_costs cpu;
    uint32_t threads;
    const eum_learned *learned;           /* NULL: nothing */
    uint64_t limit;                       /* more bytes than these find no room for a device copy */
    bool streams;                         /* kernels read each byte of the targets once */
    uint64_t dim, element_bytes, queries; /* their products fit */
} eum_break_even_question;

/* For targets that only the host has, or that the device has. spent_ns: of their eum_stay. */
eum_executor_answer eum_break_even_ask(const eum_break_even_question *q, uint64_t rows, bool resident, uint64_t spent_ns);
/* The number of rows with which the device is taken, while one less is the CPU's and (as far as a search in steps of 1/64 sees) all larger numbers
 * that find room are the device's; EUM_NEVER. */
uint64_t eum_break_even_rows(const eum_break_even_question *q, bool resident);
/* The number of the use on which the device is taken, if each before was the CPU's; EUM_NEVER. */
uint64_t eum_break_even_uses(const eum_break_even_question *q, uint64_t rows);

#endif
