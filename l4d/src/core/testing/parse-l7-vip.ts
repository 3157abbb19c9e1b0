import { type ProxyDesiredInput, parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { encodeDesiredState, parseDesiredState } from '../desired-state.ts';
import { proxyDesired } from '../proxy-desired.ts';

/** A state with one l7 VIP, which has a backend and the given fields. */
function parseL7Vip(vip: object): ReturnType<typeof parseDesiredState> {
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

/** What becomes of such a VIP: how it is stored, what the proxy is told, and how that reads it. Throws when it is refused. */
export function l7VipOnItsWay(vip: object): {
  readonly stored: object;
  readonly told: ProxyDesiredInput['listeners'][number];
  readonly read: ReturnType<typeof parseProxyDesired>;
} {
  const parsed = parseL7Vip(vip);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const [complete] = parsed.value.vips;
  const [stored] = (encodeDesiredState(parsed.value) as { vips: object[] }).vips;
  if (complete === undefined || stored === undefined) throw new Error('no VIP');
  const desired = proxyDesired([{ vip: complete, healthy: [true] }], parsed.value.host.proxy);
  const [told] = desired.listeners;
  if (told === undefined) throw new Error('no listener');
  return { stored, told, read: parseProxyDesired(desired) };
}
