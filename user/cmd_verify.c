/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Is a journal what was written? Where it is not: where, since when, and what of it can still be trusted. */
#include "commands.h"

#include <limits.h>

#include "event_json.h"
#include "journal_key.h"
#include "opts.h"

struct verify_options {
	const char *key;
	bool print_key;
};

enum { OPTION_KEY = OPTION_OWN, OPTION_PRINT_KEY };

static const struct argp_option rows[] = {
	{"key", OPTION_KEY, "FILE", 0,
	 "The public key that has to have signed it, from a copy kept elsewhere (PEM). Without it the journal's own is "
	 "taken, which shows accidents, and not somebody who signed it anew",
	 0},
	{"print-key", OPTION_PRINT_KEY, NULL, 0,
	 "Print the public part of this machine's key (of --key FILE; default: " JOURNAL_KEY_DEFAULT
	 "), to be kept elsewhere",
	 0},
	{},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
	struct verify_options *own = state->input;

	switch (key) {
	case OPTION_KEY:
		own->key = argument;
		return 0;
	case OPTION_PRINT_KEY:
		own->print_key = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct option_spec spec = {
	.arguments = "JOURNAL",
	.summary = "Reads a journal, a directory or one segment of it, and checks every byte: checksums, the chain, "
		   "signatures. Exits with 1 where something is not as it was written, and says what can be trusted.",
	.examples = "  reprieve verify /var/lib/reprieve/journal --key reprieve-db-1.pub\n"
		    "  sudo reprieve verify --print-key > reprieve-db-1.pub\n",
	.common = COMMON_JSON | COMMON_COLOR,
	.arguments_min = 0,
	.arguments_max = 1,
	.options = rows,
	.parse = parse,
};

static const char *const fault_names[JOURNAL_FAULT_COUNT] = {
	[JOURNAL_FAULT_TORN] = "torn",	     [JOURNAL_FAULT_HEADER] = "header",
	[JOURNAL_FAULT_VERSION] = "version", [JOURNAL_FAULT_BLOCK] = "block",
	[JOURNAL_FAULT_CHAIN] = "chain",     [JOURNAL_FAULT_ITEM] = "item",
	[JOURNAL_FAULT_MISSING] = "missing", [JOURNAL_FAULT_SIGNATURE] = "signature",
	[JOURNAL_FAULT_IO] = "io",
};

struct moment {
	char text[40];
};

static struct moment moment_of(int64_t real)
{
	_cleanup_buffer_ struct buffer text = {};
	struct moment moment = {"(no time)"};

	if (!real)
		return moment;
	json_add_time(&text, real);
	snprintf(moment.text, sizeof(moment.text), "%.*s", (int)text.length, text.data ? text.data : "");
	return moment;
}

/* --- for people --- */

#define FAULTS_SHOWN 20

struct shown {
	uint64_t faults;
};

static void print_fault(const struct journal_fault *fault, void *userdata)
{
	struct shown *shown = userdata;
	bool torn = fault->kind == JOURNAL_FAULT_TORN;

	if (!torn && ++shown->faults > FAULTS_SHOWN)
		return;
	printf("%s %s, block %llu at byte %llu: %s\n", torn ? "torn  " : "BROKEN", fault->segment,
	       (unsigned long long)fault->block, (unsigned long long)fault->offset, fault->what);
	if (!torn && fault->time)
		printf("       the last item before it is of %s\n", moment_of(fault->time).text);
}

static void print_signed(const struct journal_check *check)
{
	if (!check->signed_heads) {
		printf("signed by nobody: checksums and chain only show accidents\n");
		return;
	}
	printf("signed %llu items, until %s, by key ", (unsigned long long)check->signed_items,
	       moment_of(check->signed_time).text);
	for (size_t i = 0; i < sizeof(check->key); i++)
		printf("%02x", check->key[i]);
	printf("\n       %s\n", check->key_given
					? "the key is the one given"
					: "the key is the journal's own word: compare it with --key FILE, a copy "
					  "that was kept elsewhere");
}

static void print_check(const struct journal_check *check)
{
	uint64_t behind = check->sound_items - MIN(check->signed_items, check->sound_items);

	if (!check->faults)
		printf("sound  %llu items in %zu segments, %llu bytes\n", (unsigned long long)check->items,
		       check->segments, (unsigned long long)check->bytes);
	else
		printf("BROKEN in %llu places; %llu items in %zu segments could be read\n",
		       (unsigned long long)check->faults, (unsigned long long)check->items, check->segments);
	printf("from   %s to %s\n", moment_of(check->first_time).text, moment_of(check->last_time).text);
	print_signed(check);
	if (behind)
		printf("then   %llu items that are unbroken, and that no signature %s covers\n",
		       (unsigned long long)behind, check->faults ? "before the first bad place" : "yet");
	if (check->faults)
		printf("trust  the first %llu items; what is behind the first bad place can be read, and is not proven\n",
		       (unsigned long long)check->sound_items);
	if (check->open)
		printf("open   the last segment is not closed: it is being written, its writer was killed, or its end was "
		       "cut off\n");
	if (check->removed)
		printf("kept   from segment %u on: those before were removed for the cap, as the journal itself says\n",
		       check->first);
	if (check->lost)
		printf("lacks  %llu items that its writer could not take, as it says itself\n",
		       (unsigned long long)check->lost);
	if (check->unknown)
		printf("newer  %llu items are of kinds that this program does not know\n",
		       (unsigned long long)check->unknown);
}

/* --- as JSON --- */

static json_t *fault_json(const struct journal_fault *fault)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:s?, s:s}", "kind", fault_names[fault->kind], "segment", fault->segment,
			 "block", (json_int_t)fault->block, "offset", (json_int_t)fault->offset, "time",
			 fault->time ? moment_of(fault->time).text : NULL, "what", fault->what);
}

static void add_fault(const struct journal_fault *fault, void *userdata)
{
	if (json_array_size(userdata) < 1000)
		json_array_append_new(userdata, fault_json(fault));
}

static json_t *time_json(int64_t real)
{
	return real ? json_string(moment_of(real).text) : json_null();
}

static int print_json(const struct journal_check *check, json_t *faults)
{
	char key[2 * sizeof(check->key) + 1] = "";
	json_t *object;
	int error;

	for (size_t i = 0; i < sizeof(check->key) && check->signed_heads; i++)
		snprintf(key + 2 * i, 3, "%02x", check->key[i]);
	object = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:o, s:o, s:o, s:s, s:b, s:O}",
			   "sound", !check->faults, "bad", (json_int_t)check->faults, "segments",
			   (json_int_t)check->segments, "items", (json_int_t)check->items, "bytes",
			   (json_int_t)check->bytes, "signed_items", (json_int_t)check->signed_items, "sound_items",
			   (json_int_t)check->sound_items, "heads", (json_int_t)check->heads, "torn",
			   (json_int_t)check->torn, "lost", (json_int_t)check->lost, "open", check->open, "removed",
			   check->removed, "first", time_json(check->first_time), "last", time_json(check->last_time),
			   "signed_until", time_json(check->signed_time), "key", key, "key_given", check->key_given,
			   "faults", faults);
	if (!object)
		return EXIT_FAILED;
	error = json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
	return error ? EXIT_FAILED : EXIT_DONE;
}

/* --- the command --- */

static int print_key(const char *path)
{
	_cleanup_free_ char *text = NULL;
	uint8_t public[JOURNAL_KEY_BYTES];
	int error = journal_key_read(path ? path : JOURNAL_KEY_DEFAULT, public);

	if (!error)
		error = journal_key_pem(public, &text);
	if (error) {
		log_error("%s: %s", path ? path : JOURNAL_KEY_DEFAULT,
			  error == -EBADMSG ? "no Ed25519 key in PEM" : strerror(-error));
		return EXIT_FAILED;
	}
	fputs(text, stdout);
	return EXIT_DONE;
}

static int verify(const char *path, const uint8_t *key, bool json)
{
	json_t *faults = json_array();
	struct shown shown = {};
	struct journal_check check;
	int error = journal_verify(path, key, json ? add_fault : print_fault, json ? (void *)faults : &shown, &check),
	    code = EXIT_FAILED;

	if (error)
		log_error("%s: %s%s%s", path, check.fault.segment, check.fault.segment[0] ? ": " : "",
			  check.fault.what[0] ? check.fault.what : strerror(-error));
	else if (json)
		code = print_json(&check, faults);
	else
		print_check(&check);
	json_decref(faults);
	return error || check.faults ? EXIT_FAILED : json ? code : EXIT_DONE;
}

int cmd_verify(int argc, char **argv)
{
	struct verify_options own = {};
	struct common_options common;
	uint8_t key[JOURNAL_KEY_BYTES];
	int code = options_parse(&spec, argc, argv, &own, &common), error;

	if (code)
		return code;
	if (own.print_key)
		return print_key(own.key);
	if (!common.argument_count) {
		log_error("verify what? Name a journal: its directory, or one of its segments");
		return EXIT_USAGE;
	}
	error = own.key ? journal_key_read(own.key, key) : 0;
	if (error) {
		log_error("--key %s: %s", own.key, error == -EBADMSG ? "no Ed25519 key in PEM" : strerror(-error));
		return EXIT_FAILED;
	}
	return verify(common.arguments[0], own.key ? key : NULL, common.json);
}
