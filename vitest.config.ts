import { defineConfig } from 'vitest/config';
import { LongestFirst } from './tools/test/longest-first.ts';

/** Of an emulated machine, on which what takes milliseconds takes a second. */
const patience = Number(process.env['L4D_TEST_PATIENCE'] ?? 1);

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{announcer,l4d,l7,tools}/**/*.test.ts', 'test/unit/**/*.test.ts'],
          // By default one core of two stays unused.
          maxWorkers: 2,
          // Far above what any needs: only a hang is to fail by time.
          testTimeout: 60_000,
          exclude: ['**/node_modules/**'],
        },
      },
      {
        test: {
          name: 'bpf',
          include: ['bpf/**/*.test.ts'],
          testTimeout: 60_000 * patience,
          hookTimeout: 60_000 * patience,
          maxWorkers: 2,
        },
      },
      {
        test: {
          // By the soak kernel-devices alone: with devices that not every kernel has.
          name: 'guest',
          include: ['test/guest/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts', 'test/interop/**/*.test.ts'],
          // They mostly wait (for timers of routers, for detection): two files at a time fit on two cores.
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
    ],
  },
});
