/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What came into the pipeline from outside of the records, done again at its place among them. */
#include "replay_internal.h"

#include <limits.h>

#define TEXT_BYTES 1024 /* of names and reasons; what is longer was cut when it was given */

/* A text of an entry with a NUL behind it; NULL: there is none. */
static const char *text_of(const struct journal_item *item, enum journal_tag tag, char buffer[TEXT_BYTES])
{
	struct span text;

	if (!journal_text(item->payload, tag, &text))
		return NULL;
	text.length = MIN(text.length, (size_t)TEXT_BYTES - 1);
	memcpy(buffer, text.data, text.length);
	buffer[text.length] = '\0';
	return buffer;
}

/* 0 where there is none. */
static uint64_t number_of(const struct journal_item *item, enum journal_tag tag)
{
	uint64_t number = 0;

	journal_number(item->payload, tag, &number);
	return number;
}

static bool session_id_of(const struct journal_item *item, struct session_id *ret_id)
{
	struct span bytes;

	if (!journal_text(item->payload, JOURNAL_TAG_SESSION_ID, &bytes) || bytes.length != sizeof(*ret_id))
		return false;
	memcpy(ret_id, bytes.data, sizeof(*ret_id));
	return true;
}

/* --- the guard --- */

static int on_start(struct replay *replay, const struct journal_item *item)
{
	struct clock clock = {item->real - (int64_t)item->time};
	uint64_t offset, pid = number_of(item, JOURNAL_TAG_PID);
	char host[TEXT_BYTES];

	/* Told again behind a place that could not be read: it is still the same one. */
	if (item->flags & JOURNAL_AGAIN && replay->pipeline && replay->pid == pid)
		return 0;
	replay->pid = pid;
	if (journal_number(item->payload, JOURNAL_TAG_OFFSET, &offset))
		clock.boot_to_real_ns = (int64_t)offset;
	return replay_begin(replay, text_of(item, JOURNAL_TAG_HOST, host), clock);
}

static int on_clock(struct replay *replay, const struct journal_item *item)
{
	uint64_t offset;

	if (!journal_number(item->payload, JOURNAL_TAG_OFFSET, &offset))
		return 0;
	replay->clock.boot_to_real_ns = (int64_t)offset;
	pipeline_set_clock(replay->pipeline, replay->clock);
	return 0;
}

static int on_ignore(struct replay *replay, const struct journal_item *item)
{
	struct session_id id;

	if (session_id_of(item, &id))
		pipeline_ignore(replay->pipeline, &id);
	return 0;
}

static int on_resume(struct replay *replay, const struct journal_item *item)
{
	pipeline_resume(replay->pipeline, item->time);
	return 0;
}

static int on_loss(struct replay *replay, const struct journal_item *item)
{
	uint64_t lost = number_of(item, JOURNAL_TAG_LOST);

	/* Counted since the journal was opened: less than before is another opening. */
	replay->summary.lost += lost >= replay->journal_lost ? lost - replay->journal_lost : lost;
	replay->journal_lost = lost;
	return 0;
}

/* --- policies --- */

/* Indices were given in turn: the same names in the same order get the same ones. */
static int add_agent(struct replay *replay, uint64_t index, struct span name)
{
	_cleanup_free_ char *copy = strndup(name.data, name.length);
	int given = copy ? agent_registry_add(replay->registry, copy) : -ENOMEM;

	if (given == -ENOMEM)
		return given;
	if (given < 0 || (uint64_t)given != index)
		log_warning("journal: agent %s has number %llu in it and %d here: sessions may bear wrong kinds", copy,
			    (unsigned long long)index, given);
	return 0;
}

static int on_agents(struct replay *replay, const struct journal_item *item)
{
	struct span value, text;
	uint64_t index = 0;
	size_t at = 0;
	uint16_t tag;
	int error = 0;

	while (!error && journal_attribute(item->payload, &at, &tag, &value)) {
		if (tag == JOURNAL_TAG_AGENT && value.length == sizeof(index))
			memcpy(&index, value.data, sizeof(index));
		else if (tag == JOURNAL_TAG_NAME)
			error = add_agent(replay, index, value);
	}
	if (error || !journal_text(item->payload, JOURNAL_TAG_TEXT, &text))
		return error;
	free(replay->signatures);
	replay->signatures_length = 0;
	replay->signatures = strndup(text.data, text.length);
	if (!replay->signatures)
		return -ENOMEM;
	replay->signatures_length = text.length;
	return 0;
}

static int find_user(const char *name, uid_t *ret_uid, void *userdata)
{
	struct replay *replay = userdata;
	const json_t *uid = json_object_get(replay->users, name);

	if (!json_is_integer(uid))
		return -ENOENT;
	*ret_uid = (uid_t)json_integer_value(uid);
	return 0;
}

static int set_users(struct replay *replay, const struct journal_item *item)
{
	struct policy_surroundings surroundings = {
		find_user, replay, replay->signatures_length ? replay->signatures : NULL, replay->signatures_length};
	struct span text;
	json_t *users;

	if (journal_text(item->payload, JOURNAL_TAG_USERS, &text)) {
		users = json_loadb(text.data, text.length, 0, NULL);
		if (!replay->users)
			replay->users = json_object();
		json_object_update(replay->users, users);
		json_decref(users);
	}
	agent_registry_set_surroundings(replay->registry, &surroundings);
	return replay->options->trial ? trial_set_surroundings(replay->options->trial, &surroundings) : 0;
}

static void tell_bad_policy(const struct journal_item *item, const struct policy_errors *errors)
{
	policy_errors_print(errors, stderr);
	log_error("the journal's policy of generation %llu cannot be read by this version: what it decided is not "
		  "compared",
		  (unsigned long long)number_of(item, JOURNAL_TAG_GENERATION));
}

static int on_policy(struct replay *replay, const struct journal_item *item)
{
	_cleanup_policy_errors_ struct policy_errors errors = {};
	uint32_t generation = (uint32_t)number_of(item, JOURNAL_TAG_GENERATION);
	char buffer[TEXT_BYTES];
	const char *origin = text_of(item, JOURNAL_TAG_ORIGIN, buffer);
	struct policy *policy;
	struct span text;
	int error = set_users(replay, item);

	if (error || generation == replay->generation || !journal_text(item->payload, JOURNAL_TAG_TEXT, &text))
		return error;
	error = policy_load_text(text.data, text.length, origin ? origin : "recorded policy", replay->registry,
				 generation, &policy, &errors);
	if (error == -ENOMEM)
		return error;
	if (error) {
		tell_bad_policy(item, &errors);
		return 0;
	}
	pipeline_set_policy(replay->pipeline, policy);
	replay->generation = generation;
	replay->summary.policies += 1;
	return 0;
}

/* --- sessions and holds --- */

static int on_session(struct replay *replay, const struct journal_item *item)
{
	char name[TEXT_BYTES], workspace[TEXT_BYTES];
	struct session_setup setup = {.name = text_of(item, JOURNAL_TAG_NAME, name),
				      .workspace = text_of(item, JOURNAL_TAG_WORKSPACE, workspace)};
	struct session_id id;
	uint64_t index;
	uint32_t agent;

	if (!session_id_of(item, &id))
		return 0;
	if (journal_number(item->payload, JOURNAL_TAG_AGENT, &index)) {
		agent = (uint32_t)index;
		setup.agent = &agent;
	}
	return sessions_setup(pipeline_sessions(replay->pipeline), &id, &setup);
}

static int on_review(struct replay *replay, const struct journal_item *item)
{
	char user[TEXT_BYTES], comm[TEXT_BYTES], session[TEXT_BYTES], name[TEXT_BYTES], reason[TEXT_BYTES],
		error[TEXT_BYTES];
	struct hold_decision decision = {.verdict = (enum verdict)number_of(item, JOURNAL_TAG_VERDICT),
					 .scope = (enum grant_scope)number_of(item, JOURNAL_TAG_SCOPE),
					 .duration = number_of(item, JOURNAL_TAG_DURATION)};
	struct reviewer by = {.pid = (pid_t)number_of(item, JOURNAL_TAG_PID),
			      .uid = (uid_t)number_of(item, JOURNAL_TAG_UID),
			      .user = text_of(item, JOURNAL_TAG_USER, user),
			      .comm = text_of(item, JOURNAL_TAG_COMM, comm),
			      .session_id = text_of(item, JOURNAL_TAG_SESSION, session),
			      .session_name = text_of(item, JOURNAL_TAG_NAME, name)};
	uint32_t number = (uint32_t)number_of(item, JOURNAL_TAG_HOLD);
	const char *refused = text_of(item, JOURNAL_TAG_ERROR, error);

	if (decision.verdict >= VERDICT_COUNT)
		return 0;
	if (refused)
		pipeline_refuse_review(replay->pipeline, number, &decision, &by, refused, item->time);
	else if (pipeline_decide(replay->pipeline, number, &decision, &by, text_of(item, JOURNAL_TAG_TEXT, reason),
				 item->time))
		log_debug("the journal decides on question %u, which it does not ask", number);
	return 0;
}

static int on_release(struct replay *replay, const struct journal_item *item)
{
	holds_release(pipeline_holds(replay->pipeline), item->time);
	return 0;
}

static int on_expire(struct replay *replay, const struct journal_item *item)
{
	holds_expire(pipeline_holds(replay->pipeline), item->time);
	return 0;
}

#define NOTES_MAX 32

/* A text that stays as long as the replay: holds do not copy their notes, of which a program knows but a few. */
static const char *lasting_note(struct replay *replay, const char *note)
{
	size_t i = 0;

	while (note && i < replay->note_count && !streq(replay->notes[i], note))
		i++;
	if (!note || i < replay->note_count)
		return note ? replay->notes[i] : NULL;
	if (i == NOTES_MAX)
		return "see the journal";
	if (!replay->notes)
		replay->notes = calloc(NOTES_MAX, sizeof(*replay->notes));
	if (!replay->notes || !(replay->notes[i] = strdup(note)))
		return "out of memory";
	replay->note_count += 1;
	return replay->notes[i];
}

static int on_stake(struct replay *replay, const struct journal_item *item)
{
	struct hold_stake stake = {.files = number_of(item, JOURNAL_TAG_FILES),
				   .directories = number_of(item, JOURNAL_TAG_DIRECTORIES),
				   .bytes = number_of(item, JOURNAL_TAG_BYTES),
				   .known = number_of(item, JOURNAL_TAG_KNOWN),
				   .at_least = number_of(item, JOURNAL_TAG_AT_LEAST)};
	char note[TEXT_BYTES];

	stake.note = lasting_note(replay, text_of(item, JOURNAL_TAG_NOTE, note));
	pipeline_set_stake(replay->pipeline, (uint32_t)number_of(item, JOURNAL_TAG_HOLD), &stake, item->time);
	return 0;
}

static int on_cgroup(struct replay *replay, const struct journal_item *item)
{
	char path[PATH_MAX];
	struct span text;

	if (!journal_text(item->payload, JOURNAL_TAG_PATH, &text) || text.length >= sizeof(path))
		return 0;
	memcpy(path, text.data, text.length);
	path[text.length] = '\0';
	if (sessions_name_cgroup(pipeline_sessions(replay->pipeline), number_of(item, JOURNAL_TAG_CGROUP), path) ==
	    -ENOMEM)
		return -ENOMEM;
	return 0;
}

/* A kind that is not here asks for nothing: it tells what came of something else. */
static int (*const do_kind[JOURNAL_KIND_COUNT])(struct replay *replay, const struct journal_item *item) = {
	[JOURNAL_START] = on_start,   [JOURNAL_POLICY] = on_policy,   [JOURNAL_AGENTS] = on_agents,
	[JOURNAL_REVIEW] = on_review, [JOURNAL_RELEASE] = on_release, [JOURNAL_EXPIRE] = on_expire,
	[JOURNAL_STAKE] = on_stake,   [JOURNAL_CLOCK] = on_clock,     [JOURNAL_SESSION] = on_session,
	[JOURNAL_IGNORE] = on_ignore, [JOURNAL_RESUME] = on_resume,   [JOURNAL_CGROUP] = on_cgroup,
	[JOURNAL_LOSS] = on_loss,
};

int replay_entry(struct replay *replay, const struct journal_item *item)
{
	if (item->kind >= JOURNAL_KIND_COUNT || !do_kind[item->kind])
		return 0;
	return do_kind[item->kind](replay, item);
}
