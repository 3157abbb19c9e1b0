import { expect, it } from 'vitest';
import { descriptorRoom, lookAtLimit, roomWithin } from './descriptor-room.ts';

it.each([
  [64, { clients: 40, backends: 48, sessions: 24 }],
  [1024, { clients: 880, backends: 1008, sessions: 504 }],
  [1_048_576, { clients: 1_047_536, backends: 1_048_560, sessions: 524_280 }],
])('of %i open files', (limit, room) => {
  expect(roomWithin(limit)).toEqual(room);
});

it('reads the limit of this process', () => {
  lookAtLimit();
  expect(descriptorRoom().clients).toBeGreaterThan(100);
});
