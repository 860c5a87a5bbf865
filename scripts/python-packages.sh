#!/usr/bin/env bash
# Puts the Python packages that tests compare with into build/python, from PyPI; nothing outside that folder changes. A
# Python sees them with PYTHONPATH=build/python. Needs a python3 with pip (Debian: python3-pip).
set -euo pipefail
cd "$(dirname "$0")/.."

for python in python3 /usr/bin/python3; do
  if "$python" -m pip --version >/dev/null 2>&1; then
    exec env PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --upgrade \
      --target build/python safetensors==0.8.0
  fi
done
echo 'expected pip for python3 or /usr/bin/python3, found none; install it, on Debian as python3-pip' >&2
exit 1
