#!/bin/sh
# Build the image without a container engine or an image registry: a Debian base made by debootstrap, the Dockerfile
# run by buildah with chroot isolation. Needs root, debootstrap and buildah (apt-get install debootstrap buildah).
#
#   sh docker/build.sh [TAG]            default: localhost/onet:cpu
#   SUITE=bookworm MIRROR=ADDRESS       which Debian, from where (default: trixie, debootstrap's own)
#   BUILD_FLAGS="--volume …"            more flags for `buildah bud`: proxies, certificates, pip settings
set -eu
cd "$(dirname "$0")/.."
TAG=${1:-localhost/onet:cpu}
SUITE=${SUITE:-trixie}
BASE=localhost/onet-base:$SUITE

[ "$(id -u)" = 0 ] || { echo "build: needs root (debootstrap and chroot isolation do)." >&2; exit 1; }
for tool in debootstrap buildah; do
    command -v $tool >/dev/null || { echo "build: $tool is missing. Run: apt-get install -y debootstrap buildah" >&2; exit 1; }
done

if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    # shellcheck disable=SC2086 # no MIRROR = no argument
    debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$root" ${MIRROR:-} >/dev/null
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    container=$(buildah from scratch)
    buildah add -q "$container" "$root" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit -q --rm "$container" "$BASE" >/dev/null
fi
# shellcheck disable=SC2086 # flags are words
exec buildah bud --isolation chroot --format docker --layers -f docker/Dockerfile --build-arg BASE="$BASE" -t "$TAG" ${BUILD_FLAGS:-} .
