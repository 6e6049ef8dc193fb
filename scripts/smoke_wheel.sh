#!/bin/sh
# Try the built wheel as three machines would install it, each in an environment of its own and without the others'
# libraries: [geometry] prepares, [train] trains on what was prepared, the base install reports what was trained.
#
#   sh scripts/smoke_wheel.sh [WHEEL]      default: the newest in dist/ (make dist)
#   PYTHON=python3.13 PINS=                another interpreter; PINS= takes the newest versions instead of the pins
#   PINS=lowest.txt                        other pins, for example the lowest that pyproject.toml allows
#   LEAVES=base                            fewer of: geometry train base (each needs what the one before it left)
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
PINS=${PINS-constraints.txt}
LEAVES=${LEAVES:-geometry train base}
WHEEL=${1:-$(find dist -name "*.whl" | sort | tail -n 1)}
WHEEL=$(realpath "$WHEEL")
WORK=${WORK:-$(mktemp -d)}
mkdir -p "$WORK"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"

say() { printf '\nsmoke: %s\n' "$*"; }

environment() { # NAME EXTRA
    say "[$1] $($PYTHON -V), pins: ${PINS:-none}"
    $PYTHON -m venv "$WORK/$1"
    "$WORK/$1/bin/python" -m pip install -q --disable-pip-version-check ${PINS:+-c "$PINS"} "$WHEEL$2"
}

lacks() { # NAME MODULE…: the environment must not be able to import these
    name=$1
    shift
    for module in "$@"; do
        if "$WORK/$name/bin/python" -c "import $module" 2>/dev/null; then
            echo "smoke: [$name] has $module, which it must do without" >&2
            exit 1
        fi
    done
}

refuses() { # NAME ARGUMENTS…: the command must fail with status 3, one line, no traceback
    name=$1
    shift
    status=0
    message=$("$WORK/$name/bin/onet" "$@" 2>&1) || status=$?
    case "$status:$message" in
    3:*Traceback*) echo "smoke: [$name] onet $* printed a traceback" >&2; exit 1 ;;
    3:*pip\ install*) echo "refused as it should be: $message" ;;
    *) echo "smoke: [$name] onet $* left with $status: $message" >&2; exit 1 ;;
    esac
}

for leaf in $LEAVES; do
    onet=$WORK/$leaf/bin/onet
    case $leaf in
    geometry)
        environment geometry '[geometry]'
        lacks geometry torch timm matplotlib
        (cd "$WORK" && "$onet" doctor --no-self-test && "$onet" synth pix3d data/pix3d --objects 8 -q &&
            "$onet" prepare pix3d --jobs 2 && "$onet" verify data/prepared/pix3d-chair && "$onet" inspect data/prepared/pix3d-chair)
        (cd "$WORK" && refuses geometry train --data data/prepared/pix3d-chair --out runs/none)
        ;;
    train)
        environment train '[train]'
        lacks train open3d trimesh pymeshfix numba matplotlib
        (cd "$WORK" && "$onet" doctor &&
            "$onet" train --encoder resnet18 --no-pretrained --data data/prepared/pix3d-chair --out runs/one --steps 3 \
                --batch-size 4 --image-size 64 -q &&
            "$onet" bench --variant resnet18 --variant resnet34 --preset quick --steps 3 --no-pretrained --data data/prepared/pix3d-chair \
                --out runs/bench --no-report)
        (cd "$WORK" && refuses train prepare pix3d --out data/again)
        ;;
    base)
        environment base ''
        lacks base torch open3d trimesh matplotlib
        (cd "$WORK" && "$onet" --help >/dev/null && "$onet" doctor && "$onet" report runs/bench --no-figures &&
            "$onet" report runs/bench --format markdown)
        (cd "$WORK" && refuses base prepare pix3d --out data/again)
        (cd "$WORK" && refuses base train --data data/prepared/pix3d-chair --out runs/none)
        ;;
    *) echo "smoke: no such environment: $leaf" >&2; exit 2 ;;
    esac
done
say "passed ($LEAVES); left in $WORK"
