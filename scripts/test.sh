#!/usr/bin/env bash
# All tests, JOBS at a time. Thousands of them start real daemons, shells and clients that share the machine's few
# cores, so a handful that failed may have met a busy moment: they get a second try, alone, and the log shows both.
# What fails then has failed.
set -uo pipefail
cd "$(dirname "$0")/.."

jobs=${1:-2}
few=12

.venv/bin/pytest -q -n "$jobs" --dist loadgroup
code=$?
record=.pytest_cache/v/cache/lastfailed
[ "$code" -eq 1 ] && [ -e "$record" ] || exit "$code"  # without it no test failed, but pytest itself did

failed=$(.venv/bin/python -c 'import json, pathlib, sys; print(len(json.loads(pathlib.Path(sys.argv[1]).read_text())))' "$record")
[ "$failed" -le "$few" ] || exit "$code"
printf '\n%s failed: a second try for them, one at a time\n\n' "$failed"
.venv/bin/pytest -q --last-failed --last-failed-no-failures none -p no:randomly
