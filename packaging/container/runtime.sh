#!/bin/sh
# Installs the libraries that the extension needs, in an image that has PostgreSQL, as
# root.  The Dockerfile calls it, and test/packaging in a chroot.  Debian and Alpine.
set -eu
if command -v apk > /dev/null; then
	apk add --no-cache c-ares libcurl
else
	apt-get update
	apt-get install -y --no-install-recommends libc-ares2 libcurl4
	rm -rf /var/lib/apt/lists/*
fi
