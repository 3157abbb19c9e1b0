import { describe } from 'vitest';
import { backendDeath } from '../../tools/scenarios/backend-death.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('backend-death'), backendDeath);
});
