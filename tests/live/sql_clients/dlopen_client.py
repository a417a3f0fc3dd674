#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""dlopen_client.py LIBRARY CONNINFO STATEMENT...: PQexec of a libpq that is loaded at run time from a path.

LIBRARY may end in ":delete": the file is then deleted as soon as it is loaded.
"""

import ctypes
import os
import sys

path, conninfo, *statements = sys.argv[1:]
delete = path.endswith(":delete")
path = path.removesuffix(":delete")
libpq = ctypes.CDLL(path)
if delete:
    os.unlink(path)
libpq.PQconnectdb.restype = ctypes.c_void_p
libpq.PQexec.restype = ctypes.c_void_p
libpq.PQerrorMessage.restype = ctypes.c_char_p
connection = ctypes.c_void_p(libpq.PQconnectdb(conninfo.encode()))
for statement in statements:
    result = ctypes.c_void_p(libpq.PQexec(connection, statement.encode()))
    if libpq.PQresultStatus(result) not in (1, 2):  # PGRES_COMMAND_OK, PGRES_TUPLES_OK
        sys.exit(libpq.PQerrorMessage(connection).decode())
    libpq.PQclear(result)
    print("ran", flush=True)
libpq.PQfinish(connection)
