import { expect, it } from 'vitest';
import { noTunnelRelay } from './tunnel-relay-support.ts';

it.each([
  ['6.1.0-56-amd64', false],
  ['6.17.9', false],
  ['5.19.0', false],
  ['6.18.44-fc', true],
  ['6.18-rc1', true],
  ['7.0.1', true],
  ['unknown', false],
])('%s: %s', (release, may) => {
  expect(noTunnelRelay(release) === undefined).toBe(may);
});
