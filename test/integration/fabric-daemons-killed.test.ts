import { describe } from 'vitest';
import { daemonsKilled } from '../../tools/scenarios/daemons-killed.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('daemons-killed'), daemonsKilled);
});
