import { execFileSync } from 'node:child_process';
import { missingNeeded } from '@l4d/l4d/core/kernel-features.ts';
import { probeKernel } from '@l4d/l4d/io/kernel-probe.ts';
import { expect, it } from 'vitest';

it('finds on this kernel all that l4d needs, and leaves nothing behind', async () => {
  const interfaces = () => execFileSync('ip', ['-d', 'link'], { encoding: 'utf8' });
  const before = interfaces();
  const results = await probeKernel();
  expect(missingNeeded(results)).toEqual([]);
  expect(results.length).toBeGreaterThan(8);
  expect(interfaces()).toBe(before);
});

it('names an interface that does not exist', async () => {
  await expect(probeKernel('l4dnone0')).rejects.toThrow('there is no interface l4dnone0 here');
});

it("tells whether an interface's driver runs XDP", async () => {
  const results = await probeKernel('lo');
  expect(results.at(-1)).toEqual({
    feature: 'nativeXdp',
    present: false,
    detail: 'the driver of lo has none',
  });
});
