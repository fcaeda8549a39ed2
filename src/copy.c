/* copy: see copy.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "copy.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/* Below two of these a second thread costs more than it saves; one copies 256 KiB in about 10 us. */
#define PIECE_BYTES ((uint64_t)256 << 10)

/* A plain store reads the line first, unless a cache has it. Measured on two cores of a Sapphire Rapids (2 MiB of second-level cache
 * each), one thread, plain and streaming GB/s: into lines that no cache has 10 and 22 (1 MiB), 9 and 14 (4 MiB), 8.5 and 13 (16 MiB);
 * copied again and again 33 and 22, 14.0 and 13.5, 13.7 and 13.1, and 6.4 and 9.5 at 64 MiB, where the common cache has no room. So what
 * the CPU reads next streams only beyond that. What a device reads next is better in no cache: reading lines that the cores hold
 * modified halves its rate. Measured on an H100's host (Sapphire Rapids, 16 cores, four threads), 3 MB, plain and streaming: the stores
 * take 40 and 46 us, the copy engine then 138 and 65, a kernel over the link 90 and 71. Below half a MiB the stores cost as much more as
 * the device gains. */
#define STREAM_FOR_DEVICE ((size_t)512 << 10)
#define STREAM_FOR_CPU ((size_t)32 << 20)

bool eum_copy_streams(size_t bytes, eum_reader reader)
{
    return bytes >= (reader == EUM_READER_DEVICE ? STREAM_FOR_DEVICE : STREAM_FOR_CPU);
}

#if defined(__x86_64__)
#define LINE ((size_t)64)
#define RUN ((size_t)4096) /* what the hardware's prefetcher follows; several side by side keep more stores on their way */
#define RUNS ((size_t)4)
#define AHEAD ((size_t)1024)

static inline void stream_line(char *dst, const char *src)
{
    for (size_t i = 0; i < LINE; i += sizeof(__m128i))
        _mm_stream_si128((__m128i *)(void *)(dst + i), _mm_loadu_si128((const __m128i *)(const void *)(src + i)));
}

static void stream(char *dst, const char *src, size_t bytes)
{
    size_t head = (size_t)(-(uintptr_t)dst % LINE);
    head = head < bytes ? head : bytes;
    memcpy(dst, src, head);
    dst += head, src += head, bytes -= head;
    for (; bytes >= RUNS * RUN; bytes -= RUNS * RUN, dst += RUNS * RUN, src += RUNS * RUN) {
        for (size_t at = 0; at < RUN; at += LINE) {
            for (size_t r = 0; r < RUNS; r++)
                _mm_prefetch((const char *)((uintptr_t)src + r * RUN + at + AHEAD), _MM_HINT_T0);
            for (size_t r = 0; r < RUNS; r++)
                stream_line(dst + r * RUN + at, src + r * RUN + at);
        }
    }
    for (; bytes >= LINE; bytes -= LINE, dst += LINE, src += LINE)
        stream_line(dst, src);
    _mm_sfence(); /* streaming stores are not ordered with what tells others of them */
    memcpy(dst, src, bytes);
}
#else
static void stream(char *dst, const char *src, size_t bytes)
{
    memcpy(dst, src, bytes);
}
#endif

typedef struct cpu_copy {
    char *dst;
    const char *src;
    bool streams;
} cpu_copy;

static void copy_piece(void *arg, uint64_t begin, uint64_t end)
{
    const cpu_copy *copy = arg;
    char *dst = copy->dst + begin;
    const char *src = copy->src + begin;
    if (copy->streams)
        stream(dst, src, (size_t)(end - begin));
    else
        memcpy(dst, src, (size_t)(end - begin));
}

void eum_workers_copy(eum_workers *workers, void *dst, const void *src, size_t bytes, eum_reader reader)
{
    cpu_copy copy = {dst, src, eum_copy_streams(bytes, reader)};
    if (bytes == 0)
        return;
    if (workers == NULL || bytes < 2 * PIECE_BYTES)
        copy_piece(&copy, 0, bytes);
    else
        eum_workers_run(workers, bytes, PIECE_BYTES, copy_piece, &copy);
}
