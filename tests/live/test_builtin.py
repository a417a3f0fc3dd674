#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The built-in policy: ordinary work goes on, and each incident that a Linux guard can see is stopped.

    test_builtin.py [--reprieve PATH] [--ask PATH] [--action deny] [--record DIR] [--list] [NAME...]

NAME: only the cases whose name has it.
    recorded/   what agents and tools did (operations/*.jsonl), asked of the policy: nothing is stopped
    asked/      names and commands, each with the rule that must hold, or none
    ordinary/   git, npm, make, cargo, pip and editors, really run in a workspace: nothing is stopped or reported
    incident/   what destroyed people's data, really run on victims made for it: held, by the rule that is meant.
                Where the event says that this was done, and always on the lsm tier, the victims are there afterwards.
--action deny puts denials in place of the policy's holds. --record writes what the ordinary cases do to files to DIR, as record_agents.py does. The cases live in a mount namespace
with a /home of its own, and every process judged is in a session that a case began. Needs root.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import zipfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import record_agents  # noqa: E402 (from this file's own directory)
import ring  # noqa: E402
import test_sql  # noqa: E402
from ring import Skip, expect  # noqa: E402
from test_sql import PYTHON  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
POLICY = os.path.join(HERE, "..", "..", "user", "builtin.yaml")
OPERATIONS = os.path.join(HERE, "operations")
HOME = "/home/dev"
MASS = 1200  # files; more than the rates of the policy
test_sql.TIMEOUT = 240  # seconds for one command; in a virtual machine each takes ten times as long
INSIDE = "REPRIEVE_TEST_INSIDE"  # set in the mount namespace


class Result(test_sql.Result):
    def describe(self):
        return (["status %d" % self.status] + ["stderr: " + text[:200] for text in self.errors.splitlines()[-8:]] +
                ["event: " + line(event) for event in stopped(self)[:8]])


class Bench(test_sql.Bench):
    """One daemon with the built-in policy; its holds end after a second, since nobody answers."""

    def __init__(self, reprieve, ask, server, scratch, action, record):
        super().__init__(reprieve, server, scratch)
        self.action = action
        self.ask_program, self.record, self.workspace, self.held = ask, record, None, []
        with open(POLICY, encoding="utf-8") as file:
            text = file.read()
        self.only = self.write(text.replace("    action: hold\n", "    action: %s\n" % action +
                                            ("    timeout: 1s\n" if action == "hold" else "")), ".yaml")

    def fresh(self, workspace="project"):
        """A new home with something of everything that people lose; the workspace is below it, or is it ("")."""
        for name in os.listdir("/home"):
            shutil.rmtree(os.path.join("/home", name))
        self.workspace = os.path.join(HOME, workspace).rstrip("/")
        for path in ("Documents/a.pdf", "Documents/b.pdf", "Documents/c.pdf", ".ssh/id_ed25519", ".bashrc",
                     "other/src/main.c", "data/big/1.bin", "data/small/2.bin", "project/README"):
            self.file(os.path.join(HOME, path))
        self.git("init", "-q", "--template=", HOME + "/other")

    @staticmethod
    def git(*words):
        subprocess.run(["git", "-c", "init.defaultBranch=main"] + list(words), check=True, env=environment(),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @staticmethod
    def file(path, text="kept\n"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self, policy, command, more=None):
        name = "session-%d" % next(self.numbers)
        socket, events = self.daemon(policy)
        process = subprocess.Popen(
            [self.reprieve, "run", "--socket", socket, "--name", name, "--workspace", self.workspace, "--"] + command,
            cwd=self.workspace, env=environment(more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True)
        return process, (events, name)

    def session(self, command, more=None):
        result = self.run(self.only, command, more)
        self.last = Result(result.status, result.output, result.errors, result.events)
        return self.last

    def shell(self, script):
        return self.session(["sh", "-e", "-c", script])

    def server_idle(self):
        if self.server:
            super().server_idle()

    def status(self):
        socket = self.daemon(self.only)[0]
        done = subprocess.run([self.reprieve, "status", "--json", "--socket", socket], stdout=subprocess.PIPE,
                              check=True)
        return json.loads(done.stdout)

    def tier(self, op):
        return [row["tier"] for row in self.status()["tiers"] if row["op"] == op][0]

    def ask(self, questions):
        """Answers, as (verdict, rule), to dictionaries of op, path, new_path, args, rate and workspace."""
        fields = ("op", "workspace", "path", "new_path", "args", "rate")
        text = "".join("\t".join(str(question.get(field, "")) for field in fields) + "\n" for question in questions)
        done = subprocess.run([self.ask_program, POLICY], input=text, stdout=subprocess.PIPE, text=True, check=True)
        return [tuple(line.split()[:2]) for line in done.stdout.splitlines()]


def environment(more=None):
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    toolchains = os.path.expanduser("~/.rustup")
    if os.path.isdir(toolchains):
        keep["RUSTUP_HOME"] = toolchains
    identity = {"GIT_%s_%s" % (who, what): "dev" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return dict(keep, HOME=HOME, TERM="dumb", GIT_CONFIG_NOSYSTEM="1", **identity, **(more or {}))


def stopped(result):
    """What the policy did not simply allow."""
    return [event for event in result.events if event.get("kind") == "op" and event.get("verdict") != "allow"]


def line(event):
    target, sql = event.get("target", {}), event.get("sql", {})
    return "%s %s %s%s by %s" % (event["verdict"], event["op"], target.get("path") or sql.get("statement"),
                                 " -> " + target["new_path"] if target.get("new_path") else "", event.get("rule"))


# ---- recorded: what agents and tools did


def recorded_case(path):
    def case(bench):
        with open(path, encoding="utf-8") as file:
            header, *rows = [json.loads(text) for text in file]
        expect(len(rows) == header["operations"] and rows, "%d operations, not %s" % (len(rows), header["operations"]))
        places = {"{workspace}": HOME + "/project", "{home}": HOME, "{tmp}": "/tmp/agent",
                  "{installed}": "/usr/lib/node_modules/agent"}

        def place(text):
            for name, directory in places.items():
                if text.startswith(name):
                    return directory + text[len(name):]
            return text
        questions = [{"op": row["op"], "path": place(row["path"]), "new_path": place(row.get("new_path", "")),
                      "workspace": places["{workspace}"]} for row in rows]
        wrong = ["%s: %s %s" % (answer, question["op"], question["path"])
                 for question, answer in zip(questions, bench.ask(questions)) if answer[0] != "allow"]
        expect(not wrong, "stopped: " + "; ".join(wrong))
    return case


# ---- asked: OP PATH [NEW PATH], in the workspace /home/dev/project; the rule that must hold, or None

W = HOME + "/project"
FILES = [
    ("unlink", HOME + "/.ssh/known_hosts.old", None), ("rename", HOME + "/.ssh/known_hosts.x7Tq", None),
    ("unlink", HOME + "/.ssh/id_ed25519", "keys"), ("truncate", "/root/.ssh/authorized_keys", "keys"),
    ("unlink", HOME + "/.gnupg/.#lk0x55.host.12", None), ("unlink", HOME + "/.gnupg/private-keys-v1.d/A.key", "keys"),
    ("rmdir", HOME + "/.gnupg", "outside-workspace"), ("unlink", HOME + "/.aws/cli/cache/1.json", None),
    ("truncate", HOME + "/.aws/credentials", "keys"), ("truncate", HOME + "/.kube/config", None),
    ("unlink", HOME + "/.bash_history-0123.tmp", None), ("rename", HOME + "/.viminfz.tmp", None),
    ("truncate", HOME + "/.bashrc", "outside-workspace"), ("unlink", HOME + "/.profile", "outside-workspace"),
    ("unlink", HOME + "/.config/google-chrome/Default/Cookies-journal", None),
    ("unlink", HOME + "/.thunderbird/x/Mail/Inbox", "outside-workspace"),
    ("unlink", HOME + "/.cache/pip/http/a", None), ("unlink", "/root/.cargo/registry/src/a/b.rs", None),
    ("rmdir", HOME + "/go/pkg/mod/x", None), ("unlink", HOME + "/.local/lib/python3.11/site-packages/a.py", None),
    ("unlink", HOME + "/.local/share/containers/storage/overlay/a/diff/x", None),
    ("unlink", HOME + "/.local/share/containers/storage/volumes/v/_data/x", "container-volume-files"),
    ("unlink", "/run/user/1000/podman/x", None), ("unlink", "/run/media/dev/disk/a.jpg", "outside-workspace"),
    ("unlink", "/tmp/x/y", None), ("unlink", "/var/tmp/x", None), ("unlink", "/srv/app/uploads/a", "outside-workspace"),
    ("unlink", "/mnt/disk/a", "outside-workspace"), ("rename", "/mnt/disk", "homes-and-mounts"),
    ("rename", "/home", "homes-and-mounts"), ("rename", HOME, "homes-and-mounts"), ("rmdir", HOME, "homes-and-mounts"),
    ("rename", HOME + "/Documents", "homes-and-mounts"), ("rmdir", "/var/lib", "homes-and-mounts"),
    ("unlink", "/usr/bin/python3", "outside-workspace"), ("unlink", "/usr/bin/new.dpkg-tmp", None),
    ("rename", "/usr/bin/grep.dpkg-new", None), ("rename", "/usr/bin/grep", None),
    ("rename", "/usr/local/bin/own", "outside-workspace"), ("rename", "/usr/lib", "homes-and-mounts"),
    ("rename", "/etc/alternatives/editor.dpkg-tmp", None), ("truncate", "/etc/fstab", "outside-workspace"),
    ("unlink", "/var/lib/apt/lists/partial/x", None), ("unlink", "/var/lib/postgresql/15/main/base/1", "outside-workspace"),
    ("unlink", "/var/cache/apt/archives/x.deb", None), ("truncate", "/var/log/syslog", "outside-workspace"),
    ("unlink", "/usr/local/lib/python3.11/dist-packages/a.py", None), ("truncate", "/proc/77/oom_score_adj", None),
    ("unlink", "/proc/77/root/home/dev/a", "outside-workspace"), ("rawwrite", "/dev/sda", "block-devices"),
    ("unlink", W + "/a", None), ("rmdir", W + "/src", None), ("rename", W + "/src", None), ("truncate", W + "/a", None),
    ("unlink", W + "/.a.swp", None), ("rmdir", W + "/~", None),
    ("unlink", W + "/.git/index.lock", None), ("rename", W + "/.git/HEAD.lock", None),
    ("unlink", W + "/.git/objects/ab/cdef", None), ("unlink", W + "/.git/refs/heads/topic", None),
    ("unlink", W + "/.git/HEAD", "version-control-files"), ("truncate", W + "/.git/config", "version-control-files"),
    ("rmdir", W + "/.git", None), ("rename", W + "/.git", "version-control"),
    ("rename", W + "/.git/objects", "version-control"), ("unlink", W + "/sub/.git/config", "version-control-files"),
    ("unlink", W + "/.git/worktrees/x/HEAD", None), ("unlink", W + "/node_modules/x/.git/HEAD", None),
    ("unlink", HOME + "/.cache/pre-commit/r/.git/HEAD", None), ("unlink", "/tmp/pip-req-build-1/.git/HEAD", None),
    ("unlink", HOME + "/.git/index.lock", None), ("unlink", HOME + "/.git/objects/ab/c", "other-repositories"),
    ("unlink", HOME + "/other/.git/objects/pack/p.pack", "other-repositories"),
]

SWEPT = [("unlink", W + "/src/a.c", "mass-deletion"), ("unlink", W + "/node_modules/a/b.js", None),
         ("unlink", W + "/src/a.o", None), ("unlink", W + "/target/debug/x", None), ("rmdir", W + "/src", "mass-deletion"),
         ("unlink", W + "/.git/objects/ab/c", None), ("unlink", HOME + "/.claude/x/y", "state-swept"),
         ("unlink", HOME + "/.npm/_cacache/x", None), ("unlink", "/tmp/x", None)]

COMMANDS = [
    ("terraform destroy -auto-approve", "remote-data"), ("terraform -chdir=x destroy", "remote-data"),
    ("terraform apply -destroy", "remote-data"), ("terraform plan", None), ("terraform apply", None),
    ("kubectl delete ns prod", "remote-data"), ("kubectl delete pods --all", "remote-data"),
    ("kubectl delete pod a", None), ("kubectl get ns", None), ("helm uninstall x", "remote-data"),
    ("aws s3 rm s3://b --recursive", "remote-data"), ("aws s3 cp a s3://b", None), ("aws s3 ls", None),
    ("gcloud storage rm -r gs://b", "remote-data"), ("gcloud sql instances delete x", "remote-data"),
    ("dropdb prod", "remote-data"), ("redis-cli -h x FLUSHALL", "remote-data"), ("redis-cli get a", None),
    ("sh -c prisma migrate reset --force", "remote-data"), ("prisma db push --accept-data-loss", "remote-data"),
    ("sh -c prisma db push --force-reset", "remote-data"), ("prisma db push", None), ("sh -c prisma migrate dev", None),
    ("prisma generate", None), ("sh -c drizzle-kit push --force", "remote-data"), ("supabase db reset", "remote-data"),
    ("docker system prune -af --volumes", "container-volumes"), ("docker system prune -f", None),
    ("docker volume rm data", "container-volumes"), ("podman volume prune -f", "container-volumes"),
    ("docker compose down -v", "container-volumes"), ("docker compose -f x.yml down --volumes", "container-volumes"),
    ("docker compose down", None), ("docker compose up -d", None), ("docker run --rm -v a:/b x", None),
    ("git push --force", "shared-history"), ("git push -f origin main", "shared-history"),
    ("git -C x push origin main --force", "shared-history"), ("git push --force-with-lease", None),
    ("git push origin fix-f", None), ("git push", None), ("git filter-branch -f", "shared-history"),
    ("git reset --hard", "uncommitted-work"), ("git reset --hard HEAD~3", "uncommitted-work"),
    ("git -C x reset --hard origin/main", "uncommitted-work"), ("git reset --hard -q --no-recurse-submodules", None),
    ("git reset --soft HEAD~1", None), ("git reset a.c", None), ("git checkout -- .", "uncommitted-work"),
    ("git checkout .", "uncommitted-work"), ("git restore .", "uncommitted-work"), ("git checkout main", None),
    ("git checkout -b topic", None), ("git checkout -- a.c", None), ("git checkout -f main", "uncommitted-work"),
    ("git stash", None), ("git stash pop", None), ("git stash clear", "uncommitted-work"), ("git clean -fdx", None),
    ("rm -rf .git", "repository-removed"), ("rm -r -f ./.git/", "repository-removed"),
    ("rm -rf .git README", "repository-removed"),
    ("rm -rf .github", None), ("rm -f .gitignore", None), ("rm -rf build", None), ("echo terraform destroy", None),
    ("grep -r rm -rf .git", None), ("bash -c git reset --hard", None),
]


def check_answers(bench, questions, wanted):
    wrong = []
    for question, rule, answer in zip(questions, wanted, bench.ask(questions)):
        expected = ("hold", rule) if rule else ("allow",)
        if answer[:len(expected)] != expected:
            wrong.append("%s: %s, not %s" % (question, answer, expected))
    expect(not wrong, "; ".join(wrong))


def case_asked_files(bench):
    check_answers(bench, [{"op": op, "path": path, "workspace": W} for op, path, _ in FILES], [row[-1] for row in FILES])


def case_asked_swept(bench):
    check_answers(bench, [{"op": op, "path": path, "workspace": W, "rate": 1} for op, path, _ in SWEPT],
                  [row[-1] for row in SWEPT])


def case_asked_commands(bench):
    check_answers(bench, [{"op": "exec", "args": text} for text, _ in COMMANDS], [row[-1] for row in COMMANDS])


def case_asked_home_as_workspace(bench):
    """Homes and keys are held, and repositories, where the session was started above them."""
    for workspace in (HOME, "/"):
        rows = [("unlink", HOME + "/.ssh/id_rsa", "keys"), ("rename", HOME, "homes-and-mounts"),
                ("rename", HOME + "/Documents", "homes-and-mounts"), ("rename", HOME + "/x/.git", "version-control"),
                ("unlink", HOME + "/.cache/a", None), ("unlink", "/tmp/a", None), ("unlink", HOME + "/notes", None)]
        check_answers(bench, [{"op": op, "path": path, "workspace": workspace} for op, path, _ in rows],
                      [row[-1] for row in rows])


def case_asked_builtin(bench):
    """What is tested here is what the program has built in."""
    done = subprocess.run([bench.reprieve, "policy", "show", "--json", "--socket", "/nonexistent/socket"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    with open(POLICY, encoding="utf-8") as file:
        expect(json.loads(done.stdout)["text"].strip() == file.read().strip(), "policy show shows another policy")


# ---- ordinary: really run


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip("needs %s" % program)


def write_operations(bench, name, result):
    names = record_agents.Names(HOME, "/nonexistent")
    names.prefixes = [(bench.workspace, "{workspace}"), (HOME, "{home}")]
    rows = record_agents.table(result.events, names, names.outline)
    record_agents.write_table(os.path.join(bench.record, "tool-%s.jsonl" % name), name, version(name), rows)


def version(name):
    program = {"python": PYTHON, "files": "rm"}.get(name, name)
    done = subprocess.run([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else ""


def ordinary_case(name, run, least):
    """least: operations that must at least have been seen, since a case that does nothing proves nothing."""
    def case(bench):
        bench.fresh()
        result = run(bench)
        expect(result.status == 0, "exit status %d: %s" % (result.status, result.errors[-300:]))
        expect(not stopped(result), "not simply allowed: " + "; ".join(line(event) for event in stopped(result)[:5]))
        seen = sum(event.get("kind") == "op" and event["op"] != "exec" for event in result.events)
        expect(seen >= least, "only %d operations were seen, not %d" % (seen, least))
        if bench.record:
            write_operations(bench, name, result)
    return case


GIT = """
git init -q -b master . && git config user.name dev && git config user.email dev@localhost
for n in $(seq 220); do echo $n > file$n; done
git add . && git commit -q -m one && git status > /dev/null && git branch topic
for n in $(seq 80); do echo more >> file$n; done
git commit -q -a -m two && git rm -q file21 file22 && git commit -q -m three
git checkout -q topic && echo other > topic.txt && git add . && git commit -q -m four
git rebase -q master
git commit -q --amend -m five && git tag v1 && git checkout -q -b wide
git rm -q -r file1* && git commit -q -m wide && git checkout -q topic && git checkout -q wide && git checkout -q topic
echo change >> file3 && git stash -q && git stash pop -q && git checkout -q -- file3
mkdir junk && touch junk/a junk/b new && git clean -q -fdx
git worktree add -q .worktrees/w wide 2> /dev/null && git worktree remove .worktrees/w
git merge -q --no-edit wide && git reset -q --soft HEAD~1 && git commit -q -m merged
git clone -q . ../project/copy 2> /dev/null && git -C copy fetch -q && git -C copy pull -q
git branch -q -D wide && git reflog expire --expire=now --all && git gc -q --prune=now && git fsck > /dev/null 2>&1
git pack-refs --all && git remote add origin copy && git remote remove origin
"""


def run_git(bench):
    need("git")
    return bench.shell(GIT)


def run_npm(bench):
    need("npm", "tar")
    bench.file(W + "/dep/package.json", '{"name": "dep", "version": "1.0.0"}')
    for number in range(40):
        bench.file(W + "/dep/lib/%d.js" % number)
    bench.file(W + "/package.json", '{"name": "app", "version": "1.0.0", "dependencies": {"dep": "file:dep-1.0.0.tgz"}}')
    return bench.shell("npm pack --silent ./dep > /dev/null; npm install --offline --no-audit --no-fund --silent; "
                       "npm ci --offline --no-audit --no-fund --silent; npm ci --offline --no-audit --silent; "
                       "test -e node_modules/dep/lib/7.js; rm -rf node_modules")


def run_make(bench):
    need("make")
    bench.file(W + "/Makefile", "OBJECTS = $(patsubst %.c,%.o,$(wildcard src/*.c))\nall: $(OBJECTS)\n\tmkdir -p build "
               "&& cp $(OBJECTS) build/ && cat $(OBJECTS) > prog\n%.o: %.c\n\tcp $< $@\nclean:\n\t"
               "rm -rf build prog $(OBJECTS)\n")
    for number in range(MASS):
        bench.file(W + "/src/%d.c" % number)
    return bench.shell("make -s all; make -s clean; make -s all; make -s clean; test -e src/3.c; test ! -e src/3.o")


def run_cargo(bench):
    need("cargo")
    bench.file(W + "/Cargo.toml", '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2018"\n')
    bench.file(W + "/src/main.rs", "fn main() {}\n")
    return bench.shell("cargo build -q --offline; cargo build -q --offline --release; cargo clean -q; test ! -e target")


def wheel(path, number):
    """A package with a module of its own for each version, so that an upgrade has to delete."""
    info = "app-%d.0.dist-info/" % number
    with zipfile.ZipFile(path, "w") as archive:
        for module in range(20):
            archive.writestr("app/v%d_%d.py" % (number, module), "")
        archive.writestr("app/__init__.py", "")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: app\nVersion: %d.0\n" % number)
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")


def run_pip(bench):
    if subprocess.run([PYTHON, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("needs the venv module of %s (package python3-venv)" % PYTHON)
    for number in (1, 2):
        wheel(W + "/app-%d.0-py3-none-any.whl" % number, number)
    return bench.shell(PYTHON + " -m venv venv; pip='venv/bin/python -m pip -q --disable-pip-version-check'; "
                       "$pip install --no-index app-1.0-py3-none-any.whl; venv/bin/python -c 'import app'; "
                       "$pip install --no-index app-2.0-py3-none-any.whl; $pip uninstall -y app; rm -rf venv")


def run_vim(bench):
    need("vim.tiny")
    bench.file(W + "/a.txt", "one\n")
    save = "vim.tiny -u NONE -i ~/.viminfo -es -c 'set %s' -c 's/$/!/' -c wq a.txt; "
    result = bench.shell(save % "backup backupcopy=no" + save % "nobackup backupcopy=yes" + save % "swapfile writebackup" +
                         "grep -q '!!!' a.txt")
    return result


def run_nano(bench):
    """On a terminal, with the keys that a person presses."""
    need("nano")
    bench.file(W + "/a.txt", "one\n")
    script = bench.file(HOME + "/keys.py", KEYS)
    result = bench.session([PYTHON, script, "nano", "--backup", "a.txt"])
    with open(W + "/a.txt", encoding="utf-8") as file:
        expect(file.read().startswith("typed"), "nano did not save")
    return result


def run_long(bench):
    """More arguments than the kernel reads: what might follow must not be held against them."""
    names = " ".join("directory/file-number-%d.txt" % number for number in range(200))
    return bench.shell("mkdir directory; touch %s; rm -rf %s; sh -c ': %s'; %s -c pass %s; env -- true %s" %
                       (names, names, names, PYTHON, names, names) +
                       ("; node -e 0 %s" % names if shutil.which("node") else "") +
                       "; git init -q .; git add --ignore-errors -- %s . 2> /dev/null || true" % names)


KEYS = """
import os, pty, sys, time
pid, terminal = pty.fork()
if not pid:
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[1], sys.argv[1:])
time.sleep(1)
for keys in (b"typed", b"\\x0f", b"\\r", b"\\x18"):
    os.write(terminal, keys)
    time.sleep(0.5)
try:
    while os.read(terminal, 4096):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def run_files(bench):
    """sed -i and its like, redirections, temporary files, a directory with an odd name, a build directory moved away."""
    bench.file(W + "/~/a")
    return bench.shell("echo one > a; echo two > a; sed -i s/two/three/ a; ! command -v perl || perl -pi -e s/three/four/ a; cp a b; mv b a; "
                       "t=$(mktemp); echo x > $t; echo y > $t; rm $t; mkdir -p ~/.cache/x; touch ~/.cache/x/y; "
                       "rm -rf ~/.cache/x; rm -rf ./~; mkdir -p build/x; touch build/x/y; mv build old; rm -r old; "
                       "echo k > ~/.ssh/known_hosts; cp ~/.ssh/known_hosts ~/.ssh/known_hosts.x; "
                       "mv ~/.ssh/known_hosts.x ~/.ssh/known_hosts; git config --global user.name dev; "
                       "git config --global user.email dev@localhost")


# ---- incidents: what ran, the rule that must hold it, what must be there afterwards


def kept(bench, held):
    """Whether what was held has to be there: where the event says that it was acted upon, which on the lsm tier it has
    to say. The signal tier comes too late for the first."""
    if all(bench.tier(event["op"]) == "lsm" for event in held):
        expect(all(event.get("acted") for event in held), "not acted upon: " + "; ".join(map(line, held[:5])))
        return True
    return all(event.get("acted") and event.get("tier") != "signal" for event in held)


def incident_case(run, rule, victims, op=None, workspace="project", before=None):
    """run: words of a command, or a script. victims: paths, below the home."""
    def case(bench):
        bench.fresh(workspace)
        if before:
            before(bench)
        paths = [os.path.join(HOME, victim) for victim in victims]
        expect(all(os.path.exists(path) for path in paths), "the victims are not there to begin with")
        result = bench.session(run if isinstance(run, list) else ["sh", "-c", run])
        held = [event for event in result.events if event.get("kind") == "op" and event.get("rule") == rule and
                event["verdict"] == bench.action and (not op or event["op"] == op)]
        expect(held, "nothing was held by %s; the rest: %s" % (rule, "; ".join(map(line, stopped(result)[:5]))))
        gone = [path for path in paths if not os.path.exists(path)]
        expect(not gone or not kept(bench, held), "gone: %s" % gone)
        bench.held = held
    return case


def python(text):
    return [PYTHON, "-c", text]


def many(bench):
    for number in range(3 * MASS):
        bench.file(W + "/papers/%d.pdf" % number)


def repository(bench):
    bench.git("init", "-q", W)
    bench.git("-C", W, "add", ".")
    bench.git("-C", W, "commit", "-q", "-m", "one")
    bench.file(W + "/README", "never committed\n")


def volumes(bench):
    bench.file(HOME + "/.local/share/containers/storage/volumes/data/_data/x")


def link(bench):
    os.symlink(HOME + "/Documents", W + "/link")


def case_uncommitted(command):
    """The work that only the workspace had is still there."""
    def case(bench):
        incident_case(command, "uncommitted-work", ["project/README"], "exec", before=repository)(bench)
        with open(W + "/README", encoding="utf-8") as file:
            expect(file.read() == "never committed\n" or not kept(bench, bench.held), "the work is gone")
    return case


def case_truncated(command, rule="outside-workspace"):
    def case(bench):
        incident_case(command, rule, ["Documents/a.pdf"])(bench)
        with open(HOME + "/Documents/a.pdf", encoding="utf-8") as file:
            expect(file.read() == "kept\n" or not kept(bench, bench.held), "the content is gone")
    return case


def case_link(bench):
    if bench.tier("unlink") != "lsm":
        raise Skip("the signal tier judges names as given: a link in them is not followed")
    incident_case("rm -rf link/*", "outside-workspace", ["Documents/a.pdf"], before=link)(bench)


def case_swept_remains(bench):
    """Of a workspace swept there is more left than went."""
    incident_case(python("import shutil; shutil.rmtree('.')"), "mass-deletion", [], before=many)(bench)
    left = len(os.listdir(W + "/papers")) if os.path.isdir(W + "/papers") else 0
    expect(left >= MASS or not kept(bench, bench.held), "%d of %d files are left" % (left, 3 * MASS))


OVERWRITE = "import os; open('t', 'w').close(); os.replace('t', '%s/Documents/a.pdf')" % HOME
INCIDENTS = [
    ("home", 'rm -rf "$HOME"', "outside-workspace", ["Documents/a.pdf", "other/src/main.c"]),
    ("home-keys", 'rm -rf "$HOME"/.ssh', "keys", [".ssh/id_ed25519"]),
    ("tilde", "mkdir '~' && rm -rf ~", "outside-workspace", ["Documents/a.pdf"]),
    ("move-then-remove", "mv ../data/big . ; rm -rf ../data", "outside-workspace", ["data/big/1.bin", "data/small/2.bin"]),
    ("find-exec", "find ../Documents -name '*.pdf' -exec rm {} +", "outside-workspace", ["Documents/b.pdf"]),
    ("find-delete", "/usr/bin/find ../Documents -delete", "outside-workspace", ["Documents/c.pdf"]),
    ("rmtree", python("import shutil; shutil.rmtree('%s/Documents')" % HOME), "outside-workspace", ["Documents/a.pdf"]),
    ("unlink-loop", python("import os; [os.unlink('%s/Documents/' + n) for n in os.listdir('%s/Documents')]" %
                           (HOME, HOME)), "outside-workspace", ["Documents/a.pdf"]),
    ("move-over", "echo 1 > x; echo 2 > y; mv -f x ../Documents/a.pdf", "outside-workspace", ["Documents/a.pdf"]),
    ("home-moved", "mv /home/dev /home/dev.old", "homes-and-mounts", ["Documents/a.pdf"]),
    ("documents-moved", "mv ../Documents ./d", "homes-and-mounts", ["Documents/a.pdf"]),
    ("other-repository", "rm -rf ../other", "outside-workspace", ["other/src/main.c"]),
    ("volume-files", python("import shutil; shutil.rmtree('%s/.local/share/containers/storage/volumes/data')" % HOME),
     "container-volume-files", [".local/share/containers/storage/volumes/data/_data/x"], None, "project", volumes),
    ("git-rm", "/usr/bin/rm -rf .git; exit 1", "repository-removed", ["project/.git/HEAD", "project/.git/objects"], "exec", "project",
     repository),
    ("git-rmtree", python("import shutil; shutil.rmtree('.git')"), "version-control-files", ["project/.git/HEAD"], None,
     "project", repository),
    ("git-moved", "mv .git ../moved", "version-control", ["project/.git/HEAD"],
     "rename", "project", repository),
    ("home-is-workspace", "rm -rf ~/.ssh ~/Documents/a.pdf", "keys", [".ssh/id_ed25519"], None, ""),
]


# ---- incidents: SQL


def sql_case(client, statement, wanted, rule="sql"):
    """The statement, with {table} and {database} for victims of its own."""
    def case(bench):
        if not bench.server:
            raise Skip("needs a PostgreSQL server and psql (packages postgresql, postgresql-client)")
        bench.fresh()
        table, database = bench.table(), "victim%d" % next(bench.numbers)
        bench.server.query("create database %s" % database)
        text = statement.format(table=table, database=database)
        result = bench.session(client(bench, text), {"PGHOST": bench.server.directory, "PGPORT": str(bench.server.port),
                                                     "PGUSER": "postgres", "PGDATABASE": "postgres"})
        verdict = bench.action if wanted == "hold" else wanted
        events = [event for event in result.events if event.get("kind") == "op" and event["verdict"] == verdict and
                  event.get("rule") == rule]
        expect(events, "no %s by %s: %s" % (wanted, rule, result.describe()))
        if wanted == "hold" and all(event.get("acted") for event in events):
            expect(bench.server.query("select count(*) from " + table) == "3", "rows of the table are gone")
            expect(bench.server.query("select count(*) from pg_database where datname = '%s'" % database) == "1",
                   "the database is gone")
    return case


def psql(bench, text):
    return ["psql", "-X", "-q", "-c", text]


def dropdb(bench, text):
    return [os.path.join(bench.server.bin, "dropdb"), text]


def psycopg2(bench, text):
    if subprocess.run([PYTHON, "-c", "import psycopg2"], stderr=subprocess.DEVNULL, check=False).returncode:
        raise Skip("needs psycopg2 (package python3-psycopg2)")
    return python("import psycopg2; c = psycopg2.connect(''); c.autocommit = True; c.cursor().execute(%r)" % text)


SQL_CASES = [("drop-table", "DROP TABLE {table}"), ("truncate", "TRUNCATE {table}"), ("delete-all", "DELETE FROM {table}"),
             ("drop-database", "DROP DATABASE {database}"), ("update-all", "UPDATE {table} SET id = 0"),
             ("drop-column", "ALTER TABLE {table} DROP COLUMN id")]


def case_end(bench):
    """Last: the kernel and userspace decided alike in everything above, and nothing was lost."""
    status = bench.status()
    expect(status["mismatches"] == 0, "%d mismatches" % status["mismatches"])
    expect(status["losses"]["total"] == 0, "%d records lost" % status["losses"]["total"])


ORDINARY = [("git", run_git, 300), ("npm", run_npm, 80), ("make", run_make, 2 * MASS), ("cargo", run_cargo, 10),
            ("python", run_pip, 100), ("vim", run_vim, 3), ("nano", run_nano, 1), ("files", run_files, 15),
            ("long", run_long, 200)]


def cases():
    rows = [("recorded/" + name[:-len(".jsonl")], recorded_case(os.path.join(OPERATIONS, name)))
            for name in sorted(os.listdir(OPERATIONS)) if name.endswith(".jsonl")]
    rows += [("asked/files", case_asked_files), ("asked/swept", case_asked_swept),
             ("asked/commands", case_asked_commands), ("asked/home-as-workspace", case_asked_home_as_workspace),
             ("asked/built-in", case_asked_builtin)]
    rows += [("ordinary/" + name, ordinary_case(name, run, least)) for name, run, least in ORDINARY]
    rows += [("incident/" + row[0], incident_case(*row[1:])) for row in INCIDENTS]
    rows += [("incident/git-" + name, case_uncommitted(command)) for name, command in
             (("reset", "git reset --hard"), ("checkout", "git checkout -- ."), ("restore", "git restore ."))]
    rows += [("incident/truncated", case_truncated("echo > ../Documents/a.pdf")),
             ("incident/write-file", case_truncated(python("open('%s/Documents/a.pdf', 'w').write('x')" % HOME))),
             ("incident/replaced", case_truncated(python(OVERWRITE))),
             ("incident/link", case_link), ("incident/workspace-swept", case_swept_remains)]
    for name, statement in SQL_CASES:
        rows += [("incident/sql-%s-psql" % name, sql_case(psql, statement, "hold")),
                 ("incident/sql-%s-psycopg2" % name, sql_case(psycopg2, statement, "hold"))]
    rows += [("incident/sql-dropdb", sql_case(dropdb, "{database}", "hold", "remote-data")),
             ("incident/sql-do", sql_case(psql, "DO 'begin end'", "alert", "sql-unclear")), ("end", case_end)]
    return rows


def own_home():
    """Goes on in a mount namespace whose /home is empty and goes away with it."""
    if os.environ.get(INSIDE):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/home"], check=True)
        return
    os.execvpe("unshare", ["unshare", "--mount", "--propagation", "private", "--", sys.executable] + sys.argv,
               dict(os.environ, **{INSIDE: "1"}))


def add_options(parser):
    parser.add_argument("--ask", default=os.path.join(ring.BUILD, "tests", "live", "ask_policy"))
    parser.add_argument("--action", choices=("hold", "deny"), default="hold")
    parser.add_argument("--record", metavar="DIR", help="write what the ordinary cases do there")


@contextlib.contextmanager
def open_bench(options, scratch):
    with ring.server_if_there() as server:
        bench = Bench(options.reprieve, os.path.abspath(options.ask), server, scratch, options.action, options.record)
        with test_sql.serving(bench):
            yield bench


if __name__ == "__main__":
    sys.exit(ring.main("builtin", __doc__, cases(), open_bench, add_options=add_options, prepare=own_home,
                       run=test_sql.run_case))
