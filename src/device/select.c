/* select: which device a request means, and the sentence that says why.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

#define NAMES "\"auto\", \"host\", \"cuda\", \"cuda:N\" or \"sim:maxwell|pascal|turing|ampere|hopper\" with options after a comma"
#define LAST_DEVICE 62 /* locations are bits of one 64-bit word: the host and 63 devices */

typedef struct selection {
    const char *request;
    const char *origin; /* of the request, for people */
    const eum_log *log;
    eum_workers *workers;
    eum_device **out;
    eum_reason *out_reason;
    char *sentence;
    size_t sentence_bytes;
} selection;

static void say(const selection *select, const char *format, ...) EUM_PRINTF(2, 3);
static void say(const selection *select, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (select->sentence_bytes > 0)
        (void)vsnprintf(select->sentence, select->sentence_bytes, format, arguments);
    va_end(arguments);
}

static eum_device_config plain_config(const selection *select)
{
    return (eum_device_config){.index = -1, .log = select->log, .workers = select->workers};
}

static eum_status no_such_name(const selection *select)
{
    return eum_fail(EUM_ERROR_INVALID_ARGUMENT, "There is no device \"%.100s\" (from %s); use " NAMES ".", select->request,
                    select->origin);
}

static eum_status open_host_asked(const selection *select)
{
    eum_device_config config = plain_config(select);
    eum_status status = eum_host_open(&config, select->out);
    if (status != EUM_OK)
        return status;
    *select->out_reason = EUM_REASON_ASKED;
    say(select, "Kernels run on the CPU because %s asked for \"host\"; \"auto\" would use a CUDA device if there is one.",
        select->origin);
    return EUM_OK;
}

/* The failure of CUDA is the reason here, not an error of this thread: a call that succeeds leaves the last error alone. */
static eum_status open_best(const selection *select)
{
    eum_device_config config = plain_config(select);
    eum_error before, cuda = EUM_ERROR_INIT;
    eum_error_save(&before);
    eum_reason reason = EUM_REASON_DRIVER_FAILED;
    if (eum_cudart_open(&config, select->out, &reason) == EUM_OK) {
        *select->out_reason = EUM_REASON_BEST;
        say(select, "Kernels run on CUDA device %d, %s: the best device there is.", (int)(*select->out)->caps.index,
            (*select->out)->caps.name);
        return EUM_OK;
    }
    eum_error_save(&cuda);
    eum_error_restore(&before);
    eum_status status = eum_host_open(&config, select->out);
    if (status != EUM_OK)
        return status;
    *select->out_reason = reason;
    say(select, "Kernels run on the CPU. %s", cuda.sentence);
    eum_log_write(select->log, EUM_LOG_INFO, "kernels run on the CPU: %s", cuda.sentence);
    return EUM_OK;
}

/* "" or ":N"; false if it is neither. */
static bool parse_index(const char *text, int32_t *out)
{
    *out = -1;
    if (*text == 0)
        return true;
    if (*text != ':' || text[1] == 0 || strspn(text + 1, "0123456789") != strlen(text + 1) || strlen(text + 1) > 3)
        return false;
    *out = (int32_t)strtol(text + 1, NULL, 10);
    return *out <= LAST_DEVICE;
}

static eum_status open_cuda_asked(const selection *select, const char *rest)
{
    eum_device_config config = plain_config(select);
    if (!parse_index(rest, &config.index))
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "\"%.100s\" (from %s) names no CUDA device; use \"cuda\" or \"cuda:N\" with N from 0 to %d.",
                        select->request, select->origin, LAST_DEVICE);
    eum_reason reason = EUM_REASON_DRIVER_FAILED;
    eum_status status = eum_cudart_open(&config, select->out, &reason);
    if (status != EUM_OK)
        return status;
    *select->out_reason = EUM_REASON_ASKED;
    say(select, "Kernels run on CUDA device %d, %s, because %s asked for \"%.30s\".", (int)(*select->out)->caps.index,
        (*select->out)->caps.name, select->origin, select->request);
    return EUM_OK;
}

/* rest: ":ARCH[,options]". */
static eum_status open_sim(const selection *select, const char *rest)
{
    /* The device may keep these pointers, and the request may end with the call. */
    static const char *const archs[] = {"maxwell", "pascal", "turing", "ampere", "hopper"};
    eum_device_config config = plain_config(select);
    size_t length = *rest == ':' ? strcspn(rest + 1, ",") : 0;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (length == strlen(archs[i]) && strncmp(rest + 1, archs[i], length) == 0)
            config.arch = archs[i];
    if (config.arch == NULL)
        return eum_fail(EUM_ERROR_INVALID_ARGUMENT,
                        "\"%.100s\" (from %s) names no simulated GPU; use sim:maxwell, sim:pascal, sim:turing, "
                        "sim:ampere or sim:hopper, with options after a comma.",
                        select->request, select->origin);
    if (rest[1 + length] == ',')
        config.options = rest + 1 + length + 1;
    eum_status status = eum_sim_open(&config, select->out);
    if (status != EUM_OK)
        return status;
    *select->out_reason = EUM_REASON_ASKED;
    say(select, "Kernels run on a simulated GPU (%s) because %s asked for \"%.60s\".", config.arch, select->origin,
        select->request);
    return EUM_OK;
}

eum_status eum_device_open(const char *request, const eum_log *log, eum_workers *workers, eum_device **out, eum_reason *out_reason,
                           char *sentence, size_t sentence_bytes)
{
    selection select = {request, "the configuration", log, workers, out, out_reason, sentence, sentence_bytes};
    if (request == NULL) {
        select.request = getenv("EUM_DEVICE");
        select.origin = "EUM_DEVICE";
    }
    if (select.request == NULL || *select.request == 0)
        select.request = "auto";
    if (strcmp(select.request, "auto") == 0)
        return open_best(&select);
    if (strcmp(select.request, "host") == 0)
        return open_host_asked(&select);
    if (strncmp(select.request, "cuda", 4) == 0)
        return open_cuda_asked(&select, select.request + 4);
    if (strncmp(select.request, "sim", 3) == 0)
        return open_sim(&select, select.request + 3);
    return no_such_name(&select);
}
