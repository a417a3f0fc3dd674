# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
#   make            build/reprieve and build/reprieved
#   make demo       install what is missing, build, run the main job on this kernel (root)
#   make test       install what is missing, run every test (root)
#   make test-apiserver      the manifests and Hold objects against a real kube-apiserver, built once (root)
#   make test-pods           the watch of pods, 10,000 random steps against a model; tests/run does 3,000
#   make test-containers-vm  containerd, runc, crun, docker and podman in a virtual machine with systemd, agents in them and
#                       the DaemonSet's container (root)
#   make check      style and static checks
#   make bench      what the guard costs, as ratios (root)
#   make bench-replay  how fast 10 million operations are replayed, and in how much memory
#   make image      the container image as build/reprieve-image.tar, without a container engine; IMAGE=NAME:TAG
#   make install    PREFIX=/usr/local by default
#   make clean      remove build/
#   make vmlinux    generate vmlinux.h, the kernel's types, anew: trimmed to those in use
#
# V=1 shows the commands.

CC = gcc
CLANG = clang
BPFTOOL = bpftool
PREFIX = /usr/local
DESTDIR =
B = build

ifeq ($(V),1)
Q =
say = @:
else
Q = @
say = @printf '  %-8s%s\n'
MAKEFLAGS += --no-print-directory
endif

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: all demo test check image install clean unit need fuzz bench crash test-apiserver test-containers-vm test-burst

CFLAGS = -O2 -g
WARNINGS = -Wall -Wextra -Wno-unknown-pragmas
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -Iinclude -Iuser -I$(B) -MMD -MP
BPF_CFLAGS = -std=gnu17 -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra -Wno-unused-function \
	     -Wno-unused-parameter -I. -Iinclude -Ibpf -MMD -MP
BPF_ARCH = $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
LIBS = -lbpf -lelf -lz -lyaml -ljansson -lsystemd -lpg_query -lcrypto -lncursesw -ltinfo -lpthread -lm

# The order matters to libbpf 1.1's linker: an object that defines a map comes before those that only name it.
BPF_OBJECTS = $(addprefix $(B)/bpf/,emit.o task.o path.o protect.o hold.o judge.o observe.o guard.o sql.o libc.o)
USER_SOURCES = $(wildcard user/*.c)
USER_OBJECTS = $(USER_SOURCES:user/%.c=$(B)/user/%.o)
LIB_OBJECTS = $(filter-out $(B)/user/main.o,$(USER_OBJECTS))
SKELETONS = $(B)/reprieve.skel.h $(B)/self.skel.h

all: need $(B)/reprieve $(B)/reprieved

need:
	@for tool in $(CC) $(CLANG) $(BPFTOOL) pkg-config; do \
		PATH=$$PATH:/usr/sbin:/sbin command -v $$tool >/dev/null || \
		{ echo "make: $$tool is not installed; 'sudo tools/setup build' installs all that is needed" >&2; exit 1; }; \
	done

$(B)/reprieve: $(USER_OBJECTS)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$(B)/reprieved: $(B)/reprieve
	$(Q)ln -sf reprieve $@

$(B)/user/%.o: user/%.c | $(SKELETONS)
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(B)/bpf/%.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(say) BPF $<
	$(Q)$(CLANG) $(BPF_CFLAGS) -c -o $@ $<

$(B)/reprieve.bpf.o: $(BPF_OBJECTS)
	$(say) BPFLINK $@
	$(Q)PATH=$$PATH:/usr/sbin:/sbin $(BPFTOOL) gen object $@ $(BPF_OBJECTS)

$(B)/reprieve.skel.h: $(B)/reprieve.bpf.o
	$(Q)PATH=$$PATH:/usr/sbin:/sbin $(BPFTOOL) gen skeleton $< name reprieve > $@

$(B)/self.skel.h: $(B)/bpf/self.o
	$(Q)PATH=$$PATH:/usr/sbin:/sbin $(BPFTOOL) gen skeleton $< name self > $@

$(B)/user/builtin.o: user/builtin.yaml user/agents.yaml
$(B)/user/report_html.o: user/report.css user/report.js

$(B)/libreprieve.a: $(LIB_OBJECTS)
	$(Q)rm -f $@ && ar rcs $@ $^

# --- tests ---

UNIT_PROGRAMS = $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c tests/unit/globs.c))

$(B)/tests/unit/%: tests/unit/%.c $(B)/libreprieve.a
	@mkdir -p $(@D)
	$(say) TEST $<
	$(Q)$(CC) $(ALL_CFLAGS) -Itests/unit -o $@ $< $(B)/libreprieve.a $(LIBS) -lcmocka

-include tests/diff/Makefile.inc tests/live/Makefile.inc tests/replay/Makefile.inc tests/bench/Makefile.inc tests/fuzz/Makefile.inc

unit: need $(UNIT_PROGRAMS)
	$(Q)tests/run unit

# A journal's writer killed at random moments; tests/run does it 50 times.
crash: $(B)/tests/unit/test_journal_crash
	$(Q)$< 1000

# Neither is part of `make test`: the one builds kube-apiserver for some minutes, the other an image of Debian.
test-apiserver:
	$(Q)tools/setup test
	$(Q)tools/kube fetch
	$(Q)$(MAKE) all $(B)/tests/live/watch_pods
	$(Q)/usr/bin/python3 tests/kubernetes/test_apiserver.py --reprieve $(B)/reprieve

test-pods:
	$(Q)tools/setup test
	$(Q)$(MAKE) programs
	$(Q)/usr/bin/python3 tests/live/test_pods.py --steps 10000

test-containers-vm:
	$(Q)tools/setup containers
	$(Q)$(MAKE) all
	$(Q)tests/vm/runtimes
	$(Q)tools/image >/dev/null
	$(Q)tests/vm/daemonset
	$(Q)tests/vm/daemonset 6.12+nobpf freeze

# Seven minutes, and 200 pods where tests/run has 100: the API of a node of 200 pods stays away for five of them, and what that costs is printed.
test-burst: all $(B)/tests/live/burst_pod
	$(Q)/usr/bin/python3 tests/live/test_pod_burst.py --reprieve $(B)/reprieve --away $(or $(AWAY),300)

programs: all $(UNIT_PROGRAMS) $(DIFF_PROGRAMS) $(LIVE_PROGRAMS) $(REPLAY_PROGRAMS)

test:
	$(Q)tools/setup build
	$(Q)tools/setup demo
	$(Q)tools/setup test
	$(Q)$(MAKE) programs
	$(Q)tests/run

demo:
	$(Q)tools/setup build
	$(Q)tools/setup demo
	$(Q)$(MAKE) all
	$(Q)tools/demo

check: need
	$(Q)tools/style

# Made anew each time: it depends on the machine's libraries, too.
image: all
	$(Q)tools/image $(if $(IMAGE),--name $(IMAGE))

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 755 $(B)/reprieve $(DESTDIR)$(PREFIX)/bin/reprieve
	ln -sf reprieve $(DESTDIR)$(PREFIX)/bin/reprieved
	sed 's|/usr/local|$(PREFIX)|g; s|^ExecStart=reprieved|ExecStart=$(PREFIX)/bin/reprieved|' tools/reprieve.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/reprieve.service
	install -m 644 tools/reprieve.8 $(DESTDIR)$(PREFIX)/share/man/man8/reprieve.8

vmlinux:
	$(Q)tools/vmlinux

.PHONY: vmlinux programs

clean:
	$(Q)rm -rf $(B)

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d)
