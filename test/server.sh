# shellcheck shell=bash
# Throw-away PostgreSQL servers, separate from the system's own: sourced by the
# scripts of test/.
#
# They live in one workspace under /tmp, which belongs to an unprivileged user
# (postgres when root calls) and is removed at exit.
#   PG_MAJOR=16   the PostgreSQL to use (default: the newest on the machine)
#   KEEP=1        leaves the workspace and its servers in place
# The workspace of test/check stays until `make check-stop`.

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
workspace=
become=()
group=

# Prints a reason, and ends the script with 1.
die() {
	printf '%s: %s\n' "$0" "$*" >&2
	exit 1
}

# Prints the newest PostgreSQL that has a pg_config, else Debian 12's.
default_major() {
	local newest
	newest=$(find /usr/lib/postgresql -path '*/bin/pg_config' 2> /dev/null |
		sort -V | tail -n 1 | cut -d / -f 5)
	echo "${newest:-15}"
}

PG_MAJOR=${PG_MAJOR:-$(default_major)}

# Variables that lead to another server are removed.
for name in $(compgen -e PG); do
	[ "$name" = PG_MAJOR ] || unset "$name"
done

# Installs packages, as root; shows the output of apt-get if it fails.  PostgreSQL's
# package would make and start a cluster, and others would start their services: two
# temporary files prevent that.
install_packages() {
	settings=/etc/postgresql-common/createcluster.d
	policy=/usr/sbin/policy-rc.d
	[ ! -e "$policy" ] || policy=$(mktemp)
	mkdir -p "$settings"
	trap 'rm -f "$settings/throw_away.conf" "$policy"; rmdir --ignore-fail-on-non-empty "$settings"' EXIT
	echo 'create_main_cluster = false' > "$settings/throw_away.conf"
	printf '%s\n' '#!/bin/sh' 'exit 101' > "$policy"
	chmod +x "$policy"
	export DEBIAN_FRONTEND=noninteractive
	apt="apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0"
	output=$($apt update 2>&1; $apt install --no-install-recommends "$@" 2>&1) ||
		{ printf '%s\n' "$output" >&2; return 1; }
}

# Installs those of these Debian packages that are missing.
need_packages() {
	local package installed missing=() as_root=()
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2> /dev/null) || true
	for package; do
		grep -qx "$package installed" <<< "$installed" || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	if [ "$(id -u)" -ne 0 ]; then
		if sudo -n true 2> /dev/null; then
			as_root=(sudo -n)
		elif [ -t 0 ] && command -v sudo > /dev/null; then
			as_root=(sudo)
		else
			die "these packages are missing: ${missing[*]}
As root, install them with
    apt-get install --no-install-recommends ${missing[*]}"
		fi
	fi
	echo "Installing, which takes a minute or two: ${missing[*]}"
	"${as_root[@]}" bash -c "$(declare -f install_packages); install_packages \"\$@\"" bash \
		"${missing[@]}" < /dev/null || die 'apt-get could not install them'
}

# What a build and a server need.
build_packages=(gcc libc6-dev make libc-ares-dev libcurl4-openssl-dev libssl-dev
	"postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR")

# Installs these and further packages if they are missing.
need_postgresql() { need_packages "${build_packages[@]}" "$@"; }

# Prints the files of the working tree that are not made by a build, each followed by a
# NUL.
source_files() {
	local file files
	mapfile -d '' -t files < <(git -C "$top" -c safe.directory='*' ls-files -z \
		--cached --others --exclude-standard 2> /dev/null)
	[ ${#files[@]} -gt 0 ] || mapfile -d '' -t files < <(cd "$top" && find . -type f \
		! -name '*.o' ! -name '*.d' ! -name '*.bc' ! -name '*.so' ! -name '*_test' \
		! -name '*--*.sql' \
		! -path '*/node_modules/*' ! -path './examples/*/dist/*' -print0)
	for file in "${files[@]}"; do
		[ ! -f "$top/$file" ] || printf '%s\0' "$file"
	done
}

# Copies the working tree into a directory.  Where that has a copy already, replaces
# only the files that have changed, which get the present time, so that make builds what
# depends on them.  The copy's .copied lists its files with the times of their changes.
copy_source() {
	local line file now changed=()
	local -A before=() gone=()
	mapfile -d '' -t now < <(cd "$top" && source_files | xargs -0 -r stat --printf '%n//%.Z %s %a\0')
	[ ${#now[@]} -gt 0 ] || die 'there are no files to copy'
	[ -d "$1" ] || "${become[@]}" mkdir "$1" || return
	[ ! -e "$1/.copied" ] || while IFS= read -r -d '' line; do
		before[$line]=1
	done < "$1/.copied"
	for line in "${now[@]}"; do
		[ -n "${before[$line]:-}" ] || changed+=("${line%%//*}")
		unset -v "before[\$line]"
	done
	for line in "${!before[@]}"; do
		file=${line%%//*}
		gone[$file]=1
		# A source that was removed leaves no newer object: the library is linked again.
		[[ $file != *.c ]] || gone[gateway_pool.so]=1
	done
	[ $((${#changed[@]} + ${#gone[@]})) -gt 0 ] || return 0
	(
		cd "$1" || exit
		[ ${#gone[@]} -eq 0 ] || "${become[@]}" rm -f -- "${!gone[@]}" || exit
		[ ${#changed[@]} -eq 0 ] || printf '%s\0' "${changed[@]}" |
			tar -C "$top" --null --no-recursion -T - -cf - | "${become[@]}" tar -xmf - || exit
		printf '%s\0' "${now[@]}" | "${become[@]}" tee .copied > /dev/null
	)
}

# Sets the unprivileged user for the workspace, and lets signals end the script.
use_workspace() {
	pg_bin=$workspace/tree/usr/lib/postgresql/$PG_MAJOR/bin
	# setpriv replaces itself with the command, and keeps limits.
	[ "$(id -u)" -ne 0 ] || become=(setpriv --reuid=postgres --regid=postgres --init-groups)
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# Makes the unprivileged user own a directory that root has just made.
give_away() {
	[ "$(id -u)" -ne 0 ] || chown postgres: "$1"
}

# Fills the workspace: the source, and a copy of PostgreSQL to install into, which
# finds its files by the end of their path.
fill_workspace() {
	local part
	"${become[@]}" mkdir -p "$workspace/tree/usr/include" "$workspace/tmp" "$workspace/source" || exit
	for part in lib share; do
		as_user mkdir "$workspace/tree/usr/$part" "$workspace/tree/usr/$part/postgresql" &&
			as_user cp -a "/usr/$part/postgresql/$PG_MAJOR" "$workspace/tree/usr/$part/postgresql" || exit
	done
	as_user ln -s /usr/include/postgresql "$workspace/tree/usr/include/postgresql"
	copy_source "$workspace/source" || exit
}

# Makes a workspace that is removed at exit.
private_workspace() {
	workspace=$(mktemp -d /tmp/gateway_pool.XXXXXX) && give_away "$workspace" || exit
	trap remove_workspace EXIT
	use_workspace
	fill_workspace
}

# Makes or updates the lasting workspace of this checkout, user and PostgreSQL.  It is
# made again if one of the PACKAGES... has another version than then.
lasting_workspace() {
	local is_current=
	workspace=$(lasting_workspaces "$PG_MAJOR")
	[ ! -s "$workspace/versions" ] || [ "$(< "$workspace/versions")" != "$(versions_of "$@")" ] || is_current=yes
	[ -n "$is_current" ] || need_packages "$@"
	if mkdir -m 700 "$workspace" 2> /dev/null; then
		give_away "$workspace"
	else
		is_ours "$workspace" || die "$workspace belongs to another user"
	fi
	trap leave_workspace EXIT
	use_workspace
	if [ -n "$is_current" ]; then
		copy_source "$workspace/source" || exit
	else
		end_servers "$workspace"
		(cd / && "${become[@]}" find "$workspace" -mindepth 1 -delete)
		fill_workspace
		as_user tee "$workspace/checkout" <<< "$top" > /dev/null
		versions_of "$@" | as_user tee "$workspace/versions" > /dev/null
	fi
}

# Prints the state and version of each package.
versions_of() { dpkg-query -W -f '${Package} ${db:Status-Status} ${Version}\n' "$@" 2> /dev/null; }

# Prints the name of that workspace: MAJOR, which may be a pattern.
lasting_workspaces() {
	echo "/tmp/gateway_pool-check.$(id -u).$1.$(cksum <<< "$top" | cut -d ' ' -f 1)"
}

# Returns true if DIRECTORY belongs to the unprivileged user.
is_ours() {
	local owner=postgres
	[ "$(id -u)" -eq 0 ] || owner=$(id -un)
	[ -d "$1" ] && [ ! -L "$1" ] && [ "$(stat -c %U "$1")" = "$owner" ]
}

# Makes DIRECTORY, or ends the script if others can write to it: what lies there runs as root.
need_own_directory() {
	mkdir -p "$(dirname "$1")"
	mkdir -m 755 "$1" 2> /dev/null || [ "$(find "$1" -maxdepth 0 -type d -uid "$(id -u)" ! -perm /022)" = "$1" ] ||
		die "$1 is not a directory to which $(id -un) alone can write"
}

# Ends the servers whose data lies in DIRECTORY.
end_servers() {
	local file pid
	[ ! -d "$1" ] || find "$1" -name postmaster.pid | while read -r file; do
		pid=$(postmaster_of "${file%/*}") || continue
		kill -QUIT "$pid" && within 10 has_ended "$pid" || echo "Process $pid does not end" >&2
	done
}

# Prints the process of the server whose data lies in DIRECTORY, if it runs: its working
# directory shows that it is a postmaster and not another process with that id.
postmaster_of() {
	local pid
	read -r pid 2> /dev/null < "$1/postmaster.pid" && [ "/proc/$pid/cwd" -ef "$1" ] && echo "$pid"
}

has_ended() { ! kill -0 "$1" 2> /dev/null || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

# Ends all processes in the workspace and removes it.
remove_workspace() {
	trap '' HUP INT TERM
	cd /
	end_group
	if [ -n "${KEEP:-}" ]; then
		echo "Kept: $workspace" >&2
		return 0
	fi
	end_servers "$workspace"
	rm -rf "$workspace"
}

# Ends all processes in the workspace except the lasting server.
leave_workspace() {
	trap '' HUP INT TERM
	end_group
	end_servers "$workspace/source"
}

# Runs a command, or a function, in a process group of its own, so that a signal to the
# script ends the whole group.
in_own_group() {
	local status=0
	set -m
	"$@" < /dev/null &
	group=$!
	set +m
	wait "$group" || status=$?
	group=
	return "$status"
}

# Waits until COMMAND... succeeds; fails if it does not within SECONDS:
# SECONDS COMMAND...
within() {
	local deadline=$((SECONDS + $1))
	until "${@:2}"; do
		[ "$SECONDS" -lt "$deadline" ] || return
		sleep 0.1
	done
}

# Returns true if that process group has ended; ends it.
group_has_ended() { ! kill -0 -- "-$group" 2> /dev/null; }
end_group() {
	local signal
	[ -n "$group" ] || return 0
	for signal in TERM KILL; do
		kill -s "$signal" -- "-$group" 2> /dev/null || return 0
		! within 5 group_has_ended || return 0
	done
}

# Runs a command as the unprivileged user, in the copied source, with an environment of
# its own.
as_user() (
	cd "$workspace/source" || exit
	environment=(HOME="$workspace" TMPDIR="$workspace/tmp" LC_ALL=C.UTF-8 PATH="$pg_bin:$PATH")
	for name in "${!PG@}"; do
		environment+=("$name=${!name}")
	done
	exec "${become[@]}" env -i "${environment[@]}" "$@"
)

# Runs make for the private PostgreSQL.
make_there() {
	as_user make -s PG_CONFIG="$pg_bin/pg_config" COPT="-Werror -MMD -MP" with_llvm=no "$@"
}

# Builds the extension, without warnings, and installs it into the workspace.
build_and_install() {
	make_there -j2 install
}

# Prints a directory made by initdb with OPTIONS...  initdb runs once for equal options,
# because a copy takes a tenth of the time.
initdb_template() {
	local template
	template=$workspace/initdb.$(cksum <<< "$*" | cut -d ' ' -f 1)
	if [ ! -d "$template" ]; then
		as_user initdb -D "$template.new" -A trust --no-sync "$@" > /dev/null &&
			as_user mv "$template.new" "$template" || return
	fi
	echo "$template"
}

# Makes a new server, NAME, with the given lines of configuration.
make_server() {
	local dir=$workspace/$1 template
	template=$(initdb_template -U postgres --locale=C.UTF-8) &&
		as_user mkdir "$dir" &&
		as_user cp -RPp "$template" "$dir/data" &&
		printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$dir'" 'fsync = off' \
			"${@:2}" | as_user tee -a "$dir/data/postgresql.conf" > /dev/null
}

# Starts the server NAME.
run_server() {
	as_user pg_ctl start -s -w -D "$workspace/$1/data" -l "$workspace/$1/log" || {
		cat "$workspace/$1/log" >&2
		return 1
	}
}

# Sets PGHOST and others for the server NAME.
use_server() {
	export PGHOST=$workspace/$1 PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	echo "PostgreSQL $PG_MAJOR runs: PGHOST=$PGHOST"
}

# Makes and starts a server, NAME, with the given lines of configuration, and uses it.
start_server() {
	make_server "$@" && run_server "$1" && use_server "$1"
}

# Stops the server NAME.
stop_server() {
	as_user pg_ctl stop -s -w -m fast -D "$workspace/$1/data"
}
