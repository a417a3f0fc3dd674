#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Holds of SQL live: statements that stand stopped, answered by a person, or by nobody.

    test_holds.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. Needs what test_sql.py needs; the screen also tmux.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sql  # noqa: E402 (from this file's own directory)
from ring import Failure, Skip, expect  # noqa: E402

PSQL_FAILED = 1


# ---- one hold


class Held:
    """A command whose statement is held, as a session of a daemon of its own."""

    def __init__(self, bench, action, command, timeout="60s", extra="", socket=False):
        rule = "    timeout: %s\n    lease: 60s\n" % timeout if action == "hold" else ""
        text = ("version: 1\ndefault: allow\nrules:\n  - name: ask\n    op: [sql]\n    sql: [drop, truncate]\n"
                "    message: \"Ask the DBA.\"\n    action: %s\n%s%s" % (action, rule, extra))
        self.bench = bench
        self.policy = bench.policies.setdefault(text, None) or bench.write(text, ".yaml")
        bench.policies[text] = self.policy
        self.socket, self.events = bench.daemon(self.policy)
        environment = {"S": self.socket} if socket else None
        self.process, self.where = bench.start(self.policy, command, environment)

    def call(self, *words):
        return subprocess.run([self.bench.reprieve, words[0], "--socket", self.socket] + list(words[1:]),
                              capture_output=True, text=True, timeout=30, check=False)

    def pending(self):
        return [json.loads(line) for line in self.call("pending", "--json").stdout.splitlines()]

    def wait(self, state="open"):
        """The hold of this session in that state."""
        for _ in range(400):
            for hold in self.pending():
                if hold["session"]["name"] == self.where[1] and hold["state"] == state:
                    return hold
            time.sleep(0.05)
        raise Failure("nothing is %s: %s; %s" % (state, self.pending(), [
            (event["op"], event["verdict"], event.get("enforced"), event.get("notes"))
            for event in self.own_events("op")]))

    def answer(self, *words):
        done = self.call(*words)
        expect(done.returncode == 0, "%s: %s" % (" ".join(words), done.stderr))
        return done.stdout

    def finish(self):
        return self.bench.finish(self.process, self.where)

    def own_events(self, kind):
        return [event for event in test_sql.read_events(self.events)
                if event["kind"] == kind and event.get("session", {}).get("name") == self.where[1]]


def psql(bench, *statements):
    return test_sql.psql(bench, *statements)


def exists(bench, table):
    return bench.server.query("select count(*) from pg_class where relname = '%s'" % table) == "1"


# ---- the cases


def case_approve(bench):
    table = bench.table()
    held = Held(bench, "hold", psql(bench, "select 1", "drop table %s" % table))
    hold = held.wait()
    expect(exists(bench, table), "the table is gone before the answer")
    expect(hold["op"] == "sql" and table in hold["sql"]["statement"], "what is held: %s" % hold)
    expect(hold["sql"]["tables"] == [table] and hold["rule"] == "ask", "what is held: %s" % hold)
    people = held.call("pending").stdout
    expect("drop table %s" % table in people and "Ask the DBA." in people, "pending says: %s" % people)
    held.answer("approve", str(hold["hold"]), "--reason", "agreed")
    result = held.finish()
    expect(result.status == 0 and not exists(bench, table), "psql ends with %d" % result.status)
    reviews = held.own_events("review")
    expect(len(reviews) == 1 and reviews[0]["reason"] == "agreed" and reviews[0]["by"]["uid"] == 0,
           "who decided: %s" % reviews)
    states = [event["change"] for event in held.own_events("hold")]
    expect(states[0] == "opened" and states[-1] == "closed", "the hold's events: %s" % states)
    expect(not held.pending(), "still pending: %s" % held.pending())


def case_approve_process(bench):
    """What the process does under the same rule afterwards is not asked again; another process is."""
    first, second = bench.table(), bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % first, "drop table %s" % second))
    held.answer("approve", str(held.wait()["hold"]))
    result = held.finish()
    expect(result.status == 0 and not exists(bench, second), "psql ends with %d" % result.status)
    expect(len([e for e in held.own_events("hold") if e["change"] == "opened"]) == 1, "it was asked twice")


def case_approve_once(bench):
    first, second = bench.table(), bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % first, "drop table %s" % second))
    hold = held.wait()
    held.answer("approve", str(hold["hold"]), "--once")
    for _ in range(200):
        again = held.wait()
        if again["hold"] != hold["hold"]:
            break
        time.sleep(0.05)
    expect(second in again["sql"]["statement"] and not exists(bench, first), "the second question: %s" % again)
    held.answer("deny", str(again["hold"]))
    result = held.finish()
    expect(exists(bench, second) and result.status != 0, "psql ends with %d" % result.status)


def check_failed(bench, held, result, table):
    expect(exists(bench, table), "the table is gone")
    expect(result.status == PSQL_FAILED, "psql ends with %d" % result.status)
    expect("drop table %s" % table not in bench.server.log(), "the statement reached the server")
    expect("reprieve: denied: rule 'ask'" in result.errors and "Ask the DBA." in result.errors,
           "it was not told why: %s" % result.errors)


def case_deny_held(bench):
    table = bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % table))
    held.answer("deny", str(held.wait()["hold"]))
    result = held.finish()
    check_failed(bench, held, result, table)
    expect("reprieve: held: rule 'ask'" in result.errors, "it was not told that it waits: %s" % result.errors)


def wake(process):
    """As a sibling of the agent's would, for half a second."""
    with open("/proc/%d/cgroup" % process, encoding="utf-8") as groups:
        if "/reprieve-hold-%d-" % process not in groups.read():
            raise Skip("needs cgroup2")
    for _ in range(500):
        os.kill(process, signal.SIGCONT)
        time.sleep(0.001)


def case_deny_woken(bench):
    """Somebody else's SIGCONT is no answer."""
    table = bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % table))
    hold = held.wait()
    wake(hold["process"]["pid"])
    expect(exists(bench, table), "the table is gone without an answer")
    held.answer("deny", str(hold["hold"]))
    check_failed(bench, held, held.finish(), table)


def case_approve_woken(bench):
    table = bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % table))
    hold = held.wait()
    wake(hold["process"]["pid"])
    held.answer("approve", str(hold["hold"]))
    result = held.finish()
    expect(result.status == 0 and not exists(bench, table), "psql ends with %d" % result.status)


def case_deny_kill(bench):
    table = bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % table))
    held.answer("deny", str(held.wait()["hold"]), "--kill")
    result = held.finish()
    expect(result.status == test_sql.KILLED and exists(bench, table), "psql ends with %d" % result.status)


def case_deny_at_once(bench):
    table = bench.table()
    held = Held(bench, "deny", psql(bench, "drop table %s" % table))
    result = held.finish()
    check_failed(bench, held, result, table)


def case_timeout(bench):
    """Nobody answers: the statement fails. Approved later, the next try goes through."""
    table = bench.table()
    drop = "psql -X -c 'drop table %s' \"%s\"" % (table, bench.server.unix())
    held = Held(bench, "hold", ["sh", "-c", "%s || { while [ ! -e go ]; do sleep 0.1; done; %s; }" % (drop, drop)],
                timeout="1s")
    hold = held.wait("timed-out")
    expect(exists(bench, table), "the table is gone without an answer")
    expect("another try" in held.answer("approve", str(hold["hold"])), "approve does not say what it does")
    workspace = hold["process"]["cwd"]
    with open(os.path.join(workspace, "go"), "w", encoding="utf-8"):
        pass
    result = held.finish()
    expect(result.status == 0 and not exists(bench, table), "the second try ends with %d" % result.status)


def case_killed(bench):
    table = bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % table))
    hold = held.wait()
    os.kill(hold["process"]["pid"], 9)
    held.finish()
    for _ in range(100):
        if not held.pending():
            break
        time.sleep(0.05)
    expect(not held.pending(), "still pending: %s" % held.pending())
    expect(exists(bench, table), "the table is gone")


def case_release(bench):
    """Every open hold is answered as its rule says; sinks from hold upwards hear of all of it."""
    table, sink = bench.table(), bench.path(".jsonl")
    held = Held(bench, "hold", psql(bench, "drop table %s" % table),
                extra="sinks:\n  - {type: file, path: %s, min: hold}\n" % sink)
    hold = held.wait()
    held.answer("release")
    result = held.finish()
    expect(result.status == PSQL_FAILED and exists(bench, table), "psql ends with %d" % result.status)
    expect(held.wait("timed-out")["hold"] == hold["hold"], "the question is closed")
    kinds = [(event["kind"], event.get("change")) for event in test_sql.read_events(sink)]
    expect(kinds == [("op", None), ("hold", "opened"), ("hold", "timed-out")], "the sink has: %s" % kinds)


def case_self_approval(bench):
    """Nothing inside a session answers its holds, though it is root; and the attempt is told."""
    table = bench.table()
    reprieve = os.path.abspath(bench.reprieve)
    ask = "%s pending --json --socket $S | sed -n 's/^{\"hold\": *\\([0-9]*\\).*/\\1/p' | tail -1" % reprieve
    script = ("psql -X -c 'drop table %s' \"%s\" & while :; do n=$(%s); [ -n \"$n\" ] && break; sleep 0.1; done; "
              "%s approve --socket $S $n; echo approve ended with $?; wait"
              % (table, bench.server.unix(), ask, reprieve))
    held = Held(bench, "hold", ["sh", "-c", script], timeout="3s", extra="# %s\n" % table, socket=True)
    result = held.finish()
    expect("approve ended with 1" in result.output, "approve was answered: %s %s" % (result.output, result.errors))
    expect("no process of a session decides on holds" in result.errors, "it says: %s" % result.errors)
    expect(exists(bench, table), "the session approved its own hold")
    tried = [event for event in held.own_events("review") if event.get("refused")]
    expect(len(tried) == 1 and tried[0]["by"]["session"]["name"] == held.where[1], "not told: %s" % tried)


def case_alone(bench):
    """`reprieve run` without a daemon answers on a socket of its own."""
    table, socket = bench.table(), bench.path(".sock")
    policy = bench.write("version: 1\nrules:\n  - {name: ask, op: [sql], sql: [drop], action: hold, timeout: 60s}\n",
                         ".yaml")
    process = subprocess.Popen([bench.reprieve, "run", "--policy", policy, "--socket", socket, "--"] +
                               psql(bench, "drop table %s" % table), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    holds = ""
    for _ in range(400):
        holds = subprocess.run([bench.reprieve, "pending", "--json", "--socket", socket], capture_output=True,
                               text=True, check=False).stdout
        if holds:
            break
        time.sleep(0.05)
    expect(holds and exists(bench, table), "nothing is held")
    subprocess.run([bench.reprieve, "approve", "--socket", socket, str(json.loads(holds)["hold"])], check=True,
                   stdout=subprocess.DEVNULL)
    output = process.communicate(timeout=60)[0]
    expect(process.returncode == 0 and not exists(bench, table), "psql ends with %d: %s" % (process.returncode, output))
    expect("reprieve approve" in output, "it is not told how to answer: %s" % output)


EXEC_RULE = "  - {name: ask-exec, op: [exec], args: [\"touch ask*\"], action: hold, timeout: 60s}\n"


def held_exec(bench):
    held = Held(bench, "hold", ["sh", "-c", "touch ask; echo it ended with $?"], extra=EXEC_RULE)
    hold = held.wait()
    expect(hold["op"] == "exec" and hold["rule"] == "ask-exec", "what is held: %s" % hold)
    time.sleep(0.3)
    expect(not os.path.exists(os.path.join(hold["process"]["cwd"], "ask")), "it ran before the answer")
    return held, hold


def case_exec_approve(bench):
    held, hold = held_exec(bench)
    held.answer("approve", str(hold["hold"]))
    result = held.finish()
    expect("it ended with 0" in result.output, "sh says: %s" % result.output)
    expect(os.path.exists(os.path.join(hold["process"]["cwd"], "ask")), "it did not run")


def case_exec_deny(bench):
    """A program cannot be refused any more where it is held: it ends before its first instruction."""
    held, hold = held_exec(bench)
    held.answer("deny", str(hold["hold"]))
    result = held.finish()
    expect("it ended with %d" % test_sql.KILLED in result.output, "sh says: %s" % result.output)
    expect(not os.path.exists(os.path.join(hold["process"]["cwd"], "ask")), "it ran")


def case_exec_woken(bench):
    held, hold = held_exec(bench)
    wake(hold["process"]["pid"])
    expect(not os.path.exists(os.path.join(hold["process"]["cwd"], "ask")), "it ran before the answer")
    held.answer("approve", str(hold["hold"]))
    result = held.finish()
    expect("it ended with 0" in result.output, "sh says: %s" % result.output)


# ---- the desktop

DESKTOP_UID = 65534  # nobody: the bus wants a user of a name


class Desktop:
    """A session bus where the desktop of a user would have it, with somebody who writes all calls down."""

    def __init__(self, bench):
        if not shutil.which("dbus-daemon") or not shutil.which("dbus-monitor"):
            raise Skip("needs dbus-daemon and dbus-monitor")
        self.directory = "/run/user/%d" % DESKTOP_UID
        self.made = [path for path in ("/run/user", self.directory) if not os.path.exists(path)]
        os.makedirs(self.directory)
        os.chown(self.directory, DESKTOP_UID, DESKTOP_UID)
        address = "unix:path=%s/bus" % self.directory
        self.calls = open(bench.path(".calls"), "w+", encoding="utf-8")
        self.bus = self.run(["dbus-daemon", "--session", "--nofork", "--nopidfile", "--address=" + address])
        for _ in range(100):
            if os.path.exists(self.directory + "/bus"):
                break
            time.sleep(0.05)
        self.monitor = self.run(["stdbuf", "-oL", "dbus-monitor", "--address", address], stdout=self.calls)

    def run(self, command, **more):
        return subprocess.Popen(command, user=DESKTOP_UID, group=DESKTOP_UID, extra_groups=[], stdin=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]}, cwd="/", **more)

    def wait(self, text):
        for _ in range(200):
            with open(self.calls.name, encoding="utf-8") as calls:
                seen = calls.read()
            if text in seen:
                return seen
            time.sleep(0.05)
        raise Failure("no call on the bus has %r: %s" % (text, seen[-500:]))

    def close(self):
        for process in (self.monitor, self.bus):
            process.terminate()
            process.wait()
        shutil.rmtree(self.directory)
        if "/run/user" in self.made:
            os.rmdir("/run/user")


def case_desktop(bench):
    table = bench.table()
    desktop = Desktop(bench)
    try:
        held = Held(bench, "hold", psql(bench, "drop table %s" % table), extra="sinks:\n  - {type: desktop}\n")
        hold = held.wait()
        seen = desktop.wait("reprieve approve %d" % hold["hold"])
        expect("member=Notify" in seen and "drop table %s" % table in seen, "the calls: %s" % seen[-500:])
        held.answer("deny", str(hold["hold"]))
        held.finish()
    finally:
        desktop.close()


# ---- the screen


class Terminal:
    """A tmux server of our own with one window."""

    def __init__(self, bench, command, size=(80, 24)):
        if not shutil.which("tmux"):
            raise Skip("needs tmux")
        self.socket = bench.path(".tmux")
        self.tmux("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), command)

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, "-f", "/dev/null"] + list(words), capture_output=True,
                              text=True, timeout=30, check=False).stdout

    def wait(self, text):
        for _ in range(200):
            screen = self.tmux("capture-pane", "-p")
            if text in screen:
                return screen
            time.sleep(0.05)
        raise Failure("the screen never shows %r:\n%s" % (text, screen))

    def close(self):
        self.tmux("kill-server")


def case_screen(bench):
    first, second = bench.table(), bench.table()
    held = Held(bench, "hold", psql(bench, "drop table %s" % first))
    held.wait()
    terminal = Terminal(bench, "%s review --socket %s; sleep 60" % (bench.reprieve, held.socket))
    try:
        screen = terminal.wait("drop table %s" % first)
        expect("Ask the DBA." in screen and "1 pending" in screen, "the screen shows:\n%s" % screen)
        terminal.tmux("send-keys", "a")
        terminal.wait("approved")
        expect(held.finish().status == 0 and not exists(bench, first), "psql failed")
        terminal.wait("nothing stands stopped")
        held = Held(bench, "hold", psql(bench, "drop table %s" % second))
        terminal.wait("drop table %s" % second)
        terminal.tmux("resize-window", "-x", "120", "-y", "40")
        terminal.tmux("send-keys", "k")
        terminal.wait("kill the process of hold")
        terminal.tmux("send-keys", "n")
        terminal.wait("nothing was killed")
        terminal.tmux("send-keys", "k", "y")
        expect(held.finish().status == test_sql.KILLED and exists(bench, second), "it was not killed")
    finally:
        terminal.close()


CASES = [
    ("approve", case_approve),
    ("approve-process", case_approve_process),
    ("approve-once", case_approve_once),
    ("deny-held", case_deny_held),
    ("deny-woken", case_deny_woken),
    ("approve-woken", case_approve_woken),
    ("deny-kill", case_deny_kill),
    ("deny-at-once", case_deny_at_once),
    ("timeout", case_timeout),
    ("killed", case_killed),
    ("release", case_release),
    ("self-approval", case_self_approval),
    ("exec-approve", case_exec_approve),
    ("exec-deny", case_exec_deny),
    ("exec-woken", case_exec_woken),
    ("alone", case_alone),
    ("desktop", case_desktop),
    ("screen", case_screen),
]


if __name__ == "__main__":
    sys.exit(test_sql.main("holds", __doc__, CASES))
