/* cores: see cores.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cores.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* Reads "quota period" (v2's cpu.max, where quota may be "max") or one number (v1's files). */
static int read_numbers(const char *folder, const char *path, const char *file, long long *first, long long *second)
{
    char name[PATH_BYTES * 2];
    if (snprintf(name, sizeof name, "%s%s/%s", folder, path, file) >= (int)sizeof name)
        return 0;
    FILE *stream = fopen(name, "re");
    if (stream == NULL)
        return 0;
    int found = fscanf(stream, "%lld %lld", first, second);
    (void)fclose(stream);
    return found < 0 ? 0 : found;
}

static uint32_t smaller_quota(uint32_t known, long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return known;
    long long cores = (quota + period - 1) / period;
    if (cores > UINT32_MAX)
        return known;
    return known == 0 || (uint32_t)cores < known ? (uint32_t)cores : known;
}

/* The quota of a group is that of its parents too: goes up from `path` to the mount. Inside a container the path of /proc is often the
 * outside one and the mount is the group itself. */
static uint32_t quota_upwards(const char *folder, const char *path, bool version_2)
{
    char group[PATH_BYTES];
    (void)snprintf(group, sizeof group, "%s", path);
    uint32_t cores = 0;
    for (;;) {
        size_t length = strlen(group);
        if (length > 0 && group[length - 1] == '/')
            group[length - 1] = 0;
        long long quota = 0, period = 0, unused = 0;
        if (version_2 ? read_numbers(folder, group, "cpu.max", &quota, &period) == 2
                      : read_numbers(folder, group, "cpu.cfs_quota_us", &quota, &unused) == 1 &&
                            read_numbers(folder, group, "cpu.cfs_period_us", &period, &unused) == 1)
            cores = smaller_quota(cores, quota, period);
        char *last = strrchr(group, '/');
        if (last == NULL)
            return cores;
        *last = 0;
    }
}

static bool names_cpu(const char *controllers)
{
    for (const char *at = controllers; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, "cpu", 3) == 0 && (at[3] == ',' || at[3] == 0))
            return true;
    }
    return false;
}

uint32_t eum_cores_quota(const char *cgroup_file, const char *mount)
{
    FILE *stream = fopen(cgroup_file, "re");
    if (stream == NULL)
        return 0;
    uint32_t cores = 0;
    char line[PATH_BYTES];
    while (fgets(line, sizeof line, stream) != NULL) { /* hierarchy:controllers:path */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = 0;
        controllers++;
        char folder[PATH_BYTES + 16];
        uint32_t found = 0;
        if (*controllers == 0) {
            found = quota_upwards(mount, path, true);
        } else if (names_cpu(controllers)) {
            (void)snprintf(folder, sizeof folder, "%s/cpu", mount); /* a link to cpu,cpuacct where they share a hierarchy */
            found = quota_upwards(folder, path, false);
        }
        if (found != 0 && (cores == 0 || found < cores))
            cores = found;
    }
    (void)fclose(stream);
    return cores;
}

/* The mask must be as large as the kernel's, which may have more than CPU_SETSIZE cores. */
static uint32_t affinity_cores(void)
{
    for (int most = CPU_SETSIZE; most <= 1 << 16; most *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)most);
        if (set == NULL)
            break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)most);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return (uint32_t)count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

uint32_t eum_cores(void)
{
    uint32_t cores = affinity_cores();
    uint32_t quota = eum_cores_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota != 0 && quota < cores ? quota : cores;
}
