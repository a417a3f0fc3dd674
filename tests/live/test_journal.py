#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The journal, live: what a daemon keeps, what is there after it was killed, and what a full disk does to it.

    test_journal.py [--reprieve PATH] [--list] [NAME...]

NAME: only the cases whose name has it. The files are read by a reader of the tests' own (user/journal_format.h), so that
program and test do not err together. Needs root.
"""

import glob
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import zlib

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import ring  # noqa: E402 (from this file's own directory)
from ring import Skip, expect  # noqa: E402
from test_sinks import Daemon, free_port, open_bench, samples, scrape, wait_for  # noqa: E402

RECORD, START, STOP, POLICY, AGENTS, SESSION = 1, 2, 3, 4, 5, 13  # enum journal_kind
AGAIN, REDACTED = 2, 1  # enum journal_flag
RECORD_EXEC, RECORD_OP = 2, 4
FILES = 200
ROTATE_BY_ITSELF = 2  # sizes of a segment (user/journal_write.c)


def items_of(path):
    """(kind, flags, payload) of every item of a segment."""
    with open(path, "rb") as file:
        data = file.read()
    expect(data[:8] == b"RPRVJNL\n", "%s: no magic" % path)
    at, items = struct.unpack_from("<I", data, 12)[0], []
    while at + 56 <= len(data):
        magic, kind, _, stored, raw = struct.unpack_from("<IHHII", data, at)
        if magic != 0x626A7072 or at + 56 + stored + 32 > len(data):
            break
        payload = data[at + 56:at + 56 + stored]
        at += 56 + stored + 32
        if kind != 1:
            continue
        payload = zlib.decompress(payload)
        expect(len(payload) == raw, "%s: a block of %d bytes instead of %d" % (path, len(payload), raw))
        inner = 0
        while inner < raw:
            length, kind, flags = struct.unpack_from("<IHH", payload, inner)
            items.append((kind, flags, payload[inner + 8:inner + 8 + length]))
            inner += 8 + (length + 7) // 8 * 8
    return items


class Kept(Daemon):
    """A daemon with a journal."""

    def __init__(self, bench, options="", key=None, arguments=()):
        self.journal, self.key = bench.path(".journal"), key or bench.path(".key")
        self.options = options
        super().__init__(bench, [], ["--journal", self.journal, "--journal-key", self.key] + list(arguments))

    def write(self, sinks):
        super().write(sinks)
        with open(self.policy, "a", encoding="utf-8") as file:
            file.write("journal: {window: 20ms%s}\n" % self.options)

    def state(self):
        return self.status()["journal"]

    def settle(self):
        """Waits until all that was taken is on disk; what is in the ring comes with the status."""
        expect(wait_for(lambda: (lambda now: now["committed"] == now["items"])(self.state())), "not all is on disk")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __exit__(self, *unused):
        if self.process.returncode is None:
            self.stop()

    def verify(self, *more):
        done = subprocess.run([self.bench.reprieve, "verify", self.journal, "--json"] + list(more),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
        expect(done.stdout, "verify says nothing: %s" % done.stderr.decode())
        return done.returncode, json.loads(done.stdout)

    def segments(self):
        return sorted(glob.glob(self.journal + "/*.rpj"))

    def items(self):
        return [item for path in self.segments() for item in items_of(path)]


def text_at(record, place):
    """A struct text at that place of a record."""
    offset, length = struct.unpack_from("<HH", record, place)
    return record[offset:offset + length]


def removed(items, name):
    """Paths with that part that unlink records tell of: struct record_op has its op at byte 88, its path at 192."""
    records = [item[2] for item in items if item[0] == RECORD]
    paths = {text_at(record, 192) for record in records
             if struct.unpack_from("<H", record, 4)[0] == RECORD_OP and record[88] == 0}
    return {path for path in paths if name in path}


def public_of(key):
    return key[:-4] + ".pub"


def case_killed(bench):
    with Kept(bench) as daemon:
        daemon.remove(FILES, "first")
        daemon.settle()
        daemon.kill()
        code, check = daemon.verify("--key", public_of(daemon.key))
        expect(code == 0 and check["sound"] and check["open"], "after a kill: %r" % check)
        items = daemon.items()
        expect(len(removed(items, b"/first")) == FILES, "%d of %d files" % (len(removed(items, b"/first")), FILES))
        expect({START, POLICY, AGENTS} <= {item[0] for item in items}, "no start, policy or agents")
        expect(any(b"name: precious" in item[2] for item in items if item[0] == POLICY), "the policy is not whole")
        again = Kept(bench, key=daemon.key)
        again.journal = daemon.journal
        again.arguments[1] = daemon.journal
        with again:
            again.remove(FILES, "second")
        code, check = again.verify("--key", public_of(daemon.key))
        expect(code == 0 and check["segments"] == 2 and not check["open"], "after the second: %r" % check)
        expect(check["signed_items"] == check["items"], "not all is signed: %r" % check)
        items = again.items()
        expect(len(removed(items, b"/first")) == len(removed(items, b"/second")) == FILES, "files are missing")
        expect(items[-1][0] == STOP, "the last item is of kind %d" % items[-1][0])


def case_access(bench):
    with Kept(bench, options=", group: adm") as daemon:
        daemon.remove(3, "few")
        daemon.settle()
        for path, mode in ((daemon.journal, 0o750), (daemon.segments()[0], 0o640), (daemon.key, 0o600)):
            found = stat.S_IMODE(os.stat(path).st_mode)
            expect(found == mode, "%s: %o instead of %o" % (path, found, mode))
        second = subprocess.run([bench.reprieve, "daemon", "--socket", bench.path(".sock"), "--journal", daemon.journal,
                                 "--journal-key", daemon.key], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, check=False, timeout=60)
        expect(second.returncode == 1 and b"somebody else writes" in second.stdout, "two writers: %r" % second.stdout)


def case_redacts(bench):
    with Kept(bench, options=", redact: literals") as daemon:
        daemon.run(["sh", "-c", "rm -f \"$0\"; true --password=hunter2; /bin/true --token hunter2 --user ada:x",
                    os.path.join(bench.files(1, "secret"), "0")])
        daemon.run(["/bin/true", "--password=hunter2", "https://ada:hunter2@example.org/x"])
        daemon.settle()
    items = daemon.items()
    expect(not any(b"hunter2" in item[2] for item in items), "a secret is in the journal")
    expect(any(item[1] & REDACTED and b"--password=***" in item[2] for item in items), "nothing is masked")
    code, check = daemon.verify()
    expect(code == 0, "verify: %r" % check)


def case_rotates(bench):
    with Kept(bench, options=", size: 16K, cap: 128K") as daemon:
        for i in range(40):  # how much they take depends on how well they compress
            daemon.remove(FILES, "many%d" % i)
            if i % 4 == 3:
                daemon.run(["sh", "-c", "sleep 2.5"])
                if daemon.state()["segment"] >= 3:
                    break
        expect(wait_for(lambda: daemon.state()["segment"] >= 3), "segments: %r" % daemon.state())
    paths = daemon.segments()
    alone = 0
    for before, path in zip(paths, paths[1:]):
        kinds = {(item[0], bool(item[1] & AGAIN)) for item in items_of(path)}
        stands = (POLICY, True) in kinds or (POLICY, False) in kinds
        alone += stands
        # In a flood the writer turns to the next segment by itself, before the guard has come to write its state again.
        flooded = os.path.getsize(before) >= ROTATE_BY_ITSELF * 16384
        expect(stands or flooded, "%s cannot stand alone: %r" % (path, kinds))
    expect(alone, "no segment stands alone")
    code, check = daemon.verify()
    expect(code == 0 and check["segments"] == len(paths), "verify: %r" % check)


def case_full(bench):
    place = bench.path(".small")
    os.mkdir(place)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", place], check=False).returncode:
        raise Skip("no tmpfs can be mounted")
    try:
        daemon = Kept(bench)
        daemon.journal = daemon.arguments[1] = os.path.join(place, "journal")
        with daemon:
            free = daemon.remove(20, "before")
            with open(os.path.join(place, "ballast"), "wb") as ballast:
                try:
                    ballast.write(b"x" * 65536)
                    ballast.flush()
                except OSError:
                    pass
            full = daemon.remove(4000, "during")
            expect(wait_for(lambda: "No space" in (daemon.state().get("failing") or "")), "%r" % daemon.state())
            status = daemon.status()
            expect(any("journal" in line for line in status["degraded"]), "degraded: %r" % status["degraded"])
            expect(status["counts"]["ops"]["unlink"] >= 4020, "not all was seen: %r" % status["counts"]["ops"])
            expect("the journal cannot be written" in daemon.said(), "nobody was told")
            expect(full < free + 60, "a full disk slows the guard: %.1f s, %.1f s" % (free, full))
            os.unlink(os.path.join(place, "ballast"))
            subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
            expect(wait_for(lambda: not daemon.state().get("failing"), 20), "it does not go on: %r" % daemon.state())
            daemon.settle()
            expect(daemon.state()["lost"] == 0, "what waited in memory is lost: %r" % daemon.state())
        expect(len(removed(daemon.items(), b"/during")) >= 4000, "files are missing")
        code, check = daemon.verify()
        expect(code == 0, "verify: %r" % check)
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def case_run_alone(bench):
    journal, key = bench.path(".journal"), bench.path(".key")
    subprocess.run([bench.reprieve, "run", "--socket", bench.path(".sock"), "--journal", journal, "--journal-key", key,
                    "--", "rm", "-r", bench.files(5, "alone")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                   stderr=subprocess.PIPE, check=True, timeout=60)
    items = [item for path in sorted(glob.glob(journal + "/*.rpj")) for item in items_of(path)]
    expect(len(removed(items, b"/alone")) == 5, "%d of 5 files" % len(removed(items, b"/alone")))
    expect(any(item[0] == SESSION for item in items) and items[-1][0] == STOP, "no session, or no end")


def case_metrics(bench):
    port = free_port()
    with Kept(bench, arguments=["--metrics", str(port)]) as daemon:
        daemon.remove(5, "told")
        daemon.settle()
        found = samples(scrape(port))
        expect(found.get("reprieve_journal_failing") == 0, "%r" % sorted(found))
        expect(found["reprieve_journal_items_total"] >= 10, "%r" % found["reprieve_journal_items_total"])
        expect(found["reprieve_journal_lost_total"] == 0, "lost")


CASES = [
    ("killed", case_killed), ("access", case_access), ("redacts", case_redacts), ("rotates", case_rotates),
    ("full", case_full), ("run-alone", case_run_alone), ("metrics", case_metrics),
]


if __name__ == "__main__":
    sys.exit(ring.main("journal", __doc__, CASES, open_bench))
