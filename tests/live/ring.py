# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the programs of cases share: how a case fails or is skipped, and how such a program is called and ends."""
import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time

import postgres

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.normpath(os.path.join(HERE, "..", "..", "build"))


class Failure(Exception):
    """A case did not end as it should; the message says how."""


class Skip(Exception):
    """A case cannot run here; the message says why."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


def run_case(bench, name, function):
    """One line of the result: ok, FAIL or skip. Whatever goes wrong in a case, the next one is run."""
    started = time.monotonic()
    try:
        function(bench)
    except Skip as reason:
        print("skip %s: %s" % (name, reason))
        return "skipped"
    except Failure as failure:
        print("FAIL %s: %s" % (name, failure))
        return "failed"
    except Exception as error:  # pylint: disable=broad-except
        print("FAIL %s: %s: %s" % (name, type(error).__name__, str(error).strip() or repr(error)))
        return "failed"
    print("ok %s (%.1f s)" % (name, time.monotonic() - started))
    return "passed"


def lacking(options):
    """Why nothing can run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access(options.reprieve, os.X_OK):
        return "no program at %s: build it first, or name it with --reprieve" % options.reprieve
    return None


def lacking_server(options):
    """The same where every case needs PostgreSQL."""
    if not postgres.bin_directory():
        return lacking(options) or "needs a PostgreSQL server (package postgresql)"
    if not shutil.which("psql"):
        return lacking(options) or "needs psql (package postgresql-client)"
    return lacking(options)


@contextlib.contextmanager
def server_if_there():
    """A PostgreSQL of our own, or None."""
    if postgres.bin_directory() and shutil.which("psql"):
        with postgres.Postgres() as server:
            yield server
    else:
        yield None


def parse(doc, add_options):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reprieve", default=os.path.join(BUILD, "reprieve"))
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--keep", action="store_true", help="leave the files of the cases, and say where")
    parser.add_argument("names", nargs="*", metavar="NAME")
    add_options(parser)
    options = parser.parse_args()
    options.reprieve = os.path.abspath(options.reprieve)
    return options


@contextlib.contextmanager
def scratch_directory(ring, keep):
    scratch = tempfile.mkdtemp(prefix="reprieve-%s." % ring, dir="/tmp")
    try:
        yield scratch
    finally:
        if keep:
            print("kept in %s" % scratch)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


def main(ring, doc, cases, open_bench, *, add_options=lambda parser: None, why_not=lacking, prepare=lambda: None,
         run=run_case):
    """
    Runs the chosen cases, rows of (name, function), each called with the bench that the context manager
    open_bench(options, scratch) gives. prepare() is called once it is clear that they will run. Returns an exit status.
    """
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    options = parse(doc, add_options)
    chosen = [row for row in cases if not options.names or any(name in row[0] for name in options.names)]
    if options.list:
        print("\n".join(row[0] for row in chosen))
        return 0
    reason = why_not(options)
    if reason:
        print("skip %s: %s\n0 passed, 0 failed, %d skipped" % (ring, reason, len(chosen)))
        return 0
    prepare()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with scratch_directory(ring, options.keep) as scratch, open_bench(options, scratch) as bench:
        for name, function in chosen:
            counts[run(bench, name, function)] += 1
            sys.stdout.flush()
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0
