#!/usr/bin/env bash
# What pip cannot install: a C++ compiler and Python's headers (DeepSpeed builds its gloo op), libGL (MediaPipe's OpenCV
# links it), and the venv module, which Debian packs apart. Usage: system-packages.sh PYTHON
set -euo pipefail
python=${1:-python3}

missing=()
command -v g++ >/dev/null || missing+=(g++)
libraries=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null || true)
grep -q 'libGL\.so\.1' <<<"$libraries" || missing+=(libgl1)
"$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
"$python" -c 'import os, sysconfig as s; assert os.path.exists(s.get_path("include") + "/Python.h")' 2>/dev/null ||
    missing+=(python3-dev)
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
    echo "Please install first (Debian names): ${missing[*]}" >&2
    echo "For example: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
