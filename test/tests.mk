# The tests that PGXS runs with `make installcheck`, on a running server.
# Inputs lie in test/sql and test/specs, expected outputs of both in expected/,
# hence the prefix iso_ of the isolation specs.

REGRESS        =
REGRESS_OPTS   = --inputdir=./test --outputdir=.
ISOLATION      =
ISOLATION_OPTS = --inputdir=./test --outputdir=. --use-existing --dbname=gateway_pool_isolation
