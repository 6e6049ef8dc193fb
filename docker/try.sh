#!/bin/sh
# Try an image as it is meant to run: doctor, synth, prepare, train as its own non-root user, the root file system
# read-only, data, runs and cache mounted. Needs root and buildah, no container engine.
#
#   sh docker/try.sh [TAG]              default: localhost/onet:cpu
set -eu
TAG=${1:-localhost/onet:cpu}

[ "$(id -u)" = 0 ] || { echo "try: needs root (it mounts the image)." >&2; exit 1; }
container=$(buildah from --pull-never "$TAG")
root=$(buildah mount "$container")
volumes=$(mktemp -d)
trap 'buildah rm "$container" >/dev/null; rm -rf "$volumes"' EXIT
mkdir "$volumes/data" "$volumes/runs" "$volumes/cache"
chown 10001:10001 "$volumes"/*
environment=$(buildah inspect --type image --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$TAG" | tr '\n' ' ')
export root volumes environment

# A mount namespace of its own: nothing that is mounted here outlives it.
unshare --mount sh -eu <<'INSIDE'
mount --make-rprivate /
mount --bind "$root" "$root"
for name in data runs; do mount --bind "$volumes/$name" "$root/srv/onet/$name"; done
mount --bind "$volumes/cache" "$root/cache"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o size=1g tmpfs "$root/dev/shm"
mount -o remount,bind,ro "$root"

inside() {
    printf '\n$ %s\n' "$*"
    # shellcheck disable=SC2086 # the environment is a list of words
    chroot --userspec=10001:10001 "$root" /usr/bin/env -i HOME=/srv/onet $environment sh -c 'cd /srv/onet && exec "$@"' sh "$@"
}
inside id
if inside touch /opt/onet/written; then echo "try: the root file system is writable" >&2; exit 1; fi
inside onet doctor
inside onet synth pix3d data/pix3d --objects 8
inside onet prepare pix3d --jobs 2
inside onet verify data/prepared/pix3d-chair
inside onet train --no-pretrained --encoder resnet18 --steps 5 --batch-size 4 --image-size 64 --out runs/try
inside onet report runs --format markdown
INSIDE
printf '\ntry: passed. Image: %s\n' "$(buildah images --format '{{.Size}}' "$TAG")"
