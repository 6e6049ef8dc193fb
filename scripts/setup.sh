#!/bin/sh
# Make .venv with the package and everything its commands, tests and docs need, at the versions of constraints.txt.
# Needs python3 (3.11 or newer). As root on Debian or Ubuntu it installs missing system packages; otherwise it stops
# and says which command installs them. Does nothing when everything is in place.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=.venv
STAMP=$VENV/.onet-setup

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

command -v "$PYTHON" >/dev/null 2>&1 || die "no $PYTHON on the path. Install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3)."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$("$PYTHON" -V) is too old: onet needs Python 3.11 or newer. Name one with: make setup PYTHON=python3.12"

# The versioned venv package, not python3-venv: $PYTHON need not be the system's default python3.
missing=$("$PYTHON" - <<'PY'
import ctypes, importlib.util, sys
PACKAGES = {  # held equal to pix3d_onet/machine/checks.py by tests/house/test_rules.py
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libidn2.so.0": "libidn2-0",
}
missing = []
if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
    missing.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
for library, package in PACKAGES.items() if sys.platform == "linux" else ():
    try:
        ctypes.CDLL(library)
    except OSError:
        missing.append(package)
print(" ".join(missing))
PY
)
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 ||
        die "missing system packages (their Debian names): $missing. Install them with this system's package manager."
    # $missing is a list of words
    # shellcheck disable=SC2086
    if [ "$(id -u)" = 0 ]; then
        say "installing system packages: $missing"
        apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
            die "apt-get install failed. Run it by hand: apt-get install -y --no-install-recommends $missing"
    else
        die "missing system packages. Run: sudo apt-get install -y --no-install-recommends $missing"
    fi
fi

# A moved or copied checkout has a .venv that points elsewhere, so the folder belongs to the key.
key=$({ cat pyproject.toml constraints.txt scripts/setup.sh; "$PYTHON" -V; pwd; } | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$STAMP" 2>/dev/null)" = "$key" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi
if [ -e "$VENV" ] && ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    say "$VENV is unusable; making it anew"
    rm -rf "$VENV"
fi
[ -e "$VENV" ] || "$PYTHON" -m venv "$VENV" || die "$PYTHON -m venv $VENV failed."
rm -f "$STAMP"

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
say "installing the pinned packages into $VENV (PyTorch with CUDA is about 5 GB; a few minutes)"
free=$(df -Pk . 2>/dev/null | awk 'NR == 2 { print int($4 / 1048576) }')
[ "${free:-99}" -ge 12 ] || say "the installation takes about 8 GB, pip's cache 3 more, and this disk has $free GB free; it may run out"
# The build tools first, so that the package itself is built with pinned ones, too.
pip install -q -c constraints.txt hatchling editables || die "pip could not install the build tools; its message is above."
# Pip unpacks nothing before it has fetched everything. CUDA's libraries one by one, so that the disk need not hold their
# wheels (2 GB) beside what is in them.
if [ "$(uname -sm)" = "Linux x86_64" ]; then
    for wheel in $(grep -E '^(nvidia-|triton=|torch=)' constraints.txt); do
        pip install -q --no-deps "$wheel" || die "pip could not install $wheel; its message is above."
    done
fi
pip install -q --no-build-isolation -c constraints.txt -e '.[dev,docs]' || die "pip could not install the packages; its message is above."
"$VENV/bin/onet" --version >&2 || die "the installed onet does not start."
say "compiling the geometry's kernels (half a minute to a minute), so that the first shape need not wait for them"
"$VENV/bin/onet" doctor --warm-up --quiet || say "that failed; they will be compiled at their first use"
printf '%s\n' "$key" >"$STAMP"
