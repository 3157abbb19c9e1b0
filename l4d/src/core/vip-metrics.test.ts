import { expect, test } from 'vitest';
import { countedState } from './counted-vips.fixture.ts';
import { parseDesiredState } from './desired-state.ts';
import { type VipMetricSource, vipMetrics } from './vip-metrics.ts';

function source(
  vips: object[] | VipMetricSource['vips'],
  more: Partial<VipMetricSource> = {},
): VipMetricSource {
  const parsed = parseDesiredState({ version: 1, vips });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return {
    vips: parsed.value.vips,
    shown: () => ({ announced: true, code: 'announced' }),
    up: () => [true, false],
    returnPath: () => true,
    activeFlows: () => 7,
    counters: {
      class: () => undefined,
      vip: () => 5,
      backend: (_identity, _address, place) => (place === 0 ? 3 : undefined),
    },
    ...more,
  };
}

const samples = (text: string) => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test('every number of a VIP and its backends has a line under its family', () => {
  const text = [
    ...vipMetrics(
      source([
        {
          name: 'web',
          address: '203.0.113.1',
          port: 80,
          scheduler: 'least-connections',
          backends: [{ address: '10.0.0.1' }, { address: '2001:db8::1', forward: 'ipip' }],
        },
      ]),
    ),
  ].join('');
  expect(samples(text)).toEqual([
    'l4d_vip_verdict{vip="web",code="announced"} 1',
    'l4d_vip_announced{vip="web"} 1',
    'l4d_vip_packets_total{vip="web"} 5',
    'l4d_vip_bytes_total{vip="web"} 5',
    'l4d_vip_flows_total{vip="web"} 5',
    'l4d_backend_up{vip="web",backend="10.0.0.1"} 1',
    'l4d_backend_up{vip="web",backend="2001:db8::1"} 0',
    'l4d_backend_packets_total{vip="web",backend="10.0.0.1"} 3',
    'l4d_backend_bytes_total{vip="web",backend="10.0.0.1"} 3',
    'l4d_backend_flows_total{vip="web",backend="10.0.0.1"} 3',
    'l4d_backend_active_flows{vip="web",backend="10.0.0.1"} 7',
    'l4d_backend_active_flows{vip="web",backend="2001:db8::1"} 7',
  ]);
  expect(text).toContain(
    '\n# HELP l4d_vip_packets_total Packets forwarded\n# TYPE l4d_vip_packets_total counter\n',
  );
});

test('a backend of several pools is told once, and a VIP that nobody has looked at not', () => {
  const pools = {
    name: 'app',
    address: '203.0.113.2',
    port: 443,
    policy: 'l7',
    backends: [
      { address: '10.0.0.1', port: 8080, pool: 'a' },
      { address: '10.0.0.1', port: 8080, pool: 'b' },
    ],
    routes: [
      { pathPrefix: '/', pool: 'a' },
      { host: 'b.example', pool: 'b' },
    ],
  };
  const text = [...vipMetrics(source([pools], { shown: () => undefined }))].join('');
  expect(samples(text).filter((line) => line.startsWith('l4d_backend_up'))).toEqual([
    'l4d_backend_up{vip="app",backend="10.0.0.1 port 8080"} 1',
  ]);
  expect(text).not.toContain('l4d_vip_verdict{');
});

test('the text of many VIPs comes in parts of bounded length, and is asked for as it is taken', () => {
  const { state } = countedState(2000);
  let asked = 0;
  const parts = vipMetrics(
    source([], {
      vips: state.vips,
      counters: {
        class: () => undefined,
        vip: () => 1,
        backend() {
          asked += 1;
          return 2 ** 40;
        },
      },
    }),
  );
  const first = parts.next().value ?? '';
  expect(first.length).toBeLessThan(70_000);
  expect(asked).toBe(0);
  const rest = [...parts];
  expect(rest.every((part) => part.length < 70_000)).toBe(true);
  expect(samples(first + rest.join(''))).toHaveLength(2000 * 5 + 4000 * 4);
});

test('a VIP with classes tells of what did not go to backends', () => {
  const counters = {
    vip: () => 5,
    backend: () => 3,
    class: (_: string, of: 'l7' | 'drop') => (of === 'l7' ? 2 : 1),
  };
  const vip = { name: 'web', address: '203.0.113.1', port: 80, backends: [{ address: '10.0.0.1' }] };
  const text = [...vipMetrics(source([vip], { counters }))].join('');
  expect(samples(text).filter((line) => line.includes('class'))).toEqual(
    ['packets', 'bytes', 'connections'].flatMap((what) => [
      `l4d_vip_class_${what}_total{vip="web",class="l7"} 2`,
      `l4d_vip_class_${what}_total{vip="web",class="drop"} 1`,
    ]),
  );
});
