import { describe } from 'vitest';
import { silentHost } from '../../tools/scenarios/silent-host.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('silent-host'), silentHost);
});
