import { describe } from 'vitest';
import { daemonsKilledFor } from '../../tools/scenarios/daemons-killed.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  // Three times what routers wait for a speaker that is dead.
  itHolds(fabricForTests('daemons-killed'), daemonsKilledFor(10));
});
