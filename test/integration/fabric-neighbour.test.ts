import { describe } from 'vitest';
import { neighbour } from '../../tools/scenarios/neighbour.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('neighbour'), neighbour);
});
