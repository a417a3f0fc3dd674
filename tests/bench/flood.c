// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A flood of the cheapest operations there are, at a given pace: removals of a name that does not exist. Used by
 * tests/bench/run.
 *
 *   flood THREADS RATE SECONDS      RATE: calls a second of all threads together
 *
 * Prints how many calls were made and how many nanoseconds they took. A machine too slow for the pace is not waited for:
 * the calls that are due are made as fast as it can, and the numbers tell the rate that it reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define NAP_NS 200000 /* between bursts: far less than what the ring holds */

struct part {
	pthread_t thread;
	int64_t calls; /* to be made */
	int64_t duration; /* nanoseconds that they are spread over */
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void *run(void *userdata)
{
	const struct timespec nap = {.tv_nsec = NAP_NS};
	const struct part *part = userdata;
	int64_t start = now(), made = 0;

	while (made < part->calls) {
		int64_t gone = now() - start;
		int64_t due =
			gone >= part->duration ? part->calls : (int64_t)((double)part->calls * gone / part->duration);

		for (; made < due; made++)
			if (!unlinkat(AT_FDCWD, "flood-none", 0) || errno != ENOENT)
				abort();
		if (made < part->calls)
			nanosleep(&nap, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct part parts[THREADS_MAX];
	int threads = argc == 4 ? atoi(argv[1]) : 0;
	int64_t rate = argc == 4 ? atoll(argv[2]) : 0, seconds = argc == 4 ? atoll(argv[3]) : 0, start;

	if (threads < 1 || threads > THREADS_MAX || rate < threads || seconds < 1) {
		fprintf(stderr, "usage: flood THREADS RATE SECONDS\n");
		return 2;
	}
	start = now();
	for (int i = 0; i < threads; i++) {
		parts[i].calls = rate * seconds / threads;
		parts[i].duration = seconds * 1000000000ll;
		if (pthread_create(&parts[i].thread, NULL, run, &parts[i]))
			return 1;
	}
	for (int i = 0; i < threads; i++)
		pthread_join(parts[i].thread, NULL);
	printf("%lld %lld\n", (long long)(rate * seconds / threads * threads), (long long)(now() - start));
	return 0;
}
