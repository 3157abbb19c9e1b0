import { expect, test } from 'vitest';
import { proxyDigest } from './companions.ts';

test('verdicts are looked at again when workers of the proxy begin to serve, and when they end', () => {
  const before = proxyDigest({ registered: false, listeners: [] });
  expect(proxyDigest({ registered: true, listeners: [] })).not.toBe(before);
  expect(proxyDigest({ registered: false, listeners: [] })).toBe(before);
});
