/** The announcer API's part about virtual routers, and what it tells of them. */
import { parseIpAddress } from '@l4d/kit/ip-address.ts';
import { z } from 'zod';
import { sharePriority } from './share-owner.ts';

const vrid = z.number().int().min(1).max(255);

const addressText = z.string().superRefine((text, context) => {
  const parsed = parseIpAddress(text);
  if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.error });
});

/** Virtual routers that share the clients of a group among the hosts. */
const shareSchema = z.strictObject({
  /** One for each host, the same list on all of them; `vrid` of the group is this host's own. */
  vrids: z.array(vrid).min(2).max(32),
  /** How much worse each next host of the ring is. */
  step: z.number().int().min(1).max(50).default(5),
});

const groupSchema = z
  .strictObject({
    id: z.string().min(1).max(63),
    interface: z.string().min(1).max(15),
    vrid,
    /** Of one or both families; each family is a virtual router of its own. */
    addresses: z.array(addressText).min(1).max(100_000),
    /** 255: this host has the addresses as its own. */
    priority: z.number().int().min(1).max(255).default(100),
    /** False: this host leaves and takes no part. */
    enabled: z.boolean().default(true),
    preempt: z.boolean().default(true),
    preemptDelayMs: z.number().int().min(0).max(3_600_000).default(0),
    /** In whole centiseconds. */
    advertiseIntervalMs: z
      .number()
      .int()
      .min(10)
      .max(40_950)
      .refine((value) => value % 10 === 0, { message: 'must be a multiple of 10' })
      .default(1000),
    /** The kernel of the owner takes what is sent to the addresses. */
    accept: z.boolean().default(false),
    /** Clients are told the virtual MAC address; false: that of the interface. */
    useVmac: z.boolean().default(false),
    /** Of IPv4 advertisements that are sent; both are taken. */
    checksum: z.enum(['rfc9568', 'rfc5798']).default('rfc9568'),
    garp: z
      .strictObject({
        /** Rounds after a take-over. */
        repeat: z.number().int().min(1).max(100).default(5),
        intervalMs: z.number().int().min(10).max(60_000).default(200),
        /** One more round so often; 0 for none. */
        refreshMs: z.number().int().min(0).max(86_400_000).default(60_000),
      })
      .prefault({}),
    share: shareSchema.optional(),
  })
  .superRefine((group, context) => {
    const { share, priority } = group;
    if (share === undefined) return;
    const refuse = (path: PropertyKey[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    if (!share.vrids.includes(group.vrid)) refuse(['share', 'vrids'], `must hold vrid ${group.vrid}`);
    if (new Set(share.vrids).size !== share.vrids.length) refuse(['share', 'vrids'], 'holds one twice');
    if (!group.useVmac) refuse(['useVmac'], 'must be true with share');
    if (priority === 255) refuse(['priority'], 'must be at most 254 with share');
  });

/** The part `vrrp` of `PUT /v1/desired`. */
export const vrrpSchema = z
  .strictObject({
    /** Pinned array of 512 octets-wide flags that tells programs which virtual MAC addresses are this host's. */
    ownedMacsPin: z.string().startsWith('/').optional(),
    groups: z.array(groupSchema).max(255),
  })
  .superRefine(({ groups, ownedMacsPin }, context) => {
    const ids = new Set<string>();
    const taken = new Map<string, string>();
    for (const [index, group] of groups.entries()) {
      const refuse = (field: string, message: string) =>
        context.addIssue({ code: 'custom', path: ['groups', index, field], message });
      if (ids.has(group.id)) refuse('id', 'appears more than once');
      ids.add(group.id);
      if (group.accept && group.useVmac && ownedMacsPin === undefined) {
        // The stack takes frames for the interface's own MAC address alone.
        refuse('accept', 'goes with useVmac only where a program takes the frames: ownedMacsPin is missing');
      }
      for (const one of group.share?.vrids ?? [group.vrid]) {
        const key = `${group.interface} ${one}`;
        const other = taken.get(key);
        if (other !== undefined) refuse('vrid', `${one} on ${group.interface} is that of group ${other}`);
        taken.set(key, group.id);
      }
    }
  });

/** The part `vrrp` as a client may send it. */
export type VrrpInput = z.input<typeof vrrpSchema>;

/** The part `vrrp` with all defaults. */
export type VrrpDesired = z.output<typeof vrrpSchema>;

/** A group of addresses that move together. */
export type VrrpGroup = VrrpDesired['groups'][number];

/** This host's priority for one of the virtual routers of a group. */
export function groupPriority({ vrid: own, priority, share }: VrrpGroup, router: number): number {
  if (share === undefined) return priority;
  const { vrids, step } = share;
  return sharePriority(priority, vrids.length, vrids.indexOf(own), vrids.indexOf(router), step);
}
