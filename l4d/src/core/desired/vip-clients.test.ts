import { expect, it } from 'vitest';
import { l7VipOnItsWay, problemsOfL7Vip } from '../testing/parse-l7-vip.ts';

it.each([
  [{ proxyProtocol: 'v3' }, /proxyProtocol: .*v3.*allowed: v1, v2/],
  [{ trustedProxies: ['10.0.0.0/33'] }, /trustedProxies\[0\]: /],
  [{ acceptProxyProtocol: true }, /acceptProxyProtocol: is set, but trustedProxies is empty/],
  [{ mode: 'socks', proxyProtocol: 'v1' }, /proxyProtocol: is not allowed for mode socks/],
  [{ mode: 'tcp', forwardedHeader: true }, /forwardedHeader: is allowed for mode http only/],
  [{ mode: 'tcp', via: 'edge' }, /via: is allowed for mode http only/],
  [{ via: 'edge one' }, /via: .*edge one.*allowed: 1 to 64 letters/],
  [{ via: 'x'.repeat(65) }, /via: .*allowed: 1 to 64 letters/],
  [{ policy: 'forward', via: 'edge' }, /via: is allowed for policy l7 only/],
  [{ mode: 'tcp', keepAliveTimeout: '1m' }, /keepAliveTimeout: is allowed for mode http only/],
  [{ keepAliveTimeout: '1ms' }, /keepAliveTimeout: .*100ms to /],
  [{ policy: 'forward', keepAliveTimeout: '1m' }, /keepAliveTimeout: is allowed for policy l7 only/],
  [{ mode: 'tcp', trustedProxies: ['10.0.0.0/8'] }, /trustedProxies: there are no requests in mode tcp/],
  [{ policy: 'forward', proxyProtocol: 'v1' }, /proxyProtocol: is allowed for policy l7 only/],
  [{ policy: 'forward', forwardedHeader: true }, /forwardedHeader: is allowed for policy l7 only/],
])('refused: %j', (vip, message) => {
  expect(problemsOfL7Vip(vip)).toMatch(message);
});

it('the proxy is told, takes it, and it is stored as it was written', () => {
  const fields = {
    trustedProxies: ['10.9.0.0/16'],
    acceptProxyProtocol: true,
    forwardedHeader: true,
    via: 'edge-1.example',
    keepAliveTimeout: '2m',
    proxyProtocol: 'v2',
  };
  const { stored, read } = l7VipOnItsWay(fields);
  expect(stored).toMatchObject(fields);
  const { forwardedHeader: forwarded, keepAliveTimeout: _, ...same } = fields;
  const listener = { ...same, forwarded, timeouts: { keepAliveMs: 120_000 } };
  expect(read).toMatchObject({ ok: true, value: { listeners: [listener] } });
});
