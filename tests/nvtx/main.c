/* Does a build with EUM_NVTX=ON name what it does? Uses simulated devices under the injection library of its argument, and asks that for the ranges.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "engram_um.h"

#define BYTES ((size_t)3 << 20)

static int wrong;

#define OK(call) ok(call, #call)
static void ok(eum_status status, const char *call)
{
    eum_error error = EUM_ERROR_INIT;
    if (status == EUM_OK)
        return;
    eum_last_error(&error);
    fprintf(stderr, "%s: %s: %s\n", call, eum_status_name(status), error.sentence);
    exit(1);
}

static int32_t kernel(const eum_kernel_call *call)
{
    (void)call;
    return 0;
}

static eum_buffer *buffer_of(eum_context *context, eum_role role)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.role = role;
    OK(eum_buffer_create(context, BYTES, &config, &buffer));
    return buffer;
}

static void launch(eum_context *context, eum_buffer *buffer, eum_access access)
{
    eum_argument argument = {{buffer, 0, EUM_WHOLE_SIZE}, access, 0};
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    eum_stream *stream = NULL;
    eum_job job;
    config.cpu = kernel;
    config.arguments = &argument;
    config.argument_count = 1;
    OK(eum_context_default_stream(context, &stream));
    OK(eum_launch(stream, &config, &job));
    OK(eum_job_wait(job, -1));
}

/* A kernel changes two buffers that the CPU has written. */
static void use_two(void)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    eum_stream *stream = NULL;
    config.device = "sim:hopper";
    config.backing = EUM_BACKING_MANAGED;
    OK(eum_context_create(&config, &context));
    OK(eum_context_default_stream(context, &stream));
    eum_argument arguments[2];
    void *mapped = NULL;
    for (int i = 0; i < 2; i++) {
        arguments[i] = (eum_argument){{buffer_of(context, EUM_ROLE_AUTO), 0, EUM_WHOLE_SIZE}, EUM_ACCESS_READ_WRITE, 0};
        OK(eum_buffer_map(arguments[i].view, EUM_ACCESS_OVERWRITE, &mapped));
        OK(eum_buffer_unmap(arguments[i].view.buffer, mapped));
    }
    eum_launch_config launch = EUM_LAUNCH_CONFIG_INIT;
    eum_job job;
    launch.cpu = kernel;
    launch.arguments = arguments;
    launch.argument_count = 2;
    OK(eum_launch(stream, &launch, &job));
    OK(eum_job_wait(job, -1));
    for (int i = 0; i < 2; i++)
        OK(eum_buffer_destroy(arguments[i].view.buffer));
    OK(eum_context_destroy(context));
}

/* The CPU writes, a kernel reads, the CPU changes it, a kernel overwrites it, the CPU reads. */
static void use(const char *device, eum_backing backing, uint64_t budget)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = device;
    config.backing = backing;
    config.budget_bytes = budget;
    OK(eum_context_create(&config, &context));
    eum_buffer *first = buffer_of(context, EUM_ROLE_QUERY), *second = buffer_of(context, EUM_ROLE_STREAM);
    void *bytes = calloc(1, BYTES), *mapped = NULL;
    for (int i = 0; i < 2; i++) {
        eum_view view = {i == 0 ? first : second, 0, EUM_WHOLE_SIZE};
        OK(eum_buffer_write(view, bytes));
        launch(context, view.buffer, EUM_ACCESS_READ);
        OK(eum_buffer_map(view, EUM_ACCESS_READ_WRITE, &mapped));
        OK(eum_buffer_unmap(view.buffer, mapped));
        OK(eum_buffer_set_role(view.buffer, EUM_ROLE_AUTO));
        launch(context, view.buffer, EUM_ACCESS_READ);
        launch(context, view.buffer, EUM_ACCESS_OVERWRITE);
        OK(eum_buffer_read(view, bytes));
    }
    free(bytes);
    OK(eum_buffer_destroy(first));
    OK(eum_buffer_destroy(second));
    OK(eum_context_destroy(context));
}

int main(int argc, char **argv)
{
    if (argc != 2 || setenv("NVTX_INJECTION64_PATH", argv[1], 1) != 0)
        return 2;
    use("sim:hopper", EUM_BACKING_MANAGED, 0);
    use("sim:hopper", EUM_BACKING_MIRRORED, BYTES + BYTES / 2); /* room for one device copy */
    use_two();
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) {
        fprintf(stderr, "NVTX has not loaded %s\n", argv[1]);
        return 1;
    }
    int (*open)(void), (*named)(const char *, uint64_t);
    *(void **)&open = dlsym(library, "eum_test_ranges_open");
    *(void **)&named = dlsym(library, "eum_test_ranges_named");
    static const char *const names[] = {"engram_um: map",
                                        "engram_um: write",
                                        "engram_um: read",
                                        "engram_um: prefetch",
                                        "engram_um: copy",
                                        "engram_um: set read-mostly",
                                        "engram_um: unset read-mostly",
                                        "engram_um: in place",
                                        "engram_um: spill"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (named(names[i], BYTES) == 0) {
            fprintf(stderr, "no range \"%s\" of %zu bytes\n", names[i], BYTES);
            wrong++;
        }
    }
    if (named("engram_um: prefetch many", 2 * BYTES) != 1) {
        fprintf(stderr, "no range of two prefetches by one call\n");
        wrong++;
    }
    if (named("engram_um: launch", 0) != 13 || open() != 0) {
        fprintf(stderr, "%d ranges of launches instead of 13, %d ranges were left open\n", named("engram_um: launch", 0), open());
        wrong++;
    }
    return wrong != 0;
}
