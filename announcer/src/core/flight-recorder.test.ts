import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createByteRing } from './byte-ring.ts';
import { encodeMessage } from './codec/message.ts';
import { createFlightRecorder, recorderBounds } from './flight-recorder.ts';
import { entryFromJson, entryToJson } from './record-json.ts';
import { createRecorders, maxPastRecorders } from './recorders.ts';

const keepalive = encodeMessage({ type: 'keepalive' });
const update = encodeMessage({ type: 'update', withdrawn: [], attributes: [], nlri: [] });
const cease = encodeMessage({ type: 'notification', code: 6, subcode: 4, data: new Uint8Array(0) });

describe('byte ring', () => {
  it('holds the newest records that fit, whole and in order, whatever their lengths', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 200 }), (bodies) => {
        const ring = createByteRing(256);
        const head = Uint8Array.of(7);
        for (const body of bodies) ring.push(head, body);
        const records = ring.records();
        const kept = bodies.slice(bodies.length - records.length);
        expect(records.map((record) => [...record])).toEqual(kept.map((body) => [7, ...body]));
        expect(ring.evicted).toBe(bodies.length - records.length);
        expect(ring.heldBytes).toBeLessThanOrEqual(256);
        // No record was pushed out that there was room for.
        const next = bodies.at(-records.length - 1);
        const used = kept.reduce((sum, body) => sum + body.length + 5, 0);
        if (next !== undefined) expect(used + next.length + 5).toBeGreaterThan(256);
      }),
      { numRuns: 200 },
    );
  });

  it('a record longer than the bound is not taken, and takes nothing with it', () => {
    const ring = createByteRing(64);
    ring.push(new Uint8Array(0), Uint8Array.of(1));
    ring.push(new Uint8Array(0), new Uint8Array(61));
    expect(ring.records()).toEqual([Uint8Array.of(1)]);
    expect(ring.evicted).toBe(1);
  });
});

describe('flight recorder', () => {
  it('tells messages and events in the order they came, with their octets', () => {
    const recorder = createFlightRecorder();
    recorder.event(1.5, { kind: 'state', from: 'Idle', to: 'Connect' });
    recorder.message(2, 'sent', 70_000, keepalive);
    recorder.message(3, 'received', 70_000, cease);
    recorder.bfdPacket(4, 'received', 3784, Uint8Array.of(0x20, 0x40));
    const entries = recorder.entries();
    expect(entries).toEqual([
      { sequence: 1, at: 1.5, kind: 'state', from: 'Idle', to: 'Connect' },
      { sequence: 2, at: 2, kind: 'message', direction: 'sent', connection: 70_000, bytes: keepalive },
      { sequence: 3, at: 3, kind: 'message', direction: 'received', connection: 70_000, bytes: cease },
      {
        sequence: 4,
        at: 4,
        kind: 'bfd-packet',
        direction: 'received',
        port: 3784,
        bytes: Uint8Array.of(0x20, 0x40),
      },
    ]);
    expect(recorder.entries(2, 1).map(({ sequence }) => sequence)).toEqual([3]);
    expect(
      entries.map((entry) => entryFromJson(JSON.parse(JSON.stringify(entryToJson(entry, (at) => at))))),
    ).toEqual(entries);
  });

  it('a flood of updates pushes out no OPEN, NOTIFICATION or state, and memory stays bounded', () => {
    const recorder = createFlightRecorder();
    recorder.event(0, { kind: 'state', from: 'Idle', to: 'Connect' });
    recorder.message(0, 'received', 1, cease);
    for (let i = 1; i < 20_000; i++) recorder.message(i, 'received', 1, update);
    const entries = recorder.entries();
    expect(entries[0]).toMatchObject({ kind: 'state' });
    expect(entries[1]).toMatchObject({ kind: 'message', bytes: cease });
    expect(entries.at(-1)?.at).toBe(19_999);
    expect(recorder.evicted()).toBe(20_001 - entries.length);
    const { messages, events, bfd } = recorderBounds;
    expect(recorder.heldBytes()).toBeLessThanOrEqual(messages + events + bfd);
  });

  it('does not hold on to the memory that a message was read into', () => {
    const recorder = createFlightRecorder();
    const chunk = Uint8Array.from(keepalive);
    recorder.message(0, 'received', 1, chunk);
    chunk.fill(0);
    expect(recorder.entries()[0]).toMatchObject({ bytes: keepalive });
  });

  it('cuts what is no BGP', () => {
    const recorder = createFlightRecorder();
    recorder.message(0, 'received', 1, new Uint8Array(100_000));
    expect(recorder.entries()[0]).toMatchObject({ bytes: new Uint8Array(512) });
  });
});

it('records of removed peers stay, the last of them', () => {
  const recorders = createRecorders({ messages: 1024, events: 1024, bfd: 1024 });
  recorders.take('10.0.0.1').event(0, { kind: 'error', text: 'gone' });
  recorders.release('10.0.0.1');
  expect(recorders.find('10.0.0.1')?.entries()).toHaveLength(1);
  expect(recorders.take('10.0.0.1').entries()).toHaveLength(1);
  recorders.release('10.0.0.1');
  for (let i = 0; i < maxPastRecorders; i++) {
    recorders.take(`10.1.0.${i}`);
    recorders.release(`10.1.0.${i}`);
  }
  expect(recorders.find('10.0.0.1')).toBeUndefined();
  expect(recorders.past()).toHaveLength(maxPastRecorders);
});
