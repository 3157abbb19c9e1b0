import { describe } from 'vitest';
import { health } from '../../tools/scenarios/health.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('health'), health);
});
