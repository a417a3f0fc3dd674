/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loads every program of the guard, those of all tiers at once, and prints what each cost the verifier: one line with its
 * name and the instructions that the verifier walked, of a million it would. Needs root and 5.16 (verified_insns,
 * commit aba64c7da983). See tools/verifier-baseline.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "maps.h"

#include "reprieve.skel.h"
#include "util.h"

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static int print_cost(const struct bpf_program *program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size)) {
		log_error("%s: %s", bpf_program__name(program), strerror(errno));
		return -errno;
	}
	printf("%s %u\n", bpf_program__name(program), info.verified_insns);
	return 0;
}

static int print_costs(struct reprieve *skel)
{
	struct bpf_program *program;
	int error = 0;

	/* Small maps, and what is slower where there is a choice: constants cut off the branches that they rule out. */
	bpf_map__set_max_entries(skel->maps.ring, (__u32)sysconf(_SC_PAGESIZE));
	skel->rodata->has_cookie = true;
	/* Parts are put into programs that are loaded already; those ending in _whole have the same in them. */
	bpf_object__for_each_program (program, skel->obj)
		if (!strncmp(bpf_program__section_name(program), "freplace/", strlen("freplace/")))
			bpf_program__set_autoload(program, false);
	if (reprieve__load(skel))
		return -errno;
	bpf_object__for_each_program (program, skel->obj)
		if (!error && bpf_program__autoload(program))
			error = print_cost(program);
	return error;
}

int main(void)
{
	struct reprieve *skel;
	int error;

	libbpf_set_print(print_libbpf);
	skel = reprieve__open();
	error = skel ? print_costs(skel) : -errno;
	reprieve__destroy(skel);
	if (error)
		log_error("the programs cannot be loaded here: %s", strerror(-error));
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
