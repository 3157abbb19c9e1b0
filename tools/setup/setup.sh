#!/bin/sh
# Makes a Debian machine ready for building, testing and the lab: Debian packages, node_modules, BPF objects,
# bpffs. Does only what is missing; may be repeated. Usage: setup.sh [--quiet]
set -eu

quiet=no
for argument in "$@"; do
  case $argument in
    --quiet) quiet=yes ;;
    *)
      echo "usage: setup.sh [--quiet]" >&2
      exit 2
      ;;
  esac
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
libraries=/usr/lib/$(uname -m)-linux-gnu
cd "$root"

say() { [ "$quiet" = yes ] || echo "setup: $*"; }
fail() {
  echo "setup: $*" >&2
  exit 1
}
is_root() { [ "$(id -u)" = 0 ]; }

# What is needed, each as a command or an absolute path, and the package that has it.
needs="
/usr/lib/frr/bgpd frr
/usr/lib/frr/zebra frr
vtysh frr
nginx nginx
dnsmasq dnsmasq-base
dig bind9-dnsutils
haproxy haproxy
clang clang
llvm-strip llvm
/usr/include/bpf/bpf_helpers.h libbpf-dev
/usr/include/linux/bpf.h linux-libc-dev
$libraries/libbpf.so.1 libbpf1
ethtool ethtool
nft nftables
ip iproute2
bridge iproute2
curl curl
tcpdump tcpdump
iperf3 iperf3
sysctl procps
ps procps
nsenter util-linux
mount mount
bird bird2
gobgpd gobgpd
gobgp gobgpd
exabgp exabgp
etcd etcd-server
keepalived keepalived
ping iputils-ping
openssl openssl
bpftool bpftool
tshark tshark
/usr/lib/python3/dist-packages/h11 python3-h11
bash bash
"

# Sets $missing (what) and $packages (the packages that have it, each once).
look() {
  missing='' packages=''
  while read -r what package; do
    [ -n "$what" ] || continue
    case $what in
      /*) [ -e "$what" ] && continue ;;
      *) command -v "$what" >/dev/null 2>&1 && continue ;;
    esac
    missing="$missing $what"
    case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
  done <<END
$needs
END
}

policy=/usr/sbin/policy-rc.d
policy_mark='made by l4d tools/setup/setup.sh for the time of an installation'
output=''

cleanup() {
  [ -z "$output" ] || rm -f "$output"
  output=''
  # Also one that an earlier, killed run has left.
  if is_root && [ -f "$policy" ] && grep -q "$policy_mark" "$policy"; then rm -f "$policy"; fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs a command; its output is shown at once, or with --quiet only when it fails.
run() {
  if [ "$quiet" = no ]; then
    "$@"
    return
  fi
  output=$(mktemp)
  if "$@" >"$output" 2>&1; then
    rm -f "$output"
    output=''
    return
  fi
  tail -n 40 "$output" >&2
  rm -f "$output"
  output=''
  return 1
}

install_packages() {
  is_debian=no
  if [ -r /etc/os-release ]; then
    case " $(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}") " in *" debian "*) is_debian=yes ;; esac
  fi
  if [ "$is_debian" = no ] || ! command -v apt-get >/dev/null 2>&1; then
    fail "this is not a Debian system with apt-get, so nothing can be installed. Missing:$missing" \
      "(on Debian 12 they are in:$packages)"
  fi
  say "installing$packages"
  export DEBIAN_FRONTEND=noninteractive
  run apt-get -q update ||
    fail "\"apt-get update\" failed (see above); wanted:$packages. Mend it (network, /etc/apt) and run this again"
  # Packages must not start services here: nginx would take port 80, frr and bird the routing table.
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\n# %s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"
  fi
  # shellcheck disable=SC2086 # a list of words
  run apt-get -q -y --no-install-recommends install $packages ||
    fail "\"apt-get install$packages\" failed (see above); mend it and run this again"
  cleanup
  # Nor at the next start of the machine, when it was this script that brought them.
  for service in nginx:nginx haproxy:haproxy frr:frr bird:bird2 etcd:etcd-server keepalived:keepalived \
    gobgpd:gobgpd exabgp:exabgp; do
    case " $packages " in
      *" ${service#*:} "*) systemctl disable --quiet "${service%%:*}" >/dev/null 2>&1 || true ;;
    esac
  done
  look
  [ -z "$missing" ] || fail "the packages are installed, but these are still missing:$missing"
}

# Whether node_modules holds what package-lock.json names: by the stamp of the last time, else by comparing.
modules_match() {
  [ -x node_modules/.bin/node ] && [ -x node_modules/.bin/tsc ] || return 1
  cmp -s package-lock.json node_modules/.l4d-lock && return 0
  node "$here/modules-match.cjs" || return 1
  cp package-lock.json node_modules/.l4d-lock 2>/dev/null || true
}

install_modules() {
  command -v npm >/dev/null 2>&1 || fail "npm is missing; install Node 18 or later with npm"
  say "installing node_modules"
  # Under "npm run" the first node in the PATH is the one that is about to be replaced.
  clean_path=$(printf %s "$PATH" | tr : '\n' | grep -v '/node_modules/' | paste -s -d : -)
  run env PATH="$clean_path" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error ||
    fail "\"npm ci\" failed (see above); mend it and run this again"
  cp package-lock.json node_modules/.l4d-lock
}

command -v node >/dev/null 2>&1 || fail "Node 18 or later is missing; install it with npm and run this again"
node_major=$(node -p 'process.versions.node.split(".")[0]')
[ "$node_major" -ge 18 ] || fail "Node 18 or later is needed; this is $(node --version)"

left_out=''
look
if [ -n "$missing" ] || ! modules_match; then
  # One at a time: another setup may be doing the same.
  exec 9<package.json
  flock 9
  look
  if [ -n "$missing" ]; then
    if is_root; then install_packages; else left_out="$left_out; Debian packages:$packages"; fi
  fi
  modules_match || install_modules
fi

if [ -f bpf/build.sh ]; then
  if command -v clang >/dev/null 2>&1 && [ -e /usr/include/bpf/bpf_helpers.h ]; then
    run sh bpf/build.sh || fail "building the BPF programs (bpf/build.sh) failed (see above)"
  else
    left_out="$left_out; the BPF objects (no clang or libbpf-dev)"
  fi
fi

if [ -d node_modules/rolldown ]; then
  run node_modules/.bin/node tools/bundle/main.ts || fail "bundling the programs (tools/bundle) failed (see above)"
else
  left_out="$left_out; the bundles (no rolldown), programs run from their sources"
fi

if ! grep -q ' /sys/fs/bpf bpf ' /proc/mounts; then
  if is_root; then
    say "mounting bpffs at /sys/fs/bpf"
    mount -t bpf bpf /sys/fs/bpf || fail "cannot mount bpffs at /sys/fs/bpf; the kernel or the container forbids it"
  else
    left_out="$left_out; bpffs at /sys/fs/bpf"
  fi
fi

if [ -n "$left_out" ]; then
  echo "setup: not root, so these were left out: ${left_out#; }. Run \"npm run setup\" as root for them" >&2
else
  say "ready"
fi
