/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * client MODE CONNINFO STATEMENT...: sends the statements through the libpq function that MODE names. "@FILE" for a
 * statement stands for the bytes of a file, up to a NUL in it. They are mapped, not read: nothing of this process has
 * touched the text when libpq gets it.
 *
 * large-object takes the number of a large object for the only statement, and removes it (PQfn).
 * threads sends every statement on a thread and a connection of its own, all at the same time.
 */
#include <fcntl.h>
#include <libpq-fe.h>
#include <libpq/libpq-fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(PGconn *connection, int good)
{
	if (good)
		return;
	fprintf(stderr, "client: %s", PQerrorMessage(connection));
	exit(1);
}

static PGconn *connect_to(const char *conninfo)
{
	PGconn *connection = PQconnectdb(conninfo);

	check(connection, PQstatus(connection) == CONNECTION_OK);
	return connection;
}

static void check_result(PGconn *connection, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	check(connection, status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_PIPELINE_SYNC);
	PQclear(result);
}

static void take_results(PGconn *connection)
{
	PGresult *result;

	while ((result = PQgetResult(connection)))
		check_result(connection, result);
}

static void run_exec(PGconn *connection, const char *statement)
{
	check_result(connection, PQexec(connection, statement));
}

static void run_exec_params(PGconn *connection, const char *statement)
{
	check_result(connection, PQexecParams(connection, statement, 0, NULL, NULL, NULL, NULL, 0));
}

static void run_prepare(PGconn *connection, const char *statement)
{
	check_result(connection, PQprepare(connection, "p", statement, 0, NULL));
	check_result(connection, PQexecPrepared(connection, "p", 0, NULL, NULL, NULL, 0));
	check_result(connection, PQexec(connection, "DEALLOCATE p"));
}

static void run_send(PGconn *connection, const char *statement)
{
	check(connection, PQsendQuery(connection, statement));
	take_results(connection);
}

static void run_send_params(PGconn *connection, const char *statement)
{
	check(connection, PQsendQueryParams(connection, statement, 0, NULL, NULL, NULL, NULL, 0));
	take_results(connection);
}

static void run_send_prepare(PGconn *connection, const char *statement)
{
	check(connection, PQsendPrepare(connection, "", statement, 0, NULL));
	take_results(connection);
	check(connection, PQsendQueryPrepared(connection, "", 0, NULL, NULL, NULL, 0));
	take_results(connection);
}

static void run_pipeline(PGconn *connection, const char *statement)
{
	check(connection, PQenterPipelineMode(connection));
	check(connection, PQsendQueryParams(connection, statement, 0, NULL, NULL, NULL, NULL, 0));
	check(connection, PQpipelineSync(connection));
	take_results(connection);
	take_results(connection);
	check(connection, PQexitPipelineMode(connection));
}

static void run_large_object(PGconn *connection, const char *number)
{
	run_exec(connection, "BEGIN");
	check(connection, lo_unlink(connection, (Oid)strtoul(number, NULL, 10)) == 1);
	run_exec(connection, "COMMIT");
}

static const struct {
	const char *mode;
	void (*run)(PGconn *connection, const char *statement);
} modes[] = {
	{"exec", run_exec},	    {"exec-params", run_exec_params},	{"prepare", run_prepare},
	{"send", run_send},	    {"send-params", run_send_params},	{"send-prepare", run_send_prepare},
	{"pipeline", run_pipeline}, {"large-object", run_large_object},
};

/* Lives as long as the program. */
static const char *statement_of(const char *argument)
{
	struct stat status;
	const char *text;
	int fd;

	if (argument[0] != '@')
		return argument;
	fd = open(argument + 1, O_RDONLY);
	if (fd < 0 || fstat(fd, &status)) {
		perror(argument + 1);
		exit(1);
	}
	text = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED) {
		perror(argument + 1);
		exit(1);
	}
	close(fd);
	return text;
}

static const char *thread_conninfo;
static pthread_barrier_t all_connected;

static void *run_thread(void *statement)
{
	PGconn *connection = connect_to(thread_conninfo);

	pthread_barrier_wait(&all_connected);
	run_exec(connection, statement);
	PQfinish(connection);
	return NULL;
}

static int run_threads(const char *conninfo, char **statements, int count)
{
	pthread_t *threads = calloc((size_t)count, sizeof(*threads));

	if (!threads || pthread_barrier_init(&all_connected, NULL, (unsigned int)count))
		return 1;
	thread_conninfo = conninfo;
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run_thread, statements[i]))
			return 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return 0;
}

static int run_mode(const char *mode, const char *conninfo, char **statements, int count)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		PGconn *connection;

		if (strcmp(mode, modes[i].mode) != 0)
			continue;
		connection = connect_to(conninfo);
		for (int k = 0; k < count; k++) {
			modes[i].run(connection, statement_of(statements[k]));
			printf("ran\n");
			fflush(stdout);
		}
		PQfinish(connection);
		return 0;
	}
	fprintf(stderr, "client: no such mode: %s\n", mode);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: client MODE CONNINFO STATEMENT...\n");
		return 2;
	}
	if (strcmp(argv[1], "threads") == 0)
		return run_threads(argv[2], argv + 3, argc - 3);
	return run_mode(argv[1], argv[2], argv + 3, argc - 3);
}
