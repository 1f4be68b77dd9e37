#!/bin/sh
# usage: make-venv.sh DIRECTORY REQUIREMENTS [REQUIREMENTS-TAKEN-ALONE]
# Makes (or keeps) a Python environment with what a file of requirements names, and what a second one does, without its
# dependencies. Exits 75 when the package index cannot be reached at all.
set -eu
venv=$1
requirements=$2
alone=${3:-/dev/null}
wanted=$(cat "$requirements" "$alone")
if [ "$wanted" = "$(cat "$venv/installed.txt" 2>/dev/null)" ]; then
    exit 0
fi
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
python3 -m venv "$venv"
pip="$venv/bin/pip --quiet --disable-pip-version-check install"
if $pip -r "$requirements" && { [ "$alone" = /dev/null ] || $pip --no-deps -r "$alone"; }; then
    printf '%s\n' "$wanted" > "$venv/installed.txt"
    exit 0
fi
# Broken, or merely offline? Only the second is nobody's fault.
"$venv/bin/python" - <<'PYTHON' || exit 75
import os, socket, subprocess, sys
from urllib.parse import urlparse
configured = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True)
url = urlparse(os.environ.get("PIP_INDEX_URL") or configured.stdout.strip() or "https://pypi.org/simple")
socket.create_connection((url.hostname, url.port or {"http": 80}.get(url.scheme, 443)), timeout=10)
PYTHON
echo "the package index answers, and what $requirements names cannot be installed" >&2
exit 1
