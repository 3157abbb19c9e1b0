import { describe, expect, it } from 'vitest';
import {
  describeProbe,
  isNeeded,
  type KernelFeatureKey,
  kernelFeatures,
  missingNeeded,
} from './kernel-features.ts';

describe('describeProbe', () => {
  it('names what is missing, since when kernels have it, and what follows', () => {
    expect(
      describeProbe([
        { feature: 'lruHash', present: true },
        { feature: 'links', present: false, detail: 'EINVAL' },
        { feature: 'jiffies', present: false },
        { feature: 'nativeXdp', present: false, detail: 'EOPNOTSUPP' },
      ]),
    ).toEqual([
      'yes  LRU hash maps, for flows',
      'NO   XDP links whose program is swapped while packets flow: Linux 5.9 and later (EINVAL)',
      '       l4d does not run without it',
      'NO   the time in ticks without a call: Linux 5.6 and later',
      '       each packet asks a clock for it: about 15 ns more',
      "NO   XDP in the interface's driver: by driver (EOPNOTSUPP)",
      '       generic mode: the kernel makes a buffer of each frame first, several times slower',
    ]);
  });
});

describe('missingNeeded', () => {
  it('is what l4d does not run without', () => {
    const results = [
      { feature: 'compiler', present: false },
      { feature: 'lookup', present: false },
      { feature: 'links', present: true },
    ] as const;
    expect(missingNeeded(results).map(({ feature }) => feature)).toEqual(['lookup']);
  });
});

describe('kernelFeatures', () => {
  it('needs nothing that the oldest kernel of ours has not', () => {
    const needed = Object.entries(kernelFeatures).filter(([key]) => isNeeded(key as KernelFeatureKey));
    for (const [key, { since }] of needed) {
      const [major = 0, minor = 0] = since.split('.').map(Number);
      expect(major * 100 + minor, key).toBeLessThanOrEqual(601);
    }
    expect(isNeeded('programs')).toBe(true);
    expect(isNeeded('compiler')).toBe(false);
  });
});
