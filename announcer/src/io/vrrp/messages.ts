import type { VrrpDesired } from '../../core/vrrp/config.ts';
import type { VrrpReason } from '../../core/vrrp/state-types.ts';
import type { VirtualRouterStatus, VrrpStatus } from '../../core/vrrp/status.ts';

/** From the announcer to the engine's process: a line of JSON each. */
export type VrrpRequest =
  /** `outliveMs`: how long what is configured goes on without an announcer. */
  | { readonly kind: 'configure'; readonly desired: VrrpDesired; readonly outliveMs: number }
  /** All leave with priority 0; answered by `stopped`. */
  | { readonly kind: 'shutdown' };

/** From the engine's process to the announcer: a line of JSON each. */
export type VrrpReport =
  | { readonly kind: 'changed'; readonly router: VirtualRouterStatus; readonly reason: VrrpReason }
  | { readonly kind: 'status'; readonly status: VrrpStatus }
  | { readonly kind: 'stopped' };
