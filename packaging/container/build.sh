#!/bin/sh
# Builds the extension in an image that has PostgreSQL, as root.  The Dockerfile calls it,
# and test/packaging in a chroot.  Debian and Alpine.
#   /out      what is installed: a tree to copy over /
#   /image    the layout of an extension image (CloudNativePG): share/, lib/, and in
#             system/ the libraries that the image of PostgreSQL lacks
set -eu
cd "$(dirname "$0")/../.."

libraries() {
	find /lib /usr/lib /lib/*-linux-gnu* /usr/lib/*-linux-gnu* -maxdepth 1 -name '*.so*' 2> /dev/null | sed 's:.*/::'
}
libraries > /tmp/libraries

if command -v apk > /dev/null; then
	apk add --no-cache build-base c-ares-dev curl-dev openssl-dev
else
	PG_MAJOR=${PG_MAJOR:-$(find /usr/lib/postgresql/* -maxdepth 0 | sed 's:.*/::' | sort -n | tail -n 1)}
	PATH=/usr/lib/postgresql/$PG_MAJOR/bin:$PATH
	apt-get update
	apt-get install -y --no-install-recommends gcc libc6-dev libc-ares-dev libcurl4-openssl-dev libssl-dev make \
		"postgresql-server-dev-$PG_MAJOR"
fi
make clean
make -j "$(nproc)"
make install DESTDIR=/out

mkdir -p /image/lib /image/licenses /image/share/extension /image/system
cp "/out$(pg_config --sharedir)"/extension/gateway_pool* /image/share/extension/
cp "/out$(pg_config --pkglibdir)/gateway_pool.so" /image/lib/
cp LICENSE /image/licenses/gateway_pool
ldd /image/lib/gateway_pool.so | awk '$2 == "=>" { print $1, $3 }' | while read -r name file; do
	! grep -qxF "$name" /tmp/libraries || continue
	cp -L "$file" /image/system/
	if command -v dpkg-query > /dev/null; then
		package=$(dpkg-query -S "*/${file##*/}" | cut -d : -f 1 | sort -u | head -n 1)
		cp "/usr/share/doc/$package/copyright" "/image/licenses/$package"
	fi
done
