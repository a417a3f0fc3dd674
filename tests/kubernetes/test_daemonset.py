#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The DaemonSet's container as its manifest says, run by containerd, docker and podman from the image's tar.

    test_daemonset.py --image TAR [--reprieve PATH] [--list] [NAME...]

User, capabilities, seccomp, AppArmor, root file system, process numbers, mounts, arguments, environment, probes and the
memory's limit are read from tools/kubernetes/base/daemonset.yaml, the policy is the one beside it, the API is the stand-in of
fake_kube.py by TLS, with a service account's files where the kubelet puts them, and the container is in a pod's cgroup like
any other. Only the network differs: it is the machine's, since there is no CNI here. Needs root, systemd as PID 1 and the
runtimes: tests/vm/daemonset runs it in a virtual machine.
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
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "live"))
sys.path.insert(0, HERE)
import daemonset  # noqa: E402 (from this file's own directory)
import fake_kube  # noqa: E402
import ring  # noqa: E402
import test_containers  # noqa: E402
import test_runtimes  # noqa: E402
from ring import Failure, Skip, expect  # noqa: E402
from test_containers import FILES, new_id  # noqa: E402
from test_pod_agents import new_uid  # noqa: E402

NODE, ADDRESS = "vm", "127.0.0.1"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
POLICY = os.path.join(daemonset.KUBERNETES, "base/policy.yaml")
PINS = "/sys/fs/bpf/reprieve"
USER = 10017
# From include/uapi/linux/capability.h.
NUMBERS = {"KILL": 5, "DAC_READ_SEARCH": 2, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYS_NICE": 23, "PERFMON": 38, "BPF": 39,
           "CHECKPOINT_RESTORE": 40}


def wait_for(what, get, seconds=120.0):
    """The first true value of get()."""
    deadline = time.monotonic() + seconds
    while True:
        found = get()
        if found:
            return found
        expect(time.monotonic() < deadline, "%s: not within %g s" % (what, seconds))
        time.sleep(0.1)


class Agent(test_runtimes.PodContainer):
    """A container of a pod, with the volume at /data, that runs as a user of its own, whose files nobody else may see."""

    def prepare(self, script):
        super().prepare(script)
        path = os.path.join(self.bundle, "config.json")
        with open(path, encoding="utf-8") as file:
            spec = json.load(file)
        spec["mounts"][-1]["destination"] = "/data"
        os.makedirs(os.path.join(self.bundle, "rootfs/data"))
        spec["process"]["user"] = {"uid": USER, "gid": USER}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(spec, file)
        for where, _, names in os.walk(self.volume):
            os.chmod(where, 0o700)
            for each in [where] + [os.path.join(where, name) for name in names]:
                os.chown(each, USER, USER)


class Bench:
    """The node: an API that knows its pods, and the agents' containers."""

    directory = test_containers.Bench.directory

    def __init__(self, options, scratch):
        self.scratch, self.image, self.reprieve = scratch, options.image, options.reprieve
        self.busybox, self.runc = shutil.which("busybox"), ["runc", "--root", os.path.join(scratch, "runc")]
        self.containers, self.made, self.engine = [], [], None
        self.account, self.policy = os.path.join(scratch, "account"), os.path.join(scratch, "policy")
        for path in (self.account, self.policy):
            os.mkdir(path)
        shutil.copy(POLICY, self.policy)
        self.kube = fake_kube.Kube(self.account)
        for name in ("agents-a", "reprieve"):
            self.kube.put("namespaces", {"metadata": {"name": name}})
        os.unlink(os.path.join(self.account, "tls.key"))
        for name, text in (("token", "secret"), ("namespace", "reprieve")):
            with open(os.path.join(self.account, name), "w", encoding="utf-8") as file:
                file.write(text)

    def pod(self, uid, space="agents-a", **labels):
        self.kube.put("pods", {"metadata": {"uid": uid, "namespace": space, "name": "pod-" + uid[:8],
                                            "labels": {name.replace("__", "/").replace("_", "."): value
                                                       for name, value in labels.items()}},
                               "spec": {"nodeName": NODE}, "status": {}})
        return "pod-" + uid[:8]

    def start(self, engine, manifest):
        """The DaemonSet's own pod."""
        uid, self.engine, self.manifest = new_uid(), engine, manifest
        self.pod(uid, "reprieve")
        host, port = ADDRESS, str(self.kube.tls_port)
        environment = dict(manifest.environment(NODE, ADDRESS), KUBERNETES_SERVICE_HOST=host, KUBERNETES_SERVICE_PORT=port)
        mounts = list(manifest.mounts({"reprieve-policy": self.policy})) + [(ACCOUNT, self.account, 0, True)]
        slice_name = os.path.basename(test_containers.kubepods("systemd", "burstable", uid))
        test_runtimes.checked("systemctl", "start", slice_name)
        engine.run(manifest, new_id(), slice_name, manifest.arguments(ADDRESS), environment, mounts)

    def started(self):
        """Until the startup probe says so."""
        wait_for("the start", lambda: self.probe("startupProbe").returncode == 0 or self.ended(), 240)
        expect(not self.ended(), "it ended: %s" % self.engine.said()[-600:])

    def ended(self):
        try:
            return self.engine.pid() == 0
        except (OSError, StopIteration, ValueError):
            return True

    def probe(self, name, *more):
        return self.engine.inside(*self.manifest.probe(name), *more)

    def status(self):
        return json.loads(self.engine.inside("/usr/bin/reprieve", "status", "--json").stdout)

    def tier(self):
        return {row["op"]: row["tier"] for row in self.status()["tiers"]}["unlink"]

    def agent(self, labelled=True):
        uid = new_uid()
        name = self.pod(uid, **({"reprieve_dev__agent": "true"} if labelled else {"app": "web"}))
        container = Agent(self, "runc", uid, "burstable")
        container.name = name
        return container

    def stop(self):
        if self.engine:
            self.engine.stop()
            self.engine = None
            # What it had guarded goes on, as --keep says, until somebody takes it off.
            subprocess.run([self.reprieve, "release"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
            expect(not os.path.exists(PINS), "the guard is still pinned")

    def end(self):
        for container in self.containers:
            container.stop()
        self.stop()
        self.kube.end()


# --- what the cases look at ---


def expect_confined(bench):
    """The process has what the manifest gives, and nothing else."""
    with open("/proc/%d/status" % bench.engine.pid(), encoding="utf-8") as lines:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    wanted = sum(1 << NUMBERS[name] for name in bench.manifest.capabilities)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        expect(int(facts[name], 16) == wanted, "%s is %s, wanted %x" % (name, facts[name], wanted))
    expect(facts["NoNewPrivs"] == "1" and facts["Uid"].split() == ["0"] * 4, "no_new_privs, uid: %s" % facts)
    expect((facts["Seccomp"] == "2") == (bench.manifest.seccomp == "RuntimeDefault"), "seccomp: %s" % facts["Seccomp"])
    at = "/proc/%d/" % bench.engine.pid()
    expect(os.stat(at + "ns/pid").st_ino == os.stat("/proc/1/ns/pid").st_ino, "not the node's process numbers")
    with open(at + "mountinfo", encoding="utf-8") as lines:
        rows = [line.split() for line in lines]
    read_only = {row[4] for row in rows if "ro" in row[5].split(",")}
    mounts = {target: read for target, _, _, read in bench.manifest.mounts({"reprieve-policy": bench.policy})}
    for target, wanted in list(mounts.items()) + [("/", True)]:
        expect((target in read_only) == wanted, "%s: read-only: %s" % (target, target in read_only))


def expect_no_shell(bench):
    for path in ("/bin/sh", "/bin/bash", "/usr/bin/sh", "/bin/busybox"):
        expect(bench.engine.inside(path, "-c", "true").returncode != 0, "%s is in the image" % path)


def holds_of(bench, container):
    return [item for item in bench.kube.all("holds") if item.get("status", {}).get("pod") == container.name]


def expect_held(bench, container, process):
    """The object of its hold, while all files are there."""
    def look():
        expect(process.poll() is None, "it ended with %s, and %d files are left" % (process.returncode, left(container)))
        return [item for item in holds_of(bench, container) if item["status"].get("stake", {}).get("text")]
    (item,) = wait_for("a Hold with what is at stake", look, 240)
    status = item["status"]
    expect(left(container) == FILES, "%d of %d files are left" % (left(container), FILES))
    expect(status["phase"] == "Pending" and status["rule"] == "volumes" and status["path"].startswith("/data/d/") and
           item["metadata"]["namespace"] == "agents-a" and status["node"] == NODE, "the Hold says: %s" % status)
    expect(status["stake"]["files"] == FILES, "at stake: %s" % status["stake"])
    return item


def left(container):
    where = os.path.join(container.volume, "d")
    return len(os.listdir(where)) if os.path.exists(where) else 0


def decide(bench, item, decision):
    bench.kube.patch("holds", "agents-a", item["metadata"]["name"], {"spec": {"decision": decision, "decidedBy": "alice"}})


def judge(bench):
    """A container's first instruction deletes: held, approved by its object, and on it goes."""
    container = bench.agent()
    container.fill("d")
    process = subprocess.Popen(container.command("/bin/rm -rf /data/d"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    item = expect_held(bench, container, process)
    decide(bench, item, "approve")
    told = process.communicate(timeout=240)[0].decode(errors="replace")
    expect(process.returncode == 0 and not left(container), "%d files are left: %s" % (left(container), told[-300:]))
    wait_for("the Hold's phase", lambda: holds_of(bench, container)[0]["status"]["phase"] == "Approved", 20)
    expect(holds_of(bench, container)[0]["status"]["decidedBy"].startswith("kubernetes:alice"), "decided by: %s" %
           holds_of(bench, container)[0]["status"])


def judge_bystander(bench):
    """A pod without the label: untouched and unreported."""
    container, before = bench.agent(labelled=False), len(bench.kube.all("holds"))
    container.fill("d")
    test_runtimes.checked(*container.command("/bin/rm -rf /data/d"))
    expect(not left(container) and len(bench.kube.all("holds")) == before, "%d files are left" % left(container))


# --- the cases ---

ENGINES = {"containerd": daemonset.Containerd, "docker": lambda: daemonset.Docker("docker"),
           "podman": lambda: daemonset.Docker("podman")}
# Those whose own seccomp profile forbids bpf(2) or perf_event_open(2) in these versions.
FORBIDDING = ("docker", "podman")


def components_of(name):
    return ("seccomp-unconfined",) if name in FORBIDDING else ()


@contextlib.contextmanager
def running(bench, name, components=(), without=()):
    bench.start(ENGINES[name](), daemonset.Manifest(components_of(name) + tuple(components), without))
    try:
        yield
    finally:
        bench.stop()


def case_load(bench, name):
    """The tar is taken, under the name that the manifest gives the image."""
    engine = ENGINES[name]()
    engine.load(bench.image)
    expect(daemonset.Manifest().image in daemonset.image_names(engine), "images: %s" % daemonset.image_names(engine))


def case_run(bench, name):
    with running(bench, name):
        bench.started()
        expect_confined(bench)
        expect_no_shell(bench)
        for probe in ("livenessProbe", "readinessProbe"):
            done = bench.probe(probe)
            expect(done.returncode == 0, "%s: %s" % (probe, done.stdout[-300:]))
        print("     %s; %s" % (bench.tier(), ", ".join(bench.manifest.capabilities)))
        judge(bench)
        judge_bystander(bench)


def case_forbidden(bench, name):
    """With the engine's own profile it does not start, and says why. Where it does, the component is no longer needed."""
    bench.start(ENGINES[name](), daemonset.Manifest())
    try:
        wait_for("its end", bench.ended, 120)
        said = bench.engine.said()
        print("     " + said.strip().splitlines()[-1][:160] if said.strip() else "     (it says nothing)")
        expect("permitted" in said, "it says: %s" % said[-400:])
    finally:
        bench.stop()


def holding(bench):
    """A container whose deletion waits, on its stop alone where the tier is uprobe; its process, and that in the container."""
    container = bench.agent()
    container.shared = True
    container.fill("d")
    process = subprocess.Popen(container.command("rm --version; sleep 3; exec rm -rf /data/d"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    item = expect_held(bench, container, process)
    return container, process, item, item["status"]["process"]["pid"]


def wake(pid, seconds=3.0):
    """As the agent's own would."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.02)


def cgroup_of(pid):
    with open("/proc/%d/cgroup" % pid, encoding="utf-8") as lines:
        return next(line.rstrip("\n")[3:] for line in lines if line.startswith("0::"))


def need_no_lsm():
    with open("/sys/kernel/security/lsm", encoding="utf-8") as words:
        if "bpf" in words.read().split(","):
            raise Skip("BPF LSM holds files itself, by no stop: boot a kernel without it, such as 6.12+nobpf")


def case_freeze(bench):
    """With the component a SIGCONT of the agent's own lets nothing go on; without it the daemon says that it would."""
    need_no_lsm()
    with running(bench, "containerd", ("freeze",)):
        bench.started()
        expect_confined(bench)
        container, process, item, pid = holding(bench)
        before = container.path
        wait_for("its being frozen", lambda: "/reprieve-hold-" in cgroup_of(pid), 30)
        wake(pid)
        expect(left(container) == FILES, "%d files are left after a SIGCONT" % left(container))
        decide(bench, item, "approve")
        process.communicate(timeout=240)
        expect(process.returncode == 0 and not left(container), "%d files are left" % left(container))
        expect(not os.path.exists("/sys/fs/cgroup%s/reprieve-hold-%d" % (before, pid)), "its cgroup is left")


def case_no_freeze(bench):
    """Without the component the daemon tells, once, what it cannot keep."""
    need_no_lsm()
    with running(bench, "containerd"):
        bench.started()
        container, process, _, pid = holding(bench)
        wait_for("the warning", lambda: "cannot be frozen (the daemon's container lacks CAP_SYS_ADMIN" in bench.engine.said(), 30)
        wake(pid)
        process.communicate(timeout=240)
        expect(left(container) < FILES, "it did not go on: the manual says that it does")


def cases():
    rows = [("freeze", case_freeze), ("no-freeze", case_no_freeze)]
    for name in ENGINES:
        rows += [("%s-load" % name, lambda bench, n=name: case_load(bench, n)),
                 ("%s-run" % name, lambda bench, n=name: case_run(bench, n))]
        if name in FORBIDDING:
            rows.append(("%s-own-seccomp" % name, lambda bench, n=name: case_forbidden(bench, n)))
    return rows


@contextlib.contextmanager
def open_bench(options, scratch):
    if not os.path.isdir("/run/systemd/system") or not all(map(shutil.which, test_runtimes.PROGRAMS)):
        sys.exit("needs systemd as PID 1, and " + ", ".join(test_runtimes.PROGRAMS))
    print(test_runtimes.versions(), flush=True)
    test_runtimes.checked("systemctl", "start", "containerd.service", "docker.service")
    bench = Bench(options, scratch)
    try:
        yield bench
    finally:
        bench.end()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    sys.exit(ring.main("daemonset", __doc__, cases(), open_bench, why_not=lambda options: None, add_options=lambda parser: (
        parser.add_argument("--image", default=os.path.join(HERE, "..", "..", "build", "reprieve-image.tar")))))
