#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Containers of real runtimes under systemd, on cgroup version 2 alone and on the lsm tier.

    test_runtimes.py [--reprieve PATH] [--list] [NAME...]

runc and crun by their systemd drivers at the kubelet's paths, containerd by ctr with either, docker and podman. The
pods are told of by the stand-in of test_pods.py; docker's and podman's containers are agents by cgroup. In each row the
container's first instruction deletes what is denied; then one deletion is held and refused, and one held and approved.
Needs root, systemd as PID 1 and the runtimes: tests/vm/runtimes runs it in a virtual machine.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ring  # noqa: E402 (from this file's own directory)
import test_containers  # noqa: E402
import test_pod_agents  # noqa: E402
from ring import Failure, expect  # noqa: E402
from test_containers import CLASSES, FILES, kubepods, new_id  # noqa: E402
from test_pod_agents import LEAD, new_uid  # noqa: E402

PROGRAMS = ("runc", "crun", "ctr", "docker", "podman", "busybox")
IMAGE = "localhost/busybox:test"
POLICY = """version: 1
default: allow
agents:
  - builtin: false
  - {name: pod-agent, pod: {namespace: ["agents-*"], labels: {ai-agent: "true"}}}
  - {name: box-agent, cgroup: ["/system.slice/docker-*.scope/**", "/system.slice/docker-*.scope",
                               "/machine.slice/libpod-*.scope/**", "/machine.slice/libpod-*.scope"]}
rules:
  - {name: denied, op: [delete], path: ["/work/deny/**"], action: deny}
  - {name: held, op: [delete], path: ["/work/hold/**"], action: hold, timeout: 600s, on_timeout: deny}
  - {name: seen, op: [delete], path: ["/work/**"], action: alert}
"""


def checked(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    expect(done.returncode == 0, "%s: %s" % (" ".join(words[:4]), done.stdout.decode(errors="replace")[-300:]))
    return done.stdout.decode(errors="replace")


class PodContainer(test_containers.Container):
    """In a pod's slice as the kubelet's systemd driver makes it, started by the runtime itself."""

    def __init__(self, bench, program, uid, quality, style="systemd"):
        where, name = kubepods(style, quality, uid), new_id()
        self.program, self.style, self.slice = program, style, os.path.basename(where)
        super().__init__(bench, "containerd", "%s/%s" % (where, "cri-containerd-%s.scope" % name if style == "systemd"
                                                         else name), uid)
        self.runc = [program, "--root", os.path.join(bench.scratch, program)]
        if style == "systemd":
            checked("systemctl", "start", self.slice)
            self.cgroups_path = "%s:cri-containerd:%s" % (self.slice, name)
            self.runc.append("--systemd-cgroup")
        else:
            os.makedirs(test_containers.cgroup_root() + where, exist_ok=True)
        time.sleep(LEAD)

    def command(self, script):
        self.prepare(script)
        return self.runc + ["run", "--bundle", self.bundle, self.id]

    def stop(self):
        super().stop()
        if self.style == "systemd":
            subprocess.run(["systemctl", "stop", self.slice], stdin=subprocess.DEVNULL, check=False)


class CtrContainer(PodContainer):
    """The same by containerd, which keeps the state that names the container by itself."""

    def write_state(self, spec):
        self.spec = os.path.join(self.bundle, "spec.json")
        spec["root"]["path"] = os.path.join(self.bundle, "rootfs")
        with open(self.spec, "w", encoding="utf-8") as file:
            json.dump(spec, file)

    def command(self, script):
        self.prepare(script)
        return ["ctr", "--namespace", "k8s.io", "run", "--rm", "--config", self.spec, "--runc-binary", self.program,
                "--runc-systemd-cgroup", "--cgroup", self.cgroups_path, self.id]

    def stop(self):
        for words in (["tasks", "kill", "--signal", "KILL", self.id], ["containers", "delete", self.id]):
            subprocess.run(["ctr", "--namespace", "k8s.io"] + words, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        super().stop()


class Box:
    """A container of docker or podman, which choose its id and its cgroup."""

    fill = test_containers.Container.fill

    def __init__(self, bench, program, runtime, scope):
        self.bench, self.program, self.runtime, self.scope, self.pod = bench, program, runtime, scope, None
        self.name, self.id, self.path = "agent-box-" + new_id()[:8], None, None
        self.volume = tempfile.mkdtemp(prefix="volume-", dir=bench.scratch)
        self.cidfile = self.volume + ".id"
        bench.containers.append(self)

    def command(self, script):
        return [self.program, "run", "--rm", "--cidfile", self.cidfile, "--network", "none", "--name", self.name,
                "--volume", self.volume + ":/work", IMAGE, "sh", "-c", script]

    def look(self, process):
        """Its id is known once it runs; the path follows."""
        self.id = wait_for("the container's id", self.read_id, process)
        self.path = self.scope % self.id

    def read_id(self):
        if not os.path.exists(self.cidfile):
            return None
        with open(self.cidfile, encoding="utf-8") as file:
            return file.read().strip()

    def stop(self):
        subprocess.run([self.program, "rm", "--force", self.name], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


class Bench(test_pod_agents.Bench):
    def policy_text(self):
        return POLICY

    def pending(self, container):
        done = subprocess.run([self.reprieve, "pending", "--json", "--socket", self.socket], stdout=subprocess.PIPE,
                              check=True)
        return [hold for hold in map(json.loads, done.stdout.splitlines())
                if hold.get("container", {}).get("id") == container.id and hold["state"] == "open"]

    def answer(self, word, hold):
        checked(self.reprieve, word, str(hold["hold"]), "--socket", self.socket)

    def verdicts(self, container, verdict):
        found = []
        for _ in range(200):
            with open(self.events_path, encoding="utf-8") as lines:
                found = [json.loads(line) for line in lines if line.endswith("\n")]
            found = [event for event in found if event["kind"] == "op" and event["verdict"] == verdict and
                     event.get("container", {}).get("id") == container.id]
            if found:
                break
            time.sleep(0.05)
        return found


SCRIPT = "rm -rf /work/deny; rm /work/hold/f000 && echo gone 0; rm /work/hold/f001 && echo gone 1; true"


def wait_for(what, get, process, seconds=240.0):
    """The first true value of get(), while the container's process lives."""
    deadline = time.monotonic() + seconds
    while True:
        found = get()
        if found:
            return found
        expect(process.poll() is None, "%s: the container ended with %s" % (what, process.returncode))
        expect(time.monotonic() < deadline, "%s: not within %g s" % (what, seconds))
        time.sleep(0.1)


def answer_next(bench, container, process, word, file):
    """The next question of the container is about that file, which is still there."""
    holds = wait_for("a hold of " + file, lambda: bench.pending(container), process)
    expect(len(holds) == 1 and holds[0]["target"]["path"] == "/work/hold/" + file, "holds: %s" % holds)
    expect(os.path.exists(os.path.join(container.volume, "hold", file)), "%s is gone while it is held" % file)
    bench.answer(word, holds[0])


def expect_told(container, event, agent):
    told = event["container"]
    expect(event["tier"] == "lsm", "tier: %s" % event["tier"])
    expect(told["runtime"] == container.runtime and told["id"] == container.id, "container: %s" % told)
    expect(event["session"]["agent"] == agent, "agent: %s" % event["session"]["agent"])
    expect(event["process"]["cgroup"].startswith(container.path), "cgroup: %s" % event["process"]["cgroup"])
    # Of podman's containers the events have no path on the host: a limit that the README names.
    expect(container.runtime == "podman" or event["target"].get("host_path", "").startswith(container.volume + "/"),
           "host: %s" % event["target"])
    if container.pod:
        expect(told["pod"]["uid"] == container.pod and told["pod"]["container"] == "main", "pod: %s" % told)
    else:
        expect(told.get("name") == container.name, "name: %s" % told)


def judge(bench, container, agent):
    denied, held = container.fill("deny"), container.fill("hold", 3)
    process = subprocess.Popen(container.command(SCRIPT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    try:
        if not container.id:
            container.look(process)
        answer_next(bench, container, process, "deny", "f000")
        answer_next(bench, container, process, "approve", "f001")
        output = process.communicate(timeout=240)[0].decode(errors="replace")
    except (Failure, subprocess.TimeoutExpired) as reason:
        process.kill()
        raise Failure("%s; the container says: %s" % (reason, process.communicate()[0].decode(errors="replace")[-300:]))
    expect(len(os.listdir(denied)) == FILES, "%d of %d denied files are left" % (len(os.listdir(denied)), FILES))
    expect(sorted(os.listdir(held)) == ["f000", "f002"], "held files that are left: %s" % os.listdir(held))
    expect("gone 1" in output and "gone 0" not in output, "output: %s" % output[-300:])
    for verdict in ("deny", "hold"):
        events = bench.verdicts(container, verdict)
        expect(events, "no %s was told" % verdict)
        for event in events:
            expect_told(container, event, agent)


def case_pod(bench, make):
    uid = new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    judge(bench, make(bench, uid), "pod-agent")
    bench.gone(pod)


def case_bystander(bench, make):
    """A pod beside it without the label: untouched and unreported."""
    uid = new_uid()
    pod = bench.api.create(uid, labelled=False)
    bench.known(bench.agents())
    container = make(bench, uid)
    where = container.fill("deny")
    checked(*container.command("rm -rf /work/deny"))
    expect(not os.path.exists(where), "it could not delete")
    with open(bench.events_path, encoding="utf-8") as lines:
        expect(container.id not in lines.read(), "it was reported")
    bench.gone(pod)


def case_box(bench, *words):
    judge(bench, Box(bench, *words), "box-agent")


def cases():
    rows = []
    for program in ("runc", "crun"):
        for quality in CLASSES:
            rows.append(("%s-systemd-%s" % (program, quality), lambda bench, p=program, q=quality: case_pod(
                bench, lambda b, uid: PodContainer(b, p, uid, q))))
        rows.append(("%s-cgroupfs-burstable" % program, lambda bench, p=program: case_pod(
            bench, lambda b, uid: PodContainer(b, p, uid, "burstable", "cgroupfs"))))
        rows.append(("containerd-%s" % program, lambda bench, p=program: case_pod(
            bench, lambda b, uid: CtrContainer(b, p, uid, "burstable"))))
    rows.append(("containerd-bystander", lambda bench: case_bystander(
        bench, lambda b, uid: CtrContainer(b, "runc", uid, "besteffort"))))
    rows.append(("docker", lambda bench: case_box(bench, "docker", "docker", "/system.slice/docker-%s.scope")))
    rows.append(("podman", lambda bench: case_box(bench, "podman", "podman", "/machine.slice/libpod-%s.scope")))
    return rows


def make_image(scratch):
    """docker's and podman's containers need one each; ours has busybox alone."""
    root = os.path.join(scratch, "image")
    os.makedirs(os.path.join(root, "bin"))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    for name in ("sh", "rm", "true"):
        os.symlink("busybox", os.path.join(root, "bin", name))
    tar = os.path.join(scratch, "image.tar")
    checked("tar", "-C", root, "-cf", tar, ".")
    return tar


def start_services(scratch):
    checked("systemctl", "start", "containerd.service", "docker.service")
    checked("docker", "import", make_image(os.path.join(scratch, "docker")), IMAGE)
    checked("podman", "import", make_image(os.path.join(scratch, "podman")), IMAGE)


def versions():
    lines = []
    for words in (["uname", "-r"], ["systemctl", "--version"], ["runc", "--version"], ["crun", "--version"],
                  ["containerd", "--version"], ["docker", "--version"], ["podman", "--version"]):
        lines.append(checked(*words).split("\n")[0])
    return "; ".join(lines)


@contextlib.contextmanager
def open_bench(options, scratch):
    if not os.path.isdir("/run/systemd/system") or not all(map(shutil.which, PROGRAMS)):
        sys.exit("needs systemd as PID 1, and " + ", ".join(PROGRAMS))
    print(versions(), flush=True)
    start_services(scratch)
    bench = Bench(options.reprieve, scratch)
    try:
        bench.start_daemon()
        yield bench
        expect(not bench.status().get("mismatches"), "mismatches: %s" % bench.status()["mismatches"])
    finally:
        bench.end()


if __name__ == "__main__":
    sys.exit(ring.main("runtimes", __doc__, cases(), open_bench, why_not=lambda options: None))
