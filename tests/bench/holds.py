# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a decision costs and how long a hold takes: the rows of tests/bench/run that are about holds and denials.

The figures are those that tests/bench/guest prints (parts `decided` and `holds`) and tests/bench/hold.c.
"""
import subprocess

GOALS = ("G2", "G3", "G5", "G10", "holds")  # what stands in the table of --only holds
THREADS = (1, 8, 64)
RUNS = 5
HOLDS = 300

POLICY = """version: 1
mode: enforce
default: allow
rules:
  - name: allowed
    op: [delete]
    path: ["/**/allowed/**"]
    action: allow
  - name: refused
    op: [delete]
    path: ["/**/refused/**"]
    action: deny
  - name: asked
    op: [delete]
    path: ["/**/asked/**"]
    action: hold
    timeout: 10m
"""


def write_policy(directory):
    (directory / "holds.yaml").write_text(POLICY)


def add_decided_rows(table, kernel, ratios):
    """The guard's part of a decided call, divided by what an empty LSM program adds; no goal is set for these."""
    empty = ratios.added("lsm_empty", "unlink")
    allow = ratios.added("allow", "unlink")
    least, deny = ratios.cost("lsm_refuse", "refused"), ratios.cost("deny", "refused")
    # What the least program adds to a call that it refuses cannot be seen alone: the call ends there. Taken is what the
    # empty one adds.
    beyond = deny - least + empty if deny and least and empty else None
    table.add("holds", "agent's unlink that a rule allows, recorded: added / an empty LSM program", kernel,
              allow / empty if allow and empty else None, None,
              f"+{allow:.0f} of +{empty:.0f} instructions" if allow and empty else "")
    table.add("holds", "agent's unlink that a rule denies, recorded: added / an empty LSM program", kernel,
              beyond / empty if beyond else None, None,
              f"+{beyond:.0f} of +{empty:.0f} instructions" if beyond else "")
    table.add("holds", "the same, whole call / refused by a program that does nothing else", kernel,
              deny / least if deny and least else None, None,
              f"{deny:.0f} of {least:.0f} instructions" if deny and least else "")


def add_spare_rows(table, where, figures):
    """Files gone of 1,000, the most of any run; and of the same work where nobody stands in its way."""
    bare = figures.get(("spare_none", "gone"))
    for how, name in (("deny", "denied"), ("hold", "held, then denied")):
        for threads in THREADS:
            context = f"spare_{how}_{threads}"
            gone, runs = figures.get((context, "gone")), figures.get((context, "runs"))
            killed = figures.get((context, "killed"))
            note = f", {killed:.0f} of them ended by SIGKILL" if killed else ""
            table.add("G10", f"files gone of 1,000, {name}, {threads} thread{'s'[:threads > 1]}", where, gone, 0,
                      f"most of {runs:.0f} runs{note}; in no session {bare:.0f} gone" if runs and bare is not None else "",
                      unit="")


def add_latency_rows(table, where, figures, note=""):
    rows = (("approve", "stop", "from system call to stopped, as the parent sees it"),
            ("approve", "answer", "from approve sent to call completed"),
            ("deny", "answer", "from deny sent to call failed"))
    for context, what, name in rows:
        middle, tail = figures.get((context, f"{what}_median")), figures.get((context, f"{what}_p99"))
        text = f"p99 {tail / 1e6:.2f} ms, {figures[context, 'holds']:.0f} holds{note}" if tail else ""
        table.add("holds", f"{name}, median", where, middle / 1e6 if middle else None, None, text, unit=" ms")


def parse(lines):
    """{(context, what): number} of the lines "CONTEXT WHAT NUMBER"."""
    return {(words[0], words[1]): float(words[2]) for words in map(str.split, lines) if len(words) == 3}


def call(*command):
    """What the guard tells the agent on its stderr is not kept, and why a measurement failed is at its end."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        print(f"bench: {' '.join(map(str, command))}: {done.stderr.strip()[-300:]}", flush=True)
    return parse(done.stdout.splitlines())


def measure_host(table, where, daemon, work, programs):
    """On this kernel. programs: hold, reprieve, victim."""
    hold, reprieve, victim = programs
    figures = {}
    for name in ("allowed", "refused", "asked"):
        (work / name).mkdir()
    for answer in ("approve", "deny"):
        figures |= call(hold, "latency", daemon.socket, reprieve, work / "asked", HOLDS, answer, answer)
    figures |= call(hold, "spare", daemon.socket, reprieve, victim, work / "asked", 8, 1, "none", "spare_none")
    for how, place in (("deny", "refused"), ("hold", "asked")):
        for threads in THREADS:
            figures |= call(hold, "spare", daemon.socket, reprieve, victim, work / place, threads, RUNS, how,
                            f"spare_{how}_{threads}")
    add_latency_rows(table, where, figures)
    add_spare_rows(table, where, figures)
