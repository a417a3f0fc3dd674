/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "hold.h"

/* A record of the same process that is under way, such as a hold of its exec, comes within this. */
#define NUDGE_NS (100 * NSEC_PER_MSEC)

struct holds {
	struct hold_actions actions;
	struct sessions *sessions;
	struct hold *first, **end;
	uint32_t last_number;
};

static const char *const state_names[HOLD_STATE_COUNT] = {
	[HOLD_OPEN] = "open",	    [HOLD_TIMED_OUT] = "timed-out", [HOLD_APPROVED] = "approved",
	[HOLD_DENIED] = "denied",   [HOLD_KILLED] = "killed",	    [HOLD_GONE] = "gone",
	[HOLD_EXPIRED] = "expired",
};

const char *hold_state_name(enum hold_state state)
{
	return state < HOLD_STATE_COUNT ? state_names[state] : "?";
}

uint32_t hold_exec_id(const struct event *event)
{
	return event->head.kind == RECORD_SQL ? event->sql.exec_id : event->op.exec_id;
}

static enum tier tier_of(const struct event *event)
{
	return event->head.kind == RECORD_SQL ? event->sql.tier : event->op.tier;
}

/* On the lsm tier the call runs again by itself and meets the answer; elsewhere it stands at its beginning. */
static bool runs_again(const struct hold_call *call)
{
	return tier_of(&call->event) == TIER_LSM;
}

static bool is_process(const struct hold *hold, const struct process_id *process)
{
	return hold->process->id.pid == process->pid && hold->process->id.start == process->start;
}

static bool is_session(const struct hold *hold, const struct session_id *session)
{
	return hold->session.pid == session->pid && hold->session.start == session->start;
}

static bool is_pending(const struct hold *hold)
{
	return hold->state == HOLD_OPEN || hold->state == HOLD_TIMED_OUT;
}

/* --- the list --- */

static void free_calls(struct hold *hold)
{
	while (hold->calls) {
		struct hold_call *call = hold->calls;

		hold->calls = call->next;
		free(call);
	}
}

static void hold_free(struct holds *holds, struct hold *hold)
{
	free_calls(hold);
	process_release(holds->sessions, hold->process);
	json_decref(hold->facts);
	free((char *)hold->terms.rule);
	free((char *)hold->terms.message);
	free(hold->objects);
	free(hold);
}

static void unlink_hold(struct holds *holds, struct hold *hold)
{
	struct hold **at = &holds->first;

	while (*at != hold)
		at = &(*at)->next;
	*at = hold->next;
	if (!hold->next)
		holds->end = at;
	hold_free(holds, hold);
}

static struct grant_key key_of(const struct hold *hold, enum grant_scope scope)
{
	struct grant_key key = {.scope = scope, .rule = hold->terms.rule_key};

	if (scope == GRANT_SESSION) {
		key.start = hold->session.start;
		key.pid = hold->session.pid;
		return key;
	}
	key.start = hold->process->id.start;
	key.pid = hold->process->id.pid;
	key.exec_id = hold->exec_id;
	return key;
}

static int put_grant(struct holds *holds, const struct hold *hold, const struct grant_key *key, enum answer answer,
		     uint64_t until)
{
	struct grant grant = {.until = until, .answer = answer, .hold = hold->number};

	return holds->actions.grant ? holds->actions.grant(key, &grant, holds->actions.userdata) : 0;
}

static void revoke_grant(struct holds *holds, const struct grant_key *key)
{
	if (holds->actions.revoke)
		holds->actions.revoke(key, holds->actions.userdata);
}

/* Takes back what was answered to this question, in the kernel too. */
static void drop_answer(struct holds *holds, struct hold *hold)
{
	struct grant_key key = key_of(hold, hold->scope);

	if (hold->answer != ANSWER_NONE)
		revoke_grant(holds, &key);
	hold->answer = ANSWER_NONE;
	for (size_t i = 0; i < hold->object_count; i++)
		revoke_grant(holds, &hold->objects[i]);
	hold->object_count = 0;
}

/* Nothing is asked any more, and nothing of it is in force. */
static bool is_over(const struct hold *hold)
{
	return !is_pending(hold) && hold->answer == ANSWER_NONE && !hold->object_count && !hold->nudge && !hold->calls;
}

static void sweep(struct holds *holds)
{
	struct hold *hold, *next;

	for (hold = holds->first; hold; hold = next) {
		next = hold->next;
		if (is_over(hold))
			unlink_hold(holds, hold);
	}
}

static void announce(struct holds *holds, const struct hold *hold, uint64_t now)
{
	if (holds->actions.changed)
		holds->actions.changed(hold, now, holds->actions.userdata);
}

static void set_state(struct holds *holds, struct hold *hold, enum hold_state state, uint64_t now)
{
	hold->state = state;
	announce(holds, hold, now);
}

/* --- letting go --- */

static void tell_spared(struct holds *holds, const struct hold *hold, const struct hold_call *call)
{
	if (holds->actions.spared)
		holds->actions.spared(hold, &call->event, holds->actions.userdata);
}

/* The process will do none of the calls that it stands at. */
static void spare_calls(struct holds *holds, struct hold *hold)
{
	for (const struct hold_call *call = hold->calls; call; call = call->next)
		tell_spared(holds, hold, call);
	free_calls(hold);
}

static void kill_process(struct holds *holds, const struct process_id *process)
{
	struct actor actor = {.process = *process, .tid = process->pid};

	if (holds->actions.kill)
		holds->actions.kill(&actor, holds->actions.userdata);
	for (struct hold *hold = holds->first; hold; hold = hold->next)
		if (is_process(hold, process))
			spare_calls(holds, hold);
}

/* The calls of a process that wait for a person, and those that were answered and are to be carried out. */
struct standing {
	bool waits; /* a call that a SIGCONT would let through has no answer yet */
	bool answered;
};

static struct standing look_at(const struct holds *holds, const struct process_id *process)
{
	struct standing standing = {};

	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (!is_process(hold, process))
			continue;
		for (struct hold_call *call = hold->calls; call; call = call->next) {
			standing.waits |= call->answer == ANSWER_NONE && !runs_again(call);
			standing.answered |= call->answer != ANSWER_NONE;
		}
	}
	return standing;
}

bool holds_waits(const struct holds *holds, const struct process_id *process)
{
	return look_at(holds, process).waits;
}

/* The kernel forgets an answered call before it goes on: kept, it would keep the whole process stopped. */
static void drop_kept(struct holds *holds, const struct hold_call *call)
{
	if (!runs_again(call) && holds->actions.drop_held)
		holds->actions.drop_held(event_actor(&call->event), holds->actions.userdata);
}

/* Takes one call that has this answer out of its hold; NULL: there is none. */
static struct hold_call *take_answered(struct holds *holds, const struct process_id *process, enum answer answer,
				       struct hold **ret_hold)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (!is_process(hold, process))
			continue;
		for (struct hold_call **at = &hold->calls; *at; at = &(*at)->next) {
			struct hold_call *call = *at;

			if (call->answer != answer)
				continue;
			*at = call->next;
			*ret_hold = hold;
			return call;
		}
	}
	return NULL;
}

/* Of a call through libc that is made to fail a record tells, as of any call that was refused. */
static bool tells_end(const struct hold_call *call)
{
	return call->event.head.kind == RECORD_OP && call->event.op.source == SOURCE_LIBC;
}

/*
 * Makes one refused call fail; what cannot be made to fail ends with its process. Where a thread stands at another call
 * the process is stopped again behind this one.
 */
static int carry_out_refusal(struct holds *holds, const struct process_id *process, struct hold *hold,
			     const struct hold_call *call)
{
	bool can = event_op(&call->event) != OP_EXEC && holds->actions.refuse;
	int error = can ? holds->actions.refuse(&call->event, holds->actions.userdata) : -ENOTSUP;

	/* A process that is gone does the call no more than one whose call failed. */
	if (!error || error == -ESRCH) {
		if (!tells_end(call))
			tell_spared(holds, hold, call);
		return 0;
	}
	tell_spared(holds, hold, call);
	hold->killed = true;
	kill_process(holds, process);
	return error;
}

/*
 * Lets a process go on with the answers it has. SIGCONT is for all its threads: where one stands at a call that would
 * then be done, all wait for that answer.
 */
static void settle(struct holds *holds, const struct process_id *process)
{
	struct standing standing = look_at(holds, process);
	struct actor actor = {.process = *process, .tid = process->pid};
	struct hold_call *call;
	struct hold *hold;
	bool refused = false;

	if (standing.waits || !standing.answered)
		return;
	while ((call = take_answered(holds, process, ANSWER_APPROVED, &hold))) {
		drop_kept(holds, call);
		free(call);
	}
	while ((call = take_answered(holds, process, ANSWER_REFUSED, &hold))) {
		bool again = runs_again(call);
		int error = again ? 0 : carry_out_refusal(holds, process, hold, call);

		refused |= !again;
		free(call);
		if (error)
			return;
	}
	if (!refused && holds->actions.resume)
		holds->actions.resume(&actor, holds->actions.userdata);
}

static void answer_calls(struct hold *hold, enum answer answer)
{
	for (struct hold_call *call = hold->calls; call; call = call->next)
		call->answer = answer;
}

/* --- questions --- */

/* The narrowest answer that is in force for what a process was stopped at; NULL: none. */
static struct hold *find_answer(const struct holds *holds, const struct process_id *process,
				const struct session_id *session, uint32_t exec_id, uint32_t rule_key, uint64_t now)
{
	struct hold *found = NULL;

	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (hold->answer == ANSWER_NONE || hold->terms.rule_key != rule_key)
			continue;
		if (hold->scope == GRANT_PROCESS && hold->exec_id == exec_id && is_process(hold, process))
			return hold;
		if (hold->scope == GRANT_SESSION && hold->until > now && is_session(hold, session))
			found = hold;
	}
	return found;
}

static struct hold *find_open(const struct holds *holds, const struct process_id *process, uint32_t exec_id,
			      uint32_t rule_key)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next)
		if (hold->state == HOLD_OPEN && hold->terms.rule_key == rule_key && hold->exec_id == exec_id &&
		    is_process(hold, process))
			return hold;
	return NULL;
}

struct hold *holds_find(struct holds *holds, uint32_t number)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next)
		if (hold->number == number)
			return is_pending(hold) ? hold : NULL;
	return NULL;
}

struct hold *holds_of_process(struct holds *holds, uint32_t pid)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next)
		if (hold->state == HOLD_OPEN && hold->process->id.pid == pid)
			return hold;
	return NULL;
}

static int copy_terms(const struct hold_terms *terms, struct hold *hold)
{
	hold->terms = *terms;
	hold->terms.rule = terms->rule ? strdup(terms->rule) : NULL;
	hold->terms.message = terms->message ? strdup(terms->message) : NULL;
	return (terms->rule && !hold->terms.rule) || (terms->message && !hold->terms.message) ? -ENOMEM : 0;
}

static struct hold *hold_new(struct holds *holds, const struct event *event, struct process *process,
			     const struct hold_terms *terms, uint64_t now)
{
	struct hold *hold = calloc(1, sizeof(*hold));

	if (!hold)
		return NULL;
	hold->process = process_hold(process);
	if (copy_terms(terms, hold)) {
		hold_free(holds, hold);
		return NULL;
	}
	hold->number = ++holds->last_number;
	hold->session = event_actor(event)->session;
	hold->exec_id = hold_exec_id(event);
	hold->op = event_op(event);
	hold->tier = tier_of(event);
	hold->since = now;
	hold->deadline = now + terms->timeout;
	*holds->end = hold;
	holds->end = &hold->next;
	return hold;
}

static struct hold_call *call_new(const struct event *event, enum answer answer)
{
	struct span bytes = event_bytes(event);
	struct hold_call *call = malloc(sizeof(*call) + bytes.length);

	if (!call)
		return NULL;
	*call = (struct hold_call){.event = *event, .answer = answer};
	memcpy(call->record, bytes.data, bytes.length);
	call->event.bytes = call->record;
	return call;
}

static void drop_thread(struct hold *hold, uint32_t tid)
{
	for (struct hold_call **at = &hold->calls; *at; at = &(*at)->next) {
		struct hold_call *call = *at;

		if (event_actor(&call->event)->tid != tid)
			continue;
		*at = call->next;
		free(call);
		return;
	}
}

/* A thread stands at one call: an earlier one of it was passed by somebody's SIGCONT. */
static void add_call(struct hold *hold, struct hold_call *call)
{
	drop_thread(hold, event_actor(&call->event)->tid);
	call->next = hold->calls;
	hold->calls = call;
	hold->operations += 1;
}

/* A call that comes when the answer is there: it was under way, or is a statement, which no grant lets pass. */
static void settle_late(struct holds *holds, struct hold *hold, const struct event *event)
{
	const struct actor *actor = event_actor(event);

	if (is_process(hold, &actor->process)) {
		settle(holds, &actor->process);
		return;
	}
	/* An approval for the session, given to another process of it. */
	drop_thread(hold, actor->tid);
	if (tier_of(event) != TIER_LSM && holds->actions.drop_held)
		holds->actions.drop_held(actor, holds->actions.userdata);
	if (!look_at(holds, &actor->process).waits && holds->actions.resume)
		holds->actions.resume(actor, holds->actions.userdata);
}

int holds_stopped(struct holds *holds, const struct event *event, struct process *process,
		  const struct hold_terms *terms, uint64_t now, struct hold **ret_hold, bool *ret_new)
{
	const struct actor *actor = event_actor(event);
	uint32_t exec_id = hold_exec_id(event);
	struct hold *hold = find_answer(holds, &actor->process, &actor->session, exec_id, terms->rule_key, now);
	struct hold_call *call = call_new(event, hold ? hold->answer : ANSWER_NONE);
	bool answered = hold, begun = false;

	if (!call)
		return -ENOMEM;
	if (!hold)
		hold = find_open(holds, &actor->process, exec_id, terms->rule_key);
	if (!hold) {
		hold = hold_new(holds, event, process, terms, now);
		begun = true;
	}
	if (!hold) {
		free(call);
		return -ENOMEM;
	}
	add_call(hold, call);
	if (answered)
		settle_late(holds, hold, event);
	else if (!runs_again(call) && holds->actions.secure)
		holds->actions.secure(actor, holds->actions.userdata);
	*ret_hold = hold;
	*ret_new = begun;
	return 0;
}

void holds_call_ended(struct holds *holds, const struct event *event)
{
	const struct actor *actor = event_actor(event);

	for (struct hold *hold = holds->first; hold; hold = hold->next)
		if (is_process(hold, &actor->process))
			drop_thread(hold, actor->tid);
}

/* --- ends --- */

void holds_process_ended(struct holds *holds, const struct process_id *process, uint64_t now)
{
	bool any = false;

	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (!is_process(hold, process))
			continue;
		any = true;
		hold->nudge = false;
		spare_calls(holds, hold);
		if (hold->scope != GRANT_SESSION || hold->answer == ANSWER_NONE)
			drop_answer(holds, hold);
		if (hold->state == HOLD_OPEN)
			set_state(holds, hold, HOLD_GONE, now);
	}
	if (any)
		sweep(holds);
}

void holds_process_exec(struct holds *holds, const struct process_id *process, uint64_t now)
{
	bool any = false;

	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		/* Of a call that was taken over from a lost daemon it may be told only now how its program began. */
		if (!is_process(hold, process) || hold->since > now)
			continue;
		any = true;
		spare_calls(holds, hold);
		if (hold->scope != GRANT_SESSION || hold->answer == ANSWER_NONE)
			drop_answer(holds, hold);
		if (hold->state != HOLD_OPEN)
			continue;
		/* Another thread had the process become this program while the call stood: the stop is still there. */
		hold->nudge = true;
		hold->until = now + NUDGE_NS;
		set_state(holds, hold, HOLD_GONE, now);
	}
	if (any)
		sweep(holds);
}

void holds_session_ended(struct holds *holds, const struct session_id *session)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next)
		if (hold->scope == GRANT_SESSION && is_session(hold, session))
			drop_answer(holds, hold);
	sweep(holds);
}

/* --- answers --- */

static int remember_object(struct hold *hold, const struct grant_key *key)
{
	struct grant_key *grown = reallocarray(hold->objects, hold->object_count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	hold->objects = grown;
	grown[hold->object_count++] = *key;
	return 0;
}

/* Once: each call that stands stopped now, bound to the very object it is about. */
static int approve_once(struct holds *holds, struct hold *hold)
{
	for (struct hold_call *call = hold->calls; call; call = call->next) {
		struct grant_key key = key_of(hold, GRANT_OBJECT);
		const struct record_op *op = &call->event.op;
		int error;

		if (!runs_again(call))
			continue;
		key.ino = op->target.ino;
		key.dev = op->target.dev;
		key.op = op->op;
		error = put_grant(holds, hold, &key, ANSWER_APPROVED, 0);
		if (!error)
			error = remember_object(hold, &key);
		if (error)
			return error;
	}
	answer_calls(hold, ANSWER_APPROVED);
	return 0;
}

/* The other questions of the session under the same rule have their answer by this one. */
static void answer_session(struct holds *holds, const struct hold *answered, uint64_t now)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (hold == answered || hold->state != HOLD_OPEN || hold->terms.rule_key != answered->terms.rule_key ||
		    !is_session(hold, &answered->session))
			continue;
		answer_calls(hold, ANSWER_APPROVED);
		settle(holds, &hold->process->id);
		set_state(holds, hold, HOLD_APPROVED, now);
	}
}

static int approve(struct holds *holds, struct hold *hold, enum grant_scope scope, uint64_t until)
{
	struct grant_key key = key_of(hold, scope);
	int error;

	if (scope == GRANT_OBJECT)
		return approve_once(holds, hold);
	error = put_grant(holds, hold, &key, ANSWER_APPROVED, scope == GRANT_SESSION ? until : 0);
	if (error)
		return error;
	hold->scope = scope;
	hold->answer = ANSWER_APPROVED;
	if (scope == GRANT_SESSION)
		hold->until = until;
	answer_calls(hold, ANSWER_APPROVED);
	return 0;
}

/* From now on every call that the rule holds of this process fails at once. */
static int refuse(struct holds *holds, struct hold *hold)
{
	struct grant_key key = key_of(hold, GRANT_PROCESS);
	int error = put_grant(holds, hold, &key, ANSWER_REFUSED, 0);

	if (error)
		return error;
	hold->scope = GRANT_PROCESS;
	hold->answer = ANSWER_REFUSED;
	answer_calls(hold, ANSWER_REFUSED);
	return 0;
}

/* Puts a verdict in force for an open question; the state is the caller's to set before the process goes on. */
static int put_in_force(struct holds *holds, struct hold *hold, const struct hold_decision *decision, uint64_t until)
{
	if (decision->verdict == VERDICT_ALLOW)
		return approve(holds, hold, decision->scope, until);
	return decision->verdict == VERDICT_DENY ? refuse(holds, hold) : 0;
}

static void carry_out(struct holds *holds, struct hold *hold, enum verdict verdict, uint64_t now)
{
	struct process_id process = hold->process->id;

	if (verdict != VERDICT_ALLOW && holds->actions.tell)
		holds->actions.tell(hold, verdict, holds->actions.userdata);
	if (verdict == VERDICT_KILL)
		kill_process(holds, &process);
	else
		settle(holds, &process);
	if (hold->answer == ANSWER_APPROVED && hold->scope == GRANT_SESSION)
		answer_session(holds, hold, now);
}

static int decide_open(struct holds *holds, struct hold *hold, const struct hold_decision *decision, uint64_t now)
{
	static const enum hold_state states[VERDICT_COUNT] = {
		[VERDICT_ALLOW] = HOLD_APPROVED, [VERDICT_DENY] = HOLD_DENIED, [VERDICT_KILL] = HOLD_KILLED};
	uint64_t until = now + (decision->duration ? decision->duration : hold->terms.lease);
	int error = put_in_force(holds, hold, decision, until);

	if (error)
		return error;
	hold->state = states[decision->verdict];
	carry_out(holds, hold, decision->verdict, now);
	announce(holds, hold, now);
	return 0;
}

/* The call has failed long since: what can still be approved is that the session tries again. */
static int decide_late(struct holds *holds, struct hold *hold, const struct hold_decision *decision, uint64_t now)
{
	uint64_t until = now + (decision->duration ? decision->duration : hold->terms.lease);
	int error = 0;

	if (decision->verdict == VERDICT_ALLOW) {
		drop_answer(holds, hold);
		error = approve(holds, hold, GRANT_SESSION, until);
	}
	if (error)
		return error;
	set_state(holds, hold, decision->verdict == VERDICT_ALLOW ? HOLD_APPROVED : HOLD_DENIED, now);
	if (decision->verdict == VERDICT_ALLOW)
		answer_session(holds, hold, now);
	if (decision->verdict == VERDICT_KILL && hold->process->alive)
		kill_process(holds, &hold->process->id);
	return 0;
}

int holds_decide(struct holds *holds, uint32_t number, const struct hold_decision *decision, uint64_t now)
{
	struct hold *hold = holds_find(holds, number);
	int error;

	if (!hold)
		return -ENOENT;
	error = hold->state == HOLD_OPEN ? decide_open(holds, hold, decision, now)
					 : decide_late(holds, hold, decision, now);
	sweep(holds);
	return error;
}

/* The oldest of too many that are kept behind their deadline. */
static void bound_timed_out(struct holds *holds, uint64_t now)
{
	struct hold *oldest = NULL;
	size_t count = 0;

	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (hold->state != HOLD_TIMED_OUT)
			continue;
		count += 1;
		if (!oldest || hold->since < oldest->since)
			oldest = hold;
	}
	if (count > HOLDS_TIMED_OUT_MAX)
		set_state(holds, oldest, HOLD_EXPIRED, now);
}

/* Nobody answered: the rule does. What it refuses stays a question, what it allows is done. */
static void time_out(struct holds *holds, struct hold *hold, uint64_t now)
{
	struct hold_decision decision = {.verdict = hold->terms.on_timeout, .scope = GRANT_PROCESS};

	/* An answer that does not reach the kernel leaves nothing but the end of the process. */
	if (put_in_force(holds, hold, &decision, 0))
		decision.verdict = VERDICT_KILL;
	hold->killed = decision.verdict == VERDICT_KILL;
	hold->until = now + hold->terms.lease;
	hold->state = HOLD_TIMED_OUT;
	carry_out(holds, hold, decision.verdict, now);
	announce(holds, hold, now);
	if (decision.verdict == VERDICT_ALLOW)
		hold->state = HOLD_APPROVED;
	bound_timed_out(holds, now);
}

size_t holds_release(struct holds *holds, uint64_t now)
{
	size_t count = 0;

	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (hold->state != HOLD_OPEN)
			continue;
		time_out(holds, hold, now);
		count += 1;
	}
	sweep(holds);
	return count;
}

static void end_nudge(struct holds *holds, struct hold *hold)
{
	struct actor actor = {.process = hold->process->id, .tid = hold->process->id.pid};

	hold->nudge = false;
	if (!look_at(holds, &actor.process).waits && holds->actions.resume)
		holds->actions.resume(&actor, holds->actions.userdata);
}

/* When something is due for this one. */
static uint64_t due(const struct hold *hold)
{
	if (hold->state == HOLD_OPEN)
		return hold->deadline;
	if (hold->state == HOLD_TIMED_OUT || hold->nudge ||
	    (hold->answer != ANSWER_NONE && hold->scope == GRANT_SESSION))
		return hold->until;
	return UINT64_MAX;
}

void holds_expire(struct holds *holds, uint64_t now)
{
	for (struct hold *hold = holds->first; hold; hold = hold->next) {
		if (due(hold) > now)
			continue;
		if (hold->state == HOLD_OPEN)
			time_out(holds, hold, now);
		else if (hold->state == HOLD_TIMED_OUT)
			set_state(holds, hold, HOLD_EXPIRED, now);
		else if (hold->nudge)
			end_nudge(holds, hold);
		else
			drop_answer(holds, hold);
	}
	sweep(holds);
}

uint64_t holds_next(const struct holds *holds)
{
	uint64_t next = UINT64_MAX;

	for (const struct hold *hold = holds->first; hold; hold = hold->next)
		next = MIN(next, due(hold));
	return next;
}

/* --- all of them --- */

int holds_for_each(struct holds *holds, int (*each)(struct hold *hold, void *userdata), void *userdata)
{
	int r = 0;

	for (struct hold *hold = holds->first, *next; hold && !r; hold = next) {
		next = hold->next;
		if (is_pending(hold))
			r = each(hold, userdata);
	}
	return r;
}

size_t holds_open(const struct holds *holds)
{
	size_t count = 0;

	for (const struct hold *hold = holds->first; hold; hold = hold->next)
		count += hold->state == HOLD_OPEN;
	return count;
}

size_t holds_kept(const struct holds *holds)
{
	size_t count = 0;

	for (const struct hold *hold = holds->first; hold; hold = hold->next)
		count += 1;
	return count;
}

int holds_new(const struct hold_actions *actions, struct sessions *sessions, struct holds **ret_holds)
{
	struct holds *holds = calloc(1, sizeof(*holds));

	if (!holds)
		return -ENOMEM;
	holds->actions = *actions;
	holds->sessions = sessions;
	holds->end = &holds->first;
	*ret_holds = holds;
	return 0;
}

void holds_free(struct holds *holds)
{
	if (!holds)
		return;
	while (holds->first)
		unlink_hold(holds, holds->first);
	free(holds);
}
