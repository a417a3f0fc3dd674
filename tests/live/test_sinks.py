#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Sinks and metrics, live: what a daemon sends, to whom, and that no receiver ever slows what is guarded.

    test_sinks.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. Receivers are real: an HTTP server of the tests' own that verifies signatures, a
port that refuses, one that takes connections and never answers, files, the journal where one runs. Needs root.
"""

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import ring  # noqa: E402 (from this file's own directory)
from ring import Failure, Skip, expect  # noqa: E402

KEY = "correct horse battery staple"
MANY = 5000
QUEUE = 8192  # events that a queue holds (user/sink_queue.h)


def wait_for(condition, seconds=10):
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


# ---- receivers


class Receiver:
    """An HTTP server that keeps what it is sent. answers: status codes for the first requests; 200 after them."""

    def __init__(self, answers=()):
        self.answers, self.requests, self.lock = list(answers), [], threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # the name that http.server asks for
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    code = receiver.answers.pop(0) if receiver.answers else 200
                    receiver.requests.append((code, dict(self.headers), body))
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *unused):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path="/hook"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def events(self):
        """All events of requests that were answered with 200."""
        with self.lock:
            return [json.loads(line) for code, _, body in self.requests if code == 200 for line in body.splitlines()]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def listener():
    """A socket that takes connections and never answers."""
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(64)
    return hole


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ---- the daemon


class Daemon:
    """with Daemon(bench, [sinks]) as daemon: a daemon whose policy has these sinks."""

    def __init__(self, bench, sinks, arguments=(), environment=None):
        self.bench, self.arguments = bench, list(arguments)
        self.policy, self.socket = bench.path(".yaml"), bench.path(".sock")
        self.errors, self.output = bench.path(".err"), bench.path(".out")
        self.environment = dict(os.environ, **(environment or {}))
        self.write(sinks)

    def write(self, sinks):
        rules = ("version: 1\nrules:\n  - {name: precious, op: [delete], path: [\"%s/**/precious*\"], action: alert}\n"
                 % self.bench.scratch)
        with open(self.policy, "w", encoding="utf-8") as file:
            file.write(rules + ("sinks:\n" + "".join("  - %s\n" % sink for sink in sinks) if sinks else ""))

    def __enter__(self):
        self.process = subprocess.Popen(
            [self.bench.reprieve, "daemon", "--policy", self.policy, "--socket", self.socket, "--quiet"] + self.arguments,
            stdin=subprocess.DEVNULL, stdout=open(self.output, "wb"), stderr=open(self.errors, "wb"),
            env=self.environment)
        if not wait_for(lambda: "guarding:" in self.said() or self.process.poll() is not None, 60) or \
                self.process.poll() is not None:
            self.process.kill()
            raise Failure("the daemon did not start: " + self.said())
        return self

    def __exit__(self, *unused):
        self.stop()

    def stop(self):
        """Ends it; how many seconds that took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failure("the daemon did not end within 60 s") from None
        expect(self.process.returncode == 0, "the daemon ended with %d: %s" %
               (self.process.returncode, self.said()[-2000:]))
        return time.monotonic() - started

    def said(self):
        with open(self.errors, encoding="utf-8", errors="replace") as file:
            return file.read()

    def status(self):
        done = subprocess.run([self.bench.reprieve, "status", "--json", "--socket", self.socket], check=True,
                              stdout=subprocess.PIPE, timeout=20)
        return json.loads(done.stdout)

    def sink(self, kind):
        return next(sink for sink in self.status()["sinks"] if sink["type"] == kind)

    def run(self, command):
        """Runs a command as a session; how many seconds it took."""
        started = time.monotonic()
        done = subprocess.run([self.bench.reprieve, "run", "--socket", self.socket, "--workspace", self.bench.scratch,
                               "--"] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=120)
        expect(done.returncode == 0, "%s: status %d: %s" % (command[:2], done.returncode, done.stderr.decode()))
        return time.monotonic() - started

    def remove(self, count, name="f"):
        """A session that removes so many files; how many seconds it took."""
        return self.run(["rm", "-r", self.bench.files(count, name)])


class Bench:
    def __init__(self, reprieve, scratch):
        self.reprieve, self.scratch = reprieve, scratch
        self.numbers = iter(range(1, 1 << 30))

    def path(self, suffix=""):
        return os.path.join(self.scratch, "s%d%s" % (next(self.numbers), suffix))

    def files(self, count, name):
        directory = self.path(".d")
        os.mkdir(directory)
        for number in range(count):
            with open(os.path.join(directory, "%s%05d" % (name, number)), "wb"):
                pass
        return directory


def settled_text(path):
    """What the file has; read once more where a write was under way, of which a reader may see the first pages only."""
    for _ in range(20):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if not text or text.endswith("\n"):
            break
        time.sleep(0.05)
    return text


def lines_of(path):
    events = []
    if os.path.exists(path):
        text = settled_text(path)
        expect(not text or text.endswith("\n"), "%s ends within a line" % path)
        for line in text.splitlines():
            events.append(json.loads(line))
    return events


def unlinks(events):
    return [event for event in events if event.get("op") == "unlink"]


# ---- webhook


def webhook(url, more=""):
    return '{type: webhook, url: "%s", secret_env: REPRIEVE_TEST_KEY%s}' % (url, more)


WITH_KEY = {"REPRIEVE_TEST_KEY": KEY}


def check_signatures(receiver):
    for _, headers, body in receiver.requests:
        wanted = "sha256=" + hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        expect(headers.get("X-Reprieve-Signature") == wanted, "signature %s, not %s" %
               (headers.get("X-Reprieve-Signature"), wanted))
        expect(headers.get("Content-Type") == "application/x-ndjson", "type %s" % headers.get("Content-Type"))


def case_webhook_signed(bench):
    """Every event, once, in order, under a signature that holds."""
    receiver = Receiver()
    with Daemon(bench, [webhook(receiver.url())], environment=WITH_KEY) as daemon:
        daemon.remove(500)
        complete = wait_for(lambda: any(event.get("change") == "end" for event in receiver.events()))
        expect(complete, "the session's end did not arrive")
        check_signatures(receiver)
        found = [event["seq"] for event in receiver.events()]
        expect(found == list(range(found[0], found[0] + len(found))), "events are missing, double or out of order")
        expect(len(unlinks(receiver.events())) == 500, "%d of 500 arrived" % len(unlinks(receiver.events())))
        sink = daemon.sink("webhook")
        expect((sink["lost"], sink["waiting"], sink["failing"]) == (0, 0, False), "status says %s" % sink)
        expect(sink["sent"] == len(found), "status says %d sent, %d arrived" % (sink["sent"], len(found)))
    receiver.close()


def case_webhook_unsigned(bench):
    receiver = Receiver()
    with Daemon(bench, ['{type: webhook, url: "%s"}' % receiver.url()]) as daemon:
        daemon.remove(1)
        expect(wait_for(lambda: unlinks(receiver.events())), "nothing arrived")
        expect("X-Reprieve-Signature" not in receiver.requests[0][1], "signed without a key")
    receiver.close()


def case_webhook_min_and_op(bench):
    """min: and op: choose among operations, and each sink has its own."""
    alerts, renames = Receiver(), Receiver()
    sinks = [webhook(alerts.url(), ", min: alert, op: [delete]"), webhook(renames.url(), ", op: [rename]")]
    with Daemon(bench, sinks, environment=WITH_KEY) as daemon:
        plain, precious = bench.files(5, "f"), bench.files(2, "precious")
        target = bench.path()
        daemon.run(["sh", "-c", 'rm -r "$1" "$2"; touch "$3"; mv "$3" "$3.new"', "sh", plain, precious, target])
        expect(wait_for(lambda: len(alerts.events()) == 2 and renames.events()), "%d alerts, %d renames" %
               (len(alerts.events()), len(renames.events())))
        time.sleep(0.5)
        expect([event["verdict"] for event in alerts.events()] == ["alert"] * 2, "the first has other events")
        expect({event["op"] for event in renames.events()} == {"rename"}, "the second has other events")
    alerts.close()
    renames.close()


def case_webhook_retry(bench):
    """A receiver that is out of order for a while loses nothing, and knows a second attempt by its number."""
    receiver = Receiver([503, 429, 500])
    with Daemon(bench, [webhook(receiver.url())], environment=WITH_KEY) as daemon:
        daemon.remove(20)
        expect(wait_for(lambda: len(unlinks(receiver.events())) == 20, 20), "%d of 20 arrived" %
               len(unlinks(receiver.events())))
        first = [headers["X-Reprieve-Delivery"] for _, headers, _ in receiver.requests[:4]]
        expect(len(set(first)) == 1, "four attempts at one body bear %s" % first)
        later = [headers["X-Reprieve-Delivery"] for code, headers, _ in receiver.requests if code == 200]
        expect(len(set(later)) == len(later), "two bodies bear the same number")
        check_signatures(receiver)
        expect(daemon.sink("webhook")["lost"] == 0, "losses are counted")
        expect("cannot be delivered" in daemon.said() and "delivered again" in daemon.said(), "not told: " +
               daemon.said())
    receiver.close()


def case_webhook_refused(bench):
    """What a receiver will never take is counted as lost, and what comes after arrives."""
    receiver = Receiver([400])
    with Daemon(bench, [webhook(receiver.url(), ", op: [delete], min: alert")], environment=WITH_KEY) as daemon:
        daemon.remove(1, "precious")
        expect(wait_for(lambda: daemon.sink("webhook")["lost"] == 1), "status says %s" % daemon.sink("webhook"))
        daemon.remove(2, "precious")
        expect(wait_for(lambda: len(receiver.events()) == 2), "%d of 2 arrived" % len(receiver.events()))
        expect(daemon.status()["losses"]["lines"] == 1, "the loss is not in the sum")
    receiver.close()


def case_webhook_no_key(bench):
    """Without its key nothing is sent, unsigned least of all; the guard stands."""
    receiver = Receiver()
    with Daemon(bench, [webhook(receiver.url())]) as daemon:
        daemon.remove(3)
        sink = daemon.sink("webhook")
        expect(sink["lost"] >= 3 and sink["failing"], "status says %s" % sink)
        expect("REPRIEVE_TEST_KEY" in daemon.said(), "not told: " + daemon.said())
        expect(not receiver.requests, "something was sent")
    receiver.close()


def case_webhook_secret_path(bench):
    """The path of a URL may be a secret: no message, no status and no metric shows it."""
    port, metrics = free_port(), free_port()
    url = "http://user:hunter2@127.0.0.1:%d/services/T0SECRET?token=T1SECRET" % port
    with Daemon(bench, [webhook(url)], ["--metrics", str(metrics)], WITH_KEY) as daemon:
        daemon.remove(3)
        expect(wait_for(lambda: "cannot be delivered" in daemon.said()), "the failure was not told")
        shown = daemon.said() + json.dumps(daemon.status()) + scrape(metrics)
        expect("127.0.0.1:%d" % port in shown, "the receiver is not named")
        for secret in ("hunter2", "T0SECRET", "T1SECRET", KEY):
            expect(secret not in shown, "%s is shown" % secret)


def baseline(bench):
    """Seconds for the same removal with no receiver but a file."""
    if not hasattr(bench, "seconds"):
        with Daemon(bench, ['{type: file, path: "%s"}' % bench.path(".jsonl")]) as daemon:
            bench.seconds = min(daemon.remove(MANY), daemon.remove(MANY))
    return bench.seconds


def dead_case(address):
    """address: of nothing, to the port of a dead receiver and what has to be kept alive for it."""
    def case(bench):
        limit = 2 * baseline(bench) + 1.0
        port, kept = address()
        events = bench.path(".jsonl")
        sinks = [webhook("http://127.0.0.1:%d/" % port), '{type: file, path: "%s"}' % events]
        with Daemon(bench, sinks, environment=WITH_KEY) as daemon:
            first = daemon.remove(MANY)
            started = time.monotonic()
            status = daemon.status()
            expect(time.monotonic() - started < 2, "status took %.1f s" % (time.monotonic() - started))
            expect(len(unlinks(lines_of(events))) == MANY, "the file has %d of %d" %
                   (len(unlinks(lines_of(events))), MANY))
            expect(status["losses"]["total"] == 0, "records were lost")
            took = min(first, daemon.remove(MANY))
            expect(took < limit, "%.2f s for %d files, not below %.2f s" % (took, MANY, limit))
            daemon.status()
            written = len(lines_of(events))
            sink = daemon.sink("webhook")
            expect(sink["waiting"] <= QUEUE and sink["lost"] >= written - QUEUE, "of %d: %s" % (written, sink))
            expect(sink["sent"] == 0 and sink["lost"] + sink["waiting"] == written, "of %d: %s" % (written, sink))
            daemon.write([sinks[1]])
            started = time.monotonic()
            daemon.process.send_signal(signal.SIGHUP)
            expect(wait_for(lambda: "reloaded" in daemon.said(), 10), "no reload")
            expect(len(daemon.status()["sinks"]) == 1 and time.monotonic() - started < 2,
                   "the reload waited for the dead: %.1f s" % (time.monotonic() - started))
            expect(daemon.status()["losses"]["lines"] > 0, "the sum forgot the losses of a sink that is gone")
        del kept
    return case


def case_dead_at_end(bench):
    """A daemon that ends gives a dead receiver two seconds."""
    hole = listener()
    with Daemon(bench, []) as daemon:
        daemon.remove(10)
        plain = daemon.stop()
    with Daemon(bench, [webhook("http://127.0.0.1:%d/" % hole.getsockname()[1])], environment=WITH_KEY) as daemon:
        daemon.remove(10)
        took = daemon.stop()
        expect(took < 2 * plain + 4, "the end took %.1f s, without a receiver %.1f s" % (took, plain))
        expect("not delivered" in daemon.said(), "what was not delivered is not told")
    hole.close()


def case_run_alone(bench):
    """The sinks of a guard for one command have everything when it ends."""
    receiver, events = Receiver(), bench.path(".jsonl")
    daemon = Daemon(bench, [webhook(receiver.url()), '{type: file, path: "%s"}' % events])
    subprocess.run([bench.reprieve, "run", "--policy", daemon.policy, "--workspace", bench.scratch, "--", "rm", "-r",
                    bench.files(300, "f")], check=True, env=dict(os.environ, **WITH_KEY), stderr=subprocess.DEVNULL)
    expect(len(unlinks(receiver.events())) == 300, "%d of 300 arrived" % len(unlinks(receiver.events())))
    expect(len(unlinks(lines_of(events))) == 300, "%d of 300 in the file" % len(unlinks(lines_of(events))))
    receiver.close()


# ---- files and standard output


def case_file_rotates(bench):
    path, size, keep = bench.path(".jsonl"), 64 << 10, 3
    with Daemon(bench, ['{type: file, path: "%s", size: 64K, keep: %d}' % (path, keep)]) as daemon:
        daemon.remove(2000)
        daemon.status()
    names = [path] + ["%s.%d" % (path, number) for number in range(1, keep + 1)]
    for name in names:
        expect(os.path.exists(name), "%s is missing" % name)
        expect(os.path.getsize(name) <= size, "%s has %d bytes" % (name, os.path.getsize(name)))
        expect(os.stat(name).st_mode & 0o777 == 0o600, "%s has mode %o" % (name, os.stat(name).st_mode))
    expect(not os.path.exists("%s.%d" % (path, keep + 1)), "more than %d are kept" % keep)
    found = [event["seq"] for name in reversed(names) for event in lines_of(name)]
    expect(len(found) > 100 and found == list(range(found[0], found[0] + len(found))), "lines are missing or out of order")


def case_file_fails_and_comes_back(bench):
    directory = bench.path(".dir")
    path = os.path.join(directory, "below", "events.jsonl")
    with Daemon(bench, ['{type: file, path: "%s"}' % path]) as daemon:
        daemon.remove(5)
        sink = daemon.sink("file")
        expect(sink["failing"] and sink["lost"] >= 5, "status says %s" % sink)
        expect(path in daemon.said(), "not told: " + daemon.said())
        os.mkdir(directory)
        daemon.remove(5)
        sink = daemon.sink("file")
        expect(not sink["failing"] and len(unlinks(lines_of(path))) == 5, "status says %s" % sink)


def case_reload(bench):
    """A reload puts the new policy's sinks in the place of the old one's; no event is in neither."""
    before, after = bench.path(".jsonl"), bench.path(".jsonl")
    with Daemon(bench, ['{type: file, path: "%s"}' % before]) as daemon:
        daemon.remove(10)
        daemon.write(['{type: file, path: "%s"}' % after])
        daemon.process.send_signal(signal.SIGHUP)
        expect(wait_for(lambda: "reloaded" in daemon.said()), "no reload")
        daemon.remove(20)
        daemon.status()
        expect(len(unlinks(lines_of(before))) == 10, "the old file has %d" % len(unlinks(lines_of(before))))
        expect(len(unlinks(lines_of(after))) == 20, "the new file has %d" % len(unlinks(lines_of(after))))


def case_stdout(bench):
    with Daemon(bench, ["{type: stdout, op: [delete], min: alert}"]) as daemon:
        daemon.remove(2, "precious")
        daemon.remove(2)
        daemon.status()
    found = lines_of(daemon.output)
    expect([event["verdict"] for event in found] == ["alert"] * 2, "standard output has %s" % found)


# ---- journal and syslog


def case_journald(bench):
    if not os.path.exists("/run/systemd/journal/socket") or not shutil.which("journalctl"):
        raise Skip("no journal runs here")
    with Daemon(bench, ["{type: journald, op: [delete], min: alert}"]) as daemon:
        directory = bench.files(2, "precious")
        daemon.run(["rm", "-r", directory])
        expect(wait_for(lambda: daemon.sink("journald")["sent"] >= 2), "status says %s" % daemon.sink("journald"))
        time.sleep(1)
        shown = subprocess.run(["journalctl", "-o", "json", "-t", "reprieve", "--since", "-2min"], check=True,
                               stdout=subprocess.PIPE).stdout
        found = [json.loads(line) for line in shown.splitlines() if directory.encode() in line]
        expect(len(found) == 2 and found[0]["REPRIEVE_VERDICT"] == "alert", "the journal has %s" % found)
        expect(json.loads(found[0]["REPRIEVE_EVENT"])["op"] == "unlink", "REPRIEVE_EVENT is not the event")


def case_journald_absent(bench):
    if os.path.exists("/run/systemd/journal/socket"):
        raise Skip("a journal runs here")
    with Daemon(bench, ["{type: journald}"]) as daemon:
        daemon.remove(3)
        expect(wait_for(lambda: daemon.sink("journald")["failing"]), "status says %s" % daemon.sink("journald"))
        expect(daemon.sink("journald")["sent"] == 0, "events that nobody took count as sent")


def case_syslog(bench):
    if os.path.lexists("/dev/log"):
        raise Skip("/dev/log is another program's")
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.settimeout(10)
    log.bind("/dev/log")
    try:
        with Daemon(bench, ["{type: syslog, op: [delete], min: alert}"]) as daemon:
            daemon.remove(2, "precious")
            for _ in range(2):
                message = log.recv(1 << 20).decode()
                match = re.fullmatch(r"<85>\w{3} [ \d]\d \d\d:\d\d:\d\d reprieve\[%d\]: (\{.*\})" % daemon.process.pid,
                                     message)
                expect(match, "not as RFC 3164 has it: " + message)
                expect(json.loads(match.group(1))["verdict"] == "alert", "another event: " + message)
    finally:
        log.close()
        os.unlink("/dev/log")


# ---- metrics


def scrape(port, path="/metrics", data=None):
    with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), data, 10) as answer:
        return answer.read().decode()


SAMPLE = re.compile(r'(\w+)(\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})? (-?\d+)$')


def samples(text):
    """All samples; raises where the text is not as Prometheus reads it."""
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            expect(name not in types, "%s is declared twice" % name)
            types[name] = kind
        elif not line.startswith("#"):
            match = SAMPLE.match(line)
            expect(match, "no sample: " + line)
            expect(match.group(1) in types, "%s has no type" % match.group(1))
            key = match.group(1) + (match.group(2) or "")
            expect(key not in found, "%s is given twice" % key)
            found[key] = int(match.group(3))
    return found


def case_metrics(bench):
    port, dead = free_port(), free_port()
    with Daemon(bench, ["{type: stdout, min: kill}", webhook("http://127.0.0.1:%d/" % dead)],
                ["--metrics", "127.0.0.1:%d" % port], WITH_KEY) as daemon:
        before = samples(scrape(port))
        daemon.remove(40)
        daemon.remove(2, "precious")
        after, status = samples(scrape(port)), daemon.status()
        def grown(key):
            return after[key] - before[key]
        expect(grown('reprieve_operations_total{op="unlink",verdict="allow"}') == 40, "unlink allow by %d" %
               grown('reprieve_operations_total{op="unlink",verdict="allow"}'))
        expect(grown('reprieve_operations_total{op="unlink",verdict="alert"}') == 2, "unlink alert")
        expect(after["reprieve_mismatches_total"] == 0, "mismatches")
        expect(after['reprieve_lost_records_total{kind="op"}'] == 0, "losses")
        expect("reprieve_sessions" in after and "reprieve_consulted_total" in after, "sessions, consulted")
        for tier in status["tiers"]:
            expect(after['reprieve_tier{op="%(op)s",tier="%(tier)s"}' % tier] == 1, "tier of %(op)s" % tier)
        waiting = 'reprieve_sink_waiting{sink="1",type="webhook",name="http://127.0.0.1:%d"}' % dead
        expect(after[waiting] >= 42, "%d wait for the dead sink" % after[waiting])


def refused(code, function, *arguments):
    try:
        function(*arguments)
    except urllib.error.HTTPError as error:
        return error.code == code
    return False


def case_metrics_requests(bench):
    """Other requests are refused, and one that stays silent keeps nobody waiting."""
    port = free_port()
    with Daemon(bench, [], ["--metrics", str(port)]) as daemon:
        expect(refused(404, scrape, port, "/"), "/ is served")
        expect(refused(405, scrape, port, "/metrics", b"x=1"), "POST is served")
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        silent[0].sendall(b"GET /metr")
        started = time.monotonic()
        daemon.remove(100)
        samples(scrape(port))
        expect(time.monotonic() - started < 5, "a silent reader slowed the others")
        for connection in silent:
            connection.close()


def case_metrics_address(bench):
    for address in ("nonsense", "127.0.0.1:", "127.0.0.1:http", "[::1:80"):
        done = subprocess.run([bench.reprieve, "daemon", "--socket", bench.path(".sock"), "--metrics", address],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              check=False)
        expect(done.returncode in (1, 2) and address in done.stderr.decode(), "%s: status %d: %s" %
               (address, done.returncode, done.stderr.decode()))


def refusing():
    return free_port(), None


def black_hole():
    hole = listener()
    return hole.getsockname()[1], hole


def cases():
    return [
        ("webhook/signed", case_webhook_signed),
        ("webhook/unsigned", case_webhook_unsigned),
        ("webhook/min-and-op", case_webhook_min_and_op),
        ("webhook/retry", case_webhook_retry),
        ("webhook/refused", case_webhook_refused),
        ("webhook/no-key", case_webhook_no_key),
        ("webhook/secret-path", case_webhook_secret_path),
        ("dead/refusing", dead_case(refusing)),
        ("dead/black-hole", dead_case(black_hole)),
        ("dead/at-end", case_dead_at_end),
        ("run-alone", case_run_alone),
        ("file/rotates", case_file_rotates),
        ("file/fails-and-comes-back", case_file_fails_and_comes_back),
        ("reload", case_reload),
        ("stdout", case_stdout),
        ("journald", case_journald),
        ("journald/absent", case_journald_absent),
        ("syslog", case_syslog),
        ("metrics/values", case_metrics),
        ("metrics/requests", case_metrics_requests),
        ("metrics/address", case_metrics_address),
    ]


@contextlib.contextmanager
def open_bench(options, scratch):
    os.environ.pop("REPRIEVE_TEST_KEY", None)
    yield Bench(options.reprieve, scratch)


if __name__ == "__main__":
    sys.exit(ring.main("sinks", __doc__, cases(), open_bench))
