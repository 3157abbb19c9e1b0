import { expect, it } from 'vitest';
import { l7VipOnItsWay, problemsOfL7Vip } from '../testing/parse-l7-vip.ts';

const tls = { certificates: [{ cert: '/etc/l4d/a.pem' }] };

it.each([
  [{ relay: 'sockmap' }, /relay: .*sockmap.*allowed: proxy, kernel/],
  [{ mode: 'udp', relay: 'kernel' }, /relay: kernel is not allowed for mode udp/],
  [{ mode: 'tcp', relay: 'kernel', tls }, /relay: kernel is not allowed with tls/],
  [{ relay: 'kernel', backendTls: { verify: false } }, /relay: kernel is not allowed with backendTls/],
  [{ policy: 'forward', relay: 'kernel' }, /relay: is allowed for policy l7 only/],
  [{ mode: 'tcp', relayBytes: 65_536 }, /relayBytes: bounds what waits in the kernel/],
  [{ mode: 'tcp', relay: 'kernel', relayBytes: 1000 }, /relayBytes: .*65536 to 1073741824/],
])('refused: %j', (vip, message) => {
  expect(problemsOfL7Vip(vip)).toMatch(message);
});

it.each(['tcp', 'tls-passthrough', 'http'])('mode %s: the proxy is told', (mode) => {
  const fields = { mode, relay: 'kernel', relayBytes: 1_048_576 };
  const { stored, read } = l7VipOnItsWay(fields);
  expect(stored).toMatchObject({ relay: 'kernel', relayBytes: 1_048_576 });
  const listener = { relay: 'kernel', limits: { relayBytes: 1_048_576 } };
  expect(read).toMatchObject({ ok: true, value: { listeners: [listener] } });
});
