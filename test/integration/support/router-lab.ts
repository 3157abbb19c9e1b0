import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { passProgram } from '../../../tools/lab/io/build-lab.ts';
import { endProcesses } from '../../../tools/lab/io/namespace-processes.ts';
import { ipIn, run, runIn } from './network-namespace.ts';

const root = join(import.meta.dirname, '../../..');

/** A segment behind the router: its prefixes, and the last bytes of the addresses of its machines. */
export interface Segment<Machine extends string> {
  /** `10.81.0` of IPv4 and `fd81::` of IPv6. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly machines: Readonly<Partial<Record<Machine, string>>>;
}

/**
 * A client and segments of hosts around one router, in namespaces, with daemons on some of the hosts:
 *
 *   client 198.51.100.7 ── router .1 ── bridge ── machines of a segment
 *                                    └─ bridge ── machines of another one
 *
 * Frames have 1500 bytes at most: nothing is left to the devices.
 */
export function routerLab<Machine extends string>(prefix: string, segments: readonly Segment<Machine>[]) {
  const placed = segments.flatMap((segment, number) =>
    (Object.entries(segment.machines) as [Machine, string][]).map(([machine, last]) => ({
      machine,
      last,
      segment,
      bridge: `br${number}`,
    })),
  );
  const names: readonly string[] = ['client', 'router', ...placed.map(({ machine }) => machine)];
  const nameOf = (machine: Machine | 'client' | 'router') => `${prefix}-${machine}`;
  const router = nameOf('router');
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const started: ChildProcess[] = [];
  const bpfDirs: string[] = [];
  const socket = (host: Machine) => join(folder, host, 'run', 'l4d.sock');

  function link(machine: Machine | 'client', gateway: string, own: string): void {
    const port = `to-${machine}`;
    ipIn(nameOf(machine), `link add eth0 type veth peer name ${port} netns ${router}`);
    for (const [where, device] of [
      [nameOf(machine), 'eth0'],
      [router, port],
    ] as const) {
      runIn(where, 'ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off');
      ipIn(where, `link set ${device} up`);
    }
    ipIn(router, `link set dev ${port} xdpdrv obj ${passProgram} sec xdp.frags`);
    const [four, six] = own.split(' ') as [string, string];
    ipIn(nameOf(machine), `address add ${four}/24 dev eth0`);
    ipIn(nameOf(machine), `address add ${six}/64 dev eth0 nodad`);
    const [viaFour, viaSix] = gateway.split(' ');
    ipIn(nameOf(machine), `route add default via ${viaFour}`);
    ipIn(nameOf(machine), `-6 route add default via ${viaSix}`);
  }

  function start(machine: Machine | 'client', command: string, ...args: readonly string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=/run/netns/${nameOf(machine)}`, command, ...args], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    child.stdout?.resume();
    started.push(child);
    return child;
  }

  return {
    folder,
    nameOf,
    socket,
    start,

    /** Makes namespaces and links. */
    build(): void {
      for (const machine of names) run('ip', 'netns', 'add', `${prefix}-${machine}`);
      for (const machine of names) {
        runIn(`${prefix}-${machine}`, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0');
        ipIn(`${prefix}-${machine}`, 'link set lo up');
      }
      for (const setting of [
        'net.ipv4.ip_forward=1',
        'net.ipv6.conf.all.forwarding=1',
        'net.ipv4.fib_multipath_hash_policy=1',
        'net.ipv6.fib_multipath_hash_policy=1',
        'net.ipv4.conf.all.send_redirects=0',
        'net.ipv4.conf.default.send_redirects=0',
      ])
        runIn(router, 'sysctl', '-qw', setting);
      for (const [number, { ipv4, ipv6 }] of segments.entries()) {
        ipIn(router, `link add br${number} address 02:00:00:00:81:${number + 10} type bridge`);
        ipIn(router, `link set br${number} up`);
        ipIn(router, `address add ${ipv4}.1/24 dev br${number}`);
        ipIn(router, `address add ${ipv6}1/64 dev br${number} nodad`);
      }
      link('client', '198.51.100.1 2001:db8:c::1', '198.51.100.7 2001:db8:c::7');
      ipIn(router, 'address add 198.51.100.1/24 dev to-client');
      ipIn(router, 'address add 2001:db8:c::1/64 dev to-client nodad');
      for (const { machine, last, segment, bridge } of placed) {
        const { ipv4, ipv6 } = segment;
        link(machine, `${ipv4}.1 ${ipv6}1`, `${ipv4}.${last} ${ipv6}${last}`);
        ipIn(router, `link set to-${machine} master ${bridge}`);
      }
    },

    /** Starts the daemon of a host, with `l4d.yaml` in its folder. */
    startDaemon(host: Machine): ChildProcess {
      for (const part of ['run', 'state']) mkdirSync(join(folder, host, part), { recursive: true });
      const at = (part: string) => join(folder, host, part);
      const bpfDir = `/sys/fs/bpf/${prefix}-${host}`;
      if (!bpfDirs.includes(bpfDir)) bpfDirs.push(bpfDir);
      const folders = ['--run-dir', at('run'), '--state-dir', at('state'), '--bpf-dir', bpfDir];
      const main = join(root, 'l4d/bin/start.mjs');
      return start(host, process.execPath, main, 'run', '-c', at('l4d.yaml'), ...folders);
    },

    status: async (host: Machine) =>
      (await requestJson(socket(host), 'GET', '/v1/status', undefined, 2000)).body as FabricStatus,

    /** Ends and removes all of it. */
    async remove(): Promise<void> {
      const all = names.map((machine) => `${prefix}-${machine}`);
      await endProcesses(
        all.map((name) => `/run/netns/${name}`),
        500,
      ).catch(() => undefined);
      for (const child of started) child.kill('SIGKILL');
      for (const name of all) {
        try {
          run('ip', 'netns', 'del', name);
        } catch {
          // It was never made.
        }
      }
      for (const path of [...bpfDirs, folder]) rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Waits until the condition holds; one that throws does not. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await holds().catch(() => false))) {
    if (performance.now() - begun > 60_000) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
