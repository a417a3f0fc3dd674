# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A real control plane for tests: etcd and kube-apiserver of tools/kube on loopback, with TLS and RBAC.

Its certificates are made here by openssl. People come with certificates of its CA, service accounts with tokens. There
is no controller, scheduler or kubelet: pods are objects bound to a node by whoever creates them, and stay as they are.
"""
import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(HERE, "..", "..", "tools", "kube")
ISSUER = "https://kubernetes.default.svc"
READY = 120.0  # seconds on a busy machine; alone it takes some 4

AUDIT = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""
EXTENSIONS = """basicConstraints=critical,CA:FALSE
subjectAltName=IP:127.0.0.1,DNS:kubernetes.default.svc
"""


class Refused(Exception):
    """The API said no; code and status as it said it."""

    def __init__(self, code, status):
        super().__init__("%d %s" % (code, status.get("message")))
        self.code, self.status = code, status


def run(*words, stdin=None):
    done = subprocess.run(words, input=stdin, stdin=None if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(words[:3]), done.stderr.decode(errors="replace")[-400:]))
    return done.stdout


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Certificates:
    """A CA, and what it signs."""

    def __init__(self, scratch, name="ca"):
        self.scratch = scratch
        self.ca, self.ca_key = self.path(scratch, name + ".crt"), self.path(scratch, name + ".key")
        self.key(self.ca_key)
        run("openssl", "req", "-x509", "-new", "-key", self.ca_key, "-subj", "/CN=reprieve test " + name, "-days", "2",
            "-out", self.ca)

    @staticmethod
    def path(scratch, name):
        return os.path.join(scratch, name)

    @staticmethod
    def key(path):
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path)

    def sign(self, name, subject, extensions=""):
        """Files of a certificate and its key."""
        crt, key = self.path(self.scratch, name + ".crt"), self.path(self.scratch, name + ".key")
        request, options = crt + ".csr", crt + ".ext"
        self.key(key)
        with open(options, "w", encoding="utf-8") as file:
            file.write(extensions or "basicConstraints=critical,CA:FALSE\n")
        run("openssl", "req", "-new", "-key", key, "-subj", subject, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial",
            "-days", "2", "-extfile", options, "-out", crt)
        return crt, key


class Client:
    """One user of the API, by certificate or by token."""

    def __init__(self, url, ca, certificate=None, token=None):
        self.url, self.token = url, token
        self.context = ssl.create_default_context(cafile=ca)
        if certificate:
            self.context.load_cert_chain(*certificate)

    def call(self, method, path, body=None, content="application/json"):
        request = urllib.request.Request(self.url + path, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        if body is not None:
            request.add_header("Content-Type", content)
        if self.token:
            request.add_header("Authorization", "Bearer " + self.token)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                status = json.loads(text)
            except ValueError:
                status = {"message": text.decode(errors="replace")}
            raise Refused(error.code, status) from None

    def get(self, path):
        return self.call("GET", path)

    def create(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path):
        return self.call("DELETE", path, {"gracePeriodSeconds": 0})


class Cluster:
    """Started by `with`; admin is a Client that may do everything."""

    def __init__(self, scratch):
        self.scratch, self.processes = scratch, []
        self.bin = os.path.join(run(TOOL, "path").decode().strip(), "bin")
        with open(os.path.join(self.bin, "..", "versions"), encoding="utf-8") as file:
            self.versions = ", ".join(file.read().split("\n")[:-1])
        self.certificates = Certificates(scratch)
        self.ca = self.certificates.ca
        self.audit = os.path.join(scratch, "audit.log")

    def __enter__(self):
        etcd_port, peer_port, self.port = free_ports(3)
        self.etcd = "http://127.0.0.1:%d" % etcd_port
        self.url = "https://127.0.0.1:%d" % self.port
        self.start("etcd", "--data-dir", os.path.join(self.scratch, "etcd"), "--unsafe-no-fsync",
                   "--listen-client-urls", self.etcd, "--advertise-client-urls", self.etcd,
                   "--listen-peer-urls", "http://127.0.0.1:%d" % peer_port,
                   "--initial-advertise-peer-urls", "http://127.0.0.1:%d" % peer_port,
                   "--initial-cluster", "default=http://127.0.0.1:%d" % peer_port)
        self.prepare_api()
        self.start_api()
        self.admin = self.person("admin", "/O=system:masters/CN=admin")
        self.wait()
        return self

    def __exit__(self, *unused):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name, *words):
        log = open(os.path.join(self.scratch, name + ".log"), "ab")
        self.processes.append(subprocess.Popen([os.path.join(self.bin, name)] + list(words), stdin=subprocess.DEVNULL,
                                               stdout=log, stderr=log))

    def prepare_api(self):
        self.certificate = self.certificates.sign("server", "/CN=kube-apiserver", EXTENSIONS)
        self.account_key = os.path.join(self.scratch, "accounts.key")
        Certificates.key(self.account_key)
        self.audit_policy = os.path.join(self.scratch, "audit.yaml")
        with open(self.audit_policy, "w", encoding="utf-8") as file:
            file.write(AUDIT)

    def start_api(self):
        self.start("kube-apiserver", "--etcd-servers", self.etcd, "--bind-address", "127.0.0.1", "--secure-port",
                   str(self.port), "--cert-dir", self.scratch, "--tls-cert-file", self.certificate[0],
                   "--tls-private-key-file", self.certificate[1], "--client-ca-file", self.ca,
                   "--authorization-mode", "RBAC", "--anonymous-auth=false", "--endpoint-reconciler-type", "none",
                   "--service-account-issuer", ISSUER, "--service-account-key-file", self.account_key,
                   "--service-account-signing-key-file", self.account_key, "--api-audiences", ISSUER,
                   "--service-cluster-ip-range", "10.96.0.0/24", "--audit-policy-file", self.audit_policy,
                   "--audit-log-path", self.audit)

    def restart_api(self):
        self.processes.pop().kill()
        self.start_api()
        self.wait()

    def wait(self):
        """Ready, with the roles that it makes by itself."""
        deadline = time.monotonic() + READY
        while True:
            try:
                self.admin.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user")
                self.admin.get("/api/v1/namespaces/default")
                return
            except (Refused, OSError) as reason:
                if any(process.poll() is not None for process in self.processes) or time.monotonic() > deadline:
                    raise RuntimeError("no control plane: %s; see %s" % (reason, self.scratch)) from None
            time.sleep(0.2)

    def person(self, name, subject=None):
        return Client(self.url, self.ca, certificate=self.certificates.sign(name, subject or "/CN=" + name))

    def namespace(self, name):
        """With its default service account, which a controller would make."""
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})
        self.account(name, "default")

    def account(self, space, name):
        self.admin.create("/api/v1/namespaces/%s/serviceaccounts" % space, {"metadata": {"name": name}})

    def token(self, space, name, pod=None):
        """As the kubelet asks for it: bound to a pod, and void once that is gone."""
        spec = {"audiences": [ISSUER], "expirationSeconds": 3600}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"],
                                      "uid": pod["metadata"]["uid"]}
        return self.admin.create("/api/v1/namespaces/%s/serviceaccounts/%s/token" % (space, name),
                                 {"spec": spec})["status"]["token"]

    def short_token(self, space, name, seconds):
        """
        One that is over in that many seconds: TokenRequest grants no less than ten minutes, so it is signed here with
        the server's key. The server looks at the time with a leeway of one minute.
        """
        account = self.admin.get("/api/v1/namespaces/%s/serviceaccounts/%s" % (space, name))
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": [ISSUER], "sub": "system:serviceaccount:%s:%s" % (space, name),
                  "iat": now - 600, "nbf": now - 600, "exp": now - 60 + seconds,
                  "kubernetes.io": {"namespace": space,
                                    "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}}}
        text = encode(b'{"alg":"RS256"}') + b"." + encode(json.dumps(claims).encode())
        return (text + b"." + encode(run("openssl", "dgst", "-sha256", "-sign", self.account_key, stdin=text))).decode()

    def account_client(self, space, name):
        return Client(self.url, self.ca, token=self.token(space, name))

    def kubeconfig(self, name, client_name):
        """A file for kubectl, of a person whose certificate was made here."""
        path = os.path.join(self.scratch, name + ".kubeconfig")
        files = {key: os.path.join(self.scratch, client_name + "." + key) for key in ("crt", "key")}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "it",
                  "clusters": [{"name": "it", "cluster": {"server": self.url, "certificate-authority": self.ca}}],
                  "users": [{"name": "it", "user": {"client-certificate": files["crt"], "client-key": files["key"]}}],
                  "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        return path

    def kubectl(self, config, *words, program="kubectl", stdin=None):
        environment = dict(os.environ, KUBECONFIG=config, PATH=self.bin + ":" + os.environ["PATH"],
                           HOME=self.scratch)
        return subprocess.run([program] + list(words), env=environment, capture_output=True, text=True, input=stdin,
                              timeout=60, check=False)

    def requests(self, user):
        """What that user asked for and was answered: (verb, resource/subresource, namespace, code)."""
        found = []
        with open(self.audit, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                if event["user"].get("username") == user:
                    what = event.get("objectRef", {})
                    name = "/".join(filter(None, [what.get("resource"), what.get("subresource")]))
                    found.append((event["verb"], name or event["requestURI"], what.get("namespace"),
                                  event.get("responseStatus", {}).get("code")))
        return found
