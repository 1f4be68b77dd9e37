#!/bin/sh
# usage: make-node.sh DIRECTORY
# Makes (or keeps) a folder with the official Node.js clients. Exits 75 when the package registry cannot be reached at all.
set -eu
folder=$1
wanted=$(dirname "$0")/node/package.json
if cmp -s "$wanted" "$folder/installed.json"; then
    exit 0
fi
rm -rf "$folder"
mkdir -p "$folder"
cp "$wanted" "$folder/package.json"
if npm install --prefix "$folder" --no-audit --no-fund --no-package-lock --silent; then
    cp "$wanted" "$folder/installed.json"
    exit 0
fi
npm ping --silent >/dev/null 2>&1 || exit 75
echo "the package registry answers, and the Node.js clients cannot be installed" >&2
exit 1
