import { randomBytes } from 'node:crypto';
import { memoryFile, readWhole } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { ticketKeyBytes, ticketLifetimeSeconds } from '@l4d/kit/tls/ticket-keys.ts';

/** Keys of TLS session tickets that all workers share: a client's next connection may be another worker's. */
export interface TicketKeeper {
  /** A memory file of them: base64 in a JSON list, the newest first. It stays the keeper's. */
  file(): number;
  /** Takes those of a supervisor before this one, as a memory file that is the keeper's from now on. */
  adopt(file: number): void;
  stop(): void;
}

/** Makes a new key in each lifetime of a ticket; the one before still reads its tickets. `onChange`: they are others now. */
export function ticketKeeper(onChange: (file: number) => void): TicketKeeper {
  let keys: readonly string[] = [newKey()];
  let file = fileOf(keys);
  let isAdopted = false;

  function use(next: readonly string[]): void {
    keys = next;
    closeFd(file);
    file = fileOf(keys);
    onChange(file);
  }

  const timer = setInterval(() => use([newKey(), ...keys.slice(0, 1)]), ticketLifetimeSeconds * 1000);
  return {
    file: () => file,
    adopt(other) {
      const found = JSON.parse(new TextDecoder().decode(readWhole(other))) as string[];
      closeFd(other);
      // All workers have been told the same.
      if (!isAdopted) use(found);
      isAdopted = true;
    },
    stop: () => clearInterval(timer),
  };
}

function newKey(): string {
  return randomBytes(ticketKeyBytes).toString('base64');
}

function fileOf(keys: readonly string[]): number {
  return memoryFile('l4-proxy-tickets', Buffer.from(JSON.stringify(keys)));
}
