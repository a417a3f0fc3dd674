/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Small things every module uses: cleanup attributes, messages, strings. */
#ifndef REPRIEVE_UTIL_H
#define REPRIEVE_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)                              \
	({                                     \
		__typeof__(a) min_a = (a);     \
		__typeof__(b) min_b = (b);     \
		min_a < min_b ? min_a : min_b; \
	})
#define MAX(a, b)                              \
	({                                     \
		__typeof__(a) max_a = (a);     \
		__typeof__(b) max_b = (b);     \
		max_a > max_b ? max_a : max_b; \
	})

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

/* Nanoseconds of a clock that this kernel has (clock_gettime(2)). */
static inline uint64_t now_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static inline uint64_t monotonic_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

static inline uint64_t monotonic_ms(void)
{
	return monotonic_ns() / NSEC_PER_MSEC;
}

static inline bool streq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static inline bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void cleanup_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Hands a pointer or a descriptor over: the variable no longer owns it. */
#define take_pointer(pointer)                          \
	({                                             \
		__typeof__(pointer) taken = (pointer); \
		(pointer) = NULL;                      \
		taken;                                 \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARNING = 1, LOG_LEVEL_INFO = 2, LOG_LEVEL_DEBUG = 3 };

/* Messages above this level are dropped; LOG_LEVEL_INFO at start, LOG_LEVEL_DEBUG with --verbose. */
extern enum log_level log_max_level;

/* One line on stderr, with "reprieve: " before and a newline behind. */
void log_message(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Names of the enumerators of include/types.h as policies and events spell them; "?" out of range. */
const char *op_name(unsigned int op);
const char *verdict_name(unsigned int verdict);
const char *tier_name(unsigned int tier);
const char *sql_class_name(unsigned int sql_class);
const char *libpq_function_name(unsigned int function);

/* The enumerator of a name, or -EINVAL. */
int op_from_name(const char *name);
int verdict_from_name(const char *name);
int sql_class_from_name(const char *name);

#endif
