/**
 * The desired state: everything that an operator says, in one schema, whole and versioned.
 *
 *   JSON value --parseDesiredState--> DesiredState --encodeDesiredState--> JSON value
 *
 * The fields are under desired/, one file a noun; desired/rules.ts holds what spans fields.
 */

import { dynamicPeersSchema } from '@l4d/announcer/core/config/dynamic-peer.ts';
import { peerSchema } from '@l4d/announcer/core/config/peer.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { decodeWith } from '@l4d/kit/schema/decode.ts';
import type { JsonObject } from '@l4d/kit/schema/json.ts';
import { type PathProblem, showValue } from '@l4d/kit/schema/problem.ts';
import { list } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { hostSchema } from './desired/host.ts';
import { checkRules } from './desired/rules.ts';
import { completeVip, encodeVip, type Vip, vipKeyText, vipSchema } from './desired/vip.ts';
import { changedVips, vipChanges } from './desired/vip-changes.ts';
import { relatedVips, vipIndexOf } from './desired/vip-index.ts';

export type { Peer } from '@l4d/announcer/core/config/peer.ts';
export type { Check, StatusRange } from '@l4d/health/core/check.ts';
export type { JsonObject } from '@l4d/kit/schema/json.ts';
export type { Backend } from './desired/backend.ts';
export type { Host } from './desired/host.ts';
export type { Access, MinHealthy, Route, Vip } from './desired/vip.ts';

/** The whole document, as declared. */
export const desiredStateSchema = z.strictObject({
  version: z.literal(1, {
    error: ({ input }) =>
      input === undefined
        ? 'is missing (needed: version: 1)'
        : `${showValue(input)} is not a version known here (allowed: 1)`,
  }),
  host: hostSchema.prefault({}),
  peers: list(peerSchema, 'peers').prefault([]),
  /** Whoever connects from these ranges is a neighbour too. */
  dynamicPeers: list(dynamicPeersSchema, 'ranges').exactOptional(),
  vips: list(vipSchema, 'VIPs').prefault([]),
});

/** Everything that an operator said, valid and complete. Treat as immutable. */
export type DesiredState = Omit<z.output<typeof desiredStateSchema>, 'vips'> & {
  readonly vips: readonly Vip[];
};

/** The state of a host that was told nothing. */
export const emptyDesiredState: DesiredState = { ...desiredStateSchema.decode({ version: 1 }), vips: [] };

/**
 * Reads a JSON value as desired state; every problem found is told. What the value leaves out is filled
 * in; the table size of a VIP that `previous` holds under the same address, port and protocol is kept.
 */
export function parseDesiredState(
  json: unknown,
  previous?: DesiredState,
): Result<DesiredState, PathProblem[]> {
  const declared = decodeWith(desiredStateSchema, json);
  if (!declared.ok) return declared;
  const before = new Map((previous?.vips ?? []).map((vip) => [vipKeyText(vip), vip]));
  return checkDesiredState({
    ...declared.value,
    vips: declared.value.vips.map((vip) => completeVip(vip, before.get(vipKeyText(vip)))),
  });
}

/** Checks the rules that span fields over a state that was changed. */
export function checkDesiredState(state: DesiredState): Result<DesiredState, PathProblem[]> {
  const problems = checkRules(state);
  return problems.length === 0 ? ok(state) : err(problems);
}

/**
 * Checks a state that an edit made of one that is right. Rules relate VIPs by what they share, so it is enough to
 * look at those that changed and those related to them: an edit of one VIP costs the same among many as among few.
 */
export function checkEditedState(
  before: DesiredState,
  after: DesiredState,
): Result<DesiredState, PathProblem[]> {
  const changes = changedVips(before.vips, after.vips);
  if (!isOfVipsAlone(before, after) || changes.added.length > maxEditedVips) return checkDesiredState(after);
  const concerned = relatedVips(vipIndexOf(before.vips), [...changes.added, ...changes.removed]);
  for (const vip of changes.removed) concerned.delete(vip);
  for (const vip of changes.added) concerned.add(vip);
  // Where something is wrong the whole is checked again: problems are told by place.
  if (checkRules({ ...after, vips: [...concerned] }).length > 0) return checkDesiredState(after);
  return ok(after);
}

/** Whether everything else is the very same. */
function isOfVipsAlone(one: DesiredState, other: DesiredState): boolean {
  return one.host === other.host && one.peers === other.peers && one.dynamicPeers === other.dynamicPeers;
}

/** From so many changed VIPs on all are checked. */
const maxEditedVips = 1000;

/** Whether two states say the same: a change that changes nothing is no revision. */
export function sameDesiredState(one: DesiredState, other: DesiredState): boolean {
  const changes = vipChanges(one.vips, other.vips);
  if (changes.added.length !== changes.removed.length) return false;
  const text = (vip: Vip) => JSON.stringify(encodeVip(vip));
  const rest = (state: DesiredState) => JSON.stringify(encodeDesiredState({ ...state, vips: [] }));
  if (!isOfVipsAlone(one, other) && rest(one) !== rest(other)) return false;
  return changes.added.every((vip, index) => text(vip) === text(changes.removed[index] as Vip));
}

/**
 * The same as `next`, with the very VIPs of `before` wherever they say the same: what is new as a value is looked at
 * as a change.
 */
export function withKnownVips(before: DesiredState, next: DesiredState): DesiredState {
  const known = new Map(before.vips.map((vip) => [vipKeyText(vip), vip]));
  const vips = next.vips.map((vip) => {
    const old = known.get(vipKeyText(vip));
    const isSame = old !== undefined && JSON.stringify(encodeVip(old)) === JSON.stringify(encodeVip(vip));
    return isSame ? old : vip;
  });
  return { ...next, vips };
}

/** The JSON value of a state; parseDesiredState reads it back as the same. */
export function encodeDesiredState(state: DesiredState): JsonObject {
  return { ...z.encode(desiredStateSchema, { ...state, vips: [] }), vips: state.vips.map(encodeVip) };
}

/** JSON Schema (2020-12) of the document. */
export function desiredStateJsonSchema(): JsonObject {
  return z.toJSONSchema(desiredStateSchema, { io: 'input' });
}
