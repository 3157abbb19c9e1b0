import { describe } from 'vitest';
import { announcerKilled } from '../../tools/scenarios/announcer-killed.ts';
import { fabricForTests, itHolds } from './support/fabric.ts';

describe('the fabric', () => {
  itHolds(fabricForTests('announcer-killed'), announcerKilled);
});
