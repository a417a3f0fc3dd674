#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The manifests, the client and Hold objects against a real kube-apiserver, with TLS, RBAC and tokens.

    test_apiserver.py [--reprieve PATH] [--list] [--keep] [NAME...]

The control plane is that of tools/kube, on loopback and private to this run. The manifests of tools/kubernetes are
applied by kubectl; the daemon runs here, natively, with the token of the service account that they make. Agents are
containers of runc at the kubelet's paths, with the uids of pods that are objects of the API. Needs root, runc, openssl
and cgroup2.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "live")]
import cluster  # noqa: E402 (from this file's own directory)
import ring  # noqa: E402
import test_containers  # noqa: E402
from cluster import Refused  # noqa: E402
from ring import Failure, expect  # noqa: E402
from test_containers import cgroup_root, kubepods, new_id  # noqa: E402

MANIFESTS = os.path.join(ROOT, "tools", "kubernetes")
PLUGIN = os.path.join(ROOT, "tools", "kubernetes", "kubectl-reprieve")
WATCHER = os.path.join(ring.BUILD, "tests", "live", "watch_pods")
NODE = "node-1"
GROUP = "/apis/reprieve.dev/v1alpha1"
DAEMON = "system:serviceaccount:reprieve:reprieve"
AT_ONCE = 1.0  # seconds in which a decision is acted on
FILES = 5
CLIENT_POLICY = """version: 1
agents:
  - builtin: false
  - {name: labelled, pod: {namespace: ["agents-*"], labels: {ai-agent: "true"}}}
"""
POLICY = """version: 1
default: allow
agents:
  - builtin: false
  - {name: pod-agent, pod: {namespace: ["agents-*"], labels: {ai-agent: "true"}}}
rules:
  - {name: ask, op: [delete], path: ["/work/ask/**"], action: hold, timeout: 120s, on_timeout: deny, message: "Ask."}
  - {name: seen, op: [delete], path: ["/work/**"], action: alert}
"""


def wait_for(what, get, seconds=20.0):
    """The first true value of get()."""
    deadline = time.monotonic() + seconds
    while True:
        found = get()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failure("%s: not within %g s" % (what, seconds))
        time.sleep(0.02)


def refused(code, call, *words):
    """The API's own words."""
    try:
        call(*words)
    except Refused as reason:
        expect(reason.code == code, "%s, and not %d" % (reason, code))
        return reason.status["message"]
    raise Failure("%s was not refused" % (words,))


# ---- the cluster of all cases


class Bench:
    """The control plane with the manifests applied, a namespace of agents and some people."""

    def __init__(self, options, scratch, control):
        self.reprieve, self.scratch, self.cluster, self.admin = options.reprieve, scratch, control, control.admin
        self.count = 0

    def prepare(self):
        for name in ("admin", "dana", "mallory"):
            person = self.admin if name == "admin" else self.cluster.person(name)
            setattr(self, name, person)
            setattr(self, name + "_config", self.cluster.kubeconfig(name, name))
        text = self.render()
        self.kinds = re.findall(r"^    plural: (\w+)$", text, re.MULTILINE)
        self.apply(text)
        for name in ("agents-a", "agents-b"):
            self.cluster.namespace(name)
            self.cluster.account(name, "robot")
        self.bind("agents-a", "dana", {"kind": "User", "name": "dana"})
        wait_for("the kinds' being served", self.served)
        self.daemon_client = self.cluster.account_client("reprieve", "reprieve")

    def render(self):
        """The base as an operator of an older cluster builds it: this server knows no appArmorProfile."""
        where = os.path.join(self.scratch, "kustomize")
        os.mkdir(where)
        with open(os.path.join(where, "kustomization.yaml"), "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                       "resources": [os.path.relpath(MANIFESTS + "/base", where)],
                       "components": [os.path.relpath(MANIFESTS + "/components/before-1.30", where)]}, file)
        fetched = cluster.run(os.path.join(HERE, "fetch")).decode().strip()
        return cluster.run(os.path.join(fetched, "root/usr/bin/kustomize"), "build", where).decode()

    def apply(self, text):
        done = self.cluster.kubectl(self.admin_config, "apply", "-f", "-", stdin=text)
        if done.returncode:
            raise RuntimeError("kubectl apply: %s" % done.stderr)

    def served(self):
        try:
            return [self.admin.get("%s/%s" % (GROUP, kind)) for kind in self.kinds]
        except Refused:
            return None

    def bind(self, space, name, subject):
        """Lets somebody approve in one namespace, as the manifests propose it."""
        self.admin.create("/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings" % space, {
            "metadata": {"name": name}, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reprieve-approver"}})

    def pod(self, space="agents-a", labelled=True, node=NODE, name=None, account="robot", labels=None):
        """As a scheduler binds it; no kubelet starts it."""
        self.count += 1
        return self.admin.create("/api/v1/namespaces/%s/pods" % space, {
            "metadata": {"name": name or "pod-%d" % self.count,
                         "labels": labels or {"ai-agent": "true" if labelled else "false", "app": "it"}},
            "spec": {"nodeName": node, "serviceAccountName": account, "automountServiceAccountToken": False,
                     "containers": [{"name": "main", "image": "none.invalid/none", "imagePullPolicy": "Never"}]}})

    @staticmethod
    def path(pod):
        return "/api/v1/namespaces/%s/pods/%s" % (pod["metadata"]["namespace"], pod["metadata"]["name"])

    def remove(self, pod):
        self.admin.delete(self.path(pod))

    def tidy(self):
        for space in ("agents-a", "agents-b"):
            for kind in ("/api/v1/namespaces/%s/pods", GROUP + "/namespaces/%s/holds",
                         GROUP + "/namespaces/%s/reprievepolicies"):
                for one in self.admin.get(kind % space)["items"]:
                    self.admin.delete(kind % space + "/" + one["metadata"]["name"])

    def policy_file(self, text):
        path = os.path.join(self.scratch, "policy-%s.yaml" % uuid.uuid4().hex[:8])
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def token_file(self, token):
        path = os.path.join(self.scratch, "token-%s" % uuid.uuid4().hex[:8])
        write_token(path, token)
        return path

    @contextlib.contextmanager
    def watcher(self, token_path, url=None, ca=None):
        one = Watcher([WATCHER, url or self.cluster.url, token_path, NODE, self.policy_file(CLIENT_POLICY),
                       ca or self.cluster.ca])
        try:
            yield one
        finally:
            one.end()


def write_token(path, token):
    """As the kubelet does: another file under the name."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(token + "\n")
    os.rename(path + ".new", path)


class Watcher:
    """The client of the API by itself."""

    def __init__(self, words):
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request=b"dump\n"):
        self.process.stdin.write(request)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        expect(line, "the client ended")
        return json.loads(line)

    def until(self, what, good, seconds=20.0):
        return wait_for("the client's %s" % what, lambda: (lambda told: told if good(told) else None)(self.ask()),
                        seconds)

    def fails(self, word):
        told = self.until("telling of %r" % word, lambda told: word in (told.get("error") or ""))
        expect(not told["answering"], "it says that the server answers")
        return told

    def knows(self, pods):
        wanted = {pod["metadata"]["uid"] for pod in pods}
        return self.until("knowing of %d pods" % len(wanted),
                          lambda told: told["synced"] and set(told["pods"]) == wanted)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- the connection


def case_tls(bench):
    token = bench.token_file(bench.cluster.token("reprieve", "reprieve"))
    pod = bench.pod()
    with bench.watcher(token) as watcher:
        watcher.knows([pod])
    bench.remove(pod)


def case_wrong_ca(bench):
    """A server that another CA vouches for gets not even the token."""
    other = cluster.Certificates(bench.scratch, "other-ca")
    before = len(bench.cluster.requests(DAEMON))
    with bench.watcher(bench.token_file(bench.cluster.token("reprieve", "reprieve")), ca=other.ca) as watcher:
        told = watcher.fails("certificate")
    expect(not told["synced"] and told["count"] == 0, "it took what the server said")
    expect(len(bench.cluster.requests(DAEMON)) == before, "it made a request")


def case_wrong_name(bench):
    """The certificate is for 127.0.0.1."""
    token = bench.token_file(bench.cluster.token("reprieve", "reprieve"))
    with bench.watcher(token, url=bench.cluster.url.replace("127.0.0.1", "localhost")) as watcher:
        told = watcher.fails("localhost")
    expect(not told["synced"] and told["count"] == 0, "it took what the server said")


def case_token_wrong(bench):
    """Refused, told of, and well once a good one is there: it is read anew for each request."""
    path = bench.token_file("no.such.token")
    with bench.watcher(path) as watcher:
        watcher.fails("Unauthorized")
        write_token(path, bench.cluster.token("reprieve", "reprieve"))
        watcher.knows([])


def case_token_over(bench):
    """What is known stays known while the token is over."""
    path, pod = bench.token_file(bench.cluster.short_token("reprieve", "reprieve", 8)), bench.pod()
    with bench.watcher(path) as watcher:
        watcher.knows([pod])
        time.sleep(9)
        wait_for("the token's end", lambda: "Unauthorized" in (watcher.ask(b"relist\n").get("error") or ""), 40)
        expect(pod["metadata"]["uid"] in watcher.ask()["pods"], "the pod was forgotten")
        write_token(path, bench.cluster.token("reprieve", "reprieve"))
        other = bench.pod()
        watcher.knows([pod, other])
    bench.remove(pod)
    bench.remove(other)


def case_token_of_gone_pod(bench):
    """A token that the kubelet asked for its pod is void with it."""
    bench.cluster.account("agents-b", "reader")
    own = bench.pod("agents-b", labelled=False, node="node-2", account="reader")
    bench.admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "agents-b"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reprieve"}})
    path = bench.token_file(bench.cluster.token("agents-b", "reader", own))
    with bench.watcher(path) as watcher:
        watcher.knows([])
        bench.remove(own)
        wait_for("the token's end", lambda: "Unauthorized" in (watcher.ask(b"relist\n").get("error") or ""), 40)
        write_token(path, bench.cluster.token("agents-b", "reader"))
        watcher.until("being well again", lambda told: told["answering"] and not told.get("error"))


# ---- pods


def case_pods(bench):
    """Of this node alone; labelled, unlabelled, deleted, made anew under the name, with containers told of late."""
    with bench.watcher(bench.token_file(bench.cluster.token("reprieve", "reprieve"))) as watcher:
        one, other = bench.pod(), bench.pod(node="node-2")
        told = watcher.knows([one])
        uid = one["metadata"]["uid"]
        expect(told["pods"][uid]["agent"] == "labelled", "it is no agent: %s" % told["pods"][uid])
        bench.admin.patch(bench.path(one), {"metadata": {"labels": {"ai-agent": None}}})
        watcher.until("seeing that the label is gone", lambda told: not told["pods"][uid].get("agent"))
        bench.admin.patch(bench.path(one), {"metadata": {"labels": {"ai-agent": "true"}}})
        watcher.until("seeing the label", lambda told: told["pods"][uid].get("agent") == "labelled")
        container = new_id()
        bench.admin.patch(bench.path(one) + "/status", {"status": {"containerStatuses": [
            {"name": "main", "image": "i", "imageID": "i", "ready": True, "restartCount": 0,
             "containerID": "containerd://" + container}]}})
        watcher.until("knowing the container", lambda told: told["pods"][uid]["containers"] == {container: "main"})
        bench.remove(one)
        watcher.knows([])
        again = bench.pod(name=one["metadata"]["name"], labelled=False)
        told = watcher.knows([again])
        expect(not told["pods"][again["metadata"]["uid"]].get("agent"), "it has the label of its predecessor")
        bench.remove(again)
        bench.remove(other)


def case_server_anew(bench):
    """
    The server goes twice while the client sleeps: what happened in between is in no cache of the last one, which says
    410 to the version that the client's watch would go on from. Nothing is missed.
    """
    with bench.watcher(bench.token_file(bench.cluster.token("reprieve", "reprieve"))) as watcher:
        gone, kept = bench.pod(), bench.pod()
        watcher.knows([gone, kept])
        watcher.process.send_signal(signal.SIGSTOP)
        bench.cluster.restart_api()
        bench.remove(gone)
        new = [bench.pod() for _ in range(5)]
        bench.cluster.restart_api()
        watcher.process.send_signal(signal.SIGCONT)
        told = watcher.knows([kept] + new)
        expect(told["expired"] >= 1, "no version was gone: %s" % told)
        for pod in [kept] + new:
            bench.remove(pod)
        watcher.knows([])


# ---- RBAC

# What every service account may: of system:discovery, system:basic-user and system:public-info-viewer.
ANYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews"}
SHIPPED = {("", "pods"): {"get", "list", "watch"},
           ("reprieve.dev", "holds"): {"get", "list", "watch", "create", "delete"},
           ("reprieve.dev", "holds/status"): {"patch", "update"},
           ("reprieve.dev", "reprievepolicies"): {"get", "list", "watch"},
           ("reprieve.dev", "reprievepolicies/status"): {"patch"}}


def rules_of(client, space):
    review = client.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": space}})
    expect(not review["status"].get("incomplete"), "the server tells of a part alone")
    found = {}
    for rule in review["status"]["resourceRules"]:
        expect(not rule.get("resourceNames"), "names: %s" % rule)
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                if resource not in ANYBODY:
                    found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def case_rbac_whole(bench):
    """Everything that the daemon's account may, as the server counts it up: what is shipped and nothing more."""
    for space in ("reprieve", "agents-a", "kube-system"):
        found = rules_of(bench.daemon_client, space)
        expect(found == SHIPPED, "in %s it may %s" % (space, found))
    found = rules_of(bench.dana, "agents-a")
    expect(found == {("reprieve.dev", "holds"): {"get", "list", "watch", "patch"}}, "an approver may %s" % found)
    for client, space in ((bench.dana, "agents-b"), (bench.mallory, "agents-a"),
                          (bench.cluster.account_client("agents-a", "robot"), "agents-a")):
        found = rules_of(client, space)
        expect(not found, "somebody without a role may %s" % found)


def case_rbac_tried(bench):
    """The same, tried: what matters most of what it may not."""
    client, pod = bench.daemon_client, bench.pod()
    hold = make_hold(bench)
    here = GROUP + "/namespaces/agents-a/holds/" + hold["metadata"]["name"]
    for call, *words in (
            (client.get, "/api/v1/secrets"), (client.get, "/api/v1/namespaces/reprieve/secrets"),
            (client.get, "/api/v1/namespaces/reprieve/configmaps"), (client.get, "/api/v1/nodes/" + NODE),
            (client.delete, bench.path(pod)), (client.patch, bench.path(pod), {"metadata": {"labels": {"a": "b"}}}),
            (client.create, bench.path(pod) + "/exec?command=true", {}),
            (client.create, "/api/v1/namespaces/agents-a/pods", {}),
            (client.create, "/api/v1/namespaces/agents-a/serviceaccounts/robot/token", {}),
            (client.patch, here, {"spec": {"decision": "approve"}}),
            (client.create, GROUP + "/namespaces/reprieve/reprievepolicies", {}),
            (client.get, "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
            (client.get, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"), (client.get, "/metrics")):
        refused(403, call, *words)
    listed = client.get("/api/v1/pods?fieldSelector=spec.nodeName=" + NODE)
    expect([one["metadata"]["name"] for one in listed["items"]] == [pod["metadata"]["name"]], "it cannot list its pods")
    bench.remove(pod)
    client.delete(here)


# ---- the kinds


def make_hold(bench, space="agents-a", client=None, **spec):
    body = {"apiVersion": "reprieve.dev/v1alpha1", "kind": "Hold", "metadata": {"generateName": "made-"}, "spec": spec}
    return (client or bench.daemon_client).create(GROUP + "/namespaces/%s/holds" % space, body)


def case_crd_holds(bench):
    """What makes no sense is refused by the API, which names the field."""
    hold = make_hold(bench)
    here = GROUP + "/namespaces/agents-a/holds/" + hold["metadata"]["name"]
    for spec, field in (({"decision": "maybe"}, "spec.decision"), ({"decision": 7}, "spec.decision"),
                        ({"decision": "approve", "scope": "always"}, "spec.scope"),
                        ({"decision": "approve", "scope": "time", "for": "soon"}, "spec.for"),
                        ({"decision": "deny", "kill": "yes"}, "spec.kill"),
                        ({"decision": "approve", "reason": "x" * 5000}, "spec.reason"),
                        ({"decision": "approve", "decidedBy": "x" * 600}, "spec.decidedBy")):
        told = refused(422, bench.dana.patch, here, {"spec": spec})
        expect(field in told, "the field %s is not in %r" % (field, told))
    told = refused(422, bench.daemon_client.patch, here + "/status", {"status": {"phase": "Lost"}})
    expect("status.phase" in told, "the field is not in %r" % told)
    good = bench.dana.patch(here, {"spec": {"decision": "approve", "scope": "time", "for": "1h30m",
                                            "decidedBy": "dana"}})
    expect(good["spec"]["for"] == "1h30m", "it was not taken")
    # A person's patch of the object leaves its status as it is, and the daemon's patch of its status the spec.
    both = bench.dana.patch(here, {"status": {"phase": "Ended"}})
    expect("status" not in both, "a person wrote the status: %s" % both.get("status"))
    both = bench.daemon_client.patch(here + "/status", {"status": {"phase": "Pending"}, "spec": {"decision": "deny"}})
    expect(both["status"]["phase"] == "Pending" and both["spec"]["decision"] == "approve", "both: %s" % both)
    bench.daemon_client.delete(here)


def case_columns(bench):
    """kubectl get holds -A, for people."""
    hold = make_hold(bench)
    here = GROUP + "/namespaces/agents-a/holds/" + hold["metadata"]["name"]
    bench.daemon_client.patch(here + "/status", {"status": {
        "phase": "Pending", "node": NODE, "pod": "assistant-1", "op": "unlink", "path": "/data/a", "rule": "volumes",
        "agent": "assistant", "stake": {"files": 3, "text": "3 files, 9 bytes"}}})
    done = bench.cluster.kubectl(bench.admin_config, "get", "holds", "-A")
    lines = done.stdout.splitlines()
    expect(lines and lines[0].split() == ["NAMESPACE", "NAME", "NODE", "POD", "OP", "PATH", "STAKE", "PHASE", "AGE"],
           "heading: %s%s" % (done.stdout, done.stderr))
    line = [line for line in lines if hold["metadata"]["name"] in line]
    expect(line and all(word in line[0] for word in ("agents-a", NODE, "assistant-1", "unlink", "/data/a",
                                                     "3 files, 9 bytes", "Pending")), "row: %s" % line)
    done = bench.cluster.kubectl(bench.mallory_config, "get", "holds", "-A")
    expect(done.returncode != 0 and "forbidden" in done.stderr, "mallory sees: %s" % done.stdout)
    bench.daemon_client.delete(here)


def make_policy(name, rules, **spec):
    return {"apiVersion": "reprieve.dev/v1alpha1", "kind": "ReprievePolicy", "metadata": {"name": name},
            "spec": dict({"agents": [{"name": "it", "pod": {"labels": {"team": "it"}}}], "rules": rules}, **spec)}


POLICIES = GROUP + "/namespaces/agents-a/reprievepolicies"
RULE = {"name": "own", "op": ["delete"], "path": ["/inside/**"], "action": "deny", "message": "Not here."}


def case_crd_policies(bench):
    for change, field in (({"action": "forbid"}, "action"), ({"op": "delete"}, "op"), ({"op": ["explode"]}, "op"),
                          ({"path": [7]}, "path"), ({"timeout": "soon"}, "timeout"), ({"rate": "many"}, "rate"),
                          ({"action": None}, "action")):
        told = refused(422, bench.admin.create, POLICIES, make_policy("bad", [dict(RULE, **change)]))
        expect("spec.rules." + field in told or "spec.rules[0]." + field in told, "the field %s is not in %r" %
               (field, told))
    for spec, field in (({"agents": []}, "spec.agents"), ({"rules": "none"}, "spec.rules"),
                        ({"agents": [{"name": "it"}]}, "spec.agents.pod")):
        told = refused(422, bench.admin.create, POLICIES, make_policy("bad", **dict({"rules": [RULE]}, **spec)))
        expect(field in told, "the field %s is not in %r" % (field, told))
    bench.admin.create(POLICIES, make_policy("good", [RULE]))
    bench.admin.delete(POLICIES + "/good")


# ---- holds of real processes


class Pod(test_containers.Container):
    """A container of a pod of the API, in the kubelet's place. The host's programs are in it: rm uses a shared libc."""

    def __init__(self, bench, pod):
        path = kubepods("cgroupfs", "burstable", pod["metadata"]["uid"])
        os.makedirs(cgroup_root() + path, exist_ok=True)
        time.sleep(0.4)
        super().__init__(bench, "containerd", path + "/" + new_id(), pod["metadata"]["uid"])
        self.object = pod
        self.where = self.fill("ask", FILES)

    def annotations(self):
        metadata = self.object["metadata"]
        return dict(super().annotations(), **{"io.kubernetes.cri.sandbox-name": metadata["name"],
                                              "io.kubernetes.cri.sandbox-namespace": metadata["namespace"]})

    def write_state(self, spec):
        for name in ("bin", "lib", "lib64", "usr"):
            spec["mounts"].append({"destination": "/" + name, "type": "none", "source": "/" + name,
                                   "options": ["rbind", "ro"]})
        spec["process"]["args"][0] = "/bin/sh"
        with open(os.path.join(self.bundle, "config.json"), "w", encoding="utf-8") as file:
            json.dump(spec, file)
        super().write_state(spec)

    def begin(self, script="rm -rf /work/ask"):
        self.prepare(script)
        self.process = subprocess.Popen(self.runc + ["run", "--bundle", self.bundle, self.id], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def finish(self, seconds=30):
        try:
            return self.process.returncode, self.process.communicate(timeout=seconds)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            self.process.kill()
            output = self.process.communicate()[0].decode(errors="replace")
            raise Failure("the container goes on; %s" % output) from None

    def left(self):
        return len(os.listdir(self.where)) if os.path.exists(self.where) else 0


class Daemon(test_containers.Bench):
    """The real daemon, with the shipped account's token."""

    def __init__(self, bench):
        scratch = os.path.join(bench.scratch, "daemon-" + uuid.uuid4().hex[:8])
        os.mkdir(scratch)
        super().__init__(bench.reprieve, scratch)
        self.bench = bench
        self.token = os.path.join(scratch, "token")
        write_token(self.token, bench.cluster.token("reprieve", "reprieve"))

    def policy_text(self):
        return POLICY

    def daemon_options(self):
        return ["--api", self.bench.cluster.url, "--api-ca", self.bench.cluster.ca, "--api-token", self.token, "--node",
                NODE, "--api-namespace", "reprieve", "--api-policies"]

    def agent(self, **options):
        known = self.status()["pods"]["agents"]
        pod = self.bench.pod(**options)
        wait_for("the pod's being known", lambda: self.status()["pods"]["agents"] > known)
        return Pod(self, pod)

    def hold(self, pod, phase="Pending"):
        """The object of the container's hold."""
        metadata = pod.object["metadata"]

        def find():
            items = self.bench.admin.get(GROUP + "/namespaces/%s/holds" % metadata["namespace"])["items"]
            return next((one for one in items if one.get("status", {}).get("pod") == metadata["name"] and
                         one["status"].get("phase") == phase), None)
        return wait_for("a Hold %s of %s" % (phase, metadata["name"]), find)


@contextlib.contextmanager
def a_daemon(bench):
    daemon = Daemon(bench)
    try:
        daemon.start_daemon()
        wait_for("the daemon's list", lambda: daemon.status()["pods"]["synced"])
        yield daemon
    finally:
        daemon.end()


def path_of(hold):
    return GROUP + "/namespaces/%s/holds/%s" % (hold["metadata"]["namespace"], hold["metadata"]["name"])


def case_hold(bench):
    """Held; approved by one who may; refused to another, to the agent's own account, to the daemon's, elsewhere."""
    with a_daemon(bench) as daemon:
        pod = daemon.agent()
        pod.begin()
        hold = daemon.hold(pod)
        status = hold["status"]
        expect(status["node"] == NODE and status["op"] == "unlink" and status["rule"] == "ask" and
               status["path"].startswith("/work/ask") and status["container"] == "main", "status: %s" % status)
        expect(hold["metadata"]["namespace"] == "agents-a" and not hold.get("spec", {}).get("decision"), "%s" % hold)
        answer = {"spec": {"decision": "approve", "decidedBy": "dana"}}
        robot = bench.cluster.account_client("agents-a", "robot")
        for client in (bench.mallory, robot, bench.daemon_client):
            told = refused(403, client.patch, path_of(hold), answer)
            expect("cannot patch resource" in told, "told: %s" % told)
        refused(403, bench.dana.patch, path_of(hold) + "/status", {"status": {"phase": "Approved"}})
        time.sleep(1)
        expect(pod.left() == FILES and pod.process.poll() is None, "%d of %d files are left" % (pod.left(), FILES))
        began = time.monotonic()
        bench.dana.patch(path_of(hold), answer)
        wait_for("the files' going", lambda: pod.left() == 0, 10)
        took = time.monotonic() - began
        pod.finish()
        expect(took < AT_ONCE, "it went on after %.2f s" % took)
        status = daemon.hold(pod, "Approved")["status"]
        expect("dana" in status["decidedBy"], "decided by %s" % status["decidedBy"])
        bench.remove(pod.object)


def case_hold_denied(bench):
    with a_daemon(bench) as daemon:
        pod = daemon.agent()
        pod.begin("rm /work/ask/f000")
        bench.dana.patch(path_of(daemon.hold(pod)), {"spec": {"decision": "deny", "decidedBy": "dana"}})
        output = pod.finish()[1]
        expect("not permitted" in output and pod.left() == FILES, "output %r, %d files" % (output, pod.left()))
        daemon.hold(pod, "Denied")
        bench.remove(pod.object)


def case_hold_plugin(bench):
    """The same by kubectl alone: get, pending, approve and deny of the plugin, as a person with a certificate."""
    with a_daemon(bench) as daemon:
        def plugin(config, *words):
            return bench.cluster.kubectl(config, *words, program=PLUGIN)
        first, second = daemon.agent(), daemon.agent()
        first.begin()
        second.begin("rm /work/ask/f000")
        names = [daemon.hold(pod)["metadata"]["name"] for pod in (first, second)]
        listed = plugin(bench.dana_config, "pending", "-n", "agents-a")
        expect(all(name in listed.stdout for name in names), "pending: %s%s" % (listed.stdout, listed.stderr))
        done = plugin(bench.mallory_config, "approve", "-n", "agents-a", names[0])
        told = done.stdout + done.stderr
        expect(done.returncode != 0 and "forbidden" in told.lower(), "mallory: %s" % told)
        expect(first.left() == FILES, "mallory's answer was taken")
        done = plugin(bench.dana_config, "approve", "-n", "agents-a", names[0])
        expect(done.returncode == 0, "approve: %s" % done.stderr)
        done = plugin(bench.dana_config, "deny", "-n", "agents-a", names[1])
        expect(done.returncode == 0, "deny: %s" % done.stderr)
        first.finish()
        output = second.finish()[1]
        expect(first.left() == 0 and second.left() == FILES and "not permitted" in output, "left: %d, %d; %s" %
               (first.left(), second.left(), output))
        for pod in (first, second):
            bench.remove(pod.object)


def make_hold(bench, name, space="agents-a", **status):
    """As a daemon does, without one."""
    path = GROUP + "/namespaces/%s/holds" % space
    bench.admin.create(path, {"apiVersion": "reprieve.dev/v1alpha1", "kind": "Hold", "metadata": {"name": name}})
    bench.admin.patch("%s/%s/status" % (path, name), {"status": dict(
        {"phase": "Pending", "node": NODE, "op": "unlink", "path": "/data/\x1b[31m"}, **status)})


def case_plugin_errors(bench):
    """What fails is told with what to do next, and never for something else."""
    make_hold(bench, "n-1-open")
    make_hold(bench, "n-2-twice")
    make_hold(bench, "n-2-twice", "agents-b")
    make_hold(bench, "n-3-denied", phase="Denied", decidedBy="kubernetes:carol")
    with open(bench.admin_config, encoding="utf-8") as file:
        text = file.read().replace(bench.cluster.url, "https://127.0.0.1:1")
    away = os.path.join(bench.scratch, "away")
    with open(away, "w", encoding="utf-8") as file:
        file.write(text)
    for config, words, said in (
            (away, ("pending",), "the cluster does not answer"), (away, ("approve", "n-1-open"), "the cluster does not answer"),
            (away, ("watch",), "the watch has ended"), (bench.dana_config, ("pending", "-A"), "give -n NAMESPACE"),
            (bench.dana_config, ("approve", "n-1-open"), "give -n NAMESPACE"),
            (bench.mallory_config, ("approve", "agents-a/n-1-open"), "role reprieve-approver"),
            (bench.dana_config, ("deny", "agents-a/n-9-gone"), "no such hold"),
            (bench.admin_config, ("approve", "n-2-twice"), "more than one"),
            (bench.dana_config, ("approve", "agents-a/n-3-denied"), "Denied already, by kubernetes:carol"),
            (bench.dana_config, ("approve", "agents-a/n-1-open"), "has not acted on it")):
        done = bench.cluster.kubectl(config, *words, program=PLUGIN)
        expect(done.returncode == 1 and said in done.stderr and "\x1b" not in done.stderr + done.stdout,
               "%s: %d: %s" % (" ".join(words), done.returncode, done.stderr))
        expect("no such hold" not in done.stderr or said == "no such hold", "%s: %s" % (" ".join(words), done.stderr))
        expect("your name" not in done.stderr or said == "has not acted on it", "%s: %s" % (" ".join(words), done.stderr))


def case_hold_by_agent(bench):
    """An operator's mistake: the agent's account has the approver's role. The daemon does not take its answer."""
    bench.bind("agents-b", "robot", {"kind": "ServiceAccount", "name": "robot", "namespace": "agents-b"})
    robot = bench.cluster.account_client("agents-b", "robot")
    with a_daemon(bench) as daemon:
        pod = daemon.agent(space="agents-b")
        pod.begin()
        hold = daemon.hold(pod)
        robot.patch(path_of(hold), {"spec": {"decision": "approve",
                                             "decidedBy": "system:serviceaccount:agents-b:robot"}})
        wait_for("the refusal", lambda: bench.admin.get(path_of(hold))["status"].get("decisionError"))
        expect(pod.left() == FILES and pod.process.poll() is None, "%d files are left" % pod.left())
        bench.admin.patch(path_of(hold), {"spec": {"decision": "deny", "decidedBy": "admin"}})
        pod.finish()
        bench.remove(pod.object)


def case_unlabelled(bench):
    """From the API to the verdict: with the label held, without it and after the pod's end not even reported."""
    with a_daemon(bench) as daemon:
        pod = daemon.agent()
        bench.admin.patch(bench.path(pod.object), {"metadata": {"labels": {"ai-agent": None}}})
        wait_for("the label's end", lambda: daemon.status()["pods"]["agents"] == 0)
        time.sleep(0.3)
        pod.begin()
        pod.finish()
        expect(pod.left() == 0, "an unlabelled pod's container was held")
        with open(daemon.events_path, encoding="utf-8") as lines:
            expect(pod.id not in lines.read(), "it was reported")
        bench.remove(pod.object)


def condition(bench, name):
    """Status and message of whether the daemon took it, once it says so."""
    def find():
        told = bench.admin.get(POLICIES + "/" + name).get("status", {})
        return next((one for one in told.get("conditions", []) if one["type"] == "Accepted"), None)
    one = wait_for("the status of " + name, find)
    return one["status"], one["message"]


def case_policy_in_force(bench):
    """An object of the API is a rule of the node a moment later; one whose fault only the daemon sees is told of."""
    with a_daemon(bench) as daemon:
        bench.admin.create(POLICIES, make_policy("good", [RULE]))
        expect(condition(bench, "good")[0] == "True", "good: %s" % (condition(bench, "good"),))
        bench.admin.create(POLICIES, make_policy("bad", [dict(RULE, workspace="inside", args=["rm"])]))
        status, message = condition(bench, "bad")
        expect(status == "False" and "args" in message, "bad: %s %s" % (status, message))
        done = bench.cluster.kubectl(bench.admin_config, "get", "reprievepolicies", "-A")
        expect(re.search(r"agents-a +good +1 +1 +True ", done.stdout) and re.search(
            r"agents-a +bad .*False ", done.stdout), "kubectl: %s%s" % (done.stdout, done.stderr))
        pod = daemon.agent(labels={"team": "it"})
        pod.begin("touch /inside/a; rm /inside/a")
        output = pod.finish()[1]
        expect("not permitted" in output, "it went on: %r" % output)
        for name in ("good", "bad"):
            bench.admin.delete(POLICIES + "/" + name)


def case_daemon_asks(bench):
    """All that a daemon asks for in a hold's life, as the server's audit log has it: nothing is refused to it."""
    with a_daemon(bench) as daemon:
        # The cases of RBAC above were refused much; what counts is what is asked for from here on.
        before = len(bench.cluster.requests(DAEMON))
        write_token(daemon.token, bench.cluster.token("reprieve", "reprieve"))
        pod = daemon.agent()
        pod.begin()
        bench.dana.patch(path_of(daemon.hold(pod)), {"spec": {"decision": "approve", "decidedBy": "dana"}})
        pod.finish()
        daemon.hold(pod, "Approved")
        daemon.daemon.send_signal(signal.SIGHUP)
        time.sleep(1)
        asked = bench.cluster.requests(DAEMON)[before:]
        bench.remove(pod.object)
    expect(("create", "holds", "agents-a", 201) in asked, "no Hold was made: %s" % asked)
    bad = [one for one in asked if one[3] not in (200, 201, None)]
    expect(not bad, "refused: %s" % bad)


CASES = [("tls", case_tls), ("wrong-ca", case_wrong_ca), ("wrong-name", case_wrong_name),
         ("token-wrong", case_token_wrong), ("token-over", case_token_over),
         ("token-of-gone-pod", case_token_of_gone_pod), ("pods", case_pods),
         ("server-anew", case_server_anew),
         ("rbac-whole", case_rbac_whole), ("rbac-tried", case_rbac_tried), ("crd-holds", case_crd_holds),
         ("crd-policies", case_crd_policies), ("columns", case_columns), ("hold-approved", case_hold),
         ("hold-denied", case_hold_denied), ("hold-plugin", case_hold_plugin), ("plugin-errors", case_plugin_errors),
         ("hold-by-agent", case_hold_by_agent),
         ("unlabelled", case_unlabelled), ("policy-in-force", case_policy_in_force),
         ("daemon-asks", case_daemon_asks)]


def run_case(bench, name, function):
    """What a case that failed left in the API would be the next one's pods."""
    outcome = ring.run_case(bench, name, function)
    try:
        bench.tidy()
    except (Refused, OSError) as reason:
        print("FAIL %s: afterwards: %s" % (name, reason))
        return "failed"
    return outcome


@contextlib.contextmanager
def open_bench(options, scratch):
    reason = ring.lacking(options)
    if reason or not shutil.which("runc") or not shutil.which("openssl") or not cgroup_root():
        sys.exit(reason or "needs runc, openssl and cgroup2")
    with cluster.Cluster(scratch) as control:
        print(control.versions, flush=True)
        bench = Bench(options, scratch, control)
        bench.prepare()
        yield bench


if __name__ == "__main__":
    sys.exit(ring.main("apiserver", __doc__, CASES, open_bench, why_not=lambda options: None, run=run_case))
