/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    eum_backing backing;
    bool can_be_asked_for;
} backings[] = {{"auto", EUM_BACKING_AUTO, true},         {"managed", EUM_BACKING_MANAGED, true},
                {"mirrored", EUM_BACKING_MIRRORED, true}, {"mapped", EUM_BACKING_MAPPED, true},
                {"host", EUM_BACKING_HOST, true},         {"device", EUM_BACKING_DEVICE, false}};
#define BACKING_COUNT (sizeof backings / sizeof backings[0])

const char *backing_name(eum_backing backing)
{
    for (size_t i = 0; i < BACKING_COUNT; i++)
        if (backings[i].backing == backing)
            return backings[i].name;
    return "unknown";
}

bool backing_parse(const char *name, eum_backing *out)
{
    for (size_t i = 0; i < BACKING_COUNT; i++)
        if (backings[i].can_be_asked_for && strcmp(backings[i].name, name) == 0) {
            *out = backings[i].backing;
            return true;
        }
    return false;
}

const char *device_word(char out[WORD_BYTES], const eum_info *info)
{
    if (info->device_kind == EUM_DEVICE_CUDA)
        (void)snprintf(out, WORD_BYTES, "cuda:%" PRId32, info->device_index);
    else
        (void)snprintf(out, WORD_BYTES, "%s", info->device_kind == EUM_DEVICE_SIM ? "sim" : "host");
    return out;
}

const char *size_words(char out[WORD_BYTES], uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    double value = (double)bytes / 1024;
    size_t unit = 0;
    if (bytes < 1024) {
        (void)snprintf(out, WORD_BYTES, "%" PRIu64 " byte%s", bytes, bytes == 1 ? "" : "s");
        return out;
    }
    for (; value >= 1023.95; unit++)
        value /= 1024;
    (void)snprintf(out, WORD_BYTES, "%.1f %ciB", value, units[unit]);
    return out;
}
