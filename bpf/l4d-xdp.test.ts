import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { anyPortFixtures } from './fixtures/any-port.ts';
import { echoFixtures } from './fixtures/echo.ts';
import { ethernetFixtures } from './fixtures/ethernet.ts';
import { flowFixtures } from './fixtures/flows.ts';
import { forwardFixtures } from './fixtures/forward.ts';
import { icmpErrorFixtures } from './fixtures/icmp-errors.ts';
import { ipv4Fixtures } from './fixtures/ipv4.ts';
import { ipv6Fixtures } from './fixtures/ipv6.ts';
import { quicFixtures } from './fixtures/quic.ts';
import { resetFixtures } from './fixtures/reset.ts';
import { schedulerFixtures } from './fixtures/schedulers.ts';
import { sizeFixtures } from './fixtures/sizes.ts';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import type { Fixture, SendStep } from './testing/fixture.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';

let plane: TestDataPlane | undefined;

afterEach(() => {
  plane?.close();
  plane = undefined;
});

const groups: ReadonlyArray<readonly [string, readonly Fixture[]]> = [
  ['ethernet', ethernetFixtures],
  ['forward', forwardFixtures],
  ['ipv4', ipv4Fixtures],
  ['ipv6', ipv6Fixtures],
  ['echo', echoFixtures],
  ['icmp errors', icmpErrorFixtures],
  ['flows', flowFixtures],
  ['schedulers', schedulerFixtures],
  ['quic', quicFixtures],
  ['reset', resetFixtures],
  ['any port', anyPortFixtures],
  ['sizes', sizeFixtures],
];

describe.each(groups)('%s', (_group, fixtures) => {
  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane();
    run(plane, fixture);
  });
});

describe("flows, where the kernel's tick is not known", () => {
  it.each(flowFixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane({ tick: 0 });
    run(plane, fixture);
  });
});

describe('flows, with a table for each CPU', () => {
  it.each(flowFixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane({ tableByCpu: true });
    run(plane, fixture);
  });
});

/** Performs a fixture's steps, checking each packet. */
function run(on: TestDataPlane, fixture: Fixture): void {
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
  if (isEcho || step.reason === 'tx_reset')
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
