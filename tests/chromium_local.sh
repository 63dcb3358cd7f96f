#!/bin/bash
# Install Chromium for the tests of pages in a real browser, where root and apt are available; says so where not, never fails.
set -euo pipefail
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "chromium: not installed, and only root can install it, by apt: the tests that need it will skip themselves"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } \
    >"$log" 2>&1; then
  tail -n 3 "$log"
  echo "chromium: apt could not install it: the tests that need it will skip themselves"
fi
rm -f "$log"
