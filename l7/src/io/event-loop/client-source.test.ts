import { ipAddress } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { expect, it } from 'vitest';
import { listenerCounters } from '../counters.ts';
import { startProxyUnderTest } from '../testing/proxy-under-test.ts';
import { countFailedSource } from './client-source.ts';

/* Clients whose address cannot be kept; those whose address is: test/integration/client-source.test.ts. */

const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

it('a request of a client that no backend can be spoken to from is answered, asks nobody, and is counted', async () => {
  const proxy = await startProxyUnderTest({}, { listener: { clientSource: {} } });
  const client = await proxy.client();
  client.send(request);
  expect(await client.got(/address\n$/)).toMatch(
    /^HTTP\/1\.1 502 .*no backend can be spoken to from your address\n$/s,
  );
  expect(proxy.status()).toMatchObject({
    sourceRefused: { address: 1 },
    backends: [{ requests: 0, errors: 0 }],
  });
  expect(proxy.backend.opened).toBe(0);
  client.socket.destroy();
  await proxy.stop();
});

it('a relay of such a client is reset, and counted', async () => {
  const proxy = await startProxyUnderTest({}, { mode: 'tcp', listener: { clientSource: {} } });
  // The reset may be there as soon as the connection is.
  const ended = await proxy.client().then(
    (client) => client.over(),
    (error: NodeJS.ErrnoException) => error.code,
  );
  expect(['reset', 'ECONNRESET']).toContain(ended);
  expect(proxy.status()).toMatchObject({ sourceRefused: { address: 1 }, unserved: 1 });
  await proxy.stop();
});

it('tells what the kernel has refused because of the address from what has failed otherwise', () => {
  const counters = listenerCounters(new Map(), 'web');
  const client = { address: '198.51.100.7', scheme: 'http', port: 80, withForwarded: false } as const;
  const origin = { listenerKey: 'web', counters, client, sourcePort: 4000, isTrusted: false, forwarded: '' };
  const [EPERM, EMFILE, ENETUNREACH, EADDRNOTAVAIL] = [1, 24, 101, 99];
  const of = (error: number, source: Uint8Array | undefined = ipAddress('198.51.100.7').bytes) =>
    countFailedSource(createLogger('l7-test'), source, error, origin);
  expect([of(EPERM), of(EADDRNOTAVAIL), of(EADDRNOTAVAIL)]).toEqual([true, true, true]);
  expect([
    of(EMFILE),
    of(ENETUNREACH),
    countFailedSource(createLogger('l7-test'), undefined, EADDRNOTAVAIL, origin),
  ]).toEqual([false, false, false]);
  expect(Object.fromEntries(counters.sourceRefused)).toEqual({ kernel: 1, ports: 2 });
});
