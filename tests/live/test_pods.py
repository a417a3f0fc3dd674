#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The watch of a node's pods against a server that misbehaves as real ones do, and a model of what is there.

    test_pods.py [--steps N] [--seed N] [--watcher PATH] [--verbose]

The server stands in for kube-apiserver: list and watch with a field selector, lists from a cache that lags, bookmarks,
versions that are gone (as an event and as a status), connections cut in the middle of a line, slow and missing answers,
refusals, tokens that are replaced, pods that are made anew under their names, unlabelled, restarted, or scheduled late.
After each step the watcher must come to know what the model knows: no pod less, none more, each with its labels, its
containers' names and the agent that it is. Needs neither root nor a cluster.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
import urllib.parse
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
BUILT = os.path.join(HERE, "..", "..", "build", "tests", "live")
NODE = "node-1"
SETTLE = 20.0  # seconds that a step may take to be known, on a busy machine
POLICY = """version: 1
agents:
  - builtin: false
  - {name: labelled, pod: {namespace: ["agents-*", exact], labels: {ai-agent: "true"}}}
  - {name: annotated, pod: {annotations: {example.org/kind: "an agent"}}}
  - {name: whole-space, pod: {namespace: [sandbox]}}
"""
SPACES = ("agents-a", "agents-b", "exact", "sandbox", "default", "kube-system")


def agent_of(pod):
    """The model's own reading of the policy above."""
    metadata = pod["metadata"]
    if (metadata["namespace"].startswith("agents-") or metadata["namespace"] == "exact") and \
            metadata.get("labels", {}).get("ai-agent") == "true":
        return "labelled"
    if metadata.get("annotations", {}).get("example.org/kind") == "an agent":
        return "annotated"
    return "whole-space" if metadata["namespace"] == "sandbox" else None


class Cluster:
    """All pods, of all nodes, and what happened to them since the last compaction."""

    def __init__(self, generator):
        self.random, self.pods, self.version = generator, {}, 1000
        self.log = []  # (version, type, object, whether it concerns our node)
        self.oldest = self.version
        self.states = {self.version: {}}

    def record(self, kind, pod, ours):
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((self.version, kind, json.loads(json.dumps(pod)), ours))
        self.states[self.version] = {key: value for key, value in self.states[max(self.states)].items()}
        if ours and kind != "DELETED":
            self.states[self.version][pod["metadata"]["uid"]] = self.log[-1][2]
        else:
            self.states[self.version].pop(pod["metadata"]["uid"], None)

    def compact(self, keep):
        """Forgets what happened before the last `keep` changes."""
        self.oldest = max(self.oldest, self.version - keep)
        self.log = [row for row in self.log if row[0] > self.oldest]
        self.states = {key: value for key, value in self.states.items() if key >= self.oldest}

    def create(self, space=None, name=None):
        space = space or self.random.choice(SPACES)
        uid = str(uuid.UUID(int=self.random.getrandbits(128)))
        metadata = {"uid": uid, "namespace": space, "name": name or "pod-%d" % self.random.randrange(10 ** 6)}
        if any(pod["metadata"]["name"] == metadata["name"] and pod["metadata"]["namespace"] == space
               for pod in self.pods.values()):
            return
        if self.random.random() < 0.7:
            metadata["labels"] = {"ai-agent": self.random.choice(("true", "false")), "app": "x\u00e9\n"}
        if self.random.random() < 0.2:
            text = "%032x" % self.random.getrandbits(128)
            metadata["annotations"] = {"kubernetes.io/config.hash": text}
            if self.random.random() < 0.7:  # what has none is no static pod's, whatever it says
                metadata["annotations"]["kubernetes.io/config.mirror"] = text
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {}, "status": {"phase": "Pending"}}
        where = self.random.random()
        if where < 0.75:
            pod["spec"]["nodeName"] = NODE
        elif where < 0.85:
            pod["spec"]["nodeName"] = "node-2"
        self.pods[uid] = pod
        self.record("ADDED", pod, pod["spec"].get("nodeName") == NODE)

    def change(self, pod, kind="MODIFIED"):
        self.record(kind, pod, pod["spec"].get("nodeName") == NODE)

    def delete(self, pod):
        del self.pods[pod["metadata"]["uid"]]
        self.change(pod, "DELETED")

    def expected(self):
        """As the watcher prints it."""
        wanted = {}
        for uid, pod in self.pods.items():
            if pod["spec"].get("nodeName") != NODE:
                continue
            metadata, status = pod["metadata"], pod["status"]
            containers = {one["containerID"].split("://")[1]: one["name"]
                          for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
                          for one in status.get(kind, []) if one.get("containerID")}
            entry = {"namespace": metadata["namespace"], "name": metadata["name"],
                     "labels": metadata.get("labels", {}), "containers": containers, "agent": agent_of(pod),
                     "hash": metadata.get("annotations", {}).get("kubernetes.io/config.mirror")}
            wanted[uid] = entry
        return wanted


class Server:
    """The API, as far as the watcher sees it, with faults to switch on."""

    def __init__(self, cluster, generator):
        self.cluster, self.random = cluster, generator
        self.tokens, self.watches, self.connections = {"first"}, set(), set()
        self.absent, self.refuse, self.slow, self.gone_as_status = False, None, 0.0, False
        self.bad_requests, self.requests = [], 0
        self.port, self.listener = None, None

    async def open(self):
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", self.port or 0)
        self.port = self.listener.sockets[0].getsockname()[1]

    def close(self):
        self.listener.close()
        self.cut()

    def cut(self):
        """Ends every connection as a dead server or a firewall does, and leaves half a line behind where it can."""
        for writer in list(self.connections):
            if writer in self.watches and self.random.random() < 0.5:
                writer.write(b"3f\r\n{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"uid\":")
            if self.random.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()
        self.watches.clear()

    async def serve(self, reader, writer):
        self.connections.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                await reader.readexactly(int(length.group(1)) if length else 0)
                self.requests += 1
                if self.absent:
                    break
                await self.answer(head.decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(writer)
            self.watches.discard(writer)
            writer.close()

    async def answer(self, head, writer):
        method, target, _ = head.split("\r\n")[0].split(" ")
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        headers = {key.lower(): value for key, value in
                   (line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)}
        if method != "GET" or url.path != "/api/v1/pods" or query.get("fieldSelector") != "spec.nodeName=" + NODE:
            self.bad_requests.append(head)
        if self.slow:
            await asyncio.sleep(self.slow)
        if headers.get("authorization", "")[7:] not in self.tokens:
            await self.reply(writer, 401, self.status(401, "Unauthorized"))
        elif self.refuse:
            await self.reply(writer, self.refuse, self.status(self.refuse, "refused on purpose"))
        elif url.path != "/api/v1/pods":
            await self.reply(writer, 404, self.status(404, "not found"))
        elif query.get("watch"):
            await self.watch(writer, query)
        else:
            await self.list(writer, query)

    @staticmethod
    def status(code, message):
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}

    @staticmethod
    async def reply(writer, code, body):
        text = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" %
                     (code, len(text)) + text)
        await writer.drain()

    async def list(self, writer, query):
        cluster = self.cluster
        version = cluster.version
        if query.get("resourceVersion") == "0":  # from a cache that lags
            version = self.random.choice([known for known in cluster.states if known >= cluster.version - 5])
        items = list(cluster.states[version].values())
        self.random.shuffle(items)
        await self.reply(writer, 200, {"kind": "PodList", "metadata": {"resourceVersion": str(version)},
                                       "items": items})

    @staticmethod
    def chunk(writer, text):
        if not writer.is_closing():
            writer.write(b"%x\r\n" % len(text) + text + b"\r\n")

    def line(self, writer, kind, body):
        if writer.is_closing():
            return
        text = json.dumps({"type": kind, "object": body}).encode() + b"\n"
        data = b"%x\r\n" % len(text) + text + b"\r\n"
        split = self.random.randrange(len(data))
        writer.write(data[:split])
        writer.write(data[split:])

    async def watch(self, writer, query):
        cluster, version = self.cluster, int(query["resourceVersion"])
        if query.get("allowWatchBookmarks") != "true" or not query.get("timeoutSeconds"):
            self.bad_requests.append(str(query))
        if version < cluster.oldest and self.gone_as_status:
            await self.reply(writer, 410, self.status(410, "too old resource version: %d" % version))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        if version < cluster.oldest:
            self.line(writer, "ERROR", self.status(410, "too old resource version: %d" % version))
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return
        self.watches.add(writer)
        writer.sent = version
        self.send_news()
        while writer in self.watches and not writer.is_closing():
            await asyncio.sleep(0.002)
        if not writer.is_closing():
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    def send_news(self):
        for writer in list(self.watches):
            if writer.sent < self.cluster.oldest:
                writer.sent = self.cluster.version
                self.line(writer, "ERROR", self.status(410, "too old resource version"))
                continue
            for version, kind, pod, ours in self.cluster.log:
                if version > writer.sent and ours:
                    self.line(writer, kind, pod)
            writer.sent = self.cluster.version

    def bookmark(self):
        for writer in self.watches:
            self.line(writer, "BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(writer.sent)}})

    def end_watches(self):
        """As the server does by itself after timeoutSeconds."""
        self.watches.clear()


class Test:
    def __init__(self, options, scratch):
        self.options, self.random = options, random.Random(options.seed)
        self.cluster = Cluster(self.random)
        self.server = Server(self.cluster, self.random)
        self.token_path, self.policy = os.path.join(scratch, "token"), os.path.join(scratch, "policy.yaml")
        self.log = open(os.path.join(scratch, "log"), "w+", encoding="utf-8")
        self.counts, self.slowest, self.repairs = {}, 0.0, []
        with open(self.policy, "w", encoding="utf-8") as file:
            file.write(POLICY)
        self.write_token("first")

    def write_token(self, token):
        """As the kubelet does: another file under the name."""
        with open(self.token_path + ".new", "w", encoding="utf-8") as file:
            file.write(token + "\n")
        os.rename(self.token_path + ".new", self.token_path)

    async def ask(self, request=b"dump\n"):
        self.watcher.stdin.write(request)
        await self.watcher.stdin.drain()
        line = await asyncio.wait_for(self.watcher.stdout.readline(), SETTLE)
        if not line:
            raise AssertionError("the watcher ended")
        return json.loads(line)

    async def settle(self, what):
        started, wanted = time.monotonic(), self.cluster.expected()
        while True:
            known = await self.ask()
            if known["synced"] and known["pods"] == wanted and known["count"] == len(wanted):
                self.slowest = max(self.slowest, time.monotonic() - started)
                return known
            if time.monotonic() - started > SETTLE:
                missing = set(wanted) - set(known["pods"])
                more = set(known["pods"]) - set(wanted)
                other = [uid for uid in wanted if uid in known["pods"] and wanted[uid] != known["pods"][uid]]
                raise AssertionError("after %s: %d pods are missing, %d too many, %d differ; error %s; e.g. %s" % (
                    what, len(missing), len(more), len(other), known.get("error"),
                    [(wanted[uid], known["pods"][uid]) for uid in other[:1]]))
            await asyncio.sleep(0.002)

    # ---- steps: what happens in the cluster

    def some(self, ours=True):
        pods = [pod for pod in self.cluster.pods.values() if not ours or pod["spec"].get("nodeName") == NODE]
        return self.random.choice(pods) if pods else None

    def step_create(self):
        self.cluster.create()

    def step_schedule(self):
        waiting = [pod for pod in self.cluster.pods.values() if "nodeName" not in pod["spec"]]
        if waiting:
            pod = self.random.choice(waiting)
            pod["spec"]["nodeName"] = NODE
            self.cluster.change(pod, "ADDED")  # what enters a selector comes as that

    def step_label(self):
        pod = self.some()
        if pod:
            pod["metadata"].setdefault("labels", {})["ai-agent"] = self.random.choice(("true", "false", "True", ""))
            self.cluster.change(pod)

    def step_unlabel(self):
        pod = self.some()
        if pod and pod["metadata"].get("labels"):
            del pod["metadata"]["labels"]
            self.cluster.change(pod)

    def step_annotate(self):
        pod = self.some()
        if pod:
            notes = pod["metadata"].setdefault("annotations", {})
            notes["example.org/kind"] = self.random.choice(("an agent", "none"))
            notes["large"] = "x" * self.random.randrange(1, 1 << self.random.randrange(1, 17))
            self.cluster.change(pod)

    def step_status(self):
        pod = self.some()
        if not pod:
            return
        kind = self.random.choice(("containerStatuses", "containerStatuses", "initContainerStatuses",
                                   "ephemeralContainerStatuses"))
        statuses = pod["status"].setdefault(kind, [])
        if len(statuses) < 3:
            statuses.append({"name": "%s-%d" % (kind[:4], len(statuses)), "restartCount": 0})
        one = self.random.choice(statuses)
        if self.random.random() < 0.8:  # started, or restarted under another id
            one["containerID"] = "containerd://%064x" % self.random.getrandbits(256)
        self.cluster.change(pod)

    def step_delete(self):
        pod = self.some(ours=False)
        if pod:
            self.cluster.delete(pod)

    def step_recreate(self):
        pod = self.some()
        if pod:
            self.cluster.delete(pod)
            self.cluster.create(pod["metadata"]["namespace"], pod["metadata"]["name"])

    def step_brief(self):
        before = set(self.cluster.pods)
        self.cluster.create()
        for uid in set(self.cluster.pods) - before:
            self.cluster.delete(self.cluster.pods[uid])

    def step_repeat(self):
        pod = self.some()
        if pod:
            self.cluster.change(pod)

    # ---- steps: what happens to the server

    def step_bookmark(self):
        self.server.bookmark()

    def step_end(self):
        self.server.end_watches()

    def step_cut(self):
        self.server.cut()

    def step_compact(self):
        self.server.gone_as_status = self.random.random() < 0.5
        self.cluster.compact(self.random.choice((0, 1, 3)))
        self.server.cut()
        self.step_create()
        self.cluster.compact(0)

    def step_garbage(self):
        for writer in self.server.watches:
            text = self.random.choice((b"nonsense\n", b"{}\n", b'{"type":"ADDED","object":{}}\n', b"\n",
                                       b'{"type":"MODIFIED","object":{"metadata":{"uid":7}}}\n'))
            self.server.chunk(writer, text)

    def step_token(self):
        """The old one is taken for a while longer, or not."""
        token = "token-%d" % self.random.randrange(10 ** 9)
        if self.random.random() < 0.5:
            self.server.tokens.add(token)
            self.write_token(token)
        else:
            self.server.tokens = {token}
            self.server.cut()
            self.repairs.append(lambda: self.write_token(token))

    def step_refuse(self):
        self.server.refuse = self.random.choice((403, 429, 500, 503))
        self.server.cut()
        self.repairs.append(lambda: setattr(self.server, "refuse", None))

    def step_absent(self):
        self.server.absent = True
        self.server.cut()
        self.repairs.append(lambda: setattr(self.server, "absent", False))

    def step_slow(self):
        self.server.slow = self.random.choice((0.01, 0.05))
        self.server.cut()
        self.repairs.append(lambda: setattr(self.server, "slow", 0.0))

    async def step_refused_connection(self):
        self.server.close()
        await self.server.listener.wait_closed()
        await asyncio.sleep(0.01)
        self.step_create()
        await self.server.open()

    async def step_relist(self):
        await self.ask(b"relist\n")

    def choose(self):
        weights = {"create": 20, "schedule": 6, "label": 14, "unlabel": 6, "annotate": 6, "status": 16, "delete": 12,
                   "recreate": 8, "brief": 4, "repeat": 3, "bookmark": 6, "end": 2, "cut": 3, "compact": 2,
                   "garbage": 1, "token": 1, "refuse": 1, "absent": 1, "slow": 1, "refused_connection": 0.5,
                   "relist": 0.5}
        name = self.random.choices(list(weights), list(weights.values()))[0]
        self.counts[name] = self.counts.get(name, 0) + 1
        return name

    async def take(self, name):
        done = getattr(self, "step_" + name)()
        if asyncio.iscoroutine(done):
            await done
        if len(self.cluster.pods) > 60:
            self.step_delete()
        self.server.send_news()

    async def run_steps(self):
        step = 0
        while step < self.options.steps:
            burst, names = self.random.choice((1, 1, 1, 2, 5, 20)), []
            for _ in range(min(burst, self.options.steps - step)):
                names.append(self.choose())
                await self.take(names[-1])
                step += 1
            if self.repairs:  # what was broken stays so for some attempts
                await asyncio.sleep(self.random.choice((0.0, 0.02, 0.05)))
                for repair in self.repairs:
                    repair()
                self.repairs = []
            await self.settle("step %d (%s)" % (step, ", ".join(names)))
            if self.options.verbose:
                print(step, names)

    async def expect_slow_list_given_up(self):
        """A server that takes a request and never answers: given up after a second here, and asked again."""
        before = (await self.ask())["failures"]
        self.server.slow = 30.0
        await self.ask(b"relist\n")
        started = time.monotonic()
        while (await self.ask())["failures"] == before:
            if time.monotonic() - started > SETTLE:
                raise AssertionError("a list without an answer is waited for after %d s" % SETTLE)
            await asyncio.sleep(0.05)
        self.server.slow = 0.0
        await self.settle("a server that never answered")

    async def run(self):
        await self.server.open()
        for _ in range(10):
            self.cluster.create()
        self.watcher = await asyncio.create_subprocess_exec(
            self.options.watcher, "http://127.0.0.1:%d" % self.server.port, self.token_path, NODE, self.policy,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=self.log, limit=1 << 24)
        try:
            await self.settle("the first list")
            early = (await self.ask())["memory"]
            await self.run_steps()
            await self.expect_slow_list_given_up()
            final = await self.ask()
            for pod in list(self.cluster.pods.values()):
                self.cluster.delete(pod)
            self.server.send_news()
            empty = await self.settle("the deletion of all")
        finally:
            self.watcher.stdin.close()
            status = await asyncio.wait_for(self.watcher.wait(), 60)
        self.log.seek(0)
        told = self.log.read()
        if status or "ERROR: " in told or "runtime error" in told:
            raise AssertionError("the watcher ended with status %d: %s" % (status, told[-3000:]))
        if self.server.bad_requests:
            raise AssertionError("a request that no server takes: %s" % self.server.bad_requests[0])
        print("%d steps, seed %d: %d requests, %d lists, %d watches, %d versions gone, %d failures; slowest %.2f s; "
              "memory %d then %d KiB" % (self.options.steps, self.options.seed, self.server.requests, final["lists"],
                                         final["watches"], final["expired"], final["failures"], self.slowest,
                                         early >> 10, empty["memory"] >> 10))
        print("steps: " + ", ".join("%d %s" % (count, name) for name, count in sorted(self.counts.items())))
        if self.options.steps >= 1000 and not (final["expired"] and final["failures"] and final["gone"]):
            raise AssertionError("the server's faults were not met: %s" % final)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--watcher", default=None, help="the program under test (default: that with AddressSanitizer)")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    options.watcher = options.watcher or os.path.join(BUILT, "watch_pods_asan")
    options.seed = random.randrange(1 << 32) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="reprieve-pods.") as scratch:
        try:
            asyncio.run(Test(options, scratch).run())
        except (AssertionError, asyncio.TimeoutError) as error:
            print("FAIL pods, --seed %d: %s\n0 passed, 1 failed, 0 skipped" % (options.seed, error))
            return 1
    print("1 passed, 0 failed, 0 skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
