/**
 * Where live frames go:
 *
 *     generator gen0 ── veth ── lb0 balancer lb1 ── veth ── end0 end
 *
 * What a program sends back ends at gen0, whose program drops it; what the kernel forwards ends at end0, as a frame for
 * another host. All on one core: a veth hands its frames over in soft interrupts of the core that sent them.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { OperatorError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ensureBpfFolder } from '@l4d/l4d/io/forwarding/bpf-folder.ts';
import { objectPath } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { ownMac } from '../../../bpf/testing/data-plane.ts';
import { counting } from '../../../bpf/testing/packet.ts';
import { type Family, four, routerMac, six, udpFrame } from '../../../bpf/testing/world.ts';
import { createBenchNetwork } from './bench-network.ts';
import type { LiveOrder, LiveReport } from './live-generator.ts';

/** What the frames go through: a program, or the kernel's own forwarding. */
export interface LiveSubject {
  readonly name: string;
  readonly subject: string;
  /** Of the frames. */
  readonly family: Family;
  /** Loads the program; it runs at lb0 while it is measured. */
  readonly load?: () => { readonly program: number; close(): void };
  /** Sets the kernel up in its place; returns what takes it back. */
  readonly kernel?: KernelPath;
  /** Nothing is sent on: what it drops is counted. */
  readonly dropsAll?: boolean;
}

/** Commands that the balancer's namespace is told, before and after. */
export interface KernelPath {
  readonly begin: ReadonlyArray<readonly string[]>;
  readonly end: ReadonlyArray<readonly string[]>;
}

const seconds = 1.5;
/** Milliseconds for a generator, which is told to send for `seconds`. */
const generatorTimeout = 60_000;
const flows = 16_384;
const core = Math.min(1, cpus().length - 1);
/** The first hop behind the balancer has this MAC address, which is not end0's. */
const elsewhereMac = '02:00:00:00:00:99';

const offloads = ['tso', 'off', 'gso', 'off', 'tx', 'off', 'rx', 'off'];

/** The lab, up. */
export type LiveLab = ReturnType<typeof createLiveLab>;

/** Makes namespaces and links. Throws what a command says. */
export function createLiveLab() {
  const prefix = `l4dlive${process.pid}`;
  const pins = `/sys/fs/bpf/${prefix}`;
  const network = createBenchNetwork(prefix, ['gen', 'lb', 'end']);
  const helper = libbpf.openObject(objectPath('bench_generator'));
  const remove = () => {
    network.remove();
    libbpf.closeObject(helper);
    rmSync(pins, { recursive: true, force: true });
  };
  try {
    setUp();
  } catch (error) {
    remove();
    throw error;
  }
  return { measure, remove };

  function setUp(): void {
    ensureBpfFolder(pins);
    network.link(
      { place: 'gen', device: 'gen0', mac: routerMac },
      { place: 'lb', device: 'lb0', mac: ownMac, addresses: ['10.91.0.1/24', 'fd91::1/64'] },
    );
    network.link(
      { place: 'lb', device: 'lb1', addresses: ['10.91.1.1/24', 'fd91:1::1/64'] },
      { place: 'end', device: 'end0' },
    );
    for (const [place, device] of [
      ['gen', 'gen0'],
      ['lb', 'lb0'],
      ['lb', 'lb1'],
      ['end', 'end0'],
    ] as const) {
      network.runIn(place, 'ethtool', '-K', device, ...offloads);
    }
    // A veth takes frames from XDP while it polls, which it does with a program or with GRO. GRO joins no UDP.
    network.runIn('lb', 'ethtool', '-K', 'lb0', 'gro', 'on');
    network.runIn('lb', 'sysctl', '-q', '-w', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    for (const [hop, destinations] of [
      ['10.91.1.2', [four.vip, four.backends[0]]],
      ['fd91:1::2', [six.vip]],
    ] as const) {
      network.runIn(
        'lb',
        'ip',
        'neighbour',
        'add',
        hop,
        'lladdr',
        elsewhereMac,
        'dev',
        'lb1',
        'nud',
        'permanent',
      );
      for (const to of destinations) network.runIn('lb', 'ip', 'route', 'add', to, 'via', hop, 'dev', 'lb1');
    }
    libbpf.loadObject(helper, 'bench_generator');
    attach('gen', 'gen0', libbpf.programFd(helper, 'bench_drop'), 'drop');
  }

  function attach(place: string, device: string, program: number, name: string): void {
    libbpf.pin(program, `${pins}/${name}`);
    network.runIn(place, 'ip', 'link', 'set', device, 'xdpdrv', 'pinned', `${pins}/${name}`);
    rmSync(`${pins}/${name}`);
  }

  /** Frames a second that came out at the other end. */
  function measure(subject: LiveSubject): number {
    const loaded = subject.load?.();
    try {
      if (loaded !== undefined) attach('lb', 'lb0', loaded.program, 'subject');
      for (const command of subject.kernel?.begin ?? []) tell(command);
      const before = arrived(subject);
      const report = generate(subject.family);
      const share = (arrived(subject) - before) / report.sent;
      // More than what was sent: something else counts. Less than half: it does not do what it is to do.
      if (share < 0.5 || share > 1.001) {
        throw new OperatorError(
          `${subject.subject}, ${subject.name}: ${(share * 100).toFixed(1)} % of the frames arrived`,
          1,
        );
      }
      return report.rate * Math.min(share, 1);
    } finally {
      for (const command of subject.kernel?.end ?? []) tell(command);
      if (loaded !== undefined) {
        network.runIn('lb', 'ip', 'link', 'set', 'lb0', 'xdpdrv', 'off');
        loaded.close();
      }
    }
  }

  function tell([command = '', ...args]: readonly string[]): void {
    network.runIn('lb', command, ...args);
  }

  function generate(family: Family): LiveReport {
    // 64 bytes in either family, without a frame check sequence.
    const frame = udpFrame(family, counting(family === four ? 22 : 2));
    const order: LiveOrder = {
      device: 'gen0',
      frame: Buffer.from(frame).toString('hex'),
      flows,
      portOffset: family === four ? 34 : 54,
      seconds,
    };
    const script = fileURLToPath(new URL('./live-generator.ts', import.meta.url));
    const pinned = ['-c', String(core), 'nsenter', `--net=${network.namespaceOf('gen')}`];
    // Frames are handed over by soft interrupts: where those get no time on the core, sending has no end.
    const text = execFileSync('taskset', [...pinned, process.execPath, script, JSON.stringify(order)], {
      encoding: 'utf8',
      timeout: generatorTimeout,
      killSignal: 'SIGKILL',
    });
    return JSON.parse(text) as LiveReport;
  }

  function arrived(subject: LiveSubject): number {
    if (subject.kernel !== undefined) return receivedPackets('end', 'end0');
    return subject.dropsAll === true ? xdpDrops('lb', 'lb0') : xdpDrops('gen', 'gen0');
  }

  function receivedPackets(place: string, device: string): number {
    const text = network.runIn(place, 'ip', '-s', '-j', 'link', 'show', device);
    const [link] = JSON.parse(text) as Array<{ stats64: { rx: { packets: number } } }>;
    return link?.stats64.rx.packets ?? 0;
  }

  function xdpDrops(place: string, device: string): number {
    const text = network.runIn(place, 'ethtool', '-S', device);
    return Number(/rx_queue_0_xdp_drops: (\d+)/.exec(text)?.[1]);
  }
}
