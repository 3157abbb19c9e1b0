import { choice, listUpTo, portNumber, text } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { checkTiming, remoteChecks } from './check.ts';

/** How a service beside us is asked whether it can serve: over the network, by a program, or by asking the kernel. */
export const localCheckSchema = z.discriminatedUnion('type', [
  ...remoteChecks,
  z.strictObject({
    type: z.literal('exec'),
    ...checkTiming,
    /** Program and its parameters; no shell in between. 0 is good. */
    command: listUpTo(100, text('a word of a command', /^[^\0]+$/, 'no zero bytes'), 'words').min(1, {
      error: 'is empty (needed: a program, and its parameters)',
    }),
  }),
  z.strictObject({
    type: z.literal('listening'),
    ...checkTiming,
    protocol: choice('a protocol', ['tcp', 'udp']).prefault('tcp'),
    /** Port that a process has to listen on; by default the service's. */
    port: portNumber.exactOptional(),
  }),
]);

/** How a service beside us is asked. */
export type LocalCheck = z.output<typeof localCheckSchema>;
