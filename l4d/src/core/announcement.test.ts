import { desiredSchema } from '@l4d/announcer/core/api.ts';
import { expect, test } from 'vitest';
import { announcedPrefixes, announcerDesired } from './announcement.ts';
import { type DesiredState, parseDesiredState } from './desired-state.ts';

function state(fields: object): DesiredState {
  const backends = [{ address: '10.0.0.1' }];
  const parsed = parseDesiredState({
    version: 1,
    host: { bgp: { as: 65001, routerId: '10.0.0.11' } },
    peers: [{ address: '10.0.0.254', as: 65000, holdTime: '3s' }],
    vips: [
      { address: '203.0.113.10', port: 80, backends },
      { address: '203.0.113.10', port: 443, backends },
      { address: '2001:db8::10', port: 80, backends: [{ address: 'fd00::1' }] },
    ],
    ...fields,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

const nextHops = { ipv4: '10.0.0.11', ipv6: undefined };

test('an address is one host prefix however many VIPs use it', () => {
  expect(announcedPrefixes(state({}).vips)).toEqual(['2001:db8::10/128', '203.0.113.10/32']);
});

test('the announcer accepts what it is told', () => {
  const told = announcerDesired(state({}), ['203.0.113.10/32'], nextHops);
  expect(desiredSchema.safeParse(told).success).toBe(true);
  expect(told).toMatchObject({
    owner: 'l4d',
    local: { as: 65001, routerId: '10.0.0.11', listen: false },
    peers: [{ address: '10.0.0.254', as: 65000, holdTimeMs: 3000, nextHop4: '10.0.0.11' }],
    prefixes: [{ prefix: '203.0.113.10/32' }],
  });
  expect(told?.peers[0]).not.toHaveProperty('nextHop6');
});

test('without host.bgp there is nothing to tell', () => {
  expect(announcerDesired(state({ host: {}, peers: [] }), [], nextHops)).toBeUndefined();
});
