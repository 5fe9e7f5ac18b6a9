/*
 * Whether this build has AddressSanitizer or ThreadSanitizer in it. At the end, their leak check
 * stops all threads from a process of its own, as a debugger does, which no other build may: what
 * the sandbox makes of that stands where this is asked. Never asked for anything else.
 */
#pragma once

#ifdef __has_feature /* clang */
#define IG_HAS_FEATURE(x) __has_feature(x)
#else
#define IG_HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
	IG_HAS_FEATURE(address_sanitizer) || IG_HAS_FEATURE(thread_sanitizer)
#define IG_SANITIZED 1
#else
#define IG_SANITIZED 0
#endif
