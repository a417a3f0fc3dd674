/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "report_journal.h"

#include <sys/stat.h>

#include "event_json.h"
#include "journal.h"

bool report_is_journal(const char *path)
{
	_cleanup_fclose_ FILE *file = NULL;
	char magic[sizeof(JOURNAL_MAGIC) - 1];
	struct stat status;

	if (!stat(path, &status) && S_ISDIR(status.st_mode))
		return true;
	file = S_ISREG(status.st_mode) ? fopen(path, "re") : NULL;
	return file && fread(magic, sizeof(magic), 1, file) == 1 && !memcmp(magic, JOURNAL_MAGIC, sizeof(magic));
}

void report_journal_done(struct report_journal *journal)
{
	if (!journal)
		return;
	for (size_t i = 0; i < journal->policy_count; i++) {
		free(journal->policies[i].origin);
		free(journal->policies[i].title);
		free(journal->policies[i].text);
	}
	free(journal->machine);
	free(journal->integrity_text);
	*journal = (struct report_journal){};
}

void report_journal_facts(struct report_journal *journal, struct report_facts *facts)
{
	facts->is_journal = true;
	facts->boot_id = journal->boot[0] ? journal->boot : NULL;
	facts->machine = journal->machine;
	facts->integrity = journal->intact ? INTEGRITY_GOOD : INTEGRITY_BAD;
	facts->integrity_text = journal->integrity_text;
	for (size_t i = 0; i < journal->policy_count; i++) {
		journal->texts[i] = journal->policies[i].text;
		journal->titles[i] = journal->policies[i].title;
	}
	facts->policies = journal->texts;
	facts->policy_names = journal->titles;
	facts->policy_count = journal->policy_count;
}

/* --- what it tells --- */

/* Eight, four, four, four and twelve digits (RFC 9562), as /proc/sys/kernel/random/boot_id has them. */
static void write_boot(const uint8_t id[16], char boot[40])
{
	char *at = boot;

	for (size_t i = 0; i < 16; i++)
		at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

static char *taken(struct buffer *text)
{
	const char *string = buffer_string(text);

	return string ? strdup(string) : NULL;
}

static void add_time(struct buffer *to, int64_t real)
{
	_cleanup_buffer_ struct buffer text = {};

	json_add_time(&text, real);
	/* 2026-11-22T07:00:00.123456789Z */
	if (text.length < 30)
		return;
	buffer_add(to, text.data, 10);
	buffer_char(to, ' ');
	buffer_add(to, text.data + 11, 8);
	buffer_text(to, " UTC");
}

static int take_policy(struct report_journal *journal, const struct journal_item *item)
{
	struct report_policy *policy = &journal->policies[journal->policy_count];
	_cleanup_buffer_ struct buffer title = {}, origin_text = {};
	struct span text, origin = {};

	if (!journal_text(item->payload, JOURNAL_TAG_TEXT, &text))
		return 0;
	if (journal->policy_count == REPORT_POLICIES_MAX) {
		journal->policies_left_out++;
		return 0;
	}
	journal_text(item->payload, JOURNAL_TAG_ORIGIN, &origin);
	buffer_add(&origin_text, origin.data, origin.length);
	buffer_text(&title, "In force from ");
	add_time(&title, item->real);
	buffer_text(&title, ": ");
	buffer_add(&title, origin.data, origin.length);
	*policy = (struct report_policy){
		.time = item->real,
		.origin = taken(&origin_text),
		.title = taken(&title),
		.text = strndup(text.data, text.length),
	};
	journal->policy_count++;
	return policy->text && policy->title && policy->origin ? 0 : -ENOMEM;
}

/* "Recorded on HOST, Linux 6.12.9, by reprieve 0.1.0." */
static int take_start(struct report_journal *journal, const struct journal_item *item)
{
	_cleanup_buffer_ struct buffer text = {};
	struct span part;

	buffer_text(&text, "Recorded");
	if (journal_text(item->payload, JOURNAL_TAG_HOST, &part)) {
		buffer_text(&text, " on ");
		buffer_add(&text, part.data, part.length);
	}
	if (journal_text(item->payload, JOURNAL_TAG_KERNEL, &part)) {
		buffer_text(&text, ", Linux ");
		buffer_add(&text, part.data, part.length);
	}
	if (journal_text(item->payload, JOURNAL_TAG_VERSION, &part)) {
		buffer_text(&text, ", by reprieve ");
		buffer_add(&text, part.data, part.length);
	}
	buffer_char(&text, '.');
	free(journal->machine);
	journal->machine = taken(&text);
	return journal->machine ? 0 : -ENOMEM;
}

static int take_item(struct report_journal *journal, const struct journal_item *item)
{
	/* State that is written again at the beginning of a segment is news only where the journal begins with it. */
	bool news = !(item->flags & JOURNAL_AGAIN) || !journal->policy_count;

	if (item->kind == JOURNAL_POLICY && news)
		return take_policy(journal, item);
	return item->kind == JOURNAL_START ? take_start(journal, item) : 0;
}

static int read_items(struct report_journal *journal, struct journal_reader *reader)
{
	struct journal_item item;
	int error = 0, next;

	while (!error && ((next = journal_next(reader, &item)) > 0 || next == -EBADMSG))
		if (next > 0)
			error = take_item(journal, &item);
	if (!error && next < 0)
		error = next;
	write_boot(journal_reader_header(reader)->boot_id, journal->boot);
	return error;
}

/* --- is it whole? --- */

static void add_fault(struct buffer *text, const struct journal_check *check)
{
	const struct journal_fault *fault = &check->fault;

	buffer_format(text, "First bad place: block %llu of %s, at byte %llu", (unsigned long long)fault->block,
		      fault->segment, (unsigned long long)fault->offset);
	if (fault->time) {
		buffer_text(text, ", after ");
		add_time(text, fault->time);
	}
	buffer_format(text, ": %s. ", fault->what);
	text_add_counted(text, check->faults, "place is bad", "places are bad");
	buffer_text(text, " in all. What stands before the first can be trusted: ");
	text_add_counted(text, MIN(check->sound_items, check->items), "entry", "entries");
	buffer_text(text, ". What comes behind it may be incomplete, or not what was written.");
}

static void add_sound(struct buffer *text, const struct journal_check *check)
{
	text_add_counted(text, check->items, "entry", "entries");
	buffer_text(text, " in ");
	text_add_counted(text, check->segments, "segment", "segments");
	buffer_text(text, ", each with the right checksum and in its place in the chain.");
	if (check->signed_time) {
		buffer_text(text, " Signed up to ");
		add_time(text, check->signed_time);
		buffer_text(text, " (");
		text_add_counted(text, check->signed_items, "entry", "entries");
		buffer_char(text, ')');
		buffer_text(text, check->key_given ? ", by the key that was given."
						   : ", by the key that the journal itself names: compare it with the "
						     "machine's public key.");
	} else {
		buffer_text(text, " It is not signed: that shows accidents, not forgery.");
	}
	if (check->torn || check->open)
		buffer_text(text,
			    " It is not closed: it is still written to, its writer was killed, or its end was cut "
			    "off.");
	if (check->removed)
		buffer_text(text, " Older segments were removed to keep to the size that was set.");
	if (check->lost) {
		buffer_char(text, ' ');
		text_add_counted(text, check->lost, "entry", "entries");
		buffer_text(text, " could not be written when they were made.");
	}
}

static int check_whole(const char *path, struct report_journal *journal)
{
	_cleanup_buffer_ struct buffer text = {};
	struct journal_check check;
	int error = journal_verify(path, NULL, NULL, NULL, &check);

	if (error)
		return error;
	journal->intact = !check.faults;
	if (check.faults)
		add_fault(&text, &check);
	else
		add_sound(&text, &check);
	journal->integrity_text = taken(&text);
	return journal->integrity_text ? 0 : -ENOMEM;
}

int report_journal_read(const char *path, struct report_journal *ret_journal)
{
	_cleanup_(cleanup_journal_reader) struct journal_reader *reader = NULL;
	_cleanup_(report_journal_done) struct report_journal journal = {};
	struct journal_fault fault = {};
	int error = journal_open(path, &reader, &fault);

	if (error) {
		log_error("%s: %s", path, fault.what[0] ? fault.what : strerror(-error));
		return error;
	}
	error = read_items(&journal, reader);
	if (!error)
		error = check_whole(path, &journal);
	if (error) {
		log_error("%s: %s", path, strerror(-error));
		return error;
	}
	*ret_journal = journal;
	journal = (struct report_journal){};
	return 0;
}
