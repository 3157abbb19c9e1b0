import { startProxyUnderTest } from '@l4d/l7/io/testing/proxy-under-test.ts';

/** A proxy in a process of its own that can be stopped: `relay-process.ts BACKEND_PORT LIMIT_BYTES`; says its port. */
const [port, relayBytes] = process.argv.slice(2).map(Number);
const proxy = await startProxyUnderTest(
  {},
  {
    backendPort: port ?? 0,
    idleMs: 60_000,
    listener: { mode: 'tcp', relay: 'kernel', limits: { relayBytes: relayBytes ?? 65_536 } },
  },
);
process.stdout.write(`${proxy.port}\n`);
process.on('message', () => process.send?.(proxy.status()));
