#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The first statement and the first program of a pod that the API has not told of yet, live.

    test_pod_first.py [--reprieve PATH] [--list] [--keep] [NAME...]

Containers of runc in pods' cgroups, as in test_pod_agents.py. Their programs send SQL through a libpq of the container's
own to a PostgreSQL server of the tests' own; what counts is whether the table is there, and what the server's log saw.
Needs root, runc, busybox and cgroup2; for statements also PostgreSQL and libpq's headers.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import postgres  # noqa: E402 (from this file's own directory)
import ring  # noqa: E402
import test_containers  # noqa: E402
import test_pod_agents  # noqa: E402
from test_pod_agents import Running, new_uid, unreported  # noqa: E402

CLIENTS = os.path.join(ring.HERE, "sql_clients")
PROGRAMS = ("sh", "rm", "sleep", "touch", "true")
POLICY = """version: 1
default: allow
unresolved: {{verdict: {verdict}, timeout: {timeout}}}
agents:
  - builtin: false
  - {{name: pod-agent, pod: {{namespace: ["agents-*"], labels: {{ai-agent: "true"}}}}}}
rules:
  - {{name: no-drop, op: [sql], sql: [drop, dynamic], agent: [pod-agent], action: deny}}
  - {{name: ask-truncate, op: [sql], sql: [truncate], agent: [pod-agent], action: hold, timeout: 60s}}
  - {{name: kill-delete, op: [sql], sql: [delete-all], agent: [pod-agent], action: kill}}
  - {{name: no-touch, op: [exec], args: ["touch /work/forbidden*"], agent: [pod-agent], action: deny}}
  - {{name: ask-touch, op: [exec], args: ["touch /work/asked*"], agent: [pod-agent], action: hold, timeout: 60s}}
"""


def expect(condition, message):
    if not condition:
        raise test_containers.Failure(message)


def libraries(path):
    """What the loader says that a program needs, as paths of this machine."""
    told = subprocess.run(["ldd", path], stdout=subprocess.PIPE, check=True, text=True).stdout
    return [word for word in told.split() if word.startswith("/")]


class Container(test_containers.Container):
    """With programs of this machine added, where they lie here, and the server's socket at /pg."""

    def prepare(self, script):
        super().prepare(script)
        rootfs, config = os.path.join(self.bundle, "rootfs"), os.path.join(self.bundle, "config.json")
        for path in self.added:
            for part in [path] + libraries(path):
                os.makedirs(rootfs + os.path.dirname(part), exist_ok=True)
                if not os.path.exists(rootfs + part):
                    shutil.copy(os.path.realpath(part), rootfs + part)
        with open(config, encoding="utf-8") as file:
            spec = json.load(file)
        if self.bench.server:
            os.mkdir(os.path.join(rootfs, "pg"))
            spec["mounts"].append({"destination": "/pg", "type": "none", "source": self.bench.server.directory,
                                   "options": ["bind", "rw"]})
        if self.arguments:
            spec["process"]["args"] = self.arguments
        with open(config, "w", encoding="utf-8") as file:
            json.dump(spec, file)


class Bench(test_pod_agents.Bench):
    def __init__(self, reprieve, scratch, server):
        super().__init__(reprieve, scratch)
        self.server, self.tables = server, iter(range(1, 1 << 30))

    def policy_text(self):
        return POLICY.format(verdict=self.verdict, timeout=self.timeout)

    def container(self, uid, style="systemd"):
        path = self.pod_cgroup(uid, style)
        container = Container(self, "containerd", path + "/cri-containerd-%s.scope" % test_containers.new_id(), uid)
        container.shared, container.added, container.arguments = self.tier() != "lsm", [], None
        return container

    def table(self):
        if not self.server:
            raise test_containers.Skip("needs a PostgreSQL server (package postgresql)")
        name = "t%d" % next(self.tables)
        self.server.query("create table %s as select generate_series(1, 3) as id" % name)
        return name

    def conninfo(self):
        return "host=/pg port=%d user=postgres dbname=postgres" % self.server.port

    def client(self):
        """The C program of sql_clients, built on first use."""
        if not shutil.which("cc") or not os.path.isdir("/usr/include/postgresql"):
            raise test_containers.Skip("needs a C compiler and libpq's headers (package libpq-dev)")
        program = os.path.join(self.scratch, "client")
        if not os.path.exists(program):
            subprocess.run(["cc", "-std=gnu17", "-O2", "-I/usr/include/postgresql", "-o", program,
                            os.path.join(CLIENTS, "client.c"), "-Wl,--as-needed", "-lpq", "-lpthread", "-ldl"], check=True)
        return program

    def sending(self, mode, *statements):
        """A container whose program sends the statements first of all."""
        container = self.container(new_uid())
        container.added = [self.client()]
        container.arguments = [self.client(), mode, self.conninfo()] + list(statements)
        return container

    def events(self, container):
        found = []
        with open(self.events_path, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line) if line.endswith("\n") else {}
                if event.get("kind") == "op" and event.get("container", {}).get("id") == container.id:
                    found.append(event)
        return found

    def denied_programs(self):
        """How many first programs of a pod's were refused, whatever is known of their containers."""
        with open(self.events_path, encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines if line.endswith("\n")]
        return len([event for event in found if event.get("op") == "exec" and event.get("verdict") == "deny" and
                    event.get("rule") == "no-touch" and event["session"]["agent"] == "pod-agent"])

    @staticmethod
    def wait(condition):
        for _ in range(100):
            if condition():
                return True
            time.sleep(0.05)
        return False

    def event_of(self, container, **wanted):
        """The operation of that container whose fields have the values wanted, once it is told of."""
        for _ in range(100):
            for event in self.events(container):
                if all(event.get(key) == value for key, value in wanted.items()):
                    return event
            time.sleep(0.05)
        raise test_containers.Failure("no event with %s: %s" % (wanted, self.events(container)))

    def asked(self):
        """The hold that somebody is asked about, once there is one."""
        for _ in range(400):
            holds = self.pending()
            if holds:
                expect(len(holds) == 1, "pending: %s" % holds)
                return holds[0]
            time.sleep(0.02)
        raise test_containers.Failure("nobody is asked")


def sent(bench, text):
    """Did the server see it?"""
    return text in bench.server.log()


def rows_of(bench, tables):
    return [int(bench.server.query("select count(*) from " + table)) for table in tables]


# ---- statements


def case_sql_agent(bench, mode):
    """The first statement of what turns out to be an agent waits, and is refused by that agent's rule."""
    table = bench.table()
    container = bench.sending(mode, "drop table " + table)
    run = Running(container, None)
    bench.waits(1)
    time.sleep(0.3)
    expect(not sent(bench, "drop table " + table), "it was sent before the pod was known")
    pod = bench.api.create(container.pod)
    expect(run.wait() == 1, "status %s: %s" % (run.status, container.output[-300:]))
    expect(bench.server.exists(table) and not sent(bench, "drop table " + table), "the server saw it")
    event = bench.event_of(container, op="sql", verdict="deny")
    expect(event["rule"] == "no-drop" and event["session"]["agent"] == "pod-agent" and
           event["container"]["pod"]["uid"] == container.pod and event["sql"]["class"] == ["drop"] and
           event["sql"]["statement"] == "drop table " + table, "event: %s" % event)
    bench.gone(pod)


def case_sql_large_object(bench):
    """A function of the server that is called by its number, without any text."""
    bench.table()
    number = bench.server.query("select lo_create(0)")
    container = bench.sending("large-object", number)
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod)
    expect(run.wait() == 1, "status %s: %s" % (run.status, container.output[-300:]))
    left = bench.server.query("select count(*) from pg_largeobject_metadata where oid = %s" % number)
    expect(left == "1", "the large object is gone")
    bench.event_of(container, op="sql", verdict="deny", rule="no-drop")
    bench.gone(pod)


def case_sql_bystander(bench):
    """The same of a pod that is no agent's: it waits, then its statement goes through, and nothing is told of it."""
    table = bench.table()
    container = bench.sending("exec", "drop table " + table)
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod, labelled=False)
    expect(run.wait() == 0, "status %s: %s" % (run.status, container.output[-300:]))
    expect(not bench.server.exists(table), "the table is still there")
    expect(unreported(bench, container), "it was reported")
    bench.gone(pod)


def case_sql_hold(bench):
    """Held by the agent's rule, once the pod is known; approved, it goes through."""
    table = bench.table()
    container = bench.sending("exec", "truncate " + table)
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod)
    hold = bench.asked()
    expect(hold["rule"] == "ask-truncate" and bench.server.query("select count(*) from " + table) == "3",
           "pending: %s" % hold)
    bench.answer("approve", hold)
    expect(run.wait() == 0, "status %s: %s" % (run.status, container.output[-300:]))
    expect(bench.server.query("select count(*) from " + table) == "0", "the statement was not sent")
    bench.gone(pod)


def case_sql_kill(bench):
    table = bench.table()
    container = bench.sending("send", "delete from " + table)
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod)
    expect(run.wait() == 137, "status %s: %s" % (run.status, container.output[-300:]))
    expect(bench.server.query("select count(*) from " + table) == "3", "rows are gone")
    bench.event_of(container, op="sql", verdict="kill", rule="kill-delete")
    bench.gone(pod)


def case_sql_harmless(bench):
    """What no rule could stop does not wait, whosever the pod is."""
    bench.table()
    before = bench.status()["pods"]["unresolved"]["calls"]
    container = bench.sending("exec", "select 1", "select 2")
    expect(container.run(None) == 0, "output: %s" % container.output[-300:])
    expect(bench.status()["pods"]["unresolved"]["calls"] == before, "it waited")


def case_sql_threads(bench):
    """Several threads, each at its first statement: each is judged by itself, one behind the other."""
    tables = [bench.table() for _ in range(4)]
    container = bench.sending("threads", *["truncate " + table for table in tables])
    run = Running(container, None)
    # The first to be stopped stops the others, wherever they are.
    for _ in range(400):
        if bench.status()["pods"]["unresolved"]["waiting"]:
            break
        time.sleep(0.02)
    time.sleep(0.2)
    expect(rows_of(bench, tables) == [3] * 4, "rows are gone")
    pod = bench.api.create(container.pod)
    while run.is_alive():
        # What its threads are stopped at under one rule is one question.
        for hold in bench.pending():
            bench.answer("approve", hold, "--once")
        time.sleep(0.02)
    expect(run.wait() == 0 and rows_of(bench, tables) == [0] * 4, "status %s" % run.status)
    asked = {event["sql"]["statement"] for event in bench.events(container) if event["verdict"] == "hold"}
    expect(asked == {"truncate " + table for table in tables}, "asked about %s" % asked)
    bench.gone(pod)


def case_sql_late(bench):
    """Nobody tells of the pod: rules that are about any agent judge its statements after its time, unresolved: of files."""
    table = bench.table()
    bench.unresolved("deny", "1s")
    container = bench.sending("exec", "drop table " + table)
    run = Running(container, None)
    expect(run.wait() == 0, "status %s: %s" % (run.status, container.output[-300:]))
    event = bench.event_of(container, op="sql")
    expect((event["verdict"], event["session"]["agent"]) == ("allow", "unresolved-pod"), "event: %s" % event)
    bench.unresolved("alert", "20s")


def case_sql_known(bench):
    """The pod was told of before its container started: nothing waits."""
    table = bench.table()
    container = bench.sending("exec", "drop table " + table)
    pod = bench.api.create(container.pod)
    bench.known(bench.agents())
    before = bench.status()["pods"]["unresolved"]["calls"]
    expect(container.run(None) == 1 and bench.server.exists(table), "output: %s" % container.output[-300:])
    bench.event_of(container, op="sql", verdict="deny", rule="no-drop")
    expect(bench.status()["pods"]["unresolved"]["calls"] == before, "it waited")
    bench.gone(pod)


# ---- programs


def running(bench, *arguments):
    """A container whose first program is this one."""
    container = bench.container(new_uid())
    container.arguments = list(arguments)
    return container


def made(container, name):
    return os.path.exists(os.path.join(container.volume, name))


def case_exec_deny(bench):
    """The first program of what turns out to be an agent does not begin."""
    container = running(bench, "touch", "/work/forbidden")
    run = Running(container, None)
    bench.waits(1)
    time.sleep(0.3)
    expect(not made(container, "forbidden"), "it began before the pod was known")
    pod = bench.api.create(container.pod)
    expect(run.wait() == 137, "status %s: %s" % (run.status, container.output[-300:]))
    expect(not made(container, "forbidden"), "it began")
    event = bench.event_of(container, op="exec", verdict="deny")
    expect(event["rule"] == "no-touch" and event["session"]["agent"] == "pod-agent" and
           event["container"]["pod"]["uid"] == container.pod and
           event["process"]["args"] == ["touch", "/work/forbidden"], "event: %s" % event)
    bench.gone(pod)


def case_exec_hold(bench):
    container = running(bench, "touch", "/work/asked")
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod)
    hold = bench.asked()
    expect(hold["rule"] == "ask-touch" and not made(container, "asked"), "pending: %s" % hold)
    bench.answer("approve", hold)
    expect(run.wait() == 0 and made(container, "asked"), "status %s: %s" % (run.status, container.output[-300:]))
    bench.gone(pod)


def case_exec_hold_denied(bench):
    container = running(bench, "touch", "/work/asked")
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod)
    bench.answer("deny", bench.asked())
    expect(run.wait() == 137 and not made(container, "asked"), "status %s: %s" % (run.status, container.output[-300:]))
    bench.gone(pod)


def case_exec_bystander(bench):
    container = running(bench, "touch", "/work/forbidden")
    run = Running(container, None)
    bench.waits(1)
    pod = bench.api.create(container.pod, labelled=False)
    expect(run.wait() == 0 and made(container, "forbidden"), "status %s: %s" % (run.status, container.output[-300:]))
    expect(unreported(bench, container), "it was reported")
    bench.gone(pod)


def case_exec_second(bench):
    """A program that the first one starts; what no rule is about does not wait."""
    container = running(bench, "sh", "-c", "/bin/touch /work/before; /bin/touch /work/forbidden; /bin/touch /work/after")
    run = Running(container, None)
    bench.waits(1)
    expect(made(container, "before") and not made(container, "forbidden"), "what no rule is about waits")
    pod = bench.api.create(container.pod)
    expect(run.wait() == 0 and made(container, "after"), "status %s: %s" % (run.status, container.output[-300:]))
    expect(not made(container, "forbidden"), "it began")
    bench.event_of(container, op="exec", verdict="deny", rule="no-touch")
    bench.gone(pod)


def case_exec_late(bench):
    """Nobody tells of the pod: rules that are about any agent judge its programs, and here there is none."""
    bench.unresolved("alert", "1s")
    container = running(bench, "touch", "/work/forbidden")
    run = Running(container, None)
    expect(run.wait() == 0 and made(container, "forbidden"), "status %s: %s" % (run.status, container.output[-300:]))
    bench.unresolved("alert", "20s")


def case_exec_known(bench):
    """The pod was told of before its container started. That one may be gone before its name is asked for."""
    container = running(bench, "touch", "/work/forbidden")
    pod = bench.api.create(container.pod)
    bench.known(bench.agents())
    before = bench.denied_programs()
    container.run(None)
    expect(not made(container, "forbidden"), "it began")
    expect(bench.wait(lambda: bench.denied_programs() > before), "nothing is told")
    bench.gone(pod)


# ---- what the API tells


def case_nul(bench):
    """A NUL in an annotation, which anybody may give a pod of their own: it spoils neither the watch nor the list of all."""
    poison, agent = new_uid(), new_uid()
    pod = bench.api.create(poison, labelled=False)
    pod["metadata"]["annotations"] = {"note": "a\0b"}
    bench.api.change(pod)
    other = bench.api.create(agent)
    bench.known(bench.agents())
    bench.stop_daemon()
    bench.start_daemon()
    bench.known(bench.agents())
    bench.gone(other)
    bench.gone(pod)


def case_forged_hash(bench):
    """A pod that says in its annotations that it is another one, which is not known yet: that one waits all the same."""
    container, other = running(bench, "touch", "/work/forbidden"), new_uid()
    pod = bench.api.create(other, labelled=False, config_hash=container.pod)
    bench.api.change(pod)
    run = Running(container, None)
    bench.waits(1)
    agent = bench.api.create(container.pod)
    expect(run.wait() == 137 and not made(container, "forbidden"), "status %s: %s" % (run.status, container.output))
    bench.gone(agent)
    bench.gone(pod)


def case_resolver(bench):
    """A name server that never answers: the API is not reached, and nobody waits for that but the API's part."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        silent.bind(("127.0.0.53", 53))
    except OSError:
        raise test_containers.Skip("the address of the silent name server is in use") from None
    files = {name: os.path.join(bench.scratch, "silent." + name) for name in ("conf", "socket", "log", "yaml")}
    for name, text in (("conf", "nameserver 127.0.0.53\noptions timeout:30 attempts:1\n"),
                       ("yaml", bench.policy_text()), ("log", "")):
        with open(files[name], "w", encoding="utf-8") as file:
            file.write(text)
    with silent, open(files["log"], "r+", encoding="utf-8") as log:
        daemon = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', files["conf"],
             bench.reprieve, "daemon", "--policy", files["yaml"], "--socket", files["socket"], "--quiet", "--api",
             "https://api.example.test:6443", "--node", "n1"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            answered, slowest, timed_out, end = False, 0.0, False, time.monotonic() + 60
            while not timed_out and time.monotonic() < end:
                began = time.monotonic()
                done = subprocess.run([bench.reprieve, "status", "--socket", files["socket"]], check=False,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                slowest = max(slowest, time.monotonic() - began) if answered else 0.0
                answered |= done.returncode == 0
                time.sleep(0.1)
                log.seek(0)
                timed_out = "Resolving timed out" in log.read()
            expect(timed_out, "the API was not given up")
            expect(slowest < 5, "the daemon did not answer for %.1f s" % slowest)
        finally:
            daemon.terminate()
            daemon.wait()


def cases():
    modes = ("exec", "exec-params", "prepare", "send", "send-params", "send-prepare", "pipeline")
    rows = [("sql-" + mode, lambda bench, mode=mode: case_sql_agent(bench, mode)) for mode in modes]
    return rows + [("sql-large-object", case_sql_large_object), ("sql-bystander", case_sql_bystander),
                   ("sql-hold", case_sql_hold), ("sql-kill", case_sql_kill), ("sql-harmless", case_sql_harmless),
                   ("sql-threads", case_sql_threads), ("sql-late", case_sql_late), ("sql-known", case_sql_known),
                   ("exec-deny", case_exec_deny), ("exec-hold", case_exec_hold),
                   ("exec-hold-denied", case_exec_hold_denied), ("exec-bystander", case_exec_bystander),
                   ("exec-second", case_exec_second), ("exec-late", case_exec_late), ("exec-known", case_exec_known),
                   ("api-nul", case_nul), ("api-forged-hash", case_forged_hash),
                   ("api-resolver", case_resolver)]


@contextlib.contextmanager
def open_bench(options, scratch):
    with ring.server_if_there() as server:
        bench = Bench(options.reprieve, scratch, server)
        try:
            bench.start_daemon()
            yield bench
            mismatches = bench.status().get("mismatches")
            if mismatches:
                raise test_containers.Failure("mismatches: %s" % mismatches)
        finally:
            bench.end()


def lacking(options):
    if not shutil.which("runc") or not shutil.which("busybox") or not test_containers.cgroup_root():
        return "needs runc, busybox and cgroup2"
    return ring.lacking(options)


def run(bench, name, function):
    """The failures of test_containers.py are those of ring.py, by another name."""
    def call(bench):
        try:
            function(bench)
        except test_containers.Failure as failure:
            raise ring.Failure(str(failure)) from None
        except test_containers.Skip as reason:
            raise ring.Skip(str(reason)) from None
    return ring.run_case(bench, name, call)


if __name__ == "__main__":
    sys.exit(ring.main("pod-first", __doc__, cases(), open_bench, why_not=lacking, run=run))
