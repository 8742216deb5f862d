#!/usr/bin/env bash
# Collect what a GPU machine needs into one ignored folder, and print the command to run there.
#
#   bash benchmarks/gpu/prepare.sh                   # into .gpu/ of this checkout
#   TRAINING=1 bash benchmarks/gpu/prepare.sh        # audio of the training queue, .gpu-1/ to .gpu-4/
#
# The second form leaves out source and models: the commands that it prints run in a checkout that
# travels as a whole. A folder travels with one call; folders of earlier calls are still there.
#
# Variables: BUNDLE (folder), SIZE_MIB (of the folder), RESULT_FILES, RESULT_MIB (each), MINUTES,
# TARGET_PYTHON, WHEELS (packages that the machine lacks), MODELS (built-in models to take),
# SPECTRIM_DATA (corpora), PYTHON (local interpreter with Spectrim's development extras), ESPEAK_WORDS
# (folder of `tools/sample_pack.py words`; made if it is missing), CALL_MIB (audio that travels with a
# call).
#
# PyTorch does not travel: the machine has its own, 2.11 with CUDA in our runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
BUNDLE=${BUNDLE:-$root/.gpu}
SIZE_MIB=${SIZE_MIB:-60}
RESULT_FILES=${RESULT_FILES:-8}
RESULT_MIB=${RESULT_MIB:-16}
MINUTES=${MINUTES:-9}
TARGET_PYTHON=${TARGET_PYTHON:-3.12}
WHEELS=${WHEELS:-soundfile==0.14.0 soxr==1.1.0 cffi==2.1.1 pycparser==3.12 omegaconf==2.4.0}
MODELS=${MODELS:-ast-digits audiomae-digits ast-esc50}
SPECTRIM_DATA=${SPECTRIM_DATA:-$root/../shared/data}
PYTHON=${PYTHON:-python3}

export PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}"

left_out=()
download_wheels() { # folder
  local platforms=()
  for version in 2_28 2_27 2_17 2_24 2_31 2_34; do platforms+=(--platform "manylinux_${version}_x86_64"); done
  platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
  for wheel in $WHEELS; do
    "$PYTHON" -m pip download -q --no-deps --only-binary=:all: --python-version "$TARGET_PYTHON" \
      --implementation cp "${platforms[@]}" -d "$1" "$wheel" 2>/dev/null ||
      left_out+=("wheel $wheel: no file for Python $TARGET_PYTHON")
  done
}

if [ -n "${TRAINING:-}" ]; then
  CALL_MIB=${CALL_MIB:-42}
  ESPEAK_WORDS=${ESPEAK_WORDS:-$root/runs/espeak-words}
  [ -d "$ESPEAK_WORDS" ] || "$PYTHON" "$root/tools/sample_pack.py" words "$ESPEAK_WORDS"
  "$PYTHON" "$here/pack_bundles.py" "$SPECTRIM_DATA" "$root/.gpu" --words "$ESPEAK_WORDS" --mib "$CALL_MIB"
  download_wheels "$root/.gpu-1/wheels"
  for note in "${left_out[@]}"; do echo "left out: $note"; done
  du -sm "$root"/.gpu-[1-4]
  cat <<END
The checkout travels with each folder. On a throwaway branch, remove what training does not read:
  git checkout -b gpu-run && git rm -rq results docs tests grids && git commit -qm "for the GPU"
  its size now: $(git -C "$root" ls-files -z | (cd "$root" && xargs -0 cat) | wc -c | awk '{ print int($1 / 2^20) }') MiB
An idle machine is released, and all files on it are lost. Run the first call alone. It is enough for
ESC-50. Send the second call only after the first one has answered. Start each later call with
"[ -d /root/w ] &&", which ends the call at once on a new machine.
.gpu-1 (ESC-50), alone:
  ENTRIES=training_queue:$((MINUTES * 60 - 25)) MINUTES=$MINUTES bash benchmarks/gpu/agenda.sh
All four, on one machine (send .gpu-4 before .gpu-3, which waits for the end):
  .gpu-1: set -e; mkdir /root/w; cp -r src benchmarks recipes tools pyproject.toml .gpu-1 /root/w/;
    cd /root/w; python3 -m pip install -q --no-index --no-deps --target site .gpu-1/wheels/*.whl;
    export PYTHONPATH=/root/w/src:/root/w/site; (setsid nohup python3 benchmarks/gpu/training_queue.py
    --audio .gpu-1 .gpu-2 .gpu-3 .gpu-4 --seconds 640 --out out >queue.log 2>&1 </dev/null &); sleep 10; cat queue.log
  .gpu-2: [ -d /root/w ] && cp -r .gpu-2 /root/w/t2 && mv /root/w/t2 /root/w/.gpu-2
  .gpu-4: [ -d /root/w ] && cp -r .gpu-4 /root/w/t4 && mv /root/w/t4 /root/w/.gpu-4
  .gpu-3: [ -d /root/w ] && cp -r .gpu-3 /root/w/t3 && mv /root/w/t3 /root/w/.gpu-3 &&
    while [ ! -f /root/w/out/training_queue.json ]; do sleep 5; done; cp /root/w/out/* /root/w/queue.log \$OUT/
then, here: python benchmarks/gpu/training_queue.py --unpack RESULTS runs/queue
END
  exit
fi

rm -rf "$BUNDLE"
mkdir -p "$BUNDLE/src" "$BUNDLE/benchmarks" "$BUNDLE/wheels" "$BUNDLE/results/gpu"
left_out=("tests/, docs/, tools/, grids/ and other results/")
tar -C "$root/src" --exclude=__pycache__ --exclude='spectrim/assets/models/*' -cf - spectrim |
  tar -C "$BUNDLE/src" -xf -
mkdir -p "$BUNDLE/src/spectrim/assets/models"
for model in "$root"/src/spectrim/assets/models/*/; do
  name=$(basename "$model")
  if [[ " $MODELS " == *" $name "* ]]; then
    cp -R "$model" "$BUNDLE/src/spectrim/assets/models/$name"
  else
    left_out+=("model $name")
  fi
done
cp -R "$root/benchmarks/gpu" "$BUNDLE/benchmarks/gpu"
rm -rf "$BUNDLE/benchmarks/gpu/__pycache__"
cp -R "$root/recipes" "$BUNDLE/recipes"
cp "$root"/results/gpu/*.json "$BUNDLE/results/gpu/" 2>/dev/null || true

download_wheels "$BUNDLE/wheels"
"$PYTHON" "$here/pack_audio.py" "$SPECTRIM_DATA" "$BUNDLE/data" || left_out+=("audio: see above")

size=$(du -sm "$BUNDLE" | cut -f1)
du -sm "$BUNDLE"/* | sort -n
for note in "${left_out[@]}"; do echo "left out: $note"; done
echo "size: $size MiB of $SIZE_MIB MiB"
folder=$(realpath --relative-to="${CHECKOUT:-$root}" "$BUNDLE")
command="MINUTES=$MINUTES bash $folder/benchmarks/gpu/agenda.sh"
# On a machine that names its result folder OUT, results go there.
check="ls \$OUT | wc -l | awk '\$1 > $RESULT_FILES { print \"too many result files\" }'"
check="$check; find \$OUT -size +${RESULT_MIB}M"
echo "command to run there, from the checkout:"
echo "$command; $check"
[ "${#command}" -le 2000 ] || { echo "The command is longer than 2,000 characters."; exit 1; }
[ "$size" -le "$SIZE_MIB" ] || { echo "The folder is too large. Leave out MODELS or audio."; exit 1; }
