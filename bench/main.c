/* eum-bench: the library beside the ways to do it by hand, in one process and one run.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Every round all contenders take a turn in a random order; a turn makes its buffers, warms up, measures, checks what came out, and ends its
 * buffers. So at most one set of managed memory lives at a time, of at most 512 MiB and its results. */
#include <stdlib.h>
#include <string.h>

#include "bench_kernels.h"
#include "context.h"
#include "device/sim/sim.h"
#include "extras.h"
#include "objects.h"
#include "work.h"

#define SHAPES 32
#define COUNTING 0.06 /* the part of the time limit that is left for the counting of faults */

typedef struct options {
    const char *device, *output;
    bool json, all, quick;
    size_t rounds;
    double time_limit; /* seconds */
    uint32_t threads;
    bench_shape shape[SHAPES];
    size_t shapes;
    bool pattern[64], extra[16];
} options;

static bench_machine machine;
static options chosen;
static bool complete = true;

static void usage(FILE *to)
{
    fputs("usage: eum-bench [DEVICE] [options]\n"
          "\n"
          "Runs the library and the ways to do it by hand in turns and compares them. DEVICE: auto, host, cuda, cuda:N, sim:ARCH.\n"
          "\n"
          "  --patterns LIST    patterns and groups of figures, separated by commas; all without it. --list names them\n"
          "  --sizes LIST       of the targets: 4K, 64M (at most 512M), or rows x dim: 1000x768\n"
          "  --rounds N         at most so many rounds a case (1 to 101)\n"
          "  --time-limit N     seconds; what is not measured by then is left out, and said\n"
          "  --threads N        of the CPU's work, for all contenders alike (1 to 256)\n"
          "  --quick            whether everything runs; the figures say nothing\n"
          "  --all              a line for every contender\n"
          "  --json             JSON on stdout in place of the table\n"
          "  --output FILE      JSON to a file, beside the table\n"
          "  --list             patterns and groups\n",
          to);
}

static void list(void)
{
    for (size_t i = 0; i < bench_pattern_count; i++)
        printf("%-10s  %s\n", bench_patterns[i].name, bench_patterns[i].text);
    for (size_t i = 0; i < bench_extra_count; i++)
        printf("%-10s  %s\n", bench_extras[i].name, bench_extras[i].text);
    puts("\ncontenders");
    for (size_t i = 0; i < bench_library_contender_count; i++)
        printf("%-16s  %s\n", bench_library_contenders[i].name, bench_library_contenders[i].text);
    for (size_t i = 0; i < bench_rival_count; i++)
        printf("%-16s  %s\n", bench_rivals[i].name, bench_rivals[i].text);
}

/* ------------------------------------------------------------------------------------------------------ options ----- */

_Noreturn static void misuse(const char *what, const char *value)
{
    fprintf(stderr, "eum-bench: %s: %s\n\n", what, value);
    usage(stderr);
    exit(2);
}

static void choose(const char *name, size_t length)
{
    const bench_pattern *pattern = bench_pattern_find(name, length);
    if (pattern != NULL) {
        chosen.pattern[pattern - bench_patterns] = true;
        return;
    }
    for (size_t i = 0; i < bench_extra_count; i++)
        if (strlen(bench_extras[i].name) == length && strncmp(bench_extras[i].name, name, length) == 0) {
            chosen.extra[i] = true;
            return;
        }
    misuse("no such pattern (--list names them)", name);
}

static void add_shape(const char *text, size_t length)
{
    if (chosen.shapes == SHAPES)
        misuse("too many sizes", text);
    if (!bench_shape_parse(text, length, &chosen.shape[chosen.shapes]))
        misuse("a size is 4K to 512M, or rows x dim with a dim that is a multiple of 64 and at most 4096", text);
    chosen.shapes++;
}

static void each(const char *text, void (*take)(const char *item, size_t length))
{
    for (;;) {
        size_t length = strcspn(text, ",");
        take(text, length);
        if (text[length] == 0)
            return;
        text += length + 1;
    }
}

static double number(const char *option, const char *text, double least, double most)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != 0 || !(value >= least && value <= most))
        misuse(option, text);
    return value;
}

static bool take_value(const char *option, const char *value)
{
    if (strcmp(option, "--patterns") == 0)
        each(value, choose);
    else if (strcmp(option, "--sizes") == 0)
        each(value, add_shape);
    else if (strcmp(option, "--rounds") == 0)
        chosen.rounds = (size_t)number("--rounds takes 1 to 101", value, 1, BENCH_ROUNDS);
    else if (strcmp(option, "--time-limit") == 0)
        chosen.time_limit = number("--time-limit takes seconds, 1 to 100000", value, 1, 100000);
    else if (strcmp(option, "--threads") == 0)
        chosen.threads = (uint32_t)number("--threads takes 1 to 256", value, 1, 256);
    else if (strcmp(option, "--output") == 0)
        chosen.output = value;
    else
        return false;
    return true;
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--help") == 0) {
            usage(stdout);
            exit(EXIT_SUCCESS);
        } else if (strcmp(option, "--list") == 0) {
            list();
            exit(EXIT_SUCCESS);
        } else if (strcmp(option, "--json") == 0) {
            chosen.json = true;
        } else if (strcmp(option, "--all") == 0) {
            chosen.all = true;
        } else if (strcmp(option, "--quick") == 0) {
            chosen.quick = true;
        } else if (option[0] != '-' && chosen.device == NULL) {
            chosen.device = option;
        } else if (i + 1 < argc && take_value(option, argv[i + 1])) {
            i++;
        } else {
            misuse("unknown option, or its value is missing", option);
        }
    }
    bool any = false;
    for (size_t i = 0; i < 64; i++)
        any = any || chosen.pattern[i] || (i < 16 && chosen.extra[i]);
    for (size_t i = 0; i < 64 && !any; i++) {
        chosen.pattern[i] = true;
        if (i < 16)
            chosen.extra[i] = true;
    }
}

/* What was not asked for, by the device that was found. */
static void complete_options(void)
{
    const char *sizes = "64K,1000x768,16M";
    if (machine.info.device_kind == EUM_DEVICE_CUDA)
        sizes = "4K,64K,1M,1000x768,16M,64M,256M";
    if (chosen.quick)
        sizes = "4K,64K";
    if (chosen.shapes == 0)
        each(sizes, add_shape);
    if (chosen.rounds == 0)
        chosen.rounds = chosen.quick || machine.raw->virtual_time ? 2 : 61;
    if (chosen.time_limit == 0)
        chosen.time_limit = chosen.quick ? 60 : 220;
}

/* ------------------------------------------------------------------------------------------------------ machine ----- */

static eum_device *library_device;

static double virtual_now(void)
{
    return (double)eum_sim_time(library_device);
}

/* Simulated devices run one operation after the other, unless the request says something else, so that their clock is the same every time. */
static const char *device_request(const char *device)
{
    static char request[256];
    if (device == NULL)
        device = getenv("EUM_DEVICE");
    if (device == NULL || strncmp(device, "sim:", 4) != 0 || strstr(device, "schedule=") != NULL)
        return device;
    snprintf(request, sizeof request, "%s,schedule=step", device);
    return request;
}

static void open_machine(void)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context_object *object = NULL;
    machine.threads = bench_work_open(chosen.threads);
    machine.device = config.device = device_request(chosen.device);
    /* Where every fault has its cost, the order of touches must be the same every time. */
    config.worker_threads = config.device != NULL && strncmp(config.device, "sim:", 4) == 0 ? 1 : 0;
    bench_note_before_context(config.device);
    OK(eum_context_create(&config, &machine.context));
    bench_note_after_context();
    OK(eum_context_default_stream(machine.context, &machine.stream));
    eum_info_init(&machine.info);
    OK(eum_context_info(machine.context, &machine.info));
    bench_kernel_threads(machine.info.worker_threads);
    machine.raw = bench_raw_open(machine.device, &machine.info);
    OK(eum_pin_context(machine.context, &object));
    library_device = object->ctx->device; /* lives as long as the context */
    eum_handle_unpin(machine.context);
    machine.library_now = machine.raw->virtual_time ? virtual_now : bench_wall_ns;
}

static void write_json(void)
{
    if (chosen.json)
        bench_output_json(stdout, complete);
    if (chosen.output == NULL)
        return;
    FILE *file = fopen(chosen.output, "w");
    if (file == NULL) {
        fprintf(stderr, "eum-bench: %s cannot be written\n", chosen.output);
        exit(EXIT_FAILURE);
    }
    bench_output_json(file, complete);
    fclose(file);
}

static void write_what_there_is(void)
{
    complete = false;
    bench_before_stop = NULL;
    write_json();
}

/* -------------------------------------------------------------------------------------------------------- cases ----- */

static bool wanted(size_t pattern, size_t shape)
{
    size_t most = bench_patterns[pattern].most;
    return chosen.pattern[pattern] && (most == 0 || chosen.shape[shape].bytes <= most);
}

/* How long a case of this size may take, beside others. */
static double weight(size_t bytes)
{
    return bytes > (size_t)100 << 20 ? 6 : bytes > (size_t)30 << 20 ? 3 : bytes > (size_t)8 << 20 ? 2 : 1;
}

/* false: the time was over before the end. */
static bool run_cases(double deadline)
{
    static bench_result result;
    uint64_t random = (uint64_t)bench_wall_ns();
    double left = 0;
    size_t count = 0, done = 0;
    for (size_t s = 0; s < chosen.shapes; s++)
        for (size_t p = 0; p < bench_pattern_count; p++)
            if (wanted(p, s)) {
                left += weight(chosen.shape[s].bytes);
                count++;
            }
    for (size_t s = 0; s < chosen.shapes; s++) {
        for (size_t p = 0; p < bench_pattern_count; p++) {
            if (!wanted(p, s))
                continue;
            char shape[32], what[64];
            bench_shape_text(chosen.shape[s], shape, sizeof shape);
            snprintf(what, sizeof what, "%s %s", bench_patterns[p].name, shape);
            bench_output_progress(done++, count, what);
            double share = weight(chosen.shape[s].bytes) / left, now = bench_wall_ns();
            bench_limits limits = {.rounds = chosen.rounds,
                                   .seconds = (deadline - now) / 1e9 * share,
                                   .cycle_budget = chosen.quick || machine.raw->virtual_time ? 0 : 2e6,
                                   .deadline = deadline};
            left -= weight(chosen.shape[s].bytes);
            if (!bench_measure(&machine, &bench_patterns[p], chosen.shape[s], &limits, &random, &result))
                return false;
            bench_output_case(&result);
        }
        bench_keep_drop(machine.raw);
    }
    return true;
}

static void run_extras(bool after, double deadline)
{
    for (size_t i = 0; i < bench_extra_count; i++) {
        if (!chosen.extra[i] || bench_extras[i].after != after)
            continue;
        bench_output_progress(i, bench_extra_count, bench_extras[i].name);
        if (bench_wall_ns() < deadline)
            bench_extras[i].run(&machine, chosen.quick, deadline);
        bench_keep_drop(machine.raw);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    open_machine();
    complete_options();
    double begin = bench_wall_ns(), deadline = begin + chosen.time_limit * 1e9;
    bench_output_open(&machine, !chosen.json, chosen.all);
    bench_before_stop = write_what_there_is;
    run_extras(false, deadline);
    complete = run_cases(begin + chosen.time_limit * (1 - COUNTING) * 1e9);
    bench_keep_drop(machine.raw);
    run_extras(true, deadline);
    complete = complete && bench_wall_ns() < deadline;
    if (!complete)
        fprintf(stderr, "eum-bench: the time limit of %.0f s was over before the end; what is missing was not measured\n",
                chosen.time_limit);
    write_json();
    OK(eum_context_destroy(machine.context));
    machine.raw->close();
    bench_work_close();
    return EXIT_SUCCESS;
}
