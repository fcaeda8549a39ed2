/* host: the device that is always there. Plain memory, CPU kernels, streams whose threads live only while there is work.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "device/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"

static host_device *host_of(eum_device *device)
{
    return (host_device *)device;
}

/* --------------------------------------------------------------------------------------------- the machine --------- */

/* The value of "key : value" in a file of /proc, or NULL. */
static const char *proc_value(const char *file, const char *key, char *line, size_t capacity)
{
    FILE *stream = fopen(file, "re");
    if (stream == NULL)
        return NULL;
    const char *value = NULL;
    while (value == NULL && fgets(line, (int)capacity, stream) != NULL)
        if (strncmp(line, key, strlen(key)) == 0 && (value = strchr(line, ':')) != NULL) {
            value += 1 + strspn(value + 1, " \t");
            line[strcspn(line, "\n")] = 0;
        }
    (void)fclose(stream);
    return value;
}

static void host_name(char *name, size_t capacity)
{
    char line[256];
    const char *model = proc_value("/proc/cpuinfo", "model name", line, sizeof line);
    (void)snprintf(name, capacity, "%s", model != NULL && *model != 0 ? model : "host CPU");
}

static eum_status host_memory(eum_device *device, uint64_t *out_free, uint64_t *out_total)
{
    (void)device;
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES), unused = sysconf(_SC_AVPHYS_PAGES);
    if (page <= 0 || pages <= 0 || unused < 0)
        return eum_fail(EUM_ERROR_SYSTEM, "The system does not say how much memory it has (sysconf).");
    uint64_t available = (uint64_t)unused * (uint64_t)page;
    char line[256];
    const char *kilobytes = proc_value("/proc/meminfo", "MemAvailable", line, sizeof line); /* counts what caches would give back */
    if (kilobytes != NULL)
        available = strtoull(kilobytes, NULL, 10) * 1024;
    *out_total = (uint64_t)pages * (uint64_t)page;
    *out_free = available;
    return EUM_OK;
}

static void host_close(eum_device *device)
{
    host_device_unref(host_of(device));
}

/* ---------------------------------------------------------------------------------------- what does not exist ------ */

static eum_status not_managed(const char *what)
{
    return eum_fail(EUM_ERROR_NOT_SUPPORTED, "The host device cannot %s: it has no managed memory, everything is where the CPU is.",
                    what);
}

static eum_status host_prefetch(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    (void)stream, (void)block, (void)offset, (void)bytes, (void)where;
    return not_managed("prefetch");
}

static eum_status host_prefetch_many(eum_dstream *stream, const eum_piece *pieces, size_t count)
{
    (void)stream, (void)pieces, (void)count;
    return not_managed("prefetch");
}

static eum_status host_discard(eum_dstream *stream, const eum_block *block, size_t offset, size_t bytes)
{
    (void)stream, (void)block, (void)offset, (void)bytes;
    return not_managed("discard");
}

static eum_status host_advise(eum_device *device, const eum_block *block, size_t offset, size_t bytes, eum_advice advice,
                              eum_location where)
{
    (void)device, (void)block, (void)offset, (void)bytes, (void)advice, (void)where;
    return not_managed("take advice");
}

static eum_status host_stream_wrap(eum_device *device, void *native, eum_dstream **out)
{
    (void)device, (void)native, (void)out;
    return eum_fail(EUM_ERROR_NOT_SUPPORTED,
                    "The context runs on the host, which has no CUDA streams to wrap; use eum_stream_create.");
}

/* ------------------------------------------------------------------------------------- what streams carry ---------- */

static void run_kernel(host_item *item)
{
    eum_task *task = item->task;
    task->call.stream = NULL;
    task->call.device = EUM_LOCATION_HOST;
    eum_callback_depth++;
    int32_t code = task->cpu(&task->call);
    task->finish(task, code == 0 ? EUM_OK : EUM_ERROR_JOB_FAILED, code);
    eum_callback_depth--;
}

static void run_copy(host_device *device, const host_item *item)
{
    uintptr_t dst = (uintptr_t)item->dst, src = (uintptr_t)item->src;
    if (dst < src + item->bytes && src < dst + item->bytes)
        memmove(item->dst, item->src, item->bytes);
    else
        eum_workers_copy(device->workers, item->dst, item->src, item->bytes, EUM_READER_CPU);
}

void host_item_run(host_device *device, host_item *item)
{
    switch (item->kind) {
    case HOST_ITEM_KERNEL:
        run_kernel(item);
        break;
    case HOST_ITEM_COPY:
        run_copy(device, item);
        break;
    case HOST_ITEM_CALL:
        eum_callback_depth++;
        item->fn(item->user);
        eum_callback_depth--;
        break;
    case HOST_ITEM_ORDER:
        (void)host_stream_wait(item->other, item->sequence, -1);
        host_stream_unref(item->other);
        break;
    }
}

static eum_status host_submit(eum_dstream *stream, eum_task *task)
{
    return host_stream_push((host_stream *)stream,
                            &(host_item){.kind = HOST_ITEM_KERNEL, .anywhere = task->anywhere, .task = task});
}

static eum_status host_copy(eum_dstream *stream, void *dst, const void *src, size_t bytes, eum_direction direction)
{
    (void)direction; /* one memory */
    return host_stream_push((host_stream *)stream, &(host_item){.kind = HOST_ITEM_COPY, .dst = dst, .src = src, .bytes = bytes});
}

static eum_status host_call(eum_dstream *stream, void (*fn)(void *user), void *user)
{
    return host_stream_push((host_stream *)stream, &(host_item){.kind = HOST_ITEM_CALL, .fn = fn, .user = user});
}

/* ------------------------------------------------------------------------------------------------ opening ---------- */

static const struct eum_device_ops host_ops = {
    .name = "host",
    .close = host_close,
    .memory = host_memory,
    .alloc = host_alloc,
    .release = host_release,
    .adopt = host_adopt,
    .unadopt = host_unadopt,
    .give_up = host_give_up,
    .stream_create = host_stream_create,
    .stream_wrap = host_stream_wrap,
    .stream_destroy = host_stream_destroy,
    .mark = host_stream_mark,
    .passed = host_stream_passed,
    .wait = host_stream_wait,
    .order = host_stream_order,
    .copy = host_copy,
    .prefetch = host_prefetch,
    .prefetch_many = host_prefetch_many,
    .discard = host_discard,
    .advise = host_advise,
    .submit = host_submit,
    .host_call = host_call,
    .synchronize = host_synchronize,
};

eum_status eum_host_open(const eum_device_config *config, eum_device **out)
{
    if (config->options != NULL && *config->options != 0)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "The device \"host\" takes no options; \"%s\" was given.", config->options);
    host_device *device = calloc(1, sizeof *device);
    if (device == NULL)
        return eum_fail(EUM_ERROR_OUT_OF_MEMORY, "No memory for the host device (%zu bytes).", sizeof *device);
    device->base.ops = &host_ops;
    device->log = config->log;
    device->workers = config->workers;
    device->references = 1;
    (void)pthread_mutex_init(&device->mutex, NULL);
    eum_device_caps *caps = &device->base.caps;
    caps->kind = EUM_DEVICE_HOST;
    host_name(caps->name, sizeof caps->name);
    caps->pageable = true;
    long page = sysconf(_SC_PAGESIZE);
    caps->page = page > 0 ? (size_t)page : 4096;
    caps->block = HOST_BLOCK;
    *out = &device->base;
    return EUM_OK;
}

void host_device_unref(host_device *device)
{
    (void)pthread_mutex_lock(&device->mutex);
    bool last = --device->references == 0;
    (void)pthread_mutex_unlock(&device->mutex);
    if (!last)
        return;
    (void)pthread_mutex_destroy(&device->mutex);
    free(device);
}
