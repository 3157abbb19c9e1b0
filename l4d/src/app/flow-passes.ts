import type { Clock } from '@l4d/kit/clock.ts';
import { type Duration, Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { createCensus, type FamilyCensus, type FlowTableCensus } from '../core/forwarding/flow-census.ts';
import type { DataPlane } from '../io/forwarding/data-plane.ts';

/** Goes through the flow table now and then, a little at a time. */
export interface FlowPasses {
  /** Undefined before the first pass is over. */
  census(): FlowTableCensus | undefined;
  stop(): void;
}

/** Between batches: 4,096 entries each, so 80,000 a second at most. */
const pause = Milliseconds(50);
/** Between passes, while loads are compared and while they are not. */
const shortRest = Seconds(1);
const longRest = Seconds(10);

/** Begins at once. Corrects what the programs count of backends whose loads are compared. */
export function startFlowPasses(parts: {
  readonly dataPlane: Pick<DataPlane, 'forwarding' | 'maps' | 'readFlows' | 'flowTick'>;
  readonly clock: Clock;
  readonly logger: Logger;
}): FlowPasses {
  const { dataPlane, clock, logger } = parts;
  const { forwarding, maps } = dataPlane;
  let last: FlowTableCensus | undefined;
  let stopped = false;
  let wake: (() => void) | undefined;
  /** Entries that were there before, less what is known to have come in. */
  let baseline: number | undefined;

  const sleep = (delay: Duration): Promise<void> =>
    new Promise((resolve) => {
      const timer = clock.after(delay, resolve);
      wake = () => {
        timer.cancel();
        resolve();
      };
    });
  const cameIn = () => maps.readReasons()['note_flow_new'] ?? 0;

  async function pass(): Promise<void> {
    const vips = forwarding.countedVips();
    const begun = clock.now();
    const cameInBefore = cameIn();
    const comparedBefore = forwarding.comparedBackends();
    const loadsBefore = new Map(
      [...comparedBefore.keys()].map((index) => [index, maps.readBackendFlows(index)]),
    );
    const loads = new Map<number, number>();
    const families: FamilyCensus[] = [];
    for (const family of [4, 6] as const) {
      const census = createCensus(vips, dataPlane.flowTick(), loads);
      for await (const batch of dataPlane.readFlows(family)) {
        if (stopped) return;
        for (let place = 0; place < batch.count; place++) {
          census.add({
            vipId: batch.vipId(place),
            backend: batch.backend(place),
            generation: batch.generation(place),
            lastTick: batch.lastTick(place),
            isClosed: batch.isClosed(place),
          });
        }
        if (batch.count > 0) await sleep(pause);
      }
      families.push(census.result());
    }
    // Half of what came and went meanwhile was seen: the middle of before and after is what the pass has counted. It is
    // off by half of that at most. A number that is another backend's now has a count that began at nothing.
    for (const [index, generation] of forwarding.comparedBackends()) {
      const before = loadsBefore.get(index);
      if (before === undefined || comparedBefore.get(index) !== generation) continue;
      const expected = (before + maps.readBackendFlows(index)) / 2;
      const change = Math.round((loads.get(index) ?? 0) - expected);
      if (change !== 0) maps.addBackendFlows(index, change);
    }
    const [ipv4, ipv6] = families;
    if (ipv4 === undefined || ipv6 === undefined) return;
    const missing = (cameInBefore + cameIn()) / 2 - ipv4.entries - ipv6.entries;
    baseline ??= missing;
    const evicted = Math.max(last?.evicted ?? 0, Math.round(missing - baseline));
    last = { ipv4, ipv6, evicted, tookMs: Math.round(clock.now() - begun) };
  }

  async function run(): Promise<void> {
    while (!stopped) {
      await pass().catch((error: unknown) => logger.warn({ err: error }, 'the flow table could not be read'));
      if (!stopped) await sleep(forwarding.comparedBackends().size > 0 ? shortRest : longRest);
    }
  }
  void run();

  return {
    census: () => last,
    stop() {
      stopped = true;
      wake?.();
    },
  };
}
