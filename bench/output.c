/* output: see output.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "output.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

static const bench_machine *machine;
static bool table, all;
static bench_result *results;
static size_t result_count;
static bench_row *rows;
static size_t row_count;
static double began, spoke;

void bench_output_open(const bench_machine *on, bool with_table, bool everybody)
{
    machine = on;
    table = with_table;
    all = everybody;
    began = spoke = bench_wall_ns();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!table)
        return;
    printf("%s, engram_um %s, CPU's work on %u thread%s, %s\n", on->info.device_name, eum_version_string(), on->threads,
           on->threads == 1 ? "" : "s",
           on->raw->virtual_time ? "virtual time: movement, faults and kernels; the CPU's work costs nothing" : "wall time");
    printf(
        "Medians; ratios of the library to a rival are medians of pairs, [with the 95%% interval]. A/A: the same rival twice.\n");
}

static void *grown(void *items, size_t count, size_t size)
{
    void *more = realloc(items, (count + 1) * size);
    if (more == NULL)
        bench_stop("no memory for the results");
    return more;
}

#define TIME_WIDTH 11
#define RATIO_WIDTH 18

static void print_us(double ns)
{
    if (isnan(ns))
        printf(" %*s", TIME_WIDTH, "");
    else
        printf(" %*.*f", TIME_WIDTH, ns < 99950 ? 1 : 0, ns / 1e3);
}

static void print_estimate(const bench_estimate *e)
{
    if (e->count == 0)
        printf("  %*s", RATIO_WIDTH, "");
    else
        printf("  %5.2f [%4.2f, %4.2f]", e->median, e->low, e->high);
}

static void print_all(const bench_result *r)
{
    for (size_t e = 0; e + 1 < r->entry_count; e++) {
        printf("    %-28s", r->entry[e].contender->name);
        print_us(r->entry[e].time.median);
        for (size_t l = 0; l < r->library_count && e >= r->library_count; l++)
            print_estimate(&r->ratio[l][e]);
        if (e < r->library_count) {
            printf("  first three:");
            for (size_t k = 0; k < BENCH_FIRST; k++)
                print_us(r->entry[e].first[k]);
            printf("  moves %.0f KiB there, %.0f back", r->entry[e].moved[0] / 1024, r->entry[e].moved[1] / 1024);
        }
        putchar('\n');
    }
}

static void print_header(void)
{
    char text[32];
    printf("\n%-10s %12s %7s", "pattern", "rows x dim", "rounds");
    for (size_t l = 0; l < bench_library_contender_count; l++) {
        snprintf(text, sizeof text, "%s us", bench_library_contenders[l].name);
        printf(" %*s", TIME_WIDTH, text);
    }
    printf(" %*s  %-16s", TIME_WIDTH, "rival us", "fastest rival");
    for (size_t l = 0; l < bench_library_contender_count; l++) {
        snprintf(text, sizeof text, "%s / rival", bench_library_contenders[l].name);
        printf("  %-*s", RATIO_WIDTH, text);
    }
    printf("  %-*s\n", RATIO_WIDTH, "A/A");
}

static void print_case(const bench_result *r)
{
    char shape[32];
    if (result_count == 1)
        print_header();
    bench_shape_text(r->shape, shape, sizeof shape);
    printf("%-10s %12s %7zu", r->pattern->name, shape, r->rounds);
    for (size_t l = 0; l < bench_library_contender_count; l++) {
        double time = (double)NAN;
        for (size_t e = 0; e < r->library_count; e++)
            if (r->entry[e].contender == &bench_library_contenders[l])
                time = r->entry[e].time.median;
        print_us(time);
    }
    print_us(r->entry[r->best].time.median);
    printf("  %-16s", r->entry[r->best].contender->name);
    for (size_t l = 0; l < bench_library_contender_count; l++) {
        bench_estimate ratio = {0};
        for (size_t e = 0; e < r->library_count; e++)
            if (r->entry[e].contender == &bench_library_contenders[l])
                ratio = r->ratio[e][r->best];
        print_estimate(&ratio);
    }
    print_estimate(&r->twin_ratio);
    putchar('\n');
    if (all)
        print_all(r);
}

void bench_output_case(const bench_result *result)
{
    results = grown(results, result_count, sizeof *results);
    results[result_count++] = *result;
    if (table)
        print_case(result);
}

void bench_output_row(const bench_row *row)
{
    rows = grown(rows, row_count, sizeof *rows);
    rows[row_count++] = *row;
    if (!table)
        return;
    printf("%-9s %-92s %12.*f %-4s", row->group, row->name, row->value >= 10000 || row->value == floor(row->value) ? 0 : 3,
           row->value, row->unit);
    print_estimate(&row->ratio);
    printf("%s%s\n", row->note[0] != 0 ? "  " : "", row->note);
}

void bench_output_value(const char *group, const char *name, double value, const char *unit)
{
    bench_row row = {.group = group, .value = value, .unit = unit};
    snprintf(row.name, sizeof row.name, "%s", name);
    bench_output_row(&row);
}

void bench_output_progress(size_t done, size_t of, const char *what)
{
    double now = bench_wall_ns();
    if (now - spoke < 2e9)
        return;
    spoke = now;
    fprintf(stderr, "[%.0f s] %zu of %zu: %s\n", (now - began) / 1e9, done + 1, of, what);
}

/* ------------------------------------------------------------------------------------------------------ JSON -------- */

static void put_number(FILE *f, double value)
{
    if (isnan(value) || isinf(value))
        fputs("null", f);
    else
        fprintf(f, "%.9g", value);
}

static void put_text(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(f, "\\%c", *text);
        else if ((unsigned char)*text < 32)
            fprintf(f, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, f);
    }
    fputc('"', f);
}

static void put_estimate(FILE *f, const bench_estimate *e)
{
    fputs("{\"median\": ", f);
    put_number(f, e->median);
    fputs(", \"low\": ", f);
    put_number(f, e->low);
    fputs(", \"high\": ", f);
    put_number(f, e->high);
    fprintf(f, ", \"count\": %zu}", e->count);
}

static void put_entry(FILE *f, const bench_result *r, size_t e)
{
    const bench_entry *entry = &r->entry[e];
    bool twin = e + 1 == r->entry_count;
    fprintf(f, "      {\"name\": \"%s%s\", \"library\": %s, \"managed\": %s, \"ns\": ", entry->contender->name,
            twin ? " again" : "", entry->contender->library ? "true" : "false", entry->managed ? "true" : "false");
    put_estimate(f, &entry->time);
    if (entry->contender->library) {
        fputs(", \"first_ns\": [", f);
        for (size_t k = 0; k < BENCH_FIRST; k++) {
            fputs(k > 0 ? ", " : "", f);
            put_number(f, entry->first[k]);
        }
        fputs("], \"moved_bytes\": [", f);
        put_number(f, entry->moved[0]);
        fputs(", ", f);
        put_number(f, entry->moved[1]);
        fputs("]", f);
    }
    fputs(", \"rounds_ns\": [", f);
    for (size_t i = 0; i < r->rounds; i++) {
        fputs(i > 0 ? ", " : "", f);
        put_number(f, entry->rounds[i]);
    }
    fputs("]}", f);
}

static void put_case(FILE *f, const bench_result *r)
{
    fprintf(f, "    {\"pattern\": \"%s\", \"rows\": %zu, \"dim\": %zu, \"bytes\": %zu, \"rounds\": %zu, \"library_calls\": ",
            r->pattern->name, r->shape.rows, r->shape.dim, r->shape.bytes, r->rounds);
    put_text(f, r->pattern->library);
    fputs(",\n     \"contenders\": [\n", f);
    for (size_t e = 0; e < r->entry_count; e++) {
        fputs(e > 0 ? ",\n" : "", f);
        put_entry(f, r, e);
    }
    fprintf(f, "],\n     \"best_rival\": \"%s\", \"a_a\": {\"rival\": \"%s\", \"ratio\": ", r->entry[r->best].contender->name,
            r->entry[r->twin].contender->name);
    put_estimate(f, &r->twin_ratio);
    fputs("},\n     \"ratios\": [", f);
    const char *between = "\n";
    for (size_t l = 0; l < r->library_count; l++)
        for (size_t e = r->library_count; e + 1 < r->entry_count; e++) {
            fprintf(f, "%s      {\"library\": \"%s\", \"rival\": \"%s\", \"ratio\": ", between, r->entry[l].contender->name,
                    r->entry[e].contender->name);
            put_estimate(f, &r->ratio[l][e]);
            fputs("}", f);
            between = ",\n";
        }
    fputs("]}", f);
}

static void put_row(FILE *f, const bench_row *row)
{
    fprintf(f, "    {\"group\": \"%s\", \"name\": ", row->group);
    put_text(f, row->name);
    fputs(", \"value\": ", f);
    put_number(f, row->value);
    fprintf(f, ", \"unit\": \"%s\"", row->unit);
    if (row->ratio.count > 0) {
        fputs(", \"ratio\": ", f);
        put_estimate(f, &row->ratio);
    }
    if (row->note[0] != 0) {
        fputs(", \"note\": ", f);
        put_text(f, row->note);
    }
    fputs("}", f);
}

void bench_output_json(FILE *f, bool complete)
{
    const eum_info *info = &machine->info;
    fprintf(f, "{\"program\": \"eum-bench\", \"format\": 1, \"version\": \"%s\", \"complete\": %s, \"seconds\": %.1f,\n",
            eum_version_string(), complete ? "true" : "false", (bench_wall_ns() - began) / 1e9);
    fputs("  \"device\": {\"name\": ", f);
    put_text(f, info->device_name);
    fprintf(f, ", \"kind\": \"%s\", \"compute\": \"%d.%d\", \"driver\": %d, \"runtime\": %d, \"virtual_time\": %s},\n",
            info->device_kind == EUM_DEVICE_CUDA  ? "cuda"
            : info->device_kind == EUM_DEVICE_SIM ? "sim"
                                                  : "host",
            (int)info->compute_major, (int)info->compute_minor, (int)info->driver_version, (int)info->runtime_version,
            machine->raw->virtual_time ? "true" : "false");
    fprintf(f, "  \"cpu_kernels\": \"%s\", \"threads\": %u,\n  \"cases\": [\n", info->cpu_kernels, machine->threads);
    for (size_t i = 0; i < result_count; i++) {
        fputs(i > 0 ? ",\n" : "", f);
        put_case(f, &results[i]);
    }
    fputs("],\n  \"rows\": [\n", f);
    for (size_t i = 0; i < row_count; i++) {
        fputs(i > 0 ? ",\n" : "", f);
        put_row(f, &rows[i]);
    }
    fputs("]}\n", f);
    fflush(f);
}
