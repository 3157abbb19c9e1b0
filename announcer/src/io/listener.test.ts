import { execFileSync } from 'node:child_process';
import { openFreshNetwork } from '@l4d/kit/ffi/fresh-network.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { createListener } from './listener.ts';

it('is marked as internetwork control before the first SYN can come', () => {
  const network = openFreshNetwork();
  const listener = createListener(createManualClock(), pino({ level: 'silent' }), () => {});
  try {
    // Within one turn of the loop: whatever it did in a later one would come after the first SYN of a quick router.
    const shown = network.run(() => {
      listener.setPort(179);
      return execFileSync('ss', ['-Hltn', '--tos'], { encoding: 'utf8' });
    });
    expect(shown).toMatch(/0\.0\.0\.0:179 .* tos:0xc0/);
    expect(shown).toMatch(/\[::\]:179 .* tclass:0xc0/);
    expect(listener.error()).toBeUndefined();
  } finally {
    listener.setPort(undefined);
    network.close();
  }
});

it('says why a port cannot be had', () => {
  const network = openFreshNetwork();
  const clock = createManualClock();
  const logger = pino({ level: 'silent' });
  const other = createListener(clock, logger, () => {});
  const listener = createListener(clock, logger, () => {});
  try {
    network.run(() => {
      other.setPort(179);
      listener.setPort(179);
    });
    expect(listener.error()).toMatch(/cannot listen on 0\.0\.0\.0 port 179: EADDRINUSE/);
    expect(listener.error()).toMatch(/cannot listen on :: port 179: EADDRINUSE/);
  } finally {
    for (const one of [listener, other]) one.setPort(undefined);
    network.close();
  }
});
