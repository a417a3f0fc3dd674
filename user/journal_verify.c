/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "journal_file.h"
#include "journal_key.h"

struct verification {
	struct journal_reader *reader;
	struct journal_check *check;
	void (*each)(const struct journal_fault *fault, void *userdata);
	void *userdata;
	uint32_t first_kept; /* as the last head has it */
	bool has_key; /* check->key is one */
};

static void note(struct verification *verification, const struct journal_fault *fault)
{
	struct journal_check *check = verification->check;

	if (verification->each)
		verification->each(fault, verification->userdata);
	if (fault->kind == JOURNAL_FAULT_TORN) {
		check->torn += 1;
		return;
	}
	if (!check->faults++) {
		check->fault = *fault;
		check->sound_items = check->items;
	}
}

static void note_head(struct verification *verification, const struct journal_file *file, const char *what)
{
	struct journal_fault fault;

	journal_fault_at(file, file->offset, JOURNAL_FAULT_SIGNATURE, &fault, "%s", what);
	fault.block = file->block.number;
	fault.time = verification->check->last_time;
	note(verification, &fault);
}

static bool has_number(struct span attributes, enum journal_tag tag, uint64_t wanted)
{
	uint64_t number;

	return journal_number(attributes, tag, &number) && number == wanted;
}

/* Does the head speak of this place of this segment? */
static bool fits(const struct journal_file *file, struct span attributes)
{
	struct span chain;

	return has_number(attributes, JOURNAL_TAG_SEGMENT, journal_file_header(file)->segment) &&
	       has_number(attributes, JOURNAL_TAG_BLOCK, file->block.number) &&
	       journal_text(attributes, JOURNAL_TAG_CHAIN, &chain) && chain.length == JOURNAL_CHAIN_BYTES &&
	       !memcmp(chain.data, file->before, JOURNAL_CHAIN_BYTES);
}

/* The signature, which has to be the last attribute, and what it is of. */
static bool find_signature(struct span attributes, struct span *ret_signed, struct span *ret_signature)
{
	struct span value;
	uint16_t tag = 0;
	size_t at = 0, before = 0;

	while (before = at, journal_attribute(attributes, &at, &tag, &value))
		if (tag == JOURNAL_TAG_SIGNATURE)
			break;
	if (tag != JOURNAL_TAG_SIGNATURE || at != attributes.length)
		return false;
	*ret_signed = (struct span){attributes.data, before};
	*ret_signature = value;
	return true;
}

/* By the key that was given, or by the one that all heads of the journal have to agree on. */
static bool is_our_key(struct verification *verification, struct span attributes)
{
	struct journal_check *check = verification->check;
	struct span key;

	if (!journal_text(attributes, JOURNAL_TAG_PUBLIC_KEY, &key) || key.length != sizeof(check->key))
		return false;
	if (!verification->has_key)
		memcpy(check->key, key.data, sizeof(check->key));
	verification->has_key = true;
	return !memcmp(check->key, key.data, sizeof(check->key));
}

static void accept_head(struct verification *verification, struct span attributes)
{
	struct journal_check *check = verification->check;
	uint64_t number = 0;

	check->signed_heads += 1;
	if (journal_number(attributes, JOURNAL_TAG_FIRST_KEPT, &number))
		verification->first_kept = (uint32_t)number;
	if (check->faults || !journal_number(attributes, JOURNAL_TAG_REAL, &number))
		return;
	check->signed_time = (int64_t)number;
	check->signed_items = check->items;
}

static void check_head(const struct journal_file *file, void *userdata)
{
	struct verification *verification = userdata;
	struct journal_check *check = verification->check;
	struct span attributes = {file->payload.data, file->payload.length}, text, signature;
	uint64_t first_kept;

	check->heads += 1;
	if (!fits(file, attributes)) {
		note_head(verification, file, "this head speaks of another place");
	} else if (!find_signature(attributes, &text, &signature)) {
		if (journal_number(attributes, JOURNAL_TAG_FIRST_KEPT, &first_kept) && !check->key_given)
			verification->first_kept = (uint32_t)first_kept;
		if (check->key_given || verification->has_key)
			note_head(verification, file, "this head is not signed");
	} else if (!is_our_key(verification, attributes)) {
		note_head(verification, file,
			  check->key_given ? "this head is signed by another key than the one given"
					   : "this head is signed by another key than those before");
	} else if (!journal_signature_good(check->key, text, signature)) {
		note_head(verification, file, "the signature of this head is wrong");
	} else {
		accept_head(verification, attributes);
	}
}

static void take_item(struct journal_check *check, const struct journal_item *item)
{
	uint64_t lost;

	check->items += 1;
	check->first_time = check->first_time ? check->first_time : item->real;
	check->last_time = item->real;
	if (item->kind == JOURNAL_LOSS && journal_number(item->payload, JOURNAL_TAG_LOST, &lost))
		check->lost = MAX(check->lost, lost);
}

/* Segments before the first one: gone for the cap, or gone. */
static void check_beginning(struct verification *verification)
{
	struct journal_check *check = verification->check;
	struct journal_fault fault = {.kind = JOURNAL_FAULT_MISSING};

	if (check->first <= 1)
		return;
	check->removed = verification->first_kept >= check->first;
	if (check->removed)
		return;
	snprintf(fault.segment, sizeof(fault.segment), "%08u" JOURNAL_SUFFIX, check->first - 1);
	snprintf(fault.what, sizeof(fault.what),
		 "segments before number %u are missing, and no head says that they were removed", check->first);
	note(verification, &fault);
	/* Where the beginning is missing, nothing of the rest is any less sound. */
	check->sound_items = check->faults == 1 ? check->items : check->sound_items;
}

static int read_all(struct verification *verification)
{
	struct journal_check *check = verification->check;
	struct journal_item item;
	int result;

	while ((result = journal_next(verification->reader, &item))) {
		if (result == -EBADMSG || result == -EPROTONOSUPPORT || result == -EIO)
			note(verification, journal_reader_fault(verification->reader));
		else if (result < 0)
			return result;
		else
			take_item(check, &item);
		if (result == -EIO || result == -EPROTONOSUPPORT)
			break;
		check->last = journal_reader_header(verification->reader)->segment;
	}
	check->open = !journal_reader_closed(verification->reader);
	return 0;
}

int journal_verify(const char *path, const uint8_t *key,
		   void (*each)(const struct journal_fault *fault, void *userdata), void *userdata,
		   struct journal_check *ret_check)
{
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	struct verification verification = {.check = ret_check, .each = each, .userdata = userdata};
	int error;

	*ret_check = (struct journal_check){.key_given = key};
	if (key)
		memcpy(ret_check->key, key, sizeof(ret_check->key));
	verification.has_key = key;
	error = journal_open(path, &reader, &ret_check->fault);
	if (error)
		return error;
	verification.reader = reader;
	journal_reader_watch(reader, check_head, &verification);
	ret_check->first = journal_reader_first(reader);
	ret_check->segments = journal_reader_segments(reader);
	ret_check->bytes = journal_reader_progress(reader).total;
	error = read_all(&verification);
	check_beginning(&verification);
	if (!ret_check->faults)
		ret_check->sound_items = ret_check->items;
	ret_check->unknown = journal_reader_unknown(reader);
	return error;
}
