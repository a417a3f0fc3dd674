#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A PostgreSQL server of the tests' own: in a temporary directory, on a free port, gone afterwards.

Touches no other cluster. Clients reach it over a Unix socket in that directory and over TLS on 127.0.0.1. Its log has
every statement it was sent, which is how a test knows that one was not.

As a program it runs a server for as long as a command lives:
    postgres.py -- COMMAND...      with PGHOST, PGPORT, PGUSER, PGDATABASE and REPRIEVE_TEST_TLS (a conninfo) set
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


class PostgresError(Exception):
    """What went wrong, with what the server said."""


def bin_directory():
    """The directory of initdb and postgres of the newest version here, or None."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb") + glob.glob("/usr/pgsql-*/bin/initdb")
    if found:
        return os.path.dirname(max(found, key=lambda path: [int(n) for n in path.split("/") if n.isdigit()] or [0]))
    on_path = shutil.which("initdb")
    return os.path.dirname(os.path.realpath(on_path)) if on_path else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """with Postgres() as server: ..."""

    def __init__(self):
        self.directory = None
        self.process = None
        self.port = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.stop()

    # -- life

    def start(self):
        self.bin = bin_directory()
        if not self.bin:
            raise PostgresError("no PostgreSQL server is installed: initdb was not found (package postgresql)")
        # The server refuses to run as root, and the path of a Unix socket may have 107 bytes at most.
        self.owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.directory = tempfile.mkdtemp(prefix="reprieve-pg.", dir="/tmp")
        os.chmod(self.directory, 0o755)
        os.chown(self.directory, self.owner.pw_uid, self.owner.pw_gid)
        self.data = os.path.join(self.directory, "data")
        self.log_path = os.path.join(self.directory, "log")
        self._as_owner([os.path.join(self.bin, "initdb"), "-D", self.data, "-A", "trust", "-U", "postgres", "-N",
                        "-E", "UTF8", "--locale=C"])
        self._make_certificate()
        self._configure()
        self._run()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)  # immediate: ends the backends too
                self.process.wait()
        self.process = None
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = None

    def _as_owner(self, command):
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, **self._identity())
        if done.returncode:
            raise PostgresError("%s failed with status %d:\n%s" % (command[0], done.returncode, done.stdout))

    def _identity(self):
        if os.geteuid() != 0:
            return {}
        return {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}

    def _make_certificate(self):
        self._as_owner(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", os.path.join(self.data, "server.key"), "-out",
                        os.path.join(self.data, "server.crt")])
        os.chmod(os.path.join(self.data, "server.key"), 0o600)

    def _configure(self):
        self.port = free_port()
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="ascii") as conf:
            conf.write("\n".join([
                "",
                "listen_addresses = '127.0.0.1'",
                "port = %d" % self.port,
                "unix_socket_directories = '%s'" % self.directory,
                "ssl = on",
                "log_statement = all",
                "log_destination = stderr",
                "logging_collector = off",
                "log_line_prefix = '%p %a '",
                "fsync = off",
                "full_page_writes = off",
                "synchronous_commit = off",
                "max_connections = 40",
                "shared_buffers = 16MB",
                "autovacuum = off",
                "max_stack_depth = 7MB",
                ""]))

    def _run(self):
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([os.path.join(self.bin, "postgres"), "-D", self.data], cwd="/",
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, **self._identity())
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise PostgresError("the server ended while it started:\n" + self.log())
            if self._is_ready():
                return
            time.sleep(0.05)
        raise PostgresError("the server was not ready within 60 s:\n" + self.log())

    def _is_ready(self):
        return subprocess.run([os.path.join(self.bin, "pg_isready"), "-q", "-U", "postgres", "-h", self.directory, "-p",
                               str(self.port)], check=False).returncode == 0

    # -- use

    def unix(self):
        """Connection string for the Unix socket."""
        return "host=%s port=%d user=postgres dbname=postgres" % (self.directory, self.port)

    def tls(self):
        """Connection string for TLS."""
        return "host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=require" % self.port

    def query(self, statement):
        """Runs a statement beside what is tested; its result as psql prints it bare. Raises PostgresError."""
        # By the version's own program: /usr/bin/psql is a script that chooses one by the machine's clusters.
        done = subprocess.run([os.path.join(self.bin, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                               "-d", self.unix() + " application_name=test", "-f", "-"], input=statement,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise PostgresError("%s: %s" % (statement, done.stderr))
        return done.stdout.strip()

    def exists(self, table):
        return self.query("select to_regclass('%s') is not null" % table) == "t"

    def log(self):
        """All that the server logged, but for what query() sent."""
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()
        kept, own = [], False
        for line in lines:
            if not line.startswith("\t"):  # the log's continuation lines begin with a tab
                own = " test LOG:" in line
            if not own:
                kept.append(line)
        return "\n".join(kept)

    def log_size(self):
        return os.path.getsize(self.log_path)


def main(arguments):
    if arguments[:1] != ["--"] or len(arguments) < 2:
        sys.stderr.write(__doc__)
        return 2
    try:
        with Postgres() as server:
            environment = dict(os.environ, PGHOST=server.directory, PGPORT=str(server.port), PGUSER="postgres",
                               PGDATABASE="postgres", REPRIEVE_TEST_TLS=server.tls(),
                               REPRIEVE_TEST_PG_LOG=server.log_path)
            return subprocess.run(arguments[1:], env=environment, check=False).returncode
    except PostgresError as error:
        sys.stderr.write("%s\n" % error)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
