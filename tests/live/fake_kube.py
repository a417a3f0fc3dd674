# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A stand-in for kube-apiserver: objects of some kinds, kept in memory, as far as the daemon and kubectl look.

Behaves as the real one was seen to: optimistic versions, uid and generation, 409 for a name that is taken, merge patches,
the status as a subresource of its own (what the main one is sent of it is dropped, and the other way round), managedFields
with the name that a client gives itself, watches with selectors and bookmarks, 410, RBAC by verb, an admission policy that
can be switched on, deletion with preconditions, discovery, SelfSubjectReview. Faults are attributes: `absent`, `refuse`.
"""

import asyncio
import copy
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.parse
import uuid

REPRIEVE = "reprieve.dev/v1alpha1"
# group/version, plural, kind, namespaced, has a status subresource
RESOURCES = [("v1", "pods", "Pod", True, True), ("v1", "namespaces", "Namespace", False, True),
             (REPRIEVE, "holds", "Hold", True, True), (REPRIEVE, "reprievepolicies", "ReprievePolicy", True, True)]


class Refused(Exception):
    def __init__(self, code, message, reason=""):
        super().__init__(message)
        self.code, self.reason = code, reason


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def selected(item, query):
    """Do labelSelector and fieldSelector of a request let it through? Only equality is known."""
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        key, value = pair.split("=", 1)
        if item["metadata"].get("labels", {}).get(key) != value.lstrip("="):
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        key, value = pair.split("=", 1)
        found = item
        for part in key.split("."):
            found = (found or {}).get(part)
        if found != value.lstrip("="):
            return False
    return True


class Kube:
    """
    The server, on a thread of its own. `users` are tokens and names; `may` is asked of each request. Speaks HTTP, and
    with a directory for its certificate TLS on another port: kubectl sends its token over nothing else.
    """

    def __init__(self, tls=None):
        self.users = {"secret": "system:serviceaccount:reprieve:reprieve"}
        self.objects, self.version, self.log, self.oldest = {}, 1000, [], 1000
        self.absent, self.refuse, self.verified, self.requests = False, None, False, []
        self.knows_who = True  # SelfSubjectReview is served: 1.28
        self.may = lambda user, verb, resource, space: True
        self.writers, self.port, self.tls, self.ca = set(), None, tls, None
        self.loop, self.lock = asyncio.new_event_loop(), threading.RLock()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.open(), self.loop).result()

    async def open(self):
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", self.port or 0)
        self.port = self.listener.sockets[0].getsockname()[1]
        if self.tls:
            await self.open_tls()

    async def open_tls(self):
        self.ca, key = os.path.join(self.tls, "ca.crt"), os.path.join(self.tls, "tls.key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-keyout",
                        key, "-out", self.ca], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self.tls_listener = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        self.tls_port = self.tls_listener.sockets[0].getsockname()[1]

    def url(self):
        """The secure one where there is one."""
        return "https://127.0.0.1:%d" % self.tls_port if self.tls else "http://127.0.0.1:%d" % self.port

    def end(self):
        async def leave():
            self.listener.close()
            if self.tls:
                self.tls_listener.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(leave(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def go_away(self):
        """Every connection ends, and whoever connects is hung up on."""
        self.absent = True
        self.cut()

    def cut(self):
        def close_all():
            for writer in list(self.writers):
                writer.transport.abort()
        self.loop.call_soon_threadsafe(close_all)

    # ---- what tests do by hand

    def put(self, resource, item):
        """Makes or replaces one, by nobody in particular."""
        with self.lock:
            metadata = item["metadata"]
            key = (resource, metadata.get("namespace", ""), metadata["name"])
            kind = "MODIFIED" if key in self.objects else "ADDED"
            metadata.setdefault("uid", str(uuid.uuid4()))
            self.store(key, item, kind)
            return item

    def remove(self, resource, space, name):
        with self.lock:
            key = (resource, space, name)
            self.store(key, self.objects[key], "DELETED")

    def all(self, resource):
        with self.lock:
            return [copy.deepcopy(item) for key, item in sorted(self.objects.items()) if key[0] == resource]

    def patch(self, resource, space, name, patch, user="alice", manager="kubectl-patch"):
        """As a client of that name would. Raises Refused."""
        with self.lock:
            return self.change(user, "PATCH", (resource, space, name), "", patch, manager)

    def compact(self):
        with self.lock:
            self.oldest, self.log = self.version, []

    # ---- objects

    def store(self, key, item, kind):
        self.version += 1
        item = copy.deepcopy(item)
        item["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = item
        self.log.append((self.version, kind, key, item))
        return item

    def get(self, key):
        if key not in self.objects:
            raise Refused(404, '%s "%s" not found' % (key[0], key[2]), "NotFound")
        return self.objects[key]

    def admit(self, user, before, after):
        """The admission policy: who decides says who it is."""
        told = after.get("spec", {})
        if self.verified and told != before.get("spec", {}) and told and told.get("decidedBy") != user:
            raise Refused(422, "ValidatingAdmissionPolicy: spec.decidedBy must be your own name, %s" % user, "Invalid")

    def create(self, user, resource, kind, space, item):
        metadata = item["metadata"]
        key = (resource, space, metadata["name"])
        if metadata.get("namespace", space) != space:
            raise Refused(400, "the namespace of the object does not match the request", "BadRequest")
        if key in self.objects:
            raise Refused(409, '%s "%s" already exists' % (resource, key[2]), "AlreadyExists")
        item = {**item, "metadata": {**metadata, "namespace": space, "uid": str(uuid.uuid4()), "generation": 1,
                                     "creationTimestamp": now()}}
        item.pop("status", None)
        if resource == "holds":
            self.admit(user, {}, item)
        item.setdefault("kind", kind)
        return self.store(key, item, "ADDED")

    def change(self, user, method, key, subresource, patch, manager):
        before = self.get(key)
        wanted = patch.get("metadata", {}).get("uid")
        if wanted and wanted != before["metadata"]["uid"]:
            raise Refused(409, "Precondition failed: UID in precondition: %s" % wanted, "Conflict")
        after = merge(before, patch) if method == "PATCH" else copy.deepcopy(patch)
        after["metadata"] = {**after["metadata"], "uid": before["metadata"]["uid"]}
        if subresource == "status":
            after = {**before, "status": after.get("status", {})}
        else:
            after.pop("status", None)
            if "status" in before:
                after["status"] = before["status"]
            if after.get("spec") != before.get("spec"):
                after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
                fields = {"f:" + name: {} for name in patch.get("spec", {})}
                after["metadata"]["managedFields"] = [
                    entry for entry in before["metadata"].get("managedFields", []) if entry["manager"] != manager] + [
                        {"manager": manager, "operation": "Update", "time": now(), "apiVersion": REPRIEVE,
                         "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}}]
            if key[0] == "holds":
                self.admit(user, before, after)
        return self.store(key, after, "MODIFIED")

    def delete(self, key, options):
        item, wanted = self.get(key), (options or {}).get("preconditions", {}).get("uid")
        if wanted and wanted != item["metadata"]["uid"]:
            raise Refused(409, "Precondition failed: UID in precondition: %s" % wanted, "Conflict")
        self.store(key, item, "DELETED")
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    # ---- HTTP

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while not self.absent:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")
                headers = dict((line.split(": ", 1)[0].lower(), line.split(": ", 1)[1])
                               for line in lines[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if self.absent:
                    break
                method, target, _ = lines[0].split(" ")
                await self.answer(writer, method, urllib.parse.urlsplit(target), headers, body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def answer(self, writer, method, url, headers, body):
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            user = self.users.get(headers.get("authorization", "")[7:])
            if not user:
                raise Refused(401, "Unauthorized", "Unauthorized")
            if self.refuse:
                raise Refused(self.refuse, "refused on purpose", "InternalError")
            if query.get("watch") in ("1", "true"):
                await self.watch(writer, user, url.path, query)
                return
            with self.lock:
                # kubectl sends what it has built-in types for as protobuf, and takes JSON for an answer.
                told = json.loads(body) if "json" in headers.get("content-type", "") else None
                code, reply = self.handle(user, method, url.path, query, headers, told)
        except Refused as refusal:
            code, reply = refusal.code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                         "message": str(refusal), "reason": refusal.reason, "code": refusal.code}
        text = json.dumps(reply).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" %
                     (code, len(text)) + text)
        await writer.drain()

    @staticmethod
    def discovery(path):
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            version = {"groupVersion": REPRIEVE, "version": "v1alpha1"}
            return {"kind": "APIGroupList", "apiVersion": "v1",
                    "groups": [{"name": "reprieve.dev", "versions": [version], "preferredVersion": version}]}
        group = {"/api/v1": "v1", "/apis/" + REPRIEVE: REPRIEVE}.get(path)
        if not group:
            return None
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        rows = [{"name": plural, "singularName": kind.lower(), "namespaced": spaced, "kind": kind, "verbs": verbs}
                for owner, plural, kind, spaced, _ in RESOURCES if owner == group]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": rows}

    @staticmethod
    def place(path):
        """(group, resource, kind, space, name, subresource) of a path; space is None for all of them."""
        parts = path.strip("/").split("/")
        group, rest = ("v1", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        space = None
        if len(rest) > 2 and rest[0] == "namespaces":
            space, rest = rest[1], rest[2:]
        rows = [row for row in RESOURCES if row[0] == group and rest and row[1] == rest[0]]
        if not rows:
            raise Refused(404, "the server could not find the requested resource", "NotFound")
        return (group, rest[0], rows[0][2], space, rest[1] if len(rest) > 1 else None,
                rest[2] if len(rest) > 2 else "")

    def allow(self, user, verb, resource, subresource, space):
        name = resource + ("/" + subresource if subresource else "")
        self.requests.append((user, verb, name, space))
        if not self.may(user, verb, name, space):
            raise Refused(403, '%s is forbidden: User "%s" cannot %s resource "%s"' % (resource, user, verb, name),
                          "Forbidden")

    def handle(self, user, method, path, query, headers, body):
        found = self.discovery(path)
        if found:
            return 200, found
        if path.startswith("/apis/authentication.k8s.io/v1/selfsubjectreviews") and self.knows_who:
            return 201, {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
                         "status": {"userInfo": {"username": user, "groups": ["system:authenticated"]}}}
        group, resource, kind, space, name, subresource = self.place(path)
        verb = {"GET": "get" if name else "list", "POST": "create", "PATCH": "patch", "PUT": "update",
                "DELETE": "delete"}[method]
        self.allow(user, verb, resource, subresource, space)
        key = (resource, space or "", name)
        if verb == "list":
            return 200, self.listing(group, kind, resource, space, query)
        if verb == "get":
            return 200, {"apiVersion": group, "kind": kind, **self.get(key)}
        if verb == "create":
            return 201, {"apiVersion": group, "kind": kind, **self.create(user, resource, kind, space, body)}
        if verb == "delete":
            return 200, self.delete(key, body)
        if method == "PATCH" and headers.get("content-type") != "application/merge-patch+json":
            raise Refused(415, "the body of the request was in an unknown format", "UnsupportedMediaType")
        return 200, {"apiVersion": group, "kind": kind, **self.change(
            user, method, key, subresource, body, query.get("fieldManager", "unknown"))}

    def matching(self, resource, space, query):
        return [item for key, item in sorted(self.objects.items())
                if key[0] == resource and space in (None, key[1]) and selected(item, query)]

    def listing(self, group, kind, resource, space, query):
        return {"kind": kind + "List", "apiVersion": group, "metadata": {"resourceVersion": str(self.version)},
                "items": [{"apiVersion": group, "kind": kind, **item} for item in self.matching(resource, space, query)]}

    async def watch(self, writer, user, path, query):
        with self.lock:
            group, resource, kind, space, _, _ = self.place(path)
            self.allow(user, "watch", resource, "", space)
            sent = int(query.get("resourceVersion") or self.version)
            gone = sent < self.oldest
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")

        def line(what, item):
            text = json.dumps({"type": what, "object": item}).encode() + b"\n"
            writer.write(b"%x\r\n" % len(text) + text + b"\r\n")
        if gone:
            line("ERROR", {"kind": "Status", "status": "Failure", "message": "too old resource version", "code": 410})
        end = time.monotonic() + float(query.get("timeoutSeconds", 300))
        while not gone and not writer.is_closing() and time.monotonic() < end:
            with self.lock:
                news = [row for row in self.log if row[0] > sent]
                sent = self.version
            for _, what, key, item in news:
                if key[0] == resource and space in (None, key[1]) and selected(item, query):
                    line(what, {"apiVersion": group, "kind": kind, **item})
            if news and query.get("allowWatchBookmarks") == "true":
                line("BOOKMARK", {"apiVersion": group, "kind": kind, "metadata": {"resourceVersion": str(sent)}})
            await writer.drain()
            await asyncio.sleep(0.005)
        if not writer.is_closing():
            writer.write(b"0\r\n\r\n")
            await writer.drain()
