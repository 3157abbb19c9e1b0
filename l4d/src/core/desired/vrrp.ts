import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { choice, durationText, flag, integer, list, notA, text } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';

const vrid = integer('a virtual router identifier', 1, 255);

/** Name of a group, and of the group of a VIP. */
export const vrrpGroupName = text(
  'a name',
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
  '1 to 63 letters, digits, ".", "_", "-"',
);

/** Unsolicited announcements of the owner. */
const garpSchema = z.strictObject({
  /** Rounds after a take-over. */
  repeat: integer('a number of rounds', 1, 100).prefault(5),
  interval: durationText(Milliseconds(10), Seconds(60)).prefault('200ms'),
  /** One more round so often; 0s for none. */
  refresh: durationText(Milliseconds(0), Seconds(86_400)).prefault('60s'),
});

/** All hosts carry traffic: each has a virtual router of its own. */
const shareSchema = z.strictObject({
  /** One for each host, the same list on all of them. */
  vrids: list(vrid, 'virtual router identifiers')
    .min(2, { error: 'has fewer than 2 (allowed: 2 to 32, one for each host)' })
    .max(32, { error: 'has more than 32 (allowed: 2 to 32, one for each host)' }),
  /** How much worse each next host of the ring is. */
  step: integer('a priority step', 1, 50).prefault(5),
});

/** VIPs that move between hosts together (RFC 9568). */
export const vrrpGroupSchema = z.strictObject({
  id: vrrpGroupName,
  vrid,
  /** 255 is for owners of the addresses, which a balancer is not. */
  priority: integer('a priority', 1, 254).prefault(100),
  /** What the priority loses when no backend of the group is healthy, and its share when some are not. */
  healthWeight: integer('a weight', 0, 253).prefault(50),
  preempt: flag().prefault(true),
  /** By default as long as the group's slowest check may differ between hosts. */
  preemptDelay: durationText(Milliseconds(0), Seconds(3600)).exactOptional(),
  advertiseInterval: durationText(Milliseconds(10), Milliseconds(40_950))
    .refine((value) => value % 10 === 0, {
      error: notA('an interval', 'whole hundredths of a second, such as 100ms'),
    })
    .prefault('1s'),
  useVmac: flag().exactOptional(),
  /** Of IPv4 advertisements that are sent; both are taken. */
  checksum: choice('a checksum', ['rfc9568', 'rfc5798']).prefault('rfc9568'),
  garp: garpSchema.prefault({}),
  share: shareSchema.exactOptional(),
});

/** VIPs of the hosts' own subnet. */
export const hostVrrpSchema = z.strictObject({
  groups: list(vrrpGroupSchema, 'groups').max(255, { error: 'has more than 255 groups (allowed: 255)' }),
});

/** A group as declared. */
export type DeclaredVrrpGroup = z.output<typeof vrrpGroupSchema>;
