/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Removes the files f000000 to f000999 of a directory with several threads at once: victim_threads DIR THREADS. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES 1000
#define THREADS_MAX 64

static int directory, threads;
static pthread_barrier_t start;

static void *remove_share(void *argument)
{
	long first = (long)argument;

	pthread_barrier_wait(&start);
	for (long i = first; i < FILES; i += threads) {
		char name[32];

		snprintf(name, sizeof(name), "f%06ld", i);
		unlinkat(directory, name, 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t ids[THREADS_MAX];

	directory = argc > 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
	threads = argc > 2 ? atoi(argv[2]) : 0;
	if (directory < 0 || threads < 1 || threads > THREADS_MAX)
		return 2;
	pthread_barrier_init(&start, NULL, (unsigned int)threads);
	for (long i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, remove_share, (void *)i);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	return 0;
}
