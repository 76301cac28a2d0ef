#!/usr/bin/env bash
# From photos of any sizes and formats to a prediction.
#
#     bash examples/photos.sh PHOTOS PHOTO MODULE...
#
# PHOTOS has a folder of photos for each class, such as PHOTOS/cat and PHOTOS/dog; PHOTO is one more.
# MODULE names a class to put into the classifier: photos/cat. All else is made in the current folder.
set -euo pipefail
photos=$1 photo=$2
shift 2

run() {  # shows a command, and what it prints
    printf '\n$ %s\n' "$*"
    "$@" 2>&1
}

run modpm train "$photos" --skip-bad --image-size 64 --batch-size 16 -o runs/photos
run modpm modularize runs/photos --namespace photos --license CC-BY-4.0 -o dist/photos
run modpm publish dist/photos --registry modules
run modpm install "$@" --registry modules
run modpm compose -o classifier
run modpm predict classifier "$photo"
