import { OperatorError } from '@l4d/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { birdConfig } from './bird.ts';
import { eosConfig } from './eos.ts';
import { type PeerJson, type RouterConfigChoices, type RouterFacts, routerFacts } from './facts.ts';
import { frrConfig } from './frr.ts';
import { junosConfig } from './junos.ts';

function factsOf(peer: Partial<PeerJson> = {}, choices: Partial<RouterConfigChoices> = {}) {
  const desired = { host: { bgp: { as: 65001, routerId: '10.0.0.11' } } };
  return routerFacts(
    desired,
    { address: '10.0.0.1', as: 65000, ...peer },
    { vipRanges: [], maximumPaths: 64, hostAddresses: ['10.0.0.11/24', 'fd00::11/64'], ...choices },
  );
}

function snippet(write: (facts: RouterFacts) => string, peer: Partial<PeerJson>): string {
  const facts = factsOf(peer);
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
    [{ maximumPaths: 0 }, '--maximum-paths is 0 (allowed: 1 to 65535)'],
  ])('is not made of %o', (choices, reason) => {
    expect(factsOf({}, choices)).toBe(reason);
  });
});
