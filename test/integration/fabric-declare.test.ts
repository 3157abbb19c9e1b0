import { describe } from 'vitest';
import { declare } from '../../tools/scenarios/declare.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('declare'), declare);
});
