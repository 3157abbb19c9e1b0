import type { Scenario } from './scenario.ts';

/** All stories, in the order in which the demo tells them. */
export const scenarios: readonly Scenario[] = [];
