#!/bin/sh
# Boots whole systems under qemu-system, and lets them join a cloud that runs here. docs/devices.md tells what is tried.
# usage: qemu-tests/run.sh [armv7|aarch64|all]... [busybox|rcs|openrc|systemd|procd|all]... [--long] [--seed N]
# tests/setup.sh installs qemu-system and the rest; the kernels come from Debian when they are first needed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 exec python3 -m system "$@"
