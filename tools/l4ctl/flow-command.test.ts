import type { FlowView } from '@l4d/l4d/core/forwarding/flow-query.ts';
import { expect, test } from 'vitest';
import { renderFlow, renderFlows } from './flow-command.ts';

const flow: FlowView = {
  table: 'cpu',
  cpu: 1,
  protocol: 'tcp',
  client: '2001:db8::7',
  clientPort: 40_000,
  vip: 'web',
  vipAddress: '2001:db8:1::10',
  vipPort: 80,
  backend: 'fd00::21',
  state: 'active',
  idleSeconds: 3,
  leftSeconds: 897,
};
const translated: FlowView = {
  table: 'nat',
  protocol: 'udp',
  client: '198.51.100.7',
  clientPort: 5353,
  vip: 'dns',
  vipAddress: '203.0.113.10',
  vipPort: 53,
  backend: '10.0.0.21',
  state: 'opening',
  idleSeconds: 0,
  leftSeconds: 30,
  nat: { source: '10.0.0.11', sourcePort: 20_000, backendPort: 5300 },
};
const { vip: _, vipAddress: __, backend: ___, ...nameless } = flow;
const stale: FlowView = { ...nameless, protocol: 'unknown', state: 'stale', leftSeconds: 0 };

test('a line for each entry, and whether there may be more', () => {
  const lines = renderFlows({ flows: [flow, translated, stale], looked: 70, truncated: true })
    .trimEnd()
    .split('\n');
  expect(lines.map((line) => line.split(/ {2,}/))).toEqual([
    [
      'PROTOCOL',
      'CLIENT',
      'VIP',
      'ADDRESS',
      'BACKEND',
      'STATE',
      'IDLE',
      'LEFT',
      'TABLE',
      'SEEN BY THE BACKEND AS',
    ],
    ['tcp', '[2001:db8::7]:40000', 'web', '[2001:db8:1::10]:80', 'fd00::21', 'active', '3s', '897s', 'cpu 1'],
    [
      'udp',
      '198.51.100.7:5353',
      'dns',
      '203.0.113.10:53',
      '10.0.0.21:5300',
      'opening',
      '0s',
      '30s',
      'nat',
      '10.0.0.11:20000',
    ],
    ['unknown', '[2001:db8::7]:40000', '-', 'port 80', '-', 'stale', '3s', '0s', 'cpu 1'],
    ['3 of 70 entries that were looked at, there may be more: --limit, or narrower'],
  ]);
});

test('one entry in full', () => {
  expect(renderFlow(translated)).toBe(
    `udp 198.51.100.7:5353 -> 203.0.113.10:53 (dns)
  backend  10.0.0.21:5300
  state    opening, idle 0s, forgotten in 30s without a packet
  table    nat
  seen as  10.0.0.11:20000
`,
  );
  expect(renderFlow(stale)).toContain('gone: its next packet is placed anew');
});
