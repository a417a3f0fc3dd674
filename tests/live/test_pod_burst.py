#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A node full of pods that start all at once, while the API tells of them late, or not for minutes, and the daemon dies.

    test_pod_burst.py [--reprieve PATH] [--pods N] [--away SECONDS] [--list] [NAME...]

Half of the pods are agents by their labels; some have several containers, some an init container before; what each runs
first deletes. It is a program of ours in the cgroup that the kubelet would make (burst_pod.c), which writes down what
became of each call. Each call's outcome is looked at, and what the daemon needed for it: memory, time of a processor,
requests to the API; and that nothing of it is left when the pods are gone. --away: how long the API stays away in the case
of that name (`make test-burst`: 300). Needs root, cgroup2 and a BPF file system.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import ring  # noqa: E402 (from this file's own directory)
import test_containers  # noqa: E402
import test_pod_agents  # noqa: E402
from ring import Failure, expect  # noqa: E402
from test_containers import cgroup_root, kubepods, new_id  # noqa: E402
from test_pod_agents import new_uid  # noqa: E402

HELPER = os.path.join(ring.BUILD, "tests", "live", "burst_pod")
BPF_FS = "/sys/fs/bpf"
FILES = 2  # that a container deletes at a time
ROLES = ("seen", "denied", "held")
TABLES = ("tasks", "sessions", "cgroups", "helds")
TICKS = os.sysconf("SC_CLK_TCK")
# More memory than at the start that the daemon may have: at its most, and when all is over.
PEAK_KIB, LEFT_KIB = 48 << 10, 8 << 10
SOCKETS = 8  # libcurl keeps some connections to the API open
POLICY = """version: 1
default: allow
unresolved: {{verdict: {verdict}, timeout: {timeout}}}
agents:
  - builtin: false
  - {{name: pod-agent, pod: {{namespace: ["agents-*"], labels: {{ai-agent: "true"}}}}}}
rules:
  - {{name: held, op: [delete], path: ["/work/held/**"], action: hold, timeout: 600s}}
  - {{name: denied, op: [delete], path: ["/work/denied/**"], action: deny}}
  - {{name: seen, op: [delete], path: ["/work/seen/**"], action: alert}}
"""


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wait_for(what, done, seconds=120.0):
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise Failure(what() if callable(what) else what)
        time.sleep(0.05)


def quantile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


class Box:
    """A container: its cgroup, its volume, and the rounds of deletions that its program goes through."""

    def __init__(self, burst, pod, kind="main"):
        self.burst, self.pod, self.kind, self.id = burst, pod, kind, new_id()
        name = "cri-containerd-%s.scope" % self.id if pod.style == "systemd" else self.id
        self.cgroup = cgroup_root() + pod.cgroup + "/" + name
        self.volume = os.path.join(burst.scratch, "volume-" + self.id[:12])
        for number in (1, 2):
            os.makedirs(self.path(number))
            for file in range(FILES):
                with open(os.path.join(self.path(number), "f%d" % file), "wb"):
                    pass

    def path(self, number):
        return os.path.join(self.volume, self.pod.role, str(number))

    def start(self):
        os.makedirs(self.cgroup, exist_ok=True)
        inside = "/work/%s/" % self.pod.role
        steps = [inside + "1"] + (["+/work/go", inside + "2", "+/work/end"] if self.kind == "main" else [])
        self.burst.begin(self, steps)

    def say(self, name):
        with open(os.path.join(self.volume, name), "wb"):
            pass

    def calls(self, number):
        """What it says of its calls of a round: (file, began, ended, errno)."""
        try:
            with open(os.path.join(self.volume, "log"), encoding="utf-8") as lines:
                rows = [line.split() for line in lines if line.endswith("\n")]
        except FileNotFoundError:
            return []
        inside = "/work/%s/%d/" % (self.pod.role, number)
        return [(row[0], int(row[1]), int(row[2]), int(row[3])) for row in rows if row[0].startswith(inside)]

    def left(self, number):
        return len(os.listdir(self.path(number)))


class Pod:
    def __init__(self, burst, number):
        self.uid, self.number, self.agent, self.told = new_uid(), number, number % 2 == 0, None
        self.role, self.style = ROLES[number // 2 % 3], ("systemd", "cgroupfs")[number // 6 % 2]
        self.cgroup = kubepods(self.style, test_containers.CLASSES[number % 3], self.uid)
        kinds = {3: 3, 4: 3}.get(number % 10, 1)
        self.boxes = [Box(burst, self) for _ in range(kinds)]
        self.init = Box(burst, self, "init") if number % 10 in (7, 8) else None
        # The label without the namespace is not enough, and the other way round.
        space = "agents-a" if self.agent or number % 4 == 1 else "default"
        label = self.agent or space == "default"
        self.object = {"kind": "Pod", "metadata": {"uid": self.uid, "namespace": space, "name": "pod-%d" % number,
                                                   "labels": {"ai-agent": "true" if label else "false"}},
                       "spec": {"nodeName": test_pod_agents.test_pods.NODE}, "status": {}}

    def all(self):
        return self.boxes + ([self.init] if self.init else [])

    def start(self):
        os.makedirs(cgroup_root() + self.cgroup, exist_ok=True)
        for box in [self.init] if self.init else self.boxes:
            box.start()

    def gone(self):
        for path in [box.cgroup for box in self.all()] + [cgroup_root() + self.cgroup]:
            while path != cgroup_root():
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    pass
                except OSError:
                    break
                path = os.path.dirname(path)
        for box in self.all():
            shutil.rmtree(box.volume)


class Figures:
    """What a daemon has used at a time."""

    def __init__(self, pid):
        with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        self.time, self.cpu = time.monotonic(), (int(fields[11]) + int(fields[12])) / TICKS
        with open("/proc/%d/status" % pid, encoding="utf-8") as lines:
            rows = dict(line.split(":", 1) for line in lines)
        self.rss, self.peak, self.anon = (int(rows[name].split()[0]) for name in ("VmRSS", "VmHWM", "RssAnon"))
        self.files, self.sockets = 0, 0
        for name in os.listdir("/proc/%d/fd" % pid):
            with contextlib.suppress(FileNotFoundError):
                what = os.readlink("/proc/%d/fd/%s" % (pid, name))
                self.sockets += what.startswith("socket:")
                self.files += not what.startswith("socket:")

    def __str__(self):
        return "VmRSS %d KiB (anonymous %d), peak %d KiB, %d sockets, %d other descriptors" % (
            self.rss, self.anon, self.peak, self.sockets, self.files)


class Bench(test_pod_agents.Bench):
    def __init__(self, reprieve, scratch, options):
        super().__init__(reprieve, scratch)
        self.options, self.pins = options, "%s/reprieve-pod-burst-%d" % (BPF_FS, os.getpid())
        self.verdict, self.timeout = "deny", "60s"
        self.boxes, self.pods_here, self.answers, self.daemons = {}, [], {}, 0
        self.rootfs = os.path.join(scratch, "rootfs")
        for name in ("bin", "work", "proc"):
            os.makedirs(os.path.join(self.rootfs, name))
        self.copy_helper()
        self.open_helper()
        self.answering = None

    def copy_helper(self):
        """With its libraries: on the uprobe tier what comes through a libc is guarded."""
        shutil.copy(HELPER, os.path.join(self.rootfs, "bin"))
        told = subprocess.run([HELPER], env={"LD_TRACE_LOADED_OBJECTS": "1"}, stdout=subprocess.PIPE, check=True)
        for library in (word for word in told.stdout.decode().split() if word.startswith("/")):
            os.makedirs(os.path.dirname(self.rootfs + library), exist_ok=True)
            shutil.copy(library, self.rootfs + library)

    def policy_text(self):
        return POLICY.format(verdict=self.verdict, timeout=self.timeout)

    def daemon_options(self):
        return super().daemon_options() + ["--pins", self.pins]

    def start_daemon(self):
        if self.daemons:
            shutil.move(os.path.join(self.scratch, "daemon.log"), os.path.join(self.scratch, "log-%d" % self.daemons))
        self.daemons += 1
        super().start_daemon()

    def figures(self):
        return Figures(self.daemon.pid)

    def count(self, table):
        done = subprocess.run([HELPER, "count", "%s/map_%s" % (self.pins, table)], stdout=subprocess.PIPE, check=True)
        return int(done.stdout)

    def counts(self):
        return {table: self.count(table) for table in TABLES}

    # ---- containers

    def open_helper(self):
        self.began, self.ended = {}, {}
        self.helper = subprocess.Popen([HELPER, "start", self.rootfs], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       encoding="utf-8")
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        for line in self.helper.stdout:
            what, name, value, when = line.split()
            box = self.boxes[name]
            if what == "began":
                self.began[name] = (int(value), int(when))
                continue
            self.ended[name] = (int(value), int(when))
            if box.kind == "init":
                for main in box.pod.boxes:
                    main.start()

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait()

    def begin(self, box, steps):
        self.boxes[box.id[:12]] = box
        self.helper.stdin.write(" ".join([box.id[:12], box.cgroup, box.volume] + steps) + "\n")
        self.helper.stdin.flush()

    def burst(self, count):
        """That many pods, all at once."""
        pods = [Pod(self, number) for number in range(count)]
        self.pods_here += pods
        for pod in pods:
            pod.start()
        return pods

    def told(self, pods):
        """The API tells of them, in one go."""
        def create():
            for pod in pods:
                self.api.cluster.pods[pod.uid] = pod.object
                self.api.cluster.record("ADDED", pod.object, True)
        self.api.do(create)
        for pod in pods:
            pod.told = now_ns()

    def absent(self, absent):
        def change():
            self.api.server.absent = absent
            if absent:
                self.api.server.cut()
        self.api.do(change)

    def over(self):
        """All pods end, and are forgotten by the kubelet and the API."""
        pods, self.pods_here = self.pods_here, []
        for pod in pods:
            for box in pod.boxes:
                box.say("go")
                box.say("end")
        wait_for("containers do not end", lambda: all(box.id[:12] in self.ended for pod in pods for box in pod.boxes))
        ended = [box for pod in pods for box in pod.all() if self.ended[box.id[:12]][0]]
        expect(not ended, "%d containers did not end by themselves, e.g. of pod %d: status %s" % (
            len(ended), ended[0].pod.number if ended else 0, [self.ended[box.id[:12]][0] for box in ended[:8]]))
        for pod in pods:
            if pod.uid in self.api.cluster.pods:
                self.api.do(lambda pod=pod: self.api.cluster.delete(pod.object))
            pod.gone()
        return pods

    # ---- reviews

    def decision(self, pod):
        return "deny" if pod.number % 4 == 0 else "approve"

    @contextlib.contextmanager
    def reviewer(self):
        """Somebody who answers each hold, by the pod that it is of."""
        stop = threading.Event()

        def answer():
            while not stop.wait(0.05):
                try:
                    for hold in self.pending():
                        self.decide(hold)
                except (OSError, ValueError, KeyError):
                    continue  # there is no daemon just now, or one that is busy

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def decide(self, hold):
        pod = self.boxes[hold["container"]["id"][:12]].pod
        subprocess.run([self.reprieve, self.decision(pod), str(hold["hold"]), "--socket", self.socket], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    # ---- what came of it

    def through(self, boxes, number, seconds=150.0):
        """All of them have made all calls of a round."""
        def lacking():
            return [box for box in boxes if len(box.calls(number)) < FILES]
        wait_for(lambda: "%d of %d containers are not through with round %d, e.g. %s of pod %d (%s, agent %s); status %s" % (
            len(lacking()), len(boxes), number, lacking()[0].id[:12], lacking()[0].pod.number, lacking()[0].pod.role,
            lacking()[0].pod.agent, self.status()["pods"]), lambda: not lacking(), seconds)

    def wanted(self, pod):
        """How many files of a round are left, where all is known."""
        if not pod.agent or pod.role == "seen":
            return 0
        return FILES if pod.role == "denied" or self.decision(pod) == "deny" else 0

    def right(self, boxes, number):
        """Each call of a round came out as the policy says, of each pod."""
        wrong = []
        for box in boxes:
            left, calls = box.left(number), box.calls(number)
            refused = len([call for call in calls if call[3]])
            if left != self.wanted(box.pod) or refused != left or len(calls) != FILES:
                wrong.append("pod %d (%s, agent %s, %s): %d files left, %d of %d calls refused" % (
                    box.pod.number, box.pod.role, box.pod.agent, box.kind, left, refused, len(calls)))
        expect(not wrong, "%d of %d containers: %s" % (len(wrong), len(boxes), "; ".join(wrong[:4])))

    def events(self):
        with open(self.events_path, encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]

    def reported(self, boxes, number, alone=False):
        """
        Each call of an agent's was told of as its pod's, and none of another's. Of what comes while there is no daemon
        the rule may not be known.
        """
        ours = {box.id: box for box in boxes}
        def lacking(events):
            told = {}
            for event in events:
                box = ours.get(event.get("container", {}).get("id"))
                if box and event["kind"] == "op" and event["op"] == "unlink":
                    expect(box.pod.agent, "a bystander's was reported: %s" % event)
                    told.setdefault((box.id, event["target"]["path"]), []).append(event)
            for box in boxes:
                for file in range(FILES if box.pod.agent else 0):
                    path = "/work/%s/%d/f%d" % (box.pod.role, number, file)
                    found = told.get((box.id, path), [])
                    if not found:
                        return "pod %d's %s was not told of" % (box.pod.number, path)
                    for event in found:
                        expect(event["container"]["pod"]["uid"] == box.pod.uid and event["rule"] in ((box.pod.role, None) if alone else (box.pod.role,)) and
                               event["session"]["agent"] == "pod-agent", "event: %s" % event)
            return None
        wait_for(lambda: lacking(self.events()), lambda: not lacking(self.events()), 20)

    def nothing_waits(self):
        told = self.status()["pods"]["unresolved"]
        wait_for(lambda: "still there: %s" % self.status()["pods"]["unresolved"], lambda: not any(
            self.status()["pods"]["unresolved"][name] for name in ("waiting", "late", "processes")), 20)
        return told

    def end(self):
        self.helper.stdin.close()
        self.helper.wait()
        self.listener.join()
        for pod in self.pods_here:
            pod.gone()
        super().end()
        subprocess.run([self.reprieve, "release", "--socket", self.scratch + "/none", "--pins", self.pins], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# ---- cases

def settled(bench):
    """The daemon, its tables and figures before anything happens."""
    wait_for("the API is not heard", lambda: bench.status()["pods"]["synced"])
    time.sleep(1)
    return bench.figures(), bench.counts()


def nothing_left(bench, before, tables):
    """All pods are gone: so is what the daemon and the kernel knew of them."""
    bench.over()
    wait_for(lambda: "the daemon still knows: %s" % bench.status()["pods"], lambda: not bench.status()["pods"]["pods"], 20)
    bench.nothing_waits()
    wait_for(lambda: "tables: %s, were %s" % (bench.counts(), tables), lambda: bench.counts() == tables, 20)
    wait_for(lambda: "before: %s; after: %s" % (before, bench.figures()), lambda: (lambda after: (
        after.rss <= before.rss + LEFT_KIB and after.files <= before.files and
        after.sockets <= before.sockets + SOCKETS))(bench.figures()), 20)
    status = bench.status()
    expect(not status["sessions"] and not status["processes"] and not status["losses"]["total"] and
           not status["mismatches"], "status: %s" % status)
    print("     all gone: %s" % bench.figures())


def burst_waits(bench, count):
    """That many pods begin, and what each of their containers removes first waits, with nothing lost."""
    waiting = bench.status()["pods"]["unresolved"]["waiting"]
    pods = bench.burst(count)
    first = [box for pod in pods for box in ([pod.init] if pod.init else pod.boxes)]
    wait_for(lambda: "%d of %d calls wait" % (bench.status()["pods"]["unresolved"]["waiting"], len(first) + waiting),
             lambda: bench.status()["pods"]["unresolved"]["waiting"] == len(first) + waiting)
    expect(not [box for box in first if box.left(1) != FILES], "something was lost before anything was known")
    return pods


def all_of(pods):
    return [box for pod in pods for box in pod.all()]


def first_round(bench, pods):
    with bench.reviewer():
        bench.through(all_of(pods), 1)
    bench.right(all_of(pods), 1)
    bench.reported(all_of(pods), 1)
    bench.nothing_waits()


def second_round(bench, pods):
    """What runs goes on deleting: judged as before."""
    boxes = [box for pod in pods for box in pod.boxes]
    for box in boxes:
        box.say("go")
    with bench.reviewer():
        bench.through(boxes, 2)
    bench.right(boxes, 2)
    return boxes


def bounded(bench, before, what, since):
    """Prints what a step cost, and looks at the daemon's memory at its most."""
    at_most = bench.figures()
    print("     %s: %.2f s of a processor in %.1f s; %s" % (what, at_most.cpu - since.cpu, at_most.time - since.time, at_most))
    expect(at_most.peak <= before.peak + PEAK_KIB, "before: %s; at most: %s" % (before, at_most))
    return at_most


def show_waits(bench, pods):
    """From the API's word (or the call, where that came later) to the outcome of a container's first call."""
    for agent in (True, False):
        told = [(box.calls(1)[0][2] - max(box.calls(1)[0][1], pod.told)) / 1e6 for pod in pods if pod.agent == agent and
                not (agent and pod.role == "held") for box in pod.all()]
        print("     %s, told of to outcome: median %.1f ms, 99 of 100 within %.1f ms, at most %.1f ms" % (
            "agents" if agent else "bystanders", quantile(told, 0.5), quantile(told, 0.99), max(told)))


def case_late(bench):
    """All of them wait, nothing is lost, until the API tells of them all in one go."""
    before, tables = settled(bench)
    pods = burst_waits(bench, bench.options.pods)
    since = bounded(bench, before, "%d pods begin" % len(pods), before)
    bench.told(pods)
    first_round(bench, pods)
    since = bounded(bench, before, "told of, first round", since)
    show_waits(bench, pods)
    bench.reported(second_round(bench, pods), 2)
    bounded(bench, before, "second round", since)
    nothing_left(bench, before, tables)


def case_restart(bench):
    """
    Killed while the API is away and pods wait: what was known stays judged as it was, with no API; what waited waits on.
    Then ended and begun anew, the same.
    """
    before, tables = settled(bench)
    known = bench.burst(bench.options.pods // 2)
    bench.told(known)
    first_round(bench, known)
    bench.absent(True)
    late = burst_waits(bench, bench.options.pods // 4)
    bench.kill_daemon()
    for box in all_of(known):
        box.say("go")
    bystanders = [box for pod in known if not pod.agent for box in pod.boxes]
    bench.through(bystanders, 2)
    bench.start_daemon()
    second_round(bench, known)
    expect(not bench.status()["pods"]["synced"], "the API is not away")
    expect(not [box for pod in late for box in pod.all() if box.calls(1)], "what waited went on")
    bench.told(late)
    bench.absent(False)
    first_round(bench, late)
    bench.absent(True)
    later = burst_waits(bench, bench.options.pods // 4)
    bench.stop_daemon()
    bench.start_daemon()
    second_round(bench, late)
    bench.told(later)
    bench.absent(False)
    first_round(bench, later)
    bench.reported(second_round(bench, later), 2)
    nothing_left(bench, before, tables)
    # What the kernel kept of the last call before there was a daemon again comes with the process's next, or its end.
    bench.reported([box for pod in known for box in pod.boxes], 2, True)
    bench.reported([box for pod in late for box in pod.boxes], 2, True)


def refused(bench, pods, waited):
    """Nobody told of them in time: whatever they are, what they remove is refused, the first after its time."""
    boxes = all_of(pods)
    bench.through(boxes, 1, waited + 60)
    wrong = [box for box in boxes if box.left(1) != FILES or not all(call[3] for call in box.calls(1))]
    expect(not wrong, "%d of %d containers of pods that nobody told of were not refused" % (len(wrong), len(boxes)))
    first = [box.calls(1)[0] for pod in pods for box in ([pod.init] if pod.init else pod.boxes)]
    waits = [(call[2] - call[1]) / 1e9 for call in first]
    expect(min(waits) > waited * 0.5, "one waited for %.1f s" % min(waits))
    return waits


def leave(bench, pods):
    """They end, and the API never told of them."""
    for pod in pods:
        bench.pods_here.remove(pod)
    kept, bench.pods_here = bench.pods_here, pods
    bench.over()
    bench.pods_here = kept


def away(bench, seconds, before, timeout):
    """The API is away: pods come, are refused as such that are not known, and go. Returns those that are left."""
    began, since, told, waits = time.monotonic(), bench.figures(), bench.api.server.requests, []
    wave = []
    while True:
        if wave:
            leave(bench, wave)
        wave = bench.burst(max(bench.options.pods // 10, 2))
        waits += refused(bench, wave, timeout)
        left = began + seconds - time.monotonic()
        if left < 20:
            break
        time.sleep(min(10, left - 20))
    time.sleep(max(0, began + seconds - time.monotonic()))
    now = bounded(bench, before, "API away", since)
    requests, minutes = bench.api.server.requests - told, (now.time - since.time) / 60
    print("     API away: %.3f s of a processor and %.1f requests a minute; %d first calls waited for %.1f to %.1f s" % (
        (now.cpu - since.cpu) / minutes, requests / minutes, len(waits), min(waits), max(waits)))
    # Two collections are watched; each wait is half of twice the one before at least, and 15 s at last.
    expect(requests <= 2 * (8 + (now.time - since.time) / 15), "%d requests in %.0f s" % (requests, now.time - since.time))
    return wave


def case_away(bench):
    """The API stays away: what is known is judged, new pods are refused after their time; then it is back."""
    timeout = 10 if bench.options.away else 3
    bench.unresolved("deny", "%ds" % timeout)
    before, tables = settled(bench)
    known = bench.burst(bench.options.pods)
    bench.told(known)
    first_round(bench, known)
    show_waits(bench, known)
    bench.absent(True)
    wave = away(bench, bench.options.away or 5, before, timeout)
    bench.reported(second_round(bench, known), 2)
    bench.told(wave)
    bench.absent(False)
    back = time.monotonic()
    wait_for("the API is not heard again", lambda: bench.status()["pods"]["pods"] == len(known) + len(wave), 60)
    print("     API back: heard %.1f s later" % (time.monotonic() - back))
    bench.nothing_waits()
    second_round(bench, wave)
    nothing_left(bench, before, tables)
    bench.unresolved("deny", "60s")


def cases():
    return [("burst-late", case_late), ("burst-restart", case_restart), ("burst-away", case_away)]


@contextlib.contextmanager
def open_bench(options, scratch):
    bench = Bench(options.reprieve, scratch, options)
    try:
        bench.start_daemon()
        yield bench
    finally:
        bench.end()


def why_not(options):
    if not cgroup_root():
        return "needs cgroup2"
    if not os.access(HELPER, os.X_OK):
        return "no program at %s: make programs" % HELPER
    if not os.path.ismount(BPF_FS):
        os.makedirs(BPF_FS, exist_ok=True)
        if subprocess.run(["mount", "-t", "bpf", "bpf", BPF_FS], check=False).returncode:
            return "no BPF file system"
    return ring.lacking(options)


def add_options(parser):
    parser.add_argument("--pods", type=int, default=200)
    parser.add_argument("--away", type=int, default=0, metavar="SECONDS")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    sys.exit(ring.main("pod-burst", __doc__, cases(), open_bench, add_options=add_options, why_not=why_not))
