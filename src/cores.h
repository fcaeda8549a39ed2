/* cores: how many cores this process may use.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_CORES_H
#define EUM_SRC_CORES_H

#include <stdint.h>

/* The calling thread's affinity, limited by the cgroup's CPU quota; at least 1. */
uint32_t eum_cores(void);

/* The quota alone, rounded up to whole cores; 0: none. cgroup_file: /proc/self/cgroup; mount: /sys/fs/cgroup (parameters for the tests). */
uint32_t eum_cores_quota(const char *cgroup_file, const char *mount);

#endif
