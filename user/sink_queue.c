/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "sink_queue.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define BACKOFF_FIRST_MS 250
#define BACKOFF_LAST_MS 60000
#define GRACE_MS 2000

struct sink_queue {
	struct sink_target target;
	pthread_t thread;
	pthread_mutex_t lock; /* for everything below */
	pthread_cond_t changed;
	struct sink_event *first, **last;
	size_t events, bytes;
	uint64_t sent, lost;
	uint64_t end; /* milliseconds, as monotonic_ms() counts; 0: not asked to end */
	bool failing;
	bool detached; /* the thread frees the queue */
};

static void queue_free(struct sink_queue *queue)
{
	while (queue->first) {
		struct sink_event *next = queue->first->next;

		free(queue->first);
		queue->first = next;
	}
	if (queue->target.free)
		queue->target.free(queue->target.self);
	free(queue->target.name);
	pthread_cond_destroy(&queue->changed);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

/* With the lock held: the first events leave the queue. */
static void take_off(struct sink_queue *queue, size_t count, uint64_t *counter)
{
	for (; count && queue->first; count--) {
		struct sink_event *event = queue->first;

		queue->first = event->next;
		if (!queue->first)
			queue->last = &queue->first;
		queue->events -= 1;
		queue->bytes -= event->length;
		*counter += 1;
		free(event);
	}
}

/* With the lock held: waits for a change, at most so long. */
static void wait_ms(struct sink_queue *queue, uint64_t ms)
{
	uint64_t until = monotonic_ms() + ms;
	struct timespec time = {.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000 * NSEC_PER_MSEC)};

	pthread_cond_timedwait(&queue->changed, &queue->lock, &time);
}

/* With the lock held: until the next attempt, or until the end. */
static void back_off(struct sink_queue *queue, uint64_t ms)
{
	uint64_t until = monotonic_ms() + ms;

	while (!queue->end && monotonic_ms() < until)
		wait_ms(queue, until - monotonic_ms());
	/* In the time that is left at the end, a last few attempts. */
	if (queue->end && monotonic_ms() < queue->end)
		wait_ms(queue, MIN(ms, queue->end - monotonic_ms()));
}

static void tell_failure(struct sink_queue *queue, int error)
{
	if (error == -EPERM) {
		log_error("%s: refused; these events are given up", queue->target.name);
		return;
	}
	if (!queue->failing)
		log_error("%s: events cannot be delivered: %s; up to %d are kept and tried again", queue->target.name,
			  strerror(-error), SINK_QUEUE_EVENTS);
	queue->failing = true;
}

static void tell_success(struct sink_queue *queue)
{
	if (queue->failing)
		log_info("%s: events are delivered again", queue->target.name);
	queue->failing = false;
}

/* With the lock held, but for the delivery itself: the head of the list is only taken off by this thread. */
static void deliver(struct sink_queue *queue, uint64_t *backoff)
{
	const struct sink_event *events = queue->first;
	size_t count = 1;
	int error;

	pthread_mutex_unlock(&queue->lock);
	error = queue->target.deliver(queue->target.self, queue, events, &count);
	pthread_mutex_lock(&queue->lock);
	if (error && error != -EPERM) {
		tell_failure(queue, error);
		back_off(queue, *backoff);
		*backoff = MIN(*backoff * 2, (uint64_t)BACKOFF_LAST_MS);
		return;
	}
	*backoff = BACKOFF_FIRST_MS;
	if (error)
		tell_failure(queue, error);
	else
		tell_success(queue);
	take_off(queue, count, error ? &queue->lost : &queue->sent);
}

static void *run(void *userdata)
{
	struct sink_queue *queue = userdata;
	uint64_t backoff = BACKOFF_FIRST_MS;
	bool detached;

	pthread_mutex_lock(&queue->lock);
	while (queue->first || !queue->end) {
		if (queue->end && monotonic_ms() >= queue->end)
			break;
		if (queue->first)
			deliver(queue, &backoff);
		else
			pthread_cond_wait(&queue->changed, &queue->lock);
	}
	if (queue->events)
		log_warning("%s: ended with %zu events not delivered", queue->target.name, queue->events);
	detached = queue->detached;
	pthread_mutex_unlock(&queue->lock);
	if (detached)
		queue_free(queue);
	return NULL;
}

/* The thread takes no signal: those are the main thread's. */
static int start_thread(struct sink_queue *queue)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&queue->thread, NULL, run, queue);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

int sink_queue_new(const struct sink_target *target, struct sink_queue **ret_queue)
{
	struct sink_queue *queue = calloc(1, sizeof(*queue));
	pthread_condattr_t attributes;
	int error;

	if (!queue) {
		if (target->free)
			target->free(target->self);
		free(target->name);
		return -ENOMEM;
	}
	queue->target = *target;
	queue->last = &queue->first;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&queue->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	error = start_thread(queue);
	if (error) {
		queue_free(queue);
		return error;
	}
	*ret_queue = queue;
	return 0;
}

void sink_queue_put(struct sink_queue *queue, const char *line, size_t length, int op, enum verdict verdict)
{
	struct sink_event *event;

	if (length && line[length - 1] == '\n')
		length -= 1;
	event = malloc(sizeof(*event) + length);
	if (event) {
		*event = (struct sink_event){.verdict = verdict, .op = op, .length = length};
		memcpy(event->line, line, length);
	}
	pthread_mutex_lock(&queue->lock);
	if (!event || queue->events >= SINK_QUEUE_EVENTS || queue->bytes + length > SINK_QUEUE_BYTES) {
		queue->lost += 1;
		free(event);
	} else {
		*queue->last = event;
		queue->last = &event->next;
		queue->events += 1;
		queue->bytes += length;
		pthread_cond_signal(&queue->changed);
	}
	pthread_mutex_unlock(&queue->lock);
}

void sink_queue_end(struct sink_queue *queue, bool wait)
{
	pthread_t thread;

	if (!queue)
		return;
	pthread_mutex_lock(&queue->lock);
	thread = queue->thread;
	queue->end = monotonic_ms() + GRACE_MS;
	queue->detached = !wait;
	pthread_cond_signal(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	if (!wait) {
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	queue_free(queue);
}

bool sink_queue_is_over(struct sink_queue *queue)
{
	bool over;

	pthread_mutex_lock(&queue->lock);
	over = queue->end && monotonic_ms() >= queue->end;
	pthread_mutex_unlock(&queue->lock);
	return over;
}

void sink_queue_counts(struct sink_queue *queue, struct sink_counts *ret_counts)
{
	pthread_mutex_lock(&queue->lock);
	*ret_counts = (struct sink_counts){queue->sent, queue->lost, queue->events, queue->failing};
	pthread_mutex_unlock(&queue->lock);
}
