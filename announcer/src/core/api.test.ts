import { describe, expect, it } from 'vitest';
import { type DesiredInput, desiredSchema } from './api.ts';
import { describeProblems } from './api-problem.ts';
import { toDesiredPrefix } from './prefix-list.ts';

const minimal: DesiredInput = {
  owner: 'l4d',
  local: { as: 65001, routerId: '10.0.0.1', listen: false },
  peers: [{ address: '10.0.0.2', as: 65000 }],
  prefixes: [{ prefix: '203.0.113.10/32' }],
};

function problems(change: object): string[] {
  const result = desiredSchema.safeParse({ ...minimal, ...change });
  return result.success ? [] : describeProblems(result.error).problems.map(({ path }) => path);
}

describe('desired state', () => {
  it('fills in defaults', () => {
    const desired = desiredSchema.parse(minimal);
    expect(desired.deadManMs).toBe(300_000);
    expect(desired.peers[0]).toEqual({
      address: '10.0.0.2',
      as: 65000,
      port: 179,
      holdTimeMs: 9000,
      connectRetryMs: 1000,
      mode: 'both',
      families: ['ipv4', 'ipv6'],
    });
  });

  it.each([
    ['an AS of 0 (RFC 7607)', { local: { ...minimal.local, as: 0 } }, ['local.as']],
    ['AS_TRANS', { local: { ...minimal.local, as: 23456 } }, ['local.as']],
    ['router id 0.0.0.0', { local: { ...minimal.local, routerId: '0.0.0.0' } }, ['local.routerId']],
    [
      'a hold time of two seconds',
      { peers: [{ address: '10.0.0.2', as: 1, holdTimeMs: 2000 }] },
      ['peers[0].holdTimeMs'],
    ],
    [
      'LLGR without continuity (RFC 9494)',
      { peers: [{ address: '10.0.0.2', as: 1, longLivedGracefulRestartMs: 5000 }] },
      ['peers[0].longLivedGracefulRestartMs'],
    ],
    ['a prefix with host bits', { prefixes: [{ prefix: '10.0.0.1/24' }] }, ['prefixes[0].prefix']],
    [
      'a community beyond 16 bits',
      { prefixes: [{ prefix: '10.0.0.1/32', communities: ['70000:1'] }] },
      ['prefixes[0].communities[0]'],
    ],
    [
      'the same peer twice, written differently',
      {
        peers: [
          { address: 'fd00::1', as: 1 },
          { address: 'fd00:0::1', as: 1 },
        ],
      },
      ['peers[1].address'],
    ],
    [
      'the same prefix twice',
      { prefixes: [{ prefix: '10.0.0.1' }, { prefix: '10.0.0.1/32' }] },
      ['prefixes[1].prefix'],
    ],
    [
      'a source of the other family',
      { peers: [{ address: '10.0.0.2', as: 1, localAddress: 'fd00::1' }] },
      ['peers[0].localAddress'],
    ],
    ['an unknown field', { prefixs: [] }, ['']],
  ])('refuses %s, naming the place', (_name, change, expected) => {
    expect(problems(change)).toEqual(expected);
  });

  it('packs communities into 32 bits', () => {
    expect(
      toDesiredPrefix({ prefix: '10.0.0.1/32', communities: ['65535:0', '0:1'] }).set.communities,
    ).toEqual([0xffff_0000, 1]);
  });
});
