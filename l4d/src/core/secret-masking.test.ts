import { expect, test } from 'vitest';
import { diffDesired } from './desired-diff.ts';
import { encodeDesiredState, parseDesiredState } from './desired-state.ts';
import { maskSecrets } from './secret-masking.ts';

const document = (secret: string) => ({
  version: 1,
  host: { bgp: { as: 65_001, routerId: '10.0.0.11', listen: true } },
  peers: [
    { address: '10.0.0.1', as: 65_000, password: secret },
    { interface: 'eth0', as: 'external', tcpAo: { key: secret, sendId: 1, receiveId: 2 } },
    { address: 'fe80::1%eth1', as: 'internal', bfd: { auth: { type: 'keyed-sha1', key: secret } } },
  ],
  dynamicPeers: [{ range: '10.1.0.0/16', as: 65_000, password: secret }],
});

function state(secret: string) {
  const parsed = parseDesiredState(document(secret));
  if (!parsed.ok) throw new Error(parsed.error.map(({ path, message }) => `${path}: ${message}`).join('; '));
  return parsed.value;
}

test('no secret is left, and nothing else is gone', () => {
  const encoded = encodeDesiredState(state('hunter2'));
  const masked = JSON.stringify(maskSecrets(encoded));
  expect(masked).not.toContain('hunter2');
  expect(masked.replaceAll('********', 'hunter2')).toBe(JSON.stringify(encoded));
});

test('a change of a secret is told, the secret is not', () => {
  const changes = diffDesired(state('hunter2'), state('hunter3'));
  expect(changes.map(({ subject }) => subject)).toEqual([
    'peer 10.0.0.1',
    'peer eth0',
    'peer fe80::1%eth1',
    'peers of 10.1.0.0/16',
  ]);
  expect(changes[0]?.fields).toEqual(['password: changed (not shown)']);
  expect(JSON.stringify(changes)).not.toMatch(/hunter/);
});

test.each([
  ['the mask itself', '********', /is the mask of a secret/],
  ['two lines', 'hunter2\nhunter3', /the value is not shown/],
  ['a long one', 'hunter2'.repeat(20), /the value is not shown/],
  ['nothing', '', /the value is not shown/],
])('refuses %s as a secret without telling it', (_name, secret, why) => {
  const parsed = parseDesiredState(document(secret));
  expect(parsed.ok).toBe(false);
  const told = parsed.ok ? [] : parsed.error;
  expect(told.map(({ path }) => path)).toEqual([
    'peers[0].password',
    'peers[1].tcpAo.key',
    'peers[2].bfd.auth.key',
    'dynamicPeers[0].password',
  ]);
  for (const { message, hint } of told) {
    expect(message).toMatch(why);
    expect(`${message} ${hint}`).not.toMatch(/hunter/);
  }
});
