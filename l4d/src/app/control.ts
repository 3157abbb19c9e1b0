import type { AnnouncerStatus } from '@l4d/announcer/core/api-status.ts';
import { formatConfigProblem, OperatorError } from '@l4d/kit/errors.ts';
import { err, ok } from '@l4d/kit/result.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import { guardChange } from '../core/change-guard.ts';
import type { ControlPort, RefusedState } from '../core/control-port.ts';
import { diffDesired } from '../core/desired-diff.ts';
import { type DesiredState, sameDesiredState } from '../core/desired-state.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';
import type { RuntimeStore } from '../io/runtime-store.ts';
import type { StateStore } from '../io/state-store.ts';
import { checkTlsFiles } from '../io/tls-file-check.ts';
import { changeWarnings, planWarnings, type Surroundings } from './change-warnings.ts';
import type { Fabric } from './fabric.ts';
import { bgpStatus, fabricStatus, type StatusParts } from './fabric-status.ts';
import { listFlows } from './flow-list.ts';
import { metricsText } from './metrics-text.ts';
import type { PlannedStop } from './planned-stop.ts';
import { vrrpView } from './vrrp-view.ts';

/** What the API's port is made of. */
export interface ControlParts {
  readonly store: StateStore;
  readonly runtime: Pick<RuntimeStore, 'setDrainForced'>;
  readonly fabric: Pick<Fabric, 'touch' | 'preview'>;
  readonly dataPlane: DataPlane;
  readonly statusParts: StatusParts;
  /** When a health check last changed its verdict, by VIP. */
  readonly verdictTimes: ReadonlyMap<string, number>;
  readonly plannedStop: Pick<PlannedStop, 'begin'>;
  readonly announcerSocket: string;
  readonly surroundings: Surroundings;
  /** Why the interfaces of a state cannot be had; undefined when they can. */
  readonly refusedInterface: (next: DesiredState) => Promise<RefusedState | undefined>;
  /** Puts what the store holds into effect. */
  readonly takeDesired: () => Promise<void>;
  /** Looks at everything again; resolves with what was done, in words. */
  readonly reconcile: () => Promise<readonly string[]>;
  /** As it is now; undefined when the announcer does not answer. */
  readonly announcerStatus: () => Promise<AnnouncerStatus | undefined>;
  readonly wallClock: () => number;
}

/** What the API asks of the running daemon: each change is judged, stored, then put into effect. */
export function createControl(parts: ControlParts): ControlPort {
  const { store, runtime, fabric, dataPlane, statusParts, surroundings, wallClock } = parts;
  const desired = () => store.current().state;
  const forceDrain = (next: DesiredState, isForced: boolean) => {
    if (!next.host.draining) runtime.setDrainForced(false);
    else if (isForced) runtime.setDrainForced(true);
    if (isForced) fabric.touch();
  };
  const port: ControlPort = {
    desired: () => ({ revision: store.current().revision, state: store.current().state }),
    async replace(next, replaceOptions) {
      const refused = await parts.refusedInterface(next);
      if (refused !== undefined) return err(refused);
      const current = store.current();
      const files = checkTlsFiles(next.vips, wallClock(), current.state.vips);
      if (files.length > 0 && replaceOptions.force !== true) return err({ kind: 'refused', problems: files });
      const isStale =
        replaceOptions.ifRevision !== undefined && replaceOptions.ifRevision !== current.revision;
      const isForced = replaceOptions.force === true;
      if (!isStale && sameDesiredState(next, current.state)) {
        forceDrain(next, isForced);
        return ok({ revision: current.revision, warnings: [] });
      }
      const reasons = isStale || isForced ? [] : guardChange(current.state, next);
      if (reasons.length > 0) return err({ kind: 'guarded', reasons });
      const stored = await store.replace(next, replaceOptions);
      if (!stored.ok) {
        if (stored.error.kind === 'stale') return { ok: false, error: stored.error };
        throw new OperatorError('the store refused the change');
      }
      forceDrain(next, isForced);
      await parts.takeDesired();
      return ok({
        revision: stored.value.revision,
        warnings: await changeWarnings(current.state, next, surroundings),
      });
    },
    async undo(undoOptions = {}) {
      const target = store.undoTarget();
      const { revision: ifRevision, note, state: before } = store.current();
      const refused = target === undefined ? undefined : await parts.refusedInterface(target.state);
      if (refused !== undefined) return err(refused);
      const reasons =
        target === undefined || undoOptions.force === true ? [] : guardChange(desired(), target.state);
      if (reasons.length > 0) return err({ kind: 'guarded', reasons });
      const undone = await store.undo({ ifRevision });
      if (!undone.ok) return undone;
      forceDrain(desired(), undoOptions.force === true);
      await parts.takeDesired();
      const { revision, state } = undone.value;
      const changes = diffDesired(before, state);
      const warnings = await changeWarnings(before, state, surroundings);
      return ok({ revision, ...(note === undefined ? {} : { undone: note }), changes, warnings });
    },
    async plan(next) {
      const refused = await parts.refusedInterface(next);
      const problems = [
        ...(refused?.problems ?? []),
        ...checkTlsFiles(next.vips, wallClock(), desired().vips),
      ].map((problem) => formatConfigProblem(problem));
      return {
        ...(problems.length === 0 ? {} : { refused: problems }),
        changes: diffDesired(desired(), next),
        operations: fabric.preview(next),
        warnings: await planWarnings(desired(), next, surroundings),
        guard: guardChange(desired(), next),
      };
    },
    async stop(request) {
      parts.plannedStop.begin(request);
    },
    async reconcile() {
      return { operations: await parts.reconcile() };
    },
    async status() {
      return fabricStatus(statusParts);
    },
    async askAnnouncer(method, path, body) {
      return await requestJson(parts.announcerSocket, method, path, body).catch(() => undefined);
    },
    flows: (query) => listFlows(dataPlane, desired().vips, query),
    async bgp() {
      return bgpStatus(statusParts);
    },
    async vrrp() {
      // Asked anew: ownership moves faster than the announcer's status is looked at.
      return vrrpView(statusParts, await parts.announcerStatus());
    },
    metrics: () =>
      metricsText({ ...statusParts, verdictTimes: parts.verdictTimes, askAnnouncer: port.askAnnouncer }),
  };
  return port;
}
