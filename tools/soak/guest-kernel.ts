/**
 * Another kernel than this machine's: the one of a Debian package, booted by qemu without hardware help, with this
 * machine's files as its own (read-only, changes in memory). Nothing is installed here.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';

/** A kernel's files, unpacked. */
export interface GuestKernel {
  /** As uname -r says. */
  readonly version: string;
  readonly image: string;
  /** Folder of its modules. */
  readonly modules: string;
}

/** What a command in the guest said and ended with. */
export interface GuestResult {
  readonly status: number;
  readonly output: string;
}

/** Kept for the next time: 70 MB, and 400 MB unpacked. */
const cache = '/var/tmp/l4d-guest-kernels';

const needed = { 'qemu-system-x86_64': 'qemu-system-x86', busybox: 'busybox-static' } as const;

/** In the order in which they need each other: to reach this machine's files and write over them, and for l4d. */
const bootModules = [
  'drivers/virtio/virtio_ring',
  'drivers/virtio/virtio',
  'drivers/virtio/virtio_pci_legacy_dev',
  'drivers/virtio/virtio_pci_modern_dev',
  'drivers/virtio/virtio_pci',
  'fs/netfs/netfs',
  'fs/fscache/fscache',
  'net/9p/9pnet',
  'net/9p/9pnet_virtio',
  'fs/9p/9p',
  'fs/overlayfs/overlay',
  'drivers/net/veth',
  'net/sched/sch_ingress',
  'net/sched/cls_bpf',
];

/** As bootModules: the devices that hosts and backends of a data centre have. */
export const deviceModules: readonly string[] = [
  'net/tls/tls',
  'drivers/net/bonding/bonding',
  'net/llc/llc',
  'net/802/stp',
  'net/bridge/bridge',
  'net/802/mrp',
  'net/802/garp',
  'net/8021q/8021q',
  'drivers/net/team/team',
  'drivers/net/team/team_mode_activebackup',
  'net/ipv4/tunnel4',
  'net/ipv4/ip_tunnel',
  'net/ipv4/ipip',
  'net/ipv6/sit',
  'net/ipv6/tunnel6',
  'net/ipv6/ip6_tunnel',
  'net/ipv4/udp_tunnel',
  'net/ipv6/ip6_udp_tunnel',
  'net/ipv4/fou',
  'net/ipv6/fou6',
  'drivers/net/vxlan/vxlan',
];

/** Bonds are made by who wants them. */
const moduleOptions: Readonly<Record<string, string>> = { bonding: 'max_bonds=0' };

const statusMark = 'L4D-GUEST-STATUS';

/** Fetches the kernel of this Debian release's package archive. Throws OperatorError when there is none. */
export function fetchDebianKernel(): GuestKernel {
  if (process.arch !== 'x64')
    throw new OperatorError('the guest is an x86-64 machine, and so must this one be', exitCode.system);
  const missing = Object.entries(needed).filter(([command]) => !isInstalled(command));
  if (missing.length > 0) {
    const packages = missing.map(([, name]) => name).join(' ');
    throw new OperatorError(`needed to boot another kernel: apt-get install ${packages}`, exitCode.system);
  }
  mkdirSync(cache, { recursive: true });
  const name = /Depends: (linux-image-[0-9]\S+)/.exec(run('apt-cache', 'depends', 'linux-image-amd64'))?.[1];
  if (name === undefined) {
    throw new OperatorError('linux-image-amd64 is not in the package lists: apt-get update', exitCode.system);
  }
  const folder = join(cache, name);
  if (!existsSync(folder)) {
    const downloads = mkdtempSync(join(cache, 'download-'));
    execFileSync('apt-get', ['download', '-q', name], { cwd: downloads, stdio: 'ignore' });
    const [file = ''] = readdirSync(downloads);
    // Under its name only when it is whole.
    const unpacked = `${downloads}-unpacked`;
    run('dpkg-deb', '-x', join(downloads, file), unpacked);
    execFileSync('mv', [unpacked, folder]);
    rmSync(downloads, { recursive: true });
  }
  const [version = ''] = readdirSync(join(folder, 'lib/modules'));
  return {
    version,
    image: join(folder, 'boot', `vmlinuz-${version}`),
    modules: join(folder, 'lib/modules', version, 'kernel'),
  };
}

/**
 * Boots the kernel with modules beside those that all need, runs a shell command in a folder of this machine, and
 * waits for its end. `tell` gets what it says, line by line. Throws OperatorError when the guest does not come so far.
 */
export async function runInGuest(
  kernel: GuestKernel,
  folder: string,
  command: string,
  tell: (line: string) => void,
  modules: readonly string[] = [],
): Promise<GuestResult> {
  const work = mkdtempSync(join(tmpdir(), 'l4d-guest-'));
  try {
    const initramfs = writeInitramfs(kernel, work, folder, command, [...bootModules, ...modules]);
    const machine = [
      '-accel',
      'tcg,thread=multi',
      '-cpu',
      'max',
      '-machine',
      'q35',
      '-m',
      '3072',
      '-smp',
      '2',
    ];
    const share = 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap';
    const child = spawn(
      'qemu-system-x86_64',
      [
        ...[
          ...machine,
          '-nodefaults',
          '-no-reboot',
          '-display',
          'none',
          '-monitor',
          'none',
          '-serial',
          'stdio',
        ],
        ...['-virtfs', share, '-kernel', kernel.image, '-initrd', initramfs],
        // A panic ends the guest (-no-reboot). A loaded machine may be too slow for the kernel's test of its timer.
        ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off no_timer_check'],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let output = '';
    let told = 0;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text.replaceAll('\r', '');
      for (let end = output.indexOf('\n', told); end >= 0; end = output.indexOf('\n', told)) {
        tell(output.slice(told, end));
        told = end + 1;
      }
    });
    await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
    const status = new RegExp(`${statusMark} (\\d+)`).exec(output)?.[1];
    if (status === undefined) {
      throw new OperatorError(`the guest did not end the command:\n${output.slice(-2000)}`, exitCode.failure);
    }
    return { status: Number(status), output: output.slice(0, output.lastIndexOf(statusMark)) };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** A root in memory that only leads to the real one. */
function writeInitramfs(
  kernel: GuestKernel,
  work: string,
  folder: string,
  command: string,
  modules: readonly string[],
): string {
  const root = join(work, 'root');
  for (const name of ['bin', 'modules', 'host', 'memory', 'whole'])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync(run('sh', '-c', 'command -v busybox').trim(), join(root, 'bin/busybox'));
  for (const path of modules) {
    const file = join(kernel.modules, `${path}.ko`);
    // Some are part of the kernel in other versions.
    if (existsSync(file)) copyFileSync(file, join(root, 'modules', basename(file)));
  }
  writeFileSync(join(root, 'command'), `cd '${folder}' || exit\n${command}\necho ${statusMark} $?\n`);
  writeFileSync(
    join(root, 'init'),
    `#!/bin/busybox sh
b() { /bin/busybox "$@"; }
${modules
  .map((path) => basename(path))
  .map((name) => `[ -f /modules/${name}.ko ] && b insmod /modules/${name}.ko ${moduleOptions[name] ?? ''}`)
  .join('\n')}
b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /host
b mount -t tmpfs memory /memory
b mkdir /memory/changes /memory/work
b mount -t overlay -o lowerdir=/host,upperdir=/memory/changes,workdir=/memory/work overlay /whole
b mount -t proc proc /whole/proc
b mount -t sysfs sys /whole/sys
b mount -t bpf bpf /whole/sys/fs/bpf
b mount -t devtmpfs dev /whole/dev
b ip link set lo up
b cp /command /whole/tmp/l4d-guest-command
b chroot /whole /bin/sh /tmp/l4d-guest-command
b poweroff -f
`,
    { mode: 0o755 },
  );
  const file = join(work, 'initramfs');
  run('sh', '-c', `cd '${root}' && find . | busybox cpio -o -H newc 2>/dev/null > '${file}'`);
  return file;
}

function isInstalled(command: string): boolean {
  try {
    run('sh', '-c', `command -v ${command}`);
    return true;
  } catch {
    return false;
  }
}

function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
