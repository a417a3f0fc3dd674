/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What stands stopped: put to people, answered, and told to the process itself. */
#include "pipeline_internal.h"

#define LINE_BYTES 1024 /* of what a process is told */

/* --- what questions have done to processes --- */

static int do_grant(const struct grant_key *key, const struct grant *grant, void *userdata)
{
	struct pipeline *pipeline = userdata;

	return pipeline->actions.grant ? pipeline->actions.grant(key, grant, pipeline->actions.userdata) : 0;
}

static void do_revoke(const struct grant_key *key, void *userdata)
{
	struct pipeline *pipeline = userdata;

	if (pipeline->actions.revoke)
		pipeline->actions.revoke(key, pipeline->actions.userdata);
}

static void do_drop_held(const struct actor *actor, void *userdata)
{
	struct pipeline *pipeline = userdata;

	if (pipeline->actions.drop_held)
		pipeline->actions.drop_held(actor, pipeline->actions.userdata);
}

static int do_resume(const struct actor *actor, void *userdata)
{
	struct pipeline *pipeline = userdata;

	return pipeline->actions.resume ? pipeline->actions.resume(actor, pipeline->actions.userdata) : 0;
}

static int do_kill(const struct actor *actor, void *userdata)
{
	struct pipeline *pipeline = userdata;

	return pipeline->actions.kill ? pipeline->actions.kill(actor, pipeline->actions.userdata) : 0;
}

static int do_refuse(const struct event *event, void *userdata)
{
	struct pipeline *pipeline = userdata;

	return pipeline->actions.refuse ? pipeline->actions.refuse(event, pipeline->actions.userdata) : 0;
}

static void do_secure(const struct actor *actor, void *userdata)
{
	struct pipeline *pipeline = userdata;

	if (pipeline->actions.secure)
		pipeline->actions.secure(actor, pipeline->actions.userdata);
}

static void spared(const struct hold *hold, const struct event *event, void *userdata)
{
	(void)userdata;
	session_spare(hold->process->session, event);
}

/* --- what a process is told --- */

/* WHAT: rule 'R' (hold N): MESSAGE MORE */
static void tell(struct pipeline *pipeline, const struct process_id *process, const char *what, const char *rule,
		 uint32_t number, const char *message, const char *more)
{
	char line[LINE_BYTES], of[128] = "the policy's default", hold[32] = "";
	int length;

	if (!pipeline->actions.tell || !pipeline->policy || !policy_tells(pipeline->policy))
		return;
	if (rule)
		snprintf(of, sizeof(of), "rule '%s'", rule);
	if (number)
		snprintf(hold, sizeof(hold), " (hold %u)", number);
	length = snprintf(line, sizeof(line) - 1, "reprieve: %s: %s%s%s%s%s%s", what, of, hold,
			  message || *more ? ": " : "", message ? message : "", message && *more ? " " : "", more);
	length = MIN(length, (int)sizeof(line) - 2);
	for (int i = 0; i < length; i++)
		if (line[i] == '\n' || line[i] == '\r')
			line[i] = ' ';
	line[length++] = '\n';
	pipeline->actions.tell(process, line, (size_t)length, pipeline->actions.userdata);
}

static void tell_held(struct pipeline *pipeline, const struct hold *hold)
{
	char more[96];

	snprintf(more, sizeof(more), "Waiting for a person, at most %u s.",
		 (unsigned int)((hold->terms.timeout + NSEC_PER_SEC - 1) / NSEC_PER_SEC));
	tell(pipeline, &hold->process->id, "held", hold->terms.rule, hold->number, hold->terms.message, more);
}

/* Has the process been told of this rule already? It has now. */
static bool was_told(struct process *process, uint32_t rule_key)
{
	for (size_t i = 0; i < TOLD_RULES; i++) {
		if (process->told[i] == rule_key)
			return true;
		if (process->told[i])
			continue;
		process->told[i] = rule_key;
		return false;
	}
	return true;
}

/* The question's deadline has passed, or a person has said no. */
static void tell_refused(const struct hold *hold, enum verdict verdict, void *userdata)
{
	struct pipeline *pipeline = userdata;
	char more[128] = "";

	was_told(hold->process, hold->terms.rule_key);
	if (hold->state == HOLD_TIMED_OUT && verdict == VERDICT_DENY)
		snprintf(more, sizeof(more), "Nobody answered; if it is approved later, trying again will work.");
	tell(pipeline, &hold->process->id, verdict == VERDICT_KILL ? "killed" : "denied", hold->terms.rule,
	     hold->number, hold->terms.message, more);
}

void pipeline_tell_denied(struct pipeline *pipeline, const struct event *event, struct process *process,
			  const struct policy *policy, struct decision decision)
{
	const struct policy_rule *rule = policy ? policy_rule(policy, decision.rule) : NULL;
	uint32_t flags = event_op_flags(event), done = OP_ACTED | OP_CONSULT;

	if (!process || !policy || decision.verdict == VERDICT_KILL || !(flags & done) || flags & OP_APPROVED)
		return;
	if (was_told(process, pipeline_rule_key(policy, decision.rule)))
		return;
	tell(pipeline, &process->id, "denied", rule ? rule->name : NULL, 0, rule ? rule->message : NULL, "");
}

/* --- events --- */

/* op: enum op, or -1 */
static void give_out_object(struct pipeline *pipeline, const char *kind, json_t *fields, const struct session *session,
			    int op, uint64_t now)
{
	if (fields && !event_json_object(&pipeline->writer, kind, now, fields, &pipeline->line))
		pipeline_give_out(pipeline, session, op, VERDICT_HOLD);
	json_decref(fields);
}

/* change: what this event tells of, in one word. */
static void tell_hold(struct pipeline *pipeline, const struct hold *hold, const char *change, uint64_t now)
{
	json_t *fields = hold_json(hold, &pipeline->writer.clock, now);

	if (pipeline->actions.hold_changed)
		pipeline->actions.hold_changed(hold, change, now, pipeline->actions.userdata);
	if (fields)
		json_object_set_new(fields, "change", json_string(change));
	give_out_object(pipeline, "hold", fields, hold->process->session, (int)hold->op, now);
}

static void changed(const struct hold *hold, uint64_t now, void *userdata)
{
	tell_hold(userdata, hold, hold->state == HOLD_TIMED_OUT ? "timed-out" : "closed", now);
}

int pipeline_open_holds(struct pipeline *pipeline)
{
	struct hold_actions actions = {.grant = do_grant,
				       .revoke = do_revoke,
				       .drop_held = do_drop_held,
				       .resume = do_resume,
				       .kill = do_kill,
				       .refuse = do_refuse,
				       .secure = do_secure,
				       .tell = tell_refused,
				       .changed = changed,
				       .spared = spared,
				       .userdata = pipeline};

	return holds_new(&actions, pipeline->sessions, &pipeline->holds);
}

/* --- records --- */

uint32_t pipeline_rule_key(const struct policy *policy, uint16_t rule)
{
	if (!policy || rule >= policy_rule_count(policy))
		return HOLD_BY_DEFAULT;
	return policy_image(policy)->rules.name_key[rule];
}

static struct hold_terms terms_of(const struct event *event, const struct policy *policy, struct decision decision)
{
	const struct policy_rule *rule = policy ? policy_rule(policy, decision.rule) : NULL;
	struct hold_terms terms = {.timeout = TIMEOUT_DEFAULT, .lease = LEASE_DEFAULT, .on_timeout = VERDICT_DENY};

	terms.rule_key = pipeline_rule_key(policy, decision.rule);
	if (event->head.kind == RECORD_OP && event->op.rule_key)
		terms.rule_key = event->op.rule_key;
	if (!rule)
		return terms;
	terms.rule = rule->name;
	terms.message = rule->message;
	terms.timeout = rule->timeout;
	terms.lease = rule->lease;
	terms.on_timeout = rule->on_timeout;
	return terms;
}

static uint32_t *flags_of(struct event *event)
{
	return event->head.kind == RECORD_SQL ? &event->sql.flags : &event->op.flags;
}

/* Nothing can be asked, for want of memory: what stands stopped ends. */
static void end_process(struct pipeline *pipeline, struct event *event)
{
	uint32_t *flags = flags_of(event);

	*flags &= ~(OP_HELD | OP_CONSULT);
	*flags |= do_kill(event_actor(event), pipeline) ? OP_ACT_FAILED : OP_ACTED | OP_DENIED_INSTEAD;
	log_error("out of memory: process %u, which was to be held, is killed", event_actor(event)->process.pid);
}

struct hold *pipeline_hold(struct pipeline *pipeline, struct event *event, struct process *process,
			   const struct policy *policy, struct decision decision, bool *ret_new)
{
	struct hold_terms terms = terms_of(event, policy, decision);
	uint32_t *flags = flags_of(event);
	struct hold *hold = NULL;
	bool begun = false;

	if (event->head.time < pipeline->resumed)
		terms.timeout += pipeline->resumed - event->head.time;
	if (!process || holds_stopped(pipeline->holds, event, process, &terms, event->head.time, &hold, &begun)) {
		end_process(pipeline, event);
		return NULL;
	}
	*ret_new = begun;
	/* On the lsm tier the call runs again, and its end is told by a record of its own. */
	if (event->head.kind == RECORD_SQL)
		*flags |= hold->state == HOLD_OPEN	   ? OP_HELD
			  : hold->answer == ANSWER_REFUSED ? OP_REFUSED | OP_ACTED
							   : OP_APPROVED;
	return hold;
}

void pipeline_hold_facts(struct pipeline *pipeline, struct hold *hold)
{
	hold->facts = hold_facts(pipeline->line.data, pipeline->line.length, hold->process);
}

/* Without a look at more, the one operation is what is at stake. */
static void stake_of_call(struct hold *hold)
{
	const struct event *event = hold->calls ? &hold->calls->event : NULL;

	if (!event || event->head.kind != RECORD_OP || !(event->op.flags & OP_SIZE_KNOWN))
		return;
	hold->stake.files = event->op.op == OP_RMDIR ? 0 : 1;
	hold->stake.directories = event->op.op == OP_RMDIR;
	hold->stake.bytes = event->op.op == OP_RMDIR ? 0 : event->op.target.size;
	hold->stake.known = true;
	hold->stake.at_least = true;
	hold->stake.note = "this one operation; what else the program means to do is not known";
}

void pipeline_hold_begun(struct pipeline *pipeline, struct hold *hold, uint64_t now)
{
	stake_of_call(hold);
	tell_hold(pipeline, hold, "opened", now);
	tell_held(pipeline, hold);
	if (pipeline->actions.weigh)
		pipeline->actions.weigh(hold, pipeline->actions.userdata);
}

void pipeline_hold_woken(struct pipeline *pipeline, const struct event *event)
{
	struct hold *hold = holds_of_process(pipeline->holds, (uint32_t)event->tamper.detail);
	json_t *fields = hold && !hold->woken ? hold_json(hold, &pipeline->writer.clock, event->head.time) : NULL;

	if (!fields)
		return;
	hold->woken = true;
	json_object_set_new(fields, "change", json_string("woken"));
	json_object_set_new(fields, "by", json_pack("{s:I}", "pid", (json_int_t)event->tamper.actor.process.pid));
	give_out_object(pipeline, "hold", fields, hold->process->session, (int)hold->op, event->head.time);
}

enum verdict pipeline_refuse(struct pipeline *pipeline, struct event *event)
{
	const struct actor *actor = event_actor(event);
	uint32_t *flags = flags_of(event);
	int error = do_refuse(event, pipeline);

	if (error && error != -ESRCH) {
		log_warning("process %u: its call cannot be made to fail (%s), it is killed instead",
			    actor->process.pid, strerror(-error));
		*flags |= do_kill(actor, pipeline) ? OP_ACT_FAILED : OP_ACTED;
		return VERDICT_KILL;
	}
	*flags |= OP_ACTED;
	return VERDICT_DENY;
}

/* --- people --- */

struct holds *pipeline_holds(struct pipeline *pipeline)
{
	return pipeline->holds;
}

static void tell_review(struct pipeline *pipeline, uint32_t number, const struct hold_decision *decision,
			const struct reviewer *by, const char *reason, const char *error, uint64_t now)
{
	const struct hold *hold = holds_find(pipeline->holds, number);
	json_t *fields = review_json(hold, number, decision, by, reason, error, now);

	give_out_object(pipeline, "review", fields, hold ? hold->process->session : NULL, hold ? (int)hold->op : -1,
			now);
}

int pipeline_decide(struct pipeline *pipeline, uint32_t number, const struct hold_decision *decision,
		    const struct reviewer *by, const char *reason, uint64_t now)
{
	struct hold_decision meant = *decision;
	const struct hold *hold = holds_find(pipeline->holds, number);

	if (!hold)
		return -ENOENT;
	/* The call is past: what is approved is another try. */
	if (hold->state == HOLD_TIMED_OUT && meant.verdict == VERDICT_ALLOW)
		meant.scope = GRANT_SESSION;
	if (meant.verdict == VERDICT_ALLOW && meant.scope == GRANT_SESSION && !meant.duration)
		meant.duration = hold->terms.lease;
	tell_review(pipeline, number, &meant, by, reason, NULL, now);
	return holds_decide(pipeline->holds, number, &meant, now);
}

void pipeline_refuse_review(struct pipeline *pipeline, uint32_t number, const struct hold_decision *decision,
			    const struct reviewer *by, const char *error, uint64_t now)
{
	tell_review(pipeline, number, decision, by, NULL, error, now);
}

void pipeline_set_stake(struct pipeline *pipeline, uint32_t number, const struct hold_stake *stake, uint64_t now)
{
	struct hold *hold = holds_find(pipeline->holds, number);

	if (!hold)
		return;
	hold->stake = *stake;
	tell_hold(pipeline, hold, "stake", now);
}

struct pending {
	struct pipeline *pipeline;
	json_t *array;
	uint64_t now;
};

static int add_pending(struct hold *hold, void *userdata)
{
	struct pending *pending = userdata;
	json_t *object = hold_json(hold, &pending->pipeline->writer.clock, pending->now);

	return json_array_append_new(pending->array, object) ? -ENOMEM : 0;
}

json_t *pipeline_pending(struct pipeline *pipeline, uint64_t now)
{
	struct pending pending = {pipeline, json_array(), now};

	if (!pending.array || holds_for_each(pipeline->holds, add_pending, &pending)) {
		json_decref(pending.array);
		return NULL;
	}
	return json_pack("{s:o}", "holds", pending.array);
}
