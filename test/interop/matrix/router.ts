import type { RouterName } from './names.ts';
import type { SessionName } from './topology.ts';

/** What the matrix asks of a router, whatever it is. */
export interface Router {
  readonly name: RouterName;
  /** Starts the daemon with all sessions that it can have. */
  start(): void;
  stop(): void;
  /** What it holds of a prefix from a session, as its own text; empty when it has none. */
  route(session: SessionName, prefix: string): string;
  /** What it says of a session, as its own text. */
  neighbor(session: SessionName): string;
  /** Asks for all routes of IPv4 unicast again. */
  refresh(session: SessionName): void;
  /** What the daemon has logged. */
  log(): string;
}

/** AS of all routers, and ours. */
export const routerAs = 65000;
export const ourAs = 65001;

/** The right password, and the one that the router has instead. */
export const password = 'matrix-secret';
export const otherPassword = 'another-secret';
