import type { ConfigProblem } from '@l4d/kit/errors.ts';
import type { Result } from '@l4d/kit/result.ts';
import type { DesiredState } from './desired-state.ts';
import type { FlowList, FlowQuery } from './forwarding/flow-query.ts';
import type { BgpStatus, ChangeView, FabricStatus, PlanView, VrrpView } from './status.ts';

/** A change was made meanwhile: the revision in force is another than the one that was asked for. */
export interface StaleRevision {
  readonly kind: 'stale';
  readonly revision: number;
}

/** The machine cannot be brought to this state, though it is valid by itself; nothing was changed. */
export interface RefusedState {
  readonly kind: 'refused';
  readonly problems: readonly ConfigProblem[];
}

/** It would withdraw more than one change should (change-guard.ts), and was not forced; nothing was changed. */
export interface GuardedChange {
  readonly kind: 'guarded';
  readonly reasons: readonly string[];
}

/** A change that was made. */
export interface StoredChange {
  readonly revision: number;
  /** What the operator should weigh of what was changed; as PlanView has it, without what is said of the rest. */
  readonly warnings: readonly string[];
}

/** Nothing is left to go back to. */
export interface NothingToUndo {
  readonly kind: 'nothing-to-undo';
}

/** What an undo has taken back. */
export interface UndoneChange extends StoredChange {
  /** Note of the change that was taken back, such as `vip add`; absent when it had none. */
  readonly undone?: string;
  /** What that changed back. */
  readonly changes: readonly ChangeView[];
}

/** What the API needs of the daemon. States given to it are valid. */
export interface ControlPort {
  /** The desired state in force. */
  desired(): { readonly revision: number; readonly state: DesiredState };
  /** Stores a new desired state and has it put into effect; refused when `ifRevision` is not in force. */
  replace(
    next: DesiredState,
    options: { readonly ifRevision?: number; readonly note?: string; readonly force?: boolean },
  ): Promise<Result<StoredChange, StaleRevision | RefusedState | GuardedChange>>;
  /** Goes back to the state before the one in force. */
  undo(options?: {
    readonly force?: boolean;
  }): Promise<Result<UndoneChange, NothingToUndo | StaleRevision | RefusedState | GuardedChange>>;
  /** Begins a planned stop: VIPs leave, the announcer says Cease with the text, the daemon ends. */
  stop(request: { readonly text?: string; readonly force?: boolean }): Promise<void>;
  /** What would happen if this were the desired state; moves nothing. */
  plan(next: DesiredState): Promise<PlanView>;
  /** Compares desired with actual state now and mends what differs; answers what was done, for people. */
  reconcile(): Promise<{ readonly operations: readonly string[] }>;
  status(): Promise<FabricStatus>;
  /** Entries of the tables of flows; those of a VIP that is not declared: none. */
  flows(query: FlowQuery): Promise<FlowList>;
  bgp(): Promise<BgpStatus>;
  vrrp(): Promise<VrrpView>;
  /** A request to the announcer's API, passed on; undefined when it does not answer. */
  askAnnouncer(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly body: unknown } | undefined>;
  /** Prometheus text, in parts that are made as they are taken: there may be much of it. */
  metrics(): AsyncIterable<string>;
}
