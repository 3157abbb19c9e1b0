import type { IpFamily } from '../ip-address.ts';
import { ok, type Result } from '../result.ts';
import { decodeAttributes, decodeU32, encodePayload, encodeU32, viewOf } from './codec.ts';
import { addressLength, familyNumber } from './codec-address.ts';
import { headerLength, RULE_TO_TABLE } from './constants.ts';

/** A rule that sends packets of a mark, or that come in by an interface, to a table. */
export interface RuleSpec {
  readonly family: IpFamily;
  /** Lower is asked first; 0 is the kernel's own lookup of the local table. */
  readonly priority: number;
  readonly table: number;
  /** Matches when `packet mark & markMask === mark`. */
  readonly mark?: number;
  /** All bits by default. */
  readonly markMask?: number;
  /** Name of the interface that the packet has come in by; left out: any, and what this host sends. */
  readonly incoming?: string;
}

/** A rule as the kernel tells it. */
export interface Rule {
  readonly family: IpFamily;
  readonly priority: number;
  readonly table: number;
  readonly mark: number | undefined;
  readonly markMask: number | undefined;
  readonly incoming: string | undefined;
  /** FR_ACT_* number; 1 is a table lookup. */
  readonly action: number;
}

const attribute = { IIFNAME: 3, PRIORITY: 6, FWMARK: 10, TABLE: 15, FWMASK: 16 } as const;

/** Payload of RTM_GETRULE for a dump of one family. */
export function encodeRuleRequest(family: IpFamily): Uint8Array {
  const header = new Uint8Array(headerLength.RULE);
  header[0] = familyNumber(family);
  return header;
}

/** Payload of RTM_NEWRULE and RTM_DELRULE. */
export function encodeRule(rule: RuleSpec): Uint8Array {
  const header = new Uint8Array(headerLength.RULE);
  header[0] = familyNumber(rule.family);
  header[4] = rule.table < 256 ? rule.table : 0;
  header[7] = RULE_TO_TABLE;
  const attributes: [number, Uint8Array][] = [
    [attribute.PRIORITY, encodeU32(rule.priority)],
    [attribute.TABLE, encodeU32(rule.table)],
  ];
  if (rule.mark !== undefined) {
    attributes.push([attribute.FWMARK, encodeU32(rule.mark)]);
    attributes.push([attribute.FWMASK, encodeU32(rule.markMask ?? 0xffffffff)]);
  }
  if (rule.incoming !== undefined)
    attributes.push([attribute.IIFNAME, new TextEncoder().encode(`${rule.incoming}\0`)]);
  return encodePayload(header, attributes);
}

/** Payload of RTM_NEWRULE or RTM_DELRULE; `ok(undefined)` for a family that is not IP. */
export function decodeRule(payload: Uint8Array): Result<Rule | undefined, string> {
  const attributes = decodeAttributes(payload, headerLength.RULE);
  if (!attributes.ok) return attributes;
  const view = viewOf(payload);
  const length = addressLength(view.getUint8(0));
  if (length < 0) return ok(undefined);
  return ok({
    family: length === 4 ? 4 : 6,
    priority: decodeU32(attributes.value.get(attribute.PRIORITY)) ?? 0,
    table: decodeU32(attributes.value.get(attribute.TABLE)) ?? view.getUint8(4),
    mark: decodeU32(attributes.value.get(attribute.FWMARK)),
    markMask: decodeU32(attributes.value.get(attribute.FWMASK)),
    incoming: textOf(attributes.value.get(attribute.IIFNAME)),
    action: view.getUint8(7),
  });
}

/** Text of an attribute, which ends with a zero byte. */
function textOf(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value).replace(/\0.*$/, '');
}
