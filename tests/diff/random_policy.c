/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "random_policy.h"

#include "buffer.h"

static uint64_t random_state;

void random_seed(uint64_t seed)
{
	random_state = seed;
}

/* splitmix64: any seed is good, and so is any following one. */
uint64_t random_word(void)
{
	uint64_t word = random_state += 0x9e3779b97f4a7c15ULL;

	word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ULL;
	word = (word ^ word >> 27) * 0x94d049bb133111ebULL;
	return word ^ word >> 31;
}

uint32_t random_below(uint32_t limit)
{
	return (uint32_t)((random_word() >> 32) * limit >> 32);
}

bool one_in(uint32_t times)
{
	return !random_below(times);
}

#define PICK(array) ((array)[random_below(ARRAY_SIZE(array))])

/* --- Globs, each with a path that it matches --- */

/* Few and alike, so that the globs of different rules overlap. */
static const char *const words[] = {
	"srv",	 "app",	 "home", "var",		 "data",     "uploads", "tmp",	  "a", "b",    "ab",
	"x.log", ".git", "HEAD", "node_modules", "\xc3\xbc", "we ird",	"shared", "1", "db-2", "_",
};

static const char *const suffixes[] = {".log", ".jpg", "~", ".tmp.1"};

struct glob_draft {
	struct buffer glob;
	struct buffer sample;
	uint32_t
		floating; /* how many more globs of the policy may match at any depth: they multiply each other's states */
	bool crowded; /* many rules: fewer wildcards, for the same reason, and none that takes what later ones ask for */
};

static void add_both(struct glob_draft *draft, const char *glob, const char *sample)
{
	buffer_text(&draft->glob, glob);
	buffer_text(&draft->sample, sample);
}

static void add_word(struct glob_draft *draft)
{
	const char *word = PICK(words);

	add_both(draft, word, word);
}

static void add_star(struct glob_draft *draft)
{
	const char *suffix = PICK(suffixes);

	switch (random_below(3)) {
	case 0:
		add_both(draft, "*", PICK(words));
		return;
	case 1:
		add_both(draft, "*", PICK(words));
		add_both(draft, suffix, suffix);
		return;
	}
	add_word(draft);
	add_both(draft, "*", one_in(2) ? "" : PICK(suffixes));
}

static void add_class(struct glob_draft *draft)
{
	static const char *const classes[][2] = {{"[a-c]", "b"},  {"[!a-z]", "Q"}, {"[^0-9]", "\xc3\xa4"},
						 {"[0-9_]", "_"}, {"?", "z"},	   {"\\*", "*"}};
	const char *const *class = PICK(classes);

	if (one_in(2))
		add_word(draft);
	add_both(draft, class[0], class[1]);
	if (one_in(3))
		add_star(draft);
}

/* {one,other}, perhaps with '/' in it or with another pair inside; the sample takes either. */
static void add_braces(struct glob_draft *draft)
{
	const char *one = PICK(words), *other = PICK(words);

	buffer_format(&draft->glob, "{%s,", one);
	switch (random_below(3)) {
	case 0:
		buffer_format(&draft->glob, "%s/%s}", other, one);
		buffer_format(&draft->sample, "%s/%s", other, one);
		return;
	case 1:
		buffer_format(&draft->glob, "{%s,%s}*}", other, one);
		buffer_format(&draft->sample, "%sx", other);
		return;
	}
	buffer_format(&draft->glob, "%s}", other);
	buffer_text(&draft->sample, one);
}

static void add_any_depth(struct glob_draft *draft)
{
	buffer_text(&draft->glob, "**");
	for (uint32_t i = 1 + random_below(3); i; i--)
		buffer_format(&draft->sample, i > 1 ? "%s/" : "%s", PICK(words));
}

static void add_component(struct glob_draft *draft, bool last)
{
	switch (random_below(draft->crowded ? 64 : 16)) {
	case 0:
	case 1:
		add_star(draft);
		return;
	case 2:
		add_class(draft);
		return;
	case 3:
		add_braces(draft);
		return;
	case 4:
		if (!last && !one_in(draft->crowded ? 32 : 4))
			break;
		add_any_depth(draft);
		return;
	}
	add_word(draft);
}

static void draft_path(struct glob_draft *draft)
{
	uint32_t components = 1 + random_below(4);

	buffer_clear(&draft->glob);
	buffer_clear(&draft->sample);
	if (draft->floating && one_in(8)) {
		draft->floating--;
		buffer_char(&draft->sample, '/');
		add_any_depth(draft);
	}
	for (uint32_t i = 0; i < components; i++) {
		add_both(draft, "/", "/");
		add_component(draft, i + 1 == components);
	}
	if (one_in(3)) {
		add_both(draft, "/", "/");
		add_any_depth(draft);
	}
}

/* --- Rules --- */

struct draft {
	struct random_policy *random;
	struct glob_draft path;
	struct buffer text;
	char *rules[RULES_MAX]; /* one line each; NULL: left out */
	uint32_t rule_count;
	uint32_t first_line; /* of the rules, in the text */
};

static void keep_sample(struct random_policy *random, struct buffer *sample)
{
	const char *text = buffer_string(sample);
	char *copy;

	if (!text || strlen(text) > PATH_BYTES || random->sample_count == SAMPLES_MAX)
		return;
	copy = strdup(text);
	if (copy)
		random->samples[random->sample_count++] = copy;
}

static void add_paths(struct draft *draft, struct buffer *rule, const char *key)
{
	uint32_t count = 1 + random_below(one_in(3) ? 4 : 1);

	buffer_format(rule, ", %s: [", key);
	for (uint32_t i = 0; i < count; i++) {
		draft_path(&draft->path);
		buffer_format(rule, "%s'%s'", i ? ", " : "", buffer_string(&draft->path.glob));
		keep_sample(draft->random, &draft->path.sample);
	}
	buffer_char(rule, ']');
}

static void add_list(struct buffer *rule, const char *key, const char *const *names, size_t count)
{
	uint32_t first = random_below((uint32_t)count), more = 1 + random_below((uint32_t)count);

	buffer_format(rule, ", %s: [%s", key, names[first]);
	for (uint32_t i = 1; i < more; i++)
		buffer_format(rule, ", %s", names[(first + i) % count]);
	buffer_char(rule, ']');
}

static const char *const file_ops[] = {"unlink", "rmdir", "rename", "truncate", "overwrite"};

static void add_file_rule(struct draft *draft, struct buffer *rule)
{
	bool asks = false;

	if (one_in(4))
		buffer_text(rule, ", op: [delete]");
	else if (!one_in(3))
		add_list(rule, "op", file_ops, ARRAY_SIZE(file_ops));
	if (draft->path.crowded || !one_in(5)) {
		add_paths(draft, rule, "path");
		asks = true;
	}
	if (one_in(4)) {
		add_paths(draft, rule, "path_not");
		asks = true;
	}
	if (!asks || one_in(3))
		buffer_format(rule, ", workspace: %s", one_in(2) ? "inside" : "outside");
}

static void add_sql_rule(struct draft *draft, struct buffer *rule)
{
	const char *names[SQL_UPDATE + 1];

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		names[i] = sql_class_name(i);
	buffer_text(rule, ", op: [sql]");
	if (!one_in(5))
		add_list(rule, "sql", names, ARRAY_SIZE(names));
	if (draft->path.crowded || one_in(4))
		buffer_text(rule, ", database: ['prod*', app]");
	if (one_in(5))
		buffer_text(rule, ", host: ['*.internal', '10.0.0.0/8']");
	if (one_in(6))
		buffer_text(rule, ", tables: ['public.*']");
}

static void add_exec_rule(struct draft *draft, struct buffer *rule)
{
	buffer_text(rule, ", op: [exec]");
	if (one_in(2))
		add_paths(draft, rule, "path");
	buffer_format(rule, ", args: ['%s *%s*']", PICK(words), PICK(suffixes));
}

static void add_any_rule(struct draft *draft, struct buffer *rule)
{
	static const char *const ops[] = {"unlink", "rename", "rawwrite", "sql", "exec", "overwrite"};

	(void)draft;
	if (!one_in(3))
		add_list(rule, "op", ops, ARRAY_SIZE(ops));
	if (one_in(2))
		buffer_format(rule, ", user: [%u]", random_below(3));
	buffer_format(rule, ", rate: %u/10s", 1 + random_below(9));
}

static void add_agents_asked(struct draft *draft, struct buffer *rule)
{
	uint32_t agents = draft->random->agents, first = random_below(agents), count = 1 + random_below(3);

	buffer_format(rule, ", agent: [a%u", first);
	for (uint32_t i = 1; i < count && i < agents; i++)
		buffer_format(rule, ", a%u", (first + i) % agents);
	buffer_char(rule, ']');
}

static int draft_rule(struct draft *draft, uint32_t number)
{
	static void (*const kinds[])(struct draft *, struct buffer *) = {
		add_file_rule, add_file_rule, add_file_rule, add_file_rule, add_file_rule,
		add_sql_rule,  add_sql_rule,  add_exec_rule, add_any_rule,
	};
	struct buffer rule = {};
	const char *text;

	buffer_format(&rule, "  - {name: r%u", number);
	PICK(kinds)(draft, &rule);
	if (draft->random->agents && one_in(4))
		add_agents_asked(draft, &rule);
	buffer_format(&rule, ", action: %s}\n", verdict_name(random_below(VERDICT_COUNT)));
	text = buffer_string(&rule);
	draft->rules[number] = text ? strdup(text) : NULL;
	buffer_free(&rule);
	return draft->rules[number] ? 0 : -ENOMEM;
}

static int draft_rules(struct draft *draft)
{
	int error = 0;

	draft->rule_count = one_in(8) ? RULES_MAX : 1 + random_below(one_in(4) ? RULES_MAX : 16);
	draft->path.floating = random_below(5);
	draft->path.crowded = draft->rule_count > 24;
	for (uint32_t i = 0; !error && i < draft->rule_count; i++)
		error = draft_rule(draft, i);
	return error;
}

/* --- The policy --- */

/* Writes the text; the rules begin in first_line. Returns it, or NULL: out of memory. */
static const char *write_text(struct draft *draft, enum verdict otherwise)
{
	struct buffer *text = &draft->text;
	uint32_t line = 1;

	buffer_clear(text);
	buffer_format(text, "version: 1\nmode: %s\ndefault: %s\n", draft->rule_count & 1 ? "enforce" : "observe",
		      verdict_name(otherwise));
	buffer_text(text, "agents:\n  - builtin: false\n");
	for (uint32_t i = 0; i < draft->random->agents; i++)
		buffer_format(text, "  - {name: a%u, %s}\n", i, i % 8 ? "env: [AGENT]" : "exe: ['/opt/*/agent']");
	buffer_text(text, "rules:\n");
	for (const char *c = buffer_string(text); c && *c; c++)
		line += *c == '\n';
	draft->first_line = line;
	for (uint32_t i = 0; i < draft->rule_count; i++)
		buffer_text(text, draft->rules[i]);
	return buffer_string(text);
}

/* Leaves rules out that the loader complained of; where it complained of none, every second. */
static void leave_out(struct draft *draft, const struct policy_errors *errors)
{
	uint32_t kept = 0, before = draft->rule_count;

	for (size_t i = 0; i < errors->count; i++) {
		uint32_t rule = errors->entries[i].line - draft->first_line;

		if (errors->entries[i].warning || errors->entries[i].line < draft->first_line || rule >= before)
			continue;
		free(take_pointer(draft->rules[rule]));
	}
	for (uint32_t i = 0; i < before; i++)
		if (draft->rules[i])
			draft->rules[kept++] = draft->rules[i];
	for (uint32_t i = kept; i < before; i++)
		draft->rules[i] = NULL;
	draft->rule_count = kept;
	if (kept < before)
		return;
	for (uint32_t i = (kept + 1) / 2; i < kept; i++)
		free(take_pointer(draft->rules[i]));
	draft->rule_count = (kept + 1) / 2;
}

static int load_draft(struct draft *draft, uint32_t generation)
{
	enum verdict otherwise = random_below(VERDICT_COUNT);

	while (draft->rule_count) {
		_cleanup_policy_errors_ struct policy_errors errors = {};
		const char *text = write_text(draft, otherwise);
		int error;

		if (!text)
			return -ENOMEM;
		error = policy_load_text(text, strlen(text), "random policy", draft->random->registry, generation,
					 &draft->random->policy, &errors);
		if (error != -EINVAL)
			return error;
		leave_out(draft, &errors);
	}
	return -EAGAIN;
}

static void draft_free(struct draft *draft)
{
	for (uint32_t i = 0; i < RULES_MAX; i++)
		free(draft->rules[i]);
	buffer_free(&draft->text);
	buffer_free(&draft->path.glob);
	buffer_free(&draft->path.sample);
}

int random_policy_new(uint32_t generation, struct random_policy **ret)
{
	_cleanup_random_policy_ struct random_policy *random = calloc(1, sizeof(*random));
	struct draft draft = {.random = random};
	int error;

	if (!random)
		return -ENOMEM;
	random->agents = one_in(3) ? 0 : 1 + random_below(one_in(4) ? 120 : 6);
	error = agent_registry_new(&random->registry);
	if (!error)
		error = draft_rules(&draft);
	if (!error)
		error = load_draft(&draft, generation);
	draft_free(&draft);
	if (error)
		return error;
	*ret = take_pointer(random);
	return 0;
}

void random_policy_free(struct random_policy *random)
{
	if (!random)
		return;
	for (size_t i = 0; i < random->sample_count; i++)
		free(random->samples[i]);
	policy_free(random->policy);
	agent_registry_free(random->registry);
	free(random);
}
