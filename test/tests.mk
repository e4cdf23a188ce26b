# The tests that PGXS runs with `make installcheck` on a running server, and programs that
# need no server.
# Inputs lie in test/sql and test/specs, expected outputs of both in expected/,
# hence the prefix iso_ of the isolation specs.

.DEFAULT_GOAL := all

REGRESS        := $(basename $(notdir $(sort $(wildcard test/sql/*.sql))))
REGRESS_OPTS   = --inputdir=./test --outputdir=. --encoding=UTF8 --no-locale
ISOLATION      := $(basename $(notdir $(sort $(wildcard test/specs/iso_*.spec))))
ISOLATION_OPTS = --inputdir=./test --outputdir=. --use-existing --launcher=test/isolation-tester
# PGXS appends --dbname with this, after it has set this to a name of its own.
override ISOLATION_TESTDB = gateway_pool_isolation

UNIT_TESTS     := $(basename $(sort $(wildcard test/unit/*_test.c)))
EXTRA_CLEAN    += $(UNIT_TESTS)

.PHONY: isolation-database unit check-tests check-layers check-walks

installcheck: $(if $(ISOLATION),isolation-database)

isolation-database: ## replace the isolation tests' database on the running server
	$(bindir)/dropdb --if-exists $(ISOLATION_TESTDB)
	$(bindir)/createdb --template=template0 $(ISOLATION_TESTDB)
	$(bindir)/psql -Xq -v ON_ERROR_STOP=1 -d $(ISOLATION_TESTDB) \
		-c "ALTER DATABASE $(ISOLATION_TESTDB) SET lc_messages = 'C'" $(addprefix -f ,$(wildcard test/host.sql))

unit: $(UNIT_TESTS) ## build and run the tests that need no server
	$(if $(UNIT_TESTS),prove -j 2 --exec '$(UNIT_EXEC)' $(UNIT_TESTS))

# NAME_test.c tests NAME.c, linked with these alone.
vpath %.c $(wildcard src/*/)
test/unit/health_rule_test: src/rules/heartbeat.c
test/unit/selection_test: src/rules/draw_table.c
test/unit/network_list_test: src/rules/probe_address.c
test/unit/resolver_test: src/probe/resolver_hosts.c src/probe/resolver_search.c
test/unit/resolver_test: UNIT_LIBS = -lcares

test/unit/%_test: test/unit/%_test.c %.c $(wildcard src/*/*.h test/unit/*.h)
	$(CC) $(CFLAGS) $(CPPFLAGS) -I src -o $@ $(filter %.c,$^) -lm $(UNIT_LIBS)

tests_here     := $(basename $(notdir $(wildcard test/sql/* test/specs/*)))
outputs_here   := $(basename $(notdir $(wildcard expected/*)))
misnamed       := $(filter-out %.sql,$(wildcard test/sql/*)) \
	$(filter-out test/specs/iso_%.spec,$(wildcard test/specs/*)) \
	$(wildcard test/sql/iso_*) $(filter-out %.out,$(wildcard expected/*))
alternatives   := $(foreach n,1 2 3 4 5 6 7 8 9,$(addsuffix _$(n),$(tests_here)))
without_test   := $(filter-out $(tests_here) $(alternatives),$(outputs_here))
without_output := $(filter-out $(outputs_here),$(tests_here))

check-tests: ## look for tests that are not run and expected outputs without a test
	$(if $(strip $(misnamed)),$(error not run, for their names: $(strip $(misnamed))))
	$(if $(without_test),$(error expected outputs without a test: $(without_test)))
	$(if $(without_output),$(error tests without an expected output: $(without_output)))
	$(if $(shell grep -c '^ *"version": "$(EXTVERSION)\.' META.json | grep -x 2),,$(error META.json has another version than the control file))
	@:

check-layers: ## look for files of src/ that include headers of higher layers
	test/check-layers
	test/check-layers --planted

check-walks: ## look for functions that src/README.md names and src/ lacks
	test/check-walks
