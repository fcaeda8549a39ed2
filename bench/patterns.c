/* patterns: see patterns.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "patterns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1 << 20)
#define REUSE(uses)                                                                                                                \
    .parts = {{{BENCH_PUT}, 1}, {{BENCH_SCORE}, uses}, {{BENCH_GET}, 1}}, .role = EUM_ROLE_TARGETS,                                \
    .library = "eum_buffer_write, eum_cosine, eum_buffer_map"

const bench_pattern bench_patterns[] = {
    {.name = "produce",
     .text = "the CPU computes the targets in place, the GPU scores them once, the CPU reads the scores",
     .parts = {{{BENCH_FILL, BENCH_SCORE, BENCH_GET}, 1}},
     .role = EUM_ROLE_STREAM,
     .library = "eum_buffer_map (overwrite), eum_cosine, eum_buffer_map"},
    {.name = "write",
     .text = "the targets exist in pageable memory, the GPU scores them once, the CPU reads the scores",
     .parts = {{{BENCH_PUT, BENCH_SCORE, BENCH_GET}, 1}},
     .bulk = true,
     .role = EUM_ROLE_STREAM,
     .library = "eum_buffer_write, eum_cosine, eum_buffer_read"},
    {.name = "source",
     .text = "the targets exist in pageable memory and stay there, the GPU scores them once, the CPU reads the scores",
     .parts = {{{BENCH_PUT, BENCH_SCORE, BENCH_GET}, 1}},
     .array = true,
     .bulk = true,
     .role = EUM_ROLE_AUTO,
     .library = "eum_cosine with host_targets, eum_buffer_read"},
    {.name = "pinned",
     .text = "the targets exist in pinned memory, the GPU scores them once, the CPU reads the scores",
     .parts = {{{BENCH_PUT, BENCH_SCORE, BENCH_GET}, 1}},
     .source = BENCH_SOURCE_PINNED,
     .bulk = true,
     .role = EUM_ROLE_STREAM,
     .library = "eum_buffer_wrap or eum_buffer_write, eum_cosine, eum_buffer_read"},
    {.name = "reuse-1", .text = "targets written from pageable memory, scored once", REUSE(1)},
    {.name = "reuse-2", .text = "targets written from pageable memory, scored twice", REUSE(2)},
    {.name = "reuse-4", .text = "targets written from pageable memory, scored 4 times", REUSE(4)},
    {.name = "reuse-16", .text = "targets written from pageable memory, scored 16 times", REUSE(16)},
    {.name = "reuse-256", .text = "targets written from pageable memory, scored 256 times", REUSE(256), .most = 64 * MIB},
    {.name = "results",
     .text = "the same targets give 64 results a row, which the CPU reads",
     .parts = {{{BENCH_SCORE, BENCH_GET}, 1}},
     .kernel = BENCH_SPREAD,
     .bulk = true,
     .role = EUM_ROLE_TARGETS,
     .library = "eum_launch, eum_buffer_read"},
    {.name = "modify",
     .text = "the CPU and the GPU read and rewrite a quarter of the targets in turns",
     .parts = {{{BENCH_EDIT_CPU, BENCH_EDIT_GPU}, 2}, {{BENCH_SETTLE}, 1}},
     .role = EUM_ROLE_STREAM,
     .library = "eum_buffer_map (read-write), eum_launch"},
    {.name = "ping-pong",
     .text = "the CPU writes all targets, the GPU rewrites them, the CPU reads them",
     .parts = {{{BENCH_FILL, BENCH_EDIT_GPU, BENCH_LOOK}, 1}},
     .whole = true,
     .role = EUM_ROLE_STREAM,
     .library = "eum_buffer_map (overwrite), eum_launch, eum_buffer_map (read)"},
    {.name = "changing",
     .text = "4 times produce, then 16 scores of the same, then 4 turns of modifying, then 2 times write",
     .parts = {{{BENCH_FILL, BENCH_SCORE, BENCH_GET}, 4},
               {{BENCH_SCORE, BENCH_GET}, 16},
               {{BENCH_EDIT_CPU, BENCH_EDIT_GPU}, 4},
               {{BENCH_PUT, BENCH_SCORE, BENCH_GET}, 2}},
     .role = EUM_ROLE_AUTO,
     .most = 64 * MIB,
     .library = "all of these on one buffer"},
};
const size_t bench_pattern_count = sizeof bench_patterns / sizeof bench_patterns[0];

const bench_pattern *bench_pattern_find(const char *name, size_t length)
{
    for (size_t i = 0; i < bench_pattern_count; i++)
        if (strlen(bench_patterns[i].name) == length && strncmp(bench_patterns[i].name, name, length) == 0)
            return &bench_patterns[i];
    return NULL;
}

/* A whole decimal number of at most 10 digits at *text; moves it on. */
static bool parse_number(const char **text, const char *end, size_t *out)
{
    const char *begin = *text;
    size_t value = 0;
    while (*text < end && **text >= '0' && **text <= '9' && *text - begin < 10)
        value = value * 10 + (size_t)(*(*text)++ - '0');
    *out = value;
    return *text > begin;
}

bool bench_shape_parse(const char *text, size_t length, bench_shape *out)
{
    const char *end = text + length;
    size_t first, dim;
    if (!parse_number(&text, end, &first))
        return false;
    if (text < end && *text == 'x') {
        text++;
        if (!parse_number(&text, end, &dim))
            return false;
    } else {
        size_t shift = text == end ? 0 : *text == 'K' ? 10 : *text == 'M' ? 20 : *text == 'G' ? 30 : 64;
        text += text < end;
        if (shift == 64)
            return false;
        first <<= shift;
        dim = first < ((size_t)64 << 10) ? 64 : 768;
        first /= dim * sizeof(float);
    }
    size_t most = 512 * MIB / sizeof(float);
    if (text != end || dim == 0 || dim % BENCH_RESULTS_A_ROW != 0 || dim > BENCH_DIM_MOST || first == 0 || first > most / dim)
        return false;
    *out = (bench_shape){first, dim, first * dim * sizeof(float)};
    return true;
}

void bench_shape_text(bench_shape shape, char *text, size_t capacity)
{
    snprintf(text, capacity, "%zux%zu", shape.rows, shape.dim);
}

void bench_bytes_text(size_t bytes, char *text, size_t capacity)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit < 3) {
        value /= 1024;
        unit++;
    }
    snprintf(text, capacity, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

void bench_pattern_part(const bench_pattern *pattern, bench_shape shape, size_t *out_first, size_t *out_rows)
{
    bool whole = pattern->whole || shape.rows < 4;
    *out_first = whole ? 0 : shape.rows / 4;
    *out_rows = whole ? shape.rows : shape.rows / 4;
}

size_t bench_chunk_rows(size_t rows, size_t row_bytes)
{
    size_t bytes = rows * row_bytes / 8;
    bytes = bytes < BENCH_CHUNK_LEAST ? BENCH_CHUNK_LEAST : bytes > BENCH_CHUNK_MOST ? BENCH_CHUNK_MOST : bytes;
    return bytes / row_bytes > 0 ? bytes / row_bytes : 1;
}

size_t bench_results(const bench_pattern *pattern, bench_shape shape)
{
    return shape.rows * (pattern->kernel == BENCH_SPREAD ? BENCH_RESULTS_A_ROW : 1);
}
