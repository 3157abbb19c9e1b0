/**
 * A client, a router, and behind it one segment with the balancer and a backend that has the VIP:
 *
 *     client 10.92.0.2 ── 10.92.0.1 router 10.92.1.1 ── bridge ──┬── 10.92.1.2 lb0 balancer
 *                                                                └── 10.92.1.3 back0 backend (nginx, iperf3)
 *
 * Answers go from the backend to the router, but with destination NAT: it must see them too.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ensureBpfFolder } from '@l4d/l4d/io/forwarding/bpf-folder.ts';
import { objectPath } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { loadDataPlane, ownMac } from '../../../bpf/testing/data-plane.ts';
import { backend, backendMacs, four, vipOf } from '../../../bpf/testing/world.ts';
import { createBenchNetwork } from './bench-network.ts';
import { writeNginx } from './proxy-lab.ts';

/** Who takes the packets of the VIP to the backend. */
export interface TcpSubject {
  readonly subject: string;
  readonly way: 'xdp' | 'forward' | 'nat';
}

/** Ours, and the kernel's two ways. */
export const tcpSubjects: readonly TcpSubject[] = [
  { subject: 'l4d', way: 'xdp' },
  { subject: 'plain forwarding', way: 'forward' },
  { subject: 'nftables DNAT', way: 'nat' },
];

/** One subject's numbers; bulk in bits a second of payload. */
export interface TcpResult {
  readonly connectionsPerSecond: number;
  readonly upload: number;
  readonly download: number;
}

const seconds = 2;
const connections = 32;
const httpPort = 80;
const bulkPort = 5201;
const routerAddress = '10.92.1.1';
const balancerAddress = '10.92.1.2';
const backendAddress = '10.92.1.3';
const table = 'l4d_bench';

/** Segments stay one packet from end to end, and so do their checksums. */
const offloads = ['tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off', 'rx', 'off'];

/** Makes the network and starts the servers. Throws what a command says. */
export async function createTcpLab() {
  const prefix = `l4dtcp${process.pid}`;
  const pins = `/sys/fs/bpf/${prefix}`;
  const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
  const network = createBenchNetwork(prefix, ['client', 'router', 'lb', 'back']);
  const { runIn } = network;
  const plane = loadDataPlane();
  const helper = libbpf.openObject(objectPath('pass'));
  const remove = () => {
    network.remove();
    plane.unload();
    libbpf.closeObject(helper);
    rmSync(pins, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    setUpLinks();
    setUpPrograms();
    await startServers();
  } catch (error) {
    remove();
    throw error;
  }
  return { measure, remove };

  function setUpLinks(): void {
    network.link(
      { place: 'client', device: 'up0', addresses: ['10.92.0.2/24'] },
      { place: 'router', device: 'down0', addresses: ['10.92.0.1/24'] },
    );
    runIn('router', 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    for (const [place, device, mac, address] of [
      ['lb', 'lb0', ownMac, balancerAddress],
      ['back', 'back0', backendMacs[0], backendAddress],
    ] as const) {
      network.link(
        { place, device, mac, addresses: [`${address}/24`] },
        { place: 'router', device: `to-${place}` },
      );
      runIn('router', 'ip', 'link', 'set', `to-${place}`, 'master', 'br0');
    }
    runIn('router', 'ip', 'address', 'add', `${routerAddress}/24`, 'dev', 'br0');
    runIn('router', 'ip', 'link', 'set', 'br0', 'up');
    for (const [place, devices] of [
      ['client', ['up0']],
      ['router', ['down0', 'to-lb', 'to-back', 'br0']],
      ['lb', ['lb0']],
      ['back', ['back0']],
    ] as const) {
      for (const device of devices) runIn(place, 'ethtool', '-K', device, ...offloads);
      const redirects = ['all', 'default', ...devices].map(
        (name) => `net.ipv4.conf.${name}.send_redirects=0`,
      );
      runIn(place, 'sysctl', '-q', '-w', 'net.ipv4.ip_forward=1', ...redirects);
    }
    runIn('back', 'sysctl', '-q', '-w', 'net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2');
    runIn('back', 'ip', 'address', 'add', `${four.vip}/32`, 'dev', 'lo');
    runIn('client', 'ip', 'route', 'add', 'default', 'via', '10.92.0.1');
    runIn('client', 'sysctl', '-q', '-w', 'net.ipv4.ip_local_port_range=2000 65000');
    runIn('router', 'ip', 'route', 'add', four.vip, 'via', balancerAddress);
    runIn('lb', 'ip', 'route', 'add', 'default', 'via', routerAddress);
    runIn('lb', 'ip', 'route', 'add', four.vip, 'via', backendAddress);
    runIn('back', 'ip', 'route', 'add', 'default', 'via', routerAddress);
  }

  function setUpPrograms(): void {
    ensureBpfFolder(pins);
    const only = { address: ipAddress(backendAddress) };
    for (const port of [httpPort, bulkPort]) {
      plane.forwarding.apply(vipOf(four, { port, backends: [backend(four, 0, only)] }));
    }
    libbpf.loadObject(helper, 'pass');
    libbpf.pin(plane.program, `${pins}/l4d`);
    libbpf.pin(libbpf.programFd(helper, 'pass'), `${pins}/pass`);
  }

  async function startServers(): Promise<void> {
    const http = `keepalive_requests 1; server { listen ${httpPort} backlog=4096; location / { return 200 "x"; } }`;
    network.startIn('back', 'nginx', '-c', writeNginx(folder, 'backend', http));
    network.startIn('back', 'iperf3', '-s', '-p', String(bulkPort));
    for (const port of [httpPort, bulkPort]) {
      for (let tries = 0; runIn('back', 'ss', '-Hltn', `sport = :${port}`) === ''; tries++) {
        if (tries > 500) throw new OperatorError(`nothing listens on port ${port}`, 1);
        await sleep(10);
      }
    }
  }

  async function measure({ way }: TcpSubject): Promise<TcpResult> {
    begin(way);
    try {
      const text = runIn(
        'client',
        ...['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '-H', 'Connection: close'],
        `http://${four.vip}:${httpPort}/`,
      );
      if (/Non-2xx|Socket errors: connect [1-9]/.test(text))
        throw new OperatorError(`wrk failed:\n${text}`, 1);
      const connectionsPerSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
      const upload = await bulk();
      return { connectionsPerSecond, upload, download: await bulk('-R') };
    } finally {
      end(way);
    }
  }

  /** Payload that the receiver got, in bits a second. */
  async function bulk(...more: readonly string[]): Promise<number> {
    // The server takes one client at a time and needs a moment after the last one.
    await sleep(200);
    const text = runIn(
      'client',
      ...['iperf3', '-J', '-c', four.vip, '-p', String(bulkPort), '-t', String(seconds), ...more],
    );
    const { end: summary } = JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } };
    return summary.sum_received.bits_per_second;
  }

  function begin(way: TcpSubject['way']): void {
    if (way === 'xdp') {
      runIn('lb', 'ip', 'link', 'set', 'lb0', 'xdpdrv', 'pinned', `${pins}/l4d`);
      // What XDP sends arrives at a veth only where a program takes it.
      runIn('router', 'ip', 'link', 'set', 'to-lb', 'xdpdrv', 'pinned', `${pins}/pass`);
    }
    if (way !== 'nat') return;
    const rule = `ip daddr ${four.vip} tcp dport { ${httpPort}, ${bulkPort} } dnat to ${backendAddress}`;
    runIn('lb', 'nft', 'add', 'table', 'ip', table);
    runIn('lb', 'nft', `add chain ip ${table} pre { type nat hook prerouting priority dstnat; }`);
    runIn('lb', 'nft', `add rule ip ${table} pre ${rule}`);
    // Else tens of thousands of ended connections fill the table within a round.
    runIn('lb', 'sysctl', '-q', '-w', 'net.netfilter.nf_conntrack_tcp_timeout_time_wait=1');
    runIn('back', 'ip', 'route', 'replace', 'default', 'via', balancerAddress);
  }

  function end(way: TcpSubject['way']): void {
    if (way === 'xdp') {
      runIn('lb', 'ip', 'link', 'set', 'lb0', 'xdpdrv', 'off');
      runIn('router', 'ip', 'link', 'set', 'to-lb', 'xdpdrv', 'off');
    }
    if (way !== 'nat') return;
    runIn('lb', 'nft', 'delete', 'table', 'ip', table);
    runIn('back', 'ip', 'route', 'replace', 'default', 'via', routerAddress);
  }
}
