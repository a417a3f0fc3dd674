#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Agents by pod, live: containers of runc in pods' cgroups, and a server that tells of those pods, late or in time.

    test_pod_agents.py [--reprieve PATH] [--list] [--keep] [NAME...]

The daemon watches the stand-in of test_pods.py; cgroups are made in the kubelet's order, the pod's first. What counts is
what the container's first instruction, an rm of a volume, was seen to do. Needs root, runc, busybox and cgroup2.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ring  # noqa: E402 (from this file's own directory)
import test_containers  # noqa: E402
import test_pods  # noqa: E402
from ring import expect  # noqa: E402
from test_containers import FILES, PATIENCE, Container, cgroup_root, kubepods, new_id, wait_until  # noqa: E402

HELD = 5  # files of a container that is held at each of them
LEAD = 0.4  # seconds between a pod's cgroup and its first container; a kubelet takes longer, for the sandbox
POLICY = """version: 1
default: allow
unresolved: {{verdict: {verdict}, timeout: {timeout}}}
agents:
  - builtin: false
  - {{name: pod-agent, pod: {{namespace: ["agents-*"], labels: {{ai-agent: "true"}}}}}}
rules:
  - {{name: held, op: [delete], path: ["/work/held/**"], action: hold, timeout: 60s}}
  - {{name: killed, op: [delete], path: ["/work/kill/**"], action: kill}}
  - {{name: seen, op: [delete], path: ["/work/**"], action: alert}}
"""


class Api:
    """The stand-in server on a thread of its own."""

    def __init__(self):
        self.loop, generator = asyncio.new_event_loop(), random.Random(1)
        self.cluster = test_pods.Cluster(generator)
        self.server = test_pods.Server(self.cluster, generator)
        self.server.tokens = {"secret"}
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.open(), self.loop).result()

    def do(self, function):
        async def call():
            done = function()
            self.server.send_news()
            return done
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def create(self, uid, space="agents-a", labelled=True, name=None, config_hash=None):
        metadata = {"uid": uid, "namespace": space, "name": name or "pod-" + uid[:8],
                    "labels": {"ai-agent": "true" if labelled else "false"}}
        if config_hash:
            metadata["annotations"] = {"kubernetes.io/config.hash": config_hash, "kubernetes.io/config.mirror": config_hash}
        pod = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": test_pods.NODE}, "status": {}}
        self.cluster.pods[uid] = pod
        self.do(lambda: self.cluster.record("ADDED", pod, True))
        return pod

    def change(self, pod):
        self.do(lambda: self.cluster.change(pod))

    def delete(self, pod):
        self.do(lambda: self.cluster.delete(pod))

    def end(self):
        async def leave():
            self.server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(leave(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


class Bench(test_containers.Bench):
    def __init__(self, reprieve, scratch):
        super().__init__(reprieve, scratch)
        self.verdict, self.timeout = "alert", "%ds" % (2 * PATIENCE / 3)
        self.api = Api()

    def policy_text(self):
        return POLICY.format(verdict=self.verdict, timeout=self.timeout)

    def unresolved(self, verdict, timeout):
        """What the policy says of pods that are not known, from now on."""
        self.verdict, self.timeout = verdict, timeout
        before = self.status()["policy"]["generation"]
        with open(os.path.join(self.scratch, "policy.yaml"), "w", encoding="utf-8") as file:
            file.write(self.policy_text())
        self.daemon.send_signal(signal.SIGHUP)
        expect(wait_until(lambda: self.status()["policy"]["generation"] > before), "the policy was not reloaded")

    def tier(self):
        return {row["op"]: row["tier"] for row in self.status()["tiers"]}["unlink"]

    def waits(self, count):
        """Until so many calls wait for their pods to be known."""
        def waiting():
            return self.status()["pods"]["unresolved"]["waiting"]
        expect(wait_until(lambda: waiting() == count), "not %d calls wait, but %d" % (count, waiting()))

    def pending(self):
        return [hold for hold in self.ask("pending")["holds"] if hold["state"] == "open"]

    def answer(self, command, hold, *options):
        subprocess.run([self.reprieve, command, str(hold["hold"]), "--socket", self.socket] + list(options),
                       stdout=subprocess.DEVNULL, check=True)

    def daemon_options(self):
        token = os.path.join(self.scratch, "token")
        with open(token, "w", encoding="utf-8") as file:
            file.write("secret\n")
        return ["--api", "http://127.0.0.1:%d" % self.api.server.port, "--api-token", token, "--node", test_pods.NODE]

    def known(self, count):
        """Waits until the daemon has heard of that many agents' pods."""
        def is_known():
            pods = self.status()["pods"]
            return pods["agents"] == count and pods["synced"]
        expect(wait_until(is_known), "not %d agents' pods are known: %s" % (count, self.status()["pods"]))

    def gone(self, pod):
        """Deleted, and heard of: the next one is then told from it by the number of agents alone."""
        self.api.delete(pod)
        self.known(self.agents())

    def agents(self):
        return sum(1 for pod in self.api.cluster.pods.values() if test_agent(pod))

    def pod_cgroup(self, uid, style="systemd", quality="burstable"):
        """As the kubelet makes it, before anything is started in it."""
        path = kubepods(style, quality, uid)
        os.makedirs(cgroup_root() + path, exist_ok=True)
        time.sleep(LEAD)
        return path

    def container(self, uid, style="systemd"):
        path = self.pod_cgroup(uid, style)
        name = "cri-containerd-%s.scope" % new_id() if style == "systemd" else new_id()
        return Container(self, "containerd", path + "/" + name, uid)

    def end(self):
        super().end()
        self.api.end()


def test_agent(pod):
    metadata = pod["metadata"]
    return metadata["namespace"].startswith("agents-") and metadata["labels"].get("ai-agent") == "true"


def new_uid():
    return str(uuid.uuid4())


def expect_seen(bench, container, agent="pod-agent"):
    where = container.fill("d")
    status = container.run("rm -rf /work/d")
    expect(status == 0 and not os.path.exists(where), "status %d: %s" % (status, container.output[-200:]))
    events = bench.operations(container.id, FILES)
    expect(len({event["target"]["path"] for event in events}) == FILES, "%d of %d deletions were seen" %
           (len(events), FILES))
    expect(all(event["session"]["agent"] == agent for event in events), "agent: %s" % events[0]["session"])
    return events


def expect_unseen(bench, container):
    where = container.fill("kill")
    status = container.run("rm -rf /work/kill")
    expect(status == 0 and not os.path.exists(where), "status %d: %s" % (status, container.output[-200:]))
    with open(bench.events_path, encoding="utf-8") as lines:
        expect(container.id not in lines.read(), "it was reported")


def case_first_instruction(bench, style):
    """A pod that the API told of before its container started: from the first instruction on."""
    uid = new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    event = expect_seen(bench, bench.container(uid, style))[0]
    told = event["container"]["pod"]
    expect(told["uid"] == uid and told["labels"] == {"ai-agent": "true"}, "pod: %s" % told)
    # Neither what the runtime does to make the container, nor where it stands then, is the session's.
    expect(event["session"]["workspace"] == "/", "workspace: %s" % event["session"])
    with open(bench.events_path, encoding="utf-8") as lines:
        told = [event for event in map(json.loads, lines) if event["kind"] == "op" and event["process"]["comm"].startswith("runc:[")]
    expect(not told, "the runtime's own operations were told of: %s" % told[:1])
    # Another container of the same pod: a restart.
    expect_seen(bench, bench.container(uid, style))
    bench.gone(pod)


def case_killed(bench):
    uid = new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    container = bench.container(uid)
    where = container.fill("kill")
    container.run("exec rm -rf /work/kill")
    left = len(os.listdir(where))
    expect(left >= FILES - (bench.tier() != "lsm"), "%d of %d files are left" % (left, FILES))
    bench.gone(pod)


def case_unlabelled(bench):
    """A pod that no selector matches, by label or by namespace: untouched and unreported."""
    for space, labelled in (("agents-a", False), ("default", True)):
        uid = new_uid()
        pod = bench.api.create(uid, space, labelled)
        bench.known(bench.agents())
        expect_unseen(bench, bench.container(uid))
        bench.gone(pod)


def case_told_late(bench):
    """The API tells of a pod whose container runs already: from then on, with what runs in it."""
    uid = new_uid()
    container = bench.container(uid)
    container.start("exec sleep 600")
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    time.sleep(0.5)
    expect(container.execute("touch /work/a && rm /work/a") == 0, "runc exec failed")
    events = bench.operations(container.id, 1)
    expect(events and events[0]["session"]["agent"] == "pod-agent", "the deletion was not seen")
    bench.gone(pod)


def case_label_removed(bench):
    """A pod that is an agent no more: its next container is none."""
    uid = new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    expect_seen(bench, bench.container(uid))
    del pod["metadata"]["labels"]["ai-agent"]
    bench.api.change(pod)
    bench.known(bench.agents())
    time.sleep(0.2)
    expect_unseen(bench, bench.container(uid))
    bench.gone(pod)


def case_made_anew(bench):
    """Another pod under the same name: metadata.uid decides."""
    first, second = new_uid(), new_uid()
    pod = bench.api.create(first, name="same")
    bench.known(bench.agents())
    bench.gone(pod)
    pod = bench.api.create(second, name="same", labelled=False)
    bench.known(bench.agents())
    expect_unseen(bench, bench.container(second))
    bench.gone(pod)


def case_static_pod(bench):
    """Its cgroup's path has its configuration's hash; the events have its uid."""
    uid, config_hash = new_uid(), uuid.uuid4().hex
    pod = bench.api.create(uid, config_hash=config_hash)
    bench.known(bench.agents())
    path = "/kubepods/burstable/pod" + config_hash
    os.makedirs(cgroup_root() + path, exist_ok=True)
    time.sleep(LEAD)
    event = expect_seen(bench, Container(bench, "containerd", path + "/" + new_id(), uid))[0]
    told = event["container"]["pod"]
    expect(told["uid"] == uid and told["config_hash"] == config_hash, "pod: %s" % told)
    bench.gone(pod)


def case_reload(bench):
    """SIGHUP looks at the pods that are known with the selectors of the new policy, and asks the API for nothing."""
    uid = new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    before = bench.status()
    bench.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: bench.status()["policy"]["generation"] > before["policy"]["generation"])
    bench.known(bench.agents())
    expect(bench.status()["pods"]["lists"] == before["pods"]["lists"], "the pods were listed again")
    expect_seen(bench, bench.container(uid))
    bench.gone(pod)


def case_api_away(bench):
    """The API is gone: pods that are known stay agents, and status says what is wrong."""
    uid = new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())

    def leave():
        bench.api.server.absent = True
        bench.api.server.cut()
    bench.api.do(leave)
    expect(wait_until(lambda: bench.status()["pods"].get("error")), "status says nothing")
    expect_seen(bench, bench.container(uid))
    bench.api.do(lambda: setattr(bench.api.server, "absent", False))
    bench.gone(pod)
    bench.known(bench.agents())


class Running(threading.Thread):
    """A container whose program runs until it ends, while others do something else."""

    def __init__(self, container, script):
        super().__init__(daemon=True)
        self.container, self.script, self.status = container, script, None
        self.start()

    def run(self):
        self.status = self.container.run(self.script)

    def wait(self, seconds=PATIENCE):
        self.join(seconds)
        expect(self.status is not None, "the container has not ended")
        return self.status


def deleter(bench, uid, style="systemd"):
    container = bench.container(uid, style)
    container.shared = bench.tier() == "uprobe"
    return container


def unreported(bench, container):
    with open(bench.events_path, encoding="utf-8") as lines:
        return container.id not in lines.read()


def case_unresolved(bench, style):
    """The API answers late. The agent's pod is held with nothing lost; its neighbour waits, unharmed and unreported."""
    agent, other = new_uid(), new_uid()
    first, second = deleter(bench, agent, style), deleter(bench, other, style)
    where, elsewhere = first.fill("held", HELD), second.fill("held", HELD)
    runs = [Running(container, "exec rm -rf /work/held") for container in (first, second)]
    bench.waits(2)
    time.sleep(0.5)
    expect(len(os.listdir(where)) == HELD and len(os.listdir(elsewhere)) == HELD, "something was lost")
    expect(not bench.pending(), "somebody is asked: %s" % bench.pending())
    quiet = bench.api.create(other, labelled=False)
    expect(runs[1].wait() == 0 and not os.path.exists(elsewhere), "the bystander: %s" % second.output[-200:])
    bench.waits(1)
    expect(len(os.listdir(where)) == HELD, "the agent went on with its neighbour")
    pod = bench.api.create(agent)
    holds = wait_until(bench.pending)
    expect(len(holds) == 1 and holds[0]["rule"] == "held", "pending: %s" % holds)
    expect(len(os.listdir(where)) == HELD, "%d of %d files are left" % (len(os.listdir(where)), HELD))
    while runs[0].is_alive():
        for hold in bench.pending():
            bench.answer("deny", hold)
        time.sleep(test_containers.PAUSE)
    expect(len(os.listdir(where)) == HELD, "%d of %d files are left" % (len(os.listdir(where)), HELD))
    expect(runs[0].status == 1, "status %s: %s" % (runs[0].status, first.output[-200:]))
    event = [event for event in bench.operations(first.id, 1) if event["verdict"] == "hold"][0]
    expect(event["container"]["pod"]["uid"] == agent and event["session"]["agent"] == "pod-agent", "event: %s" % event)
    expect(unreported(bench, second), "the bystander was reported")
    bench.gone(pod)
    bench.gone(quiet)


def late(bench, verdict, script="rm -rf /work/d", pause="1s"):
    """A container of a pod that nobody tells of in time, at its first deletion."""
    bench.unresolved(verdict, pause)
    container = deleter(bench, new_uid())
    return container, container.fill("d"), Running(container, script)


def case_late_alert(bench):
    """Nobody tells of the pod: after its time it goes on, and each deletion is told of as such a pod's."""
    container, where, run = late(bench, "alert")
    expect(run.wait() == 0 and not os.path.exists(where), "status %s" % run.status)
    events = bench.operations(container.id, FILES)
    expect(len({event["target"]["path"] for event in events}) == FILES, "%d deletions were told of" % len(events))
    for event in events:
        expect((event["verdict"], event["rule"], event["session"]["agent"]) == ("alert", "unresolved", "unresolved-pod"),
               "event: %s" % event)
        expect(event["container"]["pod"]["uid"] == container.pod, "event: %s" % event)


def case_late_allow(bench):
    container, where, run = late(bench, "allow")
    expect(run.wait() == 0 and not os.path.exists(where) and unreported(bench, container), "status %s" % run.status)


def case_late_deny(bench):
    """Refused, each file, and without waiting anew for each; once the pod is known it is let be."""
    container, where, run = late(bench, "deny", "rm -rf /work/d; while [ ! -e /work/go ]; do sleep 0.05; done; rm -rf /work/d")
    expect(len(bench.operations(container.id, FILES, 2 * PATIENCE)) >= FILES, "not every refusal was told of")
    expect(len(os.listdir(where)) == FILES, "%d files are left" % len(os.listdir(where)))
    # Those of other cases, which nobody ever tells of, are late for good.
    late_pods = bench.status()["pods"]["unresolved"]["late"]
    pod = bench.api.create(container.pod, labelled=False)
    expect(wait_until(lambda: bench.status()["pods"]["unresolved"]["late"] < late_pods), "the pod is not known")
    with open(os.path.join(container.volume, "go"), "wb"):
        pass
    expect(run.wait() == 0 and not os.path.exists(where), "status %s: %s" % (run.status, container.output[-200:]))
    denied = [event for event in bench.operations(container.id, FILES) if event["verdict"] == "deny"]
    expect(len(denied) == FILES, "%d refusals were told of" % len(denied))
    bench.gone(pod)


def case_late_hold(bench):
    """Somebody is asked about a pod that nobody tells of. When it turns out to be no agent's, it goes on by itself."""
    container, where, run = late(bench, "hold")
    holds = wait_until(bench.pending)
    expect(len(holds) == 1 and holds[0]["rule"] == "unresolved", "pending: %s" % holds)
    expect(len(os.listdir(where)) == FILES, "%d files are left" % len(os.listdir(where)))
    pod = bench.api.create(container.pod, labelled=False)
    expect(run.wait() == 0 and not os.path.exists(where), "status %s: %s" % (run.status, container.output[-200:]))
    expect(not bench.pending(), "pending: %s" % bench.pending())
    bench.gone(pod)


def case_late_agent(bench):
    """Held as a pod that nobody told of, and then an agent's: its own rules decide, from that very call on."""
    bench.unresolved("hold", "1s")
    container = deleter(bench, new_uid())
    where = container.fill("held")
    run = Running(container, "exec rm -rf /work/held")
    wait_until(bench.pending)
    pod = bench.api.create(container.pod)
    holds = wait_until(lambda: [hold for hold in bench.pending() if hold["rule"] == "held"])
    expect(len(holds) == 1 and holds[0]["rule"] == "held" and holds[0]["session"]["agent"] == "pod-agent",
           "pending: %s" % holds)
    bench.answer("approve", holds[0])
    expect(run.wait() == 0 and not os.path.exists(where), "status %s: %s" % (run.status, container.output[-200:]))
    bench.gone(pod)


def case_unresolved_running(bench):
    """A pod that ran before the daemon, whose API is away at the start: its next deletion waits until there is an answer."""
    quiet = new_uid()
    container = deleter(bench, quiet)
    bench.stop_daemon()
    bench.api.do(lambda: (setattr(bench.api.server, "absent", True), bench.api.server.cut()))
    where = container.fill("d")
    run = Running(container, "while [ ! -e /work/go ]; do sleep 0.05; done; exec rm -rf /work/d")
    bench.start_daemon()
    with open(os.path.join(container.volume, "go"), "wb"):
        pass
    bench.waits(1)
    expect(len(os.listdir(where)) == FILES, "it did not wait")
    pod = bench.api.create(quiet, labelled=False)
    bench.api.do(lambda: setattr(bench.api.server, "absent", False))
    expect(run.wait() == 0 and not os.path.exists(where) and unreported(bench, container), "status %s" % run.status)
    bench.gone(pod)


def cases():
    return [("pod-unresolved-systemd", lambda bench: case_unresolved(bench, "systemd")),
            ("pod-unresolved-cgroupfs", lambda bench: case_unresolved(bench, "cgroupfs")),
            ("pod-unresolved-running", case_unresolved_running), ("pod-late-alert", case_late_alert),
            ("pod-late-allow", case_late_allow), ("pod-late-deny", case_late_deny), ("pod-late-hold", case_late_hold),
            ("pod-late-agent", case_late_agent),
            ("pod-first-instruction-systemd", lambda bench: case_first_instruction(bench, "systemd")),
            ("pod-first-instruction-cgroupfs", lambda bench: case_first_instruction(bench, "cgroupfs")),
            ("pod-killed", case_killed), ("pod-unlabelled", case_unlabelled), ("pod-told-late", case_told_late),
            ("pod-label-removed", case_label_removed), ("pod-made-anew", case_made_anew),
            ("pod-static", case_static_pod), ("pod-reload", case_reload), ("pod-api-away", case_api_away)]


def open_bench(options, scratch):
    return test_containers.serving(Bench(options.reprieve, scratch))


if __name__ == "__main__":
    sys.exit(ring.main("pod-agents", __doc__, cases(), open_bench, why_not=test_containers.lacking,
                       run=test_containers.run_case))
