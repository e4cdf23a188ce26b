# shellcheck shell=bash disable=SC2154
# Gateways that listen on ports of this machine, for the demo and the picture.  Their
# names end with a number: edge-3 listens on first_port plus 3.

declare -A listening # processes of these gateways, by name
first_port=

# Sets first_port so that the ports of COUNT gateways are free.
choose_ports() {
	local n
	for ((first_port = 20000 + RANDOM % 10000; first_port < 32000; first_port += $1)); do
		for ((n = 1; n <= $1; n++)); do
			! (: < "/dev/tcp/127.0.0.1/$((first_port + n))") 2> /dev/null || continue 2
		done
		return
	done
	die 'no ports are free'
}

# Starts gateways.
listen() {
	local name
	for name; do
		"${become[@]}" perl "$workspace/source/test/demo/gateway.pl" "$((first_port + ${name##*-}))" 2> /dev/null &
		listening[$name]=$!
	done
}

# Kills gateways; sets died, in seconds since 1970.
kill_gateways() {
	local name
	# shellcheck disable=SC2034
	died=$EPOCHREALTIME
	for name; do
		kill -KILL "${listening[$name]}"
		wait "${listening[$name]}"
		unset "listening[$name]"
	done 2> /dev/null
}
