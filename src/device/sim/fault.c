/* fault: the signal handler that turns a touch of a closed page into a counted, serviced fault.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Installed while a simulated device (or a block that outlived one) is there. What is not ours goes to the handler that was there before,
 * so that a genuine crash still crashes. The signal is synchronous: it arrives inside the very instruction that touched the page, never
 * inside code of ours that holds the page lock, because no such code touches a guarded view. So the handler may take that lock. */
#define _GNU_SOURCE 1

#include "device/sim/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

_Thread_local uint64_t eum_sim_fault_ns;
_Thread_local int eum_sim_in_kernel;

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t users;
static bool installed;
static bool fork_handlers;
static struct sigaction previous;

#if defined(__aarch64__)
/* From the instruction itself, where no syndrome came along (user-mode emulators). Encodings: Arm Architecture Reference Manual, C4.1,
 * "Loads and Stores". What is no load counts as a store. */
static bool stores(uint32_t instruction)
{
    bool load = (instruction >> 22 & 1) != 0;
    uint32_t opcode = instruction >> 22 & 3;
    if ((instruction & 0x3b000000) == 0x18000000) /* literal */
        return false;
    if ((instruction & 0x3a000000) == 0x28000000 || (instruction & 0xbe000000) == 0x0c000000) /* pairs, vector structures */
        return !load;
    if ((instruction & 0x3f000000) == 0x08000000) { /* exclusive and ordered, compare and swap, the same for a pair */
        bool swaps = (instruction & 0x00a00000) == 0x00a00000 || (instruction & 0x80a00000) == 0x00200000;
        return !load || swaps;
    }
    if ((instruction & 0x3b200c00) == 0x38200000) /* atomic */
        return true;
    if ((instruction & 0x3a000000) == 0x38000000) { /* one register; of a vector register opcode 2 stores 16 bytes */
        bool vector = (instruction & 0x04000000) != 0;
        return opcode == 0 || (vector && opcode == 2);
    }
    return true;
}
#endif

/* True for writes and for instructions that read and write. */
static bool is_write(const void *context)
{
    const ucontext_t *machine = context;
#if defined(__x86_64__)
    return (machine->uc_mcontext.gregs[REG_ERR] & 2) != 0; /* page-fault error code, bit 1: W */
#elif defined(__aarch64__)
    const unsigned char *at = machine->uc_mcontext.__reserved;
    struct {
        uint32_t magic, size;
        uint64_t syndrome;
    } record;
    for (size_t offset = 0; offset + sizeof record <= sizeof machine->uc_mcontext.__reserved; offset += record.size) {
        memcpy(&record, at + offset, sizeof record);
        if (record.magic == 0 || record.size == 0)
            break;
        if (record.magic == 0x45535201)         /* ESR_MAGIC */
            return (record.syndrome & 64) != 0; /* ESR_EL1.WnR */
    }
    uint32_t instruction;
    memcpy(&instruction, (const void *)(uintptr_t)machine->uc_mcontext.pc, sizeof instruction);
    return stores(instruction);
#else
#error "the simulated GPU must learn from the signal context whether an access writes: add this processor"
#endif
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != NULL) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else if (info->si_code > 0 || previous.sa_handler == SIG_DFL) {
        signal(number, SIG_DFL); /* the instruction restarts and meets the default */
        if (info->si_code <= 0)  /* sent by somebody: there is no instruction to restart */
            raise(number);
    }
}

static void handle(int number, siginfo_t *info, void *context)
{
    int saved = errno, side = 0;
    size_t offset = 0;
    bool ours = false;
    if (info->si_code > 0) {
        eum_sim_lock_pages();
        eum_sim_block *block = eum_sim_find_view(info->si_addr, &side, &offset);
        ours = block != NULL && eum_sim_pages_fault(block, side, offset, is_write(context));
        eum_sim_unlock_pages();
    }
    errno = saved;
    if (!ours)
        pass_on(number, info, context);
}

static void before_fork(void)
{
    pthread_mutex_lock(&install_lock);
    eum_sim_lock_pages();
}

static void after_fork_in_parent(void)
{
    eum_sim_unlock_pages();
    pthread_mutex_unlock(&install_lock);
}

/* The child has none of the views, so it must not take other memory at their addresses for them. */
static void after_fork_in_child(void)
{
    eum_sim_forget_views();
    users = 0;
    eum_sim_unlock_pages();
    pthread_mutex_unlock(&install_lock);
}

eum_status eum_sim_handler_acquire(void)
{
    eum_status status = EUM_OK;
    pthread_mutex_lock(&install_lock);
    if (!fork_handlers)
        fork_handlers = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    if (!fork_handlers) {
        status = eum_fail(EUM_ERROR_OUT_OF_MEMORY, "the simulated GPU could not register its fork handlers");
    } else if (!installed) {
        struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigemptyset(&action.sa_mask);
        installed = sigaction(SIGSEGV, &action, &previous) == 0;
        if (!installed)
            status = eum_fail(EUM_ERROR_SYSTEM, "the simulated GPU could not install its SIGSEGV handler: %s", strerror(errno));
    }
    if (status == EUM_OK)
        users++;
    pthread_mutex_unlock(&install_lock);
    return status;
}

void eum_sim_handler_release(void)
{
    pthread_mutex_lock(&install_lock);
    if (users > 0 && --users == 0 && installed) {
        struct sigaction now;
        /* Where somebody installed another handler since, ours stays in its chain. */
        if (sigaction(SIGSEGV, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handle)
            installed = sigaction(SIGSEGV, &previous, NULL) != 0;
    }
    pthread_mutex_unlock(&install_lock);
}
