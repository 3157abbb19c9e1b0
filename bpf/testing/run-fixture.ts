import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { expect } from 'vitest';
import type { TestDataPlane } from './data-plane.ts';
import type { Fixture, SendStep } from './fixture.ts';
import { verifiedChecksums } from './verify-checksums.ts';

/** Performs a fixture's steps, checking each packet. */
export function runFixture(on: TestDataPlane, fixture: Fixture): void {
  for (const [number, step] of fixture.steps.entries()) {
    if (step.kind === 'apply') {
      on.forwarding.apply(step.vip);
      const missing = on.forwarding.verify(step.vip);
      expect(missing, `step ${number}: ${formatIpAddress(step.vip.address)}`).toBeUndefined();
    } else if (step.kind === 'remove') {
      expect(on.forwarding.remove(step.identity), `step ${number}: ${step.identity}`).toBe(true);
    } else if (step.kind === 'age') {
      on.ageFlows(step.ticks);
    } else {
      checkSent(on, step, number);
    }
  }
}

/** Reasons of packets whose checksums are ours. */
const verified: ReadonlySet<string> = new Set([
  'tx_echo',
  'tx_reset',
  'tx_nat',
  'tx_nat_return',
  'tx_nat_error',
  'tx_nat_return_error',
  'tx_nat_reset',
]);

function checkSent(on: TestDataPlane, step: SendStep, number: number): void {
  const outcome = on.send(step.packet);
  const seen = {
    step: number,
    action: outcome.action,
    reasons: outcome.reasons,
    notes: [...outcome.notes].sort(),
  };
  const notes = [...(step.notes ?? [])].sort();
  expect(seen).toEqual({ step: number, action: step.action, reasons: [step.reason], notes });
  if (step.action === 'drop') return;
  const expected = step.out ?? step.packet;
  const isEcho = step.reason === 'tx_echo';
  // A checksum has two values for the same sum, 0 and 0xffff: replies are compared without it and verified.
  expect(hex(isEcho ? blankIcmpChecksum(outcome.packet) : outcome.packet), `step ${number}`).toBe(
    hex(isEcho ? blankIcmpChecksum(expected) : expected),
  );
  if (verified.has(step.reason) && step.isUnsummed !== true)
    expect(verifiedChecksums(outcome.packet), `step ${number}`).toBe(true);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The frame of an echo reply with its ICMP checksum set to zero. */
function blankIcmpChecksum(packet: Uint8Array): Uint8Array {
  const out = Uint8Array.from(packet);
  const tags = out[12] === 0x81 ? 4 : 0;
  const header = out[14 + tags] === 0x45 ? 20 : 40;
  out.fill(0, 14 + tags + header + 2, 14 + tags + header + 4);
  return out;
}
