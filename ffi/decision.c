/* decision: an eum_decision as sentences that somebody can act on. Pure: the struct in, text out.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "arguments.h"
#include "structs.h"

/* Text of which the first `capacity` - 1 characters are kept. */
typedef struct writer {
    char *text;
    size_t capacity, length;
} writer;

static void say(writer *to, const char *format, ...) EUM_PRINTF(2, 3);
static void say(writer *to, const char *format, ...)
{
    bool room = to->length < to->capacity;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(room ? to->text + to->length : NULL, room ? to->capacity - to->length : 0, format, arguments);
    va_end(arguments);
    if (written > 0)
        to->length += (size_t)written;
}

static void say_count(writer *to, uint64_t count, const char *one, const char *many)
{
    say(to, "%llu %s", (unsigned long long)count, count == 1 ? one : many);
}

/* "12345 bytes (12.1 KiB)" */
static void say_bytes(writer *to, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    say_count(to, bytes, "byte", "bytes");
    if (bytes < 1024)
        return;
    double scaled = (double)bytes / 1024;
    size_t unit = 0;
    for (; scaled >= 1024; unit++)
        scaled /= 1024;
    say(to, " (%.1f %s)", scaled, units[unit]);
}

/* The name of an enumeration's value, or that it is none of this version's. */
static void say_name(writer *to, const char *const *names, size_t count, int32_t value)
{
    if (value >= 0 && (size_t)value < count && names[value] != NULL)
        say(to, "%s", names[value]);
    else
        say(to, "%d (not known to this version)", (int)value);
}
#define SAY_NAME(to, names, value) say_name(to, names, sizeof(names) / sizeof(names)[0], value)

static void say_backing(writer *to, const eum_decision *decision)
{
    static const char *const backings[] = {"not chosen yet",
                                           "managed memory, one pointer on both sides",
                                           "mirrored: pinned host memory and a copy on the device",
                                           "mapped: host memory that kernels read in place over the link",
                                           "host memory",
                                           "device memory, which the CPU does not reach"};
    static const char *const reasons[] = {
        NULL,
        "because the configuration of the buffer or of the context, or EUM_BACKING, asks for it",
        "because CPU and kernels may use managed memory at once on this device",
        "because this device has managed memory but lets CPU and kernels use it only in turns",
        "because this device has no managed memory",
        "because there is no device",
        "as follows from the kind of memory that was wrapped",
        "because copies of what changed cost less on this device than the migration of managed pages",
    };
    say(to, "Held as ");
    SAY_NAME(to, backings, decision->backing);
    say(to, ", ");
    SAY_NAME(to, reasons, decision->backing_reason);
    say(to, ". ");
}

static void say_role(writer *to, const eum_decision *decision)
{
    static const char *const roles[] = {"auto: the library finds out how it is used", "query: written rarely, read on every side",
                                        "targets: reused on the device, launch after launch",
                                        "results: written by the device, read by the CPU",
                                        "stream: rewritten by the CPU for every launch"};
    say(to, "Its role is ");
    SAY_NAME(to, roles, decision->role);
    say(to, ". ");
}

static void say_last_use(writer *to, const eum_decision *decision)
{
    static const char *const movements[] = {
        NULL,
        "prefetched managed pages",
        "duplicated read-mostly pages, which stay valid on both sides",
        "was read or written in place, over the link",
        "was copied between the host side and the copy on the device",
        "was worthless and was dropped instead of moved",
    };
    if (decision->launches == 0 && decision->maps == 0 && decision->last_bytes == 0 &&
        decision->last_movement == EUM_MOVEMENT_NONE) {
        say(to, "It has not been used yet. ");
        return;
    }
    say(to, "The last use: ");
    if (decision->last_movement == EUM_MOVEMENT_NONE) {
        say(to, "nothing moved, the bytes were where they were needed. ");
        return;
    }
    say_bytes(to, decision->last_bytes);
    say(to, ", ");
    SAY_NAME(to, movements, decision->last_movement);
    say(to, ". ");
}

/* "77 us" */
static void say_time(writer *to, uint64_t ns)
{
    if (ns < 10000)
        say(to, "%.1f us", (double)ns / 1e3);
    else if (ns < 10000000)
        say(to, "%.0f us", (double)ns / 1e3);
    else
        say(to, "%.1f ms", (double)ns / 1e6);
}

static void say_weighed(writer *to, const eum_decision *decision)
{
    if (decision->in_place_ns == 0 && decision->move_ns == 0)
        return;
    say(to, "Weighed at the last use by a built-in kernel that found bytes on the host: in place ");
    say_time(to, decision->in_place_ns);
    say(to, ", moving them ");
    say_time(to, decision->move_ns);
    say(to, "; they move when the uses in place have cost as much. ");
}

static void say_totals(writer *to, const eum_decision *decision)
{
    say(to, "In ");
    say_count(to, decision->launches, "launch", "launches");
    say(to, " and ");
    say_count(to, decision->maps, "map", "maps");
    say(to, " so far, ");
    say_bytes(to, decision->bytes_to_device);
    say(to, " moved to the device and ");
    say_bytes(to, decision->bytes_to_host);
    say(to, " back. Valid now: ");
    say_bytes(to, decision->bytes_on_host);
    say(to, " on the host, ");
    say_bytes(to, decision->bytes_on_device);
    say(to, " on the device, tracked in ");
    say_count(to, decision->extents, "range", "ranges");
    say(to, ".");
}

static void say_contradiction(writer *to, const eum_decision *decision)
{
    if (decision->contradiction == EUM_CONTRADICTION_NONE)
        return;
    const char *sentence = eum_contradiction_sentence(decision->contradiction);
    if (sentence != NULL)
        say(to, " %s.", sentence);
    else
        say(to, " Its role contradicts the use: %d (not known to this version).", (int)decision->contradiction);
}

/* What the user could do about it, where the numbers say that something could be done. */
static void say_advice(writer *to, const eum_decision *decision)
{
    bool again = decision->launches >= 2;
    if (again && decision->bytes_to_device > 0 && decision->bytes_to_host > 0)
        say(to, " Bytes travel both ways: map with EUM_ACCESS_OVERWRITE what is rewritten whole, and with EUM_ACCESS_READ what is "
                "only read, so "
                "that nothing is moved for nothing.");
    else if (again && decision->bytes_to_device > 0 && decision->role == EUM_ROLE_AUTO)
        say(to, " If the device reuses these bytes, EUM_ROLE_TARGETS keeps them there; if the CPU rewrites them for every launch, "
                "EUM_ROLE_STREAM "
                "fits.");
    if (again && decision->last_movement == EUM_MOVEMENT_IN_PLACE && decision->role != EUM_ROLE_AUTO)
        say(to, " Kernels read these bytes over the link at each launch: an owned buffer would hold them on the device.");
    if (decision->extents > 64)
        say(to, " They are tracked in many small ranges: use fewer, larger views where you can.");
}

eum_status eum_decision_text(const eum_decision *decision, char *text, size_t capacity, size_t *needed)
{
    eum_decision full;
    eum_status status = eum_check_pointer("decision", decision);
    if (status == EUM_OK)
        status = eum_struct_take(&eum_decision_type, decision, &full);
    if (status != EUM_OK)
        return status;
    if (text == NULL && capacity > 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "text is NULL and capacity is %zu; pass where the text goes, or 0 to ask for its length", capacity);
    writer to = {text, capacity, 0};
    say_backing(&to, &full);
    say_role(&to, &full);
    say_last_use(&to, &full);
    say_weighed(&to, &full);
    say_totals(&to, &full);
    say_contradiction(&to, &full);
    say_advice(&to, &full);
    if (needed != NULL)
        *needed = to.length + 1;
    return EUM_OK;
}
