#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Real containers of runc, live, at the cgroup paths that the kubelet, containerd, CRI-O and docker give theirs.

    test_containers.py [--reprieve PATH] [--list] [--keep] [NAME...]

Each row is a container of its own with a static busybox in it, whose first instruction deletes. The policy names its
pod's cgroup and no other. The names are read from the files that the runtime in question keeps, made here, where that
runtime would have them. Needs root, runc, busybox and cgroup2; leaves nothing behind.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ring  # noqa: E402 (from this file's own directory)
from ring import Failure, Skip, expect  # noqa: E402

FILES = 40
PAUSE = 0.05  # seconds between two looks at something that is waited for
PATIENCE = 120.0 if os.environ.get("REPRIEVE_VM") else 30.0  # seconds; emulated, all is some ten times as slow
LOCK = "/tmp/reprieve-test-containers.lock"
NO_PIVOT = ["--no-pivot"] if os.environ.get("REPRIEVE_VM") else []  # an initramfs cannot be left by pivot_root(2)
CLASSES = ("guaranteed", "burstable", "besteffort")

POLICY = """version: 1
default: allow
agents:
  - builtin: false
  - {{name: pod-agent, cgroup: [{globs}]}}
rules:
  - {{name: killed, op: [delete], path: ["/work/kill/**"], action: kill}}
  - {{name: seen, op: [delete], path: ["/work/**", "/inside/**"], action: alert}}
"""


def cgroup_root():
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(root + "/cgroup.procs"):
            return root
    return None


def hierarchies():
    """Every mounted cgroup hierarchy: runc makes its directories in all of them."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return [line.split()[1] for line in mounts if line.split()[2] in ("cgroup", "cgroup2")]


def kubepods(style, quality, uid):
    """A pod's cgroup as the kubelet names it."""
    if style == "cgroupfs":
        return "/".join(["/kubepods"] + ([] if quality == "guaranteed" else [quality]) + ["pod" + uid])
    under = uid.replace("-", "_")
    if quality == "guaranteed":
        return "/kubepods.slice/kubepods-pod%s.slice" % under
    return "/kubepods.slice/kubepods-%s.slice/kubepods-%s-pod%s.slice" % (quality, quality, under)


def copy_with_libraries(names, rootfs):
    """Programs of this machine, and what the loader says that they need, where they lie here."""
    for name in names:
        path = os.path.realpath(shutil.which(name))
        shutil.copy(path, os.path.join(rootfs, "bin", name))
        told = subprocess.run(["ldd", path], stdout=subprocess.PIPE, check=True).stdout.decode()
        for library in (word for word in told.split() if word.startswith("/")):
            where = rootfs + library
            os.makedirs(os.path.dirname(where), exist_ok=True)
            if not os.path.exists(where):
                shutil.copy(library, where)


class Container:
    """One container: its bundle, where its runtime would have it, a volume, and the way to run it."""

    def __init__(self, bench, runtime, path, pod=None):
        self.bench, self.runtime, self.pod, self.path = bench, runtime, pod, path
        self.id = os.path.basename(path).split("-")[-1].split(":")[-1].split(".")[0]
        self.bundle, self.mounts = os.path.join(bench.scratch, "bundle-" + self.id[:12]), []
        self.shared = False  # its programs use a libc of its own, and are no static busybox
        self.volume = bench.directory("/var/lib/kubelet/pods/%s/volumes/kubernetes.io~empty-dir/work" % pod if pod
                                      else "/var/lib/docker/volumes/work-%s/_data" % self.id[:12])
        self.runc, self.cgroups_path = bench.runc, path
        bench.containers.append(self)

    def annotations(self):
        if not self.pod:
            return {}
        if self.runtime == "cri-o":
            return {"io.kubernetes.container.name": "main", "io.kubernetes.pod.name": "agent-1",
                    "io.kubernetes.pod.namespace": "agents", "io.kubernetes.pod.uid": self.pod}
        return {"io.kubernetes.cri.container-name": "main", "io.kubernetes.cri.sandbox-name": "agent-1",
                "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-namespace": "agents",
                "io.kubernetes.cri.sandbox-uid": self.pod}

    def write_state(self, spec):
        if self.runtime == "docker":
            where = self.bench.directory("/var/lib/docker/containers/" + self.id)
            name, text = "config.v2.json", {"Name": "/agent-box", "Config": {"Image": "busybox:test", "Labels": {}},
                                         "MountPoints": {"/work": {"Source": self.volume, "Destination": "/work"}}}
        elif self.runtime == "cri-o":
            where = self.bench.directory("/run/containers/storage/overlay-containers/%s/userdata" % self.id)
            name, text = "config.json", spec
        else:
            where = self.bench.directory("/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + self.id)
            name, text = "config.json", spec
        with open(os.path.join(where, name), "w", encoding="utf-8") as file:
            json.dump(text, file)

    def prepare(self, script):
        rootfs = os.path.join(self.bundle, "rootfs")
        for name in ("bin", "proc", "dev", "work", "inside"):
            os.makedirs(os.path.join(rootfs, name))
        if self.shared:
            copy_with_libraries(("sh", "rm", "sleep", "touch", "true"), rootfs)
        else:
            shutil.copy(self.bench.busybox, os.path.join(rootfs, "bin/busybox"))
            for name in ("sh", "rm", "sleep", "touch", "true"):
                os.symlink("busybox", os.path.join(rootfs, "bin", name))
        subprocess.run(["runc", "spec"], cwd=self.bundle, check=True)
        with open(os.path.join(self.bundle, "config.json"), encoding="utf-8") as file:
            spec = json.load(file)
        spec["process"].update(terminal=False, args=["sh", "-c", script], rlimits=[])
        spec["root"]["readonly"] = False
        spec["linux"]["cgroupsPath"] = self.cgroups_path
        spec["annotations"] = self.annotations()
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] in ("/proc", "/dev")] + [
            {"destination": "/work", "type": "none", "source": self.volume, "options": ["bind", "rw"]}]
        with open(os.path.join(self.bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(spec, file)
        self.write_state(spec)

    def fill(self, below="", count=FILES):
        where = os.path.join(self.volume, below)
        os.makedirs(where, exist_ok=True)
        for number in range(count):
            with open(os.path.join(where, "f%03d" % number), "wb"):
                pass
        return where

    def run(self, script):
        """Its exit status, once it has ended."""
        self.prepare(script)
        done = subprocess.run(self.runc + ["run"] + NO_PIVOT + ["--bundle", self.bundle, self.id], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.output = done.stdout.decode(errors="replace")
        return done.returncode

    def start(self, script):
        self.prepare(script)
        with open(os.path.join(self.bundle, "output"), "wb") as output:
            subprocess.run(self.runc + ["run", "--detach"] + NO_PIVOT + ["--bundle", self.bundle, self.id], check=True,
                           stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def execute(self, script):
        return subprocess.run(self.runc + ["exec", self.id, "sh", "-c", script], stdin=subprocess.DEVNULL,
                              check=False).returncode

    def stop(self):
        subprocess.run(self.runc + ["delete", "--force", self.id], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        # runc leaves the parents of its cgroup.
        for root in hierarchies():
            path = root + self.path
            while path != root:
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    pass
                except OSError:
                    break
                path = os.path.dirname(path)


class Bench:
    """A daemon whose policy names the cgroups of the containers that are made here."""

    def __init__(self, reprieve, scratch):
        # Whoever guards pods waits for every pod of the machine to be known: there is one such daemon at a time.
        self.lock = open(LOCK, "w", encoding="utf-8")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.reprieve, self.scratch = reprieve, scratch
        self.runc = ["runc", "--root", os.path.join(scratch, "runc")]
        self.busybox = shutil.which("busybox")
        self.containers, self.made, self.daemon = [], [], None
        self.socket, self.events_path = os.path.join(scratch, "socket"), os.path.join(scratch, "events.jsonl")
        self.pods = {}

    def directory(self, path):
        """Makes one with its parents, to be removed again as far as it was not there."""
        missing = []
        while not os.path.exists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for part in reversed(missing):
            try:
                os.mkdir(part)
            except FileExistsError:  # by another thread's container
                continue
            self.made.append((part, part == missing[0]))
        return missing[0] if missing else path

    def pod(self, name):
        return self.pods.setdefault(name, str(uuid.uuid4()))

    def policy_text(self):
        return POLICY.format(globs=", ".join('"%s/*"' % path for path in self.agent_paths()))

    def daemon_options(self):
        return []

    def start_daemon(self):
        policy = os.path.join(self.scratch, "policy.yaml")
        with open(policy, "w", encoding="utf-8") as file:
            file.write(self.policy_text())
        self.log = open(os.path.join(self.scratch, "daemon.log"), "w+", encoding="utf-8")
        self.daemon = subprocess.Popen(
            [self.reprieve, "daemon", "--policy", policy, "--socket", self.socket, "--events", self.events_path,
             "--quiet"] + self.daemon_options(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(1200):
            with open(self.log.name, encoding="utf-8") as lines:
                if "guarding:" in lines.read():
                    # It answers once all is armed. What ends before may be told of without its container's name.
                    self.status()
                    return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.05)
        with open(self.log.name, encoding="utf-8") as lines:
            raise Failure("the daemon did not start: %s" % lines.read()[-400:])

    def stop_daemon(self):
        self.daemon.terminate()
        self.daemon.wait()

    def agent_paths(self):
        """Where the agents' containers are, one level above them. The bystander's pod is not among them."""
        paths = [kubepods(style, quality, self.pod(style + quality))
                 for style in ("systemd", "cgroupfs") for quality in CLASSES]
        paths += [kubepods("systemd", "burstable", self.pod("crio")), kubepods("systemd", "guaranteed", self.pod("kill"))]
        self.mark = uuid.uuid4().hex
        return paths + ["/docker-%s/docker" % self.mark, "/docker-%s.slice" % self.mark]

    def ask(self, command):
        """By the daemon's socket: to start a program for each question would cost more than all else here."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(self.socket)
            connection.sendall(json.dumps({"v": 1, "command": command}).encode() + b"\n")
            with connection.makefile(encoding="utf-8") as replies:
                reply = json.loads(replies.readline())
        expect(reply["ok"], "%s: %s" % (command, reply.get("error")))
        return reply["result"]

    def status(self):
        return self.ask("status")

    def operations(self, container_id, count, patience=PATIENCE):
        """Events of operations of that container, once there are so many."""
        found = []
        for _ in range(int(patience / 0.05)):
            with open(self.events_path, encoding="utf-8") as lines:
                found = [json.loads(line) for line in lines if line.endswith("\n")]
            found = [event for event in found
                     if event["kind"] == "op" and event.get("container", {}).get("id") == container_id
                     # What the runtime does before it starts the container's program is not looked at.
                     and event["op"] == "unlink" and (event["target"]["path"] or "").startswith(("/work/", "/inside/"))]
            if len(found) >= count:
                break
            time.sleep(0.05)
        return found

    def end(self):
        for container in self.containers:
            container.stop()
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait()
        # The parents are the runtimes' and the kubelet's own: others may have put something there meanwhile.
        for path, own in reversed(self.made):
            if own:
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        self.lock.close()


def wait_until(condition, seconds=PATIENCE):
    """What the condition gives once it is true, or at the end of the time."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() > end:
            return found
        time.sleep(PAUSE)


def new_id():
    return uuid.uuid4().hex + uuid.uuid4().hex


def expect_pod(container, event):
    told = event["container"]
    expect(told["runtime"] == container.runtime, "runtime %s" % told["runtime"])
    expect(told["pod"]["uid"] == container.pod and told["pod"]["namespace"] == "agents" and
           told["pod"]["name"] == "agent-1" and told["pod"]["container"] == "main", "pod: %s" % told["pod"])
    expect(event["session"]["agent"] == "pod-agent", "agent: %s" % event["session"]["agent"])


def expect_deleted(container, where):
    """Each file's deletion is told, by the path inside, and by the host's."""
    events = container.bench.operations(container.id, FILES)
    paths = {event["target"]["path"] for event in events}
    expect(paths >= {"/work/d/f%03d" % number for number in range(FILES)},
           "%d of %d deletions were told; %s" % (len(paths), FILES, container.output[-200:]))
    for event in events:
        expect(event["verdict"] == "alert" and event["rule"] == "seen", "verdict: %s" % event["verdict"])
        name = os.path.basename(event["target"]["path"])
        expect(event["target"].get("host_path") == os.path.join(where, name), "host: %s" % event["target"])
        expect(event["process"]["cgroup"] == container.path, "cgroup: %s" % event["process"]["cgroup"])
    return events


def run_row(bench, runtime, path, pod):
    container = Container(bench, runtime, path, pod)
    where = container.fill("d")
    status = container.run("rm -rf /work/d")
    expect(status == 0, "runc run: %d: %s" % (status, container.output[-300:]))
    expect(not os.path.exists(where), "the container deleted nothing")
    return container, expect_deleted(container, where)


def case_kubelet(bench, style, quality):
    """The first instruction of a container of a matched pod is an operation of the session."""
    pod = bench.pod(style + quality)
    name = new_id() if style == "cgroupfs" else "cri-containerd-%s.scope" % new_id()
    container, events = run_row(bench, "containerd", "%s/%s" % (kubepods(style, quality, pod), name), pod)
    for event in events:
        expect_pod(container, event)
        expect(event["target"].get("volume") == "work", "volume: %s" % event["target"])


def case_crio(bench):
    pod = bench.pod("crio")
    path = "%s/crio-%s.scope" % (kubepods("systemd", "burstable", pod), new_id())
    container, events = run_row(bench, "cri-o", path, pod)
    for event in events:
        expect_pod(container, event)


def case_docker(bench, systemd):
    where = ("/docker-%s.slice/docker-%s.scope" if systemd else "/docker-%s/docker/%s") % (bench.mark, new_id())
    container, events = run_row(bench, "docker", where, None)
    for event in events:
        told = event["container"]
        expect(told["runtime"] == "docker" and told["name"] == "agent-box" and told["image"] == "busybox:test" and
               "pod" not in told, "container: %s" % told)
        expect(event["target"].get("volume") == "work-" + container.id[:12], "volume: %s" % event["target"])


def case_killed(bench):
    """A kill ends the container at its first deletion: nothing is lost on the lsm tier, one file on the signal tier."""
    pod = bench.pod("kill")
    container = Container(bench, "containerd", "%s/cri-containerd-%s.scope" % (
        kubepods("systemd", "guaranteed", pod), new_id()), pod)
    where = container.fill("kill")
    container.run("exec rm -rf /work/kill")
    left = len(os.listdir(where))
    tiers = {row["op"]: row["tier"] for row in bench.status()["tiers"]}
    expect(left >= FILES - (tiers["unlink"] != "lsm"), "%d of %d files are left" % (left, FILES))
    events = bench.operations(container.id, 1)
    expect(events and events[0]["verdict"] == "kill", "no kill was told")
    expect_pod(container, events[0])


def case_exec_and_own_files(bench):
    """What enters a running container belongs to it; what lies in its own layers has no path on the host."""
    pod = bench.pod("cgroupfsburstable")
    container = Container(bench, "containerd", "%s/%s" % (kubepods("cgroupfs", "burstable", pod), new_id()), pod)
    container.start("exec sleep 600")
    expect(container.execute("touch /inside/a && rm /inside/a") == 0, "runc exec failed")
    events = bench.operations(container.id, 1)
    expect(events and events[-1]["target"]["path"] == "/inside/a", "the deletion was not told")
    expect("host_path" not in events[-1]["target"], "a host path: %s" % events[-1]["target"])
    expect_pod(container, events[-1])


def case_bystander(bench):
    """A pod that no policy names: untouched and unreported."""
    pod = bench.pod("bystander")
    container = Container(bench, "containerd", "%s/%s" % (kubepods("cgroupfs", "besteffort", pod), new_id()), pod)
    where = container.fill("kill")
    status = container.run("rm -rf /work/kill")
    expect(status == 0 and not os.path.exists(where), "status %d: %s" % (status, container.output[-200:]))
    with open(bench.events_path, encoding="utf-8") as lines:
        expect(container.id not in lines.read(), "it was reported")


def case_blind_node(bench):
    """A container that only a hierarchy of version 1 names is told of, by doctor and status."""
    old = [root for root in hierarchies() if root != cgroup_root() and os.path.exists(root + "/cgroup.procs")]
    if not old:
        raise Skip("needs a cgroup hierarchy of version 1")
    name = new_id()
    where = os.path.join(old[-1], "docker-%s" % bench.mark, "docker", name)
    os.makedirs(where)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with open(where + "/cgroup.procs", "w", encoding="utf-8") as procs:
            procs.write(str(sleeper.pid))
        bench.daemon.send_signal(signal.SIGHUP)
        told = wait_until(lambda: [text for text in bench.status()["degraded"] if "no cgroup2 id" in text])
        expect(told and name[:12] in told[0] and str(sleeper.pid) in told[0], "status does not tell: %s" % told)
        done = subprocess.run([bench.reprieve, "doctor", "--json"], stdout=subprocess.PIPE, check=False)
        expect(json.loads(done.stdout)["container_processes_without_cgroup2"] >= 1, "doctor does not tell")
    finally:
        sleeper.kill()
        sleeper.wait()
        for path in (where, os.path.dirname(where), os.path.dirname(os.path.dirname(where))):
            os.rmdir(path)


def cases():
    rows = [("kubelet-%s-%s" % (style, quality), lambda bench, s=style, q=quality: case_kubelet(bench, s, q))
            for style in ("systemd", "cgroupfs") for quality in CLASSES]
    rows += [("cri-o", case_crio), ("docker-systemd", lambda bench: case_docker(bench, True)),
             ("docker-cgroupfs", lambda bench: case_docker(bench, False)), ("killed", case_killed),
             ("exec", case_exec_and_own_files), ("bystander", case_bystander), ("blind-node", case_blind_node)]
    return rows


def run_case(bench, name, function):
    """As ring.run_case; a record that contradicts what was known before fails the case that it came in."""
    def checked(bench):
        before = bench.status().get("mismatches")
        function(bench)
        after = bench.status().get("mismatches")
        expect(after == before, "mismatches: %s, before it %s" % (after, before))
    return ring.run_case(bench, name, checked)


def run_all(bench, chosen):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    bench.start_daemon()
    for name, function in chosen:
        counts[run_case(bench, name, function)] += 1
    return counts


def lacking(options):
    if not shutil.which("runc") or not shutil.which("busybox") or not cgroup_root():
        return ring.lacking(options) or "needs runc, busybox and cgroup2"
    return ring.lacking(options)


@contextlib.contextmanager
def serving(bench):
    """A bench whose daemon runs."""
    try:
        bench.start_daemon()
        yield bench
    finally:
        bench.end()


def open_bench(options, scratch):
    return serving(Bench(options.reprieve, scratch))


if __name__ == "__main__":
    sys.exit(ring.main("containers", __doc__, cases(), open_bench, why_not=lacking, run=run_case))
