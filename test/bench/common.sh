# shellcheck shell=bash
# What test/bench/run and test/bench/run-probes have in common: sourced by both.

# Runs SQL from standard input, or as told.
# shellcheck disable=SC2120  # its sourcers pass arguments
sql() { as_user psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

# Runs a statement in a session of its own.
session() { sql <<< "$1;" > /dev/null || die 'that went wrong'; }

begin() { printf '%(%T)T  %s\n' -1 "$*"; }

# Shows table bench.report, and names the budgets that are missed.
show_report() {
	as_user psql -X -P footer=off < /dev/null -c "
		SELECT what, budget, reached, rival, round(ratio::numeric, 2) AS ratio,
			CASE WHEN met THEN 'OK' WHEN budget IS NOT NULL THEN 'MISSED' END AS verdict
		FROM bench.report ORDER BY place"
	sql <<< "SELECT coalesce('Missed: ' || string_agg(trim(what), '; ' ORDER BY place), 'Every budget is kept.')
		FROM bench.report WHERE met IS NOT TRUE AND budget IS NOT NULL"
}
