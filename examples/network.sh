#!/usr/bin/env bash
# From a network of a library, with the weights that it has there, to published modules.
#
#     bash examples/network.sh NETWORK PHOTOS
#
# NETWORK is timm:NAME or torchvision:NAME, or package.module:factory for one of yours that loads its
# weights. PHOTOS has a folder of photos for each class. All else is made in the current folder.
set -euo pipefail
network=$1 photos=$2
n_classes=$(find "$photos" -mindepth 1 -maxdepth 1 -type d | wc -l)

run() {  # shows a command, and what it prints
    printf '\n$ %s\n' "$*"
    "$@" 2>&1
}

run modpm check "$network" --image-size 64 --classes "$n_classes"
run modpm train "$photos" --arch "$network" --pretrained --image-size 64 --epochs 5 --batch-size 16 -o runs/network
run modpm modularize runs/network --namespace photos --license CC-BY-4.0 -o dist/network
run modpm publish dist/network --registry modules
run modpm search --registry modules
