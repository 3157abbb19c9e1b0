import { networkInterfaces } from 'node:os';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { collectOctets } from './collect-octets.ts';
import type { Env } from './env.ts';
import { runL4ctl } from './program.ts';

// Whole plans of many VIPs take longer than a status.
const timeoutMs = 60_000;

const env: Env = {
  stdout: (output) => process.stdout.write(output),
  stderr: (output) => process.stderr.write(output),
  variables: process.env,
  request: (socketPath, method, path, body, headers) =>
    requestJson(socketPath, method, path, body, timeoutMs, headers),
  stdin: () => text(process.stdin),
  stdinBytes: (most) => collectOctets(process.stdin, most),
  stdoutBytes: (bytes) => process.stdout.write(bytes),
  isTerminal: process.stdout.isTTY === true,
  async sleep(milliseconds) {
    // What is watched may not change for days: nothing is written then that would tell.
    if (process.stdout.isTTY !== true && !(await import('@l4d/kit/ffi/reader.ts')).hasReader(1))
      process.exit(0);
    await sleep(milliseconds);
  },
  hostAddresses: () =>
    Object.values(networkInterfaces()).flatMap((addresses = []) =>
      addresses.flatMap(({ cidr }) => (cidr === null ? [] : [cidr])),
    ),
  now: Date.now,
};

// A reader that has seen enough (`l4ctl vip ls | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

process.exitCode = await runL4ctl(process.argv.slice(2), env);
