import { describe, expect, it } from 'vitest';
import { parseDesiredState } from './desired-state.ts';
import type { JudgedVip } from './vrrp-groups.ts';
import { defaultPreemptDelay, effectivePriority, vrrpInput } from './vrrp-groups.ts';

const vip = (address: string, more: object = {}) => ({
  address,
  port: 80,
  vrrpGroup: 'web',
  backends: [
    { address: '10.0.0.21' },
    { address: '10.0.0.22' },
    { address: '10.0.0.23' },
    { address: '10.0.0.24' },
  ],
  ...more,
});

function parse(group: object, vips: readonly object[]) {
  return parseDesiredState({
    version: 1,
    host: { vrrp: { groups: [{ id: 'web', vrid: 51, ...group }] } },
    vips,
  });
}

function state(group: object, vips: readonly object[] = [vip('10.0.0.50'), vip('10.0.0.51')]) {
  const parsed = parse(group, vips);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

const place = { interface: 'eth0', ownedMacsPin: '/sys/fs/bpf/l4d/virtual_macs' };
const judge = (
  of: ReturnType<typeof state>,
  healthy: readonly boolean[],
  code: JudgedVip['code'] = 'announced',
): JudgedVip[] => of.vips.map((one) => ({ vip: one, isServed: code === 'announced', code, healthy }));

describe('effective priority', () => {
  const members = judge(state({}), [true, true, true, true]);

  it('is the declared one while all is well', () => {
    expect(effectivePriority({ priority: 100, healthWeight: 50 }, members)).toBe(100);
  });

  it('loses the share of the weight that is not healthy', () => {
    const one = judge(state({}), [true, false, true, true]);
    expect(effectivePriority({ priority: 100, healthWeight: 50 }, one)).toBe(87);
    expect(effectivePriority({ priority: 100, healthWeight: 0 }, one)).toBe(100);
  });

  it('loses all for a VIP that cannot be served, and is never 0', () => {
    const none = judge(state({}), [true, true, true, true], 'too-few-healthy');
    expect(effectivePriority({ priority: 100, healthWeight: 50 }, none)).toBe(50);
    expect(effectivePriority({ priority: 20, healthWeight: 200 }, none)).toBe(1);
  });
});

describe('what the announcer is told', () => {
  it('has a group with the addresses of its VIPs; it takes part while any can be served', () => {
    const of = state({ advertiseInterval: '100ms' });
    const [first, second] = judge(of, [true, true, true, true]);
    if (first === undefined || second === undefined) throw new Error('two VIPs');
    const input = vrrpInput(of, [{ ...first, isServed: false }, second], place);
    expect(input?.groups[0]).toMatchObject({
      id: 'web',
      vrid: 51,
      interface: 'eth0',
      addresses: ['10.0.0.50', '10.0.0.51'],
      priority: 75,
      enabled: true,
      advertiseIntervalMs: 100,
      useVmac: false,
    });
    expect(vrrpInput(of, judge(of, [false], 'host-draining'), place)?.groups[0]).toMatchObject({
      enabled: false,
    });
  });

  it('is the last choice, but one, while a VIP of it is detached here', () => {
    const of = state({});
    const [first, second] = judge(of, [true, true, true, true]);
    if (first === undefined || second === undefined) throw new Error('two VIPs');
    const input = vrrpInput(of, [{ ...first, isServed: false, code: 'detached' }, second], place);
    expect(input?.groups[0]).toMatchObject({ priority: 1, enabled: true });
  });

  it('keeps its priority when a VIP comes to it', () => {
    const of = state({});
    const [first, second] = judge(of, [true, true, true, true]);
    if (first === undefined || second === undefined) throw new Error('two VIPs');
    const input = vrrpInput(
      of,
      [first, { ...second, isServed: false, code: 'settling', healthy: [] }],
      place,
    );
    expect(input?.groups[0]).toMatchObject({ priority: 100 });
  });

  it('is lowered once by a backend that comes and goes', () => {
    const of = state({});
    const holds = new Map();
    const told = Array.from({ length: 20 }, (_, at) => {
      const health = [at % 2 === 0, true, true, true];
      return vrrpInput(of, judge(of, health), place, holds, at * 5000)?.groups[0]?.priority;
    });
    expect(told).toEqual([100, ...Array.from({ length: 19 }, () => 87)]);
    const drained = judge(of, [true, true, true, true], 'host-draining');
    vrrpInput(of, drained, place, holds, 100_000);
    expect(holds.size).toBe(0);
  });

  it('suffers a worse Active host for as long as checks of two hosts may differ', () => {
    const check = { type: 'tcp', interval: '3s', timeout: '1s' };
    const of = state({}, [vip('10.0.0.50', { check })]);
    const members = judge(of, [true]);
    expect(vrrpInput(of, members, place)?.groups[0]?.preemptDelayMs).toBe(4500);
    expect(defaultPreemptDelay({ healthWeight: 0 }, members)).toBe(0);
    const declared = state({ preemptDelay: '0s' }, [vip('10.0.0.50', { check })]);
    expect(vrrpInput(declared, judge(declared, [true]), place)?.groups[0]?.preemptDelayMs).toBe(0);
  });

  it('has the virtual MAC address with share', () => {
    const of = state({ share: { vrids: [51, 52] } });
    expect(vrrpInput(of, judge(of, [true]), place)?.groups[0]).toMatchObject({ useVmac: true });
  });

  it('is nothing without host.vrrp', () => {
    const parsed = parseDesiredState({ version: 1 });
    expect(parsed.ok && vrrpInput(parsed.value, [], place)).toBeUndefined();
  });
});

describe('rules', () => {
  const messages = (group: object, vips: readonly object[] = [vip('10.0.0.50')]) => {
    const parsed = parse(group, vips);
    return parsed.ok
      ? []
      : parsed.error.map((problem) => `${problem.segments.join('.')}: ${problem.message}`);
  };

  it('refuse a group that is not there', () => {
    expect(messages({}, [vip('10.0.0.50', { vrrpGroup: 'wbe' })])).toEqual([
      'vips.0.vrrpGroup: "wbe" is no group (allowed: web)',
    ]);
  });

  it('refuse announce beside it, and an address in two groups', () => {
    expect(messages({}, [vip('10.0.0.50', { announce: { med: 1 } })])[0]).toMatch(
      /announce: does not go with/,
    );
    const two = [vip('10.0.0.50'), { ...vip('10.0.0.50', { port: 81 }), vrrpGroup: undefined }];
    expect(messages({}, JSON.parse(JSON.stringify(two)))[0]).toMatch(/vips.1.vrrpGroup: differs/);
  });

  it('refuse share without the own vrid, doubles and the own MAC address', () => {
    expect(messages({ share: { vrids: [52, 53] } })[0]).toMatch(/share.vrids: does not hold 51/);
    expect(messages({ share: { vrids: [51, 51] } })[0]).toMatch(/holds one twice/);
    expect(messages({ share: { vrids: [51, 52] }, useVmac: false })[0]).toMatch(/useVmac: false does not go/);
    expect(messages({ advertiseInterval: '15ms' })[0]).toMatch(/whole hundredths/);
  });
});
