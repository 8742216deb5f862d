#!/usr/bin/env bash
# Measure Spectrim on a GPU: a list of pieces, most valuable first, that ends by itself.
#
#   bash benchmarks/gpu/agenda.sh                    # on the GPU machine, after prepare.sh
#   REHEARSAL=1 bash benchmarks/gpu/agenda.sh        # every piece on the CPU in a tiny setting
#
# ENTRIES replaces the whole list, such as "correctness&:100 compiled:190".
# Variables: MINUTES (9), OUT (result folder), DATA (packed audio), PYTHON, PIECES (a choice of
# pieces, such as "speed training"). A piece skips cases that results/gpu/ holds from the same code
# version and the same card. Results are written case by case, so a killed agenda keeps them.
set -uo pipefail
if [ $# -gt 0 ]; then # there are no arguments: print the comment above
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
  [ "$1" = --help ] && exit 0 || exit 2
fi
began=$SECONDS
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
REHEARSAL=${REHEARSAL:-}
MINUTES=${MINUTES:-${REHEARSAL:+30}} # a rehearsal must not fail because the machine is busy
MINUTES=${MINUTES:-9}
OUT=${OUT:-$root/gpu-results}
DATA=${DATA:-$root/data}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
touch "$OUT/.status" # exit status of each piece
export PYTHONUNBUFFERED=1 PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}"
total=$(awk "BEGIN { print int($MINUTES * 60) }")

# Install the wheels that came along, where the machine lacks the package.
site=$(mktemp -d)
for wheel in "$root"/wheels/*.whl "$root"/.gpu-1/wheels/*.whl; do
  [ -f "$wheel" ] || continue
  name=$(basename "$wheel" | cut -d- -f1)
  "$PYTHON" -c "import $name" 2>/dev/null && continue
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" \
    "$wheel" && echo "installed $name"
done
export PYTHONPATH="$PYTHONPATH:$site"
"$PYTHON" -m spectrim --version || exit 1

# Piece, and the seconds it may take; with less time left it gets what is left. `&` starts a piece
# beside the next one. The second entry of a piece measures what the first one did not reach.
pieces=(
  "commands& 110"
  "correctness 120"
  "profiling 45"
  "kernels 70"
  "compiled 200"
  "speed 90"
  "training 110"
  "speed 540"
)
if [ -n "$REHEARSAL" ]; then
  export OMP_NUM_THREADS=1 # threads that wait for each other take minutes on a busy machine
  # Two at once, one on each core: 69 s on two cores of an AMD EPYC. Four at once take no less.
  pieces=(
    "commands& 900" "kernels 900" "training_queue& 900" "correctness 900"
    "compiled& 900" "speed 900" "training& 900" "profiling 900"
  )
fi

if [ -n "${ENTRIES:-}" ]; then
  pieces=()
  for entry in $ENTRIES; do pieces+=("${entry/:/ }"); done
fi

left() { echo $((total - (SECONDS - began))); }

run_piece() { # name, seconds
  local arguments=(--out "$OUT" --committed "$root/results/gpu" --data "$DATA" --seconds $(($2 - 6)))
  [ -n "$REHEARSAL" ] && arguments+=(--rehearsal)
  touch "$OUT/.$1.running"
  timeout -k 5 "$2" "$PYTHON" "$here/$1.py" "${arguments[@]}" 2>"$OUT/.$1.stderr"
  local status=$?
  rm -f "$OUT/.$1.running"
  echo "$1 $status" >>"$OUT/.status"
  if [ "$status" -ne 0 ]; then
    echo "$1: exit status $status"
    tail -n 5 "$OUT/.$1.stderr"
  fi
}

for entry in "${pieces[@]}"; do
  read -r name seconds <<<"$entry"
  plain=${name%&}
  [ -n "${PIECES:-}" ] && [[ " $PIECES " != *" $plain "* ]] && continue
  limit=$seconds
  [ "$limit" -gt $(($(left) - 5)) ] && limit=$(($(left) - 5))
  if [ "$limit" -lt 15 ]; then
    echo "$plain: not started, no time left"
    continue
  fi
  if [ "$name" != "$plain" ]; then
    run_piece "$plain" "$limit" &
  else
    run_piece "$plain" "$limit"
    wait
  fi
done
wait

# One file for the state of the machine and the end of each piece's stderr.
{
  echo "agenda: $((SECONDS - began)) s of $total s"
  date -u
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,temperature.gpu,memory.total --format=csv 2>&1
  nproc
  cat "$OUT/.status"
  for file in "$OUT"/.*.stderr; do
    echo "== $file"
    grep -v USDT "$file" | tail -n 25
  done
} >"$OUT/agenda.log" 2>&1
failed=$(grep -cv ' 0$' "$OUT/.status")
rm -f "$OUT"/.*.stderr "$OUT/.status"
# A machine hands back a limited number of files: more than that are packed into one.
if [ "$(find "$OUT" -maxdepth 1 -type f | wc -l)" -gt "${RESULT_FILES:-8}" ]; then
  (cd "$OUT" && tar -cf results.tar ./*.json && rm -f ./*.json)
fi
echo "agenda: $((SECONDS - began)) s, $failed pieces failed"
[ "$failed" -eq 0 ]
