# gateway_pool: see README.md.  `make help` lists the targets.

EXTENSION    = gateway_pool
# The control file is the one source of the version.
EXTVERSION  := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" gateway_pool.control)

MODULE_big   = gateway_pool
OBJS         = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PGFILEDESC   = "gateway_pool - pick a healthy gateway of a pool"
PG_CPPFLAGS  = -Isrc -DGATEWAY_POOL_VERSION='"$(EXTVERSION)"'
SHLIB_LINK   = -lcurl -lssl -lcrypto -lcares -lm
PG_CFLAGS    = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare

# Joined in this order.  In a folder of their own because pg_regress would run
# sql/NAME.sql instead of test/sql/NAME.sql.
SQL_PARTS = \
	sql/parts/00_guard.sql \
	sql/parts/02_schema.sql \
	sql/parts/05_internal.sql \
	sql/parts/10_triggers.sql \
	sql/parts/20_plan.sql \
	sql/parts/30_pick.sql \
	sql/parts/40_status.sql \
	sql/parts/42_view_columns.sql \
	sql/parts/45_report.sql \
	sql/parts/50_management.sql \
	sql/parts/55_access.sql \
	sql/parts/60_administration.sql \
	sql/parts/65_consumers.sql \
	sql/parts/70_install.sql \
	sql/parts/75_isolation.sql \
	sql/parts/80_check.sql \
	sql/parts/90_finish.sql
# By this the library knows its script: before a release, versions do not differ.
SCRIPT_HASH := $(shell cat $(SQL_PARTS) | sha256sum | cut -c 1-16)
ifeq ($(SCRIPT_HASH),)
$(error sha256sum is missing)
endif
DATA_built   = sql/$(EXTENSION)--$(EXTVERSION).sql
# For each version in sql/updates, the script that updates it to this one.
DATA_built  += $(patsubst sql/updates/%,sql/$(EXTENSION)--%,$(patsubst %.sql,%--$(EXTVERSION).sql,$(wildcard sql/updates/*.sql)))

include test/tests.mk

# These targets, called by name, work without PostgreSQL's build files: they install
# them.
PG_CONFIG   ?= pg_config
ifeq ($(filter bench bench-probes check check-indent check-stop coverage deb demo dist indent lint picture sanitize test test-arm64 test-examples test-packaging typedefs help,$(MAKECMDGOALS)),)
# Bitcode for PostgreSQL's JIT takes twice the time to build, and needs clang.  Picks are
# no expressions to inline: they gain nothing.  `make with_llvm=yes` builds it.
ifneq ($(with_llvm),yes)
override with_llvm = no
endif
PGXS        := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

sql/$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) Makefile
	sed 's/@SCRIPT_HASH@/$(SCRIPT_HASH)/' $(SQL_PARTS) > $@

# The same objects, made or replaced, after what sql/updates drops.
sql/$(EXTENSION)--%--$(EXTVERSION).sql: sql/updates/%.sql $(SQL_PARTS) Makefile
	sed -E -e 's/@SCRIPT_HASH@/$(SCRIPT_HASH)/' -e 's/^CREATE (FUNCTION|VIEW) /CREATE OR REPLACE \1 /' \
		-e 's/"CREATE EXTENSION gateway_pool"/"ALTER EXTENSION gateway_pool UPDATE"/' \
		sql/parts/00_guard.sql $< $(filter-out %/00_guard.sql %/02_schema.sql,$(SQL_PARTS)) > $@

src/tables/script.o src/tables/script.bc: override CPPFLAGS += -DSCRIPT_HASH='"$(SCRIPT_HASH)"'
src/tables/script.o src/tables/script.bc: $(SQL_PARTS) Makefile

# Debian builds PostgreSQL without dependency tracking: only test/server.sh asks for it.
TRACKED     := $(wildcard $(OBJS:.o=.d))
-include $(TRACKED)
$(filter-out $(TRACKED:.d=.o),$(OBJS)) $(OBJS:.o=.bc): $(wildcard src/*/*.h)
$(OBJS) $(OBJS:.o=.bc): gateway_pool.control
EXTRA_CLEAN += $(TRACKED)
else
# PGXS has a target of this name, too.
check: ## run the tests named by T="pick 010 ...", without T the quick ones
	@test/check $(T)
endif

.PHONY: bench bench-probes check check-indent check-stop coverage deb demo dist indent lint picture sanitize test test-arm64 test-examples test-packaging typedefs help
demo: ## show the extension at work on a throw-away server (KEEP=1 leaves it up)
	test/demo/run

bench: ## measure picks, heartbeats and their rivals on a throw-away server
	test/bench/run

bench-probes: ## measure probes and HAProxy's checks on a throw-away server
	test/bench/run-probes

check-stop: ## end the server of make check, and remove its files
	@test/check --stop

indent: ## format the C files as PostgreSQL's are
	test/indent

check-indent: ## show what make indent would change, and fail if there is a change
	test/indent --check

typedefs: ## write the list of types that make indent uses
	test/indent --typedefs

coverage: ## measure which lines of src/ the tests run (T="test/sql/pick.sql ..." for some tests)
	test/coverage $(T)

lint: ## look for faults by static analysis (test/lint TOOL for one tool)
	test/lint

picture: ## draw docs/failover.svg from a run on a throw-away server
	test/picture/run

sanitize: ## look for memory errors, on throw-away servers
	test/sanitize

test: ## run all tests on throw-away servers
	test/run

deb: ## build Debian packages for the PostgreSQL versions installed, in dist/
	packaging/deb

dist: ## make the archive for PGXN of what is committed, in dist/
	packaging/dist

test-packaging: ## install, run, upgrade and remove what packaging/ makes, in Debian chroots, as root
	test/packaging $(T)

test-arm64: ## compile for arm64 in a Debian chroot, as root, and run the unit tests by emulation
	test/packaging arm64

test-examples: ## run the tests of examples/ on a throw-away server
	test/examples

help: ## show this list
	@echo "make                    build"
	@echo "make install            install into the PostgreSQL of PG_CONFIG (default: pg_config)"
	@echo "make installcheck       run the regression and isolation tests on a running server"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile test/tests.mk
