/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "journal_segment.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "opts.h"

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

uint64_t journal_boot_time(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

int64_t journal_boot_to_real(void)
{
	return (int64_t)(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME));
}

/* --- attributes --- */

void journal_attribute_text(struct buffer *buffer, enum journal_tag tag, struct span text)
{
	static const char zeros[8];
	struct journal_attribute_head head = {.tag = (__u16)tag, .length = (__u32)text.length};

	if (!text.data || !text.length)
		return;
	buffer_add(buffer, &head, sizeof(head));
	buffer_add(buffer, text.data, text.length);
	buffer_add(buffer, zeros, -text.length & 7);
}

void journal_attribute_number(struct buffer *buffer, enum journal_tag tag, uint64_t number)
{
	journal_attribute_text(buffer, tag, (struct span){(const char *)&number, sizeof(number)});
}

/* --- the directory --- */

/* The end of the last segment that has a header; every byte behind its last whole block is left as it is. */
static int find_end(struct journal_segment *segment, uint32_t number)
{
	struct journal_fault fault;
	struct journal_file file;
	char name[24];
	int result;

	journal_segment_file(number, name);
	result = journal_file_open(segment->directory, name, &file, &fault);
	if (result) {
		journal_file_close(&file);
		return result;
	}
	segment->place.segment = number;
	segment->place.size = file.at;
	memcpy(segment->place.chain, file.chain, JOURNAL_CHAIN_BYTES);
	segment->items = journal_file_header(&file)->first_item;
	while ((result = journal_file_next(&file, &fault)) > 0 || result == -EBADMSG) {
		if (result < 0 && fault.kind == JOURNAL_FAULT_TORN)
			continue;
		segment->place.size = file.at;
		memcpy(segment->place.chain, file.chain, JOURNAL_CHAIN_BYTES);
		if (result > 0)
			segment->items = file.block.first_item + file.block.items;
	}
	journal_file_close(&file);
	return result;
}

/* What is there already. A segment of which a crash left no whole header holds nothing: the one before it counts. */
static int look_through(struct journal_segment *segment)
{
	_cleanup_free_ struct journal_segment_name *segments = NULL;
	size_t count = 0;
	int error = journal_list(segment->directory, &segments, &count);

	if (error)
		return error;
	segment->next = 1;
	for (size_t i = 0; i < count; i++)
		segment->bytes += segments[i].size;
	if (count) {
		segment->first = segments[0].number;
		segment->next = segments[count - 1].number + 1;
	}
	error = -EBADMSG;
	while (count && error == -EBADMSG)
		error = find_end(segment, segments[--count].number);
	segment->committed = segment->place;
	segment->committed_items = segment->items;
	return error == -EBADMSG ? 0 : error;
}

static int open_directory(struct journal_segment *segment, const char *path, const char **ret_what)
{
	*ret_what = "the journal's directory cannot be made";
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	*ret_what = "the journal's directory cannot be opened";
	segment->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (segment->directory < 0)
		return -errno;
	*ret_what = "somebody else writes to this journal";
	if (flock(segment->directory, LOCK_EX | LOCK_NB))
		return -errno;
	return 0;
}

int journal_segment_start(struct journal_segment *segment, const char *directory, const char *key,
			  const char **ret_what)
{
	int error;

	*segment = (struct journal_segment){.directory = -1, .fd = -1, .group = (gid_t)-1};
	error = open_directory(segment, directory, ret_what);
	if (error)
		return error;
	*ret_what = "the journal's last segment cannot be read";
	error = look_through(segment);
	if (error)
		return error;
	*ret_what = "the journal's key cannot be read or made";
	return key ? journal_key_load(key, &segment->key) : 0;
}

void journal_segment_end(struct journal_segment *segment)
{
	journal_segment_abandon(segment);
	cleanup_close(&segment->directory);
	segment->directory = -1;
	journal_key_free(take_pointer(segment->key));
}

/* Who may read: nobody but root, or a group too. */
static int set_access(const struct journal_segment *segment, int fd, mode_t mode)
{
	bool shared = segment->group != (gid_t)-1;

	if (shared && fchown(fd, (uid_t)-1, segment->group))
		return -errno;
	/* rwx for the owner: reading and searching for the group; without x, reading. */
	if (shared)
		mode |= (mode & 0500) >> 3;
	return fchmod(fd, mode) ? -errno : 0;
}

static void share_segments(const struct journal_segment *segment)
{
	_cleanup_free_ struct journal_segment_name *segments = NULL;
	size_t count = 0;
	char name[24];

	if (journal_list(segment->directory, &segments, &count))
		return;
	for (size_t i = 0; i < count; i++) {
		_cleanup_close_ int fd = -1;

		journal_segment_file(segments[i].number, name);
		fd = openat(segment->directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || set_access(segment, fd, 0600))
			log_warning("journal: %s cannot be given to its group: %s", name, strerror(errno));
	}
}

int journal_segment_set_group(struct journal_segment *segment, const char *group)
{
	const struct group *row = NULL;
	gid_t before = segment->group;

	if (group) {
		errno = 0;
		row = getgrnam(group);
		if (!row)
			return -ENOENT;
	}
	segment->group = row ? row->gr_gid : (gid_t)-1;
	if (segment->group != before)
		share_segments(segment);
	return set_access(segment, segment->directory, 0700);
}

/* --- a segment --- */

static void read_boot_id(uint8_t id[16])
{
	_cleanup_fclose_ FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char text[64] = "";
	size_t at = 0;

	if (!file || !fgets(text, sizeof(text), file))
		return;
	for (const char *digit = text; *digit && digit[1] && at < 16; digit++)
		if (*digit != '-' && sscanf(digit++, "%2hhx", &id[at]) == 1)
			at++;
}

static void add_names(struct buffer *header)
{
	struct utsname names;

	if (!uname(&names)) {
		journal_attribute_text(header, JOURNAL_TAG_HOST, span_of(names.nodename));
		journal_attribute_text(header, JOURNAL_TAG_KERNEL, span_of(names.release));
		journal_attribute_text(header, JOURNAL_TAG_MACHINE, span_of(names.machine));
	}
	journal_attribute_text(header, JOURNAL_TAG_VERSION, span_of(REPRIEVE_VERSION));
}

static int make_header(const struct journal_segment *segment, struct buffer *header)
{
	struct journal_header fixed = {.major = JOURNAL_MAJOR,
				       .minor = JOURNAL_MINOR,
				       .fixed = sizeof(fixed),
				       .segment = segment->next,
				       .previous = segment->committed.segment,
				       .previous_size = segment->committed.size,
				       .first_item = segment->committed_items,
				       .time = journal_boot_time(),
				       .boot_to_real = journal_boot_to_real(),
				       .layout = {[RECORD_FORK] = sizeof(struct record_fork),
						  [RECORD_EXEC] = sizeof(struct record_exec),
						  [RECORD_EXIT] = sizeof(struct record_exit),
						  [RECORD_OP] = sizeof(struct record_op),
						  [RECORD_SQL] = sizeof(struct record_sql),
						  [RECORD_MAP] = sizeof(struct record_map),
						  [RECORD_JOIN] = sizeof(struct record_join),
						  [RECORD_LOSS] = sizeof(struct record_loss),
						  [RECORD_TAMPER] = sizeof(struct record_tamper)}};

	memcpy(fixed.magic, JOURNAL_MAGIC, sizeof(fixed.magic));
	memcpy(fixed.previous_chain, segment->committed.chain, JOURNAL_CHAIN_BYTES);
	read_boot_id(fixed.boot_id);
	buffer_add(header, &fixed, sizeof(fixed));
	add_names(header);
	if (header->error)
		return header->error;
	fixed.size = (__u32)header->length;
	memcpy(header->data, &fixed, sizeof(fixed));
	fixed.crc = journal_header_crc(header->data, header->length);
	memcpy(header->data, &fixed, sizeof(fixed));
	return 0;
}

/* All of them at the file's end. A short write is a full disk's way to begin. */
static int write_all(int fd, struct iovec *parts, int count)
{
	while (count) {
		ssize_t written = writev(fd, parts, count);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		while (count && (size_t)written >= parts->iov_len) {
			written -= (ssize_t)parts->iov_len;
			parts++;
			count--;
		}
		if (count) {
			parts->iov_base = (char *)parts->iov_base + written;
			parts->iov_len -= (size_t)written;
		}
	}
	return 0;
}

static int begin_file(struct journal_segment *segment, int fd, const struct buffer *header)
{
	struct iovec part = {header->data, header->length};
	int error = set_access(segment, fd, 0600);

	if (!error)
		error = write_all(fd, &part, 1);
	if (!error && (fsync(fd) || fsync(segment->directory)))
		error = -errno;
	return error;
}

int journal_segment_open(struct journal_segment *segment)
{
	_cleanup_buffer_ struct buffer header = {};
	_cleanup_close_ int fd = -1;
	char name[24];
	int error = make_header(segment, &header);

	if (error)
		return error;
	journal_segment_file(segment->next, name);
	fd = openat(segment->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	error = begin_file(segment, fd, &header);
	if (error) {
		unlinkat(segment->directory, name, 0);
		return error;
	}
	segment->fd = take_fd(&fd);
	segment->place = (struct journal_place){.segment = segment->next++, .size = header.length};
	segment->first = segment->first ? segment->first : segment->place.segment;
	segment->items = segment->committed_items;
	segment->bytes += header.length;
	segment->blocks = 0;
	segment->opened = journal_boot_time();
	error = journal_hash((struct span){header.data, header.length}, (struct span){NULL, 0}, (struct span){NULL, 0},
			     segment->place.chain);
	segment->committed = segment->place;
	return error;
}

void journal_segment_abandon(struct journal_segment *segment)
{
	cleanup_close(&segment->fd);
	segment->fd = -1;
	segment->place = segment->committed;
	segment->items = segment->committed_items;
}

int journal_segment_write(struct journal_segment *segment, struct journal_block *block, struct span payload)
{
	struct span before = {(const char *)segment->place.chain, JOURNAL_CHAIN_BYTES};
	uint8_t chain[JOURNAL_CHAIN_BYTES];
	struct iovec parts[] = {
		{block, sizeof(*block)}, {(void *)payload.data, payload.length}, {chain, sizeof(chain)}};
	int error;

	block->magic = JOURNAL_BLOCK_MAGIC;
	block->stored = (__u32)payload.length;
	block->number = segment->blocks;
	block->first_item = segment->items;
	block->payload_crc = journal_crc(payload.data, payload.length);
	block->head_crc = journal_crc(block, offsetof(struct journal_block, head_crc));
	error = journal_hash(before, (struct span){(const char *)block, sizeof(*block)}, payload, chain);
	if (!error)
		error = write_all(segment->fd, parts, ARRAY_SIZE(parts));
	if (error)
		return error;
	memcpy(segment->place.chain, chain, sizeof(chain));
	segment->place.size += sizeof(*block) + payload.length + sizeof(chain);
	segment->bytes += sizeof(*block) + payload.length + sizeof(chain);
	segment->blocks += 1;
	segment->items += block->items;
	segment->head_due = block->kind == JOURNAL_BLOCK_ITEMS;
	return 0;
}

static int sign(const struct journal_segment *segment, struct buffer *payload)
{
	uint8_t public[JOURNAL_KEY_BYTES], signature[JOURNAL_SIGNATURE_BYTES];
	int error;

	if (!segment->key)
		return payload->error;
	journal_key_public(segment->key, public);
	journal_attribute_text(payload, JOURNAL_TAG_PUBLIC_KEY, (struct span){(const char *)public, sizeof(public)});
	if (payload->error)
		return payload->error;
	error = journal_sign(segment->key, (struct span){payload->data, payload->length}, signature);
	if (error)
		return error;
	journal_attribute_text(payload, JOURNAL_TAG_SIGNATURE,
			       (struct span){(const char *)signature, sizeof(signature)});
	return payload->error;
}

int journal_segment_head(struct journal_segment *segment, const char *reason, uint64_t lost)
{
	_cleanup_buffer_ struct buffer payload = {};
	uint64_t now = journal_boot_time();
	struct journal_block block = {.kind = JOURNAL_BLOCK_HEAD, .first_time = now, .last_time = now};
	int error;

	journal_attribute_number(&payload, JOURNAL_TAG_SEGMENT, segment->place.segment);
	journal_attribute_number(&payload, JOURNAL_TAG_BLOCK, segment->blocks);
	journal_attribute_text(&payload, JOURNAL_TAG_CHAIN,
			       (struct span){(const char *)segment->place.chain, JOURNAL_CHAIN_BYTES});
	journal_attribute_number(&payload, JOURNAL_TAG_TIME, now);
	journal_attribute_number(&payload, JOURNAL_TAG_REAL, now + (uint64_t)journal_boot_to_real());
	journal_attribute_number(&payload, JOURNAL_TAG_ITEMS, segment->items);
	journal_attribute_number(&payload, JOURNAL_TAG_FIRST_KEPT, segment->first);
	journal_attribute_number(&payload, JOURNAL_TAG_LOST, lost);
	journal_attribute_text(&payload, JOURNAL_TAG_REASON, span_of(reason));
	error = sign(segment, &payload);
	if (error)
		return error;
	block.raw = (__u32)payload.length;
	return journal_segment_write(segment, &block, (struct span){payload.data, payload.length});
}

int journal_segment_sync(struct journal_segment *segment)
{
	if (fdatasync(segment->fd))
		return -errno;
	segment->committed = segment->place;
	segment->committed_items = segment->items;
	return 0;
}

int journal_segment_close(struct journal_segment *segment, const char *reason, uint64_t lost)
{
	int error = journal_segment_head(segment, reason, lost);

	if (!error)
		error = journal_segment_sync(segment);
	journal_segment_abandon(segment);
	return error;
}

size_t journal_segment_trim(struct journal_segment *segment, uint64_t cap)
{
	_cleanup_free_ struct journal_segment_name *segments = NULL;
	size_t count = 0, removed = 0;
	char name[24];

	if (segment->bytes <= cap || journal_list(segment->directory, &segments, &count))
		return 0;
	segment->bytes = 0;
	for (size_t i = 0; i < count; i++)
		segment->bytes += segments[i].size;
	while (removed < count && segment->bytes > cap && segments[removed].number < segment->committed.segment) {
		journal_segment_file(segments[removed].number, name);
		if (unlinkat(segment->directory, name, 0))
			break;
		segment->bytes -= segments[removed++].size;
	}
	if (removed && removed < count)
		segment->first = segments[removed].number;
	return removed;
}
