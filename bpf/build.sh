#!/bin/sh
# Compiles each bpf/*.bpf.c to bpf/build/*.bpf.o, when a source is newer than its object.
set -eu
cd "$(dirname "$0")"
mkdir -p build
newest=$(ls -t ./*.bpf.c include/*.h build.sh | head -n 1)
for source in *.bpf.c; do
  object=build/${source%.c}.o
  if [ -f "$object" ] && [ "$object" -nt "$newest" ]; then continue; fi
  clang -O2 -g -Wall -Werror -fno-strict-aliasing -target bpf -mcpu=v3 \
    -Iinclude -I"/usr/include/$(uname -m)-linux-gnu" -c "$source" -o "$object.$$"
  llvm-strip -g "$object.$$"
  mv "$object.$$" "$object"
done
