/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "source_file.h"

#include "util.h"

struct source_file {
	struct journal_reader *reader;
	struct journal_item ahead; /* read already; its payload is the reader's */
	bool has_ahead;
	bool gap;
	struct buffer record, verdict, path; /* of the step given out last */
	uint64_t faults, torn;
};

int source_file_open(const char *path, struct source_file **ret_source)
{
	struct source_file *source = calloc(1, sizeof(*source));
	struct journal_fault fault = {};
	int error;

	if (!source)
		return -ENOMEM;
	error = journal_open(path, &source->reader, &fault);
	if (error) {
		log_error("%s: %s", path, fault.what[0] ? fault.what : strerror(-error));
		source_file_free(source);
		return error;
	}
	*ret_source = source;
	return 0;
}

void source_file_free(struct source_file *source)
{
	if (!source)
		return;
	journal_reader_free(source->reader);
	buffer_free(&source->record);
	buffer_free(&source->verdict);
	buffer_free(&source->path);
	free(source);
}

static void note_fault(struct source_file *source)
{
	const struct journal_fault *fault = journal_reader_fault(source->reader);

	if (fault->kind == JOURNAL_FAULT_TORN) {
		source->torn += 1;
		log_debug("journal: %s: %s", fault->segment, fault->what);
		return;
	}
	source->faults += 1;
	source->gap = true;
	log_warning("journal: %s at byte %llu: %s; what follows is read on", fault->segment,
		    (unsigned long long)fault->offset, fault->what);
}

/* 1 and an item in `ahead`, 0 at the end. */
static int look_ahead(struct source_file *source)
{
	int result;

	if (source->has_ahead)
		return 1;
	while ((result = journal_next(source->reader, &source->ahead)) == -EBADMSG)
		note_fault(source);
	source->has_ahead = result > 0;
	return result;
}

static int keep(struct buffer *buffer, struct span bytes, struct span *ret_kept)
{
	buffer_clear(buffer);
	buffer_add(buffer, bytes.data, bytes.length);
	if (buffer->error)
		return buffer->error;
	*ret_kept = (struct span){buffer->data, bytes.length};
	return 0;
}

static int take_cgroup(struct source_file *source, struct source_step *step)
{
	struct span path;

	if (!journal_number(source->ahead.payload, JOURNAL_TAG_CGROUP, &step->cgroup) ||
	    !journal_text(source->ahead.payload, JOURNAL_TAG_PATH, &path))
		return 0;
	return keep(&source->path, path, &step->cgroup_path);
}

/* What stands behind a record and belongs to it. 0 or a negative errno. */
static int take_attached(struct source_file *source, struct source_step *step)
{
	int error = keep(&source->record, step->item.payload, &step->item.payload);
	int result;

	if (error)
		return error;
	source->has_ahead = false;
	while ((result = look_ahead(source)) > 0) {
		step->redacted |= source->ahead.kind == JOURNAL_VERDICT && source->ahead.flags & JOURNAL_REDACTED;
		if (source->ahead.kind == JOURNAL_VERDICT)
			error = keep(&source->verdict, source->ahead.payload, &step->verdict);
		else if (source->ahead.kind == JOURNAL_CGROUP)
			error = take_cgroup(source, step);
		else if (source->ahead.kind != JOURNAL_HOLD) /* tells what came of it, and asks for nothing */
			return 0;
		if (error)
			return error;
		source->has_ahead = false;
	}
	return result;
}

int source_file_next(struct source_file *source, struct source_step *ret_step)
{
	struct source_step step = {};
	int result = look_ahead(source);

	if (result <= 0)
		return result;
	step.item = source->ahead;
	step.gap = source->gap;
	step.redacted = step.item.flags & JOURNAL_REDACTED;
	source->gap = false;
	if (step.item.kind == JOURNAL_RECORD)
		result = take_attached(source, &step);
	else
		source->has_ahead = false;
	if (result < 0)
		return result;
	*ret_step = step;
	return 1;
}

const struct journal_reader *source_file_reader(const struct source_file *source)
{
	return source->reader;
}

uint64_t source_file_faults(const struct source_file *source)
{
	return source->faults;
}

uint64_t source_file_torn(const struct source_file *source)
{
	return source->torn;
}
