/* inject: stands in for a profiler. NVTX loads it (NVTX_INJECTION64_PATH) and hands it each range, of which it keeps names and counts.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include <nvtx3/nvToolsExt.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST_RANGES 4096

static atomic_int pushes, pops;
static const char *names[MOST_RANGES]; /* the library's are static */
static uint64_t bytes[MOST_RANGES];

static int NVTX_API push(const nvtxEventAttributes_t *event)
{
    int at = atomic_fetch_add(&pushes, 1);
    if (at < MOST_RANGES) {
        names[at] = event->message.ascii;
        bytes[at] = event->payload.ullValue;
    }
    return at;
}

static int NVTX_API pop(void)
{
    return atomic_fetch_add(&pops, 1);
}

EXPORT int eum_test_ranges_open(void);
EXPORT int eum_test_ranges_open(void)
{
    return atomic_load(&pushes) - atomic_load(&pops);
}

/* How many ranges had this name and this many bytes. */
EXPORT int eum_test_ranges_named(const char *name, uint64_t with_bytes);
EXPORT int eum_test_ranges_named(const char *name, uint64_t with_bytes)
{
    int found = 0;
    for (int i = 0; i < atomic_load(&pushes) && i < MOST_RANGES; i++)
        found += strcmp(names[i], name) == 0 && bytes[i] == with_bytes;
    return found;
}

EXPORT int NVTX_API InitializeInjectionNvtx2(NvtxGetExportTableFunc_t table_of);
EXPORT int NVTX_API InitializeInjectionNvtx2(NvtxGetExportTableFunc_t table_of)
{
    const NvtxExportTableCallbacks *callbacks = table_of(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable functions;
    unsigned int count = 0;
    if (callbacks == NULL || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &count) ||
        count <= NVTX_CBID_CORE_RangePop)
        return 0;
    *functions[NVTX_CBID_CORE_RangePushEx] = (NvtxFunctionPointer)push;
    *functions[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
    return 1;
}
