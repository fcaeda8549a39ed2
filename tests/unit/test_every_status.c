/* Every status that the header has, provoked through the public API alone. A status without a line in the table fails the test.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engram_um.h"

/* ------------------------------------------------------------------------------------------------ helpers ---------- */

static const char *sentence(void)
{
    static eum_error error;
    eum_error_init(&error);
    ck_assert_int_eq(eum_last_error(&error), EUM_OK);
    return error.sentence;
}

#define OK(call) ck_assert_msg((call) == EUM_OK, "%s: %s", #call, sentence())

static eum_context *context_on(const char *device)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = device;
    config.worker_threads = 1;
    OK(eum_context_create(&config, &context));
    return context;
}

static eum_buffer *buffer_with(eum_context *context, size_t bytes, eum_backing backing)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.backing = backing;
    config.flags = EUM_BUFFER_ZEROED;
    OK(eum_buffer_create(context, bytes, &config, &buffer));
    return buffer;
}

static eum_stream *stream_of(eum_context *context)
{
    eum_stream *stream = NULL;
    OK(eum_context_default_stream(context, &stream));
    return stream;
}

static eum_view whole(eum_buffer *buffer)
{
    return (eum_view){buffer, 0, EUM_WHOLE_SIZE};
}

static char memory[64];
static eum_buffer *borrow(eum_context *context, uint32_t flags)
{
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.address = memory;
    config.bytes = sizeof memory;
    config.flags = flags;
    OK(eum_buffer_wrap(context, &config, &buffer));
    return buffer;
}

static eum_status launch(eum_stream *stream, eum_kernel_fn kernel, const eum_argument *arguments, size_t count, void *user,
                         eum_job *out)
{
    eum_launch_config config = EUM_LAUNCH_CONFIG_INIT;
    config.cpu = kernel;
    config.arguments = arguments;
    config.argument_count = count;
    config.user = user;
    return eum_launch(stream, &config, out);
}

static int32_t do_nothing(const eum_kernel_call *call)
{
    (void)call;
    return 0;
}

static int32_t fail_with_7(const eum_kernel_call *call)
{
    (void)call;
    return 7;
}

/* Ends a provocation: nothing that it made may be in the way of the next, in one process. What was provoked is what is returned and what
 * the error detail says. */
static eum_status done(eum_status provoked, eum_context *context, eum_buffer *buffer)
{
    OK(eum_buffer_destroy(buffer));
    OK(eum_context_destroy(context));
    return provoked;
}

/* ---------------------------------------------------------------------------------------- 1xx: the call is wrong --- */

static eum_status invalid_handle(void)
{
    return eum_stream_synchronize(NULL);
}

static eum_status invalid_argument(void)
{
    return eum_context_create(NULL, NULL);
}

static eum_status invalid_enum(void)
{
    return eum_buffer_set_role(NULL, 99);
}

static eum_status struct_of_size(size_t size)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.struct_size = size;
    return eum_context_create(&config, &context);
}

static eum_status struct_too_small(void)
{
    return struct_of_size(0);
}

static eum_status struct_too_new(void)
{
    return struct_of_size(sizeof(eum_context_config) + 8);
}

static eum_status with_view(size_t offset, size_t bytes)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    void *mapped = NULL;
    return done(eum_buffer_map((eum_view){buffer, offset, bytes}, EUM_ACCESS_READ, &mapped), context, buffer);
}

static eum_status size_overflow(void)
{
    return with_view(SIZE_MAX, 2);
}

static eum_status out_of_bounds(void)
{
    return with_view(60, 8);
}

static eum_status cosine_with(uint64_t rows, size_t scores_offset)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    eum_cosine_config config = EUM_COSINE_CONFIG_INIT;
    config.query = (eum_view){buffer, 0, 16};
    config.targets = (eum_view){buffer, 16, 32};
    config.scores = (eum_view){buffer, scores_offset, 8};
    config.rows = rows;
    config.dim = 4;
    return done(eum_cosine(stream_of(context), &config, NULL), context, buffer);
}

static eum_status misaligned(void)
{
    return cosine_with(2, 50);
}

static eum_status buffer_too_short(void)
{
    return cosine_with(3, 48);
}

static eum_status read_only(void)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = borrow(context, EUM_WRAP_READ_ONLY);
    return done(eum_buffer_write(whole(buffer), memory), context, buffer);
}

static eum_status mapped(void)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    eum_argument argument = {whole(buffer), EUM_ACCESS_READ_WRITE, 0};
    void *address = NULL;
    OK(eum_buffer_map(whole(buffer), EUM_ACCESS_READ, &address));
    eum_status status = launch(stream_of(context), do_nothing, &argument, 1, NULL, NULL);
    OK(eum_buffer_unmap(buffer, address));
    return done(status, context, buffer);
}

static eum_status not_mapped(void)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    return done(eum_buffer_unmap(buffer, memory), context, buffer);
}

static eum_status overlap(void)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    eum_argument arguments[] = {{{buffer, 0, 33}, EUM_ACCESS_READ, 0}, {{buffer, 32, 32}, EUM_ACCESS_OVERWRITE, 0}};
    return done(launch(stream_of(context), do_nothing, arguments, 2, NULL, NULL), context, buffer);
}

static eum_status wrong_context(void)
{
    eum_context *context = context_on("host"), *other = context_on("host");
    eum_buffer *buffer = buffer_with(other, 64, EUM_BACKING_AUTO);
    eum_argument argument = {whole(buffer), EUM_ACCESS_READ, 0};
    eum_status status = launch(stream_of(context), do_nothing, &argument, 1, NULL, NULL);
    OK(eum_context_destroy(other));
    return done(status, context, buffer);
}

static eum_status not_owned(void)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = borrow(context, 0);
    eum_raw raw = EUM_RAW_INIT;
    return done(eum_buffer_into_raw(buffer, &raw), context, buffer);
}

static int32_t tell_address(const eum_kernel_call *call)
{
    *(void **)call->user = call->addresses[0];
    return 0;
}

/* Memory that only the device reaches: the device's copy of a mirrored buffer, as a kernel is told where it is. */
static eum_status no_host_access(void)
{
    eum_context *context = context_on("sim:maxwell");
    eum_buffer *mirrored = buffer_with(context, 4096, EUM_BACKING_MIRRORED), *wrapped = NULL;
    eum_argument argument = {whole(mirrored), EUM_ACCESS_OVERWRITE, 0};
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_job job = {NULL, 0, 0};
    void *address = NULL;
    OK(launch(stream_of(context), tell_address, &argument, 1, &config.address, &job));
    OK(eum_job_wait(job, -1));
    config.bytes = 4096;
    config.memory = EUM_MEMORY_DEVICE;
    OK(eum_buffer_wrap(context, &config, &wrapped));
    eum_status status = eum_buffer_map(whole(wrapped), EUM_ACCESS_READ, &address);
    OK(eum_buffer_destroy(wrapped));
    return done(status, context, mirrored);
}

static eum_status no_kernel(void)
{
    eum_context *context = context_on("host");
    return done(launch(stream_of(context), NULL, NULL, 0, NULL, NULL), context, NULL);
}

static int32_t wait_in_kernel(const eum_kernel_call *call)
{
    eum_error detail = EUM_ERROR_INIT;
    eum_status status = eum_stream_synchronize(call->user);
    return eum_last_error(&detail) == EUM_OK && detail.status == status ? status : -1;
}

/* The callback's own thread has the error detail, and hands the status over as the code with which the job fails. */
static eum_status in_callback(void)
{
    eum_context *context = context_on("host");
    eum_job job = {NULL, 0, 0};
    OK(launch(stream_of(context), wait_in_kernel, NULL, 0, stream_of(context), &job));
    ck_assert_int_eq(eum_job_wait(job, -1), EUM_ERROR_JOB_FAILED);
    eum_status status = strstr(sentence(), "117") != NULL ? EUM_ERROR_IN_CALLBACK : EUM_OK;
    return done(status, context, NULL);
}

static eum_status undefined_data(void)
{
    eum_context *context = context_on("host");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    eum_argument argument = {whole(buffer), EUM_ACCESS_READ_WRITE, 0};
    eum_job job = {NULL, 0, 0};
    OK(launch(stream_of(context), fail_with_7, &argument, 1, NULL, &job));
    ck_assert_int_eq(eum_job_wait(job, -1), EUM_ERROR_JOB_FAILED);
    return done(eum_buffer_read(whole(buffer), memory), context, buffer);
}

static eum_status forked(void)
{
    eum_context *context = context_on("host");
    pid_t child = fork();
    if (child == 0) {
        eum_stats stats = {.struct_size = sizeof stats};
        eum_error detail = EUM_ERROR_INIT;
        bool right = eum_context_stats(context, &stats) == EUM_ERROR_FORKED && eum_last_error(&detail) == EUM_OK;
        _exit(right && detail.status == EUM_ERROR_FORKED && detail.sentence[0] != '\0' ? 0 : 1);
    }
    int ended = 1;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    return done(ended == 0 ? EUM_ERROR_FORKED : EUM_OK, context, NULL);
}

static eum_status invalid_state(void)
{
    eum_context *context = context_on("host");
    eum_faults faults = EUM_FAULTS_INIT;
    return done(eum_faults_end(context, &faults), context, NULL);
}

/* ------------------------------------------------------------------- 2xx: the machine, the memory or the moment is - */

/* "cuda:62" where there are not so many devices: which of two statuses depends on how the library was built and where it runs, and
 * eum_info says how and where that is. */
static eum_status cuda_62(eum_status wanted)
{
    eum_context *context = context_on("auto");
    eum_info info = {.struct_size = sizeof info};
    OK(eum_context_info(context, &info));
    bool driver = info.device_reason == EUM_REASON_NO_DRIVER || info.device_reason == EUM_REASON_DRIVER_TOO_OLD ||
                  info.device_reason == EUM_REASON_DRIVER_FAILED;
    eum_status here = driver ? EUM_ERROR_DRIVER : EUM_ERROR_DEVICE_UNAVAILABLE;
    OK(eum_context_destroy(context));

    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    config.device = "cuda:62";
    eum_status status = eum_context_create(&config, &context);
    ck_assert_msg(status == here, "%s instead of %s: %s", eum_status_name(status), eum_status_name(here), sentence());
    return here == wanted ? status : EUM_OK;
}

static eum_status device_unavailable(void)
{
    return cuda_62(EUM_ERROR_DEVICE_UNAVAILABLE);
}

static eum_status driver(void)
{
    return cuda_62(EUM_ERROR_DRIVER);
}

static eum_status not_supported(void)
{
    eum_context *context = context_on("host");
    eum_stream *stream = NULL;
    return done(eum_stream_wrap(context, NULL, &stream), context, NULL);
}

static eum_status out_of_memory(void)
{
    eum_context *context = context_on("sim:pascal,fail=adopt:1");
    eum_wrap_config config = EUM_WRAP_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.address = memory;
    config.bytes = sizeof memory;
    config.flags = EUM_WRAP_REGISTER;
    return done(eum_buffer_wrap(context, &config, &buffer), context, NULL);
}

static eum_status create_of(eum_context *context, size_t bytes, eum_backing backing)
{
    eum_buffer_config config = EUM_BUFFER_CONFIG_INIT;
    eum_buffer *buffer = NULL;
    config.backing = backing;
    return done(eum_buffer_create(context, bytes, &config, &buffer), context, NULL);
}

static eum_status out_of_device_memory(void)
{
    return create_of(context_on("sim:pascal,fail=alloc:all"), 1 << 20, EUM_BACKING_MANAGED);
}

static eum_status over_budget(void)
{
    eum_context_config config = EUM_CONTEXT_CONFIG_INIT;
    eum_context *context = NULL;
    config.device = "sim:pascal";
    config.budget_bytes = 1 << 20;
    OK(eum_context_create(&config, &context));
    return create_of(context, 16 << 20, EUM_BACKING_MANAGED);
}

static int32_t wait_for_flag(const eum_kernel_call *call)
{
    while (atomic_load((atomic_int *)call->user) == 0)
        usleep(100);
    return 0;
}

static eum_status timeout(void)
{
    eum_context *context = context_on("host");
    eum_job job = {NULL, 0, 0};
    atomic_int flag = 0;
    OK(launch(stream_of(context), wait_for_flag, NULL, 0, &flag, &job));
    eum_status status = eum_job_wait(job, 1000000);
    atomic_store(&flag, 1);
    OK(eum_job_wait(job, -1));
    return done(status, context, NULL);
}

static eum_status launch_failed(void)
{
    eum_context *context = context_on("sim:pascal,fail=submit:all");
    return done(launch(stream_of(context), do_nothing, NULL, 0, NULL, NULL), context, NULL);
}

static eum_status device_lost(void)
{
    eum_context *context = context_on("sim:pascal,fail=lost:1");
    eum_buffer *buffer = buffer_with(context, 64, EUM_BACKING_AUTO);
    eum_argument argument = {whole(buffer), EUM_ACCESS_READ_WRITE, 0};
    eum_job job;
    /* Whether the kernel has run before the launch has its point decides which of the two calls hears of it first. */
    eum_status status = launch(stream_of(context), do_nothing, &argument, 1, NULL, &job);
    return done(status == EUM_OK ? eum_job_wait(job, -1) : status, context, buffer);
}

static eum_status job_failed(void)
{
    eum_context *context = context_on("host");
    eum_job job = {NULL, 0, 0};
    OK(launch(stream_of(context), fail_with_7, NULL, 0, NULL, &job));
    return done(eum_job_wait(job, -1), context, NULL);
}

static eum_status cuda(void)
{
    eum_context *context = context_on("sim:maxwell,fail=copy:all");
    eum_buffer *buffer = buffer_with(context, 4096, EUM_BACKING_MIRRORED);
    eum_argument argument = {whole(buffer), EUM_ACCESS_READ, 0};
    char zeroes[4096] = {0};
    eum_status status = eum_buffer_write(whole(buffer), zeroes);
    if (status == EUM_OK)
        status = launch(stream_of(context), do_nothing, &argument, 1, NULL, NULL);
    eum_error detail = EUM_ERROR_INIT;
    OK(eum_last_error(&detail));
    ck_assert_int_ne(detail.cuda_code, 0);
    ck_assert_str_ne(detail.cuda_name, "");
    return done(status, context, buffer);
}

/* New threads get stacks larger than the address space, so that none starts. */
static eum_status system_call(void)
{
    eum_context *context = context_on("host");
    pthread_attr_t before, impossible;
    ck_assert_int_eq(pthread_getattr_default_np(&before), 0);
    ck_assert_int_eq(pthread_attr_init(&impossible), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&impossible, (size_t)1 << 57), 0);
    ck_assert_int_eq(pthread_setattr_default_np(&impossible), 0);
    eum_status status = launch(stream_of(context), do_nothing, NULL, 0, NULL, NULL);
    ck_assert_int_eq(pthread_setattr_default_np(&before), 0);
    pthread_attr_destroy(&impossible);
    pthread_attr_destroy(&before);
    return done(status, context, NULL);
}

static eum_status counting(const char *device)
{
    eum_context *context = context_on(device);
    eum_faults faults = EUM_FAULTS_INIT;
    eum_status status = eum_faults_begin(context);
    if (status == EUM_OK)
        status = eum_faults_end(context, &faults);
    return done(status, context, NULL);
}

static eum_status counting_unavailable(void)
{
    return counting("sim:pascal,count=absent");
}

static eum_status counting_refused(void)
{
    return counting("sim:pascal,count=refused");
}

static eum_status counting_dropped(void)
{
    return counting("sim:pascal,count=dropped");
}

/* ------------------------------------------------------------------------------------------------ the table -------- */

static const struct {
    eum_status status;
    eum_status (*provoke)(void); /* EUM_OK: cannot be had on this machine */
    const char *elsewhere;       /* NULL, or why that may be */
} statuses[] = {
    {EUM_ERROR_INVALID_HANDLE, invalid_handle, NULL},
    {EUM_ERROR_INVALID_ARGUMENT, invalid_argument, NULL},
    {EUM_ERROR_INVALID_ENUM, invalid_enum, NULL},
    {EUM_ERROR_STRUCT_TOO_SMALL, struct_too_small, NULL},
    {EUM_ERROR_STRUCT_TOO_NEW, struct_too_new, NULL},
    {EUM_ERROR_SIZE_OVERFLOW, size_overflow, NULL},
    {EUM_ERROR_OUT_OF_BOUNDS, out_of_bounds, NULL},
    {EUM_ERROR_MISALIGNED, misaligned, NULL},
    {EUM_ERROR_BUFFER_TOO_SHORT, buffer_too_short, NULL},
    {EUM_ERROR_READ_ONLY, read_only, NULL},
    {EUM_ERROR_MAPPED, mapped, NULL},
    {EUM_ERROR_NOT_MAPPED, not_mapped, NULL},
    {EUM_ERROR_OVERLAP, overlap, NULL},
    {EUM_ERROR_WRONG_CONTEXT, wrong_context, NULL},
    {EUM_ERROR_NOT_OWNED, not_owned, NULL},
    {EUM_ERROR_NO_HOST_ACCESS, no_host_access, NULL},
    {EUM_ERROR_NO_KERNEL, no_kernel, NULL},
    {EUM_ERROR_IN_CALLBACK, in_callback, NULL},
    {EUM_ERROR_UNDEFINED_DATA, undefined_data, NULL},
    {EUM_ERROR_FORKED, forked, NULL},
    {EUM_ERROR_CAPTURING, NULL, "needs a CUDA stream that captures: tests/gpu"},
    {EUM_ERROR_INVALID_STATE, invalid_state, NULL},
    {EUM_ERROR_DEVICE_UNAVAILABLE, device_unavailable, "in builds with CUDA, where there is no driver"},
    {EUM_ERROR_NOT_SUPPORTED, not_supported, NULL},
    {EUM_ERROR_OUT_OF_MEMORY, out_of_memory, NULL},
    {EUM_ERROR_OUT_OF_DEVICE_MEMORY, out_of_device_memory, NULL},
    {EUM_ERROR_OVER_BUDGET, over_budget, NULL},
    {EUM_ERROR_TIMEOUT, timeout, NULL},
    {EUM_ERROR_LAUNCH_FAILED, launch_failed, NULL},
    {EUM_ERROR_JOB_FAILED, job_failed, NULL},
    {EUM_ERROR_DEVICE_LOST, device_lost, NULL},
    {EUM_ERROR_DRIVER, driver, "in builds without CUDA, and where the driver works"},
    {EUM_ERROR_CUDA, cuda, NULL},
    {EUM_ERROR_SYSTEM, system_call, NULL},
    {EUM_ERROR_COUNTING_UNAVAILABLE, counting_unavailable, NULL},
    {EUM_ERROR_COUNTING_REFUSED, counting_refused, NULL},
    {EUM_ERROR_COUNTING_DROPPED, counting_dropped, NULL},
};
enum { STATUSES = sizeof statuses / sizeof *statuses };

START_TEST(a_status_can_be_provoked)
{
    eum_status wanted = statuses[_i].status;
    const char *name = eum_status_name(wanted);
    if (statuses[_i].provoke == NULL) {
        ck_assert_ptr_nonnull(statuses[_i].elsewhere);
        return;
    }
    eum_status got = statuses[_i].provoke();
    if (got == EUM_OK && statuses[_i].elsewhere != NULL)
        return;
    ck_assert_msg(got == wanted, "%s instead of %s: %s", eum_status_name(got), name, sentence());
    if (wanted == EUM_ERROR_IN_CALLBACK || wanted == EUM_ERROR_FORKED)
        return; /* the detail was another thread's, another process's: looked at there */
    eum_error detail = EUM_ERROR_INIT;
    OK(eum_last_error(&detail));
    ck_assert_msg(detail.status == wanted, "%s: the error detail has %s", name, eum_status_name(detail.status));
    ck_assert_msg(strlen(detail.sentence) > 10, "%s: \"%s\" is no sentence", name, detail.sentence);
    ck_assert_msg((wanted == EUM_ERROR_CUDA || wanted == EUM_ERROR_DEVICE_LOST) == (detail.cuda_code != 0) ||
                      wanted == EUM_ERROR_DRIVER || wanted == EUM_ERROR_DEVICE_UNAVAILABLE,
                  "%s: CUDA code %d", name, (int)detail.cuda_code);
}
END_TEST

START_TEST(every_status_of_the_library_is_in_the_table)
{
    size_t known = 0;
    for (eum_status status = 1; status < 1000; status++) {
        if (strcmp(eum_status_name(status), "EUM_ERROR_UNKNOWN") == 0)
            continue;
        size_t i = 0;
        while (i < STATUSES && statuses[i].status != status)
            i++;
        ck_assert_msg(i < STATUSES, "nothing provokes %s", eum_status_name(status));
        known++;
    }
    ck_assert_uint_eq(known, STATUSES);
}
END_TEST

Suite *every_status_suite(void);
Suite *every_status_suite(void)
{
    Suite *suite = suite_create("every_status");
    TCase *all = tcase_create("all");
    tcase_add_test(all, every_status_of_the_library_is_in_the_table);
    tcase_add_loop_test(all, a_status_can_be_provoked, 0, STATUSES);
    suite_add_tcase(suite, all);
    return suite;
}
