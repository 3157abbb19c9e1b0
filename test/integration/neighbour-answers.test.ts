/** ARP and neighbour solicitations for VIPs of the hosts' own segment: the program answers as the announcer would. */
import { answerFor, answerTable } from '@l4d/announcer/core/vrrp/answer-table.ts';
import { multicastMac } from '@l4d/announcer/core/vrrp/frame.ts';
import {
  decodeQuestion,
  encodeAnswer,
  solicitedNodeGroup,
} from '@l4d/announcer/core/vrrp/neighbour-message.ts';
import { updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, type Outcome, ownMac, type TestDataPlane } from '../../bpf/testing/data-plane.ts';
import {
  ethernet,
  etherType,
  icmp6,
  ipv6,
  join,
  mac,
  protocolNumber,
  word,
} from '../../bpf/testing/packet.ts';
import { six, vipOf } from '../../bpf/testing/world.ts';

let plane: TestDataPlane;

beforeAll(() => {
  plane = loadDataPlane({ dirtyHeadroom: true });
});

afterAll(() => plane.close());

const clientMac = '02:00:00:00:00:77';
const vips = { 4: '192.0.2.50', 6: '2001:db8:5::50' } as const;
const hosts = { 4: '192.0.2.', 6: '2001:db8:5::' } as const;
const broadcast = 'ff:ff:ff:ff:ff:ff';

beforeEach(() => plane.maps.setFeature('neighbours', true));

/** What the VRRP process writes. */
function serve(
  family: 4 | 6,
  vrids: readonly number[],
  isVirtual: boolean,
  owned: readonly number[],
  of = ownMac,
): void {
  const value = new Uint8Array(40);
  value.set(mac(of));
  value[6] = isVirtual ? 1 : 0;
  value[7] = vrids.length;
  value.set(vrids, 8);
  updateElement(plane.neighbours, toMappedBytes(ipAddress(vips[family])), value);
  for (const vrid of vrids) speak(family, vrid, owned.includes(vrid) ? 60_000 : 0);
}

function speak(family: 4 | 6, vrid: number, milliseconds: number): void {
  const key = new Uint8Array(Uint32Array.of((family === 4 ? 0 : 256) + vrid).buffer);
  const until = milliseconds === 0 ? 0n : process.hrtime.bigint() + BigInt(milliseconds) * 1_000_000n;
  updateElement(plane.neighbourOwners, key, new Uint8Array(BigUint64Array.of(until).buffer));
}

function arp(
  sender: string,
  target: string,
  operation = 1,
  to = broadcast,
  tags?: [number, number][],
): Uint8Array {
  return ethernet(
    { destination: to, source: clientMac, type: etherType.arp, ...(tags === undefined ? {} : { tags }) },
    join(
      ...[word(1), word(0x0800), word(0x0604), word(operation), mac(clientMac)],
      ...[ipAddress(sender).bytes, new Uint8Array(6), ipAddress(target).bytes, new Uint8Array(18)],
    ),
  );
}

function solicitation(
  source: string,
  target: string,
  options: Uint8Array = join(Uint8Array.of(1, 1), mac(clientMac)),
  changes: { hopLimit?: number; code?: number; to?: string; destination?: string } = {},
): Uint8Array {
  const destination = changes.destination ?? textOf(solicitedNodeGroup(ipAddress(target)).bytes);
  const ends = { source, destination };
  const message = icmp6(
    ends,
    135,
    changes.code ?? 0,
    new Uint8Array(4),
    join(ipAddress(target).bytes, options),
  );
  return ethernet(
    {
      destination: changes.to ?? formatMacAddress(multicastMac(ipAddress(destination))),
      source: clientMac,
      type: etherType.ipv6,
    },
    ipv6({ ...ends, nextHeader: protocolNumber.icmp6, hopLimit: changes.hopLimit ?? 255 }, message),
  );
}

const textOf = (bytes: Uint8Array) =>
  Array.from({ length: 8 }, (_, n) =>
    (((bytes[2 * n] ?? 0) << 8) | (bytes[2 * n + 1] ?? 0)).toString(16),
  ).join(':');
const question = (family: 4 | 6, client: string) =>
  family === 4 ? arp(client, vips[4]) : solicitation(client, vips[6]);
const summary = ({ action, reasons }: Outcome) => `${action} ${reasons.join()}`;

/** What the announcer's own code answers, padded as the question was. */
function expected(frame: Uint8Array, vrids: readonly number[], isVirtual: boolean, owned: readonly number[]) {
  const asked = decodeQuestion(frame);
  if (asked === undefined) throw new TypeError('no question');
  const entry = { address: asked.target, vrids, mac: isVirtual ? undefined : mac(ownMac) };
  const answer = answerFor(answerTable([entry]), asked.target, asked.client, (vrid) => owned.includes(vrid));
  if (answer === undefined) return undefined;
  const out = encodeAnswer(asked, answer.mac, answer.isShared);
  return asked.target.family === 4 ? join(out, new Uint8Array(frame.length - out.length)) : out;
}

describe.each([4, 6] as const)('IPv%s', (family) => {
  it('the owner answers with its own or the virtual MAC address, the others keep silent, and the stack hears nothing', () => {
    for (const isVirtual of [false, true]) {
      serve(family, [51], isVirtual, [51]);
      const asked = question(family, `${hosts[family]}7`);
      const outcome = plane.send(asked);
      expect(summary(outcome)).toBe('tx tx_neighbour');
      expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(expected(asked, [51], isVirtual, [51]) ?? []));
      serve(family, [51], isVirtual, []);
      expect(summary(plane.send(asked))).toBe('drop drop_neighbour');
    }
  });

  it('who may speak until a time does so no longer, whoever has died', async () => {
    serve(family, [51], true, []);
    const asked = question(family, `${hosts[family]}7`);
    speak(family, 51, 150);
    expect(summary(plane.send(asked))).toBe('tx tx_neighbour');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(summary(plane.send(asked))).toBe('drop drop_neighbour');
  });

  it('shared: each client is told the host that its address chooses, as the announcer would tell it', () => {
    const vrids = [61, 62, 63];
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 254 }), fc.subarray(vrids), (last, owned) => {
        serve(family, vrids, true, owned);
        const asked = question(family, `${hosts[family]}${family === 4 ? last : last.toString(16)}`);
        const wanted = expected(asked, vrids, true, owned);
        const outcome = plane.send(asked);
        seen.add(summary(outcome));
        expect(summary(outcome)).toBe(wanted === undefined ? 'drop drop_neighbour' : 'tx tx_neighbour');
        if (wanted !== undefined) expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(wanted));
      }),
      { numRuns: 200 },
    );
    expect(seen.size).toBe(2);
  });

  it('an address that is looked for before it is taken is defended', () => {
    serve(family, [51], false, [51]);
    const probe = question(family, family === 4 ? '0.0.0.0' : '::');
    const asked =
      family === 4 ? probe : solicitation('::', vips[6], join(Uint8Array.of(14, 1), new Uint8Array(6)));
    const outcome = plane.send(asked);
    expect(summary(outcome)).toBe('tx tx_neighbour');
    expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(expected(asked, [51], false, [51]) ?? []));
  });

  it('other addresses, other segments and other interfaces are the stack\u2019s', () => {
    serve(family, [51], true, [51]);
    const untouched = (packet: Uint8Array) => {
      const outcome = plane.send(packet);
      expect(outcome.action).toBe('pass');
      expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(packet));
    };
    const other = `${hosts[family]}99`;
    untouched(family === 4 ? arp(`${hosts[4]}7`, other) : solicitation(`${hosts[6]}7`, other));
    if (family === 4) untouched(arp(`${hosts[4]}7`, vips[4], 1, broadcast, [[etherType.vlan, 7]]));
    serve(family, [51], true, [51], '02:00:00:00:00:55');
    untouched(question(family, `${hosts[family]}7`));
    serve(family, [51], true, [51]);
    plane.maps.setFeature('neighbours', false);
    untouched(question(family, `${hosts[family]}7`));
  });
});

it('ARP: replies, and who names himself, are no questions', () => {
  serve(4, [51], true, [51]);
  for (const packet of [arp(`${hosts[4]}7`, vips[4], 2), arp(vips[4], vips[4])])
    expect(summary(plane.send(packet))).toBe('pass pass_not_ip');
});

it('solicitations: with and without options, to a group and to a MAC address of ours', () => {
  serve(6, [51], true, [51]);
  plane.forwarding.apply(vipOf(six, { address: ipAddress(vips[6]) }));
  const client = `${hosts[6]}7`;
  const padded = (frame: Uint8Array, bytes: number) => join(frame, new Uint8Array(bytes));
  for (const asked of [
    solicitation(client, vips[6], new Uint8Array(0)),
    solicitation(
      client,
      vips[6],
      join(Uint8Array.of(1, 1), mac(clientMac), Uint8Array.of(14, 1), new Uint8Array(6)),
    ),
    solicitation(client, vips[6], new Uint8Array(0), { to: ownMac, destination: vips[6] }),
    padded(solicitation(client, vips[6]), 20),
  ]) {
    const outcome = plane.send(asked);
    expect(summary(outcome)).toBe('tx tx_neighbour');
    expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(expected(asked, [51], true, [51]) ?? []));
  }
});

it('solicitations that are not right are dropped', () => {
  serve(6, [51], true, [51]);
  const client = `${hosts[6]}7`;
  const flipped = solicitation(client, vips[6]);
  flipped[flipped.length - 1] = (flipped[flipped.length - 1] ?? 0) ^ 1;
  for (const bad of [
    flipped,
    solicitation(client, vips[6], undefined, { hopLimit: 254 }),
    solicitation(client, vips[6], new Uint8Array(7)),
    solicitation(client, vips[6], new Uint8Array(136)),
  ])
    expect(summary(plane.send(bad))).toBe('drop drop_malformed');
  expect(plane.send(solicitation(client, vips[6], undefined, { code: 1 })).action).toBe('pass');
});
