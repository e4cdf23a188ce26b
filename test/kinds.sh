# shellcheck shell=bash disable=SC2034,SC2154
# Runs the kinds of tests, and counts results: sourced by test/run and test/check after
# test/server.sh.

# Expired evidence counts at once, as on a server that started long ago.
settings=('gateway_pool.startup_grace = 0' 'max_prepared_transactions = 10')
preloaded=("shared_preload_libraries = 'gateway_pool'" "${settings[@]}")

passed=0
failed=0
skipped=0
declare -A processes # in the background, by name

# Counts the results in the output of prove and pg_regress (up to 15; from 16): prints
# passed, failed.  If prove reports a program all of whose tests passed, the program
# itself failed.
count_results() {
	awk '
	/^Files=[0-9]+, Tests=/          { sub(/.*Tests=/, ""); good += $1 }
	/ \(Wstat: .* Failed: [0-9]+\)$/ { n = $NF + 0; good -= n; bad += n ? n : 1 }
	/^(test| ) .* \.\.\. +ok /       { good++ }
	/^(test| ) .* \.\.\. +FAILED/    { bad++ }
	/^ok [0-9]+ /                    { good++ }
	/^not ok [0-9]+ /                { bad++ }
	END                              { print good + 0, bad + 0 }' "$1"
}

# Runs the tests of one kind, if there are files of it: TITLE FILES COMMAND...
run_kind() {
	local title=$1 files=$2 log=$workspace/output diffs=$workspace/source/regression.diffs
	local status good bad
	shift 2
	[ "$files" -gt 0 ] || return 0
	printf '\n== %s\n' "$title"
	"$@" 2>&1 | as_user tee "$log"
	status=${PIPESTATUS[0]}
	read -r good bad <<< "$(count_results "$log")"
	[ "$bad" -gt 0 ] || [ "$status" -eq 0 ] || bad=1
	[ "$((good + bad))" -gt 0 ] || bad=1
	passed=$((passed + good))
	failed=$((failed + bad))
	[ "$bad" -eq 0 ] || [ ! -s "$diffs" ] || cat "$diffs"
	rm -f "$diffs"
}

# Sorts test files by kind into unit, sql, specs, pgtap and tap, under the name that
# each kind expects.
sort_tests() {
	local test stem
	unit=() sql=() specs=() pgtap=() tap=()
	for test; do
		stem=${test##*/}
		stem=${stem%.*}
		case $test in
			test/unit/*) unit+=("${test%.c}") ;;
			test/sql/*) sql+=("$stem") ;;
			test/specs/*) specs+=("$stem") ;;
			test/pgtap/*) pgtap+=("$test") ;;
			test/t/*) tap+=("$test") ;;
		esac
	done
}

# Runs those of them that need a server.
run_sorted_on_server() {
	run_kind 'Regression tests' ${#sql[@]} run_regress REGRESS "${sql[@]}"
	run_kind 'Isolation tests' ${#specs[@]} run_regress ISOLATION "${specs[@]}"
	run_or_skip_pgtap "${pgtap[@]}"
}

# Runs pg_regress or the isolation tester: VARIABLE NAMES...  The output of a test without
# expected output is shown as the difference from an empty one.
run_regress() {
	local name missing=() status=0
	for name in "${@:2}"; do
		[ -e "expected/$name.out" ] || missing+=("expected/$name.out")
	done
	[ ${#missing[@]} -eq 0 ] || as_user touch "${missing[@]}"
	make_there installcheck REGRESS= ISOLATION= "$1=${*:2}" || status=$?
	[ ${#missing[@]} -eq 0 ] || as_user rm "${missing[@]}"
	return "$status"
}

# Runs the pgTAP files, each in a database made for it.
run_pgtap() {
	as_user tee "$workspace/fresh_database.sql" > /dev/null <<-'END'
		SET client_min_messages = warning;
		DROP DATABASE IF EXISTS gateway_pool_pgtap WITH (FORCE);
		CREATE DATABASE gateway_pool_pgtap TEMPLATE template0;
		\connect gateway_pool_pgtap
		CREATE EXTENSION pgtap;
	END
	as_user prove --exec "psql -XqAt -v ON_ERROR_STOP=1 -f $workspace/fresh_database.sql -f" "$@"
}

# Runs the pgTAP files, or counts them as skipped where there is no pgTAP.
run_or_skip_pgtap() {
	if [ -e "/usr/share/postgresql/$PG_MAJOR/extension/pgtap.control" ]; then
		run_kind pgTAP $# run_pgtap "$@"
	else
		skipped=$((skipped + $#))
	fi
}

# Runs the TAP files four at a time: they start servers of their own and mostly wait.
run_tap() {
	local pgxs template
	template=$(initdb_template --locale=C --encoding=UTF8) || return
	pgxs=$(dirname "$(as_user pg_config --pgxs)")/..
	# From 16 on, its default directories are relative to the current one.
	as_user env TESTDIR="$workspace/source" TESTDATADIR="$workspace/source/tmp_check" \
		TESTLOGDIR="$workspace/source/tmp_check/log" PGPORT=65432 \
		PG_REGRESS="$pgxs/test/regress/pg_regress" INITDB_TEMPLATE="$template" \
		prove -j 4 -I "$pgxs/test/perl" -I test/t "$@"
}

# Starts a command in the background: NAME COMMAND...
in_background() {
	local name=$1
	shift
	as_user rm -f "$workspace/$name.status" "$workspace/$name.output"
	as_user touch "$workspace/$name.output"
	{
		"$@" 2>&1 | as_user tee "$workspace/$name.output" > /dev/null
		as_user tee "$workspace/$name.status" <<< "${PIPESTATUS[0]}" > /dev/null
	} &
	processes[$name]=$!
}

# Prints what the command NAME prints until it has ended, and returns its status.
output_of() {
	tail -n +1 -f -s 0.1 --pid="${processes[$1]}" "$workspace/$1.output"
	return "$(< "$workspace/$1.status")"
}

# Prints the sum as the last line; fails if a test failed, or none ran.
print_sum() {
	local without=
	[ "$skipped" -eq 0 ] || without=", $skipped files skipped: there is no pgTAP for PostgreSQL $PG_MAJOR"
	printf '\n%s passed, %s failed%s\n' "$passed" "$failed" "$without"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# What tests need beside a build and a server.
test_packages=(perl libipc-run-perl nginx openssl)
# Debian has no pgTAP for 19.
[ "$PG_MAJOR" -ge 19 ] || test_packages+=("postgresql-$PG_MAJOR-pgtap")
