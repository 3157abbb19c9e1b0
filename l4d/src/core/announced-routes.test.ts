import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { announcedRoutes, routePrefix } from './announced-routes.ts';
import type { Aggregate } from './desired/aggregate.ts';
import { parseDesiredState } from './desired-state.ts';

function vipsOf(...declared: object[]) {
  const backends = [{ address: '10.0.0.1' }];
  const parsed = parseDesiredState({
    version: 1,
    vips: declared.map((vip) => ({ address: '203.0.113.1', port: 80, backends, ...vip })),
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.vips;
}

const covering = (more: Partial<Aggregate> = {}): Aggregate => ({
  prefix: ipPrefix('203.0.113.0/24'),
  summaryOnly: true,
  ...more,
});

test('VIPs of one address leave when all of them leave', () => {
  const [one, other] = vipsOf({}, { port: 81 });
  if (one === undefined || other === undefined) throw new Error('two VIPs');
  const parts = { declared: [one, other], aggregates: [] };
  const leaving = [{ address: other.address, announce: undefined }];
  expect(announcedRoutes({ ...parts, announced: [one], leaving })).toEqual([{ prefix: '203.0.113.1/32' }]);
  expect(announcedRoutes({ ...parts, announced: [], leaving })).toEqual([
    { prefix: '203.0.113.1/32', communities: ['65535:0'], localPref: 0 },
  ]);
});

test('a VIP that leaves keeps its attributes, also when it is declared no more', () => {
  const [vip] = vipsOf({ announce: { med: 3, communities: ['65001:7'], localPref: 200 } });
  const leaving = vip === undefined ? [] : [{ address: vip.address, announce: vip.announce }];
  expect(announcedRoutes({ declared: [], announced: [], leaving, aggregates: [] })).toEqual([
    { prefix: '203.0.113.1/32', med: 3, communities: ['65001:7', '65535:0'], localPref: 0 },
  ]);
});

test('a covering prefix lives while any VIP within it does, with attributes of its own', () => {
  const vips = vipsOf({ announce: { med: 3 } }, { address: '203.0.113.2' }, { address: '198.51.100.1' });
  const [, second, outside] = vips;
  const aggregates = [covering({ announce: { med: 10 } })];
  const all = { declared: vips, announced: vips, leaving: [], aggregates };
  expect(announcedRoutes(all)).toEqual([
    { prefix: '198.51.100.1/32' },
    { prefix: '203.0.113.0/24', med: 10 },
  ]);
  expect(announcedRoutes({ ...all, aggregates: [covering({ summaryOnly: false })] })).toEqual([
    { prefix: '198.51.100.1/32' },
    { prefix: '203.0.113.0/24' },
    { prefix: '203.0.113.1/32', med: 3 },
    { prefix: '203.0.113.2/32' },
  ]);
  const leaving = second === undefined ? [] : [{ address: second.address, announce: undefined }];
  expect(announcedRoutes({ ...all, announced: [], leaving })).toEqual([
    { prefix: '203.0.113.0/24', med: 10, communities: ['65535:0'], localPref: 0 },
  ]);
  expect(announcedRoutes({ ...all, announced: outside === undefined ? [] : [outside] })).toEqual([
    { prefix: '198.51.100.1/32' },
  ]);
  expect(vips.map(({ address }) => routePrefix(address, aggregates))).toEqual([
    '203.0.113.0/24',
    '203.0.113.0/24',
    '198.51.100.1/32',
  ]);
});
