import type { Verdict } from '@l4d/health/core/verdict.ts';
import type { Condition } from './service-plan.ts';

/** A check in the sidecar's status. */
export interface CheckStatus {
  readonly type: string;
  readonly verdict: Verdict;
  /** Of the last outcome. */
  readonly reason: string;
  /** Milliseconds that the verdict has stood. */
  readonly sinceMs: number;
}

/** A service in the sidecar's status. */
export interface ServiceStatus {
  readonly name: string;
  readonly condition: Condition['kind'];
  readonly reason: string;
  readonly vips: readonly {
    readonly prefix: string;
    /** Routers that have been told. */
    readonly advertisedTo: readonly string[];
  }[];
  /** The addresses are on lo, or are no care of the sidecar. */
  readonly addressesThere: boolean;
  /** Why the addresses could not be set or taken away. */
  readonly addressError?: string;
  readonly checks: readonly CheckStatus[];
  readonly maintenance?: {
    /** RFC 3339. */
    readonly since: string;
    readonly until?: string;
    readonly reason?: string;
  };
}

/** Answer of `GET /v1/services`. */
export interface SidecarStatus {
  readonly pid: number;
  readonly services: readonly ServiceStatus[];
}

/** The services as a table for people: what, how, why, and who has been told. */
export function formatServices(status: SidecarStatus): string {
  const rows = status.services.map((service) => [
    service.name,
    service.vips.map(({ prefix }) => prefix).join(' '),
    service.condition,
    String(Math.max(0, ...service.vips.map(({ advertisedTo }) => advertisedTo.length))),
    service.addressError ?? service.maintenance?.reason ?? service.reason,
  ]);
  const table = [['SERVICE', 'VIPS', 'CONDITION', 'ROUTERS', 'REASON'], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => (row[column] ?? '').length)));
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
