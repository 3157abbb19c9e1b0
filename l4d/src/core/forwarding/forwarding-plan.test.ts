import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { usualSelection } from './backend-selection.ts';
import {
  eligibleBackends,
  type ForwardingOperation,
  type HeldBackend,
  type HeldVip,
  planVip,
  tableOf,
  type WantedBackend,
  type WantedVip,
} from './forwarding-plan.ts';

const macOf = (n: number) => Uint8Array.of(2, 0, 0, 0, 0, n);

const aBackend = (n: number): fc.Arbitrary<WantedBackend> =>
  fc.record({
    address: fc.constant(ipAddress(`10.0.0.${n}`)),
    weight: fc.constantFrom(0, 1, 1, 3),
    state: fc.constantFrom('up', 'up', 'draining', 'down'),
    forward: fc.constantFrom('l2', 'l2', 'ipip', 'gue', 'nat', 'nat'),
    mac: fc.constantFrom(macOf(n), macOf(n), macOf(n + 100), undefined),
    egress: fc.constantFrom(0, 0, 3),
  });

const aVip: fc.Arbitrary<WantedVip> = fc
  .record({
    policy: fc.constantFrom('forward', 'l7'),
    onBackendDown: fc.constantFrom('keep', 'repick', 'reset'),
    idleTicks: fc.constantFrom(84, 838),
    selection: fc.constantFrom(
      usualSelection,
      { ...usualSelection, by: 'turn' },
      { ...usualSelection, isStateless: true },
    ),
    tableSize: fc.constantFrom(11, 101),
    all: fc.tuple(...[1, 2, 3, 4, 5].map(aBackend)),
    members: fc.subarray([0, 1, 2, 3, 4]),
  })
  .map(({ all, members, ...settings }) => ({
    ...settings,
    address: ipAddress('203.0.113.10'),
    port: 80,
    protocol: 'tcp' as const,
    backends: members.flatMap((n) => all[n] ?? []),
  }));

const addressOf = (backend: { address: WantedBackend['address'] }) => formatIpAddress(backend.address);

/** Performs one step on the entry, as the shell would; `nextIndex` gives new backends their index. */
function perform(
  held: HeldVip,
  wanted: WantedVip,
  operation: ForwardingOperation,
  nextIndex: () => number,
): HeldVip {
  if (operation.kind === 'free-backend') {
    expect(held.slots, 'a freed backend has no slot').not.toContain(operation.index);
    return { ...held, backends: held.backends.filter((backend) => backend.index !== operation.index) };
  }
  if (operation.kind === 'write-backend') {
    const { address, state, forward, port, mac, egress } = operation.backend;
    const existing = held.backends.find((backend) => addressOf(backend) === addressOf(operation.backend));
    expect(operation.isNew).toBe(existing === undefined);
    const written: HeldBackend = {
      index: existing?.index ?? nextIndex(),
      address,
      state,
      forward,
      port,
      mac,
      egress,
    };
    return { ...held, backends: [...held.backends.filter((backend) => backend !== existing), written] };
  }
  const { policy, onBackendDown, idleTicks, selection } = wanted;
  const settings = { policy, onBackendDown, idleTicks, selection, usesNat: operation.usesNat };
  if (operation.table === 'unchanged') return { ...held, ...settings };
  const eligible = operation.table;
  const slots = tableOf(eligible, wanted).map((position) => {
    const backend = held.backends.find(
      (other) => addressOf(other) === addressOf(eligible[position] ?? other),
    );
    expect(backend, 'a backend is written before a table names it').toBeDefined();
    return backend?.index ?? -1;
  });
  return { ...held, ...settings, slots };
}

const nothing: HeldVip = {
  id: 1,
  policy: 'forward',
  onBackendDown: 'keep',
  idleTicks: -1,
  selection: usualSelection,
  usesNat: false,
  slots: new Uint32Array(0),
  backends: [],
};

/** Applies a sequence of wanted states; returns the entry after each. */
function applyAll(
  sequence: readonly WantedVip[],
  check?: (held: HeldVip, wanted: WantedVip) => void,
): HeldVip {
  let next = 0;
  let held: HeldVip | undefined;
  for (const wanted of sequence) {
    for (const operation of planVip(held, wanted)) {
      held = perform(held ?? nothing, wanted, operation, () => next++);
      check?.(held, wanted);
    }
  }
  return held ?? nothing;
}

describe('planVip', () => {
  it('leads to what is wanted from any state, and then plans nothing', () => {
    fc.assert(
      fc.property(fc.array(aVip, { minLength: 1, maxLength: 5 }), (sequence) => {
        const held = applyAll(sequence);
        const wanted = sequence.at(-1);
        if (wanted === undefined) return;
        expect(planVip(held, wanted)).toEqual([]);
        expect(held).toMatchObject({
          policy: wanted.policy,
          onBackendDown: wanted.onBackendDown,
          idleTicks: wanted.idleTicks,
        });
        expect(held.backends.map(addressOf).sort()).toEqual(wanted.backends.map(addressOf).sort());
        const eligible = eligibleBackends(wanted);
        expect(held.slots).toHaveLength(tableOf(eligible, wanted).length);
        expect(held.selection).toEqual(wanted.selection);
        const named = new Set(held.slots);
        for (const backend of held.backends) {
          const isEligible = eligible.some((other) => addressOf(other) === addressOf(backend));
          expect(named.has(backend.index)).toBe(isEligible);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('never leaves a slot that names a backend which is not there, step by step', () => {
    fc.assert(
      fc.property(fc.array(aVip, { minLength: 2, maxLength: 5 }), (sequence) => {
        applyAll(sequence, (held) => {
          const indices = new Set(held.backends.map((backend) => backend.index));
          for (const slot of held.slots) expect(indices.has(slot)).toBe(true);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('marks a backend after the table has left it, and lifts the mark before the table comes back', () => {
    fc.assert(
      fc.property(fc.array(aVip, { minLength: 2, maxLength: 5 }), (sequence) => {
        applyAll(sequence, (held, wanted) => {
          for (const backend of held.backends) {
            if (backend.state === 'up' || !held.slots.includes(backend.index)) continue;
            // The only marked backend that may still have slots is one whose mark changes kind.
            const target = wanted.backends.find((other) => addressOf(other) === addressOf(backend));
            expect(target?.state, `${addressOf(backend)} is ${backend.state} with slots`).not.toBe(
              backend.state,
            );
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  it('writes one thing when one thing changes', () => {
    const backends: WantedBackend[] = [1, 2].map((n) => ({
      address: ipAddress(`10.0.0.${n}`),
      weight: 1,
      state: 'up',
      forward: 'l2',
      egress: 0,
      mac: macOf(n),
    }));
    const wanted: WantedVip = {
      address: ipAddress('203.0.113.10'),
      port: 80,
      protocol: 'tcp',
      policy: 'forward',
      onBackendDown: 'keep',
      idleTicks: 838,
      selection: usualSelection,
      tableSize: 101,
      backends,
    };
    const held = applyAll([wanted]);
    const kinds = (changed: WantedVip) => planVip(held, changed).map((operation) => operation.kind);
    expect(planVip(undefined, wanted).map((operation) => operation.kind)).toEqual([
      'write-backend',
      'write-backend',
      'write-vip',
    ]);
    expect(planVip(held, { ...wanted, idleTicks: 1 })).toEqual([
      { kind: 'write-vip', table: 'unchanged', usesNat: false },
    ]);
    expect(kinds({ ...wanted, backends: backends.map((one) => ({ ...one, mac: macOf(9) })) })).toEqual([
      'write-backend',
      'write-backend',
    ]);
    expect(kinds({ ...wanted, backends: backends.map((one, n) => ({ ...one, weight: n + 1 })) })).toEqual([
      'write-vip',
    ]);
    expect(
      kinds({ ...wanted, backends: backends.map((one, n) => (n === 0 ? { ...one, state: 'down' } : one)) }),
    ).toEqual(['write-vip', 'write-backend']);
    expect(kinds({ ...wanted, backends: backends.slice(1) })).toEqual(['write-vip', 'free-backend']);
    expect(kinds({ ...wanted, backends: [...backends].reverse() })).toEqual([]);
  });

  it('has a VIP ask the table of NAT before a backend is reached by it, and as long as one is', () => {
    const one = (n: number, forward: WantedBackend['forward']): WantedBackend => ({
      ...{ address: ipAddress(`10.0.0.${n}`), weight: 1, state: 'up', forward, egress: 0, mac: macOf(n) },
    });
    const wanted = (...backends: WantedBackend[]): WantedVip => ({
      ...{ address: ipAddress('203.0.113.10'), port: 80, protocol: 'tcp', policy: 'forward' },
      ...{ onBackendDown: 'keep', idleTicks: 838, selection: usualSelection, tableSize: 101, backends },
    });
    const steps = (from: WantedVip, to: WantedVip) =>
      planVip(applyAll([from]), to).map((operation) =>
        operation.kind === 'write-backend'
          ? `${addressOf(operation.backend)} by ${operation.backend.forward}`
          : operation.kind === 'write-vip'
            ? `VIP, table ${operation.table === 'unchanged' ? 'unchanged' : 'built'}`
            : operation.kind,
      );
    const bridged = wanted(one(1, 'l2'), one(2, 'l2'));
    const translated = wanted(one(1, 'l2'), one(2, 'nat'));
    expect(steps(bridged, translated)).toEqual(['VIP, table unchanged', '10.0.0.2 by nat']);
    expect(steps(translated, bridged)).toEqual(['10.0.0.2 by l2', 'VIP, table unchanged']);
    expect(steps(translated, wanted(one(1, 'l2')))).toEqual([
      'VIP, table built',
      'free-backend',
      'VIP, table unchanged',
    ]);
    expect(steps(bridged, wanted(one(1, 'l2'), one(2, 'l2'), one(3, 'nat')))).toEqual([
      'VIP, table unchanged',
      '10.0.0.3 by nat',
      'VIP, table built',
    ]);
    fc.assert(
      fc.property(fc.array(aVip, { minLength: 2, maxLength: 5 }), (sequence) => {
        applyAll(sequence, (held) => {
          // A VIP that is new is in the kernel with its last step.
          if (held.idleTicks === -1) return;
          if (held.backends.some(({ forward }) => forward === 'nat')) expect(held.usesNat).toBe(true);
        });
      }),
      { numRuns: 300 },
    );
  });
});
