#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""SQL live: real clients under `reprieve run` against a real PostgreSQL server.

    test_sql.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. Each case asserts what a user cares about: the table is still there, or gone;
the server's log has the statement, or never saw it; the client was killed, or was not; the event says what happened.
Needs root, a PostgreSQL server and the clients; what is missing is skipped with the reason. The server is the tests'
own, and every process judged is in a session that a case began.
"""

import contextlib
import glob
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import postgres  # noqa: E402 (from this file's own directory)
import ring  # noqa: E402
from ring import Failure, Skip, expect  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = os.path.join(HERE, "sql_clients")
PYTHON = "/usr/bin/python3"  # for which the distribution packages psycopg
KILLED = 128 + signal.SIGKILL
TIMEOUT = 60  # seconds for one command


# ---- one command under `reprieve run`


class Result:
    """What a command came to: its exit status, what it printed, and the events of its session."""

    def __init__(self, status, output, errors, events):
        self.status, self.output, self.errors, self.events = status, output, errors, events

    def sql(self, **wanted):
        """Events of op sql whose fields, or fields of `sql`, have the values wanted."""
        return [event for event in self.events if event.get("kind") == "op" and event.get("op") == "sql" and
                all(event.get(key, event.get("sql", {}).get(key)) == value for key, value in wanted.items())]

    def describe(self):
        lines = ["status %d" % self.status]
        lines += ["stderr: " + line[:200] for line in self.errors.splitlines()[-8:]]
        for event in self.events:
            if event.get("kind") == "op" or event.get("kind") == "loss":
                sql = event.get("sql", {})
                shown = dict(sql, statement=str(sql.get("statement"))[:100])
                lines.append("event: %s %s by %s: %s" % (event.get("op"), event.get("verdict"),
                                                         event.get("rule"), shown))
        return lines


class Bench:
    """The server, a scratch directory, and the way to run commands as sessions."""

    def __init__(self, reprieve, server, scratch):
        self.reprieve, self.server, self.scratch = reprieve, server, scratch
        self.numbers = iter(range(1, 1 << 30))
        self.policies = {}
        self.daemons = {}
        self.alone = False
        self.last = None

    def path(self, suffix=""):
        """A new path in the scratch directory."""
        return os.path.join(self.scratch, "f%d%s" % (next(self.numbers), suffix))

    def write(self, text, suffix=""):
        path = self.path(suffix)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def table(self, rows=3):
        name = "t%d" % next(self.numbers)
        self.server.query("create table %s as select generate_series(1, %d) as id" % (name, rows))
        return name

    def policy(self, action, classes):
        """One file for each policy, so that its sessions can share a daemon."""
        text = ("version: 1\ndefault: allow\nrules:\n  - name: sql-%s\n    op: [sql]\n    sql: [%s]\n"
                "    action: %s\n" % (action, ", ".join(classes), action))
        if text not in self.policies:
            self.policies[text] = self.write(text, ".yaml")
        return self.policies[text]

    def daemon(self, policy):
        """The socket and the events of the daemon that guards by this policy, started on first use."""
        if policy not in self.daemons:
            socket, events = self.path(".sock"), self.path(".jsonl")
            log = open(self.path(".log"), "w+", encoding="utf-8")
            process = subprocess.Popen([self.reprieve, "daemon", "--policy", policy, "--socket", socket, "--events",
                                        events, "--quiet"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.daemons[policy] = (process, socket, events)
            for _ in range(1200):
                with open(log.name, encoding="utf-8") as lines:
                    if "guarding:" in lines.read():
                        break
                if process.poll() is not None:
                    raise Failure("the daemon did not start: see %s" % log.name)
                time.sleep(0.05)
        return self.daemons[policy][1:]

    def stop_daemons(self):
        for process, _, _ in self.daemons.values():
            process.terminate()
        for process, _, _ in self.daemons.values():
            process.wait()

    def start(self, policy, command, environment=None):
        """A session in the background, with how to find its events: by the daemon's, or by a guard of its own."""
        workspace = self.path(".workspace")
        os.mkdir(workspace)
        if self.alone:
            name, events = None, self.path(".jsonl")
            how = ["--policy", policy, "--events", events]
        else:
            name = "session-%d" % next(self.numbers)
            socket, events = self.daemon(policy)
            how = ["--socket", socket, "--name", name]
        process = subprocess.Popen(
            [self.reprieve, "run"] + how + ["--workspace", workspace, "--"] + command,
            cwd=workspace, env=dict(os.environ, TMPDIR=workspace, **(environment or {})), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        return process, (events, name)

    def events(self, where):
        """The session's events; of a daemon's, once the session has ended."""
        path, name = where
        if not name:
            return read_events(path)
        for _ in range(200):
            events = [event for event in read_events(path) if event.get("session", {}).get("name") == name]
            if any(event.get("change") == "end" for event in events):
                break
            time.sleep(0.05)
        return events

    def finish(self, process, where):
        try:
            output, errors = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            self.last = Result(-1, output.decode(errors="replace"), errors.decode(errors="replace"), self.events(where))
            raise Failure("the command did not end within %d s" % TIMEOUT) from None
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        self.last = Result(status, output.decode(errors="replace"), errors.decode(errors="replace"), self.events(where))
        self.server_idle()
        return self.last

    def run(self, policy, command, environment=None):
        return self.finish(*self.start(policy, command, environment))

    def server_idle(self):
        """Waits until the server is done with whatever reached it."""
        for _ in range(100):
            if self.server.query("select count(*) from pg_stat_activity where backend_type = 'client backend' "
                                 "and pid <> pg_backend_pid()") == "0":
                return
            time.sleep(0.05)
        raise Failure("the server still has connections of a client that ended")

    def build(self, name):
        """A C program of sql_clients, built on first use."""
        if not shutil.which("cc") or not os.path.isdir("/usr/include/postgresql"):
            raise Skip("needs a C compiler and libpq's headers (package libpq-dev)")
        program = os.path.join(self.scratch, name)
        if not os.path.exists(program):
            subprocess.run(["cc", "-std=gnu17", "-O2", "-I/usr/include/postgresql", "-o", program,
                            os.path.join(CLIENTS, name + ".c"), "-Wl,--as-needed", "-lpq", "-lpthread", "-ldl"],
                           check=True)
        return program

    def client(self, mode):
        """The C client's command."""
        return [self.build("client"), mode]

    def copy_of_libpq(self, name):
        """The system's libpq as a file of its own, in a directory of its own."""
        directory = self.path(".lib")
        os.mkdir(directory)
        copy = os.path.join(directory, name)
        shutil.copy(system_libpq(), copy)
        return copy


def read_events(path):
    """Those that are whole: of a write that spans pages a reader may see the first ones only."""
    events = []
    if not os.path.exists(path):
        return events
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                break
            try:
                events.append(json.loads(line))
            except ValueError:
                raise Failure("line %d of the events is not JSON: %s" % (number, line[:200])) from None
    return events


def system_libpq():
    found = glob.glob("/usr/lib/*/libpq.so.5") + glob.glob("/usr/lib*/libpq.so.5")
    if not found:
        raise Skip("the system has no libpq.so.5")
    return os.path.realpath(found[0])


# ---- the clients: how they are run, and the function a statement with SQL text passes


def script(program, mode):
    return lambda bench: [os.path.join(CLIENTS, program), mode]


def python(program, mode, module):
    def command(bench):
        if subprocess.run([PYTHON, "-c", "import " + module], stderr=subprocess.DEVNULL, check=False).returncode:
            raise Skip("needs the Python module %s for %s" % (module, PYTHON))
        return [PYTHON, os.path.join(CLIENTS, program), mode]
    return command


def program(mode):
    return lambda bench: bench.client(mode)


# Name, command, function that the event names.
CLIENT_ROWS = [
    ("psql-commands", script("psql.sh", "commands"), "PQsendQuery"),
    ("psql-string", script("psql.sh", "string"), "PQsendQuery"),
    ("psql-file", script("psql.sh", "file"), "PQsendQuery"),
    ("psql-transaction", script("psql.sh", "transaction"), "PQsendQuery"),
    ("psql-stdin", script("psql.sh", "stdin"), "PQsendQuery"),
    ("psycopg2-autocommit", python("psycopg2_client.py", "autocommit", "psycopg2"), "PQexec"),
    ("psycopg2-transaction", python("psycopg2_client.py", "transaction", "psycopg2"), "PQexec"),
    ("psycopg3-simple", python("psycopg3_client.py", "simple", "psycopg"), "PQsendQuery"),
    ("psycopg3-extended", python("psycopg3_client.py", "extended", "psycopg"), "PQsendQueryParams"),
    ("psycopg3-prepared", python("psycopg3_client.py", "prepared", "psycopg"), "PQsendPrepare"),
    ("psycopg3-pipeline", python("psycopg3_client.py", "pipeline", "psycopg"), "PQsendQueryParams"),
    ("pgbench-simple", script("pgbench.sh", "simple"), "PQsendQuery"),
    ("pgbench-extended", script("pgbench.sh", "extended"), "PQsendQueryParams"),
    ("pgbench-prepared", script("pgbench.sh", "prepared"), "PQprepare"),
    ("c-exec", program("exec"), "PQexec"),
    ("c-exec-params", program("exec-params"), "PQexecParams"),
    ("c-prepare", program("prepare"), "PQprepare"),
    ("c-send", program("send"), "PQsendQuery"),
    ("c-send-params", program("send-params"), "PQsendQueryParams"),
    ("c-send-prepare", program("send-prepare"), "PQsendPrepare"),
    ("c-pipeline", program("pipeline"), "PQsendQueryParams"),
]
ONE_MESSAGE = {"psql-string"}  # all statements travel together, so none of them runs
BUFFERED = {"psycopg3-pipeline"}  # what came before may still be in the client's own buffer


def has_table(event, table):
    return any(name.split(".")[-1] == table for name in event.get("sql", {}).get("tables") or [])


def check_event(event, table, verdict, function):
    sql = event.get("sql", {})
    expect(event.get("verdict") == verdict, "the event's verdict is %s, not %s" % (event.get("verdict"), verdict))
    expect(event.get("rule") == "sql-" + verdict, "the event's rule is %s" % event.get("rule"))
    expect("drop" in (sql.get("class") or []), "the event's class is %s, not drop" % sql.get("class"))
    expect(has_table(event, table), "the event's tables are %s, without %s" % (sql.get("tables"), table))
    expect(sql.get("function") == function, "the event names %s, not %s" % (sql.get("function"), function))


def statements_about(table):
    return ["select 'before-%s'" % table, "drop table %s" % table, "select 'after-%s'" % table]


def check_killed(bench, result, table, function):
    """The client died at its DROP of the table, and the server never saw it."""
    log = bench.server.log()
    expect(bench.server.exists(table), "the table is gone")
    expect("drop table " + table not in log, "the DROP is in the server's log")
    expect("after-" + table not in log, "the statement after the DROP is in the server's log")
    expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
    kills = result.sql(verdict="kill")
    expect(len(kills) == 1, "%d events with verdict kill, not one" % len(kills))
    check_event(kills[0], table, "kill", function)


def kill_case(name, command, function, conninfo):
    def case(bench):
        table = bench.table()
        result = bench.run(bench.policy("kill", ["drop", "truncate"]),
                           command(bench) + [conninfo(bench.server)] + statements_about(table))
        check_killed(bench, result, table, function)
        before = "before-" + table in bench.server.log()
        if name in ONE_MESSAGE:
            expect(not before, "the harmless statement of the same message was sent")
        elif name not in BUFFERED:
            expect(before, "the harmless statement before the DROP did not run")
    return case


def alert_case(command, function, conninfo):
    def case(bench):
        table = bench.table()
        result = bench.run(bench.policy("alert", ["drop", "truncate"]),
                           command(bench) + [conninfo(bench.server)] + statements_about(table))
        expect(result.status == 0, "exit status %d, not 0" % result.status)
        expect(not bench.server.exists(table), "the table is still there")
        alerts = result.sql(verdict="alert")
        expect(len(alerts) == 1, "%d events with verdict alert, not one" % len(alerts))
        check_event(alerts[0], table, "alert", function)
        for text in statements_about(table):
            seen = [event for event in result.sql() if text in str(event["sql"].get("statement"))]
            expect(len(seen) <= 1, "%d events for one statement: %s" % (len(seen), text))
        expect("after-" + table in bench.server.log(), "the statement after the DROP did not run")
    return case


def check_denied(bench, result, table, function):
    """The client learned of a failure and lived; the server never saw the DROP."""
    expect(bench.server.exists(table), "the table is gone")
    expect("drop table " + table not in bench.server.log(), "the DROP is in the server's log")
    expect(result.status != KILLED, "the client was killed")
    denied = result.sql(verdict="deny")
    expect(len(denied) == 1, "%d events with verdict deny, not one" % len(denied))
    check_event(denied[0], table, "deny", function)
    expect(denied[0].get("acted") is True, "the event says acted: %s" % denied[0].get("acted"))


def deny_case(command, function, conninfo):
    def case(bench):
        table = bench.table()
        result = bench.run(bench.policy("deny", ["drop", "truncate"]),
                           command(bench) + [conninfo(bench.server)] + statements_about(table))
        check_denied(bench, result, table, function)
    return case


def case_deny_psql(bench):
    """psql ends with status 1, as it does when a statement cannot be sent."""
    table = bench.table()
    result = bench.run(bench.policy("deny", ["drop", "truncate"]),
                       ["psql", "-X", "-d", bench.server.unix(), "-c", "drop table " + table])
    check_denied(bench, result, table, "PQsendQuery")
    expect(result.status == 1, "exit status %d, not 1" % result.status)


GOES_ON = """
import sys
import {module} as driver
connection = driver.connect(sys.argv[1])
connection.autocommit = True
cursor = connection.cursor()
try:
    cursor.execute("drop table " + sys.argv[2])
    sys.exit("the statement did not fail")
except driver.OperationalError as error:
    print("OperationalError:", error)
cursor.execute("select count(*) from " + sys.argv[2])
sys.exit(0 if cursor.fetchone()[0] == 3 else "the table is not what it was")
"""


def deny_goes_on_case(module, function):
    """The driver raises OperationalError, and the connection can be used as before."""
    def case(bench):
        if subprocess.run([PYTHON, "-c", "import " + module], stderr=subprocess.DEVNULL, check=False).returncode:
            raise Skip("needs the Python module %s for %s" % (module, PYTHON))
        table = bench.table()
        result = bench.run(bench.policy("deny", ["drop", "truncate"]),
                           [PYTHON, "-c", GOES_ON.format(module=module), bench.server.unix(), table])
        check_denied(bench, result, table, function)
        expect(result.status == 0, "exit status %d, not 0" % result.status)
    return case


# ---- other rules and texts


def psql(bench, *statements):
    return [os.path.join(CLIENTS, "psql.sh"), "commands", bench.server.unix()] + list(statements)


def passes(bench, policy, *statements):
    """Harmless statements run to the end."""
    result = bench.run(policy, psql(bench, *statements))
    expect(result.status == 0, "exit status %d, not 0" % result.status)
    expect(not result.sql(verdict="kill"), "an event says kill")


def dies(bench, policy, *statements):
    """The last statement ends the client before it is sent."""
    result = bench.run(policy, psql(bench, *statements))
    expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
    expect(len(result.sql(verdict="kill")) == 1, "%d kill events, not one" % len(result.sql(verdict="kill")))
    expect(not any(line.endswith(statements[-1]) for line in bench.server.log().splitlines()),
           "the statement is in the server's log")
    return result.sql(verdict="kill")[0]


def case_truncate(bench):
    table = bench.table(rows=5)
    event = dies(bench, bench.policy("kill", ["drop", "truncate"]), "truncate " + table)
    expect(event["sql"].get("class") == ["truncate"], "class %s" % event["sql"].get("class"))
    expect(bench.server.query("select count(*) from " + table) == "5", "rows are missing")


def case_delete_all(bench):
    table = bench.table(rows=5)
    policy = bench.policy("kill", ["delete-all", "update-all"])
    passes(bench, policy, "delete from %s where id = 1" % table)
    expect(bench.server.query("select count(*) from " + table) == "4", "the delete with a condition did not run")
    dies(bench, policy, "delete from " + table)
    dies(bench, policy, "delete from %s where 1 = 1" % table)
    dies(bench, policy, "update %s set id = 0" % table)
    expect(bench.server.query("select sum(id) from " + table) == "14", "rows are missing or changed")


def case_other_class_passes(bench):
    table = bench.table(rows=5)
    passes(bench, bench.policy("kill", ["drop", "truncate"]), "delete from " + table)
    expect(bench.server.query("select count(*) from " + table) == "0", "the DELETE did not run")


def case_alter_drop(bench):
    table = bench.table()
    dies(bench, bench.policy("kill", ["alter-drop"]), "alter table %s drop column id" % table)
    expect(bench.server.query("select count(id) from " + table) == "3", "the column is gone")


def case_words_in_text_pass(bench):
    table = bench.table()
    passes(bench, bench.policy("kill", ["drop", "truncate"]), "select 'drop table %s; truncate %s'" % (table, table),
           "create temp table drop_me (truncated int)", "-- drop table %s\nselect 2" % table,
           "select $$drop table %s$$" % table)
    expect(bench.server.exists(table), "the table is gone")


def case_disguised(bench):
    table = bench.table()
    policy = bench.policy("kill", ["drop", "truncate"])
    for text in ("DrOp/**/TaBlE\n%s", "/* select 1 */ drop\ttable if exists %s cascade", ";;; drop table \"%s\"",
                 "select 1; drop table %s; select 2", "explain analyze select 1; drop table %s"):
        dies(bench, policy, text % table)
    expect(bench.server.exists(table), "the table is gone")


def case_dynamic(bench):
    table = bench.table()
    dies(bench, bench.policy("kill", ["dynamic"]), "do $$begin execute 'dr' || 'op table %s'; end$$" % table)
    expect(bench.server.exists(table), "the table is gone")


def case_unparsed(bench):
    table = bench.table()
    dies(bench, bench.policy("kill", ["unparsed"]), "drop table %s frobnicate" % table)


def case_allowed_before_kill(bench):
    """A rule that comes first lets a statement through which a later one would stop."""
    table = bench.table()
    policy = bench.write("version: 1\ndefault: allow\nrules:\n"
                         "  - {name: drops, op: [sql], sql: [drop], action: allow}\n"
                         "  - {name: rest, op: [sql], sql: [drop, truncate], action: kill}\n", ".yaml")
    passes(bench, policy, "drop table " + table)
    expect(not bench.server.exists(table), "the DROP did not run")


# ---- long, deep and unread texts


def exec_file(bench, action, text):
    """The text through PQexec of the C client, which maps it from a file."""
    path = bench.write(text + "\0", ".sql")
    return bench.run(bench.policy(action, ["drop", "truncate"]),
                     bench.client("exec") + [bench.server.unix(), "@" + path])


def long_drop_case(length):
    def case(bench):
        table = bench.table()
        result = exec_file(bench, "kill", "select '%s'; drop table %s" % ("x" * length, table))
        expect(bench.server.exists(table), "the table is gone")
        expect("drop table " + table not in bench.server.log(), "the DROP is in the server's log")
        expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
        expect(len(result.sql(verdict="kill")) == 1, "%d kill events, not one" % len(result.sql(verdict="kill")))
    return case


def long_harmless_case(length):
    def case(bench):
        mark = "m%d" % next(bench.numbers)
        result = exec_file(bench, "kill", "select '%s %s'" % ("x" * length, mark))
        expect(result.status == 0, "exit status %d, not 0" % result.status)
        expect(mark in bench.server.log(), "the statement did not reach the server")
        expect(not result.sql(verdict="kill"), "an event says kill")
    return case


def case_deep(bench):
    """Too long to be read whole, so it might be anything: a rule that kills a DROP kills it."""
    result = exec_file(bench, "kill", "select 1" + "+1" * 200000)
    expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
    expect("1+1+1+1+1+1" not in bench.server.log(), "the statement is in the server's log")


def case_deep_drop(bench):
    """Short enough to be parsed, and deep enough to overflow a parser's stack."""
    table = bench.table()
    result = exec_file(bench, "kill", "select 1" + "+1" * 100000 + "; drop table " + table)
    expect(bench.server.exists(table), "the table is gone")
    expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
    expect(len(result.sql(verdict="kill")) == 1, "%d kill events, not one" % len(result.sql(verdict="kill")))


def case_after_deep(bench):
    """The parser's end is not the engine's: the same session's next statements are judged as before."""
    table = bench.table()
    path = bench.write("select 1" + "+1" * 200000 + "\0", ".sql")
    client, conninfo = bench.client("exec"), bench.server.unix()
    inner = 'p=$1; shift; "$@" exec "$C" "@$p"; echo "first $?"; "$@" exec "$C" "select 1"; echo "second $?"; ' \
            '"$@" exec "$C" "drop table %s"; echo "third $?"' % table
    result = bench.run(bench.policy("kill", ["drop", "truncate"]), ["sh", "-c", inner, "sh", path, client[0]],
                       {"C": conninfo})
    expect(result.output.count("ran\n") == 1, "the harmless statement did not run: %s" % result.output)
    for line in ("first %d" % KILLED, "second 0", "third %d" % KILLED):
        expect(line in result.output, "no `%s` in: %s" % (line, result.output))
    expect(bench.server.exists(table), "the table is gone")


# ---- other copies of libpq


def check_copy(bench, command, function="PQexec", environment=None):
    """`command` with statements about a table dies at the DROP, whatever libpq it uses."""
    table = bench.table()
    result = bench.run(bench.policy("kill", ["drop", "truncate"]), command + statements_about(table), environment)
    check_killed(bench, result, table, function)
    expect("before-" + table in bench.server.log(), "the harmless statement before the DROP did not run")


def dlopen(bench, library):
    return [PYTHON, os.path.join(CLIENTS, "dlopen_client.py"), library, bench.server.unix()]


def case_copy_library_path(bench):
    copy = bench.copy_of_libpq("libpq.so.5")
    check_copy(bench, bench.client("exec") + [bench.server.tls()], environment={
        "LD_LIBRARY_PATH": os.path.dirname(copy)})


def case_copy_dlopen(bench):
    check_copy(bench, dlopen(bench, bench.copy_of_libpq("libpq-1a2b3c4d.so.5.15")))


def case_copy_other_name(bench):
    check_copy(bench, dlopen(bench, bench.copy_of_libpq("addon.node")))


def at_once_case(name, action="kill", call='"$P" "$1" "$C" "drop table $2"'):
    """Copies that are new to the engine, by a program that sends as soon as it has loaded one."""
    def case(bench):
        tables = [bench.table(rows=1) for _ in range(20)]
        pairs = [item for table in tables for item in (bench.copy_of_libpq(name), table)]
        inner = "while [ $# -gt 0 ]; do %s; shift 2; done 2>/dev/null" % call
        conninfo = bench.server.tls() if action == "alert" else bench.server.unix()
        result = bench.run(bench.policy(action, ["drop"]), ["sh", "-c", inner, "sh"] + pairs,
                           {"C": conninfo, "P": bench.build("dlopen")})
        gone = [table for table in tables if not bench.server.exists(table)]
        expect(len(gone) == (len(tables) if action == "alert" else 0), "%d of %d tables are gone" % (
            len(gone), len(tables)))
        events = result.sql(verdict=action)
        expect(len(events) == len(tables), "%d events with verdict %s, not %d" % (len(events), action, len(tables)))
    return case


def read_terminal(terminal, seconds):
    """What comes from a terminal in that time."""
    output, end = b"", time.monotonic() + seconds
    while select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            output += os.read(terminal, 65536)
        except OSError:  # EIO: the last program on it has ended
            break
    return output.decode(errors="replace")


def case_copy_shell(bench):
    """New programs in an interactive shell: to look through them suspends none of them."""
    programs = [bench.path() for _ in range(5)]
    for name in programs:
        shutil.copy("/bin/sleep", name)
    socket, _ = bench.daemon(bench.policy("kill", ["drop", "truncate"]))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(bench.reprieve, [bench.reprieve, "run", "--socket", socket, "--", "bash", "--norc", "-i"])
    output = read_terminal(terminal, 2)
    for name in programs:
        os.write(terminal, b"%s 0.2; echo end of $((1+1))\n" % name.encode())
        output += read_terminal(terminal, 1)
    os.write(terminal, b"exit\n")
    output += read_terminal(terminal, 2)
    os.close(terminal)
    os.waitpid(pid, 0)
    expect(output.count("end of 2") == len(programs), "not all programs ran: %s" % output)
    expect("Stopped" not in output, "a program was suspended: %s" % output)


def case_copy_deleted(bench):
    check_copy(bench, dlopen(bench, bench.copy_of_libpq("libpq-deleted.so") + ":delete"))


def case_copy_made_by_session(bench):
    """The file does not exist when the engine starts."""
    copy = os.path.join(bench.path(".made"), "libpq.so.5")
    make = 'mkdir -p "${1%/*}" && cp "$2" "$1" && sleep 1 && shift 2 && exec "$@"'
    check_copy(bench, ["sh", "-c", make, "sh", copy, system_libpq()] + dlopen(bench, copy))


def case_copy_mapped_before(bench):
    """A bystander has mapped the copy before the engine starts."""
    copy = bench.copy_of_libpq("libpq-early.so.5")
    bystander = subprocess.Popen([PYTHON, "-c", "import ctypes, sys, time; ctypes.CDLL(sys.argv[1]); "
                                  "print('mapped', flush=True); time.sleep(120)", copy], stdout=subprocess.PIPE)
    try:
        bystander.stdout.readline()
        check_copy(bench, dlopen(bench, copy))
    finally:
        bystander.kill()
        bystander.wait()
        bystander.stdout.close()


def can_unshare():
    if subprocess.run(["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        raise Skip("needs the right to make a mount namespace")


def case_copy_mount_namespace(bench):
    """A libpq that only the session's mount namespace shows, under the path of the system's."""
    can_unshare()
    target = system_libpq()
    inner = 'mount -t tmpfs none /mnt && cp "$1" /mnt/l && mount --bind /mnt/l "$1" && shift && exec "$@"'
    check_copy(bench, ["unshare", "-m", "sh", "-c", inner, "sh", target] + bench.client("exec") +
               [bench.server.unix()])


def case_copy_overlay(bench):
    """One file in a layer of two overlays, as of two containers: one probe, not two."""
    can_unshare()
    copy, empty = bench.copy_of_libpq("libpq.so.5"), bench.path(".empty")
    os.mkdir(empty)
    tables = [bench.table(), bench.table(), bench.table()]
    parts = []
    for number, table in enumerate(tables):
        point = bench.path(".overlay")
        os.mkdir(point)
        library = os.path.join(point, "libpq.so.5") if number < 2 else copy
        mount = "mount -t overlay none -o lowerdir=%s:%s %s && " % (os.path.dirname(copy), empty, point)
        parts.append("unshare -m sh -c '%s exec %s %s %s \"$C\" \"drop table %s\"'" % (
            mount if number < 2 else "", PYTHON, os.path.join(CLIENTS, "dlopen_client.py"), library, table))
    result = bench.run(bench.policy("alert", ["drop"]), ["sh", "-c", " && ".join(parts)],
                       {"C": bench.server.unix()})
    if "mount:" in result.errors:
        raise Skip("needs overlayfs: " + result.errors.strip().splitlines()[-1])
    expect(result.status == 0, "exit status %d, not 0" % result.status)
    for table in tables:
        seen = [event for event in result.sql(verdict="alert") if has_table(event, table)]
        expect(len(seen) == 1, "%d events for the DROP of %s, not one" % (len(seen), table))
        expect(not bench.server.exists(table), "the DROP of %s did not run" % table)


# ---- threads, large objects, bystanders


def case_threads_kill(bench):
    table = bench.table()
    statements = ["select pg_sleep(0.%d)" % (n % 5) for n in range(7)] + ["drop table " + table]
    result = bench.run(bench.policy("kill", ["drop"]), bench.client("threads") + [bench.server.unix()] + statements)
    expect(bench.server.exists(table), "the table is gone")
    expect("drop table " + table not in bench.server.log(), "the DROP is in the server's log")
    expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
    expect(len(result.sql(verdict="kill")) == 1, "%d kill events, not one" % len(result.sql(verdict="kill")))


def case_threads_alert(bench):
    tables = [bench.table() for _ in range(8)]
    result = bench.run(bench.policy("alert", ["drop"]), bench.client("threads") + [bench.server.tls()] +
                       ["drop table " + table for table in tables])
    expect(result.status == 0, "exit status %d, not 0" % result.status)
    for table in tables:
        seen = [event for event in result.sql(verdict="alert") if has_table(event, table)]
        expect(len(seen) == 1, "%d events for the DROP of %s, not one" % (len(seen), table))
        expect(not bench.server.exists(table), "the DROP of %s did not run" % table)


def case_large_object(bench):
    """lo_unlink() goes through PQfn, which has no statement: what it does cannot be told."""
    number = bench.server.query("select lo_create(0)")
    result = bench.run(bench.policy("kill", ["drop", "truncate", "dynamic", "unparsed"]),
                       bench.client("large-object") + [bench.server.unix(), number])
    left = bench.server.query("select count(*) from pg_largeobject_metadata where oid = " + number)
    expect(left == "1", "the large object is gone")
    expect(result.status == KILLED, "exit status %d, not %d (killed)" % (result.status, KILLED))
    kills = result.sql(verdict="kill")
    expect(len(kills) == 1 and kills[0]["sql"].get("function") == "PQfn", "no kill event that names PQfn")


def case_bystander(bench):
    """What is in no session is neither judged nor reported."""
    table, mark = bench.table(), bench.path()
    process, events = bench.start(bench.policy("kill", ["drop", "truncate"]),
                                  ["sh", "-c", "touch %s; sleep 3" % mark])
    for _ in range(200):
        if os.path.exists(mark):
            break
        time.sleep(0.05)
    started = os.path.exists(mark)
    bench.server.query("drop table " + table)
    result = bench.finish(process, events)
    expect(started, "the session did not start")
    expect(result.status == 0, "exit status %d, not 0" % result.status)
    expect(not result.sql(), "an event for a bystander's statement")


def case_descendant(bench):
    """A client that its session's shell left behind, in a session of its own in the kernel's sense."""
    table = bench.table()
    result = bench.run(bench.policy("kill", ["drop", "truncate"]),
                       ["sh", "-c", '(setsid "$@" >/dev/null 2>&1 &) ; sleep 2', "sh"] +
                       psql(bench, *statements_about(table)))
    expect(bench.server.exists(table), "the table is gone")
    expect("drop table " + table not in bench.server.log(), "the DROP is in the server's log")
    expect(len(result.sql(verdict="kill")) == 1, "%d kill events, not one" % len(result.sql(verdict="kill")))


def cases():
    unix, tls = postgres.Postgres.unix, postgres.Postgres.tls
    rows = []
    for name, command, function in CLIENT_ROWS:
        rows.append(("kill/%s/unix" % name, kill_case(name, command, function, unix)))
        rows.append(("kill/%s/tls" % name, kill_case(name, command, function, tls)))
        rows.append(("alert/%s/unix" % name, alert_case(command, function, unix)))
        rows.append(("deny/%s" % name, deny_case(command, function, unix)))
    for name in ("psql-commands", "psycopg2-transaction", "psycopg3-extended", "pgbench-simple"):
        command, function = next(row[1:] for row in CLIENT_ROWS if row[0] == name)
        rows.append(("alert/%s/tls" % name, alert_case(command, function, tls)))
    for length in (6000, 20000, 300000):
        rows.append(("text/drop-after-%d" % length, long_drop_case(length)))
    for length in (10, 6000, 20000):
        rows.append(("text/harmless-%d" % length, long_harmless_case(length)))
    return rows + [
        ("deny/psql", case_deny_psql),
        ("deny/psycopg2-goes-on", deny_goes_on_case("psycopg2", "PQexec")),
        ("deny/psycopg3-goes-on", deny_goes_on_case("psycopg", "PQsendQuery")),
        ("text/deep", case_deep),
        ("text/deep-drop", case_deep_drop),
        ("text/after-deep", case_after_deep),
        ("text/words-in-text", case_words_in_text_pass),
        ("text/disguised", case_disguised),
        ("class/truncate", case_truncate),
        ("class/delete-all", case_delete_all),
        ("class/other-passes", case_other_class_passes),
        ("class/alter-drop", case_alter_drop),
        ("class/dynamic", case_dynamic),
        ("class/unparsed", case_unparsed),
        ("class/first-rule-wins", case_allowed_before_kill),
        ("copy/library-path", case_copy_library_path),
        ("copy/dlopen", case_copy_dlopen),
        ("copy/other-name", case_copy_other_name),
        ("copy/at-once", at_once_case("libpq.so.5")),
        ("copy/other-name-at-once", at_once_case("addon.node")),
        ("copy/at-once-alert", at_once_case("libpq.so.5", "alert")),
        ("copy/at-once-child", at_once_case("libpq.so.5", call='"$P" "$1" "$C" "drop table $2" child')),
        ("copy/mapped-briefly", at_once_case("libpq.so.5", call='"$P" "$1"; "$P" "$1" "$C" "drop table $2"')),
        ("copy/shell", case_copy_shell),
        ("copy/deleted", case_copy_deleted),
        ("copy/made-by-session", case_copy_made_by_session),
        ("copy/mapped-before", case_copy_mapped_before),
        ("copy/mount-namespace", case_copy_mount_namespace),
        ("copy/overlay", case_copy_overlay),
        ("threads/kill", case_threads_kill),
        ("threads/alert", case_threads_alert),
        ("large-object", case_large_object),
        ("bystander", case_bystander),
        ("descendant", case_descendant),
    ]


# Cases for which `reprieve run` guards by itself; the others share a daemon for each policy.
ALONE = ("kill/psql", "descendant", "copy/dlopen")


def run_case(bench, name, function):
    """Of a case that failed, the last command as well."""
    bench.last = None
    bench.alone = name.startswith(ALONE)
    outcome = ring.run_case(bench, name, function)
    for line in bench.last.describe() if bench.last and outcome == "failed" else []:
        print("     " + line)
    return outcome


@contextlib.contextmanager
def serving(bench):
    """A bench whose daemons end with the cases."""
    try:
        yield bench
    finally:
        bench.stop_daemons()


@contextlib.contextmanager
def open_bench(options, scratch):
    with postgres.Postgres() as server, serving(Bench(options.reprieve, server, scratch)) as bench:
        yield bench


def main(name, doc, rows):
    return ring.main(name, doc, rows, open_bench, why_not=ring.lacking_server, run=run_case)


if __name__ == "__main__":
    sys.exit(main("sql", __doc__, cases()))
