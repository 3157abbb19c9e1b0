import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { z } from 'zod';

const fileSchema = z.strictObject({
  version: z.literal(1),
  addresses: z.array(z.string().refine((text) => parseIpAddress(text).ok)),
});

/**
 * Which addresses this sidecar has set, kept over restarts: those of another sidecar on this host look the same to the
 * kernel. Without a disk it is kept in memory alone: then a crash may leave an address behind.
 */
export interface AddressRecord {
  has(address: string): boolean;
  all(): readonly string[];
  /** Settles when it is kept, or cannot be. */
  change(added: readonly string[], removed: readonly string[]): Promise<void>;
}

/** The record in a file; one that cannot be read is begun anew. Addresses are in canonical text. */
export async function openAddressRecord(path: string, logger: Logger): Promise<AddressRecord> {
  const addresses = new Set<string>();
  let hasFailed = false;
  try {
    for (const one of fileSchema.parse(JSON.parse(await readFile(path, 'utf8'))).addresses)
      addresses.add(one);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      const text = 'not known which addresses on lo were set before: none is taken away';
      logger.warn({ path, error: firstLine(error) }, text);
    }
  }
  return {
    has: (address) => addresses.has(address),
    all: () => [...addresses],
    async change(added, removed) {
      const before = addresses.size;
      for (const one of added) addresses.add(one);
      const changed = removed.filter((one) => addresses.delete(one)).length > 0 || addresses.size !== before;
      if (!changed) return;
      try {
        const content = { version: 1, addresses: [...addresses].sort() };
        await writeFileAtomically(path, `${JSON.stringify(content)}\n`);
        hasFailed = false;
      } catch (error) {
        // Announcing does not depend on it.
        if (!hasFailed) logger.warn({ path, error: firstLine(error) }, 'the addresses set cannot be kept');
        hasFailed = true;
      }
    },
  };
}

function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}
