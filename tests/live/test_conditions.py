#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Conditions of rules, live: user, rate, args, database, host, and kills of a whole session.

    test_conditions.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. One daemon with one policy guards sessions that the cases begin; afterwards its
status must tell of no difference between the kernel's decisions and userspace's. Holds on every tier: what a kill
comes too late for on the signal tier is allowed for. Needs root; the SQL cases need a PostgreSQL server and psql.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ring  # noqa: E402 (from this file's own directory)
import test_sql  # noqa: E402
from ring import Failure, Skip, expect  # noqa: E402
from test_sql import KILLED, PYTHON  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
RATE, PARALLEL_RATE, WINDOW = 20, 100, 4  # WINDOW: seconds
NOBODY = 65534

# A program that tells that it ran, whatever its name.
FAKE = """#include <fcntl.h>
#include <stdlib.h>
int main(void) { return open(getenv("MARK"), O_WRONLY | O_CREAT, 0644) < 0; }
"""

POLICY = """version: 1
default: allow
rules:
  - {{name: by-nobody, op: [delete], user: [nobody], path: ["{scratch}/nobody/**"], action: kill}}
  - {{name: by-number, op: [delete], user: ["0"], path: ["{scratch}/root/**"], action: kill}}
  - {{name: rate, op: [delete], path: ["{scratch}/rate/**"], path_not: ["{scratch}/rate/free/**"], rate: {rate}/1h,
     action: alert}}
  - {{name: rate-parallel, op: [delete], path: ["{scratch}/parallel/**"], rate: {parallel}/1h, action: alert}}
  - {{name: rate-window, op: [delete], path: ["{scratch}/window/**"], rate: 10/{window}s, action: alert}}
  - {{name: rate-moves, op: [rename], path: ["{scratch}/moves/**"], rate: 1/1h, action: alert}}
  - {{name: whole-session, op: [delete], path: ["{scratch}/session/**"], action: kill, scope: session}}
  - {{name: one-process, op: [delete], path: ["{scratch}/process/**"], action: kill}}
  - {{name: force-push, op: [exec], args: ["git push *--force*", "terraform destroy*"], action: kill}}
  - {{name: by-path, op: [exec], path: ["{scratch}/bin/forbidden"], action: kill}}
  - {{name: force-push-session, op: [exec], args: ["git reset --hard*"], action: kill, scope: session}}
  - {{name: both, op: [exec], args: ["helper --purge*"], user: [nobody], action: kill}}
  - {{name: prod, op: [sql], sql: [drop], database: ["prod*"], action: kill}}
  - {{name: local, op: [sql], sql: [drop], database: [by_socket], host: ["{server}/**"], action: kill}}
  - {{name: remote, op: [sql], sql: [drop], database: [by_tcp], host: ["127.0.0.0/8"], action: kill}}
  - {{name: elsewhere, op: [sql], sql: [drop], database: [by_name], host: ["*.example", "10.0.0.0/8"], action: kill}}
  - {{name: deletes, op: [sql], sql: [delete], database: [counted], rate: 3/1h, action: kill}}
"""


class Bench(test_sql.Bench):
    """The bench of the SQL tests, with one policy, and with no server where there is none."""

    def __init__(self, reprieve, server, scratch):
        super().__init__(reprieve, server, scratch)
        os.chmod(scratch, 0o755)
        text = POLICY.format(scratch=scratch, rate=RATE, parallel=PARALLEL_RATE, window=WINDOW,
                             server=server.directory if server else "/nonexistent")
        self.only = self.write(text, ".yaml")

    def session(self, command, environment=None):
        return self.run(self.only, command, environment)

    def server_idle(self):
        if self.server:
            super().server_idle()

    def files(self, directory, count):
        """`count` new files that anybody may delete, below the directory of that name."""
        where = os.path.join(self.scratch, directory, "d%d" % next(self.numbers))
        os.makedirs(where)
        for parent in (os.path.dirname(where), where):
            os.chmod(parent, 0o777)
        names = [os.path.join(where, "f%04d" % number) for number in range(count)]
        for name in names:
            with open(name, "wb"):
                pass
            os.chmod(name, 0o666)
        return names

    def status(self):
        socket = self.daemon(self.only)[0]
        done = subprocess.run([self.reprieve, "status", "--json", "--socket", socket], stdout=subprocess.PIPE,
                              check=True)
        return json.loads(done.stdout)

    def fake(self, name):
        """A program of that name which does nothing but leave a mark."""
        directory = os.path.join(self.scratch, "bin")
        os.makedirs(directory, exist_ok=True)
        built = os.path.join(directory, ".fake")
        if not os.path.exists(built):
            if not shutil.which("cc"):
                raise Skip("needs a C compiler")
            subprocess.run(["cc", "-x", "c", "-o", built, "-"], input=FAKE.encode(), check=True)
        path = os.path.join(directory, name)
        if not os.path.exists(path):
            shutil.copy(built, path)
        return path


def ops(result, op, rule=None):
    """Events of an operation, in their order; of one rule, or of those that any rule or the default decided."""
    return [event for event in result.events if event.get("kind") == "op" and event.get("op") == op and
            (rule is None or event.get("rule") == rule)]


def left(names):
    return [name for name in names if os.path.exists(name)]


# ---- user


def case_user_other(bench):
    names = bench.files("nobody", 12)
    result = bench.session(["rm"] + names)
    expect(result.status == 0 and not left(names), "root was not let: status %d" % result.status)
    expect(not ops(result, "unlink", "by-nobody"), "the rule held for root")


def case_user_named(bench):
    names = bench.files("nobody", 12)
    result = bench.session(["runuser", "-u", "nobody", "--", "rm"] + names)
    kills = ops(result, "unlink", "by-nobody")
    expect(result.status == KILLED, "exit status %d, not %d" % (result.status, KILLED))
    expect(len(left(names)) >= len(names) - 1, "%d of %d files are left" % (len(left(names)), len(names)))
    expect(kills and all(event["verdict"] == "kill" and event["process"]["uid"] == NOBODY for event in kills),
           "no kill of uid %d" % NOBODY)


def case_user_number(bench):
    names = bench.files("root", 12)
    expect(bench.session(["runuser", "-u", "nobody", "--", "rm"] + names[:6]).status == 0, "nobody was not let")
    result = bench.session(["rm"] + names[6:])
    expect(result.status == KILLED and len(left(names)) >= 5, "root was let: %d files left" % len(left(names)))


def case_user_changes(bench):
    """The user counts who does it, not the one who began."""
    names = bench.files("nobody", 3)
    code = "import os, sys\nos.unlink(sys.argv[1])\nos.setuid(%d)\nos.unlink(sys.argv[2])\nos.unlink(sys.argv[3])" % NOBODY
    result = bench.session([PYTHON, "-c", code] + names)
    expect(result.status == KILLED, "exit status %d, not %d" % (result.status, KILLED))
    expect(names[0] not in left(names), "what root did was not let")
    expect(names[2] in left(names), "what nobody did last was let")


# ---- rate


def verdicts(result, op="unlink"):
    return [event["verdict"] for event in ops(result, op)]


def case_rate_exact(bench):
    """Across processes, one for each file: the limit itself passes, the next does not."""
    names = bench.files("rate", RATE + 5)
    result = bench.session(["sh", "-c", 'for f; do rm "$f"; done', "sh"] + names)
    expect(verdicts(result) == ["allow"] * RATE + ["alert"] * 5, "verdicts: %s" % verdicts(result))
    expect(all(event["rule"] == "rate" for event in ops(result, "unlink")[RATE:]), "alerts by another rule")


def case_rate_at_limit(bench):
    names = bench.files("rate", RATE)
    result = bench.session(["sh", "-c", 'for f; do rm "$f"; done', "sh"] + names)
    expect(verdicts(result) == ["allow"] * RATE, "verdicts: %s" % verdicts(result))


def case_rate_others_do_not_count(bench):
    """What a rule does not hold for otherwise does not count towards its rate."""
    free, names = bench.files("rate/free", RATE * 2), bench.files("rate", RATE)
    result = bench.session(["rm"] + free + names)
    expect(verdicts(result) == ["allow"] * (3 * RATE), "verdicts: %s" % verdicts(result))


def case_rate_by_session(bench):
    """Two sessions at once have each a count of their own."""
    sessions = []
    for _ in range(2):
        names = bench.files("rate", RATE)
        sessions.append(bench.start(bench.only, ["sh", "-c", 'for f; do rm "$f"; done', "sh"] + names))
    for process, where in sessions:
        result = bench.finish(process, where)
        expect(verdicts(result) == ["allow"] * RATE, "verdicts: %s" % verdicts(result))


def case_rate_parallel(bench):
    """Processes of one session at the same time: none is counted twice, none is missed."""
    names = bench.files("parallel", 2 * PARALLEL_RATE)
    script = 'n=$(($# / 8)); while [ $# -gt 0 ]; do a=; for i in $(seq $n); do a="$a $1"; shift; done; rm $a & done; wait'
    result = bench.session(["sh", "-c", script, "sh"] + names)
    expect(not left(names), "%d files are left" % len(left(names)))
    counted = verdicts(result).count("alert")
    expect(counted == PARALLEL_RATE, "%d alerts, not %d" % (counted, PARALLEL_RATE))


def case_rate_window(bench):
    """A burst right behind the end of the first window is one with the burst before it; after two it is forgotten."""
    code = ("import os, sys, time\nnames = sys.argv[1:]\nfor part, pause in ((0, %f), (1, %f), (2, 0)):\n"
            "\tfor name in names[part * 10:part * 10 + 10]: os.unlink(name)\n\ttime.sleep(pause)"
            % (WINDOW + 0.2, 2 * WINDOW + 0.5))
    result = bench.session([PYTHON, "-c", code] + bench.files("window", 30))
    found = verdicts(result)
    expect(len(found) == 30, "%d events" % len(found))
    expect(found[:10] == ["allow"] * 10, "the first burst: %s" % found[:10])
    expect("alert" in found[10:20], "the second burst passed whole: the window does not slide")
    expect(found[20:] == ["allow"] * 10, "the third burst: %s" % found[20:])


def case_rate_rename(bench):
    """A rename that replaces is one operation, though two names are judged."""
    names = bench.files("moves", 4)
    code = "import os, sys\nos.rename(*sys.argv[1:3])\nos.rename(*sys.argv[3:5])"
    result = bench.session([PYTHON, "-c", code] + names)
    expect(verdicts(result, "rename") == ["allow", "alert"], "verdicts: %s" % verdicts(result, "rename"))


# ---- scope


def session_script(bench, last):
    """A session that leaves three processes behind, one of them in a session of its own, and then does `last`."""
    pids = bench.path(".pids")
    script = ('sleep 300 >/dev/null 2>&1 & echo $! >>"$0"; setsid sh -c "echo \\$\\$ >>$0; exec sleep 300" >/dev/null '
              '2>&1 & (sleep 300 >/dev/null 2>&1 & echo $! >>"$0"); while [ $(wc -l <"$0") -lt 3 ]; do sleep 0.1; '
              'done; ' + last)
    return pids, ["sh", "-c", script, pids]


def alive(pids):
    with open(pids, encoding="ascii") as file:
        numbers = [int(line) for line in file]
    return [pid for pid in numbers if os.path.exists("/proc/%d/cmdline" % pid) and
            open("/proc/%d/cmdline" % pid, "rb").read()]


def settled(pids, wanted):
    """Waits until so many of the processes live, or gives up after five seconds; how many do."""
    for _ in range(100):
        if len(alive(pids)) == wanted:
            break
        time.sleep(0.05)
    return len(alive(pids))


def end(pids):
    for pid in alive(pids):
        os.kill(pid, signal.SIGKILL)


def scope_case(directory, command, survivors):
    def case(bench):
        pids, script = session_script(bench, command)
        names = bench.files(directory, 3) if directory else [bench.fake("git"), "reset", "--hard"]
        process, where = bench.start(bench.only, script + names, {"MARK": bench.path()})
        process.wait(test_sql.TIMEOUT)
        try:
            found = settled(pids, survivors)
            expect(found == survivors, "%d of the session's other processes live, not %d" % (found, survivors))
            if survivors:
                expect(process.returncode == 0, "the shell ended with %d" % process.returncode)
            else:
                expect(process.returncode in (-signal.SIGKILL, KILLED), "the shell ended with %d" % process.returncode)
        finally:
            end(pids)
        bench.finish(process, where)
    return case


# ---- args


def args_case(name, command, killed, rule="force-push", uncertain=False):
    """command: of the path of a fake of this name, to the words that start it."""
    def case(bench):
        program, mark = bench.fake(name), bench.path(".mark")
        result = bench.session(command(program), {"MARK": mark, "PATH": os.path.dirname(program) + ":" +
                                                  os.environ.get("PATH", "/usr/bin:/bin")})
        ran, kills = os.path.exists(mark), [event for event in ops(result, "exec") if event["verdict"] == "kill"]
        if not killed:
            expect(ran and not kills, "ran: %s, kills: %d" % (ran, len(kills)))
            return
        expect(not ran, "the program ran")
        expect([event["rule"] for event in kills] == [rule], "kills by %s" % [event.get("rule") for event in kills])
        expect(kills[0]["target"]["path"] == program, "the event names %s" % kills[0]["target"].get("path"))
        expect(result.status != 0, "exit status 0")
        if uncertain:
            expect(kills[0].get("uncertain") is True, "the event does not say that the arguments were not known whole")
    return case


LONG = "x" * 3000
FORCE = ["push", "origin", "--force"]
ARGS_ROWS = [
    ("path", "git", lambda p: [p] + FORCE, True),
    ("name", "git", lambda p: ["git"] + FORCE, True),
    ("slashes", "git", lambda p: [p, "push", "https://example.org/a/b.git", "--force-with-lease"], True),
    ("relative", "git", lambda p: ["sh", "-c", 'cd "$0" && cd .. && bin/git push . --force; exit $?', os.path.dirname(p)],
     True),
    ("shell", "git", lambda p: ["sh", "-c", "git push origin --force; exit $?"], True),
    ("shell-eval", "git", lambda p: ["sh", "-c", 'a=pu; eval "g\'\'it ${a}sh origin --fo\'\'rce"; exit $?'], True),
    ("env", "git", lambda p: ["env", "A=1", "git"] + FORCE, True),
    ("nohup", "git", lambda p: ["nohup", "git"] + FORCE, True),
    ("timeout", "git", lambda p: ["timeout", "20", "git"] + FORCE, True),
    ("nice", "git", lambda p: ["nice", "git"] + FORCE, True),
    ("setsid", "git", lambda p: ["setsid", "-w", "git"] + FORCE, True),
    ("xargs", "git", lambda p: ["sh", "-c", "echo origin --force | xargs git push"], True),
    ("find", "git", lambda p: ["sh", "-c", "find . -maxdepth 0 -exec git push {} --force ';' ; exit 1"], True),
    ("python", "git", lambda p: [PYTHON, "-c", "import subprocess, sys; sys.exit(subprocess.call("
                                               "['git', 'push', 'o', '--force']))"], True),
    ("other-command", "git", lambda p: ["git", "status", "--force"], False),
    ("no-force", "git", lambda p: ["git", "push", "origin"], False),
    ("other-program", "agit", lambda p: ["agit"] + FORCE, False),
    ("word-in-shell", "git", lambda p: ["sh", "-c", ": git push --force; git push"], False),
    ("terraform", "terraform", lambda p: ["terraform", "destroy", "-auto-approve"], True),
    ("terraform-plan", "terraform", lambda p: ["terraform", "plan", "-destroy"], False),
    ("long-force-last", "git", lambda p: ["git", "push", LONG, "--force"], True),
    ("long-force-first", "git", lambda p: ["git", "push", "--force", LONG], True),
    ("long-other-command", "git", lambda p: ["git", "log", LONG, "--force"], False),
    ("many", "git", lambda p: ["git", "push"] + ["r%d" % n for n in range(900)] + ["--force"], True),
    ("long-directory", "git", lambda p: ["/" + "./" * 900 + p[1:]] + FORCE, True),
    # A name given by the caller is what the rule sees: as documented, `path:` is for who would lie.
    ("exec-a", "git", lambda p: ["bash", "-c", 'exec -a agit "$0" push origin --force', p], False),
]

# What starts the program, for which it needs; each ends in an exec of git.
LAUNCHERS = [
    ("bash", "bash", lambda p: ["bash", "-lc", "PATH=%s:$PATH git push o --force; exit $?" % os.path.dirname(p)]),
    ("exec", "bash", lambda p: ["bash", "-c", "exec git push o --force"]),
    ("subshell", "bash", lambda p: ["bash", "-c", "(git push o --force) & wait $!"]),
    ("here-document", "sh", lambda p: ["sh", "-c", "sh <<'E'\ngit push o --force; exit $?\nE\nexit $?"]),
    ("script-file", "sh", lambda p: ["sh", "-c", "echo 'git push o --force; exit $?' >s; sh ./s"]),
    ("base64", "base64", lambda p: ["sh", "-c", "echo Z2l0IHB1c2ggbyAtLWZvcmNlCg== | base64 -d | sh"]),
    ("env-i", "env", lambda p: ["env", "-i", "MARK=/dev/null", p] + FORCE),
    ("env-S", "env", lambda p: ["env", "-S", "git push o --force"]),
    ("busybox-env", "busybox", lambda p: ["busybox", "env", "git"] + FORCE),
    ("busybox-sh", "busybox", lambda p: ["busybox", "sh", "-c", "git push o --force"]),
    ("busybox-xargs", "busybox", lambda p: ["sh", "-c", "echo o --force | busybox xargs git push"]),
    ("find-execdir", "find", lambda p: ["sh", "-c", "PATH=/usr/bin find . -maxdepth 0 -execdir %s push {} --force ';'; "
                                                   "exit 1" % p]),
    ("stdbuf", "stdbuf", lambda p: ["stdbuf", "-o0", "git"] + FORCE),
    ("ionice", "ionice", lambda p: ["ionice", "-c3", "git"] + FORCE),
    ("chrt", "chrt", lambda p: ["chrt", "-b", "0", "git"] + FORCE),
    ("taskset", "taskset", lambda p: ["taskset", "1", "git"] + FORCE),
    ("unshare", "unshare", lambda p: ["unshare", "-mpf", "git"] + FORCE),
    ("setpriv", "setpriv", lambda p: ["setpriv", "--no-new-privs", "git"] + FORCE),
    ("setarch", "setarch", lambda p: ["setarch", "-R", "git"] + FORCE),
    ("prlimit", "prlimit", lambda p: ["prlimit", "--nofile=64", "git"] + FORCE),
    ("choom", "choom", lambda p: ["choom", "-n", "0", "--", "git"] + FORCE),
    ("chroot", "chroot", lambda p: ["chroot", "/", p] + FORCE),
    ("runuser", "runuser", lambda p: ["runuser", "-u", "root", "--", p] + FORCE),
    ("su", "su", lambda p: ["su", "-c", p + " push o --force"]),
    ("sudo", "sudo", lambda p: ["sudo", "-n", p] + FORCE),
    ("script", "script", lambda p: ["script", "-qec", "git push o --force", "/dev/null"]),
    ("flock", "flock", lambda p: ["flock", "lock", "git"] + FORCE),
    ("flock-c", "flock", lambda p: ["flock", "lock", "-c", "git push o --force"]),
    ("awk", "awk", lambda p: ["awk", 'BEGIN { exit system("git push o --force") ? 1 : 0 }']),
    ("make", "make", lambda p: ["sh", "-c", "printf 'all:\\n\\tgit push o --force\\n' | make -sf -"]),
    ("perl", "perl", lambda p: ["perl", "-e", "exec 'git', 'push', 'o', '--force'"]),
    ("perl-open", "perl", lambda p: ["perl", "-e", "open(my $p, '-|', 'git push o --force'); close $p or exit 1"]),
    ("python-exec", PYTHON, lambda p: [PYTHON, "-c", "import os; os.execvp('git', ['git', 'push', 'o', '--force'])"]),
    ("python-spawn", PYTHON, lambda p: [PYTHON, "-c", "import os, sys; sys.exit(os.waitstatus_to_exitcode(os.waitpid("
                                                     "os.posix_spawnp('git', ['git', 'push', 'o', '--force'], "
                                                     "os.environ), 0)[1]) != 0)"]),
    ("python-system", PYTHON, lambda p: [PYTHON, "-c", "import os, sys; sys.exit(os.system('git push o --force') != 0)"]),
    ("node-exec", "node", lambda p: ["node", "-e", "require('child_process').execSync('git push o --force')"]),
    ("node-spawn", "node", lambda p: ["node", "-e", "process.exit(require('child_process').spawnSync('git', ['push', "
                                                   "'o', '--force']).status === 0 ? 0 : 1)"]),
    ("ld.so", "/lib64/ld-linux-x86-64.so.2", lambda p: ["sh", "-c", "/lib64/ld-linux-x86-64.so.2 /usr/bin/env git "
                                                                   "push o --force"]),
]


def launcher_case(needs, command):
    case = args_case("git", command, True)

    def checked(bench):
        if not shutil.which(needs):
            raise Skip("there is no %s here" % needs)
        case(bench)
    return checked


def case_args_long_uncertain(bench):
    """Arguments that are not read whole might match: the strictest verdict, and the event says so."""
    args_case("git", lambda p: ["git", "push", LONG], True)(bench)
    event = ops(bench.last, "exec", "force-push")[0]
    expect(event.get("uncertain") or "uncertain" in json.dumps(event), "the event does not say so: %s" % event)


def case_exec_path(bench):
    args_case("forbidden", lambda p: [p, "anything"], True, "by-path")(bench)


def case_args_and_user(bench):
    program = bench.fake("helper")
    os.chmod(bench.scratch, 0o777)
    args_case("helper", lambda p: [p, "--purge"], False)(bench)
    args_case("helper", lambda p: ["runuser", "-u", "nobody", "--", program, "--purge"], True, "both")(bench)


# ---- database and host


def psql(conninfo, *statements):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", conninfo]
    for statement in statements:
        command += ["-c", statement]
    return command


def need_server(bench):
    if not bench.server:
        raise Skip("needs a PostgreSQL server and psql (packages postgresql, postgresql-client)")
    return bench.server


def in_database(bench, database, statement):
    """Runs a statement beside what is tested."""
    done = subprocess.run([os.path.join(bench.server.bin, "psql"), "-X", "-q", "-A", "-t", "-d", bench.server.unix() +
                           " dbname=%s application_name=test" % database, "-c", statement], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failure("%s: %s" % (statement, done.stderr))
    return done.stdout.strip()


def database(bench, name):
    need_server(bench)
    if bench.server.query("select 1 from pg_database where datname = '%s'" % name) != "1":
        bench.server.query("create database %s" % name)
    return name


def by_socket(bench, name):
    return "host=%s port=%d user=postgres dbname=%s" % (bench.server.directory, bench.server.port, name)


def by_tcp(bench, name):
    return "host=127.0.0.1 port=%d user=postgres dbname=%s" % (bench.server.port, name)


def sql_case(name, way, rule, command=None, environment=None, host=None):
    """rule: which kills; None: the DROP goes through. command, environment: of bench and database, where not plain."""
    def case(bench):
        database(bench, name)
        table = "t%d" % next(bench.numbers)
        in_database(bench, name, "create table %s (id int)" % table)
        statement = "drop table %s" % table
        words = command(bench, statement) if command else psql(way(bench, name), "select 1", statement)
        result = bench.session(words, environment(bench) if environment else None)
        there = in_database(bench, name, "select to_regclass('%s') is not null" % table) == "t"
        drops = [event for event in result.sql() if str(event["sql"].get("statement")).startswith(statement)]
        expect(len(drops) == 1, "%d events for the DROP" % len(drops))
        check_connection(bench, drops[0]["sql"], name, way, host)
        if rule:
            expect(there, "the table is gone")
            expect(result.status == KILLED, "exit status %d, not %d" % (result.status, KILLED))
            expect((drops[0]["verdict"], drops[0]["rule"]) == ("kill", rule), "%(verdict)s by %(rule)s" % drops[0])
        else:
            expect(not there and result.status == 0, "the DROP did not go through: status %d" % result.status)
            expect(drops[0]["verdict"] == "allow", "verdict %s" % drops[0]["verdict"])
    return case


def check_connection(bench, sql, name, way, host):
    """The event tells where the statement went."""
    expect(sql.get("database") == name, "the event's database is %s, not %s" % (sql.get("database"), name))
    if way is by_socket:
        wanted = ("%s/.s.PGSQL.%d" % (bench.server.directory, bench.server.port), None)
    else:
        wanted = (host or "127.0.0.1", bench.server.port)
    expect((sql.get("host"), sql.get("port")) == wanted, "the event's peer is %s, port %s, not %s" %
           (sql.get("host"), sql.get("port"), wanted))
    expect(sql.get("user") in ("postgres", name), "the event's user is %s" % sql.get("user"))


def lie_database(bench):
    """Variables that name another database than the one that is used."""
    return {"PGDATABASE": "harmless"}


def lie_host(bench):
    return {"PGHOST": "/nonexistent"}


def lie_hostaddr(bench, statement):
    return psql("host=db.harmless.example hostaddr=127.0.0.1 port=%d user=postgres dbname=by_tcp" % bench.server.port,
                "select 1", statement)


def lie_hostaddr_name(bench, statement):
    """A name that the rule has, for an address that it does not have: the peer counts."""
    return psql("host=x.example hostaddr=127.0.0.1 port=%d user=postgres dbname=by_name" % bench.server.port, "select 1",
                statement)


def several_hosts(bench, statement):
    return psql("host=/nonexistent,127.0.0.1 port=%d,%d user=postgres dbname=by_tcp" %
                (bench.server.port, bench.server.port), "select 1", statement)


def by_service(bench, statement):
    service = bench.write("[harmless]\nhost=%s\nport=%d\nuser=postgres\ndbname=prod_service\n" %
                          (bench.server.directory, bench.server.port))
    return ["env", "PGSERVICEFILE=" + service, "PGDATABASE=harmless"] + psql("service=harmless", "select 1", statement)


def by_user_name(bench, statement):
    """No database named at all: it is the user's."""
    if bench.server.query("select 1 from pg_roles where rolname = 'prod_user'") != "1":
        bench.server.query("create role prod_user superuser login")
    return psql("host=%s port=%d user=prod_user" % (bench.server.directory, bench.server.port), "select 1", statement)


def by_reconnect(bench, statement):
    script = bench.write("select 1;\n\\connect prod_late\n%s;\n" % statement)
    return ["psql", "-X", "-q", "-d", by_socket(bench, "postgres"), "-f", script]


def by_uri(bench, statement):
    return psql("postgresql://postgres@127.0.0.1:%d/prod%%5Furi?application_name=dbname%%3Dharmless" % bench.server.port,
                "select 1", statement)


def case_renamed(bench):
    """The name that counts is the one that was asked for, whatever it was before."""
    database(bench, "calm")
    in_database(bench, "calm", "create table kept (id int)")
    bench.server.query("alter database calm rename to prod_renamed")
    result = bench.session(psql(by_socket(bench, "prod_renamed"), "drop table kept"))
    expect(result.status == KILLED, "exit status %d, not %d" % (result.status, KILLED))
    bench.server.query("alter database prod_renamed rename to calm")
    result = bench.session(psql(by_socket(bench, "calm"), "drop table kept"))
    expect(result.status == 0, "exit status %d, not 0" % result.status)


def case_sql_rate(bench):
    database(bench, "counted")
    in_database(bench, "counted", "create table rows_%d as select generate_series(1, 9) as id" % bench.server.port)
    table = "rows_%d" % bench.server.port
    result = bench.session(psql(by_socket(bench, "counted"), *["delete from %s where id = %d" % (table, n)
                                                               for n in range(1, 7)]))
    expect(result.status == KILLED, "exit status %d, not %d" % (result.status, KILLED))
    rest = in_database(bench, "counted", "select count(*) from " + table)
    expect(rest == "6", "%s rows are left, not 6" % rest)


def case_mismatches(bench):
    """Last: the kernel and userspace decided alike in everything above."""
    status = bench.status()
    expect(status["mismatches"] == 0, "%d mismatches" % status["mismatches"])
    expect(status["losses"]["total"] == 0, "%d records lost" % status["losses"]["total"])
    expect(sum(status["counts"]["ops"].values()) > 0, "nothing was judged")


def cases():
    rows = [("user/other", case_user_other), ("user/named", case_user_named), ("user/number", case_user_number),
            ("user/changes", case_user_changes), ("rate/exact", case_rate_exact),
            ("rate/at-limit", case_rate_at_limit), ("rate/others", case_rate_others_do_not_count),
            ("rate/by-session", case_rate_by_session), ("rate/parallel", case_rate_parallel),
            ("rate/window", case_rate_window), ("rate/rename", case_rate_rename),
            ("scope/session", scope_case("session", 'rm "$@"; sleep 9; exit 0', 0)),
            ("scope/session-exec", scope_case(None, '"$@"; sleep 9; exit 0', 0)),
            ("scope/process", scope_case("process", 'rm "$@"; exit 0', 3))]
    rows += [("args/" + name, args_case(fake, command, killed)) for name, fake, command, killed in ARGS_ROWS]
    rows += [("launcher/" + name, launcher_case(needs, command)) for name, needs, command in LAUNCHERS]
    rows += [("args/uncertain", case_args_long_uncertain), ("args/and-user", case_args_and_user),
             ("exec/path", case_exec_path)]
    rows += [("sql/database-socket", sql_case("prod_a", by_socket, "prod")),
             ("sql/database-tcp", sql_case("prod_a", by_tcp, "prod")),
             ("sql/database-other", sql_case("test_a", by_socket, None)),
             ("sql/host-socket", sql_case("by_socket", by_socket, "local")),
             ("sql/host-socket-by-tcp", sql_case("by_socket", by_tcp, None)),
             ("sql/host-tcp", sql_case("by_tcp", by_tcp, "remote")),
             ("sql/host-tcp-by-socket", sql_case("by_tcp", by_socket, None)),
             ("sql/lie-database", sql_case("prod_b", by_socket, "prod", None, lie_database)),
             ("sql/lie-database-reverse", sql_case("test_b", by_socket, None, None,
                                                   lambda bench: {"PGDATABASE": "prod_b"})),
             ("sql/lie-host", sql_case("by_tcp", by_tcp, "remote", None, lie_host)),
             ("sql/lie-hostaddr", sql_case("by_tcp", by_tcp, "remote", lie_hostaddr)),
             ("sql/lie-host-name", sql_case("by_name", by_tcp, None, lie_hostaddr_name)),
             ("sql/several-hosts", sql_case("by_tcp", by_tcp, "remote", several_hosts)),
             ("sql/service", sql_case("prod_service", by_socket, "prod", by_service)),
             ("sql/user-name", sql_case("prod_user", by_socket, "prod", by_user_name)),
             ("sql/uri", sql_case("prod_uri", by_tcp, "prod", by_uri)),
             ("sql/reconnect", sql_case("prod_late", by_socket, "prod", by_reconnect)),
             ("sql/renamed", case_renamed), ("sql/rate", case_sql_rate), ("mismatches", case_mismatches)]
    return rows


@contextlib.contextmanager
def open_bench(options, scratch):
    with ring.server_if_there() as server, test_sql.serving(Bench(options.reprieve, server, scratch)) as bench:
        yield bench


if __name__ == "__main__":
    sys.exit(ring.main("conditions", __doc__, cases(), open_bench, run=test_sql.run_case))
