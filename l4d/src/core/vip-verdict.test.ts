import { describe, expect, test } from 'vitest';
import { parseDesiredState } from './desired-state.ts';
import { judgeVip, type VipFacts } from './vip-verdict.ts';

function vipWith(fields: object) {
  const parsed = parseDesiredState({
    version: 1,
    vips: [
      {
        name: 'web',
        address: '203.0.113.10',
        port: 80,
        backends: [
          { address: '10.0.0.1', weight: 1 },
          { address: '10.0.0.2', weight: 3 },
        ],
        ...fields,
      },
    ],
  });
  if (!parsed.ok || parsed.value.vips[0] === undefined) throw new Error('bad test state');
  return parsed.value.vips[0];
}

const fine = (fields: object = {}, healthy = [true, true]): VipFacts => ({
  vip: vipWith(fields),
  hasBgp: true,
  hostDraining: false,
  stopping: false,
  detached: false,
  notProgrammed: undefined,
  proxyDown: undefined,
  awaited: 0,
  healthy,
});

describe('a VIP is announced exactly while', () => {
  test('everything holds', () => {
    expect(judgeVip(fine())).toEqual({
      code: 'announced',
      reason: '2 of 2 backends healthy, at least 1 needed',
    });
  });

  test.each([
    ['it is not detached', { ...fine(), detached: true }, 'detached'],
    ['it is enabled', fine({ enabled: false }), 'disabled'],
    ['the host is not draining', { ...fine(), hostDraining: true }, 'host-draining'],
    ['its forwarding is programmed', { ...fine(), notProgrammed: 'the table differs' }, 'not-programmed'],
    ['its proxy can serve', { ...fine(), proxyDown: 'it does not answer' }, 'proxy-down'],
    ['its backends have answered', { ...fine(), awaited: 2 }, 'settling'],
    ['enough backends are healthy', fine({}, [false, false]), 'too-few-healthy'],
    ['BGP is declared', { ...fine(), hasBgp: false }, 'no-bgp'],
  ])('%s', (_condition, facts, code) => {
    const verdict = judgeVip(facts);
    expect(verdict.code).toBe(code);
    expect(verdict.reason).not.toBe('');
  });
});

describe('enough healthy backends', () => {
  test.each([
    [1, [true, false], 'announced'],
    [2, [true, false], 'too-few-healthy'],
    [2, [true, true], 'announced'],
    ['75%', [false, true], 'announced'],
    ['76%', [false, true], 'too-few-healthy'],
    ['25%', [true, false], 'announced'],
    ['26%', [true, false], 'too-few-healthy'],
  ])('minHealthy %s with %s: %s', (minHealthy, healthy, code) => {
    expect(judgeVip(fine({ minHealthy }, healthy)).code).toBe(code);
  });

  test('a share is of the weight of the backends that are not drained', () => {
    const backends = [
      { address: '10.0.0.1', weight: 1 },
      { address: '10.0.0.2', weight: 3, drain: true },
    ];
    expect(judgeVip(fine({ minHealthy: '100%', backends }, [true, false])).code).toBe('announced');
  });

  test('a share of nothing is not enough', () => {
    const backends = [{ address: '10.0.0.1', weight: 0 }];
    expect(judgeVip(fine({ minHealthy: '1%', backends }, [false])).code).toBe('too-few-healthy');
  });
});
