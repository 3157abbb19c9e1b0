import { announceSchema } from '@l4d/announcer/core/config/route-attributes.ts';
import { z } from 'zod';

/** How far the ending of a VIP (vip-ending.ts) has come; wall clock milliseconds. */
const storedEndingSchema = z.object({
  cause: z.enum(['removed', 'disabled', 'host-draining', 'stopping', 'detached']),
  since: z.number(),
  leftAt: z.number().exactOptional(),
  withdrawnAt: z.number().exactOptional(),
  over: z.object({ at: z.number(), by: z.enum(['quiet', 'bound', 'no-announcer']) }).exactOptional(),
  /** Of a VIP that is declared no more. */
  name: z.string().exactOptional(),
  announce: announceSchema.exactOptional(),
});

/** How far the ending of a VIP has come. */
export type StoredEnding = z.output<typeof storedEndingSchema>;

/** A planned stop that is under way. */
const stopSchema = z.object({ since: z.number(), text: z.string(), forced: z.boolean() });

/** A planned stop that is under way. */
export type StopRequest = z.output<typeof stopSchema>;

/** A VIP that was announced: enough to hand it over when it is declared no more. */
const announcedVipSchema = z.object({ name: z.string(), announce: announceSchema.exactOptional() });

/** A VIP that was announced. */
export type AnnouncedVip = z.output<typeof announcedVipSchema>;

/**
 * What the daemon found out and must not forget over a restart, else it would withdraw VIPs while
 * checks start again, or begin a drain's time anew. Keys are `VIP key|backend address` (backendKey).
 */
export const runtimeStateSchema = z.object({
  version: z.literal(1),
  verdicts: z.record(z.string(), z.enum(['up', 'down'])),
  /** Wall clock milliseconds. */
  drainsStarted: z.record(z.string(), z.number()),
  /** When a backend that came back began to get its weight in steps; wall clock milliseconds. */
  slowStarts: z.record(z.string(), z.number()).default({}),
  /** By VIP key, as the next two. */
  endings: z.record(z.string(), storedEndingSchema).default({}),
  announced: z.record(z.string(), announcedVipSchema).default({}),
  stop: stopSchema.exactOptional(),
  /** Whether the host's drain does not wait for another announcer. */
  drainForced: z.boolean().default(false),
  /** Number of the journal that goes on from here; 0: a version that kept none. */
  journal: z.number().default(0),
});

/** See runtimeStateSchema. */
export type RuntimeState = z.output<typeof runtimeStateSchema>;

/** The parts of the runtime state that have entries by key. */
export const runtimeTables = ['verdicts', 'drainsStarted', 'slowStarts', 'endings', 'announced'] as const;

/** A part of the runtime state that has entries by key. */
export type RuntimeTable = (typeof runtimeTables)[number];

/** What a line of the journal says: entries that changed, null for those that are gone; the rest always. */
export const runtimeChangeSchema = z.object({
  journal: z.number(),
  verdicts: z.record(z.string(), z.enum(['up', 'down']).nullable()).exactOptional(),
  drainsStarted: z.record(z.string(), z.number().nullable()).exactOptional(),
  slowStarts: z.record(z.string(), z.number().nullable()).exactOptional(),
  endings: z.record(z.string(), storedEndingSchema.nullable()).exactOptional(),
  announced: z.record(z.string(), announcedVipSchema.nullable()).exactOptional(),
  drainForced: z.boolean(),
  stop: stopSchema.nullable(),
});

/** See runtimeChangeSchema. */
export type RuntimeChange = z.output<typeof runtimeChangeSchema>;

/** Nothing known. */
export const emptyRuntimeState: RuntimeState = {
  version: 1,
  verdicts: {},
  drainsStarted: {},
  slowStarts: {},
  endings: {},
  announced: {},
  drainForced: false,
  journal: 0,
};

/** Key of one backend of one VIP; `port` tells backends of an l7 VIP on one address apart. */
export function backendKey(vipKey: string, address: string, port: number): string {
  return `${vipKey}|${address}|${port}`;
}
