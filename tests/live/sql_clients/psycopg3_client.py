#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""psycopg3_client.py MODE CONNINFO STATEMENT...: sends the statements with psycopg 3.

simple    the simple protocol (PQsendQuery)
extended  binary results are asked for, which takes PQsendQueryParams
prepared  PQsendPrepare, then PQsendQueryPrepared
pipeline  all in one pipeline (PQsendQueryParams)
"""

import sys

import psycopg

mode, conninfo, *statements = sys.argv[1:]
options = {"simple": {}, "extended": {"binary": True}, "prepared": {"prepare": True}, "pipeline": {}}
if mode not in options:
    sys.exit("psycopg3_client.py: no such mode: " + mode)
with psycopg.connect(conninfo, autocommit=True) as connection:
    if mode == "pipeline":
        with connection.pipeline():
            for statement in statements:
                connection.execute(statement)
                print("ran", flush=True)
    else:
        for statement in statements:
            connection.execute(statement, **options[mode])
            print("ran", flush=True)
