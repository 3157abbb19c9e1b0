import { z } from 'zod';

/**
 * What the daemon found out and must not forget over a restart, else it would withdraw VIPs while
 * checks start again, or begin a drain's time anew. Keys are `VIP key|backend address` (backendKey).
 */
export const runtimeStateSchema = z.object({
  version: z.literal(1),
  verdicts: z.record(z.string(), z.enum(['up', 'down'])),
  /** Wall clock milliseconds. */
  drainsStarted: z.record(z.string(), z.number()),
});

/** See runtimeStateSchema. */
export type RuntimeState = z.output<typeof runtimeStateSchema>;

/** Nothing known. */
export const emptyRuntimeState: RuntimeState = { version: 1, verdicts: {}, drainsStarted: {} };

/** Key of one backend of one VIP; `port` tells backends of an l7 VIP on one address apart. */
export function backendKey(vipKey: string, address: string, port: number): string {
  return `${vipKey}|${address}|${port}`;
}
