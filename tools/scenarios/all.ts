import { announcerKilled } from './announcer-killed.ts';
import { backendDeath } from './backend-death.ts';
import { daemonsKilled } from './daemons-killed.ts';
import { declare } from './declare.ts';
import { detach } from './detach.ts';
import { draining } from './draining.ts';
import { health } from './health.ts';
import { neighbour } from './neighbour.ts';
import { proxied } from './proxied.ts';
import type { Scenario } from './scenario.ts';
import { silentHost } from './silent-host.ts';

/** All stories, in the order in which the demo tells them. */
export const scenarios: readonly Scenario[] = [
  declare,
  health,
  draining,
  backendDeath,
  neighbour,
  silentHost,
  daemonsKilled,
  announcerKilled,
  detach,
  proxied,
];
