#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The image, run as the DaemonSet runs it.

    test_image.py [--image FILE] [--list] [--without CAPABILITY]... [NAME...]
    test_image.py [--image FILE] --each-capability

containerd imports the tar and makes the container's specification, with its own default seccomp profile; what the
manifest says of users, capabilities, the root file system, process numbers, mounts, arguments and probes is translated
here from tools/kubernetes/base/daemonset.yaml, so that the two cannot drift. runc then runs it, with a cgroup namespace
of its own as the kubelet's runtimes give one. The API is the stand-in of test_pods.py. Paths of the node that hold state
(/var/lib/reprieve, /sys/fs/bpf) are stood in for below a scratch directory. Needs root, containerd, runc, busybox,
python3-yaml and cgroup2.

--without shows what a privilege is for: the daemon runs without it, and the cases say what is lost. --each-capability does so
for one after the other, some minutes, and fails where nothing is lost.
"""
import argparse
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "live"))
sys.path.insert(0, HERE)
import yaml  # noqa: E402
import daemonset  # noqa: E402 (from this file's own directory)
import test_containers  # noqa: E402 (from the directory of the live tests)
import test_pod_agents  # noqa: E402
import test_pods  # noqa: E402
from test_containers import Failure, cgroup_root, expect  # noqa: E402

DAEMONSET = os.path.join(TOP, "tools/kubernetes/base/daemonset.yaml")
USER = 10017
SOCKET = "/run/reprieve/reprieve.sock"
# Of the policy that the image is tried with: as in the cases of test_pod_agents.py, and one that a change is seen by.
POLICY = test_pod_agents.POLICY.format(verdict="alert", timeout="20s")
KEPT = 'rules:\n  - {name: kept, op: [delete], path: ["/work/keep/**"], action: hold, timeout: 60s}\n'


class Manifest:
    """What the DaemonSet says of its one container."""

    def __init__(self, path, without=(), components=()):
        with open(path, encoding="utf-8") as file:
            whole = next(item for item in yaml.safe_load_all(file) if item["kind"] == "DaemonSet")
        for component in components:
            daemonset.patched(whole, component)
        self.pod = whole["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.security = self.container["securityContext"]
        self.capabilities = ["CAP_" + name for name in self.security["capabilities"]["add"] if name not in without]
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        self.mounts = [(mount, volumes[mount["name"]]) for mount in self.container["volumeMounts"]]
        expect(self.security["capabilities"]["drop"] == ["ALL"] and not self.security["privileged"] and
               self.security["readOnlyRootFilesystem"] and not self.security["allowPrivilegeEscalation"],
               "this test knows containers that drop ALL, are not privileged, and have a root that is read-only")
        expect(self.security["seccompProfile"]["type"] == "RuntimeDefault", "this test knows the runtime's seccomp profile")
        expect(not self.pod.get("hostNetwork") and not self.pod.get("hostIPC"), "unexpected namespaces of the host")

    def probe(self, name):
        return self.container[name]["exec"]["command"]


class Containerd:
    """One of its own, that never runs a container: it unpacks the image and writes specifications."""

    def __init__(self, scratch):
        self.where = os.path.join(scratch, "containerd")
        os.mkdir(self.where)
        self.socket = os.path.join(self.where, "socket")
        config = os.path.join(self.where, "config.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write('version = 2\nroot = "%s/root"\nstate = "%s/state"\n'
                       'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
                       '[grpc]\naddress = "%s"\n' % (self.where, self.where, self.socket))
        log = open(os.path.join(self.where, "log"), "wb")
        self.process = subprocess.Popen(["containerd", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(600):
            if os.path.exists(self.socket) and self.ctr("version", check=False).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        with open(log.name, encoding="utf-8") as lines:
            raise Failure("containerd does not start: %s" % lines.read()[-600:])

    def ctr(self, *words, check=True):
        done = subprocess.run(["ctr", "--address", self.socket] + list(words), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        expect(not check or done.returncode == 0, "ctr %s: %s" % (" ".join(words), done.stdout[-400:]))
        return done

    def load(self, tar):
        """The image's name."""
        self.ctr("images", "import", "--snapshotter", "native", tar)
        (name,) = self.ctr("images", "ls", "--quiet").stdout.split()
        return name

    def specification(self, image, capabilities):
        words = ["container", "create", "--snapshotter", "native", "--seccomp", "--read-only"]
        for capability in capabilities:
            words += ["--cap-add", capability]
        self.ctr(*words, image, "model")
        spec = json.loads(self.ctr("container", "info", "model").stdout)["Spec"]
        self.ctr("container", "rm", "model")
        return spec

    def unpack(self, image, directory):
        """The root file system, from the layers as containerd has checked and unpacked them."""
        self.ctr("images", "mount", "--snapshotter", "native", image, directory)

    def end(self, directory):
        subprocess.run(["umount", "-l", directory], check=False)
        self.process.terminate()
        self.process.wait()


def entrypoint_of(tar_path):
    with tarfile.open(tar_path) as tar:
        config = json.load(tar.extractfile("manifest.json"))[0]["Config"]
        return json.load(tar.extractfile(config))["config"]["Entrypoint"]


class Bench(test_pod_agents.Bench):
    """A daemon in a container."""

    def __init__(self, image, scratch, without):
        super().__init__("reprieve", scratch)
        self.tar, self.without = image, without
        self.manifest = Manifest(DAEMONSET, without)
        self.containerd = Containerd(scratch)
        self.state, self.policies = os.path.join(scratch, "state"), os.path.join(scratch, "policy")
        self.bpf, self.root = os.path.join(scratch, "bpf"), os.path.join(scratch, "root")
        for path in (self.state, self.policies, self.bpf, self.root):
            os.mkdir(path)
        subprocess.run(["mount", "-t", "bpf", "none", self.bpf], check=True)
        self.name = self.containerd.load(image)
        self.containerd.unpack(self.name, self.root)
        self.events_path = os.path.join(self.state, "events.jsonl")
        self.number, self.id = 0, None

    # The kubelet's: a directory for each version, and a link that is renamed onto the former one.
    def put_policy(self, text):
        self.number += 1
        version, link = "..version-%d" % self.number, os.path.join(self.policies, "..data")
        os.mkdir(os.path.join(self.policies, version))
        with open(os.path.join(self.policies, version, "policy.yaml"), "w", encoding="utf-8") as file:
            file.write(text)
        os.symlink(version, link + "_tmp")
        os.rename(link + "_tmp", link)
        if not os.path.lexists(os.path.join(self.policies, "policy.yaml")):
            os.symlink("..data/policy.yaml", os.path.join(self.policies, "policy.yaml"))

    def source(self, volume):
        if "configMap" in volume:
            return self.policies
        path = volume["hostPath"]["path"]
        return {"/var/lib/reprieve": self.state, "/sys/fs/bpf": self.bpf}.get(path, path)

    def mount(self, mount, volume):
        if "emptyDir" in volume:
            return {"destination": mount["mountPath"], "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
        access = "ro" if mount.get("readOnly") else "rw"
        return {"destination": mount["mountPath"], "type": "bind", "source": self.source(volume), "options": ["rbind", access]}

    def arguments(self):
        token = os.path.join(self.state, "token")
        with open(token, "w", encoding="utf-8") as file:
            file.write("secret\n")
        args = [arg for arg in self.manifest.container["args"] if not arg.startswith("--metrics")]
        return entrypoint_of(self.tar) + args + [
            "--metrics=127.0.0.1:%d" % self.metrics, "--api=http://127.0.0.1:%d" % self.api.server.port,
            "--api-token=/var/lib/reprieve/token", "--events=/var/lib/reprieve/events.jsonl", "--quiet"]

    def specification(self):
        spec = self.containerd.specification(self.name, self.manifest.capabilities)
        spec["root"] = {"path": self.root, "readonly": True}
        spec["process"]["args"] = self.arguments()
        spec["process"]["env"] += ["NODE_NAME=" + test_pods.NODE]
        spec["process"]["rlimits"] = []
        # drop: ALL, and what is added.
        for kind in spec["process"]["capabilities"]:
            spec["process"]["capabilities"][kind] = list(self.manifest.capabilities)
        expect(spec["process"]["noNewPrivileges"], "containerd lets privileges grow")
        # The stand-in of the API is at this machine's loopback address: so no network namespace.
        spec["linux"]["namespaces"] = [{"type": kind} for kind in ("ipc", "uts", "mount", "cgroup")]
        if not self.manifest.pod.get("hostPID"):
            spec["linux"]["namespaces"].append({"type": "pid"})
        spec["linux"]["cgroupsPath"] = "/reprieve-test-%d/daemon" % os.getpid()
        spec["linux"]["resources"] = {"devices": spec["linux"]["resources"]["devices"]}
        own = [self.mount(*pair) for pair in self.manifest.mounts]
        places = {mount["destination"] for mount in own}
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] not in places] + own
        # The order of a runtime: what is nearer to the root first.
        spec["mounts"].sort(key=lambda mount: mount["destination"].count("/"))
        return spec

    def start_daemon(self):
        self.metrics = 20000 + os.getpid() % 20000
        if not self.number:
            self.put_policy(POLICY)
        self.id = "reprieve-daemon-%d-%d" % (os.getpid(), time.monotonic_ns())
        bundle = os.path.join(self.scratch, self.id)
        os.mkdir(bundle)
        with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(self.specification(), file)
        self.log = open(os.path.join(bundle, "log"), "w+", encoding="utf-8")
        pid_file = os.path.join(bundle, "pid")
        self.daemon = subprocess.Popen(self.runc + ["run"] + test_containers.NO_PIVOT + ["--bundle", bundle, "--pid-file", pid_file, self.id],
                                       stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(1200):
            if "guarding:" in self.said():
                break
            if self.daemon.poll() is not None:
                raise Failure("the daemon did not start: %s" % self.said()[-600:])
            time.sleep(0.05)
        with open(pid_file, encoding="utf-8") as file:
            self.pid = int(file.read())
        self.socket = "/proc/%d/root%s" % (self.pid, SOCKET)

    def said(self):
        with open(self.log.name, encoding="utf-8") as lines:
            return lines.read()

    def inside(self, *words):
        return subprocess.run(self.runc + ["exec", self.id] + list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)

    def status(self):
        done = self.inside("/usr/bin/reprieve", "status", "--json")
        expect(done.returncode == 0, "status: %s" % done.stdout[-300:])
        return json.loads(done.stdout)

    def forget_pods(self):
        for pod in list(self.api.cluster.pods.values()):
            self.api.delete(pod)

    def stop_daemon(self, number=signal.SIGTERM):
        if self.daemon and self.daemon.poll() is None:
            os.kill(self.pid, number)
            self.daemon.wait(30)
        subprocess.run(self.runc + ["delete", "--force", self.id], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)

    def end(self):
        if self.daemon:
            self.stop_daemon()
            self.daemon = None
        super().end()
        subprocess.run([os.path.join(TOP, "build/reprieve"), "release", "--pins", os.path.join(self.bpf, "reprieve")],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["umount", "-l", self.bpf], check=False)
        self.containerd.end(self.root)
        for root in test_containers.hierarchies():
            try:
                os.rmdir("%s/reprieve-test-%d" % (root, os.getpid()))
            except OSError:
                pass


def case_armed(bench):
    """As on the machine itself: every operation that this kernel can guard is proven, and the ring's reader is in time."""
    status = bench.status()
    tiers = {row["op"]: (row["tier"], row["proven"]) for row in status["tiers"]}
    print("     " + "; ".join("%s %s%s" % (op, tier, "" if proven else " (not proven)") for op, (tier, proven) in tiers.items()))
    own = subprocess.run([os.path.join(TOP, "build/reprieve"), "doctor", "--json"], stdout=subprocess.PIPE, check=False)
    doctor = {row["op"]: row["tier"] for row in json.loads(own.stdout)["tiers"]}
    # Block devices are watched where a rule asks for it, as none does here.
    expect({op: tier for op, (tier, _) in tiers.items() if op != "rawwrite"} ==
           {op: tier for op, tier in doctor.items() if op != "rawwrite"}, "outside: %s" % doctor)
    expect(all(tiers[op][1] for op in ("unlink", "rmdir", "rename", "truncate")), "not proven: %s" % tiers)
    # Hierarchies of version 1 give a new cgroup no room for real-time tasks.
    readers = ("fifo", "nice") if glob.glob("/sys/fs/cgroup/cpu*/cpu.rt_runtime_us") else ("fifo",)
    expect(status["ring"]["reader"] in readers, "the reader is %s" % status["ring"]["reader"])
    expect(status["journal"] and not status["journal"].get("failing"), "journal: %s" % status["journal"])


def case_probes(bench):
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        done = bench.inside(*bench.manifest.probe(name))
        expect(done.returncode == 0 and not done.stdout, "%s: %d: %s" % (name, done.returncode, done.stdout[-300:]))
    done = bench.inside(*bench.manifest.probe("readinessProbe"), "--api-age=0")
    time.sleep(1.1)
    done = bench.inside(*bench.manifest.probe("readinessProbe"), "--api-age=0")
    expect(done.returncode == 1 and done.stdout.startswith("API: last heard"), "not failing: %s" % done.stdout[-300:])


def case_nothing_more(bench):
    """The process has these capabilities and no others, and no way to more; its root cannot be written."""
    with open("/proc/%d/status" % bench.pid, encoding="utf-8") as lines:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    expect(bin(int(facts["CapBnd"], 16)).count("1") == len(bench.manifest.capabilities) and facts["CapEff"] == facts["CapBnd"],
           "capabilities: %s" % facts["CapEff"])
    expect(facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", "no_new_privs, seccomp: %s" % facts)
    with open("/proc/%d/mountinfo" % bench.pid, encoding="utf-8") as lines:
        root = next(line for line in lines if line.split()[4] == "/")
    expect("ro" in root.split()[5].split(","), "the root file system: %s" % root)


def wait_for_rules(bench, count, what):
    for _ in range(100):
        if bench.status()["policy"]["rules"] == count:
            return
        time.sleep(0.05)
    raise Failure("%s: %s" % (what, bench.said()[-300:]))


def case_reload(bench):
    """A changed ConfigMap is taken up; one with a mistake is refused, and the former stays."""
    before = bench.status()["policy"]["rules"]
    bench.put_policy(POLICY.replace("rules:\n", KEPT))
    wait_for_rules(bench, before + 1, "the change was not taken up")
    bench.put_policy("version: 1\nrules: [{name: x, op: [nothing]}]\n")
    for _ in range(100):
        if "was not reloaded" in bench.said():
            break
        time.sleep(0.05)
    expect("was not reloaded" in bench.said(), "the mistake was not told")
    expect(bench.status()["policy"]["rules"] == before + 1, "a policy with a mistake is in force")
    bench.put_policy(POLICY)
    wait_for_rules(bench, before, "the former policy was not taken up again")


class Linked(test_containers.Container):
    """With the rm of this machine and the shared libc that it uses, which is what holds of the uprobe tier reach; as a user
    who is not root, with files that nobody else may see."""

    def prepare(self, script):
        super().prepare(script)
        config = os.path.join(self.bundle, "config.json")
        with open(config, encoding="utf-8") as file:
            spec = json.load(file)
        spec["process"]["user"] = {"uid": USER, "gid": USER}
        with open(config, "w", encoding="utf-8") as file:
            json.dump(spec, file)
        for path, _, names in os.walk(self.volume):
            os.chmod(path, 0o700)
            for name in [path] + [os.path.join(path, name) for name in names]:
                os.chown(name, USER, USER)
        root = os.path.join(self.bundle, "rootfs")
        rm = shutil.which("rm")
        os.unlink(os.path.join(root, "bin/rm"))
        shutil.copy(rm, os.path.join(root, "bin/rm"))
        # Static in a virtual machine: there the lsm tier holds it all the same.
        done = subprocess.run(["ldd", rm], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        for path in re.findall(r"(?:=> )?(/\S+) \(0x", done.stdout):
            os.makedirs(root + os.path.dirname(path), exist_ok=True)
            shutil.copy(os.path.realpath(path), root + path)


def held(bench):
    done = bench.inside("/usr/bin/reprieve", "pending", "--json")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def start_held(bench):
    """A container that stands stopped: its pod, the files' directory, and the hold, with what is at stake."""
    bench.put_policy(POLICY.replace("rules:\n", KEPT))
    uid = test_pod_agents.new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    container = Linked(bench, "containerd", "%s/cri-containerd-%s.scope" % (bench.pod_cgroup(uid), test_containers.new_id()), uid)
    where = container.fill("keep")
    # A libc that nobody has used yet is found when it is mapped first, and that a moment later.
    container.start("/bin/rm --version; sleep 1; exec /bin/rm -rf /work/keep")
    holds = []
    for _ in range(200):
        holds = held(bench)
        if holds and (holds[0].get("stake") or {}).get("files"):
            break
        time.sleep(0.05)
    expect(holds, "nothing is held, and %s" % ("it is there" if os.path.exists(where) else "all is gone"))
    expect(len(os.listdir(where)) == test_containers.FILES, "%d files are left" % len(os.listdir(where)))
    return pod, where, holds[0]


def let_go(bench, pod, where, hold):
    done = bench.inside("/usr/bin/reprieve", "approve", str(hold["hold"]))
    expect(done.returncode == 0, "approve: %s" % done.stdout)
    for _ in range(200):
        if not os.path.exists(where):
            break
        time.sleep(0.05)
    expect(not os.path.exists(where), "it does not go on")
    bench.put_policy(POLICY)
    bench.gone(pod)


def case_hold(bench):
    """A container is stopped before anything is gone, with what is at stake, and goes on after an approval."""
    pod, where, hold = start_held(bench)
    stake = hold.get("stake") or {}
    expect(stake.get("files") == test_containers.FILES, "at stake: %s" % stake)
    let_go(bench, pod, where, hold)


def cgroup_of(pid):
    with open("/proc/%d/cgroup" % pid, encoding="utf-8") as lines:
        return next(line.rstrip("\n")[3:] for line in lines if line.startswith("0::"))


def case_freeze(bench):
    """With the component for it what is held by its stop alone is frozen, and a SIGCONT of the agent's own changes nothing."""
    if {row["op"]: row["tier"] for row in bench.status()["tiers"]}["unlink"] != "uprobe":
        raise test_containers.Skip("files are held by the hook itself")
    try:
        os.readlink("/proc/1/ns/cgroup")
    except OSError as error:
        raise test_containers.Skip("this machine lets nobody into its init's cgroup namespace: %s" % error) from None
    whole = bench.manifest
    bench.stop_daemon()
    bench.manifest = Manifest(DAEMONSET, bench.without, ["freeze"])
    bench.start_daemon()
    bench.known(bench.agents())
    pod, where, hold = start_held(bench)
    pid = hold["process"]["pid"]
    before = cgroup_of(pid)
    expect("/reprieve-hold-%d-" % pid in before, "it is in %s, and not frozen: %s" % (before, bench.said()[-300:]))
    for _ in range(100):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)
    expect(len(os.listdir(where)) == test_containers.FILES, "%d files are left" % len(os.listdir(where)))
    let_go(bench, pod, where, hold)
    expect(not os.path.exists(cgroup_root() + before), "%s is left" % before)
    bench.stop_daemon()
    bench.manifest = whole
    bench.start_daemon()
    bench.known(bench.agents())


def case_metrics(bench):
    done = subprocess.run(["curl", "-sS", "http://127.0.0.1:%d/metrics" % bench.metrics], stdout=subprocess.PIPE, text=True,
                          check=False)
    expect("\nreprieve_uptime_milliseconds " in done.stdout, "no metrics: %s" % done.stdout[-200:])


def case_upgrade(bench):
    """The daemon is killed: the pod's next container is guarded meanwhile, and the next daemon takes over."""
    uid = test_pod_agents.new_uid()
    pod = bench.api.create(uid)
    bench.known(bench.agents())
    container = bench.container(uid)
    container.start("exec sleep 600")
    bench.stop_daemon(signal.SIGKILL)
    where = container.fill("kill")
    deletion = subprocess.Popen(bench.runc + ["exec", container.id, "rm", "-rf", "/work/kill"], stdin=subprocess.DEVNULL)
    time.sleep(1)
    bench.start_daemon()
    tiers = {row["op"]: row["tier"] for row in bench.status()["tiers"]}
    # What needs a look by a daemon stands stopped until there is one.
    deletion.wait(20)
    left = len(os.listdir(where)) if os.path.exists(where) else 0
    expect(left >= test_containers.FILES - (tiers["unlink"] != "lsm"), "%d files are left, without a daemon" % left)
    bench.known(bench.agents())
    expect(container.execute("touch /work/a && rm /work/a") == 0, "runc exec failed")
    expect(bench.operations(container.id, 1), "the next daemon does not see the pod")
    container.stop()
    bench.gone(pod)


# What shows that a capability is needed: each of these fails without some. On the lsm tier nothing of CHECKPOINT_RESTORE,
# which reaches libraries of containers, is seen in them.
TELLING = (case_armed, case_hold)


def lost_without(bench, capability):
    """What goes wrong without it, or None."""
    bench.stop_daemon()
    bench.manifest = Manifest(DAEMONSET, [capability])
    try:
        bench.start_daemon()
        bench.known(bench.agents())
        for case in TELLING:
            case(bench)
    except Failure as reason:
        return str(reason)
    finally:
        for container in bench.containers:
            container.stop()
    return None


def case_each_capability(bench):
    """None is there for nothing."""
    whole, tier, idle = bench.manifest, {row["op"]: row["tier"] for row in bench.status()["tiers"]}["unlink"], []
    for capability in whole.security["capabilities"]["add"]:
        lost = lost_without(bench, capability)
        print("     without %s: %s" % (capability, " ".join((lost or "nothing is lost").split())[-160:]), flush=True)
        if not lost and not (tier == "lsm" and capability == "CHECKPOINT_RESTORE"):
            idle.append(capability)
        subprocess.run([os.path.join(TOP, "build/reprieve"), "release", "--pins", os.path.join(bench.bpf, "reprieve")],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        bench.forget_pods()
    bench.stop_daemon()
    bench.manifest = whole
    bench.start_daemon()
    expect(not idle, "not needed: %s" % idle)


def cases():
    return [("armed", case_armed), ("probes", case_probes), ("nothing-more", case_nothing_more),
            ("first-instruction", lambda bench: test_pod_agents.case_first_instruction(bench, "systemd")),
            ("killed", test_pod_agents.case_killed), ("told-late", test_pod_agents.case_told_late),
            ("unlabelled", test_pod_agents.case_unlabelled), ("reload", case_reload), ("hold", case_hold),
            ("freeze", case_freeze), ("metrics", case_metrics), ("upgrade", case_upgrade)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=os.path.join(TOP, "build/reprieve-image.tar"))
    parser.add_argument("--without", action="append", default=[], metavar="CAPABILITY")
    parser.add_argument("--each-capability", action="store_true")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    chosen = [("each-capability", case_each_capability)] if options.each_capability else [row for row in cases() if not options.names or any(name in row[0] for name in options.names)]
    if options.list:
        print("\n".join(row[0] for row in chosen))
        return 0
    missing = [tool for tool in ("runc", "busybox", "containerd", "ctr", "curl") if not shutil.which(tool)]
    if os.geteuid() != 0 or missing or not cgroup_root():
        print("skip image: needs root, cgroup2, and of programs %s\n0 passed, 0 failed, %d skipped" % (
            " ".join(missing) or "nothing more", len(chosen)))
        return 0
    scratch = tempfile.mkdtemp(prefix="reprieve-image.", dir="/tmp")
    bench, counts = None, {"passed": 0, "failed": 1, "skipped": 0}
    try:
        bench = Bench(os.path.abspath(options.image), scratch, options.without)
        counts = test_containers.run_all(bench, chosen)
    except Failure as reason:
        print("FAIL start: %s" % reason)
    finally:
        if bench:
            bench.end()
        shutil.rmtree(scratch, ignore_errors=True)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    sys.exit(main())
