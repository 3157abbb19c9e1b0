import type { Lab } from '../lab/lab.ts';
import type { Product } from '../lab/product.ts';
import type { Traffic } from '../lab/traffic.ts';

/** What scenarios act on: a lab that is up, the product in it, and traffic from its client. */
export interface LabFabric {
  readonly lab: Lab;
  readonly product: Product;
  readonly traffic: Traffic;
}

/** Where a scenario tells what it does and sees: the demo prints it, tests are silent. */
export interface Report {
  /** A step, in one sentence. */
  step(text: string): void;
  /** A command as an operator types it on a host. */
  command(host: string, line: string): void;
  /** What was seen: lines or a small table as text. */
  show(text: string): void;
}

/** One thing that was to be proved, and what was measured. */
export interface Fact {
  /** What holds when all is well, as a sentence. */
  readonly claim: string;
  readonly holds: boolean;
  /** The measured values, for people. */
  readonly seen: string;
}

/** All that a scenario has to say in the end. */
export type Facts = readonly Fact[];

/** One story about the fabric. It begins with `resetFabric` and leaves daemons running. */
export interface Scenario {
  /** One word, as in the name of its file. */
  readonly name: string;
  readonly title: string;
  /** How many facts it tells, so that none goes missing unseen. */
  readonly factCount: number;
  run(fabric: LabFabric, report: Report): Promise<Facts>;
}

/** A report that says nothing. */
export const silentReport: Report = { step() {}, command() {}, show() {} };

/** Gathers facts. */
export function collectFacts(): {
  readonly facts: Fact[];
  readonly prove: (claim: string, holds: boolean, seen: unknown) => void;
} {
  const facts: Fact[] = [];
  return {
    facts,
    prove: (claim, holds, seen) =>
      facts.push({ claim, holds, seen: typeof seen === 'string' ? seen : (JSON.stringify(seen) ?? '-') }),
  };
}
