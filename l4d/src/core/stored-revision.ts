/**
 * How revisions of the desired state are written: a checkpoint is a state as a whole, a record what one revision changes
 * of the one before it. Text and files are elsewhere (io/state-store.ts).
 */
import { formatConfigProblem } from '@l4d/kit/errors.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { decodeWith } from '@l4d/kit/schema/decode.ts';
import { completeVip, encodeVip, type Vip, vipSchema } from './desired/vip.ts';
import { vipChanges, withVipChanges } from './desired/vip-changes.ts';
import {
  checkEditedState,
  type DesiredState,
  desiredStateSchema,
  emptyDesiredState,
  encodeDesiredState,
  type JsonObject,
  parseDesiredState,
} from './desired-state.ts';

/** A desired state and its number, which only grows. Revision 0 is the empty state of a new store. */
export interface StoredRevision {
  readonly revision: number;
  /** Revision that `undo` goes back to; absent when there is none. */
  readonly parent?: number;
  /** ISO 8601 time of the change. */
  readonly changedAt: string;
  /** What was done, such as `vip add web`. */
  readonly note?: string;
  readonly state: DesiredState;
}

/** Of checkpoints and records. */
const format = 1;

/** The JSON value of a whole revision. */
export function encodeCheckpoint(stored: StoredRevision): JsonObject {
  return { ...head(stored), desired: encodeDesiredState(stored.state) };
}

/** The JSON value of what a revision changes of the one before it. */
export function encodeRecord(before: DesiredState, stored: StoredRevision): JsonObject {
  const { state } = stored;
  const { at, removed, added } = vipChanges(before.vips, state.vips);
  const isSameRest =
    before.host === state.host && before.peers === state.peers && before.dynamicPeers === state.dynamicPeers;
  return {
    ...head(stored),
    ...(isSameRest ? {} : { rest: encodeDesiredState({ ...state, vips: [] }) }),
    ...(removed.length + added.length === 0
      ? {}
      : { vips: { at, remove: removed.length, add: added.map(encodeVip) } }),
  };
}

/** Reads encodeCheckpoint's value back; else what is wrong with it. */
export function decodeCheckpoint(json: unknown, revision: number): Result<StoredRevision, string> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return err('its format is undefined, known is 1');
  }
  const value = json as JsonObject;
  const known = decodeHead(value, revision);
  if (!known.ok) return known;
  const state = parseDesiredState(value['desired']);
  if (!state.ok) return err(problemText(state.error));
  return ok({ ...known.value, state: state.value });
}

/** Reads encodeRecord's value back upon the state before it; else what is wrong with it. */
export function decodeRecord(json: unknown, before: StoredRevision): Result<StoredRevision, string> {
  const value = (json ?? {}) as JsonObject;
  const known = decodeHead(value, before.revision + 1);
  if (!known.ok) return known;
  let { state } = before;
  if (value['rest'] !== undefined) {
    const rest = decodeWith(desiredStateSchema, value['rest']);
    if (!rest.ok) return err(problemText(rest.error));
    state = { ...rest.value, vips: state.vips };
  }
  if (value['vips'] !== undefined) {
    const { at, remove, add } = value['vips'] as { at: number; remove: number; add: unknown[] };
    const added: Vip[] = [];
    for (const one of add) {
      const vip = decodeWith(vipSchema, one);
      if (!vip.ok) return err(problemText(vip.error));
      added.push(completeVip(vip.value));
    }
    const removed = state.vips.slice(at, at + remove);
    state = { ...state, vips: withVipChanges(state.vips, { at, removed, added }) };
  }
  const checked = checkEditedState(before.state, state);
  return checked.ok ? ok({ ...known.value, state: checked.value }) : err(problemText(checked.error));
}

/** Revision of a record; undefined for what is none. */
export function recordRevision(json: unknown): number | undefined {
  const revision = (json as { revision?: unknown } | null)?.revision;
  return typeof revision === 'number' ? revision : undefined;
}

/** Whether a newer version of l4d wrote it: that version will want it back. */
export function isNewer(json: unknown): boolean {
  const { format: found, desired } = (json ?? {}) as { format?: unknown; desired?: { version?: unknown } };
  const above = (value: unknown, known: number) => typeof value === 'number' && value > known;
  return above(found, format) || above(desired?.version, emptyDesiredState.version);
}

function head({ revision, parent, changedAt, note }: StoredRevision): JsonObject {
  return {
    format,
    revision,
    ...(parent === undefined ? {} : { parent }),
    changedAt,
    ...(note === undefined ? {} : { note }),
  };
}

function decodeHead(json: JsonObject, revision: number): Result<Omit<StoredRevision, 'state'>, string> {
  if (json['format'] !== format)
    return err(`its format is ${JSON.stringify(json['format'])}, known is ${format}`);
  if (json['revision'] !== revision) {
    return err(`it says that it is revision ${JSON.stringify(json['revision'])}`);
  }
  const { parent, note } = json;
  return ok({
    revision,
    ...(typeof parent === 'number' ? { parent } : {}),
    changedAt: String(json['changedAt']),
    ...(typeof note === 'string' ? { note } : {}),
  });
}

function problemText(problems: readonly Parameters<typeof formatConfigProblem>[0][]): string {
  return problems.map((problem) => formatConfigProblem(problem)).join('; ');
}
