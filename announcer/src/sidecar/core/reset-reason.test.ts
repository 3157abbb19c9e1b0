import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { parseSidecarConfig } from './config.ts';
import { resetReason } from './reset-reason.ts';

function configOf(speaker: object) {
  const parsed = parseSidecarConfig({
    as: 65001,
    peers: [{ address: '10.0.0.1', as: 65000 }],
    services: [{ name: 'web', vips: ['203.0.113.10'], checks: [{ type: 'tcp', port: 80 }] }],
    ...speaker,
  });
  if (!parsed.ok) throw new Error(parsed.error[0]?.message);
  return parsed.value;
}

it('says why every session ends', () => {
  const found = ipAddress('10.0.0.21');
  const before = configOf({});
  expect(resetReason(before, configOf({ gracefulShutdown: '5s' }), found)).toBeUndefined();
  expect(resetReason(before, configOf({ routerId: '10.0.0.21' }), found)).toBeUndefined();
  expect(resetReason(before, configOf({ as: 65002 }), found)).toContain('as from 65001 to 65002,');
  const other = configOf({ as: 65002, routerId: '10.0.0.9' });
  expect(resetReason(before, other, found)).toContain(' and routerId from 10.0.0.21 to 10.0.0.9');
});
