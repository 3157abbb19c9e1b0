import { once } from 'node:events';
import { mkdirSync, openSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { createAdaptorServer } from '@hono/node-server';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { tryLock } from '@l4d/kit/ffi/libc.ts';
import type { Hono } from 'hono';

/**
 * Takes the run directory for this process until it ends: a lock file, because a socket left by
 * a crash cannot be told from one in use without a race. Throws OperatorError when another
 * proxy has it.
 */
export function claimRunDir(runDir: string): void {
  mkdirSync(runDir, { recursive: true, mode: 0o755 });
  // Held open on purpose: closing it would give the lock up.
  if (!tryLock(openSync(join(runDir, 'proxy.lock'), 'w', 0o600))) {
    throw new OperatorError(
      `a proxy is already running on ${join(runDir, 'proxy.sock')}`,
      exitCode.alreadyRunning,
    );
  }
}

/** Serves the API on `proxy.sock` (mode 0600). The run directory must be claimed. Rejects with the socket's error. */
export async function serveApi(runDir: string, api: Hono): Promise<Server> {
  const path = join(runDir, 'proxy.sock');
  rmSync(path, { force: true });
  const server = createAdaptorServer({ fetch: api.fetch }) as Server;
  // By umask and not afterwards by chmod: at no moment may others connect.
  const umask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(umask);
  }
  await once(server, 'listening');
  return server;
}
