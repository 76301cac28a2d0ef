#!/usr/bin/env bash
# A signed registry for a company: its owner, a second machine, a yank, and somebody with another key.
#
#     bash examples/company.sh REGISTRY FIRST SECOND
#
# REGISTRY is a folder on a share, or s3://BUCKET/PREFIX with its variables in the environment
# (docs/howto/s3.md). FIRST and SECOND are folders of distributions, as `modpm modularize` makes them:
# digits/7 and digits/8 as 1.0.0, and digits/7 as 1.1.0. All else is made in the current folder.
set -uo pipefail
registry=$1 first=$2 second=$3

machine() {  # each has a home of its own
    export MODPM_HOME="$PWD/$1-home"
    printf '\n# %s\n' "$2"
}
run() {  # shows a command, what it prints, and how it ends
    printf '\n$ %s\n' "$*"
    "$@" 2>&1
    local code=$?
    [ "$code" -eq 0 ] || printf '(exit code %s)\n' "$code"
}

machine owner "The owner signs and publishes."
run modpm key new -o owner.pem
run modpm publish "$first" --registry "$registry" --sign owner.pem --tag stable
run modpm search --registry "$registry"

machine shop "A second machine installs, and keeps the key that it met first."
run modpm init shop --registry "$registry"
run modpm install "digits/7@stable" digits/8 --project shop
run modpm list --project shop
run modpm trust list

machine owner "The owner takes a release back."
run modpm yank digits/8==1.0.0 --reason "labels are swapped" --registry "$registry"

machine shop "Who has it is told, also where no registry is asked any more."
run modpm verify --project shop
run modpm list --project shop
run modpm sync --offline --project shop

machine stranger "Somebody else may not publish."
run modpm key new -o stranger.pem
run modpm publish "$second" --registry "$registry" --sign stranger.pem
run modpm publish "$second" --registry "$registry"

machine owner "The owner may; what is published stays as it is."
run modpm publish "$second" --registry "$registry" --sign owner.pem
run modpm publish "$first" --registry "$registry" --sign stranger.pem

machine shop "The second machine moves on."
run modpm outdated --project shop
run modpm install "digits/7==1.1" --project shop
run modpm list --project shop
