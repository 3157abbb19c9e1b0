import { describe } from 'vitest';
import { draining } from '../../tools/scenarios/draining.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('draining'), draining);
});
