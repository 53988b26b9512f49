#!/usr/bin/env bash
# What pip cannot install: a C++ compiler (DeepSpeed builds its gloo op) and libGL (MediaPipe's OpenCV links it).
set -euo pipefail

missing=()
command -v g++ >/dev/null || missing+=(g++)
ldconfig -p 2>/dev/null | grep -q 'libGL\.so\.1' || missing+=(libgl1)
[ ${#missing[@]} -eq 0 ] && exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
    echo "Please install first (Debian names): ${missing[*]}" >&2
    echo "For example: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
