# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the manifest says of the DaemonSet's container, in the words of containerd, docker and podman."""

import json
import os
import re
import subprocess
import tempfile

import yaml

KUBERNETES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "kubernetes")
# What `ctr run` gives a container unasked, and the manifest's drop: ALL takes away.
DEFAULT_CAPABILITIES = ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
                        "SYS_CHROOT KILL AUDIT_WRITE").split()
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)([KMG]i)?", quantity).groups()
    return int(number) * UNITS.get(unit, 1)


def place_of(document, path):
    """Where a JSON patch's path leads: what holds the last step, and that step."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.strip("/").split("/")]
    for step in steps[:-1]:
        document = document[int(step) if isinstance(document, list) else step]
    return document, steps[-1]


def apply(document, operation):
    """One operation of RFC 6902."""
    owner, step = place_of(document, operation["path"])
    if operation["op"] == "test":
        assert owner[step] == operation["value"], operation
    elif operation["op"] == "remove":
        del owner[int(step) if isinstance(owner, list) else step]
    elif isinstance(owner, list):
        owner.insert(len(owner) if step == "-" else int(step), operation["value"])
    else:
        owner[step] = operation["value"]


def patched(daemonset, component):
    with open(os.path.join(KUBERNETES, "components", component, "kustomization.yaml"), encoding="utf-8") as file:
        for patch in yaml.safe_load(file)["patches"]:
            for operation in yaml.safe_load(patch["patch"]):
                apply(daemonset, operation)


class Manifest:
    """The DaemonSet with components of it, and without capabilities of it. What is not understood here is an error."""

    def __init__(self, components=(), without=()):
        with open(os.path.join(KUBERNETES, "base/daemonset.yaml"), encoding="utf-8") as file:
            daemonset = next(item for item in yaml.safe_load_all(file) if item["kind"] == "DaemonSet")
        for component in components:
            patched(daemonset, component)
        self.pod = daemonset["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.image = self.container["image"]
        self.security = dict(self.container["securityContext"])
        capabilities = self.security.pop("capabilities")
        assert capabilities["drop"] == ["ALL"], capabilities
        self.capabilities = [name for name in capabilities["add"] if name not in without]
        self.seccomp = self.security.pop("seccompProfile")["type"]
        assert self.seccomp in ("RuntimeDefault", "Unconfined"), self.seccomp
        assert self.security == {"privileged": False, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                 "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False,
                                 "appArmorProfile": {"type": "Unconfined"}}, self.security
        assert self.pod["hostPID"] and not {"hostNetwork", "hostIPC", "hostUsers"} & set(self.pod), self.pod
        self.memory = bytes_of(self.container["resources"]["limits"]["memory"])

    def probe(self, name):
        return self.container[name]["exec"]["command"]

    def arguments(self, address):
        return [word.replace("$(POD_IP)", address) for word in self.container["args"]]

    def environment(self, node, address):
        """What the kubelet makes of fieldRef."""
        told = {"spec.nodeName": node, "status.podIP": address}
        return {row["name"]: told[row["valueFrom"]["fieldRef"]["fieldPath"]] for row in self.container["env"]}

    def mounts(self, config_maps):
        """(target, source on the node or None for memory, size of that, is it read-only?)"""
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume, read_only = volumes[mount["name"]], bool(mount.get("readOnly"))
            if "configMap" in volume:
                yield mount["mountPath"], config_maps[volume["configMap"]["name"]], 0, read_only
            elif "hostPath" in volume:
                path = volume["hostPath"]
                if path["type"] == "DirectoryOrCreate":
                    os.makedirs(path["path"], mode=0o755, exist_ok=True)
                yield mount["mountPath"], path["path"], 0, read_only
            else:
                assert volume["emptyDir"]["medium"] == "Memory", volume
                yield mount["mountPath"], None, bytes_of(volume["emptyDir"]["sizeLimit"]), read_only


def output(*words, check=True, timeout=None):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          text=True, timeout=timeout)
    if check and done.returncode:
        raise OSError("%s: %s" % (" ".join(words[:4]), done.stdout[-400:]))
    return done


class Docker:
    """docker and podman take the same words."""

    def __init__(self, program):
        self.program, self.name = program, None

    def load(self, tar):
        return output(self.program, "load", "--input", tar).stdout

    def run(self, manifest, name, slice_name, arguments, environment, mounts):
        self.name = name
        words = [self.program, "run", "--detach", "--name", name, "--network", "host", "--pid", "host", "--cgroupns", "private",
                 "--cgroup-parent", slice_name, "--read-only", "--user", "0:0", "--memory", str(manifest.memory), "--cap-drop",
                 "ALL", "--security-opt", "no-new-privileges", "--security-opt", "apparmor=unconfined"]
        if manifest.seccomp == "Unconfined":
            words += ["--security-opt", "seccomp=unconfined"]
        for capability in manifest.capabilities:
            words += ["--cap-add", capability]
        for target, source, size, read_only in mounts:
            if source:
                words += ["--volume", "%s:%s:%s" % (source, target, "ro" if read_only else "rw")]
            else:
                words += ["--tmpfs", "%s:size=%d,mode=1777" % (target, size)]
        for pair in environment.items():
            words += ["--env", "%s=%s" % pair]
        output(*words, manifest.image, *arguments)

    def pid(self):
        return int(output(self.program, "inspect", "--format", "{{.State.Pid}}", self.name).stdout)

    def inside(self, *words):
        return output(self.program, "exec", self.name, *words, check=False)

    def said(self):
        return output(self.program, "logs", self.name, check=False).stdout

    def stop(self):
        """As the kubelet does: SIGTERM, and SIGKILL after the grace period."""
        output(self.program, "stop", "--time", "15", self.name, check=False)
        output(self.program, "rm", "--force", self.name, check=False)


class Containerd:
    """containerd by ctr, in the kubelet's own namespace."""

    def __init__(self):
        self.name, self.log = None, None

    @staticmethod
    def ctr(*words, check=True):
        return output("ctr", "--namespace", "k8s.io", *words, check=check)

    def load(self, tar):
        return self.ctr("images", "import", tar).stdout

    def entrypoint_of(self, image):
        """ctr takes arguments for the whole command, where the kubelet puts them behind what the image says."""
        digest = next(row.split()[2] for row in self.ctr("images", "ls").stdout.splitlines() if row.startswith(image + " "))
        manifest = json.loads(self.ctr("content", "get", digest).stdout)
        return json.loads(self.ctr("content", "get", manifest["config"]["digest"]).stdout)["config"]["Entrypoint"]

    def run(self, manifest, name, slice_name, arguments, environment, mounts):
        self.name, self.log = name, os.path.join(tempfile.mkdtemp(prefix="reprieve-log."), "log")
        words = ["run", "--detach", "--net-host", "--with-ns", "pid:/proc/1/ns/pid", "--read-only", "--runc-systemd-cgroup",
                 "--cgroup", "%s:cri-containerd:%s" % (slice_name, name), "--memory-limit", str(manifest.memory), "--log-uri",
                 "file://" + self.log]
        if manifest.seccomp == "RuntimeDefault":
            words.append("--seccomp")
        for capability in set(DEFAULT_CAPABILITIES) - set(manifest.capabilities):
            words += ["--cap-drop", "CAP_" + capability]
        for capability in manifest.capabilities:
            words += ["--cap-add", "CAP_" + capability]
        for target, source, size, read_only in mounts:
            words += ["--mount", "type=bind,src=%s,dst=%s,options=rbind:%s" % (source, target, "ro" if read_only else "rw")
                      if source else "type=tmpfs,src=tmpfs,dst=%s,options=mode=1777:size=%d" % (target, size)]
        for pair in environment.items():
            words += ["--env", "%s=%s" % pair]
        self.ctr(*words, manifest.image, name, *self.entrypoint_of(manifest.image), *arguments)

    def pid(self):
        rows = [line.split() for line in self.ctr("tasks", "ls").stdout.splitlines()]
        return int(next(row[1] for row in rows if row[0] == self.name))

    def inside(self, *words):
        # The exec's id is its caller's to choose.
        return self.ctr("tasks", "exec", "--exec-id", "probe-" + os.urandom(4).hex(), self.name, *words, check=False)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as lines:
            return lines.read()

    def stop(self):
        self.ctr("tasks", "kill", "--signal", "SIGTERM", self.name, check=False)
        for _ in range(150):
            if not any(line.startswith(self.name) and "RUNNING" in line for line in self.ctr("tasks", "ls").stdout.splitlines()):
                break
            subprocess.run(["sleep", "0.1"], check=False)
        self.ctr("tasks", "delete", "--force", self.name, check=False)
        self.ctr("containers", "delete", self.name, check=False)


def image_names(engine):
    """Of all images that the engine has."""
    if isinstance(engine, Containerd):
        return engine.ctr("images", "ls", "--quiet").stdout.split()
    rows = output(engine.program, "images", "--format", "{{json .}}").stdout.splitlines()
    return ["%s:%s" % (row.get("Repository") or row.get("repository"), row.get("Tag") or row.get("tag"))
            for row in map(json.loads, rows)]
