#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""report and export: a session is recorded on this kernel, and all that is made of the recording has to agree.

    test_report.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. recordings/incident.jsonl was recorded on 6.12 with tier lsm: holds, decisions,
SQL, names that are an attack; cases that need those take it. Needs root.
"""

import base64
import contextlib
import csv
import hashlib
import html.parser
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import ring  # noqa: E402 (from this file's own directory)
from ring import Failure, expect  # noqa: E402

INCIDENT = os.path.join(HERE, "recordings", "incident.jsonl")


def same(found, wanted, what):
    expect(found == wanted, "%s: %r, not %r" % (what, found, wanted))


def events_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# ---- what a recording says, by the rules of the session's totals, written once more


def lost_of(event):
    """The inode that an operation lost, with its path; None: it lost nothing."""
    if event.get("kind") != "op" or event.get("result") != 0 or "nothing-lost" in event.get("notes", []):
        return None
    target = event.get("target")
    if not target or event["op"] in ("rawwrite", "exec", "sql"):
        return None
    inode = target.get("replaced") if event["op"] == "rename" else target
    return (target["new_path" if event["op"] == "rename" else "path"], inode) if inode else None


def is_file(event):
    lost = lost_of(event)
    return bool(lost) and event["op"] != "rmdir" and lost[1].get("type") != "directory"


def bytes_of(event):
    inode, op = lost_of(event)[1], event["op"]
    size = inode.get("size")
    if size is None or op == "overwrite":
        return 0
    if op == "truncate":
        return size - event["target"].get("new_size", 0)
    return 0 if (inode.get("nlink") or 1) > 1 else size


def session_name(event):
    return (event.get("session") or {}).get("name")


# ---- the page


class Page(html.parser.HTMLParser):
    """A page, taken apart: text by the id of the element, tags, attributes."""

    VOID = {"meta", "link", "br", "img", "input", "col", "rect", "hr"}

    def __init__(self, path):
        super().__init__()
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.tags, self.attributes, self.open, self.text, self.whole = [], [], [], {}, []
        self.rows = {}
        self.feed(self.source)
        self.close()
        expect(not self.open, "elements are not closed: %s" % self.open)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs).get("id"), dict(attrs).get("class")))
        if tag == "tr":
            name = next((cls for _, _, cls in reversed(self.open) if cls and cls.startswith("t-")), None)
            if any(tag == "tbody" for tag, _, _ in self.open):
                self.rows[name] = self.rows.get(name, 0) + 1

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        expect(self.open and self.open[-1][0] == tag, "</%s> closes %s" % (tag, self.open[-1:]))
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1][0] not in ("style", "script"):
            self.whole.append(data)
        for _, identity, _ in self.open:
            if identity:
                self.text[identity] = self.text.get(identity, "") + data

    def all(self):
        return "".join(self.whole)

    def number(self, identity):
        return int(self.text[identity].replace(",", ""))


def check_safe(page):
    """Nothing from outside, nothing that runs but what the policy in the page names by its hash."""
    same((page.tags.count("script"), page.tags.count("style")), (1, 1), "scripts and styles")
    for banned in ("link", "img", "iframe", "object", "embed", "base", "form", "image", "use"):
        expect(banned not in page.tags, "there is a <%s>" % banned)
    for tag, name, value in page.attributes:
        expect(not name.startswith("on") and name not in ("src", "srcset", "style", "action"), "<%s %s>" % (tag, name))
        expect(name != "href" or value.startswith("#"), "<%s href=%s>" % (tag, value))
    expect(not re.search(r"https?://|//[a-z]+\.|@import|url\(", page.source.split("</style>")[0]), "the style fetches")
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and name == "content"
                  and "default-src" in value)
    expect(policy.startswith("default-src 'none'"), policy)
    for tag in ("style", "script"):
        text = re.search("<%s>(.*?)</%s>" % (tag, tag), page.source, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        expect("%s-src 'sha256-%s'" % (tag, digest) in policy, "the %s is not the one that the policy names" % tag)
    expect(not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", page.source),
           "characters that cannot be seen")
    identities = [value for _, name, value in page.attributes if name == "id"]
    same(len(set(identities)), len(identities), "identities that are there once")
    targets = [value[1:] for _, name, value in page.attributes if name == "href"]
    expect(set(targets) <= set(identities), "links go nowhere: %s" % sorted(set(targets) - set(identities))[:5])


# ---- recording


class Bench:
    def __init__(self, reprieve, scratch):
        self.reprieve, self.scratch = reprieve, scratch
        self.numbers = iter(range(1, 1 << 30))
        self.recorded = None

    def path(self, suffix=""):
        return os.path.join(self.scratch, "r%d%s" % (next(self.numbers), suffix))

    def call(self, *arguments, status=0, **more):
        done = subprocess.run([self.reprieve, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False, timeout=120, **more)
        expect(done.returncode == status, "%s: status %d: %s" % (" ".join(arguments)[:200], done.returncode,
                                                                 done.stderr.decode(errors="replace")[-500:]))
        return done

    def report(self, source, *more):
        path = self.path(".html")
        self.call("report", source, "-o", path, *more)
        return Page(path)

    def export(self, source, form, *more):
        path = self.path("." + form)
        self.call("export", source, "--format", form, "-o", path, *more)
        return path

    def recording(self):
        """(journal, events, workspace, process that has a lost file open): made once."""
        if not self.recorded:
            self.recorded = self.record()
        return self.recorded

    def record(self):
        work, journal, events = self.path(".ws"), self.path(".journal"), self.path(".jsonl")
        socket, policy, said = self.path(".sock"), self.path(".yaml"), self.path(".err")
        lay_out(work)
        with open(policy, "w", encoding="utf-8") as file:
            file.write('version: 1\nrules:\n  - {name: deep, op: [delete], path: ["%s/deep/**"], action: alert}\n' % work)
        with open(said, "wb") as errors:
            daemon = subprocess.Popen([self.reprieve, "daemon", "--policy", policy, "--journal", journal, "--events",
                                       events, "--socket", socket, "--quiet"], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=errors)
        try:
            wait_guarding(daemon, said)
            with open(os.path.join(work, "still-open"), "rb") as held:
                holder = subprocess.Popen(["sleep", "600"], stdin=held)
            self.call("run", "--socket", socket, "--name", "first", "--agent", "codex", "--", "sh", "-c",
                      "rm -rf deep; find . -maxdepth 1 -type f -delete", cwd=work)
            self.call("run", "--socket", socket, "--name", "other", "--", "mv", "spare/a", "spare/b", cwd=work)
        finally:
            daemon.terminate()
            daemon.wait(60)
        same(daemon.returncode, 0, "the daemon's end")
        return journal, events, work, holder

    def done(self):
        if self.recorded:
            self.recorded[3].kill()
            self.recorded[3].wait()


HOSTILE = [b"<script>alert(1)<!--", b"a&amp;b", b"\"' onload=x", b"bell\x07esc\x1b[31m", b"latin-\xe9\xff",
           "rtl-\u202egpj.exe".encode(), b"=cmd|' calc'!A0", b"new\nline"]


def lay_out(work):
    os.makedirs(os.path.join(work, "deep", "er"))
    os.makedirs(os.path.join(work, "spare"))
    for name, size in [("still-open", 5000), ("spare/a", 10), ("spare/b", 20)]:
        with open(os.path.join(work, name), "wb") as file:
            file.write(b"x" * size)
    for number in range(40):
        with open(os.path.join(work, "deep", "er", "f%d" % number), "wb") as file:
            file.write(b"x" * number)
    for name in HOSTILE:
        with open(os.path.join(work.encode(), name), "wb") as file:
            file.write(b"x")


def wait_guarding(daemon, said):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        with open(said, encoding="utf-8", errors="replace") as file:
            if "guarding:" in file.read():
                return
        time.sleep(0.05)
    raise Failure("the daemon did not start: %s" % open(said, encoding="utf-8", errors="replace").read()[-1000:])


# ---- the report


def case_report_of_a_journal(bench):
    """Figures are those of the events, each name is there as text, and the journal's own facts are told."""
    journal, events, work, _ = bench.recording()
    page, recorded = bench.report(journal), events_of(events)
    check_safe(page)
    files = [event for event in recorded if is_file(event)]
    expect(len(files) >= 49, "%d files lost" % len(files))
    same(page.number("f-lost"), len(files), "files lost")
    same(page.rows["t-lost"], len([event for event in recorded if lost_of(event)]), "rows of losses")
    text = page.all()
    for name in ("<script>alert(1)<!--", "a&amp;b", "\"' onload=x", "bell\\x07esc\\x1b[31m", "latin-\\xe9\\xff",
                 "rtl-\\u202egpj.exe", "=cmd|' calc'!A0", "new\\nline"):
        expect(work + "/" + name in text, "no %r" % name)
    expect("Intact." in page.text["integrity"], page.text["integrity"])
    expect("name: deep" in page.text["policy"], "the policy's text is not there")
    expect("rm -rf deep" in page.text["processes"], "the tree lacks a command")


def case_report_of_events(bench):
    """The same figures without a journal, and no claim of integrity."""
    journal, events, _, _ = bench.recording()
    one, other = bench.report(journal), bench.report(events)
    for figure in ("f-lost", "f-spared", "f-holds", "f-sql"):
        same(other.number(figure), one.number(figure), figure)
    same(other.rows, one.rows, "rows")
    expect("Not checked." in other.text["integrity"], other.text["integrity"])


def case_report_still_open(bench):
    """A lost file that a process has open is found with its descriptor; one that nobody has is not."""
    journal, _, work, holder = bench.recording()
    text = bench.report(journal).text["recovery"]
    where = "/proc/%d/fd/0" % holder.pid
    expect(work + "/still-open" in text and where in text, "not found: " + text[:500])
    with open(where, "rb") as file:
        same(len(file.read()), 5000, "bytes that can be had there")
    expect("1 lost file was still open" in text, text[:300])
    expect("not asked for" in bench.report(journal, "--no-look").text["recovery"], "--no-look looked")


def case_report_elsewhere(bench):
    """Events of another machine: nobody's descriptors are looked at."""
    text = bench.report(INCIDENT).text["recovery"]
    expect("was not looked for" in text and "another machine" in text, text[:300])


def case_report_incident(bench):
    """Holds with who decided, when and why; what was spared; SQL; hard links."""
    page, recorded = bench.report(INCIDENT), events_of(INCIDENT)
    check_safe(page)
    same(page.number("f-holds"), len({event["hold"] for event in recorded if event["kind"] == "hold"}), "holds")
    same(page.number("f-lost"), len([event for event in recorded if is_file(event)]), "lost")
    same(page.number("f-sql"), len([event for event in recorded if event.get("op") == "sql" and event["kind"] == "op"]),
         "statements")
    holds = page.text["holds"]
    for part in ("Hold 1: denied by root after 4.0 s", "Hold 2: nobody answered in time", "Hold 5: killed by root",
                 "Not on production. Ask Ann <ann@example.com>.", "120 files (3.5 MB) and 3 directories",
                 "approved it, for this one operation", "The rule answered when the time was over: deny",
                 "Customers' uploads: ask the owner first."):
        expect(part in holds, "the holds lack %r" % part)
    expect("1 statement was let through, 1 was stopped" in page.text["sql"], page.text["sql"][:200])
    expect("/srv/app/releases/linked" in page.text["recovery"] and "find MOUNT" in page.text["recovery"], "no hard link")
    expect("git push origin --force main" in page.text["stopped"] or "git" in page.text["timeline"], "no exec")


def many(bench, count):
    """A recording of so many deletions by a thousand processes, in a hundred directories."""
    path = bench.path(".jsonl")
    session = {"id": "s-9-1", "name": "many", "agent": "codex", "workspace": "/w"}
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            pid = 1000 + number // 20
            file.write(json.dumps({
                "v": 1, "time": "2026-11-22T07:%02d:%02d.%06d000Z" % (number // 60000 % 60, number // 1000 % 60,
                                                                      number % 1000 * 1000),
                "host": "h", "seq": number, "kind": "op", "op": "unlink", "verdict": "alert", "tier": "lsm", "result": 0,
                "session": session,
                "process": {"pid": pid, "start": pid, "uid": 0, "comm": "rm", "exe": "/bin/rm", "args": ["rm", str(pid)]},
                "ancestry": [{"pid": 9, "comm": "node", "exe": "/bin/node"}],
                "target": {"path": "/w/d%d/f%d" % (number % 100, number), "type": "file", "dev": "8:1", "ino": number,
                           "size": 10, "nlink": 1}}) + "\n")
    return path


def memory_of(*command):
    """KiB that a command used at most."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    same(process.returncode, 0, "status")
    return usage.ru_maxrss


def case_report_bounded(bench):
    """60,000 events: sums are exact, rows are limited and the rest is named; the page and the memory stay small."""
    path, small, recording = bench.path(".html"), bench.path(".html"), many(bench, 60000)
    used = memory_of(bench.reprieve, "report", recording, "--rows", "500", "-o", path)
    little = memory_of(bench.reprieve, "report", many(bench, 6000), "--rows", "500", "-o", small)
    page = Page(path)
    check_safe(page)
    same(page.number("f-lost"), 60000, "lost")
    same(page.rows["t-lost"], 500, "rows")
    expect("Left out of this list: 59,500 more" in page.text["lost"], "what is left out is not said")
    expect(len(page.source) < 1 << 20, "the page has %d bytes" % len(page.source))
    expect(used < little + 4096, "%d KiB of memory for ten times what took %d" % (used, little))
    database = bench.path(".db")
    used = memory_of(bench.reprieve, "export", recording, "--format", "sqlite", "-o", database)
    expect(used < 32 << 10, "the database took %d KiB of memory" % used)
    same(sqlite3.connect(database).execute("SELECT count(*) FROM lost_files").fetchone(), (60000,), "rows of sqlite")


def case_report_broken_journal(bench):
    """A flipped byte is told in the first lines of the report, with its place; what stands before it is there."""
    journal, _, _, _ = bench.recording()
    copy = bench.path(".journal")
    shutil.copytree(journal, copy)
    segment = sorted(os.listdir(copy))[0]
    with open(os.path.join(copy, segment), "r+b") as file:
        file.seek(-400, os.SEEK_END)
        byte = file.read(1)
        file.seek(-400, os.SEEK_END)
        file.write(bytes([byte[0] ^ 0x10]))
    text = bench.report(copy).text["integrity"]
    expect("Broken." in text and "First bad place: block" in text and segment in text, text)


def case_report_filter(bench):
    """A filter is applied, and the report's reader is told of it."""
    journal, events, _, _ = bench.recording()
    page = bench.report(journal, "--session", "other")
    wanted = [event for event in events_of(events) if is_file(event) and session_name(event) == "other"]
    same(page.number("f-lost"), len(wanted), "lost")
    expect("session other" in page.all() and "leaves out everything else" in page.all(), "the filter is not told")
    bench.call("report", events, "--session", "other", status=2)


def case_whole_or_not(bench):
    """What fails leaves the file of before, and nothing beside it."""
    directory = bench.path(".d")
    os.mkdir(directory)
    kept, bad = os.path.join(directory, "kept"), bench.path(".bad")
    for path, text in ((kept, "before"), (bad, "no events\n")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    bench.call("report", bad, "-o", kept, status=1)
    for form in ("jsonl", "csv", "sqlite", "ocsf"):
        bench.call("export", bad, "--format", form, "-o", kept, status=1)
        bench.call("export", INCIDENT, "--format", form, "-o", os.path.join(directory, "no", "such"), status=1)
    with open(kept, encoding="utf-8") as file:
        same(file.read(), "before", "the file of before")
    same(os.listdir(directory), ["kept"], "files")
    bench.call("export", INCIDENT, "--format", "sqlite", status=2)
    bench.call("export", INCIDENT, "--format", "xml", status=2)
    bench.call("report", INCIDENT, "-o", kept)
    same(os.stat(kept).st_mode & 0o777, 0o600, "mode")


# ---- exports


def case_jsonl(bench):
    """The journal gives the very events that the sinks got."""
    journal, events, _, _ = bench.recording()
    with open(events, "rb") as wanted, open(bench.export(journal, "jsonl"), "rb") as found:
        same(found.read(), wanted.read(), "events")


def case_csv(bench):
    """RFC 4180, a row an event, and no field that a spreadsheet runs."""
    journal, events, work, _ = bench.recording()
    for source, wanted in ((journal, events_of(events)), (INCIDENT, events_of(INCIDENT))):
        with open(bench.export(source, "csv"), newline="", encoding="utf-8") as file:
            text = file.read()
        expect(text.count("\r\n") == len(wanted) + 1 and "\n" not in text.replace("\r\n", ""), "ends of lines")
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
        same(len(rows), len(wanted), "rows")
        for row, event in zip(rows, wanted):
            expect(None not in row and None not in row.values(), "columns: %s" % row)
            same((row["time"], row["kind"], row["op"]), (event["time"], event["kind"], event.get("op") or ""), "a row")
            same(row["files_lost"], str(int(is_file(event))) if event["kind"] == "op" else "", "files_lost")
            for name, value in row.items():
                expect(not value.startswith(("=", "+", "@", "\t")) and not (value.startswith("-") and name != "result"),
                       "%s = %r is a formula" % (name, value))
    raw = [row for row in csv.DictReader(io.StringIO(text)) if row["path_raw"]]
    expect(raw and base64.b64decode(raw[0]["path_raw"]).endswith(b"latin-\xe9\xff"), "path_raw")


def ask(database, question, *values):
    return database.execute(question, values).fetchall()


def case_sqlite(bench):
    """Which files did session S delete, in order, with sizes?"""
    journal, events, _, _ = bench.recording()
    for source, wanted in ((journal, events_of(events)), (INCIDENT, events_of(INCIDENT))):
        database = sqlite3.connect(bench.export(source, "sqlite"))
        same(ask(database, "PRAGMA integrity_check"), [("ok",)], "integrity")
        same(ask(database, "PRAGMA foreign_key_check"), [], "references")
        name = next(session_name(event) for event in wanted if is_file(event))
        found = ask(database, "SELECT time, path, size FROM lost_files WHERE session_name = ? ORDER BY id", name)
        same(found, [(event["time"], lost_of(event)[0], lost_of(event)[1].get("size")) for event in wanted
                     if is_file(event) and session_name(event) == name], "files of " + name)
        same(ask(database, "SELECT count(*), sum(bytes_lost) FROM lost_files")[0][0],
             len([event for event in wanted if is_file(event)]), "lost")
        same(ask(database, "SELECT coalesce(sum(bytes_lost), 0) FROM lost_files")[0][0],
             sum(bytes_of(event) for event in wanted if is_file(event)), "bytes lost")
        counts = {kind: len([event for event in wanted if event["kind"] == kind]) for kind in ("op", "review")}
        same(ask(database, "SELECT (SELECT count(*) FROM operations), (SELECT count(*) FROM reviews)")[0],
             (counts["op"], counts["review"]), "rows")
        same([json.loads(row[0]) for row in ask(database, "SELECT event FROM operations ORDER BY id")],
             [event for event in wanted if event["kind"] == "op"], "events as they were")
        same({row[0] for row in ask(database, "SELECT id FROM sessions")},
             {event["session"]["id"] for event in wanted if event.get("session")}, "sessions")
        plan = str(ask(database, "EXPLAIN QUERY PLAN SELECT * FROM operations WHERE session_id = 'x' ORDER BY id"))
        expect("operations_session" in plan, "no index: " + plan)
        database.close()


def case_sqlite_facts(bench):
    """Policies and integrity come along; decisions are a view; true bytes are kept."""
    journal, _, work, _ = bench.recording()
    database = sqlite3.connect(bench.export(journal, "sqlite"))
    expect("name: deep" in ask(database, "SELECT text FROM policies")[0][0], "policy")
    expect("right checksum" in ask(database, "SELECT value FROM info WHERE key = 'integrity'")[0][0], "integrity")
    same(ask(database, "SELECT path_bytes FROM operations WHERE path_bytes IS NOT NULL AND result = 0"),
         [(work.encode() + b"/latin-\xe9\xff",)], "bytes of a path")
    database.close()
    database = sqlite3.connect(bench.export(INCIDENT, "sqlite"))
    same(ask(database, "SELECT state, user, answer, reason, stake_files FROM hold_decisions WHERE hold = 1"),
         [("denied", "root", "deny", "Not on production. Ask Ann <ann@example.com>.", 120)], "a decision")
    same(ask(database, "SELECT state, answer FROM hold_decisions WHERE hold = 2"), [("timed-out", None)], "no decision")
    database.close()


def case_filters(bench):
    journal, events, _, _ = bench.recording()
    recorded = events_of(events)
    found = events_of(bench.export(journal, "jsonl", "--session", "other", "--op", "rename"))
    same(found, [event for event in recorded if event.get("op") == "rename" and session_name(event) == "other"], "renames")
    found = events_of(bench.export(journal, "jsonl", "--path", "**/deep/**"))
    expect(found and all("/deep/" in event["target"]["path"] for event in found), "--path")
    found = events_of(bench.export(journal, "jsonl", "--verdict", "alert", "--op", "unlink"))
    same(len(found), 40, "alerts")
    bench.call("export", events, "--format", "csv", "--op", "unlink", status=2)


# ---- OCSF 1.9.0: what is used of it, as the schema's source has it (github.com/ocsf/ocsf-schema: events/base_event.json,
# events/system/{system,file_activity,process_activity}.json, events/application/datastore_activity.json,
# events/findings/{finding,detection_finding}.json, objects/*.json, profiles/{security_control,ai_operation}.json,
# CHANGELOG.md of v1.9.0, 3 August 2026), and where that source was not at hand in full as 1.6.0 is documented
# (docs.tenzir.com/reference/ocsf/1-6-0). ! is required; a word in quotes is an object below.

STRING, INTEGER, BOOLEAN, JSON = "string", "integer", "boolean", "json"
BASE = {"activity_id!": INTEGER, "activity_name": STRING, "category_uid!": INTEGER, "class_uid!": INTEGER,
        "type_uid!": INTEGER, "severity_id!": {0, 1, 2, 3, 4, 5, 6, 99}, "time!": INTEGER, "message": STRING,
        "metadata!": "metadata", "status_id": {0, 1, 2, 99}, "status_detail": STRING, "status_code": STRING,
        "unmapped": JSON}
CONTROL = {"action_id": {0, 1, 2, 3, 4}, "disposition_id": set(range(28)) | {99}, "is_alert": BOOLEAN, "policy": "policy"}
AGENT = {"ai_agent": "ai_agent"}
CLASSES = {
    0: (0, {99}, BASE),
    1001: (1, set(range(1, 15)) | {0, 99}, dict(BASE, **CONTROL, **AGENT, **{
        "actor!": "actor", "device!": "device", "file!": "file", "file_result": "file"})),
    1007: (1, {0, 1, 2, 3, 4, 5, 99}, dict(BASE, **CONTROL, **AGENT, **{
        "actor!": "actor", "device!": "device", "process!": "process"})),
    6005: (6, set(range(11)) | {99}, dict(BASE, **CONTROL, **AGENT, **{
        "actor!": "actor", "src_endpoint!": "network_endpoint", "dst_endpoint": "network_endpoint", "database": "database",
        "table": "table", "query_info": "query_info", "type_id": {0, 1, 2, 3, 99}})),
    2004: (2, {0, 1, 2, 3, 99}, dict(BASE, **{
        "finding_info!": "finding_info", "status_id": {0, 1, 2, 3, 4, 5, 6, 99}, "device": "device", "is_alert": BOOLEAN,
        "evidences": ["evidences"], "notes": ["note"]})),
}
AT_LEAST_ONE = {
    "actor": {"process", "user", "session", "app_name", "app_uid"}, "process": {"pid", "uid", "cpid"},
    "process_entity": {"cmd_line", "name", "path", "pid", "uid"}, "network_endpoint": {"ip", "uid", "name", "hostname"},
    "device": {"ip", "uid", "name", "hostname"}, "database": {"name", "uid"}, "table": {"name", "uid"},
    "policy": {"name", "uid"}, "query_info": {"name", "uid"}, "user": {"name", "uid"}, "product": {"name", "uid"},
    "evidences": {"actor", "database", "device", "file", "process", "user"}, 6005: {"database", "databucket", "table"},
}
OBJECTS = {
    "metadata": {"version!": {"1.9.0"}, "product!": "product", "sequence": INTEGER, "original_time": STRING,
                 "correlation_uid": STRING, "log_name": STRING, "profiles": [{"security_control", "ai_operation"}]},
    "product": {"name": STRING, "vendor_name": STRING, "version": STRING},
    "actor": {"process": "process", "user": "user", "app_name": STRING},
    "user": {"name": STRING, "uid": STRING},
    "process": {"pid": INTEGER, "tid": INTEGER, "uid": STRING, "name": STRING, "cmd_line": STRING, "file": "file",
                "user": "user", "parent_process": "process", "ancestry": ["process_entity"], "working_directory": STRING},
    "process_entity": {"pid": INTEGER, "name": STRING, "path": STRING, "cmd_line": STRING, "uid": STRING},
    "file": {"name!": STRING, "path": STRING, "type_id!": {-1, 0, 1, 2, 3, 4, 5, 6, 7, 99}, "size": INTEGER, "uid": STRING},
    "device": {"hostname": STRING, "type_id!": set(range(16)) | {99}},
    "network_endpoint": {"hostname": STRING, "name": STRING, "ip": STRING, "port": INTEGER},
    "database": {"name": STRING, "type_id!": {0, 1, 2, 3, 4, 99}},
    "table": {"name": STRING}, "query_info": {"query_string!": STRING, "uid": STRING},
    "policy": {"name": STRING, "desc": STRING},
    "ai_agent": {"uid!": STRING, "name": STRING, "instance_uid": STRING, "type": STRING, "type_id": {0, 1, 2, 3, 4, 99}},
    "finding_info": {"uid!": STRING, "title": STRING, "desc": STRING, "created_time": INTEGER},
    "evidences": {"actor": "actor", "file": "file", "database": "database"},
    "note": {"comment!": STRING, "created_time": INTEGER, "owner": "user", "title": STRING},
}
TYPES = {STRING: str, INTEGER: int, BOOLEAN: bool, JSON: dict}


def check_value(value, wanted, where):
    if isinstance(wanted, list):
        expect(isinstance(value, list) and value, "%s is no list" % where)
        for entry in value:
            check_value(entry, wanted[0], where)
    elif isinstance(wanted, set):
        expect(value in wanted, "%s is %r" % (where, value))
    elif wanted in TYPES:
        expect(type(value) is TYPES[wanted], "%s is %r, no %s" % (where, value, wanted))
    else:
        check_object(value, OBJECTS[wanted], wanted, where)


def check_object(value, attributes, name, where):
    known = {key.rstrip("!"): wanted for key, wanted in attributes.items()}
    expect(isinstance(value, dict), "%s is no object" % where)
    for key in attributes:
        expect(not key.endswith("!") or key[:-1] in value, "%s lacks %s" % (where, key[:-1]))
    for key, entry in value.items():
        expect(key in known, "%s has an attribute %s that the schema does not have" % (where, key))
        check_value(entry, known[key], where + "." + key)
    expect(name not in AT_LEAST_ONE or AT_LEAST_ONE[name] & set(value), "%s has none of %s" %
           (where, AT_LEAST_ONE.get(name)))


def check_ocsf(event):
    same(event["class_uid"] in CLASSES, True, "class %s" % event["class_uid"])
    category, activities, attributes = CLASSES[event["class_uid"]]
    check_object(event, attributes, event["class_uid"], "class %d" % event["class_uid"])
    expect(event["activity_id"] in activities, "activity %s" % event["activity_id"])
    same(event["category_uid"], category, "category")
    same(event["type_uid"], event["class_uid"] * 100 + event["activity_id"], "type_uid")
    profiles = event["metadata"].get("profiles", [])
    same("ai_agent" in event, "ai_operation" in profiles, "profile ai_operation")
    same("action_id" in event, "security_control" in profiles, "profile security_control")


def case_ocsf(bench):
    """Required attributes, types, enumerations, constraints; nothing that the schema does not know."""
    journal, events, _, _ = bench.recording()
    for source, wanted in ((journal, events_of(events)), (INCIDENT, events_of(INCIDENT))):
        found = events_of(bench.export(source, "ocsf"))
        same(len(found), len(wanted), "events")
        for event, origin in zip(found, wanted):
            check_ocsf(event)
            same(event["unmapped"]["kind"], origin["kind"], "kind")
            same(event["metadata"]["sequence"], origin["seq"], "sequence")
    classes = {event["class_uid"] for event in found}
    same(classes, {1001, 1007, 2004, 6005}, "classes of the incident")
    stopped = [event for event in found if event.get("disposition_id") == 2 and event["class_uid"] != 6005]
    same(len(stopped), len([event for event in wanted if event["kind"] == "op" and event.get("acted") and
                            (event.get("result") or 0) < 0]), "blocked")


def case_ocsf_checker(bench):
    """The checker sees what is wrong."""
    event = next(event for event in events_of(bench.export(INCIDENT, "ocsf")) if event["class_uid"] == 1001)
    for change in ({"severity_id": 9}, {"time": "now"}, {"file": {"path": "/a", "type_id": 1}}, {"files": 1},
                   {"type_uid": 100105}, {"device": {"type_id": 0}}, {"actor": {}}):
        try:
            check_ocsf(dict(event, **change))
        except Failure:
            continue
        raise Failure("%s passes" % change)


# ---- the runner


def cases():
    return [(name[5:], function) for name, function in globals().items() if name.startswith("case_")]


@contextlib.contextmanager
def open_bench(options, scratch):
    bench = Bench(options.reprieve, scratch)
    try:
        yield bench
    finally:
        bench.done()


if __name__ == "__main__":
    sys.exit(ring.main("report", __doc__, cases(), open_bench))
