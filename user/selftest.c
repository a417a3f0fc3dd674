/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "selftest.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <signal.h>

#include "libc.h"

#define SELFTEST_DIRECTORY "/tmp/reprieve-selftest-XXXXXX"

static int make_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	return write(fd, "reprieve\n", 9) == 9 ? 0 : -EIO;
}

/* A block device that leads to no driver: the open is judged, and fails. /tmp may allow no devices. */
static void open_device(void)
{
	char path[64];
	int fd = -1;

	snprintf(path, sizeof(path), "/dev/reprieve-selftest-%d", (int)getpid());
	if (!mknod("device", S_IFBLK | 0600, makedev(0, 0)))
		fd = open("device", O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && !mknod(path, S_IFBLK | 0600, makedev(0, 0))) {
		fd = open(path, O_WRONLY | O_CLOEXEC);
		unlink(path);
	}
	if (fd >= 0)
		close(fd);
	unlink("device");
}

#ifdef __x86_64__
/* A program that ends at once: to run ourselves would cost more than the rest of the test, for the libraries' sake. */
static const struct {
	Elf64_Ehdr head;
	Elf64_Phdr segment;
	unsigned char code[9];
} program = {
	.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		 .e_type = ET_EXEC,
		 .e_machine = EM_X86_64,
		 .e_version = EV_CURRENT,
		 .e_entry = 0x400000 + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
		 .e_phoff = sizeof(Elf64_Ehdr),
		 .e_ehsize = sizeof(Elf64_Ehdr),
		 .e_phentsize = sizeof(Elf64_Phdr),
		 .e_phnum = 1},
	.segment = {.p_type = PT_LOAD,
		    .p_flags = PF_R | PF_X,
		    .p_vaddr = 0x400000,
		    .p_filesz = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + 9,
		    .p_memsz = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + 9,
		    .p_align = 4096},
	.code = {0x31, 0xff, /* xor edi, edi */
		 0xb8, 0xe7, 0, 0, 0, /* mov eax, SYS_exit_group */
		 0x0f, 0x05}, /* syscall */
};

static void exec_program(void)
{
	int fd = open("program", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);

	if (fd < 0)
		return;
	if (write(fd, &program, sizeof(program)) == (ssize_t)sizeof(program) && !close(fd))
		execl("program", "program", NULL);
}
#else
static void exec_program(void)
{
}
#endif

/* Each of the operations, on files that it made; the last is an exec, of ourselves where /tmp is mounted noexec. A system
 * that cannot do one of them has it not proven. */
static void do_operations(void)
{
	int fd;

	mkdir("directory", 0700);
	rmdir("directory");
	if (make_file("a") || make_file("b"))
		return;
	rename("a", "b");
	open_device();
	fd = open("b", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4);
		if (ftruncate(fd, 1))
			log_debug("selftest: ftruncate: %s", strerror(errno));
		close(fd);
	}
	unlink("b");
	exec_program();
	execl("/proc/self/exe", "reprieve", "--version", NULL);
}

static void remains_away(const char *directory)
{
	static const char *const names[] = {"a", "b", "device", "directory", "program"};
	_cleanup_close_ int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unlinkat(fd, names[i], 0);
		unlinkat(fd, names[i], AT_REMOVEDIR);
	}
	rmdir(directory);
}

static void quiet(void)
{
	_cleanup_close_ int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		dup2(fd, STDOUT_FILENO);
}

static pid_t start_child(const char *directory, int ret_pipe[2])
{
	pid_t child;

	if (pipe2(ret_pipe, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		char go;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		quiet();
		close(ret_pipe[1]);
		if (read(ret_pipe[0], &go, 1) == 1 && !chdir(directory))
			do_operations();
		_exit(0);
	}
	close(ret_pipe[0]);
	ret_pipe[0] = -1;
	return child;
}

/* Makes the child a session of its own, or a member of the one that is given. */
static int enlist(struct guard *guard, pid_t child, struct session_id *ret_session)
{
	struct process_id process = {.pid = (uint32_t)child};
	struct session_id session = *ret_session;
	int error = guard_process_start(guard, process.pid, &process.start);

	if (error)
		return error;
	if (!session.pid)
		session = (struct session_id){.start = process.start, .pid = process.pid};
	guard_exempt(guard, &session);
	error = guard_add_session(guard, &session, 0, 0, 0, NULL);
	if (!error)
		error = guard_add_task(guard, &process, &session, 0);
	*ret_session = session;
	return error;
}

int selftest_run(struct guard *guard, struct session_id *ret_session)
{
	char directory[] = SELFTEST_DIRECTORY;
	uint64_t before[COUNT_SIZE], after[COUNT_SIZE];
	int ends[2] = {-1, -1}, error;
	bool probed;
	pid_t child;

	if (!mkdtemp(directory))
		return -errno;
	error = guard_counters(guard, before);
	child = error ? error : start_child(directory, ends);
	if (child < 0) {
		remains_away(directory);
		return (int)child;
	}
	probed = guard_probes_libc(guard);
	if (!probed)
		libc_probe_self(guard);
	error = enlist(guard, child, ret_session);
	if (!error && write(ends[1], "g", 1) != 1)
		error = -EIO;
	close(ends[1]);
	waitpid(child, NULL, 0);
	if (!probed)
		guard_unprobe_libc(guard);
	remains_away(directory);
	guard_remove_session(guard, ret_session);
	if (!error)
		error = guard_counters(guard, after);
	for (enum op op = 0; op < OP_COUNT && !error; op++)
		if (after[COUNT_OPS + op] > before[COUNT_OPS + op])
			guard_mark_proven(guard, op, after[COUNT_LIBC + op] > before[COUNT_LIBC + op]);
	return error;
}
