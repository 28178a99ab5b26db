#!/usr/bin/env bash
# The records and pictures of docs/guidance.md: `make guidance`. What was stopped goes on where it was.
set -euo pipefail
bin=$1 out=$2
here=benchmarks/quality  # run from the root; the sets are made by `melies data prepare`


for beside in 0 1; do
  for what in scales neighbours; do
    "$bin/melies" guidance "$what" --beside "$beside" --count $((500 - 200 * beside)) --out "$out/$what-$beside"
  done
done

resume() { # folder
  if [ -d "$1" ]; then echo --resume; fi
}
"$bin/melies" guidance experiments --model fashion-mnist --classifier fashion-mnist-noisy-classifier --seeds 200 \
  --out "$out/guidance-fashion-mnist" $(resume "$out/guidance-fashion-mnist")
"$bin/melies" guidance experiments --model fashion-mnist --only schedules weights removed --scales 1.5 \
  --seed 1000 --seeds 1000 --out "$out/many-fashion-mnist" $(resume "$out/many-fashion-mnist")
"$bin/melies" guidance experiments --model emoji --only schedules weights panels removed --seeds 200 \
  --out "$out/guidance-emoji" $(resume "$out/guidance-emoji")
"$bin/melies" guidance search --models fashion-mnist --family clamp-linear --steps 10 25 --budget 60000 \
  --tuning 100 --test 500 --out "$out/search" $(resume "$out/search")

# What the docs and the claims read.
kept=$here/guidance
for set in fashion-mnist emoji; do
  mkdir -p "$kept/$set"
  cp "$out/guidance-$set"/records/*.json "$kept/$set/"
done
cp "$out"/many-fashion-mnist/records/{same,best,weight,removed}-*.json "$kept/fashion-mnist/"  # other seeds, and many
cp "$out/search/record.json" "$kept/fashion-mnist/search-clamp-linear.json"
mkdir -p "$here/classifier-guidance"
for what in scales neighbours; do
  cp "$out/$what-0/record.json" "$here/classifier-guidance/$what.json"
  cp "$out/$what-1/record.json" "$here/classifier-guidance/$what-conditional.json"
done
cp "$out/scales-0/scales.png" docs/pictures/classifier-scales.png
cp "$out/scales-0/certainty.png" docs/pictures/classifier-certainty.png
cp "$out/neighbours-0/scale-2.5.png" docs/pictures/classifier-neighbours.png
cp "$out/guidance-emoji/panels/figures/samples.png" docs/pictures/guidance-panels.png
cp "$out/guidance-emoji/schedules/figures/quality-agreement.png" docs/pictures/guidance-schedules-emoji.png
