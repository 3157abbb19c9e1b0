import { expect, test } from 'vitest';
import { errnoName, SyscallError } from './errors.ts';

test.each([
  [2, 'ENOENT'],
  [16, 'EBUSY'],
  [67, 'ENOLINK'],
  [95, 'ENOTSUP'],
  [524, 'ENOTSUPP'],
  [9999, 'errno 9999'],
])('errno %i is %s', (errno, name) => {
  expect(errnoName(errno)).toBe(name);
});

test('a failed call is named with its error', () => {
  expect(new SyscallError('bpf_link_update', 67)).toMatchObject({
    message: 'bpf_link_update: ENOLINK',
    code: 'ENOLINK',
  });
});
