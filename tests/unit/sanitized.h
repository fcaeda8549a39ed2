/* sanitized: is this a build with a sanitizer that maps memory of its own?
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef EUM_TESTS_SANITIZED_H
#define EUM_TESTS_SANITIZED_H

/* Sanitizers map memory of their own at any time, which a limit on address space would forbid. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#endif
