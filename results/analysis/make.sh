#!/usr/bin/env bash
# results/analysis.md anew, of the built-in models or of those named: bash results/analysis/make.sh [MODEL ...]
# Before it: spectrim data prepare esc10 ... and fsdd ... (manifests/). OUT: where the results go.
set -euo pipefail
[ $# -gt 0 ] || set -- ast-digits audiomae-digits ast-esc10 audiomae-esc10
out=${OUT:-runs}
models=() data=(--data manifests/esc10.csv --fold 5 --data manifests/fsdd-digit.csv --split test)
for name in "$@"; do models+=(--model "$name"); done
spectrim analyze "${models[@]}" "${data[@]}" --keep-rate 0.5 --paper --out "$out/analysis"
spectrim ablate "${models[@]}" "${data[@]}" --random-control --paper --out "$out/ablation"
python -m spectrim.paper.analysis_page --analysis "$out/analysis" --ablation "$out/ablation"
