import { readFile, rm } from 'node:fs/promises';
import { writeFileAtomically } from '@l4d/kit/atomic-file.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { z } from 'zod';

/** A service that an operator has taken out. */
export interface Maintenance {
  /** Unix time in milliseconds. */
  readonly since: number;
  /** When it ends by itself, Unix time in milliseconds; undefined: when it is called off. */
  readonly until?: number | undefined;
  /** The operator's words. */
  readonly reason?: string | undefined;
}

const fileSchema = z.strictObject({
  version: z.literal(1),
  services: z.record(
    z.string(),
    z.strictObject({
      since: z.number(),
      until: z.number().optional(),
      reason: z.string().optional(),
    }),
  ),
});

/** Which services are in maintenance, kept over restarts: a sidecar that comes back must not announce them. */
export interface MaintenanceStore {
  /** Rejects with OperatorError when what is kept cannot be read: announcing would be a guess. */
  load(): Promise<Map<string, Maintenance>>;
  save(services: ReadonlyMap<string, Maintenance>): Promise<void>;
}

/** A store in one file. */
export function createMaintenanceStore(path: string): MaintenanceStore {
  return {
    async load() {
      let text: string;
      try {
        text = await readFile(path, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
        throw unreadable(path, error);
      }
      try {
        return new Map(Object.entries(fileSchema.parse(JSON.parse(text)).services));
      } catch (error) {
        throw unreadable(path, error);
      }
    },
    async save(services) {
      if (services.size === 0) {
        await rm(path, { force: true });
        return;
      }
      await writeFileAtomically(
        path,
        `${JSON.stringify({ version: 1, services: Object.fromEntries(services) })}\n`,
      );
    },
  };
}

function unreadable(path: string, error: unknown): OperatorError {
  const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
  return new OperatorError(
    `${path} cannot be read, so it is not known which services are in maintenance: ${reason} (remove it to end all maintenance)`,
    exitCode.system,
  );
}
