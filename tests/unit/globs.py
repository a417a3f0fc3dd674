#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Compares the compiled automaton with a matcher written apart from it, on random globs and paths.

usage: globs.py DRIVER [PAIRS [SEED]]

The matcher here goes component by component: braces are expanded first, a component becomes a regular expression of
Python's, and ** is tried at every depth. It knows nothing of automata.
"""
import functools
import random
import re
import subprocess
import sys

EXPANSIONS_MAX = 256  # GLOB_EXPANSIONS

ANY = rb"(?:[\x00-\x2e\x30-\x7f\x80-\xc1\xf5-\xff]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})"
ANY_TEXT = ANY.replace(rb"\x2e\x30-\x7f", rb"\x7f")


def expand(glob):
    """All plain globs of a glob with braces; escapes and classes are stepped over."""
    depth, start, parts, i = 0, None, [], 0
    while i < len(glob):
        c = glob[i : i + 1]
        if c == b"\\":
            i += 2
            continue
        if c == b"[":
            i = class_end(glob, i)
            continue
        if c == b"{":
            depth += 1
            if depth == 1:
                start, last = i, i + 1
        elif c == b"," and depth == 1:
            parts.append(glob[last:i])
            last = i + 1
        elif c == b"}":
            depth -= 1
            if depth == 0:
                parts.append(glob[last:i])
                return [r for p in parts for r in expand(glob[:start] + p + glob[i + 1 :])]
        i += 1
    return [glob]


def class_end(glob, i):
    i += 1
    if glob[i : i + 1] in (b"!", b"^"):
        i += 1
    first = i
    while glob[i : i + 1] != b"]" or i == first:
        i += 2 if glob[i : i + 1] == b"\\" else 1
    return i + 1


def class_members(body):
    members, i = set(), 0

    def one(i):
        if body[i : i + 1] == b"\\":
            return body[i + 1], i + 2
        return body[i], i + 1

    while i < len(body):
        low, i = one(i)
        high = low
        if body[i : i + 1] == b"-" and i + 1 < len(body):
            high, i = one(i + 1)
        members.update(range(low, high + 1))
    return members


@functools.lru_cache(maxsize=None)
def component(glob, text=False):
    """A regular expression for one component, or for a whole text."""
    out, i = b"", 0
    while i < len(glob):
        c = glob[i : i + 1]
        if c == b"\\":
            out += re.escape(glob[i + 1 : i + 2])
            i += 2
        elif c == b"*":
            out += b"(?s:.*)" if text else b"[^/]*"
            i += 1
        elif c == b"?":
            out += ANY_TEXT if text else ANY
            i += 1
        elif c == b"[":
            end = class_end(glob, i)
            body = glob[i + 1 : end - 1]
            negated = body[:1] in (b"!", b"^")
            members = class_members(body[1:] if negated else body)
            if not text:
                members.discard(0x2F)
            if negated:
                banned = members | set(range(0xC2, 0xF5)) | (set() if text else {0x2F})
                single = bytes(b for b in range(256) if b not in banned)
                out += (
                    b"(?:[" + b"".join(b"\\x%02x" % b for b in single) + b"]|[\\xc2-\\xdf][\\x80-\\xbf]"
                    b"|[\\xe0-\\xef][\\x80-\\xbf]{2}|[\\xf0-\\xf4][\\x80-\\xbf]{3})"
                )
            else:
                out += b"[" + b"".join(b"\\x%02x" % b for b in sorted(members)) + b"]"
            i = end
        else:
            out += re.escape(c)
            i += 1
    return re.compile(rb"(?s:" + out + rb")\Z")


def split(glob):
    """Components of a plain glob, escapes and classes kept whole."""
    parts, last, i = [], 0, 0
    while i < len(glob):
        c = glob[i : i + 1]
        if c == b"\\":
            i += 2
        elif c == b"[":
            i = class_end(glob, i)
        elif c == b"/":
            parts.append(glob[last:i])
            i += 1
            last = i
        else:
            i += 1
    return parts + [glob[last:]]


def below(globs, parts):
    if not globs:
        return not parts
    if globs[0] == b"**":
        if len(globs) == 1:
            return len(parts) > 0
        return any(below(globs[1:], parts[n:]) for n in range(len(parts) + 1))
    return bool(parts) and bool(component(globs[0]).match(parts[0])) and below(globs[1:], parts[1:])


def path_parts(path):
    return [] if path == b"/" else path[1:].split(b"/")


def matches(plain, path):
    if plain == b"**":
        return True
    if plain == b"/":
        return path == b"/"
    globs = split(plain)
    if set(globs) == {b"**"}:
        return True
    if globs[0] == b"":
        globs = globs[1:]
    return below(globs, path_parts(path))


def is_ancestor(plain, path):
    if not plain.startswith(b"/") or plain == b"/":
        return False
    globs, parts = split(plain)[1:], path_parts(path)
    if b"**" in globs:
        globs = globs[: globs.index(b"**")]
    else:
        globs = globs[:-1]
    return len(parts) <= len(globs) and all(component(g).match(p) for g, p in zip(globs, parts))


NAMES = [b"a", b"b", b"ab", b"srv", b"app", b".git", b"x.c", b"log-1", b"\xc3\xa9", b"\xe2\x82\xac2", b"\xff", b"a b", b"-", b"]"]
PIECES = [b"*", b"?", b"[a-c]", b"[!a]", b"[^a-z.]", b"[]x]", b"[a\\]-]", b"{a,b}", b"{ab,a{b,c}}", b"{*.c,x?}", b"\\*", b"\\?", b"??"]


def random_component(rng):
    if rng.random() < 0.45:
        return rng.choice(NAMES).replace(b"]", b"\\]")
    pieces = []
    for _ in range(rng.randint(1, 3)):
        piece = rng.choice(PIECES) if rng.random() < 0.6 else rng.choice(NAMES).replace(b"]", b"\\]")
        if piece.startswith(b"*") and pieces and pieces[-1].endswith(b"*"):
            piece = b"?"
        pieces.append(piece)
    return b"".join(pieces)


def random_glob(rng):
    parts = []
    for _ in range(rng.randint(1, 4)):
        parts.append(b"**" if rng.random() < 0.25 else random_component(rng))
    if rng.random() < 0.08:
        parts.append(b"{a,b/c,**/d,x{y,z}}" if rng.random() < 0.5 else b"{a/**,b}")
    glob = b"/".join(parts)
    if not glob.startswith(b"**/") and glob != b"**":
        glob = b"/" + glob
    return glob if len(expand(glob)) <= EXPANSIONS_MAX else random_glob(rng)


def random_path(rng, globs):
    """Half of all paths are made from a glob, so that many match or nearly do."""
    if globs and rng.random() < 0.6:
        plain = rng.choice(expand(rng.choice(globs)))
        parts = []
        for part in split(plain):
            if part == b"**":
                parts += [rng.choice(NAMES) for _ in range(rng.randint(0, 2))]
            elif part:
                parts.append(fill(rng, part))
        if rng.random() < 0.3 and parts:
            parts.pop(rng.randrange(len(parts)))
        if rng.random() < 0.2:
            parts.insert(rng.randint(0, len(parts)), rng.choice(NAMES))
        if rng.random() < 0.3:
            parts = parts[: rng.randint(0, len(parts))]
        parts = [p for p in parts if p]
    else:
        parts = [rng.choice(NAMES) for _ in range(rng.randint(0, 5))]
    return b"/" + b"/".join(parts)


def fill(rng, part):
    out, i = b"", 0
    while i < len(part):
        c = part[i : i + 1]
        if c == b"\\":
            out += part[i + 1 : i + 2]
            i += 2
        elif c == b"*":
            out += rng.choice([b"", b"x", b"ab", b"\xc3\xa9", b".c"])
            i += 1
        elif c == b"?":
            out += rng.choice([b"a", b"x", b"\xc3\xa9", b"\xe2\x82\xac", b"\xff", b"\xf0\x9f\x98\x80"])
            i += 1
        elif c == b"[":
            out += rng.choice([b"a", b"b", b"x", b"]", b"-", b"\xc3\xa9", b"1"])
            i = class_end(part, i)
        else:
            out += c
            i += 1
    return out.replace(b"/", b"")


class Driver:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, lines):
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()
        answers = [self.process.stdout.readline().strip() for _ in lines]
        if any(not answer for answer in answers):
            raise SystemExit("globs.py: the driver ended early")
        return answers


def expected(globs, uses, bits, path):
    sets = [0, 0, 0]
    for glob, use, bit in zip(globs, uses, bits):
        plain = expand(glob)
        if any(matches(p, path) for p in plain):
            sets[1 if use == b"n" else 0] |= 1 << bit
        if use == b"p" and any(is_ancestor(p, path) for p in plain):
            sets[2] |= 1 << bit
    return without_ruled_out(sets)


def without_ruled_out(sets):
    """Where a path_not: glob of a rule matches, whether its path: globs do is nobody's concern."""
    return b"%x %x %x" % (sets[0] & ~sets[1], sets[1], sets[2])


def check_paths(driver, rng):
    globs = [random_glob(rng) for _ in range(rng.randint(1, 10))]
    uses = [rng.choice([b"p", b"p", b"n"]) for _ in globs]
    bits = [rng.randrange(6) for _ in globs]
    lines = [b"x"] + [b"g %s %d %s" % (u, b, g.hex().encode()) for g, u, b in zip(globs, uses, bits)]
    answers = driver.ask(lines + [b"c"])
    for line, answer in zip(lines[1:], answers[1:-1]):
        if answer != b"ok":
            raise SystemExit(f"globs.py: {bytes.fromhex(line.split()[3].decode())!r} was refused: {answer.decode()}")
    if not answers[-1].startswith(b"ok"):
        return 0, 0, 0  # too large for the table, and said so
    paths = [random_path(rng, globs) for _ in range(25)]
    hits = 0
    for path, answer in zip(paths, driver.ask([b"m " + p.hex().encode() for p in paths])):
        want = expected(globs, uses, bits, path)
        hits += want != b"0 0 0"
        if without_ruled_out([int(n, 16) for n in answer.split()]) != want:
            rules = list(zip(globs, uses, bits))
            raise SystemExit(f"globs.py: globs {rules!r}\npath {path!r}: want {want!r}, got {answer!r}")
    return len(globs) * len(paths), hits, len(paths)


def check_texts(driver, rng):
    words = [b"git", b"push", b"--force", b"-f", b"terraform", b"destroy", b"/usr/bin/git", b"a", b"\xc3\xa9"]
    pieces = words + [b"*", b"?", b"[a-z]", b"[!-]", b"{push,pull}", b" ", b" "]
    globs = [b"".join(rng.choice(pieces) for _ in range(rng.randint(1, 5))) for _ in range(4)]
    lines = [b"x"] + [b"g a %d %s" % (i, g.hex().encode()) for i, g in enumerate(globs)] + [b"c"]
    if not all(a.startswith(b"ok") for a in driver.ask(lines)):
        raise SystemExit(f"globs.py: refused: {globs!r}")
    texts = [rng.choice([b" ", b""]).join(rng.choice(words) for _ in range(rng.randint(1, 4))) for _ in range(10)]
    for text, answer in zip(texts, driver.ask([b"t " + t.hex().encode() for t in texts])):
        want = 0
        for bit, glob in enumerate(globs):
            if any(component(p, True).match(text) for p in expand(glob)):
                want |= 1 << bit
        if answer != b"%x" % want:
            raise SystemExit(f"globs.py: args {globs!r} text {text!r}: want {want:x}, got {answer!r}")
    return len(globs) * len(texts)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    rng, driver = random.Random(seed), Driver(sys.argv[1])
    pairs = hits = paths = refused = 0
    while pairs < wanted:
        done, hit, count = check_paths(driver, rng)
        refused += not done
        pairs, hits, paths = pairs + done + check_texts(driver, rng), hits + hit, paths + count
    print(f"globs: {pairs} pairs of glob and path agree, {hits} of {paths} paths matched something (seed {seed})")
    if hits < paths // 4 or refused * 25 > paths // 20:
        raise SystemExit(f"globs.py: too few cases say anything: {hits} hits, {refused} sets of globs refused")
    print("1 passed, 0 failed, 0 skipped")


main()
