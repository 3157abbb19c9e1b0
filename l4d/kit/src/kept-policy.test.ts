import { expect, test } from 'vitest';
import { readKeptPolicy } from './kept-policy.ts';
import { parseProxyDesired } from './proxy-api.ts';

test('a policy of a version that knew less, or more, is read as this one would have written it', () => {
  const own = parseProxyDesired({
    workers: 2,
    listeners: [
      {
        name: 'names',
        address: '203.0.113.25',
        port: 53,
        mode: 'udp',
        udp: { maxSessions: 100 },
        pools: [{ name: 'default', backends: [{ address: '10.77.0.21', port: 53 }] }],
      },
    ],
  });
  if (!own.ok) throw new Error(JSON.stringify(own.error));
  expect(readKeptPolicy(structuredClone(own.value))).toEqual(own.value);
  const [listener] = own.value.listeners;
  if (listener === undefined) throw new Error('no listener');
  // Nothing but what has no default.
  const { name, address, port, mode, pools } = listener;
  const udp = { maxSessions: 100 };
  const older = { workers: 2, listeners: [{ name, address, port, mode, udp, pools }] };
  expect(readKeptPolicy(older)).toEqual(own.value);
  const newer = {
    ...own.value,
    ofTomorrow: 1,
    listeners: [{ ...listener, colour: 'red', udp: { ...listener.udp, depth: 3 } }],
  };
  expect(readKeptPolicy(structuredClone(newer))).toEqual(own.value);
});
