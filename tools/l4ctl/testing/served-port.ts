import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMemoryPort, type MemoryPort } from '@l4d/l4d/io/api/memory-port.ts';
import { startApiServer } from '@l4d/l4d/io/api-server.ts';

/** A daemon's API over a state in memory, and the run folder in which its socket is. */
export interface ServedPort {
  readonly folder: string;
  readonly port: MemoryPort;
  /** From here on the daemon does not answer. */
  endListening(): Promise<void>;
  /** Once is enough, whether it still listens or not. */
  close(): Promise<void>;
}

/** Serves a new state in a new folder. */
export async function servePort(): Promise<ServedPort> {
  const folder = await mkdtemp(join(tmpdir(), 'l4ctl-'));
  const port = createMemoryPort();
  const listener = await startApiServer({ socketPath: join(folder, 'l4d.sock'), port, version: 'test' });
  let isListening = true;
  const endListening = async () => {
    if (!isListening) return;
    isListening = false;
    await listener.close();
  };
  return {
    folder,
    port,
    endListening,
    async close() {
      await endListening();
      await rm(folder, { recursive: true });
    },
  };
}
