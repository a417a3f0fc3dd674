#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Records what agents do to files in an ordinary session: the table that test_builtin.py asks the built-in policy about.

    record_agents.py [--reprieve PATH] [--directory DIR] [--output DIR] [--verbose] [AGENT...]

Installs each agent by npm below DIR (some 2 GB; kept, and used again), and runs it in a network of its own against a
model that is a script on loopback: a shell command that makes, moves and deletes files in the workspace, an edit of a
file, and the end of the turn. A daemon that stops nothing has to find the agent by its signature, with no hint; what it
saw goes to tests/live/operations/AGENT.jsonl: each operation once by its shape, with {workspace}, {home} and {tmp} in
place of the session's own directories. Needs root, npm and a network for npm alone. Not part of the tests: those read
the tables.
"""

import argparse
import datetime
import fcntl
import http.server
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 180  # seconds for one session
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)

COMMAND = ("mkdir -p out/deep && echo one > out/a && echo two > out/deep/b && mv out/a out/deep/a && "
           "echo three > out/deep/a && rm -r out && echo done")
PROMPT = "Make the output, remove it again, and put a line into notes.txt."
PATCH = "*** Begin Patch\n*** Update File: notes.txt\n@@\n-first\n+second\n*** End Patch\n"

SHELL_TOOLS = ("Bash", "bash", "shell", "exec_command", "shell_command", "run_shell_command", "run_commands",
               "execute_command")
WRITE_TOOLS = ("Write", "write", "write_file", "editor", "edit", "create", "apply_patch")


# ---- the model: which tool is called next, in the words of the agent's own tool list


def properties(tool):
    schema = tool.get("schema") or {}
    return schema.get("properties") or {}


def pick(tools, names):
    for name in names:
        if name in tools:
            return tools[name]
    return None


def shell_call(tools):
    tool = pick(tools, SHELL_TOOLS)
    if not tool:
        return None
    arguments = {}
    for name, kind in properties(tool).items():
        if name in ("command", "cmd", "commands"):
            many = kind.get("type") == "array"
            arguments[name] = ([COMMAND] if name == "commands" else ["bash", "-c", COMMAND]) if many else COMMAND
        elif name == "description":
            arguments[name] = "makes the output and removes it"
        elif name == "is_background":
            arguments[name] = False
    return tool["name"], arguments


def write_call(tools, workspace):
    tool = pick(tools, WRITE_TOOLS)
    if not tool:  # codex without its own tool takes this command for one
        name, arguments = shell_call(tools) or (None, {})
        arguments.update({key: "apply_patch <<'EOF'\n%sEOF" % PATCH for key in ("cmd", "command") if key in arguments})
        return (name, arguments) if name else None
    path = os.path.join(workspace, "notes.txt")
    if tool["name"] == "apply_patch":
        return "apply_patch", {name: PATCH for name in properties(tool) or ["input"]}
    values = {"file_path": path, "filePath": path, "path": path, "content": "second\n", "file_text": "second\n",
              "old_string": "first", "new_string": "second", "old_str": "first", "new_str": "second",
              "oldString": "first", "newString": "second", "old_text": "first", "new_text": "second",
              "command": "create" if tool["name"] != "editor" else "str_replace",
              "instruction": "replaces the line"}
    return tool["name"], {name: values[name] for name in properties(tool) if name in values}


def read_call(tools, workspace):
    """Agents that edit only what they have read."""
    tool = pick(tools, ("Read", "read", "read_file", "view"))
    if not tool:
        return None
    path = os.path.join(workspace, "notes.txt")
    return tool["name"], {name: path for name in properties(tool)
                          if name in ("file_path", "filePath", "path", "absolute_path")}


def next_call(tools, results, workspace):
    """The tool call after so many results, or None: the turn ends."""
    calls = [call for call in (shell_call(tools), read_call(tools, workspace), write_call(tools, workspace)) if call]
    return calls[results] if results < len(calls) else None


# ---- four wire formats: (tools, results so far) of a request, and the events of an answer


def chat_request(body):
    tools = {t["function"]["name"]: {"name": t["function"]["name"], "schema": t["function"].get("parameters")}
             for t in body.get("tools") or [] if t.get("type") == "function"}
    return tools, sum(message.get("role") == "tool" for message in body.get("messages", []))


def chat_message(call, number):
    if not call:
        return {"role": "assistant", "content": "Done."}
    return {"role": "assistant", "content": None,
            "tool_calls": [{"index": 0, "id": "call_%d" % number, "type": "function",
                            "function": {"name": call[0], "arguments": json.dumps(call[1])}}]}


def chat_answer(call, number, stream):
    base = {"id": "c%d" % number, "created": 1, "model": "scripted",
            "object": "chat.completion.chunk" if stream else "chat.completion"}
    reason = "tool_calls" if call else "stop"
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    message = chat_message(call, number)
    if not stream:
        return dict(base, choices=[{"index": 0, "message": message, "finish_reason": reason}], usage=usage)
    return [(None, dict(base, choices=[{"index": 0, "delta": message, "finish_reason": None}])),
            (None, dict(base, choices=[{"index": 0, "delta": {}, "finish_reason": reason}], usage=usage)),
            (None, "[DONE]")]


def messages_request(body):
    tools = {t["name"]: {"name": t["name"], "schema": t.get("input_schema")} for t in body.get("tools") or []
             if "name" in t}
    results = 0
    for message in body.get("messages", []):
        if isinstance(message.get("content"), list):
            results += sum(block.get("type") == "tool_result" for block in message["content"])
    return tools, results


def messages_answer(call, number, stream):
    block = {"type": "tool_use", "id": "toolu_%d" % number, "name": call[0], "input": call[1]} if call else {
        "type": "text", "text": "Done."}
    message = {"id": "msg_%d" % number, "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
               "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 10}}
    reason = "tool_use" if call else "end_turn"
    if not stream:
        return dict(message, content=[block], stop_reason=reason)
    empty = dict(block, input={}) if call else dict(block, text="")
    delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])} if call else {
        "type": "text_delta", "text": "Done."}
    events = [{"type": "message_start", "message": dict(message, content=[], stop_reason=None)},
              {"type": "content_block_start", "index": 0, "content_block": empty},
              {"type": "content_block_delta", "index": 0, "delta": delta},
              {"type": "content_block_stop", "index": 0},
              {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None},
               "usage": {"output_tokens": 10}},
              {"type": "message_stop"}]
    return [(event["type"], event) for event in events]


def responses_request(body):
    tools = {}
    for tool in body.get("tools") or []:
        if tool.get("type") in ("function", "custom") and "name" in tool:
            tools[tool["name"]] = {"name": tool["name"], "schema": tool.get("parameters"),
                                   "custom": tool["type"] == "custom"}
    items = body.get("input") if isinstance(body.get("input"), list) else []
    return tools, sum(str(item.get("type", "")).endswith("_call_output") for item in items)


def responses_item(call, number, tools):
    if not call:
        return {"type": "message", "id": "m%d" % number, "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "Done.", "annotations": []}]}
    if tools.get(call[0], {}).get("custom"):
        return {"type": "custom_tool_call", "id": "i%d" % number, "call_id": "call_%d" % number, "name": call[0],
                "status": "completed", "input": next(iter(call[1].values()))}
    return {"type": "function_call", "id": "i%d" % number, "call_id": "call_%d" % number, "name": call[0],
            "status": "completed", "arguments": json.dumps(call[1])}


def responses_answer(call, number, tools, stream):
    item = responses_item(call, number, tools)
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 20}
    response = {"id": "r%d" % number, "object": "response", "status": "in_progress", "output": [], "model": "scripted",
                "created_at": 1}
    done = dict(response, status="completed", output=[item], usage=usage)
    if not stream:
        return done
    events = [{"type": "response.created", "response": response},
              {"type": "response.output_item.added", "output_index": 0, "item": item},
              {"type": "response.output_item.done", "output_index": 0, "item": item},
              {"type": "response.completed", "response": done}]
    return [(event["type"], event) for event in events]


def gemini_request(body):
    tools = {}
    for group in body.get("tools") or []:
        for tool in group.get("functionDeclarations") or []:
            tools[tool["name"]] = {"name": tool["name"],
                                   "schema": tool.get("parametersJsonSchema") or tool.get("parameters")}
    return tools, sum("functionResponse" in part for content in body.get("contents", [])
                      for part in content.get("parts", []))


def gemini_answer(call):
    part = {"functionCall": {"name": call[0], "args": call[1]}} if call else {"text": "Done."}
    return {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20},
            "modelVersion": "scripted"}


class Model(http.server.BaseHTTPRequestHandler):
    """One scripted model for all wire formats."""

    protocol_version = "HTTP/1.1"
    workspace, log, numbers = None, None, iter(range(1, 1 << 30))

    def log_message(self, *arguments):
        pass

    def reply(self, answer):
        stream = isinstance(answer, list)
        if stream:
            text = "".join(("event: %s\n" % kind if kind else "") + "data: %s\n\n" %
                           (data if isinstance(data, str) else json.dumps(data)) for kind, data in answer)
        else:
            text = json.dumps(answer)
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):  # noqa: N802 (the base class's name)
        self.note("GET")
        model = {"id": "scripted", "object": "model", "created": 1, "owned_by": "test"}
        self.reply({"object": "list", "data": [model]})

    def note(self, text):
        print("%s %s" % (text, self.path), file=self.log, flush=True)

    def do_POST(self):  # noqa: N802
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(data)
        except ValueError:
            body = {}
        number, stream = next(self.numbers), bool(body.get("stream"))
        if self.path.split("?")[0].endswith("/messages"):
            tools, results = messages_request(body)
            answer = lambda call: messages_answer(call, number, stream)  # noqa: E731
        elif "/responses" in self.path:
            tools, results = responses_request(body)
            answer = lambda call: responses_answer(call, number, tools, stream)  # noqa: E731
        elif "/chat/completions" in self.path:
            tools, results = chat_request(body)
            answer = lambda call: chat_answer(call, number, stream)  # noqa: E731
        elif "enerateContent" in self.path:
            tools, results = gemini_request(body)
            answer = lambda call: [(None, gemini_answer(call))] if "stream" in self.path else gemini_answer(call)  # noqa: E731
        else:
            self.note("POST unknown")
            self.reply({"input_tokens": 10})
            return
        call = next_call(tools, results, self.workspace)
        self.note("POST tools=%s results=%d call=%s" % (",".join(sorted(tools)), results, call and call[0]))
        self.reply(answer(call))


# ---- the agents: package, command, and the files and variables that lead it to the scripted model


def codex_files(url):
    return {".codex/config.toml": 'model = "scripted"\nmodel_provider = "local"\n[model_providers.local]\n'
                                  'name = "local"\nbase_url = "%s/v1"\nwire_api = "responses"\n' % url}


def opencode_environment(url):
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "local",
                "options": {"baseURL": url + "/v1", "apiKey": "none"},
                "models": {"scripted": {"name": "scripted", "tool_call": True}}}
    return {"OPENCODE_CONFIG_CONTENT": json.dumps({"provider": {"local": provider}, "model": "local/scripted"})}


class Agent:
    def __init__(self, package, command, environment=None, files=None, before=None, kind=None):
        self.package, self.command, self.before, self.kind = package, command, before, kind
        self.environment, self.files = environment or (lambda url: {}), files or (lambda url: {})


AGENTS = {
    "claude-code": Agent(
        "@anthropic-ai/claude-code@2.1.330", ["claude", "-p", PROMPT, "--dangerously-skip-permissions"],
        lambda url: {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none", "IS_SANDBOX": "1"}),
    "codex": Agent(
        "@openai/codex@0.169.0",
        ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", PROMPT],
        files=codex_files),
    "codex-sandboxed": Agent(
        "@openai/codex@0.169.0", ["codex", "exec", "--skip-git-repo-check", "-s", "workspace-write", PROMPT],
        files=codex_files, kind="codex"),
    "opencode": Agent("opencode-ai@1.18.33", ["opencode", "run", "--auto", PROMPT], opencode_environment),
    "gemini": Agent(
        "@google/gemini-cli@0.61.0", ["gemini", "-p", PROMPT, "--yolo"],
        lambda url: {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "none", "GEMINI_CLI_TRUST_WORKSPACE": "true"},
        lambda url: {".gemini/settings.json": '{"security": {"auth": {"selectedType": "gemini-api-key"}}}'}),
    "qwen": Agent(
        "@qwen-code/qwen-code@0.24.4", ["qwen", "-p", PROMPT, "--yolo", "--auth-type", "openai"],
        lambda url: {"OPENAI_BASE_URL": url + "/v1", "OPENAI_API_KEY": "none", "OPENAI_MODEL": "scripted"}),
    "copilot": Agent(
        "@github/copilot@1.0.102", ["copilot", "-p", PROMPT, "--allow-all-tools", "--allow-all-paths"],
        lambda url: {"COPILOT_PROVIDER_BASE_URL": url + "/v1", "COPILOT_OFFLINE": "true", "COPILOT_MODEL": "scripted"}),
    "cline": Agent(
        "cline@3.0.65", ["cline", "--json", "--auto-approve", "true", PROMPT],
        before=lambda url: ["cline", "auth", "-p", "openai", "-k", "none", "-m", "scripted", "-b", url + "/v1"]),
}


# ---- one session, inside a network of its own


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
        flags = struct.unpack("16sh14x", request)[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def environment_of(agent, installed, scratch, url):
    keep = {name: os.environ[name] for name in ("LANG", "TERM") if name in os.environ}
    path = os.path.join(installed, "node_modules", ".bin") + ":" + os.environ["PATH"]
    return dict(keep, PATH=path, HOME=os.path.join(scratch, "home"), TMPDIR=os.path.join(scratch, "tmp"),
                SHELL="/bin/bash", **agent.environment(url))


def inside(name, installed, scratch):
    """The session itself: the model in a thread, the agent as a child."""
    agent, workspace = AGENTS[name], os.path.join(scratch, "workspace")
    loopback_up()
    Model.workspace, Model.log = workspace, open(os.path.join(scratch, "model.log"), "w", encoding="utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d" % server.server_address[1]
    for path, text in agent.files(url).items():
        path = os.path.join(scratch, "home", path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    environment = environment_of(agent, installed, scratch, url)
    with open(os.path.join(scratch, "agent.log"), "wb") as log:
        for command in ([agent.before(url)] if agent.before else []) + [agent.command]:
            # By the package's own launcher, as a shell would find it.
            command = [shutil.which(command[0], path=environment["PATH"])] + command[1:]
            done = subprocess.run(command, cwd=workspace, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=log, timeout=TIMEOUT, check=False)
    return done.returncode


# ---- the table


class Names:
    """Replaces what differs from session to session."""

    def __init__(self, scratch, installed):
        self.prefixes = [(os.path.join(scratch, "workspace"), "{workspace}"), (os.path.join(scratch, "home"), "{home}"),
                         (os.path.join(scratch, "tmp"), "{tmp}"), (os.path.realpath(installed), "{installed}")]

    def place(self, path):
        for prefix, name in self.prefixes:
            if path == prefix or path.startswith(prefix + "/"):
                return name + path[len(prefix):]
        # apt names its lists by the mirror that this machine happens to use.
        return re.sub(r"^(/var/lib/apt/lists/(?:partial/)?)[^/_]+_", r"\1archive.example_", path)

    @staticmethod
    def shape(path):
        return re.sub(r"[0-9a-fA-F-]{8,}|[0-9]+", "#", path or "")

    @staticmethod
    def outline(path):
        """Of a tool that unpacks thousands of files: where, as far as three directories below, and of which kind."""
        parts = Names.shape(path).split("/")
        return "/".join(parts[:4]) + os.path.splitext(path or "")[1] if len(parts) > 4 else "/".join(parts)


def table(events, names, shape_of=Names.shape):
    """The operations, each once by its shape, in the order in which they came."""
    rows, seen = [], set()
    for event in events:
        if event.get("kind") != "op" or event["op"] in ("exec", "sql"):
            continue
        target = event.get("target", {})
        row = {"op": event["op"], "path": names.place(target.get("path") or "")}
        if target.get("new_path"):
            row["new_path"] = names.place(target["new_path"])
        row.update(result=event.get("result"), comm=event["process"]["comm"])
        shape = tuple(shape_of(str(row.get(key))) for key in ("op", "path", "new_path", "result", "comm"))
        if shape not in seen:
            seen.add(shape)
            rows.append(row)
    return rows


def read_events(path, workspace):
    with open(path, encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    return [event for event in events if event.get("session", {}).get("workspace") == workspace]


def found(events):
    """How the daemon came to know of the session: {(agent, found by)}."""
    return {(event["session"].get("agent"), event.get("found") or event["session"].get("found"))
            for event in events if event.get("kind") == "session" and event.get("change") == "start"}


class Daemon:
    """A daemon that stops nothing, with the built-in signatures."""

    def __init__(self, reprieve, directory):
        policy = os.path.join(directory, "policy.yaml")
        with open(policy, "w", encoding="utf-8") as file:
            file.write("version: 1\nmode: observe\ndefault: allow\n")
        self.events = os.path.join(directory, "events.jsonl")
        with open(os.path.join(directory, "daemon.log"), "w+", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [reprieve, "daemon", "--policy", policy, "--socket", os.path.join(directory, "socket"), "--events",
                 self.events, "--quiet"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            while "guarding:" not in open(log.name, encoding="utf-8").read():
                if self.process.poll() is not None:
                    sys.exit("the daemon did not start: " + open(log.name, encoding="utf-8").read())
                time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()


def install(agent, directory):
    where = os.path.join(directory, re.sub(r"[^a-z0-9]+", "-", agent.package.rsplit("@", 1)[0]).strip("-"))
    if not os.path.isdir(os.path.join(where, "node_modules", ".bin")):
        subprocess.run(["npm", "install", "--prefix", where, "--no-audit", "--no-fund", "--loglevel=error",
                        agent.package], check=True)
    return where


def kernel():
    release = os.uname().release.split(".")
    return ".".join(release[:2])


def record(name, reprieve, directory, output, verbose):
    """One session. Returns what is wrong with it, or None."""
    agent, installed = AGENTS[name], install(AGENTS[name], directory)
    scratch = tempfile.mkdtemp(prefix="agent.", dir=directory)
    try:
        for part in ("home", "tmp", "workspace", "daemon"):
            os.mkdir(os.path.join(scratch, part))
        workspace = os.path.join(scratch, "workspace")
        with open(os.path.join(workspace, "notes.txt"), "w", encoding="utf-8") as file:
            file.write("first\n")
        subprocess.run(["git", "init", "-q", workspace], check=True)
        with Daemon(reprieve, os.path.join(scratch, "daemon")) as daemon:
            done = subprocess.run(["unshare", "--net", "--", sys.executable, os.path.abspath(__file__), "--inside", name,
                                   installed, scratch], check=False)
            time.sleep(2)  # seconds, for what the agent leaves to its helpers
        events = read_events(daemon.events, workspace)
        rows = table(events, Names(scratch, installed))
        if verbose:
            for log in ("model.log", "agent.log"):
                print(open(os.path.join(scratch, log), encoding="utf-8", errors="replace").read()[-6000:])
        with open(os.path.join(workspace, "notes.txt"), encoding="utf-8") as file:
            edited = file.read() == "second\n"
        print("%s: status %d, %d operations, found %s, edited: %s" % (name, done.returncode, len(rows),
                                                                      sorted(map(str, found(events))), edited))
        if (agent.kind or name) not in {kind for kind, _ in found(events)}:
            return "was not recognised"
        if not any(row["path"] == "{workspace}/out/deep/b" for row in rows) or not edited:
            return "did not do what it was asked for"
        write_table(os.path.join(output, name + ".jsonl"), *agent.package.rsplit("@", 1), rows)
        return None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_table(path, package, version, rows):
    header = {"license": "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause", "package": package,
              "version": version, "date": datetime.date.today().isoformat(), "kernel": kernel(), "operations": len(rows)}
    with open(path, "w", encoding="utf-8") as file:
        for row in [header] + rows:
            file.write(json.dumps(row) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reprieve", default=os.path.join(HERE, "..", "..", "build", "reprieve"))
    parser.add_argument("--directory", default="/var/tmp/reprieve-agents")
    parser.add_argument("--output", default=os.path.join(HERE, "operations"))
    parser.add_argument("--verbose", action="store_true", help="show what agent and model said")
    parser.add_argument("agents", nargs="*", metavar="AGENT")
    options = parser.parse_args()
    os.makedirs(options.directory, exist_ok=True)
    wrong = 0
    for name in options.agents or AGENTS:
        failure = record(name, os.path.abspath(options.reprieve), options.directory, options.output, options.verbose)
        if failure:
            print("%s %s" % (name, failure), file=sys.stderr)
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(inside(*sys.argv[2:5]))
    sys.exit(main())
