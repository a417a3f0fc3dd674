#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Journals of a real guard, replayed: the same verdicts, the same events, here and where nothing of this machine is.

    test_replay.py [--reprieve PATH] [--generate PATH] [--keep] [--list] [NAME...]

NAME: only the cases whose name has it. One guard is recorded, with files, renames, rates, workspaces, agents, programs,
holds, statements of SQL and a policy that changes in the middle; the cases replay that journal, and generated ones.
Needs root and a PostgreSQL server; every process judged is in a session that this test began.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "live"))
import postgres  # noqa: E402
import ring  # noqa: E402
from ring import Failure, expect  # noqa: E402
from test_sql import read_events  # noqa: E402

RULES = """version: 1
default: allow
tell: false
agents:
  - builtin: false
  - name: batch
    exe: ["/nonexistent/batch"]
%(journal)srules:
  - {name: scratch, op: [delete, truncate], path: ["%(top)s/project/scratch/**"], action: allow}
  - {name: asked, op: [delete], path: ["%(top)s/project/asked/**"], action: hold, timeout: 60s}
  - {name: unanswered, op: [delete], path: ["%(top)s/project/unanswered/**"], action: hold, timeout: 1s}
  - {name: uploads, op: [delete, rename, truncate], path: ["%(top)s/project/uploads/**"], action: %(uploads)s}
  - {name: nobody-there, op: [delete], user: [nobody], action: deny}
  - {name: batch-renames, op: [rename], agent: [batch], action: alert}
  - {name: tools, op: [exec], args: ["true --danger*", "cat *secret*"], action: alert}
  - {name: outside, op: [delete, rename, truncate], workspace: outside, action: alert}
  - {name: many, op: [delete], rate: %(rate)d/60s, action: alert}
  - {name: asked-sql, op: [sql], sql: [truncate], action: hold, timeout: 2s, message: "Ask."}
  - {name: statements, op: [sql], sql: [drop, truncate, delete-all], database: ["repl*"], action: deny}
  - {name: others, op: [sql], sql: [drop, delete-all], action: alert}
"""

SCRIPT = """
set +e
cd %(top)s/project
mkdir -p scratch uploads asked unanswered more
for i in 1 2 3 4; do echo $i > scratch/$i; echo "$i$i" > uploads/$i; echo $i > more/$i; done
echo gone > asked/one; echo stays > unanswered/one; echo x > ../outside-file
rm -f scratch/1 scratch/2
rm -rf uploads/1
mv uploads/2 uploads/3
mv more/1 more/2
echo own > more/own-$$; mv more/own-$$ more/moved-$$
truncate -s 1 more/3
: > more/4
rm -f ../outside-file
rm -f does-not-exist
mkdir more/empty; rmdir more/empty
for i in 1 2 3 4 5 6 7 8; do echo $i > more/r$i; rm more/r$i; done
true --danger 1; true --other; cat /dev/null my-secret-file
chmod 777 more; echo n > more/n; setpriv --reuid 65534 --clear-groups rm -f more/n
(sleep 0.05; rm -f more/2) &
wait
rm -rf asked
"""

LATER = """
cd %(top)s/project
for i in 1 2 3 4 5 6 7 8 9; do echo $i > more/s$i; rm more/s$i; done
echo u > uploads/5; rm -f uploads/5
mv more/3 more/4
rm -f unanswered/one
"""


class Recording:
    """What one guard saw and kept: its journal, and the events that it gave out."""

    def __init__(self, reprieve, scratch, server, redact):
        self.reprieve, self.server = reprieve, server
        self.top = tempfile.mkdtemp(prefix="record-", dir=scratch)
        os.chmod(self.top, 0o755)
        self.journal = os.path.join(self.top, "journal")
        self.events_path = os.path.join(self.top, "events.jsonl")
        self.socket = os.path.join(self.top, "guard.sock")
        self.policy = os.path.join(self.top, "policy.yaml")
        self.redact = redact
        os.mkdir(os.path.join(self.top, "project"))
        self.first_policy = self.write_policy("deny", 5)
        self.begin()
        try:
            self.record()
        finally:
            self.end()

    def write_policy(self, uploads, rate):
        journal = "journal: {redact: %s}\n" % ("literals" if self.redact else "nothing")
        text = RULES % {"top": self.top, "uploads": uploads, "rate": rate, "journal": journal}
        with open(self.policy, "w", encoding="utf-8") as file:
            file.write(text)
        return text

    def begin(self):
        self.log = open(os.path.join(self.top, "log"), "w+", encoding="utf-8")
        self.guard = subprocess.Popen(
            [self.reprieve, "daemon", "--policy", self.policy, "--socket", self.socket, "--events", self.events_path,
             "--journal", self.journal, "--journal-key", os.path.join(self.top, "key"), "--quiet"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait_log("guarding:")

    def wait_log(self, text):
        for _ in range(1200):
            with open(self.log.name, encoding="utf-8") as lines:
                if text in lines.read():
                    return
            if self.guard.poll() is not None:
                break
            time.sleep(0.05)
        with open(self.log.name, encoding="utf-8") as lines:
            raise Failure("the guard never says %r: %s" % (text, lines.read()[-2000:]))

    def end(self):
        self.guard.send_signal(signal.SIGTERM)
        self.guard.wait()

    def call(self, *words):
        return subprocess.run([self.reprieve, words[0], "--socket", self.socket] + list(words[1:]),
                              capture_output=True, text=True, timeout=60, check=False)

    def start(self, name, script, agent=None):
        words = ["run", "--socket", self.socket, "--name", name, "--workspace", os.path.join(self.top, "project")]
        words += ["--agent", agent] if agent else []
        return subprocess.Popen([self.reprieve] + words + ["--", "sh", "-c", script % {"top": self.top}],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                start_new_session=True)

    def answer_hold(self, session, rule):
        for _ in range(600):
            for line in self.call("pending", "--json").stdout.splitlines():
                hold = json.loads(line)
                if hold["session"]["name"] == session and hold["state"] == "open" and hold["rule"] == rule:
                    done = self.call("approve", str(hold["hold"]), "--reason", "the \u00e4 test says so")
                    expect(done.returncode == 0, "approve: %s" % done.stderr)
                    return
            time.sleep(0.05)
        raise Failure("nothing is held of %s" % session)

    def wait_session(self, process, name):
        process.wait(timeout=120)
        for _ in range(600):
            if any(event["kind"] == "session" and event["change"] == "end" and event["session"]["name"] == name
                   for event in self.events()):
                return
            time.sleep(0.05)
        raise Failure("session %s does not end" % name)

    def record(self):
        tier = json.loads(self.call("status", "--json").stdout)["tiers"][0]["tier"]
        first = self.start("first", SCRIPT)
        second = self.start("second", SCRIPT.replace("rm -rf asked", "rm -f nothing"), agent="batch")
        if tier != "signal":
            self.answer_hold("first", "asked")
        self.wait_session(first, "first")
        self.wait_session(second, "second")
        self.run_sql("dsn='%s'" % self.server.unix())
        self.write_policy("alert", 3)
        self.guard.send_signal(signal.SIGHUP)
        self.wait_log("reloaded")
        self.wait_session(self.start("third", LATER), "third")
        self.wait_session(self.start("fourth", LATER, agent="batch"), "fourth")

    def run_sql(self, setting):
        """One question is answered, the other runs into its deadline."""
        for database in ("replayed", "elsewhere"):
            self.server.query("create database %s" % database)
            script = setting + """
                dsn=$(printf '%%s' "$dsn" | sed 's/dbname=[^ ]*/dbname={0}/'); q() {{ psql -X -c "$1" "$dsn"; }}
                q 'create table t as select 1 as id'; q 'truncate t'; q "delete from t where 'geheim'='geheim'"
                q "delete from t where 'geheim'='anders'"; q 'delete from t where id = 4711'; q 'select 1'; q 'drop table t'; q "select 'drop table t'"
                """.format(database)
            client = self.start("sql-" + database, script)
            if database == "replayed":
                self.answer_hold("sql-replayed", "asked-sql")
            self.wait_session(client, "sql-" + database)

    def events(self):
        return read_events(self.events_path)

    def ops(self):
        return [event for event in self.events() if event["kind"] == "op"]


def tells_end(event):
    """The second event of a call that was held; of a denied one through libc there is but one."""
    notes = event.get("notes", [])
    return "held-before" in notes and "consulted" not in notes


class Bench:
    def __init__(self, reprieve, generate, scratch, server):
        self.reprieve, self.generate, self.scratch, self.server = reprieve, generate, scratch, server
        self.recordings = {}

    def recording(self, redact=False):
        if redact not in self.recordings:
            self.recordings[redact] = Recording(self.reprieve, self.scratch, self.server, redact)
            self.server.query("drop database if exists replayed")
            self.server.query("drop database if exists elsewhere")
        return self.recordings[redact]

    def path(self, name):
        return os.path.join(self.scratch, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def replay(self, journal, *words):
        return subprocess.run([self.reprieve, "replay", journal] + list(words), capture_output=True, text=True,
                              timeout=300, check=False)

    def replay_json(self, journal, *words):
        """Lines and the closing object."""
        done = self.replay(journal, "--json", *words)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        expect(lines and lines[-1]["kind"] == "replay", "it ends with %s; %s" % (lines[-1:], done.stderr))
        return done.returncode, lines[:-1], lines[-1]

    def generated(self, count, *words):
        directory = self.path("generated-%s" % "-".join([str(count)] + [re.sub(r"\W", "", w) for w in words]))
        if not os.path.exists(directory):
            subprocess.run([self.generate, directory, str(count)] + list(words), check=True, stdout=subprocess.DEVNULL)
        return directory


# ---- the cases


def check_recorded(bench, redact):
    recording = bench.recording(redact)
    code, lines, whole = bench.replay_json(recording.journal)
    ops = [event for event in recording.ops() if not tells_end(event)]
    expect(code == 0 and not lines, "%d: %s" % (code, lines[:3]))
    expect(whole["mismatches"] == 0 and whole["not_compared"] == 0 and whole["faults"] == 0, "%s" % whole)
    expect(whole["policies"] == 2 and whole["runs"] == 1, "%s" % whole)
    expect(whole["operations"] == len(ops), "%d operations, %d events" % (whole["operations"], len(ops)))
    return recording


def case_recorded(bench):
    """Every recorded verdict comes out again, and the recording has what it should be about."""
    recording = check_recorded(bench, False)
    found = {(event["op"], event.get("rule"), event["verdict"]) for event in recording.ops()}
    wanted = [("unlink", "scratch", "allow"), ("unlink", "uploads", "deny"), ("rename", "uploads", "deny"),
              ("rename", "batch-renames", "alert"), ("exec", "tools", "alert"), ("unlink", "outside", "alert"),
              ("unlink", "nobody-there", "deny"),
              ("unlink", "many", "alert"), ("unlink", "uploads", "alert"), ("sql", "statements", "deny"),
              ("sql", "others", "alert"), ("truncate", None, "allow"), ("unlink", "asked", "hold"),
              ("unlink", "unanswered", "hold"), ("sql", "asked-sql", "hold")]
    missing = [row for row in wanted if row not in found]
    expect(not missing, "the recording lacks %s; it has %s" % (missing, sorted(map(str, found))))
    changes = [event["change"] for event in recording.events() if event["kind"] == "hold"]
    expect("opened" in changes and "timed-out" in changes and "closed" in changes, "questions: %s" % changes)
    expect([event for event in recording.events() if event["kind"] == "review"], "nobody answered")


def case_recorded_redacted(bench):
    """The same where literals were masked before they were written."""
    recording = check_recorded(bench, True)
    _, lines, _ = bench.replay_json(recording.journal, "--events")
    statements = [line["sql"]["statement"] for line in lines if line.get("op") == "sql" and "sql" in line]
    expect("geheim" not in json.dumps(statements) and "delete from t where id = $1" in statements and
           not any("4711" in text for text in statements), "%s" % statements)
    tautology = [line for line in lines if line["kind"] == "op" and line.get("rule") in ("statements", "others") and
                 line["sql"]["class"] == ["delete-all"]]
    expect(len(tautology) == 2 and "$1" in tautology[0]["sql"]["statement"], "%s" % tautology)


def without_newlines(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def first_difference(a, b):
    for i, (left, right) in enumerate(zip(a, b)):
        if left != right:
            return "line %d:\n%s\n%s" % (i + 1, left[:1500], right[:1500])
    return "%d and %d lines" % (len(a), len(b))


def case_events(bench):
    """Byte for byte the events that the guard's sinks got."""
    recording = bench.recording()
    done = bench.replay(recording.journal, "--json", "--events")
    came, was = done.stdout.splitlines()[:-1], without_newlines(recording.events_path)
    kinds = {json.loads(line)["kind"] for line in was}
    expect({"op", "session"} <= kinds, "the guard gave out %s" % kinds)
    expect(came == was, first_difference(came, was))


def case_same_policy(bench):
    """Its own policy, given as another one, makes no difference: rates are counted, agents and arguments matched anew."""
    recording = bench.recording()
    first = bench.write("first.yaml", recording.first_policy)
    reload = [event for event in recording.events() if event["kind"] == "session" and
              event["session"]["name"] == "third"][0]["time"]
    code, lines, whole = bench.replay_json(recording.journal, "--policy", first, "--until", reload)
    expect(code == 0 and not lines, "%d: %s" % (code, lines[:3]))
    expect(whole["operations"] > 40 and whole["recorded"] == whole["other"], "%s" % whole)


OBSERVE = """version: 1
mode: observe
rules:
  - {name: all, op: [all], action: alert}
"""


def case_observe(bench):
    """Under a policy that only looks, all that was spared is lost: files, and statements."""
    policy = bench.write("observe.yaml", OBSERVE)
    code, lines, whole = bench.replay_json(bench.generated(5000), "--policy", policy)
    was, would = whole["recorded"]["outcomes"], whole["other"]["outcomes"]
    expect(code == 0 and len(lines) == 5000 and was["spared"]["files"] == 313, "%s" % was)
    expect(would["lost"]["operations"] == would["lost"]["files"] == 5000, "%s" % would)
    expect(would["lost"]["bytes"] == was["lost"]["bytes"] + was["spared"]["bytes"], "%s" % whole)
    expect(lines[0]["recorded"] == {"verdict": "deny", "rule": "uploads", "outcome": "spared"} and
           lines[0]["other"] == {"verdict": "alert", "rule": "all", "outcome": "lost"}, "%s" % lines[0])
    people = bench.replay(bench.generated(5000), "--policy", policy).stdout
    expect(re.search(r"unlink /srv/app/uploads/00/image-0.jpg: deny by uploads -> alert by all; spared, would be lost",
                     people) and re.search(r"^  lost +4687 +4687 .* 5000 +5000 ", people, re.M), people[-1500:])
    code, lines, whole = bench.replay_json(bench.recording().journal, "--policy", policy, "--op", "sql")
    drops = [line for line in lines if line["statement"] == "drop table t"]
    expect(code == 0 and drops[0]["recorded"] == {"verdict": "deny", "rule": "statements", "outcome": "spared"} and
           drops[0]["other"]["outcome"] == "lost" and len(drops) == 2, "%s" % drops)
    expect(whole["other"]["outcomes"]["spared"]["operations"] == 0, "%s" % whole)


def case_stricter(bench):
    """A policy that kills at the first file: what its process did later is not reached; others are denied or held."""
    journal = bench.generated(3000)
    policy = bench.write("strict.yaml", "version: 1\nrules:\n"
                                        "  - {name: end, op: [delete], path: ['/srv/app/**'], action: kill}\n"
                                        "  - {name: ask, op: [delete], action: hold}\n")
    code, _, whole = bench.replay_json(journal, "--policy", policy)
    other = whole["other"]["outcomes"]
    # Three processes, each of which begins with a file of /srv/app, at every sixteenth operation.
    expect(code == 0 and other["spared"]["operations"] == 3, "%s" % other)
    expect(other["not reached"]["operations"] + other["held"]["operations"] == 2997, "%s" % other)
    expect(other["lost"]["operations"] == 0 and other["not reached"]["operations"] > 2900, "%s" % other)


def case_rate(bench):
    """A rate of another policy is counted over the record, by session."""
    journal = bench.generated(3000, "--session", "1000")
    policy = bench.write("rate.yaml", "version: 1\nrules:\n"
                                      "  - {name: flood, op: [delete], rate: 400/60s, action: deny}\n")
    code, _, whole = bench.replay_json(journal, "--policy", policy)
    expect(code == 0 and whole["other"]["verdicts"]["deny"] == 3 * 600, "%s" % whole["other"])


def case_flipped(bench):
    """One wrong verdict among thousands is found and named."""
    journal = bench.generated(5000, "--flip", "3210")
    code, lines, whole = bench.replay_json(journal)
    expect(code == 1 and len(lines) == 1 and whole["mismatches"] == 1, "%d: %s" % (code, whole))
    expect(lines[0]["path"].endswith("cache-3209") and lines[0]["recorded"]["verdict"] == "deny" and
           lines[0]["computed"] == {"verdict": "allow", "rule": "scratch"}, "%s" % lines[0])
    people = bench.replay(journal)
    expect(people.returncode == 1 and "cache-3209: deny by scratch is recorded, what comes out is allow by scratch" in
           people.stdout and "1 recorded verdict did not come out again" in people.stdout, people.stdout)
    expect(bench.replay(bench.generated(5000)).returncode == 0, "the same without a wrong one fails, too")


def case_filters(bench):
    recording = bench.recording()
    ops = recording.ops()
    plain = [event for event in ops if not tells_end(event)]

    def compare(words, wanted):
        _, lines, whole = bench.replay_json(recording.journal, "--events", *words)
        came = [(line["seq"], line["op"]) for line in lines if line["kind"] == "op"]
        expect(came == [(event["seq"], event["op"]) for event in wanted], "%s: %d events, not %d" % (
            words, len(came), len(wanted)))
        expect(wanted and len(wanted) < len(ops), "%s takes all or nothing" % words)
        return whole

    compare(["--session", "third"], [event for event in ops if event["session"]["name"] == "third"])
    compare(["--session", ops[0]["session"]["id"]], [e for e in ops if e["session"]["id"] == ops[0]["session"]["id"]])
    whole = compare(["--op", "rename,sql"], [event for event in ops if event["op"] in ("rename", "sql")])
    expect(whole["operations"] == len([e for e in plain if e["op"] in ("rename", "sql")]), "%s" % whole)
    compare(["--verdict", "hold"], [event for event in ops if event["verdict"] in ("hold", "deny", "kill")])
    glob = recording.top + "/project/uploads/*"
    compare(["--path", glob], [event for event in ops if "/project/uploads/" in event.get("target", {}).get("path", "")
                               or "/project/uploads/" in (event.get("target", {}).get("new_path") or "")])
    middle = ops[len(ops) // 2]["time"]
    compare(["--since", middle], [event for event in ops if event["time"] >= middle])
    compare(["--until", middle], [event for event in ops if event["time"] < middle])
    expect(bench.replay(recording.journal, "--since", "yesterday").returncode == 2, "a bad time is taken")


def case_relative(bench):
    """20 microseconds for each record: so many in the last 10 milliseconds."""
    journal = bench.generated(5000)
    _, _, whole = bench.replay_json(journal, "--since", "-10ms")
    expect(495 <= whole["operations"] <= 501, "%s" % whole)
    _, _, whole = bench.replay_json(journal, "--until", "+10ms")
    expect(495 <= whole["operations"] <= 501, "%s" % whole)


def build_empty_root(bench, journal):
    """A root directory with the program, what it links and the journal: no /proc, /dev, /etc or /tmp."""
    root = bench.path("root")
    os.mkdir(root)
    os.chmod(root, 0o755)
    libraries = subprocess.run(["ldd", bench.reprieve], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", libraries):
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.realpath(path), root + path)
    shutil.copy(bench.reprieve, root + "/reprieve")
    shutil.copytree(journal, root + "/journal")
    for directory, _, files in os.walk(root):
        os.chmod(directory, 0o755)
        for name in files:
            os.chmod(os.path.join(directory, name), 0o755)
    return root


def case_elsewhere(bench):
    """As nobody, on another host, with nothing of this one: the same, to the byte."""
    recording = bench.recording()
    here = bench.replay(recording.journal, "--json", "--events")
    root = build_empty_root(bench, recording.journal)
    words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "sh", "-c",
             "hostname other-host && exec chroot --userspec=65534:65534 %s /reprieve replay /journal --json --events"
             % root]
    there = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env={"PATH": os.environ["PATH"]})
    expect(there.returncode == 0, "status %d: %s" % (there.returncode, there.stderr[-2000:]))
    expect(there.stdout == here.stdout, first_difference(there.stdout.splitlines(), here.stdout.splitlines()))
    expect("clock" not in there.stderr and not there.stderr, "it says %s" % there.stderr)


def case_damaged(bench):
    """A byte is wrong: what can be read is replayed, and the end says that it is not all."""
    journal = bench.path("damaged")
    shutil.copytree(bench.generated(60000), journal)
    segment = os.path.join(journal, sorted(name for name in os.listdir(journal) if name.endswith(".rpj"))[0])
    with open(segment, "r+b") as file:
        file.seek(os.path.getsize(segment) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))
    done = bench.replay(journal)
    expect(done.returncode == 1 and "the journal is damaged" in done.stdout, done.stdout)
    expect("every recorded verdict" not in done.stdout, done.stdout)
    _, _, whole = bench.replay_json(journal)
    expect(whole["faults"] >= 1 and 0 < whole["operations"] < 60000 and whole["mismatches"] == 0, "%s" % whole)


def peak_kib(bench, journal, *words):
    """Of a child: ru_maxrss of all that were waited for is no use here."""
    code = ("import resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    done = subprocess.run([sys.executable, "-c", code, bench.reprieve, "replay", journal, "--json"] + list(words),
                          capture_output=True, text=True, timeout=300, check=True)
    return int(done.stdout)


def case_memory(bench):
    """Ten times the operations, in ten times the processes and sessions, take no more memory."""
    policy = bench.write("memory.yaml", "version: 1\nrules:\n"
                                        "  - {name: flood, op: [delete], rate: 2/60s, action: kill, scope: session}\n"
                                        "  - {name: one, op: [delete], path: ['/srv/app/**'], action: kill}\n")
    for words in (["--events"], ["--policy", policy]):
        small = peak_kib(bench, bench.generated(40000, "--session", "20", "--process", "10"), *words)
        large = peak_kib(bench, bench.generated(400000, "--session", "20", "--process", "10"), *words)
        expect(large < small + 1024, "%s: %d KiB for 40,000 operations, %d for 400,000" % (words, small, large))


def case_speed(bench):
    """Two seconds of record take two seconds at speed 1, and a fifth of one at 10."""
    journal = bench.generated(100000)
    took = {}
    for speed in ("1", "10"):
        started = time.monotonic()
        done = bench.replay(journal, "--speed", speed, "--op", "sql")
        took[speed] = time.monotonic() - started
        expect(done.returncode == 0, done.stderr)
    expect(2.0 <= took["1"] < 6.0 and took["10"] < took["1"] - 1.0, "%s" % took)


def case_progress(bench):
    """On a terminal the way is shown, and nowhere else."""
    journal = bench.generated(400000, "--session", "2000", "--process", "50")
    command = "%s replay %s" % (bench.reprieve, journal)
    shown = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=60,
                           check=True).stdout
    expect("entries" in shown and " %, " in shown, shown)
    expect(not bench.replay(journal).stderr, "it is shown where there is no terminal")


def case_usage(bench):
    missing = bench.replay(bench.path("nothing-here"))
    expect(missing.returncode == 1 and "nothing-here" in missing.stderr, missing.stderr)
    bad = bench.replay(bench.generated(5000), "--policy", bench.write("bad.yaml", "version: 1\nrules: [1]\n"))
    expect(bad.returncode == 1 and "bad.yaml:2:" in bad.stderr, bad.stderr)
    for words in (["--speed", "0"], ["--op", "fly"], ["--verdict", "maybe"], ["--path", "relative"]):
        expect(bench.replay(bench.generated(5000), *words).returncode == 2, "%s is taken" % words)


CASES = [(name[5:].replace("_", "-"), case) for name, case in list(globals().items()) if name.startswith("case_")]


# ---- running them


def add_options(parser):
    parser.add_argument("--generate", default=os.path.join(ring.BUILD, "tests", "replay", "generate"))


@contextlib.contextmanager
def open_bench(options, scratch):
    os.chmod(scratch, 0o755)  # somebody else reads a journal there
    with postgres.Postgres() as server:
        yield Bench(options.reprieve, os.path.abspath(options.generate), scratch, server)


if __name__ == "__main__":
    sys.exit(ring.main("replay", __doc__, CASES, open_bench, add_options=add_options, why_not=ring.lacking_server))
