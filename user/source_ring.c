/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "source_ring.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <bpf/libbpf.h>

#define BATCH_BYTES (1u << 18)
#define SPARE_MAX 8 /* batches kept for reuse: new memory costs a page fault for each 4 KiB */
#define TICK_MS 50 /* records that nobody was woken for wait no longer than this */

struct source_ring {
	struct ring_buffer *ring;
	pthread_t thread;
	bool running;
	int ready; /* eventfd: batches wait */
	int wanted; /* eventfd: look now (flush), or stop */
	int epoll;
	bool stop;
	const char *scheduling; /* written by the thread, once */
	pthread_mutex_t lock;
	pthread_cond_t flushed;
	uint64_t flushes_asked, flushes_done;
	struct record_batch *first, *last;
	struct record_batch *spare; /* the last one given back first: the caches may have it still */
	size_t spares;
	size_t waiting; /* bytes */
	size_t limit;
	uint64_t dropped[RECORD_KIND_COUNT];
};

static void count_dropped(struct source_ring *source, const struct record *record)
{
	source->dropped[record->kind < RECORD_KIND_COUNT ? record->kind : 0] += 1;
}

static struct record_batch *batch_new(struct source_ring *source)
{
	struct record_batch *batch = source->spare;

	if (!batch)
		return malloc(sizeof(*batch) + BATCH_BYTES);
	source->spare = batch->next;
	source->spares -= 1;
	return batch;
}

static struct record_batch *batch_with_room(struct source_ring *source, size_t bytes)
{
	struct record_batch *batch = source->last;

	if (batch && BATCH_BYTES - batch->length >= bytes)
		return batch;
	if (source->waiting + BATCH_BYTES > source->limit)
		return NULL;
	batch = batch_new(source);
	if (!batch)
		return NULL;
	batch->next = NULL;
	batch->length = 0;
	if (source->last)
		source->last->next = batch;
	else
		source->first = batch;
	source->last = batch;
	source->waiting += BATCH_BYTES;
	return batch;
}

/* Always 0: libbpf stops reading the ring at any other answer. */
static int take_record(void *context, void *data, size_t size)
{
	struct source_ring *source = context;
	const struct record *record = data;
	size_t bytes = (size + 7) & ~(size_t)7;
	struct record_batch *batch;

	if (size < sizeof(*record) || bytes > BATCH_BYTES)
		return 0;
	batch = batch_with_room(source, bytes);
	if (!batch) {
		count_dropped(source, record);
		return 0;
	}
	memcpy(batch->data + batch->length, data, size);
	batch->length += bytes;
	return 0;
}

static void read_ring(struct source_ring *source)
{
	uint64_t one = 1;

	pthread_mutex_lock(&source->lock);
	ring_buffer__consume(source->ring);
	if (source->flushes_done != source->flushes_asked) {
		source->flushes_done = source->flushes_asked;
		pthread_cond_broadcast(&source->flushed);
	}
	if (source->first && write(source->ready, &one, sizeof(one)) < 0)
		log_debug("ring: %s", strerror(errno));
	pthread_mutex_unlock(&source->lock);
}

/* SCHED_RESET_ON_FORK: a child would keep what it needs no more. */
static const char *raise_priority(void)
{
	struct sched_param parameters = {.sched_priority = 1};

	if (!sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameters))
		return "fifo";
	return setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), -20) ? "normal" : "nice";
}

static void *drain(void *argument)
{
	struct source_ring *source = argument;
	struct epoll_event events[2];
	uint64_t value;

	__atomic_store_n(&source->scheduling, raise_priority(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&source->stop, __ATOMIC_ACQUIRE)) {
		int count = epoll_wait(source->epoll, events, 2, TICK_MS);

		for (int i = 0; i < count; i++)
			if (events[i].data.fd == source->wanted && read(source->wanted, &value, sizeof(value)) < 0)
				log_debug("ring: %s", strerror(errno));
		read_ring(source);
	}
	return NULL;
}

static int watch_fd(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int source_open(struct source_ring *source, int ring_fd)
{
	source->ring = ring_buffer__new(ring_fd, take_record, source, NULL);
	if (!source->ring)
		return -errno;
	source->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	source->wanted = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	source->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (source->ready < 0 || source->wanted < 0 || source->epoll < 0)
		return -errno;
	if (watch_fd(source->epoll, ring_buffer__epoll_fd(source->ring)))
		return -errno;
	return watch_fd(source->epoll, source->wanted);
}

int source_ring_start(int ring_fd, size_t memory_limit, struct source_ring **ret_source)
{
	struct source_ring *source = calloc(1, sizeof(*source));
	int error;

	if (!source)
		return -ENOMEM;
	source->ready = source->wanted = source->epoll = -1;
	source->limit = memory_limit;
	source->scheduling = "normal";
	pthread_mutex_init(&source->lock, NULL);
	pthread_cond_init(&source->flushed, NULL);
	error = source_open(source, ring_fd);
	if (!error)
		error = -pthread_create(&source->thread, NULL, drain, source);
	if (error) {
		source_ring_stop(source);
		return error;
	}
	source->running = true;
	*ret_source = source;
	return 0;
}

static void wake(struct source_ring *source)
{
	uint64_t one = 1;

	if (write(source->wanted, &one, sizeof(one)) < 0)
		log_debug("ring: %s", strerror(errno));
}

static void free_batches(struct record_batch *batch)
{
	while (batch) {
		struct record_batch *next = batch->next;

		free(batch);
		batch = next;
	}
}

void source_ring_stop(struct source_ring *source)
{
	if (!source)
		return;
	if (source->running) {
		__atomic_store_n(&source->stop, true, __ATOMIC_RELEASE);
		wake(source);
		pthread_join(source->thread, NULL);
	}
	free_batches(source->first);
	free_batches(source->spare);
	ring_buffer__free(source->ring);
	cleanup_close(&source->ready);
	cleanup_close(&source->wanted);
	cleanup_close(&source->epoll);
	pthread_cond_destroy(&source->flushed);
	pthread_mutex_destroy(&source->lock);
	free(source);
}

int source_ring_fd(const struct source_ring *source)
{
	return source->ready;
}

struct record_batch *source_ring_take(struct source_ring *source)
{
	struct record_batch *first;
	uint64_t value;

	pthread_mutex_lock(&source->lock);
	if (read(source->ready, &value, sizeof(value)) < 0 && errno != EAGAIN)
		log_debug("ring: %s", strerror(errno));
	first = source->first;
	source->first = source->last = NULL;
	source->waiting = 0;
	pthread_mutex_unlock(&source->lock);
	return first;
}

void source_ring_give_back(struct source_ring *source, struct record_batch *batch)
{
	pthread_mutex_lock(&source->lock);
	if (source->spares < SPARE_MAX) {
		batch->next = source->spare;
		source->spare = batch;
		source->spares += 1;
		batch = NULL;
	}
	pthread_mutex_unlock(&source->lock);
	free(batch);
}

void source_ring_flush(struct source_ring *source)
{
	uint64_t mine;

	pthread_mutex_lock(&source->lock);
	mine = ++source->flushes_asked;
	wake(source);
	while (source->flushes_done < mine)
		pthread_cond_wait(&source->flushed, &source->lock);
	pthread_mutex_unlock(&source->lock);
}

void source_ring_dropped(struct source_ring *source, uint64_t ret_dropped[RECORD_KIND_COUNT])
{
	pthread_mutex_lock(&source->lock);
	memcpy(ret_dropped, source->dropped, sizeof(source->dropped));
	pthread_mutex_unlock(&source->lock);
}

const char *source_ring_scheduling(const struct source_ring *source)
{
	return __atomic_load_n(&source->scheduling, __ATOMIC_ACQUIRE);
}
