import { describe, expect, it } from 'vitest';
import { encodeMessage } from './codec/message.ts';
import type { RecordEntry } from './flight-recorder.ts';
import { announcerMetrics } from './metric-families.ts';
import { metricText } from './metric-text.ts';
import { toPcapng } from './pcap.ts';

const keepalive = encodeMessage({ type: 'keepalive' });
const ends = { local: '10.0.0.2', localPort: 40000, remote: '10.0.0.1', remotePort: 179 };

/** Blocks of a capture file: type, and body. */
function blocks(file: Uint8Array): { type: number; body: Uint8Array }[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const found: { type: number; body: Uint8Array }[] = [];
  for (let at = 0; at < file.length; ) {
    const length = view.getUint32(at + 4);
    expect(view.getUint32(at + length - 4)).toBe(length);
    found.push({ type: view.getUint32(at), body: file.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return found;
}

/** The frames, with sequence and acknowledgement number. */
function segments(file: Uint8Array) {
  return blocks(file)
    .filter(({ type }) => type === 6)
    .map(({ body }) => {
      const view = new DataView(body.buffer, body.byteOffset, body.length);
      const at = 20 + 14 + 20;
      const data = view.getUint16(20 + 14 + 2) - 40;
      return { sequence: view.getUint32(at + 4), acknowledged: view.getUint32(at + 8), data };
    });
}

describe('capture file', () => {
  it('sequence numbers follow on each other, over segments too', () => {
    const long = encodeMessage({
      type: 'notification',
      code: 6,
      subcode: 0,
      data: new Uint8Array(4000),
    });
    const entries: RecordEntry[] = [
      { sequence: 1, at: 1, kind: 'connected', connection: 1, incoming: false, ...ends },
      { sequence: 2, at: 2, kind: 'message', direction: 'sent', connection: 1, bytes: keepalive },
      { sequence: 3, at: 3, kind: 'message', direction: 'received', connection: 1, bytes: long },
      { sequence: 4, at: 4, kind: 'message', direction: 'sent', connection: 1, bytes: keepalive },
    ];
    expect(segments(toPcapng('10.0.0.1', entries))).toEqual([
      { sequence: 0, acknowledged: 0, data: 0 },
      { sequence: 0, acknowledged: 1, data: 0 },
      { sequence: 1, acknowledged: 1, data: 0 },
      { sequence: 1, acknowledged: 1, data: 19 },
      { sequence: 1, acknowledged: 20, data: 1440 },
      { sequence: 1441, acknowledged: 20, data: 1440 },
      { sequence: 2881, acknowledged: 20, data: 1141 },
      { sequence: 20, acknowledged: 4022, data: 19 },
    ]);
  });

  it('states are comments on the packet after them, or on the last; without packets on the file', () => {
    const state: RecordEntry = { sequence: 1, at: 1, kind: 'state', from: 'Idle', to: 'Connect' };
    const text = (file: Uint8Array) => new TextDecoder('latin1').decode(file);
    expect(text(toPcapng('10.0.0.1', [state]))).toContain('BGP Idle -> Connect');
    const message: RecordEntry = {
      sequence: 2,
      at: 2,
      kind: 'message',
      direction: 'sent',
      connection: 9,
      bytes: keepalive,
    };
    const [, , first] = blocks(toPcapng('10.0.0.1', [state, message]));
    expect(text(first?.body ?? new Uint8Array(0))).toContain('BGP Idle -> Connect');
    expect(blocks(toPcapng('10.0.0.1', [message, { ...state, sequence: 3 }]))).toHaveLength(3);
  });

  it('keeps microseconds', () => {
    const at = 1_763_683_200_123.456;
    const file = toPcapng('10.0.0.1', [
      { sequence: 1, at, kind: 'message', direction: 'sent', connection: 1, bytes: keepalive },
    ]);
    const body = blocks(file)[2]?.body ?? new Uint8Array(0);
    const view = new DataView(body.buffer, body.byteOffset);
    expect(view.getUint32(4) * 2 ** 32 + view.getUint32(8)).toBe(1_763_683_200_123_456);
  });
});

it('metrics are text of the status; families without samples are left out', () => {
  const one = { open: 1, update: 2, notification: 0, keepalive: 3, routeRefresh: 0, other: 0 };
  const peer = {
    address: '10.0.0.1',
    state: 'Established',
    prefixesReceived: 0,
    prefixesAdvertised: 5,
    flaps: 1,
    messages: { sent: one, received: one },
  };
  const text = metricText(announcerMetrics({ peers: [peer] }));
  expect(text).toContain('# TYPE l4d_bgp_session_up gauge\nl4d_bgp_session_up{peer="10.0.0.1"} 1\n');
  expect(text).toContain('l4d_bgp_updates_total{peer="10.0.0.1"} 2\n');
  expect(text).toContain('l4d_bgp_total_sent{peer="10.0.0.1"} 6\n');
  expect(text).not.toContain('l4d_bfd');
  expect(
    metricText([{ name: 'a', help: 'b', type: 'gauge', samples: [{ labels: { x: '"\\\n' }, value: 1 }] }]),
  ).toBe('# HELP a b\n# TYPE a gauge\na{x="\\"\\\\\\n"} 1\n');
});
