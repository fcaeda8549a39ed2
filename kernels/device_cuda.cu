/* device_cuda: see device_cuda.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The runtime finds, for each launch, the device and its context, and the kernel of the function that it is given. The driver takes kernels
 * that belong to no context, so that each is looked up once in the process; they outlive a reset of the device. */
#include <atomic>

#include "kernels/device_cuda.h"

namespace
{

#if CUDART_VERSION >= 12010
using cuda_handle = cudaKernel_t;
#else
using cuda_handle = void *; /* the runtime has no such kernels yet */
#endif

using get_device_fn = int (*)(int *out);
using launch_fn = int (*)(cuda_handle kernel, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads_x,
                          unsigned threads_y, unsigned threads_z, unsigned shared, cudaStream_t stream, void **parameters,
                          void **extra);

/* A call of the driver, or nullptr. Looked up once; not by an initialiser, which would take the C++ library. */
template <typename Call> struct DriverCall {
    std::atomic<Call> call;
    std::atomic<bool> looked_up;

    Call find(const char *name)
    {
        if (looked_up.load(std::memory_order_acquire))
            return call.load(std::memory_order_relaxed);
        void *found = nullptr;
        enum cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSuccess;
#if CUDART_VERSION >= 12050
        const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
#else
        const cudaError_t error = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &result);
#endif
        if (error != cudaSuccess)
            (void)cudaGetLastError();
        if (error == cudaSuccess && result == cudaDriverEntryPointSuccess)
            call.store(reinterpret_cast<Call>(found), std::memory_order_relaxed);
        looked_up.store(true, std::memory_order_release);
        return call.load(std::memory_order_relaxed);
    }
};

/* The number of the current device; the runtime takes four times as long to say it. */
cudaError_t current_index(int *out)
{
    static DriverCall<get_device_fn> get_device;
    const get_device_fn call = get_device.find("cuCtxGetDevice");
    return call != nullptr && call(out) == 0 ? cudaSuccess : cudaGetDevice(out);
}

/* ------------------------------------------------------------------------------------------------- kernels ---------- */

constexpr size_t kPlaces = 128; /* more than there are kernels that are launched so */
std::atomic<const void *> functions[kPlaces];
std::atomic<cuda_handle> handles[kPlaces];

/* nullptr: not known, or not yet. */
cuda_handle handle_of(const void *function)
{
#if CUDART_VERSION >= 12010
    for (size_t i = reinterpret_cast<uintptr_t>(function) / 16 % kPlaces, tried = 0; tried < kPlaces;
         tried++, i = (i + 1) % kPlaces) {
        const void *there = functions[i].load(std::memory_order_acquire);
        if (there == function)
            return handles[i].load(std::memory_order_acquire);
        if (there != nullptr)
            continue;
        cuda_handle handle = nullptr;
        if (cudaGetKernel(&handle, function) != cudaSuccess) {
            (void)cudaGetLastError();
            return nullptr;
        }
        if (functions[i].compare_exchange_strong(there, function))
            handles[i].store(handle, std::memory_order_release);
        else if (there != function)
            continue; /* another kernel was put there meanwhile */
        return handle;
    }
#else
    (void)function;
#endif
    return nullptr;
}

} // namespace

namespace eum_cuda
{

int32_t reported(cudaError_t error)
{
    if (error != cudaSuccess)
        (void)cudaGetLastError();
    return static_cast<int32_t>(error);
}

cudaError_t current_device(Device *out)
{
    constexpr int kKnown = 64;
    static std::atomic<const Device *> known[kKnown]; /* for the life of the process */
    int index = 0;
    cudaError_t error = current_index(&index);
    if (error != cudaSuccess)
        return error;
    const Device *there = index < kKnown ? known[index].load(std::memory_order_acquire) : nullptr;
    if (there != nullptr) {
        *out = *there;
        return cudaSuccess;
    }
    error = cudaDeviceGetAttribute(&out->processors, cudaDevAttrMultiProcessorCount, index);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&out->major, cudaDevAttrComputeCapabilityMajor, index);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&out->shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&out->processor_shared, cudaDevAttrMaxSharedMemoryPerMultiprocessor, index);
    static Device records[kKnown];
    static std::atomic_flag written[kKnown];
    if (error == cudaSuccess && index < kKnown && !written[index].test_and_set()) {
        records[index] = *out;
        known[index].store(&records[index], std::memory_order_release);
    }
    return error;
}

cudaError_t launch(const void *kernel, void **handle, dim3 blocks, unsigned threads, void **parameters, size_t shared,
                   cudaStream_t stream)
{
    static DriverCall<launch_fn> launch_kernel;
    const launch_fn call = launch_kernel.find("cuLaunchKernel");
    if (*handle == nullptr && call != nullptr)
        *handle = handle_of(kernel);
    if (*handle != nullptr) {
        const int error = call(static_cast<cuda_handle>(*handle), blocks.x, blocks.y, blocks.z, threads, 1, 1,
                               static_cast<unsigned>(shared), stream, parameters, nullptr);
        if (error != cudaErrorDeviceUninitialized) /* its results have the numbers of the runtime's; this one, the runtime mends */
            return static_cast<cudaError_t>(error);
    }
    return cudaLaunchKernel(kernel, blocks, dim3(threads), parameters, shared, stream);
}

} // namespace eum_cuda
