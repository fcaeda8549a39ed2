/* trace: names what the library does for the vendor's profilers (NVTX ranges of this thread), where it is built with EUM_NVTX. Else it is nothing.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_SRC_TRACE_H
#define EUM_SRC_TRACE_H

#if EUM_NVTX

#include <stdint.h>

#include <nvtx3/nvToolsExt.h>

static inline void eum_trace_push(const char *name, uint64_t bytes)
{
    nvtxEventAttributes_t event = {.version = NVTX_VERSION, .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE};
    event.messageType = NVTX_MESSAGE_TYPE_ASCII;
    event.message.ascii = name;
    event.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
    event.payload.ullValue = bytes;
    (void)nvtxRangePushEx(&event);
}

/* name: static; bytes: that it is about. Each push has its pop on the same thread, on every way out. */
#define EUM_TRACE_PUSH(name, bytes) eum_trace_push(name, bytes)
#define EUM_TRACE_POP() ((void)nvtxRangePop())

#else

#define EUM_TRACE_PUSH(name, bytes) ((void)0)
#define EUM_TRACE_POP() ((void)0)

#endif

#endif
