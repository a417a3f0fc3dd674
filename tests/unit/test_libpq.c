/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is said of a libpq is compared with the loaded library itself: dlsym() for the addresses, and the accessors
 * called on a block of memory whose every word tells its own offset. LIBPQ_PATHS, a list separated by colons, names
 * further libraries to try beside the system's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, dlmopen */
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "libpq.h"

#define SYSTEM_LIBPQ "libpq.so.5"
#define BREAKPOINT 0xcc /* int3 */
#define INNER_PROBES \
	(1U << PQ_SEND_QUERY | 1U << PQ_SEND_QUERY_PARAMS | 1U << PQ_SEND_PREPARE | 1U << PQ_SEND_QUERY_PREPARED)
#define ALL_PROBES (INNER_PROBES | 1U << PQ_FN)

static char system_path[PATH_MAX]; /* empty: there is no libpq here */

static int inspect_path(const char *path, struct libpq_functions *ret_functions)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return libpq_inspect(fd, ret_functions);
}

static int inspect_bytes(const void *bytes, size_t size, struct libpq_functions *ret_functions)
{
	_cleanup_close_ int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	return libpq_inspect(fd, ret_functions);
}

static uint8_t *read_file(const char *path, size_t *ret_size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	uint8_t *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &status), 0);
	bytes = malloc((size_t)status.st_size);
	assert_non_null(bytes);
	assert_int_equal(read(fd, bytes, (size_t)status.st_size), status.st_size);
	*ret_size = (size_t)status.st_size;
	return bytes;
}

static void need_libpq(void)
{
	if (!system_path[0])
		skip();
}

static void check_addresses(void *library, const struct libpq_functions *functions)
{
	for (int i = PQ_SEND_QUERY; i < PQ_FUNCTION_COUNT; i++) {
		void *symbol = dlsym(library, libpq_function_name((unsigned int)i));
		Dl_info info;

		assert_non_null(symbol);
		assert_true(dladdr(symbol, &info));
		assert_int_equal(functions->place[i].address, (uintptr_t)symbol - (uintptr_t)info.dli_fbase);
		assert_true(functions->place[i].size > 0);
	}
}

static void check_bytes(void *library, const char *path, const struct libpq_functions *functions)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t stored[8], loaded[8];

	for (int i = PQ_SEND_QUERY; i < PQ_FUNCTION_COUNT; i++) {
		const struct libpq_place *place = &functions->place[i];

		assert_int_equal(pread(fd, stored, sizeof(stored), (off_t)place->offset), sizeof(stored));
		memcpy(loaded, dlsym(library, libpq_function_name((unsigned int)i)), sizeof(loaded));
		/* Where a guard runs on this machine, its breakpoint stands in the first byte. */
		if (loaded[0] == BREAKPOINT)
			loaded[0] = stored[0];
		assert_memory_equal(stored, loaded, sizeof(stored));
	}
}

static void check_offsets(void *library, const struct libpq_offsets *offsets)
{
	static uint64_t words[1024];
	char *(*db)(void *) = (char *(*)(void *))dlsym(library, "PQdb");
	char *(*user)(void *) = (char *(*)(void *))dlsym(library, "PQuser");
	int (*descriptor)(void *) = (int (*)(void *))dlsym(library, "PQsocket");
	int (*ssl)(void *) = (int (*)(void *))dlsym(library, "PQsslInUse");
	uint8_t *bytes = (uint8_t *)words;

	for (size_t i = 0; i < sizeof(words); i += 4)
		*(uint32_t *)(bytes + i) = (uint32_t)i;
	assert_int_equal((uint32_t)(uintptr_t)db(words), offsets->database);
	assert_int_equal((uint32_t)(uintptr_t)user(words), offsets->user);
	assert_int_equal(descriptor(words), offsets->socket);
	*(int32_t *)(bytes + offsets->socket) = -1;
	assert_int_equal(descriptor(words), offsets->socket_else);
	memset(words, 0, sizeof(words));
	assert_int_equal(ssl(words), 0);
	bytes[offsets->ssl] = 1;
	assert_int_equal(ssl(words), 1);
}

static void test_loaded_library(void **state)
{
	struct libpq_functions functions;
	void *library;

	(void)state;
	need_libpq();
	library = dlopen(system_path, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(library);
	assert_int_equal(inspect_path(system_path, &functions), 0);
	assert_int_equal(functions.probe, ALL_PROBES);
	check_addresses(library, &functions);
	check_bytes(library, system_path, &functions);
	check_offsets(library, &functions.offsets);
	dlclose(library);
}

/* The C library that runs this test: all its functions are where the loader put them, and none is probed twice. */
static void test_libc(void **state)
{
	static const char *const names[LIBC_FUNCTION_COUNT] = {
		[LIBC_UNLINK] = "unlink",	[LIBC_UNLINKAT] = "unlinkat", [LIBC_RMDIR] = "rmdir",
		[LIBC_REMOVE] = "remove",	[LIBC_RENAME] = "rename",     [LIBC_RENAMEAT] = "renameat",
		[LIBC_RENAMEAT2] = "renameat2", [LIBC_TRUNCATE] = "truncate", [LIBC_FTRUNCATE] = "ftruncate",
	};
	struct libpq_functions functions;
	Dl_info info;

	(void)state;
	assert_true(dladdr(dlsym(RTLD_DEFAULT, "unlink"), &info));
	assert_int_equal(inspect_path(info.dli_fname, &functions), 0);
	assert_int_equal(functions.probe, 0);
	/* Its remove calls its unlink and rmdir. */
	assert_int_equal(functions.libc.probe, ((1 << LIBC_FUNCTION_COUNT) - 2) & ~(1 << LIBC_REMOVE));
	for (int i = 1; i < LIBC_FUNCTION_COUNT; i++)
		assert_ptr_equal((char *)info.dli_fbase + functions.libc.place[i].address,
				 dlsym(RTLD_DEFAULT, names[i]));
	assert_ptr_equal(dlsym(RTLD_DEFAULT, "truncate64"), dlsym(RTLD_DEFAULT, "truncate"));
	assert_ptr_equal(dlsym(RTLD_DEFAULT, "ftruncate64"), dlsym(RTLD_DEFAULT, "ftruncate"));
}

/* Other versions may want libraries that are not here; then only the file is looked at. */
static void test_other_versions(void **state)
{
	_cleanup_free_ char *list = NULL;
	char *rest;

	(void)state;
	if (!getenv("LIBPQ_PATHS"))
		skip();
	rest = list = strdup(getenv("LIBPQ_PATHS"));
	assert_non_null(list);
	for (char *path; (path = strsep(&rest, ":"));) {
		struct libpq_functions functions;
		void *library = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);

		assert_int_equal(inspect_path(path, &functions), 0);
		assert_int_equal(functions.probe, ALL_PROBES);
		assert_true(functions.offsets.database > 0 && functions.offsets.user > 0);
		assert_true(functions.offsets.socket > 0 && functions.offsets.ssl > 0);
		if (library) {
			check_addresses(library, &functions);
			check_offsets(library, &functions.offsets);
			dlclose(library);
		}
		print_message("%s: %s\n", path, library ? "compared with the loaded library" : dlerror());
	}
}

static void test_files_without(void **state)
{
	struct libpq_functions functions;
	uint8_t header[sizeof(Elf64_Ehdr)] = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT};

	(void)state;
	assert_int_equal(inspect_path("/proc/self/exe", &functions), -ENOENT);
	assert_int_equal(inspect_path("/etc/passwd", &functions), -EBADMSG);
	assert_int_equal(inspect_path("/dev/null", &functions), -EBADMSG);
	assert_int_equal(inspect_bytes(header, sizeof(header), &functions), -ENOTSUP);
	assert_int_equal(inspect_bytes(header, 10, &functions), -EBADMSG);
	header[EI_CLASS] = ELFCLASS64;
	((Elf64_Ehdr *)header)->e_machine = EM_AARCH64;
	assert_int_equal(inspect_bytes(header, sizeof(header), &functions), -ENOTSUP);
	((Elf64_Ehdr *)header)->e_machine = EM_X86_64;
	((Elf64_Ehdr *)header)->e_type = ET_DYN;
	assert_int_equal(inspect_bytes(header, sizeof(header), &functions), -EBADMSG);
	assert_int_equal(libpq_inspect(-1, &functions), -EBADF);
}

/* A shared object with symbols and code of the test's own, without a dynamic section: as a static program has them. */
#define MADE_CODE 0x1000 /* offset of the code, */
#define MADE_ADDRESS 0x401000 /* and the address it is linked at */
#define MADE_SIZE 0x2000

struct made {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	Elf64_Shdr sections[3]; /* none, .symtab, .strtab */
	Elf64_Sym symbols[8];
	char names[256];
	uint8_t padding[MADE_CODE - sizeof(Elf64_Ehdr) - sizeof(Elf64_Phdr) - 3 * sizeof(Elf64_Shdr) -
			8 * sizeof(Elf64_Sym) - 256];
	uint8_t code[MADE_SIZE - MADE_CODE];
};

_Static_assert(sizeof(struct made) == MADE_SIZE, "layout");

static void make(struct made *made)
{
	*made = (struct made){
		.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			   .e_type = ET_EXEC,
			   .e_machine = EM_X86_64,
			   .e_phoff = offsetof(struct made, segment),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 1,
			   .e_shoff = offsetof(struct made, sections),
			   .e_shentsize = sizeof(Elf64_Shdr),
			   .e_shnum = 3},
		.segment = {.p_type = PT_LOAD,
			    .p_flags = PF_R | PF_X,
			    .p_offset = MADE_CODE,
			    .p_vaddr = MADE_ADDRESS,
			    .p_filesz = MADE_SIZE - MADE_CODE},
		.sections = {[1] = {.sh_type = SHT_SYMTAB,
				    .sh_offset = offsetof(struct made, symbols),
				    .sh_size = sizeof(made->symbols),
				    .sh_link = 2,
				    .sh_entsize = sizeof(Elf64_Sym)},
			     [2] = {.sh_type = SHT_STRTAB,
				    .sh_offset = offsetof(struct made, names),
				    .sh_size = sizeof(made->names)}},
	};
	memset(made->code, 0x90, sizeof(made->code));
}

static void add_symbol(struct made *made, const char *name, uint64_t address, uint64_t size)
{
	size_t i = 1, end = 1;

	while (made->symbols[i].st_name) {
		end += strlen(made->names + end) + 1;
		i++;
	}
	assert_true(i < ARRAY_SIZE(made->symbols) && end + strlen(name) < sizeof(made->names));
	strcpy(made->names + end, name);
	made->symbols[i] = (Elf64_Sym){.st_name = (Elf64_Word)end,
				       .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
				       .st_shndx = 1,
				       .st_value = address,
				       .st_size = size};
}

static void add_call(struct made *made, uint64_t from, uint64_t to)
{
	int32_t distance = (int32_t)(to - (from + 5));

	made->code[from - MADE_ADDRESS] = 0xe8;
	memcpy(made->code + (from - MADE_ADDRESS) + 1, &distance, sizeof(distance));
}

static void test_static_program(void **state)
{
	struct libpq_functions functions;
	struct made made;

	(void)state;
	make(&made);
	add_symbol(&made, "PQexec", 0x401100, 0x40);
	add_symbol(&made, "PQsendQuery", 0x401200, 0x40);
	add_symbol(&made, "PQexecute", 0x401300, 0x40);
	add_call(&made, 0x401120, 0x401200);
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), 0);
	assert_int_equal(functions.probe, 1U << PQ_SEND_QUERY);
	assert_int_equal(functions.place[PQ_SEND_QUERY].address, 0x401200);
	assert_int_equal(functions.place[PQ_SEND_QUERY].offset, 0x1200);
	assert_int_equal(functions.place[PQ_SEND_QUERY].size, 0x40);
	assert_int_equal(functions.place[PQ_EXEC].offset, 0x1100);
	assert_int_equal(functions.place[PQ_PREPARE].address, 0);
	assert_int_equal(functions.offsets.database, -1);
	assert_int_equal(functions.offsets.socket, -1);
}

static void test_outer_is_probed_when_needed(void **state)
{
	struct libpq_functions functions;
	struct made made;

	(void)state;
	make(&made);
	add_symbol(&made, "PQexec", 0x401100, 0x40);
	add_symbol(&made, "PQprepare", 0x401140, 0x40);
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), 0);
	assert_int_equal(functions.probe, 1U << PQ_EXEC | 1U << PQ_PREPARE);

	/* The compiler put the inner function's code into the outer: a probe on the inner one would miss it. */
	add_symbol(&made, "PQsendQuery", 0x401200, 0x40);
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), 0);
	assert_int_equal(functions.probe, 1U << PQ_EXEC | 1U << PQ_SEND_QUERY | 1U << PQ_PREPARE);

	/* A call that stands behind the function is not its own. */
	add_call(&made, 0x401140, 0x401200);
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), 0);
	assert_true(functions.probe & 1U << PQ_EXEC);
}

static void test_symbols_that_do_not_count(void **state)
{
	struct libpq_functions functions;
	struct made made;

	(void)state;
	make(&made);
	add_symbol(&made, "PQexec", 0x401100, 0x40);
	made.symbols[1].st_shndx = SHN_UNDEF;
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), -ENOENT);
	made.symbols[1].st_shndx = 1;
	made.symbols[1].st_value = 0x500000;
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), -ENOENT);
	made.symbols[1].st_value = 0x401100;
	made.symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), -ENOENT);
	made.symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), 0);
	made.sections[1].sh_size = 1ULL << 40;
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), -EFBIG);
	made.sections[1].sh_size = sizeof(made.symbols);
	made.sections[2].sh_offset = UINT64_MAX - 8;
	assert_int_equal(inspect_bytes(&made, sizeof(made), &functions), -EBADMSG);
}

/* Names are searched in pieces of 64 KiB: one that lies across a border is found, and once. */
static void test_name_across_pieces(void **state)
{
	const size_t names_size = 200000;
	_cleanup_free_ uint8_t *bytes = calloc(1, sizeof(struct made) + names_size);
	struct made *made = (struct made *)bytes;

	(void)state;
	assert_non_null(bytes);
	make(made);
	add_symbol(made, "PQsendQueryPrepared", 0x401100, 0x40);
	made->sections[2].sh_offset = sizeof(*made);
	made->sections[2].sh_size = names_size;
	for (size_t at = 65536 - 25; at < 65536 + 5; at++) {
		struct libpq_functions functions;

		memset(bytes + sizeof(*made), 0, names_size);
		strcpy((char *)bytes + sizeof(*made) + at, "PQsendQueryPrepared");
		made->symbols[1].st_name = (Elf64_Word)at;
		assert_int_equal(inspect_bytes(bytes, sizeof(*made) + names_size, &functions), 0);
		assert_int_equal(functions.probe, 1U << PQ_SEND_QUERY_PREPARED);
	}
}

/* The loader needs no section headers, a debugger no dynamic section: either will do. */
static void test_one_table_suffices(void **state)
{
	struct libpq_functions whole, functions;
	_cleanup_free_ uint8_t *bytes = NULL;
	Elf64_Ehdr *header;
	Elf64_Phdr *segments;
	size_t size;

	(void)state;
	need_libpq();
	bytes = read_file(system_path, &size);
	header = (Elf64_Ehdr *)bytes;
	segments = (Elf64_Phdr *)(bytes + header->e_phoff);
	assert_int_equal(inspect_bytes(bytes, size, &whole), 0);

	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_DYNAMIC)
			segments[i].p_type = PT_NULL;
	assert_int_equal(inspect_bytes(bytes, size, &functions), 0);
	assert_memory_equal(functions.place, whole.place, sizeof(whole.place));

	free(take_pointer(bytes));
	bytes = read_file(system_path, &size);
	header = (Elf64_Ehdr *)bytes;
	header->e_shoff = UINT64_MAX - 63;
	assert_int_equal(inspect_bytes(bytes, size, &functions), 0);
	assert_memory_equal(&functions, &whole, sizeof(whole));
	header->e_shnum = 0;
	assert_int_equal(inspect_bytes(bytes, size, &functions), 0);
	assert_memory_equal(&functions, &whole, sizeof(whole));
}

static void check_damaged(int fd)
{
	struct libpq_functions functions;
	int err = libpq_inspect(fd, &functions);

	assert_true(err == 0 || err == -ENOENT || err == -EBADMSG || err == -ENOTSUP || err == -EFBIG);
	for (int i = 0; err == 0 && i < PQ_FUNCTION_COUNT; i++)
		assert_true(functions.place[i].address || !(functions.probe & 1U << i));
}

/* A quarter of the damage goes to each of: the headers, the dynamic section, the section headers, anywhere. */
static void test_damaged_files(void **state)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_close_ int fd = memfd_create("damaged", MFD_CLOEXEC);
	unsigned int seed = 20261122;
	size_t size, dynamic = 0;
	const Elf64_Ehdr *header;
	const Elf64_Phdr *segments;

	(void)state;
	need_libpq();
	bytes = read_file(system_path, &size);
	assert_int_equal(write(fd, bytes, size), size);
	header = (Elf64_Ehdr *)bytes;
	segments = (Elf64_Phdr *)(bytes + header->e_phoff);
	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_DYNAMIC)
			dynamic = segments[i].p_offset;
	for (int round = 0; round < 4000; round++) {
		const size_t starts[] = {0, dynamic, header->e_shoff, 0};
		const size_t lengths[] = {600, 400, size - header->e_shoff, size};
		size_t at[8];

		for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
			uint8_t byte = (uint8_t)rand_r(&seed);

			at[i] = starts[round % 4] + (size_t)rand_r(&seed) % lengths[round % 4];
			at[i] = MIN(at[i], size - 1);
			assert_int_equal(pwrite(fd, &byte, 1, (off_t)at[i]), 1);
		}
		check_damaged(fd);
		for (size_t i = 0; i < ARRAY_SIZE(at); i++)
			assert_int_equal(pwrite(fd, bytes + at[i], 1, (off_t)at[i]), 1);
	}
	for (size_t length = size; length > 0; length -= MIN(length, size / 300 + 1)) {
		assert_int_equal(ftruncate(fd, (off_t)length), 0);
		check_damaged(fd);
	}
}

static void test_outer_function(void **state)
{
	const struct libpq_functions functions = {
		.place = {[PQ_SEND_QUERY] = {0x1000, 0x1000, 0x20},
			  [PQ_SEND_PREPARE] = {0x1100, 0x1100, 0x80},
			  [PQ_EXEC] = {0x2000, 0x2000, 0x40},
			  [PQ_PREPARE] = {0x2040, 0x2040, 0x40}},
	};

	(void)state;
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_QUERY, 0x1021), PQ_EXEC);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_QUERY, 0x1040), PQ_EXEC);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_QUERY, 0x1041), PQ_SEND_QUERY);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_QUERY, 0x1000), PQ_SEND_QUERY);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_QUERY, 0x1060), PQ_SEND_QUERY);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_QUERY, -0x7ffff000000), PQ_SEND_QUERY);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_PREPARE, 0x2060 - 0x1100), PQ_PREPARE);
	assert_int_equal(libpq_outer_function(&functions, PQ_SEND_PREPARE, 0x2020 - 0x1100), PQ_SEND_PREPARE);
	assert_int_equal(libpq_outer_function(&functions, PQ_EXEC, 0), PQ_EXEC);
}

/* Files below are found by scanning processes; what else runs on the machine is passed over by name. */
struct search {
	char wanted[PATH_MAX];
	int count; /* of finds with that name */
	int answer; /* to give */
	uint64_t id;
	dev_t dev;
	ino_t ino;
};

static int count_found(const struct libpq_library *library, void *data)
{
	struct search *search = data;
	struct libpq_functions functions;

	if (!starts_with(library->name, search->wanted))
		return 0;
	assert_int_equal(inspect_path(library->path, &functions), 0);
	assert_memory_equal(&functions, &library->functions, sizeof(functions));
	search->count++;
	search->id = library->id;
	search->dev = library->dev;
	search->ino = library->ino;
	return search->answer;
}

struct user {
	char directory[32];
	char library[64];
	pid_t pid; /* a process that maps the library */
};

static void copy_file(const char *from, const char *to)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_close_ int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	size_t size;

	bytes = read_file(from, &size);
	assert_int_equal(write(fd, bytes, size), size);
}

static int map_forever(const char *path, int ready)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed assertion leaves without stop_user() */
	if (fd < 0 || mmap(NULL, 65536, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		return 1;
	close(fd);
	if (write(ready, "", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void start_user(struct user *user)
{
	int ready[2];
	char byte;

	strcpy(user->directory, "/tmp/test_libpq.XXXXXX");
	assert_non_null(mkdtemp(user->directory));
	snprintf(user->library, sizeof(user->library), "%s/libpq-bundled.so", user->directory);
	copy_file(system_path, user->library);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	user->pid = fork();
	assert_true(user->pid >= 0);
	if (user->pid == 0)
		_exit(map_forever(user->library, ready[1]));
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void stop_user(struct user *user)
{
	kill(user->pid, SIGKILL);
	waitpid(user->pid, NULL, 0);
	unlink(user->library);
	rmdir(user->directory);
}

/* map_files may be read with CAP_SYS_ADMIN only. */
static void need_map_files(void)
{
	DIR *directory = opendir("/proc/self/map_files");
	struct dirent *entry = NULL;
	struct stat status;
	bool readable = false;

	need_libpq();
	while (directory && (entry = readdir(directory)) && !readable)
		readable = entry->d_name[0] != '.' && !fstatat(dirfd(directory), entry->d_name, &status, 0);
	if (directory)
		closedir(directory);
	if (!readable)
		skip();
}

static void test_scan_processes(void **state)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL;
	struct search search = {0};
	struct stat status;
	struct user user;

	(void)state;
	need_map_files();
	start_user(&user);
	strcpy(search.wanted, user.library);
	assert_int_equal(stat(user.library, &status), 0);
	assert_int_equal(unlink(user.library), 0);
	assert_int_equal(libpq_set_new(&set), 0);

	search.answer = -EIO;
	assert_int_equal(libpq_scan_processes(set, count_found, &search), -EIO);
	assert_int_equal(search.count, 1);
	search.answer = 0;
	assert_int_equal(libpq_scan_processes(set, count_found, &search), 0);
	assert_int_equal(search.count, 2);
	assert_int_equal(search.dev, status.st_dev);
	assert_int_equal(search.ino, status.st_ino);
	assert_int_equal(libpq_scan_processes(set, count_found, &search), 0);
	assert_int_equal(search.count, 2);
	assert_string_equal(libpq_library_by_id(set, search.id)->path, "");
	assert_null(libpq_library_by_id(set, 0));
	assert_null(libpq_library_by_id(set, libpq_library_count(set) + 1));
	stop_user(&user);
}

static void test_inspect_process(void **state)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL, *other = NULL;
	struct search search = {0};
	struct stat status;
	struct user user;
	struct libpq_wanted wanted = {};

	(void)state;
	need_map_files();
	start_user(&user);
	strcpy(search.wanted, user.library);
	assert_int_equal(stat(user.library, &status), 0);
	wanted.dev = major(status.st_dev) << 20 | minor(status.st_dev);
	wanted.ino = status.st_ino;
	assert_int_equal(libpq_set_new(&set), 0);
	assert_int_equal(libpq_inspect_process(set, user.pid, &wanted, count_found, &search), 0);
	assert_int_equal(search.count, 1);
	assert_int_equal(libpq_inspect_process(set, user.pid, &wanted, count_found, &search), 0);
	assert_int_equal(search.count, 1);

	/* A file that maps does not show by these numbers is found all the same, and then it is told that it may not be it. */
	wanted = (struct libpq_wanted){1, 1, NULL, 0};
	assert_int_equal(libpq_set_new(&other), 0);
	assert_int_equal(libpq_inspect_process(other, user.pid, &wanted, count_found, &search), -ENOENT);
	assert_int_equal(search.count, 2);
	stop_user(&user);
	assert_int_equal(libpq_inspect_process(other, user.pid, &wanted, count_found, &search), -ESRCH);
}

/* By its last component, also when the file is deleted; a longer name is another one. */
static void test_inspect_by_name(void **state)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL;
	struct libpq_wanted wanted = {1, 1, NULL, 0};
	struct search search = {0};
	struct user user;

	(void)state;
	need_map_files();
	start_user(&user);
	strcpy(search.wanted, user.library);
	wanted.name = strrchr(user.library, '/') + 1;
	wanted.name_length = strlen(wanted.name);
	assert_int_equal(unlink(user.library), 0);
	assert_int_equal(libpq_set_new(&set), 0);
	assert_int_equal(libpq_inspect_process(set, user.pid, &wanted, count_found, &search), 0);
	assert_int_equal(search.count, 1);
	wanted.name_length -= 1;
	assert_int_equal(libpq_inspect_process(set, user.pid, &wanted, count_found, &search), -ENOENT);
	stop_user(&user);
}

static void *sleep_forever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* The maps of a process whose first thread has ended read empty. */
static void test_first_thread_ended(void **state)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL;
	struct search search = {0};
	char maps[64], line[256];
	struct user user;
	pid_t pid;

	(void)state;
	need_map_files();
	start_user(&user);
	strcpy(search.wanted, user.library);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(user.library, O_RDONLY | O_CLOEXEC);
		pthread_t thread;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fd < 0 || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ||
		    pthread_create(&thread, NULL, sleep_forever, NULL))
			_exit(1);
		pthread_exit(NULL);
	}
	kill(user.pid, SIGKILL);
	waitpid(user.pid, NULL, 0);
	snprintf(maps, sizeof(maps), "/proc/%d/maps", pid);
	for (int i = 0; i < 500; i++) {
		_cleanup_fclose_ FILE *file = fopen(maps, "re");

		if (file && !fgets(line, sizeof(line), file))
			break;
		usleep(10000);
	}
	assert_int_equal(libpq_set_new(&set), 0);
	assert_int_equal(libpq_inspect_process(set, pid, &(struct libpq_wanted){1, 1, NULL, 0}, count_found, &search),
			 -ENOENT);
	assert_int_equal(search.count, 1);
	user.pid = pid;
	stop_user(&user);
}

/* A cache as ldconfig writes it, of one library, behind `before` bytes of an older table. */
static size_t make_cache(uint8_t *bytes, size_t before, const char *path)
{
	struct {
		char magic[20];
		uint32_t count, string_bytes, unused[5];
		int32_t flags;
		uint32_t name, path, os_version;
		uint64_t hwcap;
	} head = {.count = 1, .flags = 0x303, .name = sizeof(head), .path = sizeof(head) + 11};

	memcpy(head.magic, "glibc-ld.so.cache1.1", sizeof(head.magic));
	memset(bytes, 'x', before);
	memcpy(bytes + before, &head, sizeof(head));
	memcpy(bytes + before + sizeof(head), "libpq.so.5", 11);
	strcpy((char *)bytes + before + sizeof(head) + 11, path);
	return before + sizeof(head) + 11 + strlen(path) + 1;
}

static int scan_cache(const uint8_t *bytes, size_t size, struct search *search)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL;
	_cleanup_close_ int fd = memfd_create("cache", MFD_CLOEXEC);
	char path[32];

	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(libpq_set_new(&set), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return libpq_scan_loader(set, path, count_found, search);
}

static void test_loader_cache(void **state)
{
	uint8_t bytes[PATH_MAX + 1024];
	struct search search = {0};
	unsigned int seed = 7;
	size_t size;

	(void)state;
	need_libpq();
	strcpy(search.wanted, system_path);
	for (size_t before = 0; before < 100; before += 48) {
		size = make_cache(bytes, before, system_path);
		assert_int_equal(scan_cache(bytes, size, &search), 0);
	}
	assert_int_equal(search.count, 3);
	for (size_t length = 0; length < size - 1; length++)
		assert_int_equal(scan_cache(bytes, length, &search), 0);
	for (int i = 0; i < 2000; i++) {
		size = make_cache(bytes, 0, system_path);
		bytes[20 + (size_t)rand_r(&seed) % 52] = (uint8_t)rand_r(&seed);
		assert_int_equal(scan_cache(bytes, size, &search), 0);
	}
	search.count = 0;
	size = make_cache(bytes, 0, system_path);
	search.answer = -EPERM;
	assert_int_equal(scan_cache(bytes, size, &search), -EPERM);
	assert_int_equal(search.count, 1);
}

static void test_no_loader_cache(void **state)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL;
	struct search search = {0};

	(void)state;
	assert_int_equal(libpq_set_new(&set), 0);
	assert_int_equal(libpq_scan_loader(set, "/nonexistent/ld.so.cache", count_found, &search), 0);
	assert_int_equal(libpq_library_count(set), 0);
}

static void test_outer_function_of_set(void **state)
{
	_cleanup_libpq_set_ struct libpq_set *set = NULL;
	const struct libpq_functions *functions;
	struct search search = {.wanted = "/"};
	uint8_t bytes[PATH_MAX + 1024];
	char path[32];
	int64_t caller;
	int fd;

	(void)state;
	need_libpq();
	fd = memfd_create("cache", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_true(write(fd, bytes, make_cache(bytes, 0, system_path)) > 0);
	assert_int_equal(libpq_set_new(&set), 0);
	assert_int_equal(libpq_scan_loader(set, path, count_found, &search), 0);
	assert_int_equal(libpq_library_count(set), 1);
	functions = &libpq_library_by_id(set, 1)->functions;
	caller = (int64_t)(functions->place[PQ_EXEC].address + 0x21 - functions->place[PQ_SEND_QUERY].address);
	for (uint64_t id = 0; id < 2; id++) {
		assert_int_equal(libpq_set_outer_function(set, id, PQ_SEND_QUERY, caller), PQ_EXEC);
		assert_int_equal(libpq_set_outer_function(set, id, PQ_SEND_QUERY, 1), PQ_SEND_QUERY);
		assert_int_equal(libpq_set_outer_function(set, id, PQ_FN, caller), PQ_FN);
	}
	close(fd);
}

static void find_system_library(void)
{
	void *library = dlopen(SYSTEM_LIBPQ, RTLD_NOW | RTLD_LOCAL);
	struct link_map *map = NULL;

	if (!library)
		return;
	if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0)
		realpath(map->l_name, system_path);
	dlclose(library);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loaded_library),
		cmocka_unit_test(test_libc),
		cmocka_unit_test(test_other_versions),
		cmocka_unit_test(test_files_without),
		cmocka_unit_test(test_static_program),
		cmocka_unit_test(test_outer_is_probed_when_needed),
		cmocka_unit_test(test_symbols_that_do_not_count),
		cmocka_unit_test(test_name_across_pieces),
		cmocka_unit_test(test_one_table_suffices),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_outer_function),
		cmocka_unit_test(test_scan_processes),
		cmocka_unit_test(test_inspect_process),
		cmocka_unit_test(test_inspect_by_name),
		cmocka_unit_test(test_first_thread_ended),
		cmocka_unit_test(test_loader_cache),
		cmocka_unit_test(test_no_loader_cache),
		cmocka_unit_test(test_outer_function_of_set),
	};

	find_system_library();
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
