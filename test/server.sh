# shellcheck shell=bash
# Throw-away PostgreSQL servers that leave the system's own alone: sourced by
# test/run, test/chroot and test/demo/run.
#
# All of it happens in one workspace under /tmp, which belongs to an
# unprivileged user (postgres when root calls) and goes away at exit.
#   PG_MAJOR=16   the PostgreSQL to use (default: the newest on the machine)
#   KEEP=1        leaves the workspace and its servers in place

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
workspace=
become=()
group=

# Says why it cannot go on, and ends the script.
die() {
	printf '%s: %s\n' "$0" "$*" >&2
	exit 1
}

# Prints the newest PostgreSQL whose pg_config is here, else Debian 12's.
default_major() {
	local newest
	newest=$(find /usr/lib/postgresql -path '*/bin/pg_config' 2> /dev/null |
		sort -V | tail -n 1 | cut -d / -f 5)
	echo "${newest:-15}"
}

PG_MAJOR=${PG_MAJOR:-$(default_major)}

# What is set for some other server must not lead us there.
for name in $(compgen -e PG); do
	[ "$name" = PG_MAJOR ] || unset "$name"
done

# Installs the packages it is given, as root; what apt-get has to say is shown
# when it fails.  PostgreSQL's package would make and start a cluster, and others
# their services: two files, there for as long as this takes, say not to.
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
	said=$($apt update 2>&1; $apt install --no-install-recommends "$@" 2>&1) ||
		{ printf '%s\n' "$said" >&2; return 1; }
}

# Sees to it that these Debian packages are installed.
need_packages() {
	local package missing=() as_root=()
	for package; do
		dpkg-query -W -f '${Status}\n' "$package" 2> /dev/null | grep -q ' ok installed$' ||
			missing+=("$package")
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

# The same, with what a build and a server take.
need_postgresql() {
	need_packages gcc libc6-dev make libc-ares-dev libcurl4-openssl-dev libssl-dev \
		"postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" "$@"
}

# Copies the working tree, without what git ignores, into a new directory.
copy_source() {
	local list=$1.list file
	mkdir "$1"
	if git -C "$top" -c safe.directory='*' ls-files -z --cached --others --exclude-standard \
		> "$list" 2> /dev/null && [ -s "$list" ]; then
		while IFS= read -r -d '' file; do
			[ ! -e "$top/$file" ] || printf '%s\0' "$file"
		done < "$list" | tar -C "$top" --null -T - -cf - | tar -C "$1" -xf -
	else
		cp -a "$top/." "$1"
	fi
	rm -f "$list"
}

# Makes the workspace: the source, and a copy of PostgreSQL to install into,
# which finds its files by the end of their path.
private_workspace() {
	local part
	workspace=$(mktemp -d /tmp/gateway_pool.XXXXXX) || exit
	trap remove_workspace EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	pg_bin=$workspace/tree/usr/lib/postgresql/$PG_MAJOR/bin

	for part in lib share; do
		mkdir -p "$workspace/tree/usr/$part/postgresql"
		cp -a "/usr/$part/postgresql/$PG_MAJOR" "$workspace/tree/usr/$part/postgresql" || exit
	done
	mkdir "$workspace/tree/usr/include" "$workspace/tmp"
	ln -s /usr/include/postgresql "$workspace/tree/usr/include/postgresql"
	copy_source "$workspace/source" || exit

	if [ "$(id -u)" -eq 0 ]; then
		# It runs a command in its own place, and leaves limits as they are.
		become=(setpriv --reuid=postgres --regid=postgres --init-groups)
		chown -hR postgres: "$workspace"
	fi
}

# Ends what still runs in the workspace and removes it.
remove_workspace() {
	local file
	trap '' HUP INT TERM
	cd /
	end_group
	if [ -n "${KEEP:-}" ]; then
		echo "Kept: $workspace" >&2
		return 0
	fi
	find "$workspace" -name postmaster.pid | while read -r file; do
		as_user pg_ctl stop -s -m immediate -D "$(dirname "$file")" < /dev/null 2> /dev/null || :
	done
	rm -rf "$workspace"
}

# Runs a command, or a function, in a process group of its own, so that a signal
# to us ends all of it at once.
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

# Whether that process group has ended; ends it.
group_has_ended() { ! kill -0 -- "-$group" 2> /dev/null; }
end_group() {
	local signal
	[ -n "$group" ] || return 0
	for signal in TERM KILL; do
		kill -s "$signal" -- "-$group" 2> /dev/null || return 0
		! within 5 group_has_ended || return 0
	done
}

# Runs a command as the unprivileged user, in the copied source and in an
# environment that has nothing of the caller's.
as_user() (
	cd "$workspace/source" || exit
	environment=(HOME="$workspace" TMPDIR="$workspace/tmp" LC_ALL=C.UTF-8 PATH="$pg_bin:$PATH")
	for name in $(compgen -e PG); do
		environment+=("$name=${!name}")
	done
	exec "${become[@]}" env -i "${environment[@]}" "$@"
)

# Runs make for the private PostgreSQL.
make_there() {
	as_user make -s PG_CONFIG="$pg_bin/pg_config" COPT=-Werror with_llvm=no "$@"
}

# Builds the extension, without warnings, and installs it into the workspace.
build_and_install() {
	make_there clean && make_there -j2 install
}

# Starts a new server, NAME, with the given lines of configuration.  From then
# on PGHOST and the rest lead there.
start_server() {
	local dir=$workspace/$1
	as_user mkdir "$dir" &&
		as_user initdb -D "$dir/data" -U postgres -A trust --no-sync --locale=C.UTF-8 > /dev/null &&
		printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$dir'" 'fsync = off' \
			"${@:2}" | as_user tee -a "$dir/data/postgresql.conf" > /dev/null || return
	as_user pg_ctl start -s -w -D "$dir/data" -l "$dir/log" || {
		cat "$dir/log" >&2
		return 1
	}
	export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	echo "PostgreSQL $PG_MAJOR runs: PGHOST=$PGHOST"
}

# Stops the server NAME.
stop_server() {
	as_user pg_ctl stop -s -w -m fast -D "$workspace/$1/data"
}
