import { OperatorError } from '@l4d/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { birdConfig } from './bird.ts';
import { eosConfig } from './eos.ts';
import { type PeerJson, type RouterConfigChoices, type RouterFacts, routerFacts } from './facts.ts';
import { frrConfig } from './frr.ts';
import { junosConfig } from './junos.ts';

function factsOf(
  peer: Partial<PeerJson> = {},
  choices: Partial<RouterConfigChoices> = {},
  more: { readonly lastAnnouncer?: string; readonly vips?: readonly { readonly address: string }[] } = {},
) {
  const { lastAnnouncer, vips = [] } = more;
  const guard = lastAnnouncer === undefined ? {} : { guard: { lastAnnouncer } };
  const desired = { host: { bgp: { as: 65001, routerId: '10.0.0.11' }, ...guard }, vips };
  return routerFacts(
    desired,
    { address: '10.0.0.1', as: 65000, ...peer },
    { vipRanges: [], maximumPaths: 64, hostAddresses: ['10.0.0.11/24', 'fd00::11/64'], ...choices },
  );
}

function snippet(write: (facts: RouterFacts) => string, ...args: Parameters<typeof factsOf>): string {
  const facts = factsOf(...args);
  if (typeof facts === 'string') throw new Error(facts);
  return write(facts);
}

describe('the snippet of a router', () => {
  it('has the password as it is, or is none', () => {
    const password = 'a "b\\c';
    expect(snippet(frrConfig, { password })).toContain(`password ${password}\n`);
    expect(snippet(junosConfig, { password })).toContain('authentication-key "a \\"b\\\\c"\n');
    expect(snippet(birdConfig, { password: 'plain' })).toContain('password "plain";');
    expect(() => snippet(birdConfig, { password })).toThrow(OperatorError);
  });

  it.each([
    ['frr', frrConfig, '!'],
    ['bird', birdConfig, '#'],
    ['eos', eosConfig, '!'],
    ['junos', junosConfig, '#'],
  ] as const)('says which secret is to be added, for %s', (_name, write, mark) => {
    const withFile = snippet(write, { passwordFile: '/etc/l4d/secret' });
    expect(withFile).toContain(
      `\n${mark} the session has a password, which is in /etc/l4d/secret on this host`,
    );
    const withKey = snippet(write, { tcpAo: { sendId: 1, receiveId: 2 } });
    expect(withKey).toContain(
      `\n${mark} the session has TCP-AO: add its key, ids 2 (sent by the router) and 1`,
    );
    expect(snippet(write, {})).not.toContain('the session has');
  });

  it.each([
    [{ address: 'nonsense' }, '"nonsense" is no address that can speak to 10.0.0.1 (--address)'],
    [{ address: 'fd00::11' }, '"fd00::11" is no address that can speak to 10.0.0.1 (--address)'],
    [{ range: 'fd00::/64' }, 'fd00::/64 is of another address family than 10.0.0.1 (--range)'],
    [{ routerAs: 0 }, '--router-as is 0 (allowed: 1 to 4294967295)'],
    [{ routerAs: 2 ** 32 }, '--router-as is 4294967296 (allowed: 1 to 4294967295)'],
    [{ maxPrefixes: 0 }, '--max-prefixes is 0 (allowed: 1 to 4294967295)'],
    [{ maximumPaths: 0 }, '--maximum-paths is 0 (allowed: 1 to 65535)'],
  ])('is not made of %o', (choices, reason) => {
    expect(factsOf({}, choices)).toBe(reason);
  });

  it.each([
    [{}, 100],
    [{ vipRanges: ['203.0.113.0/28'] }, 100],
    [{ vipRanges: ['203.0.113.0/24'] }, 300],
    [{ vipRanges: ['203.0.113.0/24', '198.51.100.0/24', '2001:db8::/120'] }, 600],
    [{ vipRanges: ['10.0.0.0/8'] }, 11_000],
    [{ vipRanges: ['2001:db8::/64'] }, 11_000],
    [{ vipRanges: ['203.0.113.0/24'], maxPrefixes: 50 }, 50],
  ])('with %o is bounded by what its filter lets in', (choices, limit) => {
    expect(factsOf({}, choices)).toMatchObject({ maximumPrefixes: limit });
    expect(snippet(frrConfig, {}, choices)).toContain(`maximum-prefix ${limit}\n`);
    expect(snippet(birdConfig, {}, choices)).toContain(`import limit ${limit} `);
    expect(snippet(eosConfig, {}, choices)).toContain(`maximum-routes ${limit}\n`);
    expect(snippet(junosConfig, {}, choices)).toContain(`prefix-limit maximum ${limit} `);
  });

  it('is never bounded below the VIPs that are declared', () => {
    const vips = Array.from({ length: 12_000 }, (_, i) => ({ address: `10.9.${i >> 8}.${i & 255}` }));
    expect(factsOf({}, {}, { vips })).toMatchObject({ maximumPrefixes: 13_200 });
  });

  it('has prefixes with their length, also of a bare address', () => {
    const choices = { vipRanges: ['203.0.113.0', '203.0.113.0/32', '2001:DB8:0::1'], range: '10.77.0.11' };
    const frr = snippet(frrConfig, {}, choices);
    expect(frr).toContain('ip prefix-list L4D-VIPS4 seq 5 permit 203.0.113.0/32\nipv6 prefix-list');
    expect(frr).toContain('ipv6 prefix-list L4D-VIPS6 seq 5 permit 2001:db8::1/128\n');
    expect(frr).toContain('bgp listen range 10.77.0.11/32 peer-group L4D\n');
    const bird = snippet(birdConfig, {}, choices);
    expect(bird).toContain('net !~ [ 203.0.113.0/32 ]');
    expect(bird).toContain('neighbor range 10.77.0.11/32 external;');
  });
});

describe("other hosts' paths", () => {
  const choices = { vipRanges: ['203.0.113.0/24'] };
  const hold = { lastAnnouncer: 'hold' };

  it('are not exported to a host that does not wait for them', () => {
    for (const more of [{}, { lastAnnouncer: 'warn' }]) {
      const frr = snippet(frrConfig, {}, choices, more);
      expect(frr).toContain('route-map L4D-OUT deny 10\n');
      expect(frr).not.toContain('L4D-OUT permit');
      expect(snippet(birdConfig, {}, choices, more).match(/export none;/g)).toHaveLength(2);
      expect(snippet(eosConfig, {}, choices, more)).toContain('route-map L4D-OUT deny 10\n');
      const junos = snippet(junosConfig, {}, choices, more);
      expect(junos).toContain('policy-statement L4D-OUT then reject\n');
      expect(junos).not.toContain('advertise-peer-as');
    }
  });

  it('are exported to one that does, within its VIPs alone', () => {
    const frr = snippet(frrConfig, {}, choices, hold);
    expect(frr).toContain('route-map L4D-OUT permit 10\n match ip address prefix-list L4D-VIPS4\n');
    expect(frr).toContain('route-map L4D-OUT permit 20\n match ipv6 address prefix-list L4D-VIPS6\n');
    expect(frr).not.toContain('L4D-OUT deny');
    expect(frr).not.toContain('route-reflector-client');
    const bird = snippet(birdConfig, {}, choices, hold);
    expect(bird).toContain('export where source = RTS_BGP && net ~ [ 203.0.113.0/24{32,32} ];');
    // No IPv6 VIP: nothing to show.
    expect(bird).toMatch(/ipv6 \{\n {4}import filter l4d_ipv6;\n {4}export none;/);
    const eos = snippet(eosConfig, {}, choices, hold);
    expect(eos).toContain('route-map L4D-OUT permit 10\n   match ip address prefix-list L4D-VIPS4\n');
    const junos = snippet(junosConfig, {}, choices, hold);
    expect(junos).toContain(
      'L4D-OUT term vips from route-filter 203.0.113.0/24 prefix-length-range /32-/32\n',
    );
    expect(junos).toContain('policy-statement L4D-OUT term rest then reject\n');
    expect(junos).toContain('group L4D advertise-peer-as\n');
  });

  it('are reflected to internal neighbors', () => {
    const internal = { as: 65001 };
    expect(snippet(frrConfig, internal, choices, hold)).toContain(
      'neighbor 10.0.0.11 route-reflector-client\n',
    );
    expect(snippet(birdConfig, internal, choices, hold)).toContain('  rr client;\n');
    expect(snippet(eosConfig, internal, choices, hold)).toContain('route-reflector-client\n');
    expect(snippet(junosConfig, internal, choices, hold)).toContain('group L4D cluster 10.0.0.1\n');
  });
});
