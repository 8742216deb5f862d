#!/usr/bin/env bash
# Write results/analysis.md: bash results/analysis/make.sh
# It requires:
# - manifests/, from spectrim data prepare fsdd, arabicspeechcommands, esc50 --shareable, esc50-mixtures
# - runs/table1/runs/, from the cells baseline/*-speakers/0 and baseline/*-mixtures/0 of
#   grids/table1-tiny.yaml
# The script uses every second test clip of words, speakers and mixtures. OUT is the folder of the
# results (default: runs).
set -euo pipefail
out=${OUT:-runs}
models=(--model ast-digits --model audiomae-digits)
for name in ast-words audiomae-words ast-esc50 audiomae-esc50; do  # their weights before alignment
  mkdir -p "runs/b3005b3/$name"
  for file in config.json model.safetensors; do
    git show "b3005b3:src/spectrim/assets/models/$name/$file" > "runs/b3005b3/$name/$file"
  done
  models+=(--model "runs/b3005b3/$name")
done
for name in ast-speakers audiomae-speakers ast-mixtures audiomae-mixtures; do
  rm -rf "runs/baselines/$name" && mkdir -p runs/baselines
  cp -r "runs/table1/runs/baseline--$name--0/last" "runs/baselines/$name"
  models+=(--model "runs/baselines/$name")
done
half() { (head -1 "manifests/$1.csv"; grep ",$2," "manifests/$1.csv" | awk 'NR % 2') > "manifests/$1-half.csv"; }
half words test
half words-speaker test
half esc50-mixtures 5
data=(--fold 5 --split test)
for name in esc50-shareable esc50-mixtures-half words-half words-speaker-half fsdd-digit; do
  data+=(--data "manifests/$name.csv")
done
# The labels of FSDD and of the Arabic words have the same English names; mixtures have the labels of ESC-50.
for family in ast audiomae; do
  data+=(--exclude "$family-words=fsdd-digit" --exclude "$family-esc50=esc50-mixtures-half")
  data+=(--exclude "$family-mixtures=esc50-shareable")
done
# Two processes, one for each core.
OMP_NUM_THREADS=1 spectrim analyze "${models[@]}" "${data[@]}" --keep-rate 0.5 --paper --out "$out/analysis" &
OMP_NUM_THREADS=1 spectrim ablate "${models[@]}" "${data[@]}" --random-control --paper --out "$out/ablation"
wait $!
python -m spectrim.paper.analysis_page --analysis "$out/analysis" --ablation "$out/ablation" --note results/analysis/note.md
