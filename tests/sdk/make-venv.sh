#!/bin/sh
# usage: make-venv.sh DIRECTORY
# Makes (or keeps) a Python environment with the official SDKs. Exits 75 when the package index cannot be reached at all.
set -eu
venv=$1
requirements=$(dirname "$0")/requirements.txt
if cmp -s "$requirements" "$venv/installed.txt"; then
    exit 0
fi
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
python3 -m venv "$venv"
if "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"; then
    cp "$requirements" "$venv/installed.txt"
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
echo "the package index answers, and the SDKs cannot be installed" >&2
exit 1
