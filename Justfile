# `just` lists the tasks. just itself comes with the development environment (tests/run makes it).

set positional-arguments

_default:
    @just --list --unsorted

# Lint, types and unit tests: what CI runs first, in seconds
check:
    tests/run check unit

# Every test, as CI runs them
test *levels:
    tests/run "$@"

# Build the documentation site into out/site; every warning is an error
docs:
    .venv/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml

# Rewrite the sources in the project's format
format:
    .venv/bin/ruff check --fix builder tests edgeimg
    .venv/bin/ruff format builder tests edgeimg

# Build images: `just build --arch arm64`
build *args:
    ./edgeimg build "$@"

# Build the default image and boot it to a running pod
demo *args:
    ./edgeimg demo "$@"

# Resolve the default recipe again, taking new versions
lock:
    ./edgeimg lock --update

# Build the K3s stand-in for one architecture: `just standin arm64`
standin arch:
    .venv/bin/python builder/standin/build.py --arch {{arch}} --output out/k3s-standin-{{arch}}

# Measure: one script per claim
bench name *args:
    python3 tests/bench/{{name}}.py "${@:2}"
