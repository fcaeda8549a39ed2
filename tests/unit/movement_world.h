/* movement_world: a context on one of several devices, with buffers, three streams and kernels, whose end checks what must always be true.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_MOVEMENT_WORLD_H
#define EUM_TESTS_MOVEMENT_WORLD_H

#include "buffer.h"
#include "device/sim/sim.h"
#include "stream.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE (64 * KIB)
#define STREAMS 3
#define MOST_BUFFERS 8

/* Where the tests run. Simulated devices run in single steps, so that a seed is one schedule, the same every time. */
typedef struct place {
    const char *name, *device;
    eum_backing backing;
    bool concurrent; /* managed memory that the CPU and kernels may use at once: no access may fault */
    bool discard;    /* worthless bytes need not move */
} place;
extern const place places[];
extern const int place_count;

typedef struct world {
    const place *place;
    eum_ctx *ctx;
    eum_strm *streams[STREAMS];
    eum_buf *buffers[MOST_BUFFERS];
    int buffer_count;
    bool may_fault; /* a hint was made to fail */
} world;

/* budget: 0 for the default. */
world world_open(int place_index, unsigned seed, uint64_t budget);
/* Ends everything. Checks: no fault of a kernel, no violation of an order, nothing leaked, the budget as it was. */
void world_close(world *w);
bool world_is_simulated(const world *w);
bool world_backing_is(const world *w, eum_backing backing);
eum_stats world_stats(const world *w);
/* Bytes that the library moved, either way. */
uint64_t world_moved(const world *w);

eum_buf *world_buffer(world *w, size_t bytes, eum_role role);
eum_buf *world_buffer_of(world *w, size_t bytes, eum_role role, eum_backing backing);
/* Ends one before the others. */
void world_end_buffer(world *w, eum_buf *buf);

/* What fills write at a byte of the buffer, for each value. */
uint8_t pattern(uint8_t value, size_t at);
void pattern_into(uint8_t *bytes, size_t begin, size_t end, uint8_t value);
uint64_t hash_of(const uint8_t *bytes, size_t count);

/* Uses by the CPU: map, touch, unmap. Those that check fail the test where a byte is wrong. */
void cpu_fill(eum_buf *buf, size_t offset, size_t bytes, uint8_t value);
void cpu_expect(eum_buf *buf, const uint8_t *expected);
/* Launches. fill: OVERWRITE, the pattern. mix: READ_WRITE, every byte's complement. hash: READ, the hash into a buffer of 8 bytes. fails: writes half
 * of it, then returns 7. On the host, where threads race, each takes a few milliseconds. */
eum_status gpu_fill(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes, uint8_t value, eum_job *out);
eum_status gpu_mix(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes);
eum_status gpu_hash(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes, eum_buf *result, eum_job *out);
eum_status gpu_fails(eum_strm *stream, eum_buf *buf, size_t offset, size_t bytes, eum_job *out);
void expect_hash(eum_buf *result, const uint8_t *bytes, size_t count);

#endif
