#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Holds as objects of Kubernetes, live: what a daemon makes of its holds, and what it does as their spec is patched.

    test_kube_holds.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. The API is the stand-in of fake_kube.py. Processes are put into pods' cgroups by
hand and remove files below a directory of this test's own. What counts is whether the files are there. Needs root and
cgroup2; the cases of the plugin kubectl.
"""

import argparse
import calendar
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fake_kube  # noqa: E402 (from this file's own directory)
from test_containers import LOCK, Failure, Skip, cgroup_root, expect  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PLUGIN = os.path.join(HERE, "..", "..", "tools", "kubernetes", "kubectl-reprieve")
NODE = "node-1"
BPF_FS = "/sys/fs/bpf"
FILES = 5
OPEN_MAX = 256  # KUBE_HOLDS_OPEN_MAX
AT_ONCE = 1.0  # seconds in which a decision is acted on
POLICY = """version: 1
default: allow
agents:
  - builtin: false
  - {{name: pod-agent, pod: {{namespace: ["agents-*"], labels: {{ai-agent: "true"}}}}}}
rules:
  - {{name: ask-soon, op: [delete], path: ["{where}/soon/**"], action: hold, timeout: 1500ms, lease: 60s}}
  - {{name: ask, op: [delete], path: ["{where}/**"], action: hold, timeout: 120s, lease: 60s, message: "Ask the owner."}}
"""


def wait_for(what, get, seconds=10.0):
    """The first true value of get()."""
    deadline = time.monotonic() + seconds
    while True:
        found = get()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failure("%s: not within %g s" % (what, seconds))
        time.sleep(0.01)


class Agent:
    """A process in a pod's cgroup, or a session of `reprieve run`, that removes what it is told to."""

    def __init__(self, bench, script, pod=None):
        self.bench = bench
        environment, go = dict(os.environ, LC_ALL="C"), None
        if pod:
            cgroup, go = bench.container_cgroup(pod), bench.scratch + "/go-" + uuid.uuid4().hex
            command = ["sh", "-c", "echo $$ >%s/cgroup.procs; while [ ! -e %s ]; do sleep 0.02; done; exec sh -c '%s'" % (
                cgroup, go, script)]
        else:
            command = [bench.reprieve, "run", "--socket", bench.socket, "--name", "outside", "--", "sh", "-c", script]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, cwd=bench.where, env=environment,
                                        start_new_session=True)
        bench.agents.append(self)
        if go:  # not before it is a session: that takes a busy machine its time
            inodes = [os.stat(path).st_ino for path in (cgroup, os.path.dirname(cgroup))]
            wait_for("the session", lambda: any('"c-%d-' % inode in bench.call("sessions", "--json")
                                                for inode in inodes), 30)
            # On the uprobe tier libc is watched while there are sessions, from a moment after the first one began.
            time.sleep(0.3)
            wait_for("libc's being watched", lambda: bench.libc_watched(), 30)
            with open(go, "w", encoding="utf-8"):
                pass

    def finish(self, seconds=10.0):
        """Its exit status and output."""
        try:
            output = self.process.communicate(timeout=seconds)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            raise Failure("it stands stopped still after %g s" % seconds) from None
        return self.process.returncode, output

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


class Bench:
    """A daemon, the API that it knows, and a directory whose files are asked about."""

    def __init__(self, reprieve, options=(), tls=False):
        self.reprieve, self.options = reprieve, list(options)
        self.scratch = tempfile.mkdtemp(prefix="reprieve-kube-holds.", dir="/tmp")
        self.where = os.path.join(self.scratch, "data")
        os.mkdir(self.where)
        self.socket, self.events_path = self.scratch + "/socket", self.scratch + "/events.jsonl"
        self.log_path = self.scratch + "/daemon.log"
        self.agents, self.cgroups, self.daemon, self.number = [], [], None, 0
        self.kube = fake_kube.Kube(self.scratch if tls else None)
        self.kube.users.update(alice="alice", bob="bob", robot="system:serviceaccount:agents-a:robot")
        for name in ("agents-a", "reprieve", "default"):
            self.kube.put("namespaces", {"metadata": {"name": name}})
        if tls:
            self.options += ["--api-ca", self.kube.ca]
        for name, text in (("token", "secret\n"), ("policy.yaml", POLICY.format(where=self.where))):
            with open(os.path.join(self.scratch, name), "w", encoding="utf-8") as file:
                file.write(text)

    def start(self):
        log = open(self.log_path, "w", encoding="utf-8")
        self.daemon = subprocess.Popen(
            [self.reprieve, "daemon", "--policy", self.scratch + "/policy.yaml", "--socket", self.socket, "--events",
             self.events_path, "--quiet", "--api", self.kube.url(), "--api-token", self.scratch + "/token", "--node",
             NODE, "--api-namespace", "reprieve"] + self.options,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        wait_for("the daemon's start", lambda: self.daemon.poll() is not None or "guarding:" in self.log(), 60)
        expect(self.daemon.poll() is None, "the daemon did not start: %s" % self.log()[-400:])
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as lines:
            return lines.read()

    def lose_daemon(self):
        self.daemon.kill()
        self.daemon.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *unused):
        told = self.end()
        if told and not kind:
            raise Failure("the daemon's end: " + told)

    def end(self):
        """What was wrong with the daemon: nothing, or what it said, as sanitizers do."""
        told = None
        for agent in self.agents:
            agent.end()
        if self.daemon:
            self.daemon.terminate()
            if self.daemon.wait() != 0 or "Sanitizer" in self.log():
                told = "status %d: %s" % (self.daemon.returncode, self.log()[-2000:])
        if "--pins" in self.options:
            subprocess.run([self.reprieve, "release", "--socket", self.scratch + "/none", "--pins",
                            self.options[self.options.index("--pins") + 1]], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
        for path in self.cgroups:
            while path != cgroup_root():
                try:
                    os.rmdir(path)
                except OSError:
                    break
                path = os.path.dirname(path)
        self.kube.end()
        shutil.rmtree(self.scratch, ignore_errors=True)
        return told

    # ---- pods, files

    def pod(self, space="agents-a", account="robot"):
        """A pod whose label makes it an agent, once the daemon has heard of it."""
        uid = str(uuid.uuid4())
        known = self.status()["pods"]["agents"]
        self.kube.put("pods", {"metadata": {"uid": uid, "namespace": space, "name": "pod-" + uid[:8],
                                            "labels": {"ai-agent": "true"}},
                               "spec": {"nodeName": NODE, "serviceAccountName": account}, "status": {}})
        wait_for("the pod's being known", lambda: self.status()["pods"]["agents"] > known)
        return uid

    def container_cgroup(self, uid):
        """As the kubelet and the runtime make it: the pod's first."""
        pod = "%s/kubepods/burstable/pod%s" % (cgroup_root(), uid)
        path = pod + "/" + uuid.uuid4().hex + uuid.uuid4().hex
        os.makedirs(pod, exist_ok=True)
        time.sleep(0.4)
        os.mkdir(path)
        self.cgroups.append(path)
        return path

    def fill(self, below=None):
        self.number += 1
        where = os.path.join(self.where, below or "", "d%d" % self.number)
        os.makedirs(where)
        for number in range(FILES):
            with open(os.path.join(where, "f%d" % number), "w", encoding="utf-8") as file:
                file.write("x" * 100)
        return where

    # ---- what is known

    def call(self, *words):
        done = subprocess.run([self.reprieve, words[0], "--socket", self.socket] + list(words[1:]),
                              capture_output=True, text=True, timeout=60, check=False)
        expect(done.returncode == 0, "%s: %s" % (" ".join(words), done.stderr))
        return done.stdout

    def status(self):
        return json.loads(self.call("status", "--json"))

    def libc_watched(self):
        status = self.status()
        return status["libcs"] or all(row["tier"] != "uprobe" for row in status["tiers"] if row["op"] == "unlink")

    def pending(self):
        return [json.loads(line) for line in self.call("pending", "--json").splitlines()]

    def events(self, kind):
        with open(self.events_path, encoding="utf-8") as lines:
            return [event for event in map(json.loads, filter(lambda line: line.endswith("\n"), lines))
                    if event["kind"] == kind]

    def holds(self):
        return self.kube.all("holds")

    def object(self, path, phase="Pending"):
        """The object of the hold on a file below that path."""
        def find():
            for item in self.holds():
                status = item.get("status", {})
                if status.get("path", "").startswith(path) and status.get("phase") == phase:
                    return item
            return None
        return wait_for("an object %s about %s (%s)" % (phase, path, [
            (item["metadata"]["name"], item.get("status", {}).get("phase"), item.get("status", {}).get("path"))
            for item in self.holds()]), find)

    def patch(self, item, user="alice", manager="kubectl-patch", **spec):
        metadata = item["metadata"]
        return self.kube.patch("holds", metadata["namespace"], metadata["name"], {"spec": spec}, user, manager)

    def again(self, item):
        found = [one for one in self.holds() if one["metadata"]["uid"] == item["metadata"]["uid"]]
        expect(found, "the object is gone")
        return found[0]

    def phase(self, item, phase):
        return wait_for("%s" % phase, lambda: (lambda one: one if one["status"]["phase"] == phase else None)(
            self.again(item)))

    def decision_error(self, item):
        return wait_for("a decisionError", lambda: self.again(item)["status"].get("decisionError"))


def stopped(where):
    time.sleep(0.3)
    expect(len(os.listdir(where)) == FILES, "%d of %d files are left in %s" % (len(os.listdir(where)), FILES, where))


def went_on(agent, where, seconds=AT_ONCE + 1):
    """It ends by itself, at once where nothing else is said, with its files gone."""
    status, output = agent.finish(seconds)
    expect(status == 0 and not os.path.exists(where), "status %d: %s" % (status, output[-200:]))


# ---- the cases: one daemon for all of these


def case_object(bench):
    """Who, what and what is at stake, in the pod's own namespace; a patch by a person lets it go on within a second."""
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm -rf %s" % where, pod)
    item = bench.object(where)
    metadata, status = item["metadata"], item["status"]
    expect(metadata["namespace"] == "agents-a" and metadata["labels"]["reprieve.dev/node"] == NODE, "%s" % metadata)
    expect(re.fullmatch(r"node-1-%d-[a-z0-9]{5}" % status["number"], metadata["name"]), "name %s" % metadata["name"])
    expect(status["node"] == NODE and status["pod"] == "pod-" + pod[:8] and status["agent"] == "pod-agent" and
           status["op"] == "unlink" and status["rule"] == "ask" and status["message"] == "Ask the owner." and
           status["onTimeout"] == "deny", "status: %s" % status)
    expect(status["process"]["args"] == ["rm", "-rf", where] and status["process"]["pid"] > 0 and
           status["process"]["cwd"] == bench.where and status["process"]["uid"] == 0, "process: %s" % status["process"])
    stake = status["stake"]
    expect(stake["files"] == FILES and stake["bytes"] == FILES * 100 and stake["directories"] == 1 and
           stake["text"].startswith("5 files"), "stake: %s" % stake)
    expect(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", status["since"]) and status["deadline"] > status["since"] and
           not item["spec"], "times: %s" % status)
    stopped(where)
    bench.patch(item, decision="approve", decidedBy="alice", reason="it is a copy")
    began = time.monotonic()
    went_on(agent, where)
    expect(time.monotonic() - began < AT_ONCE, "it went on after %.1f s" % (time.monotonic() - began))
    status = bench.phase(item, "Approved")["status"]
    expect(status["decidedBy"] == "kubernetes:alice (stated)" and status["decidedAt"] and status["endedAt"] and
           status["observedGeneration"] == 2 and "decisionError" not in status, "status: %s" % status)
    review = bench.events("review")[-1]
    expect(review["by"] == {"user": "kubernetes:alice (stated)"} and review["reason"] == "it is a copy" and
           review["answer"] == "approve" and review["hold"] == status["number"], "review: %s" % review)


def case_deny(bench):
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm %s/f0" % where, pod)
    item = bench.object(where)
    bench.patch(item, decision="deny", decidedBy="alice")
    status, output = agent.finish(AT_ONCE + 1)
    expect(status == 1 and ("not permitted" in output or "denied" in output), "status %d: %s" % (status, output))
    stopped(where)
    expect(bench.phase(item, "Denied")["status"]["decidedBy"] == "kubernetes:alice (stated)", "who denied")


def case_deny_kill(bench):
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "exec rm %s/f0" % where, pod)
    item = bench.object(where)
    bench.patch(item, decision="deny", kill=True, decidedBy="alice")
    status, output = agent.finish(AT_ONCE + 1)
    expect(status == -signal.SIGKILL, "status %d: %s" % (status, output))
    stopped(where)
    bench.phase(item, "Denied")


def case_once(bench):
    """Only what stands stopped: the next process is asked about again."""
    pod, first, second = bench.pod(), bench.fill(), bench.fill()
    agent = Agent(bench, "rm %s/f0; rm %s/f0" % (first, second), pod)
    bench.patch(bench.object(first), decision="approve", scope="once", decidedBy="alice")
    item = bench.object(second)
    expect(not os.path.exists(first + "/f0") and os.path.exists(second + "/f0"), "the files")
    bench.patch(item, decision="deny", decidedBy="alice")
    expect(agent.finish(AT_ONCE + 1)[0] == 1, "the second was not denied")


def case_time(bench):
    """For a time: the session's next process is not asked about."""
    pod, first, second = bench.pod(), bench.fill(), bench.fill()
    agent = Agent(bench, "rm -r %s; rm -r %s" % (first, second), pod)
    item = bench.object(first)
    bench.patch(item, decision="approve", scope="time", **{"for": "10m", "decidedBy": "alice"})
    went_on(agent, second)
    status = bench.phase(item, "Approved")["status"]
    until = calendar.timegm(time.strptime(status["leaseUntil"][:19], "%Y-%m-%dT%H:%M:%S"))
    expect(590 < until - time.time() < 610, "leaseUntil %s" % status["leaseUntil"])


MALFORMED = [
    ({"decision": "maybe"}, "spec.decision: 'maybe' is none; approve or deny"),
    ({"decision": "approve", "scope": "time"}, "spec.for: scope: time needs it"),
    ({"decision": "approve", "scope": "time", "for": "soon"}, "spec.for: 'soon' is no time"),
    ({"decision": "approve", "scope": "time", "for": "48h"}, "spec.for: '48h' is no time up to 24h"),
    ({"decision": "approve", "scope": "once", "for": "10m"}, "spec.for: goes with scope: time alone"),
    ({"decision": "approve", "scope": "always"}, "spec.scope: 'always' is none"),
    ({"decision": "approve", "kill": True}, "spec.kill: goes with decision: deny alone"),
    ({"decision": "deny", "scope": "once"}, "scope and for go with decision: approve alone"),
    ({"decision": "deny", "kill": "yes"}, "spec.kill: true or false"),
    ({"decision": 7}, "spec.decision: a text"),
]


def case_malformed(bench):
    """Nothing is done, and the status says what is wrong; a correction is taken."""
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm -r %s" % where, pod)
    item = bench.object(where)
    empty = dict.fromkeys(("decision", "scope", "for", "kill"))
    for spec, error in MALFORMED:
        bench.patch(item, decidedBy="alice", **{**empty, **spec})
        wait_for(error, lambda: error in bench.again(item)["status"].get("decisionError", ""))
        expect(bench.again(item)["status"]["phase"] == "Pending", "it was decided by %s" % spec)
    stopped(where)
    bench.patch(item, decidedBy="alice", **{**empty, "decision": "approve"})
    went_on(agent, where)
    expect("decisionError" not in bench.phase(item, "Approved")["status"], "the error stays")
    # What comes too late is told so.
    bench.patch(item, decision="deny")
    expect("closed" in bench.decision_error(item), "a late denial")


def case_outside(bench):
    """A session in no pod: in the daemon's namespace. Who does not say who it is goes by its client's name."""
    where = bench.fill()
    agent = Agent(bench, "rm -r %s" % where)
    item = bench.object(where)
    expect(item["metadata"]["namespace"] == "reprieve" and "pod" not in item["status"] and
           item["status"]["session"] == "outside", "status: %s" % item["status"])
    bench.patch(item, decision="approve", manager="kubectl-edit")
    went_on(agent, where)
    expect(bench.phase(item, "Approved")["status"]["decidedBy"] == "kubernetes (manager kubectl-edit)", "by whom")


def case_local(bench):
    """`reprieve approve` decides as ever, and the object tells who did."""
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm -r %s" % where, pod)
    item = bench.object(where)
    bench.call("approve", str(item["status"]["number"]))
    went_on(agent, where)
    expect(bench.phase(item, "Approved")["status"]["decidedBy"] == "local:root", "by whom")


def case_timed_out(bench):
    """Nobody answered: it has failed, and an approval within the lease lets another try through."""
    pod, where = bench.pod(), bench.fill("soon")
    agent = Agent(bench, "rm %s/f0; while [ ! -e %s/go ]; do sleep 0.05; done; rm %s/f0" % (
        where, bench.where, where), pod)
    item = bench.object(where, "TimedOut")
    stopped(where)
    bench.patch(item, decision="approve", decidedBy="alice")
    status = bench.phase(item, "Approved")["status"]
    expect(status["leaseUntil"] and status["decidedBy"] == "kubernetes:alice (stated)", "status: %s" % status)
    with open(bench.where + "/go", "w", encoding="utf-8"):
        pass
    status, output = agent.finish(3)
    expect(status == 0 and len(os.listdir(where)) == FILES - 1, "status %d: %s" % (status, output))


def case_process_gone(bench):
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "exec rm -r %s" % where, pod)
    item = bench.object(where)
    agent.end()
    status = bench.phase(item, "Ended")["status"]
    expect("decidedBy" not in status and status["endedAt"], "status: %s" % status)


def case_deleted(bench):
    """An object that somebody deletes is made again while its hold is open."""
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm -r %s" % where, pod)
    item = bench.object(where)
    bench.kube.remove("holds", "agents-a", item["metadata"]["name"])
    again = bench.object(where)
    expect(again["metadata"]["uid"] != item["metadata"]["uid"], "the same object")
    stopped(where)
    bench.patch(again, decision="approve", decidedBy="alice")
    went_on(agent, where)


def case_name_taken(bench):
    """Somebody has made an object of the next name, with a decision in it: that decides nothing."""
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm -r %s" % where, pod)
    item = bench.object(where)
    number, suffix = item["metadata"]["name"].split("-")[-2:]
    bench.patch(item, decision="approve", decidedBy="alice")
    went_on(agent, where)
    name = "%s-%d-%s" % (NODE, int(number) + 1, suffix)
    bench.kube.put("holds", {"metadata": {"namespace": "agents-a", "name": name, "labels": {"reprieve.dev/node": NODE}},
                             "spec": {"decision": "approve", "decidedBy": "alice"}})
    where = bench.fill()
    agent = Agent(bench, "rm -r %s" % where, pod)
    item = bench.object(where)
    expect(item["metadata"]["name"] == name + "-1", "name %s" % item["metadata"]["name"])
    stopped(where)
    bench.patch(item, decision="deny", kill=True, decidedBy="alice")
    agent.finish(AT_ONCE + 1)
    stopped(where)
    forged = [one for one in bench.holds() if one["metadata"]["name"] == name][0]
    expect(forged["status"]["phase"] == "Ended", "the forged one: %s" % forged)


def case_version_gone(bench):
    """The watch ends, and its version is gone: what was decided meanwhile is found by the list."""
    pod, where = bench.pod(), bench.fill()
    agent = Agent(bench, "rm -r %s" % where, pod)
    item = bench.object(where)
    bench.kube.go_away()
    bench.patch(item, decision="approve", decidedBy="alice")
    bench.kube.put("namespaces", {"metadata": {"name": "other-%s" % uuid.uuid4().hex[:8]}})
    bench.kube.compact()
    time.sleep(0.2)
    stopped(where)
    bench.kube.absent = False
    status, output = agent.finish(10)
    expect(status == 0 and not os.path.exists(where), "status %d: %s" % (status, output))
    bench.phase(item, "Approved")


def case_away(bench):
    """Without the API holds are answered as ever; what is open still when it is back becomes an object."""
    pod, first, second = bench.pod(), bench.fill(), bench.fill()
    bench.kube.go_away()
    try:
        one = Agent(bench, "rm -r %s" % first, pod)
        other = Agent(bench, "rm -r %s" % second, pod)
        rows = wait_for("two holds", lambda: len(bench.pending()) >= 2 and bench.pending())
        number = [row["hold"] for row in rows if row["target"]["path"].startswith(first)][0]
        bench.call("approve", str(number))
        went_on(one, first)
        time.sleep(2.5)  # beyond the wait for the stake: it was tried, and failed
        wait_for("an error in the status", lambda: bench.status()["hold_objects"]["error"])
    finally:
        bench.kube.absent = False
    item = bench.object(second)
    expect(not [one for one in bench.holds() if one["status"].get("path", "").startswith(first)], "of no interest any more")
    bench.patch(item, decision="approve", decidedBy="alice")
    went_on(other, second, 40)  # the watch may still pause after its failures, 30 s at most
    wait_for("the error's end", lambda: not bench.status()["hold_objects"]["error"], 40)


def case_forbidden(bench):
    """A role that lacks what is needed: said plainly, and the hold is answered locally."""
    pod, where = bench.pod(), bench.fill()
    bench.kube.may = lambda user, verb, resource, space: not (verb == "create" and resource == "holds")
    try:
        agent = Agent(bench, "rm -r %s" % where, pod)
        said = wait_for("an error", lambda: bench.status()["hold_objects"]["error"])
        expect("needs create, patch and delete on holds" in said, "error: %s" % said)
        number = [row["hold"] for row in bench.pending() if row["target"]["path"].startswith(where)][0]
        bench.call("deny", str(number), "--kill")
        agent.finish(AT_ONCE + 1)
        stopped(where)
    finally:
        bench.kube.may = lambda *unused: True


def case_flood(bench):
    """More holds than objects are made for: bounded and counted; those that waited follow as others close."""
    pod = bench.pod()
    before = bench.status()["hold_objects"]
    more, where = 20, os.path.join(bench.where, "flood")
    os.mkdir(where)
    for number in range(OPEN_MAX + more):
        with open("%s/f%d" % (where, number), "w", encoding="utf-8"):
            pass
    agent = Agent(bench, "for f in %s/*; do rm $f & done; wait" % where, pod)

    def ours():
        return [item for item in bench.holds() if item.get("status", {}).get("path", "").startswith(where)]
    wait_for("%d holds" % (OPEN_MAX + more), lambda: len(bench.pending()) == OPEN_MAX + more, 60)
    wait_for("%d objects" % OPEN_MAX, lambda: len(ours()) == OPEN_MAX, 60)
    time.sleep(0.5)
    after = bench.status()["hold_objects"]
    expect(len(ours()) == OPEN_MAX and after["open"] == OPEN_MAX and after["skipped"] - before["skipped"] == more,
           "%d objects, %s" % (len(ours()), after))
    for item in ours():
        bench.patch(item, decision="approve", decidedBy="alice")
    wait_for("those that waited", lambda: len(ours()) == OPEN_MAX + more, 60)
    for item in ours()[:]:
        if item["status"]["phase"] == "Pending":
            bench.patch(item, decision="approve", decidedBy="alice")
    agent.finish(60)
    expect(not os.listdir(where), "%d files are left" % len(os.listdir(where)))
    expect(bench.daemon.poll() is None and bench.status()["hold_objects"]["open"] == 0, "%s" % bench.status())


# ---- cases with a daemon of their own


def case_verified(reprieve):
    """With the admission policy: names are believed and demanded, and an agent's own account decides nothing."""
    with Bench(reprieve, ["--api-verified"]) as bench:
        bench.kube.verified = True
        pod, where = bench.pod(), bench.fill()
        agent = Agent(bench, "rm -r %s" % where, pod)
        item = bench.object(where)
        try:
            bench.patch(item, decision="approve", decidedBy="bob")
            raise Failure("the admission policy let another's name through")
        except fake_kube.Refused:
            pass
        robot = "system:serviceaccount:agents-a:robot"
        bench.patch(item, user=robot, decision="approve", decidedBy=robot)
        expect("agents decide on no holds" in bench.decision_error(item), "the error")
        stopped(where)
        review = bench.events("review")[-1]
        expect(review["by"]["user"] == "kubernetes:" + robot and review["refused"], "review: %s" % review)
        # Nobody's name, where the admission policy is said to see to that: it is not in force, then.
        bench.kube.verified = False
        bench.patch(item, decision="approve", decidedBy=None)
        wait_for("the missing name", lambda: "spec.decidedBy is missing" in
                 bench.again(item)["status"].get("decisionError", ""))
        stopped(where)
        bench.kube.verified = True
        # The account of the same name in another namespace is another one.
        other = "system:serviceaccount:people:robot"
        bench.patch(item, user=other, decision="approve", decidedBy=other)
        went_on(agent, where)
        expect(bench.phase(item, "Approved")["status"]["decidedBy"] == "kubernetes:" + other, "by whom")


def pins():
    if not os.path.ismount(BPF_FS):
        os.makedirs(BPF_FS, exist_ok=True)
        if subprocess.run(["mount", "-t", "bpf", "bpf", BPF_FS], check=False).returncode:
            raise Skip("no BPF file system")
    return "%s/reprieve-kube-holds-%d" % (BPF_FS, os.getpid())


def case_restart(reprieve):
    """The daemon is lost while a hold stands: the next one goes on with its object, decided meanwhile or not."""
    with Bench(reprieve, ["--pins", pins()]) as bench:
        pod, first, second, third = bench.pod(), bench.fill(), bench.fill(), bench.fill()
        agents = [Agent(bench, "exec rm -r %s" % where, pod) for where in (first, second, third)]
        items = [bench.object(where) for where in (first, second, third)]
        bench.lose_daemon()
        bench.patch(items[0], decision="approve", decidedBy="alice")
        agents[2].end()
        stopped(first)
        bench.start()
        went_on(agents[0], first)
        stopped(second)
        bench.phase(items[0], "Approved")
        bench.phase(items[2], "Ended")
        expect(bench.again(items[1])["status"]["phase"] == "Pending" and len(bench.holds()) == 3,
               "objects: %s" % [item["status"] for item in bench.holds()])
        bench.patch(items[1], decision="approve", decidedBy="alice")
        went_on(agents[1], second)
        bench.phase(items[1], "Approved")


def case_old_approval(reprieve):
    """The daemon is lost while a process is held that was approved once before: that answer is to the first question alone."""
    with Bench(reprieve, ["--pins", pins()]) as bench:
        pod, where = bench.pod(), bench.fill()
        agent = Agent(bench, "exec rm -r %s" % where, pod)
        first = bench.object(where)
        bench.patch(first, decision="approve", scope="once", decidedBy="alice")
        bench.phase(first, "Approved")
        second = bench.object(where)
        expect(len(os.listdir(where)) == FILES - 1, "%d files are left" % len(os.listdir(where)))
        bench.lose_daemon()
        bench.start()
        wait_for("the objects' being known", lambda: json.loads(bench.call("status", "--json"))["hold_objects"]["synced"])
        time.sleep(0.5)
        expect(len(os.listdir(where)) == FILES - 1, "%d files are left" % len(os.listdir(where)))
        expect(bench.again(first)["status"]["phase"] == "Approved" and
               bench.again(second)["status"]["phase"] == "Pending" and len(bench.holds()) == 2,
               "objects: %s" % [item["status"] for item in bench.holds()])
        bench.patch(second, decision="approve", decidedBy="alice")
        went_on(agent, where)


def case_left_behind(reprieve):
    """Objects of holds that are no more: ended at the start; what was ended more than an hour ago is deleted."""
    bench = Bench(reprieve)

    def put(name, **status):
        bench.kube.put("holds", {"metadata": {"namespace": "agents-a", "name": name, "labels": {
            "reprieve.dev/node": status.pop("label", NODE)}}, "spec": {}, "status": status})
    old = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 3700))
    recent = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 3500))
    put("left", phase="Pending", node=NODE, number=3)
    put("new", node=NODE)
    put("old", phase="Ended", endedAt=old)
    put("old-approved", phase="Approved", endedAt=old)
    put("recent", phase="Denied", endedAt=recent)
    put("elsewhere", phase="Pending", label="node-2")

    def phases():
        return {item["metadata"]["name"]: item["status"].get("phase") for item in bench.holds()}
    with bench:
        wanted = {"left": "Ended", "new": "Ended", "recent": "Denied", "elsewhere": "Pending"}
        wait_for("%s, not %s" % (wanted, phases()), lambda: phases() == wanted)
        deletes = [row for row in bench.kube.requests if row[1] == "delete"]
        expect(len(deletes) == 2, "deletions: %s" % deletes)


KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{server}", certificate-authority: {ca}}}}}]
users: [{{name: alice, user: {{token: alice}}}}, {{name: bob, user: {{token: bob}}}}]
contexts: [{{name: alice, context: {{cluster: c, user: alice}}}}, {{name: bob, context: {{cluster: c, user: bob}}}}]
current-context: alice
"""


class Plugin:
    """kubectl-reprieve as `kubectl reprieve` runs it, with a kubectl of its own configuration."""

    def __init__(self, bench):
        if not shutil.which("kubectl"):
            raise Skip("no kubectl")
        self.config = bench.scratch + "/kubeconfig"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(KUBECONFIG.format(server=bench.kube.url(), ca=bench.kube.ca))
        path = os.path.dirname(os.path.abspath(PLUGIN)) + ":" + os.environ["PATH"]
        self.environment = dict(os.environ, KUBECONFIG=self.config, HOME=bench.scratch, PATH=path)
        # Some versions of kubectl know auth whoami only as an alpha command, or not at all.
        self.whoami = subprocess.run(["kubectl", "auth", "whoami"], env=self.environment, capture_output=True,
                                     check=False).returncode == 0

    def command(self, words):
        return ["kubectl", "reprieve"] + list(words)

    def __call__(self, *words, code=0):
        done = subprocess.run(self.command(words), env=self.environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
        expect(done.returncode == code, "%s: status %d, not %d: %s%s" % (
            " ".join(words), done.returncode, code, done.stdout[-200:], done.stderr[-300:]))
        return done.stdout if code == 0 else done.stderr


def case_plugin(reprieve):
    """kubectl reprieve: lists, shows, approves and denies, with the name of who asks; over TLS."""
    with Bench(reprieve, ["--api-verified"], tls=True) as bench:
        plugin, pod = Plugin(bench), bench.pod()
        bench.kube.verified = plugin.whoami
        first, second = bench.fill(), bench.fill()
        one, other = Agent(bench, "rm -r %s" % first, pod), Agent(bench, "exec rm -r %s" % second, pod)
        item, another = bench.object(first), bench.object(second)
        names = [each["metadata"]["name"] for each in (item, another)]
        told = plugin("pending", "-A")
        expect(all(name in told for name in names) and "pod-" + pod[:8] in told and "5 files" in told and
               "Pending" in told, "pending: %s" % told)
        expect("nothing is held" not in plugin("pending", "-n", "agents-a"), "pending in its namespace")
        told = plugin("show", names[0])
        expect("rm -r %s (" % first in told and "5 files" in told and "Ask the owner." in told, "show: %s" % told)
        bench.kube.may = lambda user, verb, *unused: not (user == "bob" and verb == "patch")
        expect("forbidden" in plugin("--context=bob", "approve", names[0], code=1), "forbidden")
        stopped(first)
        if not plugin.whoami:
            raise Skip("this kubectl cannot tell who asks (auth whoami)")
        expect(plugin("approve", names[0], "--process", "--reason", "it's \"a\" \\ copy") == names[0] + ": Approved\n", "approve")
        went_on(one, first)
        status = bench.again(item)
        expect(status["status"]["decidedBy"] == "kubernetes:alice" and
               status["spec"] == {"decision": "approve", "scope": "process", "reason": "it's \"a\" \\ copy",
                                  "decidedBy": "alice"}, "spec: %s" % status["spec"])
        expect("it is Approved already, by kubernetes:alice" in plugin("deny", names[0], code=1), "again")
        plugin("deny", "agents-a/" + names[1], "--kill")
        expect(other.finish(AT_ONCE + 1)[0] == -signal.SIGKILL, "it was not killed")
        stopped(second)
        expect("no such hold" in plugin("approve", "node-1-99-zzzzz", code=1), "unknown")
        expect("already" not in plugin("pending", "-A"), "pending")


def case_plugin_refused(reprieve):
    """What the daemon refuses is told, and fails. Without a name of its own, the client's stands in the record."""
    with Bench(reprieve, tls=True) as bench:
        plugin, pod, where = Plugin(bench), bench.pod(), bench.fill()
        agent = Agent(bench, "rm -r %s" % where, pod)
        item = bench.object(where)
        name = item["metadata"]["name"]
        expect("refused: spec.for: '48h' is no time" in plugin("approve", name, "--for", "48h", code=1), "for 48h")
        stopped(where)
        bench.kube.knows_who = False
        plugin("approve", name)
        went_on(agent, where)
        status = bench.phase(item, "Approved")["status"]
        expect(status["decidedBy"] == "kubernetes (manager kubectl-reprieve)", "by %s" % status["decidedBy"])


def case_plugin_watch(reprieve):
    with Bench(reprieve, tls=True) as bench:
        plugin, pod, where = Plugin(bench), bench.pod(), bench.fill()
        with open(bench.scratch + "/watched", "w", encoding="utf-8") as output:
            watching = subprocess.Popen(plugin.command(["watch", "-A"]), env=plugin.environment, stdout=output,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            agent = Agent(bench, "rm -r %s" % where, pod)
            item = bench.object(where)
            bench.patch(item, decision="approve", decidedBy="alice")
            went_on(agent, where)

            def lines():
                with open(bench.scratch + "/watched", encoding="utf-8") as text:
                    return [line for line in text if item["metadata"]["name"] in line]
            wait_for("two lines", lambda: [line.split()[0] for line in lines()] == ["Pending", "Approved"], 15)
            expect("agents-a/" in lines()[0] and "unlink " + where in lines()[0] and "5 files" in lines()[0],
                   "line: %s" % lines()[0])
        finally:
            os.killpg(watching.pid, signal.SIGTERM)
            watching.wait()


WRONG = [((), "Usage:"), (("frob",), "unknown command frob"), (("approve",), "needs the name"),
         (("deny", "a", "--once"), "go with approve"), (("approve", "a", "--kill"), "goes with deny"),
         (("approve", "a", "--once", "--for", "1m"), "exclude one another"), (("approve", "a", "--for", "soon"), "--for soon"),
         (("approve", "a", "--for"), "needs a value"), (("pending", "-n", "Bad;id"), "no namespace's name"),
         (("approve", "a;id"), "no hold's name"), (("show", "a/b/c"), "NAMESPACE/NAME"), (("pending", "--frob"), "--frob")]


def case_plugin_usage(unused):
    """Wrong usage is told before anything is asked of a cluster."""
    environment = dict(os.environ, KUBECONFIG="/nonexistent", KUBECTL="false")
    for words, said in WRONG:
        done = subprocess.run([PLUGIN] + list(words), env=environment, capture_output=True, text=True, check=False)
        expect(done.returncode == 2 and said in done.stderr and not done.stdout, "%s: status %d: %s" % (
            words, done.returncode, done.stderr))
    done = subprocess.run([PLUGIN, "--help"], env=environment, capture_output=True, text=True, check=False)
    expect(done.returncode == 0 and "Examples:" in done.stdout, "--help")


SHARED = [case_object, case_deny, case_deny_kill, case_once, case_time, case_malformed, case_outside, case_local,
          case_timed_out, case_process_gone, case_deleted, case_name_taken, case_version_gone, case_away,
          case_forbidden, case_flood]
OWN = [case_verified, case_restart, case_old_approval, case_left_behind, case_plugin, case_plugin_refused, case_plugin_watch,
       case_plugin_usage]


def name_of(case):
    return "kube-" + case.__name__[5:].replace("_", "-")


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def run(self, case, argument, log=None):
        started = time.monotonic()
        try:
            case(argument)
            self.passed += 1
            print("ok   %s (%.1f s)" % (name_of(case), time.monotonic() - started), flush=True)
        except Skip as reason:
            self.skipped += 1
            print("skip %s: %s" % (name_of(case), reason), flush=True)
        except (Failure, fake_kube.Refused, KeyError, subprocess.SubprocessError) as reason:
            self.failed += 1
            print("FAIL %s: %r%s" % (name_of(case), reason, "\n" + log()[-600:] if log else ""), flush=True)


def run_all(reprieve, chosen):
    tally, shared = Tally(), [case for case in chosen if case in SHARED]
    def run_shared():
        with Bench(reprieve) as bench:
            for case in shared:
                tally.run(case, bench, bench.log)
    if shared:
        try:
            run_shared()
        except Failure as reason:
            tally.failed += 1
            print("FAIL kube-daemon: %s" % reason, flush=True)
    for case in chosen:
        if case in OWN:
            tally.run(case, reprieve)
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reprieve", default=os.path.join(HERE, "..", "..", "build", "reprieve"))
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    chosen = [case for case in SHARED + OWN if not options.names or any(name in name_of(case) for name in options.names)]
    if options.list:
        print("\n".join(map(name_of, chosen)))
        return 0
    if os.geteuid() != 0 or not cgroup_root():
        print("skip holds as objects: needs root and cgroup2\n0 passed, 0 failed, %d skipped" % len(chosen))
        return 0
    # Whoever guards pods waits for every pod of the machine to be known: there is one such daemon at a time.
    with open(LOCK, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tally = run_all(os.path.abspath(options.reprieve), chosen)
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, tally.skipped))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    sys.exit(main())
