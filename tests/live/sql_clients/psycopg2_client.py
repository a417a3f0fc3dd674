#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""psycopg2_client.py MODE CONNINFO STATEMENT...: autocommit, or transaction (one around all statements)."""

import sys

import psycopg2

mode, conninfo, *statements = sys.argv[1:]
if mode not in ("autocommit", "transaction"):
    sys.exit("psycopg2_client.py: no such mode: " + mode)
connection = psycopg2.connect(conninfo)
connection.autocommit = mode == "autocommit"
cursor = connection.cursor()
for statement in statements:
    cursor.execute(statement)
    print("ran", flush=True)
if mode == "transaction":
    connection.commit()
connection.close()
