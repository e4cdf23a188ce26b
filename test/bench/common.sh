# shellcheck shell=bash
# Functions that test/bench/run and test/bench/run-probes share: sourced by both.

# Runs SQL from standard input, or as arguments demand.
# shellcheck disable=SC2120  # its sourcers pass arguments
sql() { as_user psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

# Runs a statement in a session of its own.
session() { sql <<< "$1;" > /dev/null || die "the statement failed: $1"; }

begin() { printf '%(%T)T  %s\n' -1 "$*"; }

# Shows table bench.report and the missed budgets.
show_report() {
	as_user psql -X -P footer=off < /dev/null -c "
		SELECT what, budget, reached, rival, round(ratio::numeric, 2) AS ratio,
			CASE WHEN met THEN 'OK' WHEN budget IS NOT NULL THEN 'MISSED' END AS verdict
		FROM bench.report ORDER BY place"
	sql <<< "SELECT coalesce('Missed: ' || string_agg(trim(what), '; ' ORDER BY place), 'All budgets are met.')
		FROM bench.report WHERE met IS NOT TRUE AND budget IS NOT NULL"
}
