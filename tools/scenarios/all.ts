import { backendDeath } from './backend-death.ts';
import { declare } from './declare.ts';
import { draining } from './draining.ts';
import { health } from './health.ts';
import { neighbour } from './neighbour.ts';
import type { Scenario } from './scenario.ts';

/** All stories, in the order in which the demo tells them. */
export const scenarios: readonly Scenario[] = [declare, health, draining, backendDeath, neighbour];
