import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { conditionOf } from './condition.ts';
import { type Actual, type Condition, planService, type Wishes } from './service-plan.ts';

const wishes: Wishes = {
  announce: { med: 10 },
  whenDown: 'withdraw',
  whenMaintenance: 'withdraw',
  ownsAddress: true,
  keepsAddress: false,
  linger: 2000,
  gracefulShutdown: 1000,
};

const nothing: Actual = {
  addressThere: false,
  addressRefused: false,
  announced: undefined,
  onWire: true,
  withdrawnSince: 0,
};

const up: Condition = { kind: 'up' };
const down: Condition = { kind: 'down', reason: 'connection refused' };

/** A host that does as planned; the wire takes a while. */
function simulate(start: Actual) {
  let actual = start;
  let now = 0;
  const done: string[] = [];
  return {
    done,
    actual: () => actual,
    at(time: number, condition: Condition, wanted = wishes) {
      now = time;
      for (let turn = 0; turn < 10; turn++) {
        const plan = planService(wanted, condition, actual, now);
        if (plan.action === undefined) return plan;
        done.push(plan.action.kind);
        if (plan.action.kind === 'add-address') actual = { ...actual, addressThere: true };
        if (plan.action.kind === 'remove-address') actual = { ...actual, addressThere: false };
        if (plan.action.kind === 'announce')
          actual = { ...actual, announced: plan.action.attributes, onWire: false, withdrawnSince: undefined };
        if (plan.action.kind === 'withdraw') actual = { ...actual, announced: undefined, onWire: false };
      }
      throw new Error('it does not come to rest');
    },
    wire() {
      actual = {
        ...actual,
        onWire: true,
        withdrawnSince: actual.announced === undefined ? (actual.withdrawnSince ?? now) : undefined,
      };
    },
  };
}

describe('a service', () => {
  it('gets its address before it is announced', () => {
    const host = simulate(nothing);
    expect(host.at(0, up).settled).toBe(true);
    expect(host.done).toEqual(['add-address', 'announce']);
    expect(host.actual().announced).toEqual({ med: 10 });
  });

  it('is not announced before its checks have answered', () => {
    const host = simulate(nothing);
    expect(host.at(0, conditionOf([{ verdict: 'unknown', reason: '' }], noIntent)).settled).toBe(true);
    expect(host.done).toEqual([]);
  });

  it('keeps its address until the withdraw is on the wire and has rested', () => {
    const host = simulate(nothing);
    host.at(0, up);
    host.wire();
    expect(host.at(100, down)).toMatchObject({ settled: false, askAgainAt: undefined });
    expect(host.done.at(-1)).toBe('withdraw');
    host.at(60_000, down);
    expect(host.actual().addressThere).toBe(true);
    host.wire();
    expect(host.at(60_000, down).askAgainAt).toBe(62_000);
    expect(host.at(62_000, down).settled).toBe(true);
    expect(host.done.at(-1)).toBe('remove-address');
  });

  it('says that it will go before it goes, when it goes by intent', () => {
    const host = simulate(nothing);
    host.at(0, up);
    host.wire();
    const leaving: Condition = { kind: 'maintenance', since: 500 };
    expect(host.at(500, leaving).askAgainAt).toBe(1500);
    expect(host.actual().announced).toEqual({ med: 10, localPref: 0, communities: ['65535:0'] });
    host.at(1500, leaving);
    expect(host.actual().announced).toBeUndefined();
    host.at(1600, up);
    expect(host.actual().announced).toEqual({ med: 10 });
  });

  it('does not warn of what nobody uses', () => {
    const host = simulate(nothing);
    host.at(0, down);
    host.at(10, { kind: 'stopping', since: 10 });
    expect(host.done).toEqual([]);
  });

  it('is announced as a worse way where that is wanted', () => {
    const host = simulate(nothing);
    host.at(0, down, { ...wishes, whenDown: { med: 1000 } });
    expect(host.actual().announced).toEqual({ med: 1000 });
  });

  it('leaves addresses alone that are not its own', () => {
    const host = simulate(nothing);
    const theirs = { ...wishes, ownsAddress: false };
    host.at(0, up, theirs);
    host.wire();
    host.at(10, down, theirs);
    expect(host.at(20, down, theirs).settled).toBe(false);
    host.wire();
    expect(host.at(60_000, down, theirs).settled).toBe(true);
    expect(host.done).toEqual(['announce', 'withdraw']);
  });

  it('has its address from the start to the end where that is wanted', () => {
    const kept = { ...wishes, keepsAddress: true };
    const host = simulate(nothing);
    expect(host.at(0, { kind: 'unknown' }, kept).settled).toBe(true);
    host.at(10, up, kept);
    host.wire();
    host.at(20, down, kept);
    host.wire();
    expect(host.at(60_000, down, kept).settled).toBe(true);
    expect(host.at(60_010, { kind: 'maintenance', since: 60_010 }, kept).settled).toBe(true);
    expect(host.done).toEqual(['add-address', 'announce', 'withdraw']);
    // Without the wish it has rested long enough.
    host.at(60_020, down);
    host.at(60_030, up, kept);
    host.wire();
    host.at(70_000, { kind: 'stopping', since: 60_040 }, kept);
    host.wire();
    expect(host.at(71_999, { kind: 'stopping', since: 60_040 }, kept).settled).toBe(false);
    expect(host.at(72_000, { kind: 'stopping', since: 60_040 }, kept).settled).toBe(true);
    const again = ['remove-address', 'add-address', 'announce', 'withdraw', 'remove-address'];
    expect(host.done.slice(3)).toEqual(again);
  });

  it('is never announced without its address, nor loses it while a router may use it', () => {
    const condition = fc.oneof(
      fc.constant(up),
      fc.constant(down),
      fc.constant<Condition>({ kind: 'unknown' }),
      fc.record({
        kind: fc.constantFrom('maintenance' as const, 'stopping' as const),
        since: fc.nat(5000),
      }),
    );
    const step = fc.record({ after: fc.nat(3000), condition, wire: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const host = simulate(nothing);
        let now = 0;
        for (const { after, condition: next, wire } of steps) {
          now += after;
          const before = host.actual();
          host.at(now, next);
          const { addressThere, announced } = host.actual();
          if (announced !== undefined) expect(addressThere).toBe(true);
          if (before.addressThere && !addressThere) {
            expect(before.onWire).toBe(true);
            expect(now).toBeGreaterThanOrEqual((before.withdrawnSince ?? Number.NaN) + wishes.linger);
          }
          if (wire) host.wire();
        }
      }),
    );
  });
});

const noIntent = { maintenanceSince: undefined, stoppingSince: undefined };

it('intent goes before health, one bad check before good ones', () => {
  const good = { verdict: 'up' as const, reason: 'HTTP 200' };
  const bad = { verdict: 'down' as const, reason: 'HTTP 500' };
  expect(conditionOf([good, bad], noIntent)).toEqual({ kind: 'down', reason: 'HTTP 500' });
  expect(conditionOf([good, good], noIntent)).toEqual({ kind: 'up' });
  expect(conditionOf([bad], { ...noIntent, maintenanceSince: 7 })).toEqual({ kind: 'maintenance', since: 7 });
  expect(conditionOf([good], { maintenanceSince: 7, stoppingSince: 9 })).toEqual({
    kind: 'stopping',
    since: 9,
  });
});
