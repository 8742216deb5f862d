#!/usr/bin/env bash
# results/analysis.md anew, of the built-in models or of those named: bash results/analysis/make.sh [MODEL ...]
# Before it: spectrim data prepare esc50 --shareable, arabicspeechcommands and fsdd (manifests/). OUT: where
# the results go. Of the words' test clips, every second one is used.
set -euo pipefail
[ $# -gt 0 ] || set -- ast-digits audiomae-digits ast-words audiomae-words ast-esc50 audiomae-esc50
out=${OUT:-runs}
(head -1 manifests/words.csv; grep ",test," manifests/words.csv | awk 'NR % 2') > manifests/words-half.csv
models=()
data=(--data manifests/esc50-shareable.csv --fold 5)
data+=(--data manifests/words-half.csv --split test --data manifests/fsdd-digit.csv --split test)
for name in "$@"; do models+=(--model "$name"); done
# The labels of FSDD and of the Arabic words have the same English names.
for name in "$@"; do case $name in *-words) data+=(--exclude "$name=fsdd-digit") ;; esac; done
spectrim analyze "${models[@]}" "${data[@]}" --keep-rate 0.5 --paper --out "$out/analysis"
spectrim ablate "${models[@]}" "${data[@]}" --random-control --paper --out "$out/ablation"
python -m spectrim.paper.analysis_page --analysis "$out/analysis" --ablation "$out/ablation"
