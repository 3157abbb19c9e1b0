import { describe, expect, it } from 'vitest';
import { echoFixtures } from './fixtures/echo.ts';
import { flowFixtures } from './fixtures/flows.ts';
import { forwardFixtures } from './fixtures/forward.ts';
import { resetFixtures } from './fixtures/reset.ts';
import { checksumHolds, internetChecksum } from './testing/checksum.ts';
import { checksumStatuses, hasTshark } from './testing/tshark.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';

/** The measure that the fixtures are held against, held against others. */

describe('internetChecksum', () => {
  it('agrees with the example of RFC 1071 section 3', () => {
    const data = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(internetChecksum(data)).toBe(0xffff - 0xddf2);
  });

  it('tells zeros and all-ones apart', () => {
    expect(internetChecksum(new Uint8Array(8))).toBe(0xffff);
    expect(internetChecksum(Uint8Array.of(0xff, 0xff))).toBe(0);
    expect(checksumHolds(new Uint8Array(8))).toBe(false);
    expect(checksumHolds(Uint8Array.of(1))).toBe(false);
  });
});

const expectedFrames = [...echoFixtures, ...resetFixtures, ...forwardFixtures, ...flowFixtures]
  .flatMap((fixture) => fixture.steps)
  .filter(
    (step) => step.kind === 'send' && step.action === 'tx' && ['tx_echo', 'tx_reset'].includes(step.reason),
  )
  .flatMap((step) => (step.kind === 'send' && step.out !== undefined ? [step.out] : []));

describe('the fixtures', () => {
  it('expect answers whose checksums hold', () => {
    expect(expectedFrames.length).toBeGreaterThan(50);
    for (const frame of expectedFrames) expect(verifiedChecksums(frame)).toBe(true);
  });

  it.skipIf(!hasTshark())(
    'expect answers whose checksums tshark finds right (skipped without tshark)',
    () => {
      const statuses = checksumStatuses(expectedFrames);
      expect(statuses).toHaveLength(expectedFrames.length);
      for (const { ip, tcp, icmp, icmpv6 } of statuses) {
        // 1 is "good"; every frame has a transport checksum and no status but good ones.
        expect([ip, tcp, icmp, icmpv6].join()).toMatch(/^1?,(1,,|,1,|,,1)$/);
      }
    },
  );
});
