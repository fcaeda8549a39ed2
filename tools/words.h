/* words: how the tool names devices, backings and sizes.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TOOLS_WORDS_H
#define EUM_TOOLS_WORDS_H

#include <stdbool.h>

#include "engram_um.h"

#define WORD_BYTES 32

/* "managed"; "unknown" for a number that this version does not know. Static. */
const char *backing_name(eum_backing backing);
/* The backings that can be asked for: auto, managed, mirrored, mapped, host. */
bool backing_parse(const char *name, eum_backing *out);

/* "host", "cuda:0" or "sim", as --device takes them. Returns out. */
const char *device_word(char out[WORD_BYTES], const eum_info *info);
/* "0 bytes", "130.3 MiB". Returns out. */
const char *size_words(char out[WORD_BYTES], uint64_t bytes);

#endif
