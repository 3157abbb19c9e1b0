import { expect, it } from 'vitest';
import { type BfdTrailEntry, createBfdTrail, packetsAfter, packetsBefore, withoutSecrets } from './trail.ts';

it('tells of the packets around a change of state, and of nothing in between', () => {
  let now = 0;
  const told: BfdTrailEntry[] = [];
  const trail = createBfdTrail(
    () => now,
    3784,
    (entries) => told.push(...entries),
  );
  const packets = (count: number) => {
    for (let i = 0; i < count; i++) {
      now += 1;
      trail.packet('received', Uint8Array.of(now));
    }
  };
  packets(100);
  expect(told).toEqual([]);
  trail.changed('Up', 'Down', 'control detection time expired');
  packets(100);
  expect(told.map(({ atMs }) => atMs)).toEqual([
    ...Array.from({ length: packetsBefore }, (_, i) => 101 - packetsBefore + i),
    100,
    ...Array.from({ length: packetsAfter }, (_, i) => 101 + i),
  ]);
  expect(told[packetsBefore]).toMatchObject({ kind: 'bfd-state', from: 'Up', to: 'Down' });
});

it('neither a password nor a digest made with one is recorded', () => {
  const header = new Uint8Array(24).fill(0x20);
  const packet = (...section: number[]) => Uint8Array.from([...header, ...section]);
  // RFC 5880 section 4.2: type 1, length, key id, password.
  expect([...withoutSecrets(packet(1, 9, 2, 0x73, 0x65, 0x63, 0x72, 0x65, 0x74)).subarray(24)]).toEqual([
    1, 9, 2, 0, 0, 0, 0, 0, 0,
  ]);
  // Section 4.3: type 2, length, key id, reserved, sequence number, digest.
  const digest = new Array<number>(16).fill(7);
  expect([...withoutSecrets(packet(2, 24, 1, 0, 0, 0, 0, 5, ...digest)).subarray(24)]).toEqual([
    2,
    24,
    1,
    0,
    0,
    0,
    0,
    5,
    ...new Array<number>(16).fill(0),
  ]);
  expect(withoutSecrets(header)).toEqual(header);
});
