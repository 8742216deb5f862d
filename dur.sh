. /work/tmp/env.sh
pytest -n 1 --durations=150 > /work/tmp/dur.log 2>&1
