import { parseDesiredState } from '../desired-state.ts';

/** A state with one l7 VIP, which has a backend and the given fields. */
export function parseL7Vip(vip: object): ReturnType<typeof parseDesiredState> {
  const backends = [{ address: '10.0.0.1' }];
  return parseDesiredState({
    version: 1,
    host: { interface: 'eth0' },
    vips: [{ name: 'web', address: '203.0.113.1', port: 80, policy: 'l7', backends, ...vip }],
  });
}

/** What is wrong with such a state, a line each; empty: nothing. */
export function problemsOfL7Vip(vip: object): string {
  const parsed = parseL7Vip(vip);
  return parsed.ok ? '' : parsed.error.map(({ path, message }) => `${path}: ${message}`).join('\n');
}
