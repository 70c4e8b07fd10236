# SPDX-License-Identifier: GPL-2.0-or-later
#
# make            build without root              make check    run every test (root)
# make up         install and start (root)        make demo     the story in namespaces (root)
# make install, uninstall, asan, bench, clean; V=1 shows the commands; DESTDIR, PREFIX as usual
#
# User space is built twice: build/ is what is installed, build/asan/ is what the tests run.

PREFIX ?= /usr/local
DESTDIR ?=
sbindir = $(PREFIX)/sbin
mandir = $(PREFIX)/share/man
unitdir = $(PREFIX)/lib/systemd/system
completiondir = $(PREFIX)/share/bash-completion/completions
docdir = $(PREFIX)/share/doc/smtpwall
confdir = /etc/smtpwall

VERSION := 0.1.0
CLANG ?= clang
# Ubuntu's /usr/sbin/bpftool is a script that looks for the running kernel's own: try, don't ask.
BPFTOOL ?= $(firstword $(shell for b in bpftool /usr/sbin/bpftool /usr/lib/linux-tools/*/bpftool \
	/usr/lib/linux-tools-*/bpftool; do "$$b" version >/dev/null 2>&1 && echo "$$b"; done; :))
PKG_CONFIG ?= pkg-config

PACKAGES := libbpf libnl-3.0 libnl-route-3.0 libsystemd libconfuse json-c sqlite3 libcap-ng ncursesw

MACHINE := $(shell uname -m)
ARCH_x86_64 := x86
ARCH_aarch64 := arm64
ARCH_ppc64le := powerpc
ARCH_s390x := s390
ARCH_riscv64 := riscv
BPF_ARCH := $(or $(ARCH_$(MACHINE)),$(MACHINE))
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Werror
CPPFLAGS += -D_GNU_SOURCE -DSW_VERSION='"$(VERSION)"' -Iinclude -Iuser -Ibuild \
	$(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
LDLIBS += $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null) -lpthread
USER_CFLAGS = -std=gnu11 $(WARNINGS) -MMD -MP $(CPPFLAGS) $(CFLAGS)
ASAN_CFLAGS = -std=gnu11 $(WARNINGS) -MMD -MP $(CPPFLAGS) -O1 -g -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
BPF_CFLAGS = -std=gnu11 -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -Ibpf \
	$(if $(MULTIARCH),-I/usr/include/$(MULTIARCH)) $(WARNINGS) -MMD -MP \
	-ffile-prefix-map=$(CURDIR)=.

BPF_OBJS := $(patsubst bpf/%.bpf.c,build/bpf/%.bpf.o,$(wildcard bpf/*.bpf.c))
LIB_SRCS := $(filter-out user/main.c,$(wildcard user/*.c))
CLI_SRCS := $(wildcard user/cli/*.c)
LIB_OBJS := $(LIB_SRCS:%.c=build/%.o)
CLI_OBJS := $(CLI_SRCS:%.c=build/%.o)
ASAN_LIB_OBJS := $(LIB_SRCS:%.c=build/asan/%.o)
ASAN_CLI_OBJS := $(CLI_SRCS:%.c=build/asan/%.o)
UNIT := $(patsubst tests/unit/%.c,build/asan/unit/%,$(wildcard tests/unit/*.c))
PROG := $(patsubst tests/prog/%.c,build/asan/prog/%,$(wildcard tests/prog/*.c))
FUZZ := $(patsubst tests/fuzz/%.c,build/asan/fuzz/%,$(wildcard tests/fuzz/*.c))
CLIENTS := $(patsubst tests/clients/%.c,build/clients/%,$(wildcard tests/clients/*.c)) \
	build/clients/clock.so
BENCH := $(patsubst tools/bench/%.c,build/bench/%,$(filter-out %.bpf.c,$(wildcard tools/bench/*.c)))
MAN_PAGES := $(wildcard user/man/*.[1-8])
COMPLETIONS := $(wildcard user/completion/*)

ifeq ($(V),1)
  Q :=
  say = @:
else
  Q := @
  say = @printf '  %-4s %s\n'
  MAKEFLAGS += --no-print-directory
endif

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all bpf asan unit prog fuzz clients next check up install uninstall demo bench clean

all: build/smtpwalld build/smtpwall
bpf: build/smtpwall.skel.h
asan: build/asan/smtpwalld build/asan/smtpwall
unit: $(UNIT)
prog: $(PROG)
fuzz: $(FUZZ)
clients: $(CLIENTS)

# ---- kernel programs ----

build/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	@mkdir -p $(@D)
	$(say) BPF $(@F)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

build/smtpwall.bpf.o: $(BPF_OBJS)
	$(say) LINK $(@F)
	$(Q)$(or $(BPFTOOL),$(error no bpftool works here: run tools/setup, or set BPFTOOL=/path)) \
		gen object $@ $^

build/smtpwall.skel.h: build/smtpwall.bpf.o
	$(say) GEN $(@F)
	$(Q)$(BPFTOOL) gen skeleton $< name smtpwall > $@

# ---- user space ----

build/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) CC $(<:user/%=%)
	$(Q)$(CC) $(USER_CFLAGS) -c $< -o $@

build/asan/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) ASAN $(<:user/%=%)
	$(Q)$(CC) $(ASAN_CFLAGS) -c $< -o $@

build/user/load.o build/asan/user/load.o: build/smtpwall.skel.h

build/libsmtpwall.a: $(LIB_OBJS)
build/asan/libsmtpwall.a: $(ASAN_LIB_OBJS)
%/libsmtpwall.a:
	@mkdir -p $(@D)
	$(say) AR $(@:build/%=%)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

build/smtpwalld: build/user/main.o build/libsmtpwall.a
build/smtpwall: $(CLI_OBJS) build/libsmtpwall.a
build/smtpwalld build/smtpwall:
	$(say) LD $(@:build/%=%)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

build/asan/smtpwalld: build/asan/user/main.o build/asan/libsmtpwall.a
build/asan/smtpwall: $(ASAN_CLI_OBJS) build/asan/libsmtpwall.a
build/asan/smtpwalld build/asan/smtpwall:
	$(say) LD $(@:build/%=%)
	$(Q)$(CC) $(ASAN_CFLAGS) $^ $(LDLIBS) -o $@

# ---- tests: unit and prog are one program a file; clients are what hostile users run ----

build/asan/unit/%: build/asan/tests/unit/%.o build/asan/libsmtpwall.a
	@mkdir -p $(@D)
	$(say) LD unit/$*
	$(Q)$(CC) $(ASAN_CFLAGS) $^ $(LDLIBS) -o $@

build/asan/prog/%: build/asan/tests/prog/%.o build/asan/libsmtpwall.a
	@mkdir -p $(@D)
	$(say) LD prog/$*
	$(Q)$(CC) $(ASAN_CFLAGS) $^ $(LDLIBS) -o $@

build/asan/tests/%.o: CPPFLAGS += -Itests/unit

# The same files are libFuzzer targets; here they draw their input themselves.
build/asan/fuzz/%: tests/fuzz/%.c Makefile
	@mkdir -p $(@D)
	$(say) ASAN fuzz/$*
	$(Q)$(CC) $(ASAN_CFLAGS) -DRANDOM_SESSIONS=20000 $< -o $@

# Static, so that they run in any mount namespace or container that a test makes.
build/clients/%: tests/clients/%.c Makefile
	@mkdir -p $(@D)
	$(say) CC clients/$*
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -O2 -g -MMD -MP -static $< -pthread -o $@

build/clients/%.so: tests/clients/preload/%.c Makefile
	@mkdir -p $(@D)
	$(say) CC clients/$(@F)
	$(Q)$(CC) -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -O2 -g -MMD -MP -shared -fPIC $< -o $@

# A version to come, whose maps have another layout: for the tests of an upgrade.
build/next/include/smtpwall/abi.h: include/smtpwall/abi.h tests/next.sed
	@mkdir -p $(@D)
	$(Q)sed -f tests/next.sed $< > $@

next: build/next/include/smtpwall/abi.h
	$(say) NEXT build/next
	$(Q)cp -a Makefile bpf user build/next
	$(Q)cp -a $(filter-out include/smtpwall/abi.h,$(wildcard include/smtpwall/*.h)) $(<D)
	$(Q)$(MAKE) -C build/next WARNINGS=-Wall asan >/dev/null

check:
	$(Q)tools/setup --test
	$(Q)$(MAKE) all asan unit prog fuzz clients next
	$(Q)tests/run

# ---- bench ----

build/bench/%.bpf.o: tools/bench/%.bpf.c Makefile
	@mkdir -p $(@D)
	$(say) BPF bench/$(@F)
	$(Q)$(CLANG) $(BPF_CFLAGS) -Wno-unused-parameter -c $< -o $@

build/bench/%: tools/bench/%.c Makefile
	@mkdir -p $(@D)
	$(say) CC bench/$*
	$(Q)$(CC) $(USER_CFLAGS) $< $(LDLIBS) -o $@

# ---- installation ----

# The configuration belongs to the administrator: it is copied once, and a policy that was
# deleted stays deleted. What this version ships can always be read in $(docdir).
install: all
	$(say) INST '$(DESTDIR)$(sbindir) $(DESTDIR)$(confdir)'
	$(Q)install -d '$(DESTDIR)$(sbindir)' '$(DESTDIR)$(unitdir)' '$(DESTDIR)$(docdir)/conf.d'
	$(Q)install -m 0755 build/smtpwalld build/smtpwall '$(DESTDIR)$(sbindir)'
	$(Q)sed 's|@sbindir@|$(sbindir)|g' user/systemd/smtpwalld.service.in \
		> '$(DESTDIR)$(unitdir)/smtpwalld.service' && \
		chmod 0644 '$(DESTDIR)$(unitdir)/smtpwalld.service'
	$(Q)install -m 0644 README.md LICENSE user/etc/smtpwall.conf '$(DESTDIR)$(docdir)'
	$(Q)install -m 0644 user/etc/conf.d/*.conf '$(DESTDIR)$(docdir)/conf.d'
	$(Q)for page in $(MAN_PAGES); do \
		install -D -m 0644 "$$page" \
			"$(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/}" || exit; done
	$(Q)for file in $(COMPLETIONS); do \
		install -D -m 0644 "$$file" "$(DESTDIR)$(completiondir)/$${file##*/}" || exit; done
	$(Q)if [ ! -e '$(DESTDIR)$(confdir)/smtpwall.conf' ]; then \
		install -d '$(DESTDIR)$(confdir)/conf.d' && \
		install -m 0644 user/etc/conf.d/*.conf '$(DESTDIR)$(confdir)/conf.d' && \
		install -m 0644 user/etc/smtpwall.conf '$(DESTDIR)$(confdir)'; fi

up:
	$(Q)tools/setup
	$(Q)$(MAKE) install
	$(Q)tools/service start '$(sbindir)'
	$(Q)'$(sbindir)/smtpwall' status

# Stops the daemon and takes the gate down first, unless a tree elsewhere is cleaned.
uninstall:
	$(Q)if [ -z '$(DESTDIR)' ]; then tools/service remove '$(sbindir)'; fi
	$(say) RM '$(DESTDIR)$(sbindir)/smtpwall, smtpwalld'
	$(Q)rm -f '$(DESTDIR)$(sbindir)/smtpwalld' '$(DESTDIR)$(sbindir)/smtpwall' \
		'$(DESTDIR)$(unitdir)/smtpwalld.service' \
		$(foreach f,$(COMPLETIONS),'$(DESTDIR)$(completiondir)/$(notdir $(f))') \
		$(foreach f,$(MAN_PAGES),'$(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(f)))/$(notdir $(f))')
	$(Q)rm -rf '$(DESTDIR)$(docdir)'
	@echo 'Kept, for you to remove: $(DESTDIR)$(confdir) and /var/lib/smtpwall'

demo:
	$(Q)tools/setup --test
	$(Q)$(MAKE) all
	$(Q)tools/demo

bench: all $(BENCH) build/bench/empty.bpf.o
	$(Q)tools/bench/run

clean:
	rm -rf build

-include $(shell find build -type f -name '*.d' -not -path 'build/exim*' -not -path 'build/kernels/*' -not -path 'build/next/*' 2>/dev/null)
