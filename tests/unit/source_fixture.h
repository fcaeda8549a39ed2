/* source_fixture: what the suites of launches with host_source share: places, arrays of rows, and a kernel that says what it was told.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_SOURCE_FIXTURE_H
#define EUM_TESTS_SOURCE_FIXTURE_H

#include "again.h"
#include "engine.h"

#define UNUSED __attribute__((unused)) /* not every suite uses all of this */

/* Where it is run: the host first. */
UNUSED static const struct {
    const char *device;
    eum_backing backing;
} places[] = {
    {"host", EUM_BACKING_AUTO},           {"sim:maxwell", EUM_BACKING_MIRRORED}, {"sim:maxwell", EUM_BACKING_MAPPED},
    {"sim:maxwell", EUM_BACKING_MANAGED}, {"sim:pascal", EUM_BACKING_MANAGED},   {"sim:ampere", EUM_BACKING_MIRRORED},
    {"sim:hopper", EUM_BACKING_MANAGED},  {"sim:hopper", EUM_BACKING_MIRRORED},  {"sim:hopper", EUM_BACKING_MAPPED},
};
#define PLACES ((int)(sizeof places / sizeof *places))

UNUSED static eum_context *open_place(int place, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = places[place].device;
    config.backing = places[place].backing;
    config.budget_bytes = place == 0 ? 0 : budget;
    config.worker_threads = 2;
    return open_with(&config);
}

/* Managed memory without concurrent access: a map of one buffer stands in the way of launches on others. */
UNUSED static bool place_takes_turns(int place)
{
    return strcmp(places[place].device, "sim:maxwell") == 0 && places[place].backing == EUM_BACKING_MANAGED;
}

/* ------------------------------------------------------------------------------------------------------ the rows --- */

typedef struct rows {
    char *memory; /* to free */
    char *at;
    uint64_t count;
    size_t bytes; /* of a row */
} rows;

/* `skew` bytes behind a multiple of 256. */
UNUSED static rows make_rows(uint64_t count, size_t bytes, size_t skew, uint32_t seed)
{
    const size_t all = (size_t)count * bytes;
    rows r = {aligned_alloc(256, (all + skew + 511) / 256 * 256), NULL, count, bytes};
    ck_assert_ptr_nonnull(r.memory);
    r.at = r.memory + skew;
    for (size_t i = 0; i < all; i++)
        r.at[i] = (char)((i * 2654435761u + seed * 97u) >> 11);
    return r;
}

UNUSED static void free_rows(rows *r)
{
    if (r->memory != NULL)
        memset(r->memory, 0xee, (size_t)r->count * r->bytes);
    free(r->memory);
    *r = (rows){0};
}

/* Depends on each byte and its place. */
static inline uint32_t hash_row(const void *row, size_t bytes, uint32_t seed)
{
    const unsigned char *at = row;
    uint32_t hash = seed;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        hash = hash * 31 + (uint32_t)(word ^ word >> 32);
    }
    for (; i < bytes; i++)
        hash = hash * 33 + at[i];
    return hash;
}

/* ---------------------------------------------------------------------------------------------------- the kernel ---- */

#define CALLS 4096

/* What the kernel was told; by its user pointer. */
typedef struct told {
    size_t row_bytes;
    atomic_uint calls; /* one after the other, in the order of the stream */
    uint64_t first[CALLS], count[CALLS];
    const void *source[CALLS];
    void *addresses[CALLS][3];
    uint32_t fail_at; /* that call, from 1, returns 42; 0: none */
    gate *gate;       /* call `gate_at`, from 1, passes it before it touches anything */
    uint32_t gate_at;
    bool confused; /* something else than the arguments was wrong */
} told;

/* Arguments: weights (read, 1 word at least), hashes (overwritten, a word a row), totals (overwritten: sum, calls, rows). Fewer: without the last. */
UNUSED static int32_t hash_kernel(const eum_kernel_call *call)
{
    told *t = call->user;
    const uint32_t n = atomic_fetch_add(&t->calls, 1);
    t->confused |=
        n >= CALLS || call->count > 3 || call->struct_size != sizeof *call || (call->source == NULL) != (call->rows == 0);
    if (t->confused)
        return 43;
    t->first[n] = call->first_row;
    t->count[n] = call->rows;
    t->source[n] = call->source;
    for (size_t i = 0; i < call->count; i++)
        t->addresses[n][i] = call->addresses[i];
    if (t->gate != NULL && t->gate_at == n + 1)
        pass_gate(t->gate);
    uint32_t sum = 0, seed = call->count > 0 ? *(const uint32_t *)call->addresses[0] : 0;
    for (uint64_t i = 0; i < call->rows; i++) {
        uint32_t hash = hash_row((const char *)call->source + (size_t)i * t->row_bytes, t->row_bytes, seed);
        if (call->count > 1)
            ((uint32_t *)call->addresses[1])[call->first_row + i] = hash;
        sum += hash;
    }
    if (call->count > 2) {
        uint32_t *totals = call->addresses[2];
        totals[0] = sum + (call->first_row == 0 ? 0 : totals[0]);
        totals[1] = 1 + (call->first_row == 0 ? 0 : totals[1]);
        totals[2] = (uint32_t)call->rows + (call->first_row == 0 ? 0 : totals[2]);
    }
    return t->fail_at == n + 1 ? 42 : 0;
}

/* The arguments of a problem. */
typedef struct operands {
    eum_buffer *weights, *hashes, *totals;
    uint32_t flags; /* of the arguments that are written */
} operands;

#define WEIGHTS_SEED 5

UNUSED static operands make_operands(eum_context *context, const rows *r, eum_role role)
{
    operands o = {new_buffer(context, 3 * WORD), new_buffer_as(context, (size_t)r->count * WORD, role),
                  new_buffer_as(context, 3 * WORD, role), 0};
    cpu_fill(whole(o.weights), WEIGHTS_SEED);
    return o;
}

UNUSED static void end_operands(operands *o)
{
    OK(eum_buffer_destroy(o->weights));
    OK(eum_buffer_destroy(o->hashes));
    OK(eum_buffer_destroy(o->totals));
}

UNUSED static eum_status stream_rows(eum_stream *stream, const rows *r, const operands *o, told *t, eum_job *out)
{
    const eum_argument arguments[3] = {
        reads(whole(o->weights)),
        {whole(o->hashes), EUM_ACCESS_OVERWRITE, o->flags},
        {whole(o->totals), EUM_ACCESS_OVERWRITE, o->flags},
    };
    t->row_bytes = r->bytes;
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = hash_kernel;
    config.arguments = arguments;
    config.argument_count = 3;
    config.user = t;
    config.host_source = r->at;
    config.source_rows = r->count;
    config.source_row_bytes = r->bytes;
    return eum_launch(stream, &config, out);
}

/* The results are those of all rows, calls or no calls. */
UNUSED static void expect_hashes(const rows *r, const operands *o, const told *t)
{
    const size_t count = (size_t)r->count;
    uint32_t totals[3], sum = 0, *got = malloc((count + 1) * WORD);
    ck_assert_ptr_nonnull(got);
    OK(eum_buffer_read(whole(o->hashes), got));
    OK(eum_buffer_read(whole(o->totals), totals));
    for (size_t i = 0; i < count; i++) {
        uint32_t hash = hash_row(r->at + i * r->bytes, r->bytes, word_at(WEIGHTS_SEED, 0));
        if (got[i] != hash)
            ck_abort_msg("row %zu of %zu has %08x instead of %08x", i, count, got[i], hash);
        sum += hash;
    }
    ck_assert_uint_eq(totals[0], sum);
    ck_assert_uint_eq(totals[1], t->calls);
    ck_assert_uint_eq(totals[2], (uint32_t)r->count);
    free(got);
}

UNUSED static told *new_told(void)
{
    told *t = calloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    return t;
}

#endif
