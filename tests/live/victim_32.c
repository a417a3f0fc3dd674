/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A static 32-bit program that loses a file by int 0x80: victim_32 unlink|rename|truncate FILE [NEW]. System call tracepoints do
 * not fire for these. Exit status 1 where the call was refused.
 */
#define IA32_RENAME 38
#define IA32_TRUNCATE 92
#define IA32_UNLINK 10

static int call(int number, const char *first, const char *second)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second) : "memory");
	return result;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (argv[1][0] == 'r')
		return argc > 3 && !call(IA32_RENAME, argv[2], argv[3]) ? 0 : 1;
	if (argv[1][0] == 't')
		return call(IA32_TRUNCATE, argv[2], 0) ? 1 : 0;
	return call(IA32_UNLINK, argv[2], 0) ? 1 : 0;
}
