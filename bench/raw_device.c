/* raw_device: by hand on the host or on a simulated GPU, through the device layer's own table.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "device/sim/sim.h"
#include "raw.h"
#include "work.h"

static eum_device *device;
static eum_dstream *streams[2];
static eum_log no_log;

static void device_close(void)
{
    for (int i = 0; i < 2; i++)
        device->ops->stream_destroy(streams[i]);
    device->ops->close(device);
    device = NULL;
}

static void device_alloc(eum_memory kind, size_t bytes, eum_block *out)
{
    OK(device->ops->alloc(device, kind, bytes, out));
}

static void device_release(eum_block *block)
{
    if (!block->adopted) {
        device->ops->release(device, block);
        return;
    }
    void *memory = block->host;
    device->ops->unadopt(device, block);
    free(memory);
}

static void device_source(size_t bytes, eum_block *out)
{
    eum_memory kind = device->caps.kind == EUM_DEVICE_HOST ? EUM_MEMORY_HOST : EUM_MEMORY_PINNED;
    OK(device->ops->adopt(device, kind, bench_memory(bytes), bytes, false, out));
    out->adopted = true;
}

static void device_copy(int stream, void *dst, const void *src, size_t bytes, eum_direction direction)
{
    OK(device->ops->copy(streams[stream], dst, src, bytes, direction));
}

static void device_prefetch(int stream, const eum_block *block, size_t offset, size_t bytes, eum_location where)
{
    OK(device->ops->prefetch(streams[stream], block, offset, bytes, where));
}

static void device_advise(const eum_block *block, eum_advice advice, eum_location where)
{
    OK(device->ops->advise(device, block, 0, (block->bytes + device->caps.page - 1) / device->caps.page * device->caps.page, advice,
                           where));
}

/* A task and everything that it points to. */
typedef struct running {
    eum_task task;
    bench_launch launch;
    _Alignas(16) unsigned char params[64];
} running;

static void finish(eum_task *task, eum_status status, int32_t code)
{
    if (status != EUM_OK || code != 0)
        bench_stop("a kernel that was started by hand failed (%s, code %d)", eum_status_name(status), (int)code);
    free(task);
}

static void device_run(int stream, const bench_launch *launch)
{
    running *run = calloc(1, sizeof *run);
    if (run == NULL || launch->params_bytes > sizeof run->params)
        bench_stop("no memory for a kernel");
    run->launch = *launch;
    if (launch->params_bytes > 0)
        memcpy(run->params, launch->params, launch->params_bytes);
    run->task.cpu = launch->cpu;
    run->task.accesses = run->launch.accesses;
    run->task.finish = finish;
    run->task.anywhere = true;
    run->task.call = (eum_kernel_call){.struct_size = sizeof(eum_kernel_call),
                                       .count = launch->count,
                                       .addresses = run->launch.addresses,
                                       .bytes = run->launch.bytes,
                                       .params = run->params,
                                       .params_bytes = launch->params_bytes};
    OK(device->ops->submit(streams[stream], &run->task));
}

static void device_wait(int stream)
{
    uint64_t sequence;
    OK(device->ops->mark(streams[stream], &sequence));
    OK(device->ops->wait(streams[stream], sequence, -1));
}

static void device_order(int stream, int other)
{
    uint64_t sequence;
    OK(device->ops->mark(streams[other], &sequence));
    OK(device->ops->order(streams[stream], streams[other], sequence));
}

static double virtual_now(void)
{
    return (double)eum_sim_time(device);
}

const bench_raw *bench_raw_device(const char *name)
{
    static bench_raw raw;
    char sentence[256];
    eum_reason reason;
    OK(eum_device_open(name, &no_log, NULL, &device, &reason, sentence, sizeof sentence));
    for (int i = 0; i < 2; i++)
        OK(device->ops->stream_create(device, &streams[i]));
    bool sim = device->caps.kind == EUM_DEVICE_SIM;
    raw = (bench_raw){.name = device->ops->name,
                      .virtual_time = sim,
                      .device = sim,
                      .managed = device->caps.managed && device->caps.concurrent_managed,
                      .close = device_close,
                      .alloc = device_alloc,
                      .release = device_release,
                      .source = device_source,
                      .copy = device_copy,
                      .prefetch = device_prefetch,
                      .advise = device_advise,
                      .run = device_run,
                      .wait = device_wait,
                      .order = device_order,
                      .now = sim ? virtual_now : bench_wall_ns};
    return &raw;
}
