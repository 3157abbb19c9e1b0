import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import type { WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { derivedMac } from '@l4d/l4d/core/forwarding/vxlan-end.ts';
import { objectPath, objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { loadDataPlane, type TestDataPlane, testEgress, xdpAction } from '../../bpf/testing/data-plane.ts';
import { backendPort, endsOfConnection, frameOf, type Hop, leg } from '../../bpf/testing/nat-packets.ts';
import { counting, tcpFlag } from '../../bpf/testing/packet.ts';
import {
  backend,
  type Family,
  families,
  four,
  six,
  tcpFrame,
  udpFrame,
  vipOf,
} from '../../bpf/testing/world.ts';
import { addClassedVips, classPackets } from './class-packets.ts';
import { type BenchResult, type BenchRow, summarize } from './core/rows.ts';
import { addSchedulingVips, schedulingPackets } from './scheduling-packets.ts';

/**
 * Nanoseconds a packet, by BPF_PROG_TEST_RUN: totals of wrapper and program, on one CPU without a
 * driver. The wrapper restores the packet and varies its source (bpf/bench_wrapper.bpf.c).
 */

/** Rounds over all cases, so that a slow minute of the machine meets every case. */
const rounds = 5;
const repeats = 1_000_000;

/** 64 bytes without frame check sequence, IPv6 80; the wrapper's sizes. */
const packet = {
  tcp4: tcpFrame(four, {}, counting(10)),
  syn4: tcpFrame(four, { flags: tcpFlag.syn }, counting(10)),
  udp4: udpFrame(four, counting(22)),
  tcp6: tcpFrame(six, {}, counting(6)),
  other4: tcpFrame(four, {}, counting(10), { destination: four.host }),
} as const;

/** Ports of the VIPs whose backends are tunnelled; the outer header is of the VIP's family. */
const tunnelPort = { ipip: 81, gue: 82, vxlan: 93 } as const;
/** Of the VIPs whose backend is behind another interface. */
const otherPort = 94;
const otherNumber = 5;

const tunnelled = {
  ipip4: tcpFrame(four, { destinationPort: tunnelPort.ipip }, counting(10)),
  ipip6: tcpFrame(six, { destinationPort: tunnelPort.ipip }, counting(6)),
  gue4: tcpFrame(four, { destinationPort: tunnelPort.gue }, counting(10)),
  gue6: tcpFrame(six, { destinationPort: tunnelPort.gue }, counting(6)),
  vxlan4: tcpFrame(four, { destinationPort: tunnelPort.vxlan }, counting(10)),
  vxlan6: tcpFrame(six, { destinationPort: tunnelPort.vxlan }, counting(6)),
  other4: tcpFrame(four, { destinationPort: otherPort }, counting(10)),
} as const;

/** Datagrams by NAT, to the VIP and to this host. The data plane of tests has one port for it, so it is known. */
const natVipPort = 83;
const natFrame = (family: Family, hop: Hop, direction: 'request' | 'answer') => {
  const ends = endsOfConnection(family)[direction];
  const payload = counting(family === four ? 22 : 18);
  return frameOf(hop, direction === 'request' ? { ...ends, destinationPort: natVipPort } : ends, {
    kind: 'udp',
    payload,
  });
};

/** A segment of a connection by NAT, of its own VIP. */
const natTcpPort = 96;
const natSegment = (
  family: Family,
  hop: Hop,
  direction: 'request' | 'answer',
  flags: number = tcpFlag.ack,
) => {
  const ends = endsOfConnection(family)[direction];
  const content = { kind: 'tcp', parts: { flags }, payload: counting(family === four ? 10 : 6) } as const;
  return frameOf(hop, direction === 'request' ? { ...ends, destinationPort: natTcpPort } : ends, content);
};

interface Case {
  readonly name: string;
  readonly subject: 'l4d' | 'floor';
  readonly frame: Uint8Array;
  /** Program behind the wrapper, or run alone. */
  readonly program: number;
  readonly wrapped: boolean;
  /** Sources that take turns. */
  readonly flows: number;
  readonly action: 'pass' | 'drop' | 'tx' | 'redirect';
}

/** As many as the source's varied bits can tell apart. */
const alwaysNew = 0xffffffff;
const defaultFlows = 262_144;
const million = 1_000_000;

/** Runs all cases. Needs root. Throws OperatorError, SyscallError. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  const wrapper = loadWrapper();
  const planes = {
    usual: plane(defaultFlows),
    million: plane(2 * million),
    fresh: plane(defaultFlows),
    limited: plane(defaultFlows),
    byCpu: plane(defaultFlows, true),
    withoutNat: plane(defaultFlows, false, true),
  };
  // What a host of that size has by default, without what may come at once.
  planes.limited.maps.writeFlowSettings({ insertsPerSecond: 4369, burst: 1 });
  try {
    const cases = casesOf(wrapper, planes);
    const samples = cases.map((): number[] => []);
    for (const one of cases) {
      // Fills flow table and caches.
      if (one.flows !== alwaysNew) wrapper.measure(one, 2 * Math.max(one.flows, 1000));
    }
    for (let round = 1; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`);
      for (const [index, one] of cases.entries()) samples[index]?.push(wrapper.measure(one, repeats));
    }
    const rows = cases.map((one, index): BenchRow => {
      const row = { case: one.name, subject: one.subject, metric: 'time a packet', unit: 'ns' };
      return { bench: 'datapath', ...row, ...summarize(samples[index] ?? []) };
    });
    rows.push({
      bench: 'datapath',
      case: 'load (verify and compile, small maps)',
      subject: 'l4d',
      metric: 'time',
      unit: 'ms',
      ...summarize(Array.from({ length: rounds }, loadMilliseconds)),
    });
    return { rows, missing: [{ subject: 'Katran', reason: 'no package of it can be installed here' }] };
  } finally {
    for (const one of Object.values(planes)) one.unload();
    wrapper.close();
  }
}

/** VIPs of every kind; `withoutNat`: all but those with NAT, of which the host's own packets are asked too. */
function plane(flows4: number, tableByCpu = false, withoutNat = false): TestDataPlane {
  const loaded = loadDataPlane({ flows4, tableByCpu, embryonic: 16_384 });
  addSchedulingVips(loaded);
  addClassedVips(loaded);
  for (const family of families) {
    loaded.forwarding.apply(vipOf(family));
    loaded.forwarding.apply(vipOf(family, { protocol: 'udp' }));
    const behind = [backend(family, 0, { forward: 'nat', port: backendPort })];
    if (!withoutNat)
      loaded.forwarding.apply(vipOf(family, { port: natVipPort, protocol: 'udp', backends: behind }));
    if (!withoutNat) beginByNat(loaded, family, behind);
    for (const forward of ['ipip', 'gue'] as const) {
      const backends = [backend(family, 0, { forward })];
      loaded.forwarding.apply(vipOf(family, { port: tunnelPort[forward], backends }));
    }
    const [address] = family.backends;
    const vxlan = { remote: ipAddress(address), vni: 42, mac: derivedMac(ipAddress(address)) };
    loaded.forwarding.apply(
      vipOf(family, { port: tunnelPort.vxlan, backends: [backend(family, 0, { forward: 'vxlan', vxlan })] }),
    );
    loaded.maps.writeEgress(otherNumber, { ...testEgress(), name: 'other' });
    loaded.forwarding.apply(
      vipOf(family, { port: otherPort, backends: [backend(family, 0, { egress: otherNumber })] }),
    );
  }
  return loaded;
}

/** A connection that both sides have spoken on. */
function beginByNat(loaded: TestDataPlane, family: Family, backends: WantedVip['backends']): void {
  loaded.forwarding.apply(vipOf(family, { port: natTcpPort, backends }));
  loaded.send(natSegment(family, leg.fromClient, 'request', tcpFlag.syn));
  loaded.send(natSegment(family, leg.fromBackend, 'answer', tcpFlag.syn | tcpFlag.ack));
}

function loadMilliseconds(): number {
  const begun = performance.now();
  const loaded = loadDataPlane();
  const took = performance.now() - begun;
  loaded.unload();
  return took;
}

function casesOf(
  wrapper: ReturnType<typeof loadWrapper>,
  planes: Readonly<Record<'usual' | 'million' | 'fresh' | 'limited' | 'byCpu' | 'withoutNat', TestDataPlane>>,
): Case[] {
  const l4d = (name: string, frame: Uint8Array, changes: Partial<Case> = {}): Case => ({
    name,
    subject: 'l4d',
    frame,
    program: planes.usual.program,
    wrapped: true,
    flows: 1,
    action: 'tx',
    ...changes,
  });
  const floor = { subject: 'floor', program: wrapper.tx } as const;
  return [
    l4d('PASS', packet.tcp4, { subject: 'floor', program: wrapper.pass, wrapped: false, action: 'pass' }),
    l4d('wrapper and TX', packet.tcp4, floor),
    l4d('wrapper and TX, sources vary', packet.tcp4, { ...floor, flows: 65_536 }),
    l4d('wrapper and TX, IPv6', packet.tcp6, floor),
    l4d('not a VIP (no wrapper)', packet.other4, {
      wrapped: false,
      action: 'pass',
      program: planes.withoutNat.program,
    }),
    l4d('not a VIP, with VIPs that use NAT (no wrapper)', packet.other4, { wrapped: false, action: 'pass' }),
    l4d('TCP flow hit', packet.tcp4),
    l4d('IPv6 flow hit', packet.tcp6),
    l4d('UDP flow hit', packet.udp4),
    l4d('TCP flow hit, IPIP', tunnelled.ipip4),
    l4d('IPv6 flow hit, IPv6 in IPv6', tunnelled.ipip6),
    l4d('TCP flow hit, GUE', tunnelled.gue4),
    l4d('IPv6 flow hit, GUE over IPv6 with its checksum', tunnelled.gue6),
    l4d('TCP flow hit, VXLAN', tunnelled.vxlan4),
    l4d('IPv6 flow hit, VXLAN over IPv6 with its checksum', tunnelled.vxlan6),
    l4d('TCP flow hit, by another interface', tunnelled.other4, { action: 'redirect' }),
    ...families.flatMap((family) => {
      const [name, tcpName] = family === four ? ['UDP', 'TCP'] : ['IPv6 UDP', 'IPv6 TCP'];
      return [
        l4d(`${name} flow hit, NAT to the backend`, natFrame(family, leg.fromClient, 'request')),
        l4d(`${name} flow hit, NAT back to the client`, natFrame(family, leg.fromBackend, 'answer')),
        l4d(`${tcpName} flow hit, NAT to the backend`, natSegment(family, leg.fromClient, 'request')),
        l4d(`${tcpName} flow hit, NAT back to the client`, natSegment(family, leg.fromBackend, 'answer')),
      ];
    }),
    l4d('SYN, not stored', packet.syn4, { flows: alwaysNew }),
    l4d('65,536 flows', packet.tcp4, { flows: 65_536 }),
    l4d('1,000,000 flows (room for 2,000,000)', packet.tcp4, {
      flows: million,
      program: planes.million.program,
    }),
    l4d('new flow, stored (room for 262,144)', packet.tcp4, {
      flows: alwaysNew,
      program: planes.fresh.program,
    }),
    l4d('new flow, faster than may be stored', packet.tcp4, {
      flows: alwaysNew,
      program: planes.limited.program,
    }),
    l4d('classes, 1,000 prefixes: TCP flow hit', classPackets.forward4),
    l4d('classes, 1,000 prefixes: IPv6 flow hit', classPackets.forward6),
    l4d('classes, 1,000 prefixes, some for the proxy: TCP flow hit', classPackets.mixed4),
    l4d('classes, 1,000 prefixes: dropped', classPackets.drop4, { action: 'drop' }),
    l4d('classes, 1,000 prefixes: dropped, IPv6', classPackets.drop6, { action: 'drop' }),
    l4d('classes, 1,000 prefixes: to the proxy', classPackets.l7, { action: 'pass' }),
    l4d('stateless, one flow', schedulingPackets.stateless),
    l4d('stateless, 1,000,000 flows', schedulingPackets.stateless, { flows: million }),
    l4d('a table for each CPU, flow hit', packet.tcp4, { program: planes.byCpu.program }),
    l4d('a table for each CPU, 65,536 flows', packet.tcp4, { flows: 65_536, program: planes.byCpu.program }),
    l4d('wrr, flow hit', schedulingPackets.turn),
    l4d('wrr, SYN kept apart', schedulingPackets.turnSyn, { flows: alwaysNew }),
    l4d('least-connections, flow hit', schedulingPackets.load),
    l4d('least-connections, SYN kept apart', schedulingPackets.loadSyn, { flows: alwaysNew }),
    l4d('QUIC by connection id', schedulingPackets.quic),
    l4d('QUIC by connection id, 1,000,000 sources', schedulingPackets.quic, { flows: million }),
  ];
}

function loadWrapper() {
  const object = libbpf.openObject(objectPath('bench_wrapper'));
  libbpf.loadObject(object, 'bench_wrapper');
  const layout = structLayout(objectTypes('bench_wrapper'), 'bench_config');
  const roomForFrame = layout.fields.get('frame')?.count ?? 0;
  const program = (name: string) => libbpf.programFd(object, name);
  const key = new Uint8Array(4);
  return {
    pass: program('bench_pass'),
    tx: program('bench_tx'),

    /** Mean nanoseconds of one case over so many repeats. Throws a TypeError when a packet went another way. */
    measure(one: Case, count: number): number {
      const frame = new Uint8Array(roomForFrame);
      frame.set(one.frame);
      // Turns go on where another case left them: sources that were never seen stay so.
      const turn = one.flows === alwaysNew ? nextTurn() : 0;
      libbpf.updateElement(
        libbpf.mapFd(object, 'bench_config'),
        key,
        encodeStruct(layout, { flows: one.flows, turn, frame }),
      );
      const programToRun = new Uint8Array(Uint32Array.of(one.program).buffer);
      libbpf.updateElement(libbpf.mapFd(object, 'bench_program'), key, programToRun);
      const outer = one.wrapped
        ? program(one.frame.length === packet.tcp6.length ? 'bench_wrap6' : 'bench_wrap4')
        : one.program;
      const result = libbpf.testRun(outer, one.frame, count);
      const action = xdpAction[result.action];
      if (action !== one.action)
        throw new TypeError(`${one.name}: the packet went ${action}, not ${one.action}`);
      return result.nanoseconds;
    },

    close: () => libbpf.closeObject(object),
  };
}

let turns = 0;

/** First of as many turns as a measurement has repeats, never given before. */
function nextTurn(): number {
  turns += repeats;
  return turns;
}
