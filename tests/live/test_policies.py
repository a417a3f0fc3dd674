#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Objects of kind ReprievePolicy, live: made, changed and deleted on a stand-in API server, judged by in containers of runc.

    test_policies.py [--reprieve PATH] [--list] [NAME...]

The daemon watches pods and objects of the server below; its own policy is a file. What counts is what became of an
operation in a pod's container, the status that the object was given, and that a replay of the journal agrees. Needs root,
runc, busybox and cgroup2.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_containers  # noqa: E402 (from this file's own directory)
import test_pod_agents  # noqa: E402
import test_pods  # noqa: E402
from test_containers import FILES, cgroup_root, expect  # noqa: E402
from test_pod_agents import new_uid  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = "/apis/reprieve.dev/v1alpha1"
SOON = 0.5  # seconds from a policy in force to the pods' cgroups that it marks
PATIENCE = 10.0  # seconds in which a busy machine does what takes it less than one
POLICY = """version: 1
default: allow
agents:
  - builtin: false
  - {name: pod-agent, pod: {namespace: ["agents-*", "team-*"], labels: {ai-agent: "true"}}}
rules:
  - {name: node-kill, op: [delete], path: ["/work/kill/**"], agent: [pod-agent], action: kill}
  - {name: node-seen, op: [delete], path: ["/work/node/**"], action: alert}
"""


class Server(test_pods.Server):
    """Pods as before, and beside them the objects, with their status as a subresource."""

    def __init__(self, cluster, generator):
        super().__init__(cluster, generator)
        self.objects, self.log, self.policy_watches = {}, [], set()
        self.version, self.patches, self.conflicts = 5000, [], 0

    async def serve(self, reader, writer):
        self.connections.add(writer)
        try:
            while not self.absent:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if self.absent:
                    break
                lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                if GROUP in head.split("\r\n")[0]:
                    await self.answer_group(head, body, writer)
                else:
                    await self.answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(writer)
            self.watches.discard(writer)
            self.policy_watches.discard(writer)
            writer.close()

    def cut(self):
        super().cut()
        self.policy_watches.clear()

    async def answer_group(self, head, body, writer):
        method, target, _ = head.split("\r\n")[0].split(" ")
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        words = url.path[len(GROUP):].strip("/").split("/")
        if method == "GET" and words == ["reprievepolicies"]:
            if query.get("watch"):
                await self.watch_objects(writer, int(query["resourceVersion"]))
            else:
                await self.reply(writer, 200, {"kind": "ReprievePolicyList", "items": list(self.objects.values()),
                                               "metadata": {"resourceVersion": str(self.version)}})
        elif method == "GET" and words == ["holds"]:
            await self.no_holds(writer, query)
        elif method == "PATCH" and words[0] == "namespaces" and words[-1] == "status":
            await self.patch(writer, (words[1], words[3]), head, json.loads(body))
        else:
            self.bad_requests.append(head)
            await self.reply(writer, 404, self.status(404, "not found"))

    async def no_holds(self, writer, query):
        if not query.get("watch"):
            await self.reply(writer, 200, {"kind": "HoldList", "items": [], "metadata": {"resourceVersion": "1"}})
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing() and not self.absent:
            await asyncio.sleep(0.05)

    async def patch(self, writer, key, head, patch):
        current = self.objects.get(key)
        if "application/merge-patch+json" not in head or set(patch) != {"metadata", "status"}:
            self.bad_requests.append(head + str(patch))
        if not current:
            await self.reply(writer, 404, self.status(404, "not found"))
        elif patch["metadata"]["resourceVersion"] != current["metadata"]["resourceVersion"]:
            self.conflicts += 1
            await self.reply(writer, 409, self.status(409, "the object has been modified"))
        else:
            self.patches.append((key, patch["status"]))
            current["status"] = {**current.get("status", {}), **patch["status"]}
            self.record("MODIFIED", current)
            await self.reply(writer, 200, current)

    def record(self, kind, found):
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, kind, json.loads(json.dumps(found))))
        for writer in list(self.policy_watches):
            self.line(writer, kind, self.log[-1][2])

    async def watch_objects(self, writer, version):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for then, kind, found in self.log:
            if then > version:
                self.line(writer, kind, found)
        self.policy_watches.add(writer)
        while writer in self.policy_watches and not writer.is_closing():
            await asyncio.sleep(0.002)
        if not writer.is_closing():
            writer.write(b"0\r\n\r\n")
            await writer.drain()


class Api(test_pod_agents.Api):
    def __init__(self):  # pylint: disable=super-init-not-called
        self.loop, generator = asyncio.new_event_loop(), random.Random(1)
        self.cluster = test_pods.Cluster(generator)
        self.server = Server(self.cluster, generator)
        self.server.tokens = {"secret"}
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.open(), self.loop).result()

    def pod(self, uid, space="team-a", **labels):
        pod = {"kind": "Pod", "spec": {"nodeName": test_pods.NODE}, "status": {},
               "metadata": {"uid": uid, "namespace": space, "name": "pod-" + uid[:8], "labels": labels}}
        self.cluster.pods[uid] = pod
        self.do(lambda: self.cluster.record("ADDED", pod, True))
        return pod

    def put(self, name, spec, space="team-a"):
        """Made, or changed where it is there."""
        def store():
            found = self.server.objects.get((space, name))
            kind = "MODIFIED" if found else "ADDED"
            if not found:
                found = {"apiVersion": "reprieve.dev/v1alpha1", "kind": "ReprievePolicy",
                         "metadata": {"namespace": space, "name": name, "uid": new_uid(), "generation": 0}}
                self.server.objects[(space, name)] = found
            found["spec"] = spec
            found["metadata"]["generation"] += 1
            self.server.record(kind, found)
        self.do(store)

    def drop(self, name, space="team-a"):
        self.do(lambda: self.server.record("DELETED", self.server.objects.pop((space, name))))

    def condition(self, name, space="team-a"):
        """The condition that says what became of the object as it is now; None: none does yet."""
        found = self.do(lambda: json.loads(json.dumps(self.server.objects[(space, name)])))
        for condition in found.get("status", {}).get("conditions", []):
            if condition["type"] == "Accepted" and condition["observedGeneration"] == found["metadata"]["generation"]:
                return {**found["status"], **condition}
        return None


class Bench(test_pod_agents.Bench):
    def __init__(self, reprieve, scratch):  # pylint: disable=super-init-not-called
        test_containers.Bench.__init__(self, reprieve, scratch)
        self.api = Api()
        self.journal = os.path.join(scratch, "journal")

    def policy_text(self):
        return POLICY

    def daemon_options(self):
        return super().daemon_options() + ["--api-policies", "--journal", self.journal, "--journal-key",
                                           os.path.join(self.scratch, "key")]

    def heard_of(self, accepted, refused=0):
        """Waits until so many objects are in force and refused; how long that took."""
        began = time.monotonic()
        while time.monotonic() - began < 20:
            told = self.status()["policies"]
            if told["accepted"] == accepted and len(told["refused"]) == refused and \
                    told["objects"] == accepted + refused:
                return time.monotonic() - began
            time.sleep(0.02)
        raise test_containers.Failure("the daemon knows %s" % told)

    def condition(self, name, space="team-a"):
        for _ in range(400):
            found = self.api.condition(name, space)
            if found:
                return found
            time.sleep(0.02)
        raise test_containers.Failure("%s/%s has no condition" % (space, name))

    def clean(self):
        """No object and no pod."""
        for space, name in list(self.api.server.objects):
            self.api.drop(name, space)
        for pod in list(self.api.cluster.pods.values()):
            self.api.delete(pod)
        self.heard_of(0)

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


def agents(*names):
    return [{"name": name, "pod": {"labels": {"app": name}}} for name in names]


def rule(name, action, path="/work/**", **more):
    return {"name": name, "op": ["delete"], "path": [path], "action": action, **more}


def judged(bench, container, below="d"):
    """The rules that the deletions of a container were judged by."""
    container.fill(below)
    container.run("rm -rf /work/" + below)
    events = bench.operations(container.id, FILES)
    expect(len(events) >= FILES, "%d of %d deletions were seen" % (len(events), FILES))
    return {event["rule"] for event in events}, events


def is_killed(bench, container, below="d"):
    where = container.fill(below)
    container.run("exec rm -rf /work/" + below)
    return os.path.isdir(where) and len(os.listdir(where)) >= FILES - 1


def unseen(bench, container):
    return test_pod_agents.expect_unseen(bench, container)


def case_made_changed_deleted(bench):
    """Within a second each; and the pod of another namespace is left alone all the time."""
    uid, other = new_uid(), new_uid()
    bench.api.pod(uid, app="coder")
    bench.api.pod(other, space="team-b", app="coder")
    unseen(bench, bench.container(uid))
    container = bench.container(uid)
    container.fill("d", 2 * FILES)
    container.start("exec sleep 600")
    bench.api.put("guard", {"agents": agents("coder"), "rules": [rule("work", "alert")]})
    began, number, events = time.monotonic(), 0, []
    # In a container that runs already.
    while not events and time.monotonic() - began < PATIENCE:
        took, number = time.monotonic() - began, number + 1
        container.execute("rm /work/d/f%03d" % number)
        events = bench.operations(container.id, 1, 0.2)
    print("     an operation %.2f s after the object was made is judged by it" % took)
    expect(events and events[0]["rule"] == "team-a/guard/work" and events[0]["verdict"] == "alert", "%s" % events)
    expect(events[0]["session"]["agent"] == "team-a/guard/coder", "%s" % events[0]["session"])
    found = bench.condition("guard")
    expect(found["status"] == "True" and found["agents"] == 1 and found["rules"] == 1, "%s" % found)
    generation = bench.status()["policy"]["generation"]
    bench.api.put("guard", {"agents": agents("coder"), "rules": [rule("work", "kill")]})
    began = time.monotonic()
    while bench.status()["policy"]["generation"] == generation and time.monotonic() - began < PATIENCE:
        time.sleep(0.02)
    print("     changed, it is in force after %.2f s" % (time.monotonic() - began))
    expect(is_killed(bench, bench.container(uid)), "the rule that kills does not")
    unseen(bench, bench.container(other))
    bench.api.drop("guard")
    bench.heard_of(0)
    time.sleep(SOON)
    unseen(bench, bench.container(uid))


def case_refused(bench):
    """One that is bad is refused with its place, the others stay in force; once it is good, it is in force."""
    uid, third = new_uid(), new_uid()
    bench.api.pod(uid, app="coder")
    bench.api.pod(third, app="writer")
    bench.api.put("good", {"agents": agents("coder"), "rules": [rule("seen", "alert")]})
    bench.heard_of(1)
    bench.api.put("bad", {"agents": agents("writer"), "rules": [rule("a", "alert"), rule("b", "alert", "work/[")]})
    bench.api.put("worse", {"agents": agents("tester"), "mode": "observe"}, space="team-b")
    bench.heard_of(1, 2)
    time.sleep(SOON)
    rules, _ = judged(bench, bench.container(uid))
    expect(rules == {"team-a/good/seen"}, "%s" % rules)
    unseen(bench, bench.container(third))
    found = bench.condition("bad")
    expect(found["status"] == "False" and found["reason"] == "Invalid", "%s" % found)
    expect(found["message"].startswith("spec.rules[1].path[0]: bad glob"), found["message"])
    expect(bench.condition("worse", "team-b")["message"].startswith("spec.mode: mode: is for the node's own"),
           bench.condition("worse", "team-b")["message"])
    expect(bench.condition("good")["status"] == "True", "%s" % bench.condition("good"))
    bench.api.put("bad", {"agents": agents("writer"), "rules": [rule("b", "alert")]})
    bench.heard_of(2, 1)
    time.sleep(SOON)
    rules, _ = judged(bench, bench.container(third))
    expect(rules == {"team-a/bad/b"}, "%s" % rules)
    expect(bench.condition("bad")["status"] == "True", "%s" % bench.condition("bad"))


def case_node_first(bench):
    """A pod of the node's own agents and of an object's: the node's rules come first, the object's after them."""
    uid = new_uid()
    bench.api.pod(uid, **{"app": "coder", "ai-agent": "true"})
    bench.api.put("lax", {"agents": agents("coder"), "rules": [rule("anything", "allow", "/work/kill/**"),
                                                               rule("seen", "alert", "/work/d/**")]})
    bench.heard_of(1)
    time.sleep(SOON)
    expect(is_killed(bench, bench.container(uid), "kill"), "an object's allow overrode the node's kill")
    rules, events = judged(bench, bench.container(uid))
    expect(rules == {"team-a/lax/seen"}, "%s" % rules)
    expect(events[0]["session"]["agent"] == "pod-agent+team-a/lax/coder", "%s" % events[0]["session"])
    rules, _ = judged(bench, bench.container(uid), "node")
    expect(rules == {"node-seen"}, "%s" % rules)


def away(bench, absent):
    def leave():
        bench.api.server.absent = absent
        if absent:
            bench.api.server.cut()
    bench.api.do(leave)


def case_api_away(bench):
    """What was known last stays; a daemon that begins without the API guards by its own policy, and adds the rest."""
    uid = new_uid()
    bench.api.pod(uid, app="coder")
    bench.api.put("guard", {"agents": agents("coder"), "rules": [rule("work", "alert")]})
    bench.heard_of(1)
    time.sleep(SOON)
    away(bench, True)
    for _ in range(400):
        if bench.status()["policies"]["error"]:
            break
        time.sleep(0.02)
    expect(bench.status()["policies"]["error"], "status says nothing")
    rules, _ = judged(bench, bench.container(uid))
    expect(rules == {"team-a/guard/work"}, "%s" % rules)
    bench.daemon.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    rules, _ = judged(bench, bench.container(uid))
    expect(rules == {"team-a/guard/work"}, "after a reload: %s" % rules)
    bench.stop()
    bench.start_daemon()
    expect(bench.status()["policies"]["synced"] is False, "synced")
    unseen(bench, bench.container(uid))
    away(bench, False)
    bench.heard_of(1)
    time.sleep(SOON)
    rules, _ = judged(bench, bench.container(uid))
    expect(rules == {"team-a/guard/work"}, "%s" % rules)


def case_shown_and_writes(bench):
    """`policy show` tells which object a rule is of; a status is written once, and left alone where it says so already."""
    bench.api.put("guard", {"agents": agents("coder"), "rules": [rule("work", "alert")]})
    bench.api.put("more", {"agents": agents("tester")}, space="team-c")
    bench.heard_of(2)
    for name, space in (("guard", "team-a"), ("more", "team-c")):
        bench.condition(name, space)
    time.sleep(0.5)
    patches = [key for key, _ in bench.api.server.patches]
    expect(patches.count(("team-c", "more")) == 1, "%s" % patches)
    done = subprocess.run([bench.reprieve, "policy", "show", "--socket", bench.socket], stdout=subprocess.PIPE, check=True)
    text = done.stdout.decode()
    expect("metadata: {namespace: team-a, name: guard, generation: 1}" in text and
           "ReprievePolicy team-a/guard: 1 agent, 1 rule" in text, text)
    shown = os.path.join(bench.scratch, "shown.yaml")
    with open(shown, "w", encoding="utf-8") as file:
        file.write(text)
    done = subprocess.run([bench.reprieve, "policy", "test", shown, "--op", "unlink", "--path", "/work/x", "--agent",
                           "team-a/guard/coder", "--json"], stdout=subprocess.PIPE, check=True)
    expect(json.loads(done.stdout)["rule"] == "team-a/guard/work", "%s" % done.stdout)
    bench.api.put("more", {"agents": agents("tester", "writer")}, space="team-c")
    expect(bench.condition("more", "team-c")["agents"] == 2, "agents")
    expect(not bench.api.server.bad_requests, "bad requests: %s" % bench.api.server.bad_requests[:3])


def case_many(bench):
    """More rules than there is room for: the object that does not fit is refused whole, the others stay."""
    for number in range(5):
        rules = [rule("r%d" % one, "alert", "/work/%d/%d/**" % (number, one)) for one in range(30)]
        bench.api.put("guard-%d" % number, {"agents": agents("coder"), "rules": rules}, space="many-%d" % number)
    bench.heard_of(4, 1)
    found = bench.condition("guard-4", "many-4")
    expect(found["reason"] == "DoesNotFit" and "30 rules, and 122 come before them" in found["message"],
           found["message"])
    bench.api.drop("guard-0", "many-0")
    bench.heard_of(4)
    for _ in range(400):
        if bench.condition("guard-4", "many-4")["status"] == "True":
            break
        time.sleep(0.02)
    expect(bench.condition("guard-4", "many-4")["status"] == "True", "still refused")


def case_churn(bench):
    """Objects that come, change and go faster than they are judged: in the end what is in force is what is there."""
    chance, alive = random.Random(7), {}
    for _ in range(250):
        key = (chance.choice("abcdef"), "churn-%d" % chance.randrange(3))
        if chance.random() < 0.3 and key in alive:
            bench.api.drop(*key)
            del alive[key]
        else:
            alive[key] = chance.random() < 0.7
            bench.api.put(key[0], {"agents": agents("coder"), "rules": [
                rule("r%d" % chance.randrange(9), "alert", "/work/**" if alive[key] else "work/[")]}, space=key[1])
        if chance.random() < 0.02:
            bench.daemon.send_signal(signal.SIGHUP)
        if chance.random() < 0.02:
            bench.api.do(bench.api.server.cut)
        time.sleep(chance.random() * 0.03)
    good = sum(alive.values())
    bench.heard_of(good, len(alive) - good)
    done = subprocess.run([bench.reprieve, "policy", "show", "--json", "--socket", bench.socket],
                          stdout=subprocess.PIPE, check=True)
    shown = {one["object"]: one["rules"] for one in json.loads(done.stdout)["objects"]}
    wanted = {"%s/%s" % (space, name): ["%s/%s/%s" % (space, name, one["name"]) for one in found["spec"]["rules"]]
              for (space, name), found in bench.api.server.objects.items() if alive[(name, space)]}
    expect(shown == wanted, "%s instead of %s" % (shown, wanted))
    for name, space in alive:
        expect(bench.condition(name, space)["status"] == str(alive[(name, space)]), "%s/%s: %s" % (
            space, name, bench.condition(name, space)))


def case_replayed(bench):
    """The journal of all that was judged above gives the same verdicts again."""
    case_made_changed_deleted(bench)
    bench.stop()
    done = subprocess.run([bench.reprieve, "replay", bench.journal, "--json", "--events"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    whole = lines[-1]
    expect(done.returncode == 0 and not whole["mismatches"] and not whole["not_compared"],
           "status %d: %s %s" % (done.returncode, whole, done.stderr[-300:]))
    rules = [line for line in lines if line.get("rule") == "team-a/guard/work"]
    expect(len(rules) >= 2 and rules[0]["session"]["agent"] == "team-a/guard/coder", "%d operations" % len(rules))


def cases():
    rows = [("policies-made-changed-deleted", case_made_changed_deleted), ("policies-refused", case_refused),
            ("policies-node-first", case_node_first), ("policies-api-away", case_api_away),
            ("policies-shown", case_shown_and_writes), ("policies-many", case_many), ("policies-churn", case_churn),
            ("policies-replayed", case_replayed)]

    def cleanly(case):
        def run(bench):
            try:
                case(bench)
            finally:
                away(bench, False)
                if bench.daemon.poll() is not None:
                    bench.start_daemon()
                bench.clean()
        return run
    return [(name, cleanly(case)) for name, case in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reprieve", default=os.path.join(HERE, "..", "..", "build", "reprieve"))
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    chosen = [row for row in cases() if not options.names or any(name in row[0] for name in options.names)]
    if options.list:
        print("\n".join(row[0] for row in chosen))
        return 0
    if os.geteuid() != 0 or not shutil.which("runc") or not shutil.which("busybox") or not cgroup_root():
        print("skip policies: needs root, runc, busybox and cgroup2\n0 passed, 0 failed, %d skipped" % len(chosen))
        return 0
    scratch = tempfile.mkdtemp(prefix="reprieve-policies.", dir="/tmp")
    bench = Bench(os.path.abspath(options.reprieve), scratch)
    try:
        counts = test_containers.run_all(bench, chosen)
    finally:
        bench.end()
        shutil.rmtree(scratch, ignore_errors=True)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    sys.exit(main())
