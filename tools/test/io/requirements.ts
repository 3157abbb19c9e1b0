import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** f_type of bpffs (BPF_FS_MAGIC of linux/magic.h). */
const bpfFsMagic = 0xcafe4a11;

const root = fileURLToPath(new URL('../../../', import.meta.url));
const passObject = `${root}bpf/build/pass.bpf.o`;

/** What the tests against the kernel need beside the tests themselves, and the Debian package that has it. */
const programs: readonly (readonly [path: string, debianPackage: string])[] = [
  ['/usr/lib/frr/bgpd', 'frr'],
  ['/usr/sbin/bird', 'bird2'],
  ['/usr/sbin/nginx', 'nginx'],
  ['/usr/sbin/nft', 'nftables'],
  ['/usr/sbin/ethtool', 'ethtool'],
  ['/usr/bin/curl', 'curl'],
];

/** Why the data plane's tests (BPF_PROG_TEST_RUN) cannot run here; empty when they can. */
export function missingForBpf(): string[] {
  const missing: string[] = [];
  if (process.getuid?.() !== 0) missing.push('root');
  if (!existsSync(passObject)) missing.push('built BPF objects (clang and libbpf-dev, then "npm run build")');
  if (!isBpfFs()) missing.push('bpffs at /sys/fs/bpf');
  return missing;
}

/** Why the tests against the kernel, routers and servers cannot run here; empty when they can. */
export function missingForIntegration(): string[] {
  const missing = missingForBpf();
  for (const [path, debianPackage] of programs) {
    if (!existsSync(path)) missing.push(`the Debian package ${debianPackage}`);
  }
  // What follows makes a namespace and attaches a program: pointless without what is missing already.
  return missing.length > 0 ? missing : missingInKernel();
}

/** Tries the kernel features in a namespace of its own, which is removed again. */
function missingInKernel(): string[] {
  const namespace = `l4d-probe-${process.pid}`;
  const pins = `/sys/fs/bpf/${namespace}`;
  if (!succeeds('ip', 'netns', 'add', namespace)) return ['network namespaces (ip netns add is refused)'];
  try {
    const inside = ['nsenter', `--net=/run/netns/${namespace}`];
    if (!succeeds(...inside, 'ip', 'link', 'add', 'probe0', 'type', 'veth', 'peer', 'name', 'probe1')) {
      return ['veth interfaces'];
    }
    mkdirSync(pins);
    // ip(8) makes folders in bpffs when it loads a program: in one of our own.
    const attach = ['env', `TC_BPF_MNT=${pins}`, 'ip', 'link', 'set', 'dev', 'probe0', 'xdpdrv', 'obj'];
    if (!succeeds(...inside, ...attach, passObject, 'sec', 'xdp.frags')) {
      return ['attaching an XDP program (the kernel or the container refuses it)'];
    }
    return [];
  } finally {
    spawnSync('ip', ['netns', 'delete', namespace]);
    rmSync(pins, { recursive: true, force: true });
  }
}

function succeeds(...argv: readonly string[]): boolean {
  const [program = '', ...rest] = argv;
  return spawnSync(program, rest, { stdio: 'ignore', timeout: 20_000 }).status === 0;
}

function isBpfFs(): boolean {
  try {
    return statfsSync('/sys/fs/bpf').type === bpfFsMagic;
  } catch {
    return false;
  }
}
