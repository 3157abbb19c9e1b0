import { expect, test } from 'vitest';
import { diffDesired, diffWarnings } from './desired-diff.ts';
import { emptyDesiredState, parseDesiredState } from './desired-state.ts';

function stateWith(check: object) {
  const backends = [{ address: '10.0.0.1' }];
  const vip = { name: 'dns', address: '203.0.113.53', port: 53, protocol: 'udp', backends, check };
  const parsed = parseDesiredState({ version: 1, vips: [vip] });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

test('a UDP check that takes silence for good is warned of once', () => {
  const silent = stateWith({ type: 'udp' });
  expect(diffWarnings(emptyDesiredState, silent)).toEqual([expect.stringContaining('falls silent stays up')]);
  expect(diffWarnings(silent, silent)).toEqual([]);
  expect(diffWarnings(emptyDesiredState, stateWith({ type: 'udp', send: 'ping', expect: 'pong' }))).toEqual(
    [],
  );
});

test('of a mapping the fields that differ are told, each by its path', () => {
  const host = (fields: object) => {
    const parsed = parseDesiredState({ version: 1, host: fields });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    return parsed.value;
  };
  const before = host({ interface: 'eth0', capacity: { flows: 262_144 } });
  const after = host({
    interface: 'eth0',
    capacity: { flows: 65_536 },
    tunnel: { mtu: 1600 },
    interfaces: ['eth2'],
  });
  const [change] = diffDesired(before, after);
  expect(change?.fields.toSorted()).toEqual([
    'capacity.flows: 262144 -> 65536',
    'interfaces: [] -> ["eth2"]',
    'tunnel.mtu: unset -> 1600',
  ]);
});
