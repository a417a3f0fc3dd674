/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The handlers of main's command table: argv[0] is "reprieve NAME", the answer is an exit code (opts.h). */
#ifndef REPRIEVE_COMMANDS_H
#define REPRIEVE_COMMANDS_H

int cmd_run(int argc, char **argv);
int cmd_daemon(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_sessions(int argc, char **argv);
int cmd_pending(int argc, char **argv);
int cmd_approve(int argc, char **argv);
int cmd_deny(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_review(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_policy(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
