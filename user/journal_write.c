/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Items on their way to the disk. The pipeline's thread fills a chunk and hands it over; the journal's thread makes
 * blocks of chunks, and syncs them together: within the window, at once where that is asked for. Chunks are kept until
 * they are synced, and written again into another segment where that fails.
 */
#include "journal_segment.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <zlib.h>

#define CHUNK_BYTES ((size_t)256 << 10) /* handed over when it has grown to that; a block is about as large */
#define HEAD_EVERY (60 * NSEC_PER_SEC) /* what was written since the last signature */
#define RETRY_NS NSEC_PER_SEC
#define GRACE_NS (2 * NSEC_PER_SEC)
#define ROTATE_BY_ITSELF 2 /* times the size of a segment: nobody has asked for a rotation */
#define ITEM_MAX (JOURNAL_PAYLOAD_MAX - CHUNK_BYTES) /* bytes of one item; a longer one is lost */

struct chunk {
	struct chunk *next;
	struct buffer data;
	uint32_t items;
	uint64_t first_time, last_time; /* boot; 0: no item has one */
	bool rotate; /* a new segment begins with it */
	bool tells_loss; /* its first item */
};

struct chunks {
	struct chunk *first, *last;
};

struct journal {
	/* of the pipeline's thread */
	struct chunk *current; /* NULL: none is begun */
	size_t entry; /* where the entry that is under way begins in it */
	bool rotate; /* the next chunk begins a segment */
	uint64_t lost_told;

	pthread_t thread;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct chunks queue;
	uint64_t queued_since; /* monotonic; of the first in the queue */
	size_t queued; /* bytes in the queue */
	size_t waiting; /* bytes not yet synced, the queue included */
	size_t memory; /* that may wait */
	bool urgent, stop, wants_rotation;
	uint64_t stop_at; /* monotonic: the end of the time to write what waits */
	struct journal_limits limits;
	bool new_group;
	char *group;
	struct journal_state state;

	/* of the journal's thread; see also the lock */
	struct journal_segment segment;
	struct chunks pending; /* taken, not yet written */
	struct chunks written; /* not yet synced */
	uint64_t oldest; /* monotonic: since when the first of them waits; 0: none does */
	uint64_t next_head, next_try; /* monotonic */
	z_stream stream;
	struct buffer block; /* compressed */
	bool redact; /* written under the lock, read by the pipeline's thread, which alone sets limits */
};

/* --- chunks --- */

static void chunk_free(struct chunk *chunk)
{
	if (!chunk)
		return;
	buffer_free(&chunk->data);
	free(chunk);
}

static void chunks_add(struct chunks *chunks, struct chunk *chunk)
{
	chunk->next = NULL;
	if (chunks->last)
		chunks->last->next = chunk;
	else
		chunks->first = chunk;
	chunks->last = chunk;
}

/* All of `from` behind `to`. */
static void chunks_move(struct chunks *to, struct chunks *from)
{
	if (!from->first)
		return;
	if (to->last)
		to->last->next = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	*from = (struct chunks){};
}

static struct chunk *chunks_take(struct chunks *chunks)
{
	struct chunk *chunk = chunks->first;

	chunks->first = chunk->next;
	if (!chunks->first)
		chunks->last = NULL;
	return chunk;
}

static uint64_t chunks_free(struct chunks *chunks, size_t *bytes)
{
	uint64_t items = 0;

	while (chunks->first) {
		struct chunk *chunk = chunks_take(chunks);

		items += chunk->items;
		*bytes += chunk->data.length;
		chunk_free(chunk);
	}
	return items;
}

/* --- what the pipeline's thread does --- */

static void lose(struct journal *journal, uint64_t items)
{
	pthread_mutex_lock(&journal->lock);
	journal->state.lost += items;
	pthread_mutex_unlock(&journal->lock);
}

/* What was lost until now is told where it is missing, as soon as there is room again. */
static void tell_loss(struct journal *journal)
{
	char why[sizeof(journal->state.failing)];
	uint64_t lost;
	bool room;

	pthread_mutex_lock(&journal->lock);
	lost = journal->state.lost;
	room = journal->waiting + CHUNK_BYTES <= journal->memory;
	snprintf(why, sizeof(why), "%s", journal->state.failing);
	pthread_mutex_unlock(&journal->lock);
	if (lost == journal->lost_told || !room)
		return;
	journal_begin(journal, JOURNAL_LOSS, 0, journal_boot_time());
	journal_add_number(journal, JOURNAL_TAG_LOST, lost);
	journal_add_text(journal, JOURNAL_TAG_REASON, span_of(why[0] ? why : "the disk was too slow, or memory short"));
	journal_end(journal);
	journal->current->tells_loss = true;
	journal->lost_told = lost;
}

static bool begin_chunk(struct journal *journal)
{
	struct chunk *chunk;

	if (journal->current)
		return true;
	chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return false;
	chunk->rotate = journal->rotate;
	journal->rotate = false;
	journal->current = chunk;
	tell_loss(journal);
	return true;
}

/* Takes back what was begun and could not be ended. */
static void drop_item(struct journal *journal, size_t from)
{
	struct chunk *chunk = journal->current;

	chunk->data.length = from;
	chunk->data.error = 0;
	lose(journal, 1);
}

static void end_item(struct journal *journal, size_t from, uint64_t time)
{
	static const char zeros[8];
	struct chunk *chunk = journal->current;
	size_t length = chunk->data.length - from - sizeof(struct journal_item_head);

	buffer_add(&chunk->data, zeros, -length & 7);
	if (chunk->data.error || length > ITEM_MAX) {
		drop_item(journal, from);
		return;
	}
	memcpy(chunk->data.data + from + offsetof(struct journal_item_head, length), &(__u32){(__u32)length},
	       sizeof(__u32));
	chunk->items += 1;
	chunk->first_time = chunk->first_time ? chunk->first_time : time;
	chunk->last_time = time;
	if (chunk->data.length >= CHUNK_BYTES)
		journal_push(journal, false);
}

void journal_record(struct journal *journal, const void *record, size_t size, uint16_t flags)
{
	const struct journal_item_head head = {.kind = JOURNAL_RECORD, .flags = flags};
	struct record fixed;
	size_t from;

	if (!journal || size < sizeof(fixed))
		return;
	if (!begin_chunk(journal)) {
		lose(journal, 1);
		return;
	}
	memcpy(&fixed, record, sizeof(fixed));
	from = journal->current->data.length;
	buffer_add(&journal->current->data, &head, sizeof(head));
	buffer_add(&journal->current->data, record, size);
	end_item(journal, from, fixed.time);
}

void journal_begin(struct journal *journal, enum journal_kind kind, uint16_t flags, uint64_t time)
{
	const struct journal_item_head head = {.kind = (__u16)kind, .flags = flags};

	if (!journal || !begin_chunk(journal))
		return;
	journal->entry = journal->current->data.length;
	buffer_add(&journal->current->data, &head, sizeof(head));
	buffer_add(&journal->current->data, &time, sizeof(time));
}

void journal_add_number(struct journal *journal, enum journal_tag tag, uint64_t number)
{
	if (journal && journal->current)
		journal_attribute_number(&journal->current->data, tag, number);
}

void journal_add_text(struct journal *journal, enum journal_tag tag, struct span text)
{
	if (journal && journal->current)
		journal_attribute_text(&journal->current->data, tag, text);
}

void journal_end(struct journal *journal)
{
	uint64_t time;
	size_t at;

	if (!journal)
		return;
	if (!journal->current) {
		lose(journal, 1);
		return;
	}
	at = journal->entry + sizeof(struct journal_item_head);
	if (journal->current->data.error || journal->current->data.length < at + sizeof(time)) {
		drop_item(journal, journal->entry);
		return;
	}
	memcpy(&time, journal->current->data.data + at, sizeof(time));
	end_item(journal, journal->entry, time);
}

/* With the lock held. False: there is no room for it. */
static bool queue_chunk(struct journal *journal, struct chunk *chunk)
{
	if (journal->waiting + chunk->data.length > journal->memory)
		return false;
	if (!journal->queue.first)
		journal->queued_since = monotonic_ns();
	chunks_add(&journal->queue, chunk);
	journal->queued += chunk->data.length;
	journal->waiting += chunk->data.length;
	journal->state.items += chunk->items;
	return true;
}

void journal_push(struct journal *journal, bool urgent)
{
	struct chunk *chunk = journal ? journal->current : NULL;
	bool idle;

	if (!chunk || !chunk->items)
		return;
	pthread_mutex_lock(&journal->lock);
	idle = !journal->queue.first;
	if (!queue_chunk(journal, chunk)) {
		journal->state.lost += chunk->items - chunk->tells_loss;
		journal->lost_told -= chunk->tells_loss;
		journal->rotate = journal->rotate || chunk->rotate;
		chunk_free(chunk);
	}
	journal->current = NULL;
	journal->urgent = journal->urgent || urgent;
	/* For what may wait the thread is up in time by itself, once it knows of the first. */
	if (idle || urgent || journal->queued >= CHUNK_BYTES)
		pthread_cond_signal(&journal->changed);
	pthread_mutex_unlock(&journal->lock);
}

bool journal_wants_rotation(struct journal *journal)
{
	bool wants;

	if (!journal)
		return false;
	pthread_mutex_lock(&journal->lock);
	wants = journal->wants_rotation;
	pthread_mutex_unlock(&journal->lock);
	return wants;
}

void journal_rotate(struct journal *journal)
{
	if (!journal)
		return;
	journal_push(journal, false);
	pthread_mutex_lock(&journal->lock);
	journal->wants_rotation = false;
	pthread_mutex_unlock(&journal->lock);
	journal->rotate = true;
	if (journal->current)
		journal->current->rotate = true;
}

bool journal_redacts(const struct journal *journal)
{
	return journal && journal->redact;
}

/* --- blocks --- */

static int deflate_chunk(struct journal *journal, const struct chunk *chunk, int flush)
{
	z_stream *stream = &journal->stream;
	int result;

	stream->next_in = (Bytef *)chunk->data.data;
	stream->avail_in = (uInt)chunk->data.length;
	do {
		stream->next_out = (Bytef *)buffer_reserve(&journal->block, 65536);
		if (!stream->next_out)
			return -ENOMEM;
		stream->avail_out = 65536;
		result = deflate(stream, flush);
		journal->block.length += 65536 - stream->avail_out;
	} while (!stream->avail_out);
	return result == Z_STREAM_ERROR ? -EINVAL : 0;
}

/* The chunks that go into the next block: up to a block's size, and none that begins another segment. */
static size_t count_block(const struct chunk *first)
{
	size_t count = 1, bytes = first->data.length;

	for (const struct chunk *chunk = first->next; chunk && !chunk->rotate; chunk = chunk->next) {
		bytes += chunk->data.length;
		if (bytes > CHUNK_BYTES)
			break;
		count += 1;
	}
	return count;
}

/* Writes the first pending chunks as one block; they wait for the sync then. */
static int write_block(struct journal *journal)
{
	struct journal_block block = {.kind = JOURNAL_BLOCK_ITEMS};
	size_t count = count_block(journal->pending.first), left = count;
	struct chunk *chunk = journal->pending.first;
	int error = 0;

	buffer_clear(&journal->block);
	deflateReset(&journal->stream);
	block.first_time = chunk->first_time;
	for (; left && !error; left--, chunk = chunk->next) {
		error = deflate_chunk(journal, chunk, left == 1 ? Z_FINISH : Z_NO_FLUSH);
		block.raw += (__u32)chunk->data.length;
		block.items += chunk->items;
		block.last_time = chunk->last_time;
	}
	if (!error)
		error = journal_segment_write(&journal->segment, &block,
					      (struct span){journal->block.data, journal->block.length});
	if (error)
		return error;
	while (count--) {
		chunk = chunks_take(&journal->pending);
		chunk->rotate = false;
		chunks_add(&journal->written, chunk);
	}
	pthread_mutex_lock(&journal->lock);
	journal->state.raw += block.raw;
	journal->state.stored += sizeof(block) + block.stored + JOURNAL_CHAIN_BYTES;
	pthread_mutex_unlock(&journal->lock);
	return 0;
}

static void committed(struct journal *journal)
{
	size_t bytes = 0;

	chunks_free(&journal->written, &bytes);
	journal->oldest = journal->pending.first ? monotonic_ns() : 0;
	pthread_mutex_lock(&journal->lock);
	journal->waiting -= bytes;
	journal->state.committed = journal->state.items;
	for (const struct chunk *chunk = journal->pending.first; chunk; chunk = chunk->next)
		journal->state.committed -= chunk->items;
	for (const struct chunk *chunk = journal->queue.first; chunk; chunk = chunk->next)
		journal->state.committed -= chunk->items;
	journal->state.syncs += 1;
	pthread_mutex_unlock(&journal->lock);
}

static int commit(struct journal *journal)
{
	int error = journal_segment_sync(&journal->segment);

	if (!error)
		committed(journal);
	return error;
}

/* --- segments --- */

static uint64_t lost_of(struct journal *journal)
{
	uint64_t lost;

	pthread_mutex_lock(&journal->lock);
	lost = journal->state.lost;
	pthread_mutex_unlock(&journal->lock);
	return lost;
}

static void trim(struct journal *journal, uint64_t cap)
{
	size_t removed = journal_segment_trim(&journal->segment, cap);

	if (!removed)
		return;
	log_info("journal: %zu of the oldest segments are removed: all together are over the cap of %llu MiB", removed,
		 (unsigned long long)(cap >> 20));
}

/* The first block of a segment is a head: it tells which segments are kept, in case the oldest have just gone. */
static int open_segment(struct journal *journal)
{
	struct journal_limits limits;
	int error;

	pthread_mutex_lock(&journal->lock);
	limits = journal->limits;
	pthread_mutex_unlock(&journal->lock);
	error = journal_segment_open(&journal->segment);
	if (error)
		return error;
	trim(journal, limits.cap);
	journal->next_head = monotonic_ns() + HEAD_EVERY;
	return journal_segment_head(&journal->segment, "kept", lost_of(journal));
}

static int rotate(struct journal *journal)
{
	int error = 0;

	if (journal->segment.fd >= 0) {
		error = journal_segment_close(&journal->segment, "rotated", lost_of(journal));
		if (!error)
			committed(journal);
	}
	return error ? error : open_segment(journal);
}

/* Has the open segment grown too large or too old? The pipeline's thread is asked first: it knows the state. */
static bool is_full(struct journal *journal)
{
	uint64_t size = journal->segment.place.size, age = journal_boot_time() - journal->segment.opened;
	bool full;

	pthread_mutex_lock(&journal->lock);
	full = size >= ROTATE_BY_ITSELF * journal->limits.size;
	if (journal->segment.fd >= 0 && (size >= journal->limits.size || age >= journal->limits.age))
		journal->wants_rotation = true;
	pthread_mutex_unlock(&journal->lock);
	return full;
}

static int write_pending(struct journal *journal, uint64_t window)
{
	while (journal->pending.first) {
		int error = 0;

		if (journal->segment.fd < 0)
			error = open_segment(journal);
		else if (journal->pending.first->rotate || is_full(journal))
			error = rotate(journal);
		if (error)
			return error;
		journal->pending.first->rotate = false;
		error = write_block(journal);
		/* In a flood there is always more to write: the window is kept all the same. */
		if (!error && monotonic_ns() >= journal->oldest + window)
			error = commit(journal);
		if (error)
			return error;
	}
	is_full(journal);
	return 0;
}

static int write_head(struct journal *journal)
{
	int error;

	journal->next_head = monotonic_ns() + HEAD_EVERY;
	if (journal->segment.fd < 0 || !journal->segment.head_due)
		return 0;
	error = journal_segment_head(&journal->segment, "tick", lost_of(journal));
	return error ? error : commit(journal);
}

/* --- the thread --- */

static void tell_failure(struct journal *journal, int error)
{
	bool news = journal->state.error != error;

	pthread_mutex_lock(&journal->lock);
	journal->state.error = error;
	snprintf(journal->state.failing, sizeof(journal->state.failing), "nothing can be written to it: %s",
		 strerror(-error));
	pthread_mutex_unlock(&journal->lock);
	if (news)
		log_error(
			"the journal cannot be written: %s; up to %zu MiB wait in memory, what is more will be missing",
			strerror(-error), journal->memory >> 20);
}

static void tell_success(struct journal *journal)
{
	if (!journal->state.error)
		return;
	pthread_mutex_lock(&journal->lock);
	journal->state.error = 0;
	journal->state.failing[0] = '\0';
	pthread_mutex_unlock(&journal->lock);
	log_info("the journal is written again");
}

/* What was not synced is written again, into another segment, a while later. */
static void give_up_segment(struct journal *journal, int error)
{
	tell_failure(journal, error);
	journal_segment_abandon(&journal->segment);
	chunks_move(&journal->written, &journal->pending);
	journal->pending = journal->written;
	journal->written = (struct chunks){};
	journal->next_try = monotonic_ns() + RETRY_NS;
}

/* With the lock held: when there is something to do next, monotonic. 0: now. */
static uint64_t next_work(const struct journal *journal)
{
	uint64_t next = journal->next_head;
	bool dirty = journal->queue.first || journal->pending.first || journal->written.first;

	if (journal->stop)
		return 0;
	if (journal->next_try)
		return journal->next_try;
	if (journal->urgent || journal->queued >= CHUNK_BYTES || journal->new_group)
		return 0;
	if (dirty)
		next = MIN(next, (journal->oldest ? journal->oldest : journal->queued_since) + journal->limits.window);
	return next;
}

/* With the lock held. */
static void wait_for_work(struct journal *journal)
{
	for (;;) {
		uint64_t next = next_work(journal), now = monotonic_ns();
		struct timespec time = {.tv_sec = (time_t)(next / NSEC_PER_SEC),
					.tv_nsec = (long)(next % NSEC_PER_SEC)};

		if (next <= now)
			return;
		pthread_cond_timedwait(&journal->changed, &journal->lock, &time);
	}
}

struct turn {
	bool urgent, stop, new_group;
	uint64_t window;
};

/* With the lock held: what waits is this thread's now. */
static struct turn take_turn(struct journal *journal)
{
	struct turn turn = {journal->urgent, journal->stop, journal->new_group, journal->limits.window};

	if (journal->queue.first && !journal->oldest)
		journal->oldest = journal->queued_since;
	chunks_move(&journal->pending, &journal->queue);
	journal->queued = 0;
	journal->urgent = journal->new_group = false;
	return turn;
}

static int do_turn(struct journal *journal, const struct turn *turn)
{
	uint64_t now;
	int error = write_pending(journal, turn->window);

	now = monotonic_ns();
	if (!error && journal->written.first && (turn->urgent || turn->stop || now >= journal->oldest + turn->window))
		error = commit(journal);
	if (!error && now >= journal->next_head)
		error = write_head(journal);
	if (!error && turn->stop && journal->segment.fd >= 0)
		error = journal_segment_close(&journal->segment, "stopped", lost_of(journal));
	return error;
}

/* For status, after each turn. */
static void note_state(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	journal->state.bytes = journal->segment.bytes;
	journal->state.segment = journal->segment.place.segment;
	journal->state.first = journal->segment.first;
	pthread_mutex_unlock(&journal->lock);
}

/* Everything that can be is written; what is left has nowhere to go. */
static void end(struct journal *journal)
{
	size_t bytes = 0;
	uint64_t left = chunks_free(&journal->pending, &bytes) + chunks_free(&journal->written, &bytes) +
			chunks_free(&journal->queue, &bytes);

	if (left)
		log_error("the journal ends without its last %llu items: %s", (unsigned long long)left,
			  journal->state.failing);
}

static void *run(void *userdata)
{
	struct journal *journal = userdata;
	struct turn turn = {};
	int error = 0;

	while (!turn.stop || (error && monotonic_ns() < journal->stop_at)) {
		pthread_mutex_lock(&journal->lock);
		wait_for_work(journal);
		turn = take_turn(journal);
		pthread_mutex_unlock(&journal->lock);
		journal->next_try = 0;
		if (turn.new_group && journal_segment_set_group(&journal->segment, journal->group))
			log_warning("journal: its directory cannot be given to group %s",
				    journal->group ? journal->group : "(none)");
		error = do_turn(journal, &turn);
		if (error)
			give_up_segment(journal, error);
		else
			tell_success(journal);
		note_state(journal);
		if (error && turn.stop)
			nanosleep(&(struct timespec){.tv_nsec = 100 * NSEC_PER_MSEC}, NULL);
	}
	end(journal);
	return NULL;
}

/* The thread takes no signal: those are the main thread's. */
static int start_thread(struct journal *journal)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&journal->thread, NULL, run, journal);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

/* --- opening and closing --- */

static void apply_limits(struct journal *journal, const struct journal_limits *limits)
{
	journal->limits = *limits;
	journal->limits.group = NULL;
	journal->limits.window = limits->window ? limits->window : JOURNAL_WINDOW_DEFAULT;
	journal->limits.size = limits->size ? limits->size : JOURNAL_SIZE_DEFAULT;
	journal->limits.age = limits->age ? limits->age : JOURNAL_AGE_DEFAULT;
	journal->limits.cap = limits->cap ? limits->cap : JOURNAL_CAP_DEFAULT;
	/* The cap is kept by whole segments: they must not be larger than what is to stay. */
	journal->limits.size = MIN(journal->limits.size, journal->limits.cap / 4);
	journal->redact = limits->redact;
}

int journal_set_limits(struct journal *journal, const struct journal_limits *limits)
{
	char *group = NULL;

	if (!journal)
		return 0;
	if (limits->group) {
		group = strdup(limits->group);
		if (!group)
			return -ENOMEM;
	}
	pthread_mutex_lock(&journal->lock);
	apply_limits(journal, limits);
	if ((group && !journal->group) || (!group && journal->group) ||
	    (group && journal->group && !streq(group, journal->group))) {
		free(journal->group);
		journal->group = take_pointer(group);
		journal->new_group = true;
		pthread_cond_signal(&journal->changed);
	}
	pthread_mutex_unlock(&journal->lock);
	free(group);
	return 0;
}

static int journal_start(struct journal *journal, const struct journal_options *options, const char **ret_what)
{
	pthread_condattr_t attributes;
	int error;

	pthread_mutex_init(&journal->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&journal->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	apply_limits(journal, &options->limits);
	journal->memory = options->memory ? options->memory : JOURNAL_MEMORY_DEFAULT;
	journal->next_head = monotonic_ns() + HEAD_EVERY;
	error = journal_segment_start(&journal->segment, options->directory, options->key, ret_what);
	if (error)
		return error;
	if (journal_segment_set_group(&journal->segment, options->limits.group))
		log_warning("journal: its directory cannot be given to group %s", options->limits.group);
	*ret_what = "out of memory";
	if (options->limits.group) {
		journal->group = strdup(options->limits.group);
		if (!journal->group)
			return -ENOMEM;
	}
	/* Level 1: others are no smaller by much, and several times slower, on records that are so like one another. */
	if (deflateInit(&journal->stream, Z_BEST_SPEED) != Z_OK)
		return -ENOMEM;
	error = open_segment(journal);
	if (error)
		give_up_segment(journal, error);
	note_state(journal);
	return start_thread(journal);
}

static void journal_release(struct journal *journal)
{
	deflateEnd(&journal->stream);
	journal_segment_end(&journal->segment);
	buffer_free(&journal->block);
	chunk_free(journal->current);
	free(journal->group);
	pthread_cond_destroy(&journal->changed);
	pthread_mutex_destroy(&journal->lock);
	free(journal);
}

int journal_new(const struct journal_options *options, struct journal **ret_journal, const char **ret_what)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	const char *what = "out of memory";
	int error = journal ? journal_start(journal, options, &what) : -ENOMEM;

	if (!error) {
		*ret_journal = journal;
		return 0;
	}
	if (ret_what)
		*ret_what = what;
	if (journal)
		journal_release(journal);
	return error;
}

void journal_free(struct journal *journal)
{
	if (!journal)
		return;
	journal_push(journal, false);
	pthread_mutex_lock(&journal->lock);
	journal->stop = true;
	journal->stop_at = monotonic_ns() + GRACE_NS;
	pthread_cond_signal(&journal->changed);
	pthread_mutex_unlock(&journal->lock);
	pthread_join(journal->thread, NULL);
	journal_release(journal);
}

void journal_get_state(struct journal *journal, struct journal_state *ret_state)
{
	*ret_state = (struct journal_state){};
	if (!journal)
		return;
	pthread_mutex_lock(&journal->lock);
	*ret_state = journal->state;
	ret_state->waiting = journal->waiting;
	pthread_mutex_unlock(&journal->lock);
}
