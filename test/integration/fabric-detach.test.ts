import { describe } from 'vitest';
import { detach } from '../../tools/scenarios/detach.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('detach'), detach);
});
