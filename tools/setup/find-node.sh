# Sets L4D_NODE to a Node of version 24 or later: the one in node_modules, else the machine's own.
# Sourced with $here set to the folder of the calling script.
L4D_NODE=''
dir=$here
while [ "$dir" != / ]; do
  for arch in x64 arm64; do
    if [ -x "$dir/node_modules/node-linux-$arch/bin/node" ]; then L4D_NODE=$dir/node_modules/node-linux-$arch/bin/node; fi
  done
  [ -n "$L4D_NODE" ] && break
  dir=$(dirname "$dir")
done
if [ -z "$L4D_NODE" ]; then
  if command -v node >/dev/null 2>&1 && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 24 ]; then
    L4D_NODE=node
  else
    echo "l4d: Node 24 or later is needed; run 'npm run setup' in the repository's root, which installs it there" >&2
    exit 1
  fi
fi
export L4D_NODE
