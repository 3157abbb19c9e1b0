import { describe } from 'vitest';
import { proxied } from '../../tools/scenarios/proxied.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('proxied'), proxied);
});
