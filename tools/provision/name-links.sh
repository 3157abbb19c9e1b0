#!/bin/sh
# Gives interfaces their names: name-links.sh FILE, whose lines are "NAME MAC-ADDRESS".
set -eu
while read -r name mac; do
  found=''
  for line in $(ip -o link show | sed -n 's/^[0-9]*: \([^:@]*\).* link\/ether \([0-9a-f:]*\).*/\1,\2/p'); do
    if [ "${line#*,}" = "$mac" ]; then found=${line%%,*}; fi
  done
  if [ -z "$found" ]; then
    echo "no interface has the address $mac, which $name should have" >&2
    exit 1
  fi
  if [ "$found" != "$name" ]; then
    ip link set dev "$found" down
    ip link set dev "$found" name "$name"
  fi
done <"$1"
