/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "dfa.h"

#include "match.h"

/* Bounds memory and time where globs multiply states. Minimising seldom takes more than three states of four away. */
#define WORK_CELLS (8 * DFA_CELLS)
#define WORK_STATES (4 * DFA_STATES)
#define NO_STATE UINT32_MAX

struct builder_glob {
	char *text;
	size_t length;
	enum glob_use use;
	unsigned int bit;
	bool ancestors;
};

struct dfa_builder {
	struct builder_glob *globs;
	size_t count, capacity;
	struct rule_set covered[RULES_MAX]; /* dfa_builder_cover */
};

/* --- Collecting globs --- */

int dfa_builder_new(struct dfa_builder **ret)
{
	struct dfa_builder *builder = calloc(1, sizeof(*builder));

	if (!builder)
		return -ENOMEM;
	*ret = builder;
	return 0;
}

void dfa_builder_free(struct dfa_builder *builder)
{
	if (!builder)
		return;
	for (size_t i = 0; i < builder->count; i++)
		free(builder->globs[i].text);
	free(builder->globs);
	free(builder);
}

static struct glob glob_of(const struct builder_glob *glob)
{
	static const enum glob_form forms[GLOB_USE_COUNT] = {[GLOB_ARGS] = GLOB_TEXT, [GLOB_ENVIRON] = GLOB_VARIABLE};

	return (struct glob){
		.text = glob->text,
		.length = glob->length,
		.form = forms[glob->use],
		.not = glob->use == GLOB_PATH_NOT,
		.ancestors = glob->ancestors,
		.bit = glob->bit,
	};
}

static int builder_grow(struct dfa_builder *builder)
{
	size_t larger = builder->capacity ? builder->capacity * 2 : 64;
	struct builder_glob *grown;

	if (builder->count < builder->capacity)
		return 0;
	grown = reallocarray(builder->globs, larger, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	builder->globs = grown;
	builder->capacity = larger;
	return 0;
}

int dfa_builder_add(struct dfa_builder *builder, enum glob_use use, const char *text, size_t length, unsigned int bit,
		    bool ancestors, struct glob_error *error)
{
	struct builder_glob added = {.length = length, .use = use, .bit = bit, .ancestors = ancestors};
	struct glob glob;
	int r;

	glob = glob_of(&added);
	glob.text = text;
	r = glob_check(&glob, error);
	if (!r)
		r = builder_grow(builder);
	if (r)
		return r;
	added.text = strndup(text, length);
	if (!added.text)
		return -ENOMEM;
	builder->globs[builder->count++] = added;
	return 0;
}

void dfa_builder_cover(struct dfa_builder *builder, unsigned int bit, const struct rule_set *covered)
{
	builder->covered[bit & (RULES_MAX - 1)] = *covered;
}

/* --- Which automaton a path glob goes to --- */

/* Plans are tried in this order; the first that fits is taken. */
static const struct plan {
	uint8_t parts; /* automata for paths */
	bool apart; /* globs that begin with / have the first one for themselves */
} plans[] = {{1, false}, {2, true}, {3, true}, {4, true}, {4, false}};

/* Globs of one rule share a final state instead of multiplying, so rules are dealt out, not globs. `order` counts the
 * rules as they first come. */
static unsigned int path_part(const struct plan *plan, const struct builder_glob *glob, const uint8_t *order)
{
	if (!plan->apart)
		return DFA_PATH_0 + order[glob->bit] % plan->parts;
	if (!glob_is_floating(glob->text))
		return DFA_PATH_0;
	return DFA_PATH_0 + 1 + order[glob->bit] % (plan->parts - 1);
}

static unsigned int part_of(const struct plan *plan, const struct builder_glob *glob, const uint8_t *order)
{
	switch (glob->use) {
	case GLOB_EXE:
		return DFA_EXE;
	case GLOB_CGROUP:
		return DFA_CGROUP;
	case GLOB_ARGS:
		return DFA_ARGS;
	case GLOB_ENVIRON:
		return DFA_ENVIRON;
	default:
		return path_part(plan, glob, order);
	}
}

static void count_order(const struct dfa_builder *builder, bool floating, uint8_t order[128])
{
	bool seen[128] = {};
	uint8_t count = 0;

	for (size_t i = 0; i < builder->count; i++) {
		const struct builder_glob *glob = &builder->globs[i];

		if (glob->use > GLOB_PATH_NOT || (floating && !glob_is_floating(glob->text)) || seen[glob->bit & 127])
			continue;
		seen[glob->bit & 127] = true;
		order[glob->bit & 127] = count++;
	}
}

/* Do two plans put the same globs together? Then what does not fit by the one does not by the other. */
static bool plans_alike(const struct dfa_builder *builder, const struct plan *a, const struct plan *b)
{
	uint8_t order_a[128] = {}, order_b[128] = {}, other[DFA_PARTS], back[DFA_PARTS];

	memset(other, DFA_PARTS, sizeof(other));
	memset(back, DFA_PARTS, sizeof(back));
	count_order(builder, a->apart, order_a);
	count_order(builder, b->apart, order_b);
	for (size_t i = 0; i < builder->count; i++) {
		unsigned int in_a = part_of(a, &builder->globs[i], order_a);
		unsigned int in_b = part_of(b, &builder->globs[i], order_b);

		if (other[in_a] == DFA_PARTS && back[in_b] == DFA_PARTS) {
			other[in_a] = (uint8_t)in_b;
			back[in_b] = (uint8_t)in_a;
		}
		if (other[in_a] != in_b || back[in_b] != in_a)
			return false;
	}
	return true;
}

static bool plan_is_new(const struct dfa_builder *builder, size_t plan)
{
	for (size_t before = 0; before < plan; before++)
		if (plans_alike(builder, &plans[before], &plans[plan]))
			return false;
	return true;
}

static int build_nfa(const struct dfa_builder *builder, const struct plan *plan, uint32_t roots[DFA_PARTS],
		     struct nfa **ret)
{
	_cleanup_nfa_ struct nfa *nfa = NULL;
	uint8_t order[128] = {};
	int r = nfa_new(&nfa);

	count_order(builder, plan->apart, order);
	for (unsigned int part = 0; !r && part < DFA_PARTS; part++)
		roots[part] = NO_STATE;
	for (size_t i = 0; !r && i < builder->count; i++) {
		struct glob glob = glob_of(&builder->globs[i]);
		unsigned int part = part_of(plan, &builder->globs[i], order);

		if (roots[part] == NO_STATE)
			r = nfa_root(nfa, &roots[part]);
		if (!r)
			r = nfa_add(nfa, roots[part], &glob, NULL);
	}
	if (!r)
		*ret = take_pointer(nfa);
	return r;
}

/* --- Sets of nodes: the states --- */

struct span {
	uint32_t first, count;
};

/* Work on the way from the nondeterministic automaton to the table. */
struct subset {
	const struct nfa *nfa;
	uint32_t classes;
	uint8_t class_of[256];
	uint8_t byte_of[256]; /* one byte of each class */
	bool hasty; /* give up where minimising would be needed */

	uint32_t *members; /* of all states, one after the other */
	size_t member_count, member_capacity;
	struct span *states;
	size_t state_count, state_capacity;
	uint32_t *next; /* state_capacity * classes; NO_STATE: dead */
	uint32_t *table; /* open hash of states */
	size_t table_size;

	uint32_t *scratch; /* node_count: the set at hand */
	uint32_t scratch_count;
	uint32_t *stamp; /* node_count: in which round a node was last entered */
	uint32_t round;

	struct dfa_accept *reach; /* of each node: all that can still be accepted from it */
	struct rule_set *covers; /* of each sink among the path globs: bits that do not matter behind it */

	uint32_t roots[DFA_PARTS];
	uint32_t starts[DFA_PARTS];
};

static void subset_free(struct subset *subset)
{
	free(subset->members);
	free(subset->states);
	free(subset->next);
	free(subset->table);
	free(subset->scratch);
	free(subset->stamp);
	free(subset->reach);
	free(subset->covers);
}

/* Parts every class that a set cuts through. */
static void split_classes(struct subset *subset, const struct byte_set *set)
{
	uint16_t split[256];

	memset(split, 0xff, sizeof(split));
	for (unsigned int inside = 0, seen[256] = {}; inside < 2; inside++) {
		for (unsigned int byte = 0; byte < 256; byte++) {
			uint8_t class = subset->class_of[byte];

			if (byte_set_has(set, (uint8_t)byte) != inside)
				continue;
			if (!inside) {
				seen[class] = 1;
				continue;
			}
			if (!seen[class])
				continue;
			if (split[class] == UINT16_MAX)
				split[class] = (uint16_t)subset->classes++;
			subset->class_of[byte] = (uint8_t)split[class];
		}
	}
}

static void split_byte(struct subset *subset, uint8_t byte)
{
	struct byte_set set = {};

	set.word[byte >> 6] = 1ULL << (byte & 63);
	split_classes(subset, &set);
}

static void find_classes(struct subset *subset)
{
	const struct nfa *nfa = subset->nfa;
	bool seen[256] = {};

	subset->classes = 1;
	for (size_t i = 0; i < nfa->set_count; i++)
		split_classes(subset, &nfa->sets[i]);
	for (size_t at = 0; at < nfa->node_count; at++) {
		for (uint32_t i = 0; i < nfa->nodes[at].edge_count; i++) {
			uint16_t label = nfa->nodes[at].edges[i].label;

			if (label < NFA_SET && !seen[label]) {
				seen[label] = true;
				split_byte(subset, (uint8_t)label);
			}
		}
	}
	for (unsigned int byte = 0; byte < 256; byte++)
		subset->byte_of[subset->class_of[byte]] = (uint8_t)byte;
}

static void accept_or(struct dfa_accept *to, const struct dfa_accept *from)
{
	rule_set_or(&to->match, &from->match);
	rule_set_or(&to->match_not, &from->match_not);
	rule_set_or(&to->ancestor, &from->ancestor);
}

static bool set_within(const struct rule_set *set, const struct rule_set *in)
{
	return !(set->word[0] & ~in->word[0]) && !(set->word[1] & ~in->word[1]);
}

static bool accept_within(const struct dfa_accept *accept, const struct dfa_accept *in)
{
	return set_within(&accept->match, &in->match) && set_within(&accept->match_not, &in->match_not) &&
	       set_within(&accept->ancestor, &in->ancestor);
}

/* Nodes mostly come after those that lead to them, so going backwards two rounds are usually enough. */
static int find_reach(struct subset *subset)
{
	const struct nfa *nfa = subset->nfa;
	bool changed = true;

	subset->reach = calloc(nfa->node_count + 1, sizeof(*subset->reach));
	if (!subset->reach)
		return -ENOMEM;
	for (size_t at = 0; at < nfa->node_count; at++)
		if (nfa->nodes[at].accept >= 0)
			subset->reach[at] = nfa->accepts[nfa->nodes[at].accept];
	while (changed) {
		changed = false;
		for (size_t at = nfa->node_count; at-- > 0;) {
			for (uint32_t i = 0; i < nfa->nodes[at].edge_count; i++) {
				const struct dfa_accept *more = &subset->reach[nfa->nodes[at].edges[i].target];

				if (accept_within(more, &subset->reach[at]))
					continue;
				accept_or(&subset->reach[at], more);
				changed = true;
			}
		}
	}
	return 0;
}

static bool is_path_root(const struct subset *subset, uint32_t root)
{
	for (unsigned int part = DFA_PATH_0; part < DFA_PATH_PARTS; part++)
		if (subset->roots[part] == root)
			return true;
	return false;
}

static int find_covers(struct subset *subset, const struct rule_set *covered)
{
	const struct nfa *nfa = subset->nfa;

	subset->covers = calloc(nfa->node_count + 1, sizeof(*subset->covers));
	if (!subset->covers)
		return -ENOMEM;
	for (size_t i = 0; i < nfa->sink_count; i++) {
		const struct nfa_sink *sink = &nfa->sinks[i];

		if (!sink->not &&is_path_root(subset, sink->root))
			subset->covers[sink->node] = covered[sink->bit & (RULES_MAX - 1)];
	}
	return 0;
}

static int subset_init(struct subset *subset)
{
	size_t nodes = subset->nfa->node_count + 1;

	find_classes(subset);
	subset->table_size = 1 << 10;
	subset->table = malloc(subset->table_size * sizeof(*subset->table));
	subset->scratch = calloc(nodes, sizeof(*subset->scratch));
	subset->stamp = calloc(nodes, sizeof(*subset->stamp));
	if (!subset->table || !subset->scratch || !subset->stamp)
		return -ENOMEM;
	memset(subset->table, 0xff, subset->table_size * sizeof(*subset->table));
	return find_reach(subset);
}

static void subset_begin(struct subset *subset)
{
	subset->round++;
	subset->scratch_count = 0;
}

/* Adds a node to the set at hand, with all that is reached from it without a byte. */
static void subset_enter(struct subset *subset, uint32_t at)
{
	uint32_t done = subset->scratch_count;

	if (subset->stamp[at] == subset->round)
		return;
	subset->stamp[at] = subset->round;
	subset->scratch[subset->scratch_count++] = at;
	for (; done < subset->scratch_count; done++) {
		const struct nfa_node *node = &subset->nfa->nodes[subset->scratch[done]];

		for (uint32_t i = 0; i < node->edge_count; i++) {
			uint32_t target = node->edges[i].target;

			if (node->edges[i].label != NFA_EPSILON || subset->stamp[target] == subset->round)
				continue;
			subset->stamp[target] = subset->round;
			subset->scratch[subset->scratch_count++] = target;
		}
	}
}

/* Takes nodes out of the set at hand that can add nothing to what is accepted from here on whatever follows. A rule
 * that path_not: rules out for good needs no more of its path: globs, and one that is covered needs none at all. */
static void subset_prune(struct subset *subset)
{
	struct dfa_accept forever = {}, covered = {};
	uint32_t kept = 0;

	for (uint32_t i = 0; i < subset->scratch_count; i++) {
		uint32_t at = subset->scratch[i];

		if (!subset->nfa->nodes[at].sink)
			continue;
		accept_or(&forever, &subset->reach[at]);
		rule_set_or(&covered.match, &subset->covers[at]);
	}
	covered.match_not = covered.ancestor = covered.match;
	rule_set_or(&forever.match, &forever.match_not);
	accept_or(&forever, &covered);
	for (uint32_t i = 0; i < subset->scratch_count; i++) {
		uint32_t at = subset->scratch[i];
		bool sink = subset->nfa->nodes[at].sink;

		if (!accept_within(&subset->reach[at], sink ? &covered : &forever))
			subset->scratch[kept++] = at;
	}
	subset->scratch_count = kept;
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* FNV-1a over numbers. */
static uint64_t hash_numbers(const uint32_t *numbers, size_t count)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < count; i++)
		hash = (hash ^ numbers[i]) * 0x100000001b3ULL;
	return hash ^ hash >> 29;
}

static int subset_rehash(struct subset *subset)
{
	size_t larger = subset->table_size * 2;
	uint32_t *table = malloc(larger * sizeof(*table));

	if (!table)
		return -ENOMEM;
	memset(table, 0xff, larger * sizeof(*table));
	for (uint32_t state = 0; state < subset->state_count; state++) {
		struct span *span = &subset->states[state];
		size_t slot = hash_numbers(subset->members + span->first, span->count) & (larger - 1);

		while (table[slot] != NO_STATE)
			slot = (slot + 1) & (larger - 1);
		table[slot] = state;
	}
	free(subset->table);
	subset->table = table;
	subset->table_size = larger;
	return 0;
}

static int subset_reserve(struct subset *subset)
{
	if (subset->member_count + subset->scratch_count > subset->member_capacity) {
		size_t larger = (subset->member_capacity + subset->scratch_count) * 2;
		uint32_t *grown = reallocarray(subset->members, larger, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		subset->members = grown;
		subset->member_capacity = larger;
	}
	if (subset->state_count == subset->state_capacity) {
		size_t larger = subset->state_capacity ? subset->state_capacity * 2 : 256;
		struct span *states = reallocarray(subset->states, larger, sizeof(*states));
		uint32_t *next;

		if (!states)
			return -ENOMEM;
		subset->states = states;
		next = reallocarray(subset->next, larger, subset->classes * sizeof(*next));
		if (!next)
			return -ENOMEM;
		subset->next = next;
		subset->state_capacity = larger;
	}
	return subset->state_count * 2 >= subset->table_size ? subset_rehash(subset) : 0;
}

static int subset_append(struct subset *subset, size_t slot, uint32_t *ret)
{
	uint32_t state = (uint32_t)subset->state_count;

	memcpy(subset->members + subset->member_count, subset->scratch,
	       subset->scratch_count * sizeof(*subset->members));
	subset->states[state] = (struct span){(uint32_t)subset->member_count, subset->scratch_count};
	memset(subset->next + (size_t)state * subset->classes, 0xff, subset->classes * sizeof(*subset->next));
	subset->member_count += subset->scratch_count;
	subset->table[slot] = state;
	subset->state_count++;
	*ret = state;
	return 0;
}

static uint32_t bits_for(uint32_t count)
{
	uint32_t bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

static uint32_t states_limit(uint32_t classes)
{
	return MIN((uint32_t)DFA_STATES, (uint32_t)DFA_CELLS >> bits_for(classes));
}

/* The state that the set at hand is; made where it is new. -E2BIG at the bounds of this work. */
static int subset_intern(struct subset *subset, uint32_t *ret)
{
	size_t slot;
	int r;

	if (subset->state_count >= WORK_STATES ||
	    (subset->hasty && subset->state_count >= states_limit(subset->classes)) ||
	    (subset->state_count + 1) * subset->classes > WORK_CELLS ||
	    subset->member_count + subset->scratch_count > 4 * WORK_CELLS)
		return -E2BIG;
	r = subset_reserve(subset);
	if (r)
		return r;
	subset_prune(subset);
	qsort(subset->scratch, subset->scratch_count, sizeof(*subset->scratch), compare_numbers);
	slot = hash_numbers(subset->scratch, subset->scratch_count) & (subset->table_size - 1);
	for (; subset->table[slot] != NO_STATE; slot = (slot + 1) & (subset->table_size - 1)) {
		const struct span *span = &subset->states[subset->table[slot]];

		if (span->count == subset->scratch_count &&
		    !memcmp(subset->members + span->first, subset->scratch, span->count * sizeof(*subset->members))) {
			*ret = subset->table[slot];
			return 0;
		}
	}
	return subset_append(subset, slot, ret);
}

/* Nodes reached from one state, as they are found: a list of (class, node); and then sorted by class. */
struct moves {
	uint64_t *items; /* class << 32 | node */
	uint64_t *sorted;
	size_t count, capacity;
};

static int moves_push(struct moves *moves, uint32_t class, uint32_t node)
{
	if (moves->count == moves->capacity) {
		size_t larger = moves->capacity ? moves->capacity * 2 : 1024;
		uint64_t *grown = reallocarray(moves->items, larger, sizeof(*grown)), *sorted;

		if (!grown)
			return -ENOMEM;
		moves->items = grown;
		sorted = reallocarray(moves->sorted, larger, sizeof(*sorted));
		if (!sorted)
			return -ENOMEM;
		moves->sorted = sorted;
		moves->capacity = larger;
	}
	moves->items[moves->count++] = (uint64_t) class << 32 | node;
	return 0;
}

static int moves_by_label(const struct subset *subset, struct moves *moves, uint16_t label, uint32_t target)
{
	const struct byte_set *set;
	int r = 0;

	if (label < NFA_SET)
		return moves_push(moves, subset->class_of[label], target);
	if (label == NFA_EPSILON)
		return 0;
	set = &subset->nfa->sets[label - NFA_SET];
	for (uint32_t class = 0; !r && class < subset->classes; class ++)
		if (byte_set_has(set, subset->byte_of[class]))
			r = moves_push(moves, class, target);
	return r;
}

/* By counting, which keeps the order within a class: it is the same in each, since classes are found node by node. */
static void sort_moves(struct moves *moves)
{
	size_t at[256 + 1] = {};

	for (size_t i = 0; i < moves->count; i++)
		at[(uint8_t)(moves->items[i] >> 32) + 1]++;
	for (size_t class = 0; class < 256; class ++)
		at[class + 1] += at[class];
	for (size_t i = 0; i < moves->count; i++)
		moves->sorted[at[(uint8_t)(moves->items[i] >> 32)]++] = moves->items[i];
}

static int find_moves(const struct subset *subset, uint32_t state, struct moves *moves)
{
	const struct span *span = &subset->states[state];
	int r = 0;

	moves->count = 0;
	for (uint32_t m = 0; !r && m < span->count; m++) {
		uint32_t at = subset->members[span->first + m];
		const struct nfa_node *node = &subset->nfa->nodes[at];

		if (node->loop != NFA_NO_LOOP)
			r = moves_by_label(subset, moves, node->loop, at);
		for (uint32_t i = 0; !r && i < node->edge_count; i++)
			r = moves_by_label(subset, moves, node->edges[i].label, node->edges[i].target);
	}
	sort_moves(moves);
	return r;
}

static bool same_nodes(const uint64_t *a, const uint64_t *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((uint32_t)a[i] != (uint32_t)b[i])
			return false;
	return true;
}

static int subset_step(struct subset *subset, uint32_t state, struct moves *moves)
{
	size_t last = 0, last_count = 0;
	uint32_t last_target = NO_STATE;
	int r = find_moves(subset, state, moves);

	for (size_t from = 0, to; !r && from < moves->count; from = to) {
		uint32_t class = (uint32_t)(moves->sorted[from] >> 32);

		for (to = from; to < moves->count && moves->sorted[to] >> 32 == class; to++)
			;
		/* Most classes lead where the one before did. */
		if (last_target == NO_STATE || to - from != last_count ||
		    !same_nodes(moves->sorted + from, moves->sorted + last, last_count)) {
			subset_begin(subset);
			for (size_t i = from; i < to; i++)
				subset_enter(subset, (uint32_t)moves->sorted[i]);
			r = subset_intern(subset, &last_target);
			last = from;
			last_count = to - from;
		}
		if (!r)
			subset->next[(size_t)state * subset->classes + class] = last_target;
	}
	return r;
}

static int subset_build(struct subset *subset)
{
	struct moves moves = {};
	int r = subset_init(subset);

	for (unsigned int part = 0; part < DFA_PARTS; part++) {
		subset->starts[part] = NO_STATE;
		if (r || subset->roots[part] == NO_STATE)
			continue;
		subset_begin(subset);
		subset_enter(subset, subset->roots[part]);
		r = subset_intern(subset, &subset->starts[part]);
	}
	for (uint32_t state = 0; !r && state < subset->state_count; state++)
		r = subset_step(subset, state, &moves);
	free(moves.items);
	free(moves.sorted);
	return r;
}

/* A path_not: glob that matches too rules the rule out; sets that mean the same must look the same. */
static struct dfa_accept subset_accept(const struct subset *subset, uint32_t state)
{
	const struct span *span = &subset->states[state];
	struct dfa_accept accept = {};

	for (uint32_t m = 0; m < span->count; m++) {
		const struct nfa_node *node = &subset->nfa->nodes[subset->members[span->first + m]];

		if (node->accept < 0)
			continue;
		accept_or(&accept, &subset->nfa->accepts[node->accept]);
	}
	for (unsigned int word = 0; word < RULE_WORDS; word++)
		accept.match.word[word] &= ~accept.match_not.word[word];
	return accept;
}

/* --- Minimising --- */

/*
 * A partition that is refined: elements of one block lie together in `elements`. After A. Valmari, "Fast brief
 * practical DFA minimization", Information Processing Letters 112 (2012): states and transitions are both kept as
 * partitions and split by each other, in m log m steps, without transitions to the dead state.
 */
struct partition {
	uint32_t blocks;
	uint32_t *elements, *place; /* place[element]: where it lies */
	uint32_t *block_of;
	uint32_t *first, *past; /* of each block, in elements */
	uint32_t *marked; /* of each block: how many, at its front */
	uint32_t *touched, touched_count; /* blocks with marked elements */
	uint32_t *memory;
};

static int partition_init(struct partition *partition, uint32_t count)
{
	uint32_t **parts[] = {&partition->elements, &partition->place,	&partition->block_of, &partition->first,
			      &partition->past,	    &partition->marked, &partition->touched};
	size_t room = (size_t)count + 1;

	partition->memory = calloc(room * ARRAY_SIZE(parts), sizeof(*partition->memory));
	if (!partition->memory)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		*parts[i] = partition->memory + i * room;
	for (uint32_t i = 0; i < count; i++)
		partition->elements[i] = partition->place[i] = i;
	partition->blocks = count > 0;
	partition->past[0] = count;
	partition->touched_count = 0;
	return 0;
}

static void partition_mark(struct partition *partition, uint32_t element)
{
	uint32_t block = partition->block_of[element], at = partition->place[element];
	uint32_t to = partition->first[block] + partition->marked[block];

	if (at < to)
		return;
	partition->elements[at] = partition->elements[to];
	partition->place[partition->elements[at]] = at;
	partition->elements[to] = element;
	partition->place[element] = to;
	if (!partition->marked[block]++)
		partition->touched[partition->touched_count++] = block;
}

/* Parts the marked elements of each touched block from the others; the smaller half becomes a new block. */
static void partition_split(struct partition *partition)
{
	while (partition->touched_count) {
		uint32_t block = partition->touched[--partition->touched_count], made = partition->blocks;
		uint32_t cut = partition->first[block] + partition->marked[block];

		partition->marked[block] = 0;
		if (cut == partition->past[block])
			continue;
		if (cut - partition->first[block] <= partition->past[block] - cut) {
			partition->first[made] = partition->first[block];
			partition->past[made] = partition->first[block] = cut;
		} else {
			partition->past[made] = partition->past[block];
			partition->first[made] = partition->past[block] = cut;
		}
		for (uint32_t i = partition->first[made]; i < partition->past[made]; i++)
			partition->block_of[partition->elements[i]] = made;
		partition->marked[made] = 0;
		partition->blocks++;
	}
}

struct minimal {
	struct partition blocks; /* of states */
	struct partition cords; /* of transitions */
	struct dfa_accept *accepts; /* of each state before minimising */
	uint32_t *tail, *head, *label; /* of each transition */
	uint32_t transitions;
	uint32_t *incoming, *incoming_from; /* transitions by head */
};

static void minimal_free(struct minimal *minimal)
{
	free(minimal->blocks.memory);
	free(minimal->cords.memory);
	free(minimal->accepts);
	free(minimal->tail);
	free(minimal->incoming);
}

struct accept_order {
	const struct dfa_accept *accepts;
};

static int compare_accepts(const void *a, const void *b, void *context)
{
	const struct accept_order *order = context;
	int r = memcmp(&order->accepts[*(const uint32_t *)a], &order->accepts[*(const uint32_t *)b],
		       sizeof(struct dfa_accept));

	return r ? r : compare_numbers(a, b);
}

/* States start apart where they accept differently. */
static int split_by_accept(struct minimal *minimal, uint32_t states)
{
	_cleanup_free_ uint32_t *sorted = calloc(states + 1, sizeof(*sorted));
	struct accept_order order = {minimal->accepts};

	if (!sorted)
		return -ENOMEM;
	for (uint32_t i = 0; i < states; i++)
		sorted[i] = i;
	qsort_r(sorted, states, sizeof(*sorted), compare_accepts, &order);
	for (uint32_t from = 0, to; from < states; from = to) {
		for (to = from; to < states && !memcmp(&minimal->accepts[sorted[from]], &minimal->accepts[sorted[to]],
						       sizeof(struct dfa_accept));
		     to++)
			partition_mark(&minimal->blocks, sorted[to]);
		partition_split(&minimal->blocks);
	}
	return 0;
}

static int list_transitions(struct minimal *minimal, const struct subset *subset)
{
	size_t cells = subset->state_count * subset->classes, count = 0;

	for (size_t i = 0; i < cells; i++)
		count += subset->next[i] != NO_STATE;
	minimal->transitions = (uint32_t)count;
	minimal->tail = calloc(count + 1, 3 * sizeof(*minimal->tail));
	if (!minimal->tail)
		return -ENOMEM;
	minimal->head = minimal->tail + count;
	minimal->label = minimal->head + count;
	count = 0;
	/* By label first: the cords start as one block a label, so they must lie together. */
	for (uint32_t class = 0; class < subset->classes; class ++) {
		for (uint32_t state = 0; state < subset->state_count; state++) {
			uint32_t next = subset->next[(size_t)state * subset->classes + class];

			if (next == NO_STATE)
				continue;
			minimal->tail[count] = state;
			minimal->head[count] = next;
			minimal->label[count++] = class;
		}
	}
	return 0;
}

static int split_by_label(struct minimal *minimal)
{
	struct partition *cords = &minimal->cords;
	int r = partition_init(cords, minimal->transitions);

	if (r || !minimal->transitions)
		return r;
	for (uint32_t i = 0; i < minimal->transitions; i++) {
		if (i && minimal->label[i] != minimal->label[i - 1]) {
			cords->past[cords->blocks - 1] = i;
			cords->first[cords->blocks++] = i;
		}
		cords->block_of[i] = cords->blocks - 1;
	}
	cords->past[cords->blocks - 1] = minimal->transitions;
	return 0;
}

static int list_incoming(struct minimal *minimal, uint32_t states)
{
	uint32_t *from;

	minimal->incoming = calloc((size_t)minimal->transitions + states + 2, sizeof(*minimal->incoming));
	if (!minimal->incoming)
		return -ENOMEM;
	from = minimal->incoming_from = minimal->incoming + minimal->transitions;
	for (uint32_t i = 0; i < minimal->transitions; i++)
		from[minimal->head[i] + 1]++;
	for (uint32_t i = 0; i < states; i++)
		from[i + 1] += from[i];
	for (uint32_t i = minimal->transitions; i-- > 0;)
		minimal->incoming[--from[minimal->head[i] + 1]] = i;
	/* Each entry now holds the beginning of the one before it. */
	for (uint32_t i = 0; i < states; i++)
		from[i] = from[i + 1];
	from[states] = minimal->transitions;
	return 0;
}

static void refine(struct minimal *minimal)
{
	struct partition *blocks = &minimal->blocks, *cords = &minimal->cords;
	uint32_t block = 1;

	for (uint32_t cord = 0; cord < cords->blocks; cord++) {
		for (uint32_t i = cords->first[cord]; i < cords->past[cord]; i++)
			partition_mark(blocks, minimal->tail[cords->elements[i]]);
		partition_split(blocks);
		for (; block < blocks->blocks; block++) {
			for (uint32_t i = blocks->first[block]; i < blocks->past[block]; i++) {
				uint32_t state = blocks->elements[i];

				for (uint32_t j = minimal->incoming_from[state]; j < minimal->incoming_from[state + 1];
				     j++)
					partition_mark(cords, minimal->incoming[j]);
			}
			partition_split(cords);
		}
	}
}

static int minimise(struct minimal *minimal, const struct subset *subset)
{
	uint32_t states = (uint32_t)subset->state_count;
	int r;

	minimal->accepts = calloc(states + 1, sizeof(*minimal->accepts));
	if (!minimal->accepts)
		return -ENOMEM;
	for (uint32_t state = 0; state < states; state++)
		minimal->accepts[state] = subset_accept(subset, state);
	r = partition_init(&minimal->blocks, states);
	if (!r)
		r = split_by_accept(minimal, states);
	if (!r)
		r = list_transitions(minimal, subset);
	if (!r)
		r = split_by_label(minimal);
	if (!r)
		r = list_incoming(minimal, states);
	if (!r)
		refine(minimal);
	return r;
}

/* --- The table --- */

/* One state of each block stands for all of them. */
static uint32_t block_target(const struct subset *subset, const struct minimal *minimal, uint32_t block, uint32_t class)
{
	uint32_t state = minimal->blocks.elements[minimal->blocks.first[block]];

	return subset->next[(size_t)state * subset->classes + class];
}

static bool same_column(const struct subset *subset, const struct minimal *minimal, uint32_t a, uint32_t b)
{
	for (uint32_t block = 0; block < minimal->blocks.blocks; block++) {
		uint32_t x = block_target(subset, minimal, block, a), y = block_target(subset, minimal, block, b);

		if (x != y &&
		    (x == NO_STATE || y == NO_STATE || minimal->blocks.block_of[x] != minimal->blocks.block_of[y]))
			return false;
	}
	return true;
}

/* Classes that no state tells apart any more become one. Gives the new class of each, and the count. */
static uint32_t merge_classes(const struct subset *subset, const struct minimal *minimal, uint8_t merged[256],
			      uint8_t first[256])
{
	uint32_t count = 0;

	for (uint32_t class = 0; class < subset->classes; class ++) {
		uint32_t same = 0;

		while (same < count && !same_column(subset, minimal, first[same], class))
			same++;
		if (same == count)
			first[count++] = (uint8_t) class;
		merged[class] = (uint8_t)same;
	}
	return count;
}

/* States in the order of a breadth-first walk: those of one prefix lie near each other. 0 is the dead state. */
static int number_states(const struct subset *subset, const struct minimal *minimal, uint32_t **ret)
{
	uint32_t count = minimal->blocks.blocks, next = 1, done = 0;
	_cleanup_free_ uint32_t *queue = calloc(count + 1, sizeof(*queue));
	uint32_t *number = calloc(count + 1, sizeof(*number));

	if (!queue || !number) {
		free(number);
		return -ENOMEM;
	}
	for (unsigned int part = 0; part < DFA_PARTS; part++) {
		uint32_t start = subset->starts[part], block;

		if (start == NO_STATE || number[block = minimal->blocks.block_of[start]])
			continue;
		queue[next - 1] = block;
		number[block] = next++;
	}
	for (; done + 1 < next; done++) {
		for (uint32_t class = 0; class < subset->classes; class ++) {
			uint32_t target = block_target(subset, minimal, queue[done], class), block;

			if (target == NO_STATE || number[block = minimal->blocks.block_of[target]])
				continue;
			queue[next - 1] = block;
			number[block] = next++;
		}
	}
	*ret = number;
	return 0;
}

static void write_state(const struct subset *subset, const struct minimal *minimal, const uint32_t *number,
			const uint8_t *first, uint32_t classes, uint32_t block, struct dfa *dfa)
{
	uint32_t state = number[block];

	dfa->accept[state] = minimal->accepts[minimal->blocks.elements[minimal->blocks.first[block]]];
	for (uint32_t class = 0; class < classes; class ++) {
		uint32_t target = block_target(subset, minimal, block, first[class]);

		if (target != NO_STATE)
			dfa->next[state << dfa->shift | class] = (uint16_t)number[minimal->blocks.block_of[target]];
	}
}

static int write_table(const struct subset *subset, const struct minimal *minimal, struct dfa *ret,
		       struct dfa_stats *stats)
{
	uint8_t merged[256] = {}, first[256] = {};
	uint32_t blocks = minimal->blocks.blocks, classes = merge_classes(subset, minimal, merged, first);
	_cleanup_free_ uint32_t *number = NULL;
	int r;

	stats->classes = classes;
	stats->states = blocks + 1;
	stats->states_limit = states_limit(classes);
	if (stats->states > stats->states_limit)
		return -E2BIG;
	r = number_states(subset, minimal, &number);
	if (r)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->states = blocks + 1;
	ret->shift = bits_for(classes);
	for (unsigned int byte = 0; byte < 256; byte++)
		ret->class_of[byte] = merged[subset->class_of[byte]];
	for (unsigned int part = 0; part < DFA_PARTS; part++)
		if (subset->starts[part] != NO_STATE)
			ret->start[part] = (uint16_t)number[minimal->blocks.block_of[subset->starts[part]]];
	for (uint32_t block = 0; block < blocks; block++)
		write_state(subset, minimal, number, first, classes, block, ret);
	return 0;
}

static int compile_subset(struct subset *subset, struct dfa *ret, struct dfa_stats *stats)
{
	struct minimal minimal = {};
	int r = subset_build(subset);

	if (r == -E2BIG) {
		stats->states = (uint32_t)subset->state_count;
		stats->classes = subset->classes;
		stats->states_limit = states_limit(subset->classes);
		stats->at_least = true;
	}
	if (!r)
		r = minimise(&minimal, subset);
	if (!r)
		r = write_table(subset, &minimal, ret, stats);
	minimal_free(&minimal);
	return r;
}

static int compile_plan(const struct dfa_builder *builder, const struct plan *plan, bool hasty, struct dfa *ret,
			struct dfa_stats *stats)
{
	struct subset subset = {.hasty = hasty};
	_cleanup_nfa_ struct nfa *nfa = NULL;
	int r = build_nfa(builder, plan, subset.roots, &nfa);

	*stats = (struct dfa_stats){.globs = (uint32_t)builder->count, .path_parts = plan->parts};
	if (r == -E2BIG) {
		stats->states = NFA_NODES_MAX;
		stats->states_limit = DFA_STATES;
		stats->at_least = true;
	}
	if (r)
		return r;
	subset.nfa = nfa;
	r = find_covers(&subset, builder->covered);
	if (r) {
		subset_free(&subset);
		return r;
	}
	r = compile_subset(&subset, ret, stats);
	subset_free(&subset);
	return r;
}

/* Of two failures the one to tell: a count that is whole, and the smaller one. */
static bool stats_better(const struct dfa_stats *stats, const struct dfa_stats *best)
{
	if (!best->states || stats->at_least != best->at_least)
		return !best->states || !stats->at_least;
	return stats->states < best->states;
}

int dfa_builder_compile(struct dfa_builder *builder, struct dfa *ret, struct dfa_stats *ret_stats)
{
	struct dfa_stats best = {}, stats;
	int r = -E2BIG;

	/*
	 * First each plan as far as it fits without being minimised: a plan whose globs multiply takes most of its time to
	 * find out that it does not fit. A start waits for this.
	 */
	for (size_t i = 0; r == -E2BIG && i < 2 * ARRAY_SIZE(plans); i++) {
		bool hasty = i < ARRAY_SIZE(plans);

		if (!plan_is_new(builder, i % ARRAY_SIZE(plans)))
			continue;
		r = compile_plan(builder, &plans[i % ARRAY_SIZE(plans)], hasty, ret, &stats);
		if (r == 0 || (!hasty && stats_better(&stats, &best)))
			best = stats;
	}
	if (ret_stats && (r == 0 || r == -E2BIG))
		*ret_stats = best;
	return r;
}

int dfa_builder_match_path(const struct dfa_builder *builder, const char *path, size_t length, struct dfa_accept *ret)
{
	static const struct plan whole = {.parts = 1};
	_cleanup_nfa_ struct nfa *nfa = NULL;
	uint32_t roots[DFA_PARTS];
	int r = build_nfa(builder, &whole, roots, &nfa);

	if (r)
		return r;
	if (roots[DFA_PATH_0] == NO_STATE) {
		*ret = (struct dfa_accept){};
		return 0;
	}
	return nfa_match(nfa, roots[DFA_PATH_0], path, length, ret);
}

/* --- Walking it --- */

uint32_t dfa_walk(const struct dfa *dfa, enum dfa_part part, const char *text, size_t length)
{
	uint32_t state = dfa->start[part];

	for (size_t i = 0; i < length && state != DFA_DEAD; i++)
		state = dfa_step(dfa, state, (uint8_t)text[i]);
	return state;
}

void dfa_match_path(const struct dfa *dfa, const char *path, size_t length, struct dfa_accept *ret)
{
	struct dfa_accept all = {};

	/* What is dead accepts nothing. */
	for (unsigned int part = DFA_PATH_0; part < DFA_PATH_PARTS; part++)
		if (dfa->start[part] != DFA_DEAD)
			accept_or(&all, dfa_accept(dfa, dfa_walk(dfa, part, path, length)));
	*ret = all;
}

void dfa_match_part(const struct dfa *dfa, enum dfa_part part, const char *text, size_t length, struct rule_set *ret)
{
	*ret = dfa_accept(dfa, dfa_walk(dfa, part, text, length))->match;
}

static void match_variable(const struct dfa *dfa, const char *variable, size_t length, struct rule_set *all)
{
	uint32_t state = dfa->start[DFA_ENVIRON];

	for (size_t i = 0; i < length && state != DFA_DEAD; i++)
		state = dfa_step(dfa, state, swap_case((uint8_t)variable[i]));
	rule_set_or(all, &dfa_accept(dfa, state)->match);
}

void dfa_match_environ(const struct dfa *dfa, const char *environment, size_t length, struct rule_set *ret)
{
	bool cut = length > ENVIRON_BYTES;
	size_t most = MIN(length, (size_t)ENVIRON_BYTES);
	struct rule_set all = {};

	for (size_t at = 0, next; at < most; at = next + 1) {
		const char *nul = memchr(environment + at, 0, most - at);

		next = nul ? (size_t)(nul - environment) : most;
		if (!nul && cut)
			break;
		match_variable(dfa, environment + at, next - at, &all);
	}
	*ret = all;
}
