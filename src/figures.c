/* figures: see figures.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "figures.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Bounds: far beyond what machines have (a link over USB, an NVLink of the next decades), and short of what would make predictions senseless. */
#define SLOWEST_MBPS 50u
#define FASTEST_MBPS 5000000u
#define SHORTEST_NS 50u
#define LONGEST_NS 20000000u

typedef struct figure {
    const char *name;
    size_t offset;
    uint64_t low, high;
    bool hosts; /* of the host: may be 0, which is "not measured" */
} figure;

#define FIGURE(field) offsetof(eum_costs, field)
static const figure figures[] = {
    {"to_device_mbps", FIGURE(link_mbps), SLOWEST_MBPS, FASTEST_MBPS, false},
    {"to_host_mbps", FIGURE(to_host_mbps), SLOWEST_MBPS, FASTEST_MBPS, false},
    {"in_place_mbps", FIGURE(in_place_mbps), SLOWEST_MBPS, FASTEST_MBPS, false},
    {"memory_mbps", FIGURE(memory_mbps), 1000, 100000000, false},
    {"copy_ns", FIGURE(copy_ns), SHORTEST_NS, LONGEST_NS, false},
    {"prefetch_ns", FIGURE(prefetch_ns), SHORTEST_NS, LONGEST_NS, false},
    {"prefetch_unit_ns", FIGURE(unit_ns), 1, LONGEST_NS, false},
    {"prefetch_unit_bytes", FIGURE(unit_bytes), 4096, (uint64_t)1 << 30, false},
    {"prefetch_batch_range_ns", FIGURE(batch_range_ns), 0, LONGEST_NS, false},
    {"prefetch_batch_waits", FIGURE(batch_waits), 0, 1, false},
    {"launch_ns", FIGURE(launch_ns), SHORTEST_NS, LONGEST_NS, false},
    {"macs_mhz", FIGURE(macs_mhz), 1000, 1000000000, false},
    {"host_copy_mbps", FIGURE(host_copy_mbps), SLOWEST_MBPS, FASTEST_MBPS, true},
    {"host_copy_all_mbps", FIGURE(host_copy_all_mbps), SLOWEST_MBPS, FASTEST_MBPS, true},
};
#define FIGURES (sizeof figures / sizeof *figures)
_Static_assert(FIGURES == sizeof(eum_costs) / sizeof(uint64_t), "every cost is a figure");

static uint64_t get(const eum_costs *costs, const figure *f)
{
    uint64_t value;
    memcpy(&value, (const char *)costs + f->offset, sizeof value);
    return value;
}

static void set(eum_costs *costs, const figure *f, uint64_t value)
{
    memcpy((char *)costs + f->offset, &value, sizeof value);
}

/* ----------------------------------------------------------------------------------------------------- devices ----- */

eum_costs_device eum_costs_device_of(const char *name, int32_t major, int32_t minor)
{
    eum_costs_device device = {.major = major, .minor = minor};
    while (*name == ' ')
        name++;
    snprintf(device.name, sizeof device.name, "%s", name);
    for (char *c = device.name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    for (size_t end = strlen(device.name); end > 0 && device.name[end - 1] == ' '; end--)
        device.name[end - 1] = '\0';
    return device;
}

bool eum_costs_device_same(const eum_costs_device *a, const eum_costs_device *b)
{
    return a->major == b->major && a->minor == b->minor && strcmp(a->name, b->name) == 0;
}

/* ------------------------------------------------------------------------------------------------ from probes ------ */

eum_costs eum_figures_settled(const eum_costs *costs)
{
    eum_costs settled = *costs;
    if (settled.to_host_mbps == 0)
        settled.to_host_mbps = settled.link_mbps;
    if (settled.in_place_mbps == 0)
        settled.in_place_mbps = settled.link_mbps;
    return settled;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* MB/s of so many bytes in that time, rounded. */
static uint64_t rate(uint64_t bytes, uint64_t ns)
{
    uint64_t in = ns == 0 ? 1 : ns;
    return (bytes * 1000 + in / 2) / in;
}

static uint64_t rate_between(const eum_probes *p, uint64_t small_ns, uint64_t large_ns)
{
    return rate(p->large_bytes - p->small_bytes, less(large_ns, small_ns));
}

static void clamp(eum_costs *costs, bool hosts)
{
    for (size_t i = 0; i < FIGURES; i++) {
        uint64_t value = get(costs, &figures[i]);
        if (figures[i].hosts != hosts)
            continue;
        set(costs, &figures[i], value < figures[i].low ? figures[i].low : value > figures[i].high ? figures[i].high : value);
    }
}

static void fit_prefetches(eum_costs *costs, const eum_probes *p)
{
    if (p->units < 2)
        return;
    /* A unit more takes its fixed time and that of its bytes. */
    uint64_t unit = less(p->prefetch_units, p->prefetch_one) / (p->units - 1);
    costs->unit_ns = less(unit, eum_cost_at(costs->unit_bytes, costs->link_mbps));
    costs->prefetch_ns = less(p->prefetch_one, unit);
}

/* By one call or by many, the units and bytes are the same: what is left is the fixed parts. */
static void fit_batches(eum_costs *costs, const eum_probes *p)
{
    if (p->ranges < 2)
        return;
    uint64_t more = p->ranges - 1;
    costs->batch_range_ns = less(costs->prefetch_ns, less(p->ranges_apart, p->ranges_together) / more) +
                            less(p->ranges_together, p->ranges_apart) / more;
    costs->batch_waits = p->together_call > p->ranges_together / 2;
}

eum_costs eum_figures_from(const eum_costs *now, const eum_probes *p)
{
    eum_costs costs = eum_figures_settled(now);
    costs.host_copy_mbps = rate(p->host_bytes, p->host_one);
    costs.host_copy_all_mbps = rate(p->host_bytes, p->host_all);
    clamp(&costs, true);
    if (p->large_bytes == 0)
        return costs;
    costs.link_mbps = rate_between(p, p->to_small, p->to_large);
    costs.to_host_mbps = rate_between(p, p->back_small, p->back_large);
    costs.launch_ns = p->launch;
    costs.memory_mbps = rate(p->near_bytes, less(p->near, p->launch));
    costs.in_place_mbps =
        p->far == 0 ? costs.link_mbps : rate(p->far_bytes, less(p->far, p->launch + eum_cost_reach(p->far_bytes)));
    clamp(&costs, false); /* what follows divides by the link's */
    costs.copy_ns = less(p->to_small, eum_cost_at(p->small_bytes, costs.link_mbps));
    fit_prefetches(&costs, p);
    clamp(&costs, false);
    fit_batches(&costs, p);
    clamp(&costs, false);
    return costs;
}

/* -------------------------------------------------------------------------------------------------------- text ----- */

#define FIRST_LINE "engram_um costs "
#define FORMAT_VERSION "1"
#define ADVICE "make it anew with engram-um calibrate --output FILE, or unset EUM_COSTS"

size_t eum_figures_text(const eum_costs_device *device, const eum_costs *costs, char text[EUM_FIGURES_TEXT])
{
    int length = snprintf(text, EUM_FIGURES_TEXT, FIRST_LINE FORMAT_VERSION "\ndevice %s\ncompute %" PRId32 ".%" PRId32 "\n",
                          device->name, device->major, device->minor);
    for (size_t i = 0; i < FIGURES; i++)
        length += snprintf(text + length, EUM_FIGURES_TEXT - (size_t)length, "%s %" PRIu64 "\n", figures[i].name,
                           get(costs, &figures[i]));
    return (size_t)length;
}

/* Decimal digits and nothing else, below 2^62. */
static bool number(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (value >= ((uint64_t)1 << 62) / 10)
            return false;
        value = value * 10 + (uint64_t)(*c - '0');
    }
    *out = value;
    return c != text && *c == '\0';
}

static bool version(char *text, int32_t *out_major, int32_t *out_minor)
{
    uint64_t major, minor;
    char *point = strchr(text, '.');
    if (point == NULL)
        return false;
    *point = '\0';
    bool fine = number(text, &major) && number(point + 1, &minor) && major < 1000 && minor < 1000;
    *point = '.';
    if (fine) {
        *out_major = (int32_t)major;
        *out_minor = (int32_t)minor;
    }
    return fine;
}

typedef struct parser {
    const char *path;
    unsigned line;
    uint32_t seen; /* bit i: figure i; then the device and its compute capability */
    bool begun;
    eum_costs_device device;
    eum_costs costs;
} parser;
#define SEEN_DEVICE FIGURES
#define SEEN_COMPUTE (FIGURES + 1)
#define SEEN_ALL (((uint32_t)1 << (FIGURES + 2)) - 1)

static eum_status damaged(const parser *p, const char *what)
{
    return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "the costs in %s: line %u %s; " ADVICE, p->path, p->line, what);
}

static eum_status take(parser *p, size_t which, bool fine, const char *wrong)
{
    if ((p->seen >> which & 1) != 0)
        return damaged(p, "says again what was said before");
    p->seen |= (uint32_t)1 << which;
    return fine ? EUM_OK : damaged(p, wrong);
}

static eum_status take_line(parser *p, char *line)
{
    if (!p->begun) {
        p->begun = strcmp(line, FIRST_LINE FORMAT_VERSION) == 0;
        if (p->begun)
            return EUM_OK;
        return damaged(p, strncmp(line, FIRST_LINE, sizeof FIRST_LINE - 1) == 0
                              ? "names another version of the format than " FORMAT_VERSION
                              : "is not \"" FIRST_LINE FORMAT_VERSION "\"");
    }
    char *value = strchr(line, ' ');
    if (value == NULL)
        return damaged(p, "is not a word and a value");
    *value++ = '\0';
    if (strcmp(line, "device") == 0) {
        p->device = eum_costs_device_of(value, p->device.major, p->device.minor);
        return take(p, SEEN_DEVICE, p->device.name[0] != '\0', "names no device");
    }
    if (strcmp(line, "compute") == 0)
        return take(p, SEEN_COMPUTE, version(value, &p->device.major, &p->device.minor), "has no compute capability like 9.0");
    for (size_t i = 0; i < FIGURES; i++) {
        uint64_t amount = 0;
        if (strcmp(line, figures[i].name) != 0)
            continue;
        bool fine = number(value, &amount);
        set(&p->costs, &figures[i], amount);
        return take(p, i, fine, "has no whole number");
    }
    return damaged(p, "begins with a word that is none of the format's");
}

/* Inside the bounds; or nothing moves there, and all figures of the device are 0. */
static eum_status check(const parser *p)
{
    if (p->seen != SEEN_ALL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "the costs in %s are not complete; " ADVICE, p->path);
    bool any = false;
    for (size_t i = 0; i < FIGURES; i++)
        any |= !figures[i].hosts && get(&p->costs, &figures[i]) != 0;
    for (size_t i = 0; i < FIGURES; i++) {
        uint64_t value = get(&p->costs, &figures[i]);
        if (value == 0 && (figures[i].hosts || !any))
            continue;
        if (value < figures[i].low || value > figures[i].high)
            return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                            "the costs in %s: %s is %" PRIu64 ", outside %" PRIu64 " to %" PRIu64 "; " ADVICE, p->path,
                            figures[i].name, value, figures[i].low, figures[i].high);
    }
    return EUM_OK;
}

eum_status eum_figures_parse(const char *text, size_t bytes, const char *path, eum_costs_device *out_device, eum_costs *out)
{
    parser p = {.path = path};
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t length = end == NULL ? bytes - at : (size_t)(end - (text + at));
        char line[256];
        p.line++;
        if (length >= sizeof line || memchr(text + at, '\0', length) != NULL)
            return damaged(&p, "is no line of such a file");
        memcpy(line, text + at, length);
        at += length + 1;
        while (length > 0 && (line[length - 1] == '\r' || line[length - 1] == ' '))
            length--;
        line[length] = '\0';
        eum_status status = length == 0 || line[0] == '#' ? EUM_OK : take_line(&p, line);
        if (status != EUM_OK)
            return status;
    }
    eum_status status = check(&p);
    if (status != EUM_OK)
        return status;
    *out_device = p.device;
    *out = p.costs;
    return EUM_OK;
}
