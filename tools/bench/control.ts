/**
 * What control costs by the number of VIPs: loading, one change, one verdict of a check, restarting, memory. Ten backends
 * a VIP on 1,000 servers, whose addresses the kernel knows; all checks but one VIP's are off, so that nothing but control
 * is measured. Sizes cannot alternate (each is a host of its own): what differs between them by less than the spread of
 * either is not told apart by one run.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { type BenchResult, type BenchRow, summarize } from './core/rows.ts';
import { benchVip, type ControlLab, checkedVip, createControlLab, serverAddress } from './io/control-lab.ts';

const sizes = [10, 1000, 10_000] as const;
/** Changes of each kind a lab: enough for a median that does not move. */
const changes = 40;
/** Verdicts, which take a check each. */
const verdicts = 15;
/** Changes right after a start. */
const firstChanges = 5;
/** Of /metrics, each with other requests meanwhile. */
const scrapes = 3;
/** Between two changes: what one leaves to do afterwards does not count for the next. */
const pauseMs = 75;

type Take = (name: string, metric: string, unit: string, value: number) => void;

/** Runs all sizes. Needs root, bpftool and room for the maps. */
export async function run(progress: (line: string) => void): Promise<BenchResult> {
  const samples = new Map<string, number[]>();
  for (const size of sizes) {
    progress(`${size} VIPs with ${size * 10} backends`);
    const lab = await createControlLab();
    try {
      await measure(lab, size, (name, metric, unit, value) => {
        const key = JSON.stringify([name, metric, unit]);
        samples.set(key, [...(samples.get(key) ?? []), value]);
      });
    } finally {
      await lab.remove();
    }
  }
  const rows = [...samples].map(([key, values]): BenchRow => {
    const [name = '', metric = '', unit = ''] = JSON.parse(key) as string[];
    return { bench: 'control', case: name, subject: 'l4d', metric, unit, ...summarize(values) };
  });
  return { rows, missing: [] };
}

async function measure(lab: ControlLab, size: number, take: Take): Promise<void> {
  const at = `at ${size} VIPs`;
  lab.writeConfig(size);
  take(
    `load ${size} VIPs x ${size * 10} backends`,
    'from start to read back and told',
    'ms',
    await lab.start(),
  );
  take(
    `load ${size} VIPs x ${size * 10} backends`,
    'processor time of the daemon',
    'ms',
    lab.processorTime(),
  );
  // While the start may still have left something to do.
  for (let index = 0; index < firstChanges; index++) {
    const begin = performance.now();
    await lab.ask('PATCH', `/v1/vips/vip-${index}`, { enabled: false });
    take(`one of the first changes ${at}`, 'answered', 'ms', performance.now() - begin);
  }
  await sleep(1500);
  const each = async (name: string, change: (index: number) => Promise<unknown>) => {
    for (let index = 0; index < changes; index++) {
      const begin = performance.now();
      await change(index);
      take(`${name} ${at}`, 'answered', 'ms', performance.now() - begin);
      await sleep(pauseMs);
    }
  };
  await each('one VIP more', (index) => lab.ask('POST', '/v1/vips', benchVip(200_000 + index)));
  const { vips } = (await lab.ask('GET', '/v1/status')) as FabricStatus;
  const left = vips.filter(
    ({ name, verdict }) => name.startsWith('vip-200') && verdict.code === 'not-programmed',
  );
  if (left.length > 0)
    throw new OperatorError(`${left.length} of the VIPs that were added are not programmed`);
  await each('one backend changed', (index) => {
    const vip = firstChanges + (index % (10 - firstChanges));
    const backend = serverAddress((vip * 10) % 1000);
    return lab.ask('PATCH', `/v1/vips/vip-${vip}/backends/${backend}`, { weight: 2 + index });
  });
  await each('one VIP less', (index) => lab.ask('DELETE', `/v1/vips/vip-${200_000 + index}`));
  await lab.ask('POST', '/v1/vips', checkedVip);
  await lab.setHealth(true);
  const busyBefore = lab.processorTime();
  for (let index = 0; index < verdicts; index++) {
    const name = `one verdict ${at}`;
    take(name, 'from the check to the VIP', 'ms', await lab.setHealth(index % 2 === 1));
    await sleep(pauseMs);
  }
  take(
    `one verdict ${at}`,
    'processor time, checks included',
    'ms',
    (lab.processorTime() - busyBefore) / verdicts,
  );
  for (let index = 0; index < scrapes; index++) {
    const begin = performance.now();
    let isOver = false;
    const scrape = lab.ask('GET', '/metrics').finally(() => {
      isOver = true;
    });
    let longest = 0;
    while (!isOver) {
      const asked = performance.now();
      await lab.ask('GET', '/v1/host');
      longest = Math.max(longest, performance.now() - asked);
    }
    await scrape;
    take(`metrics ${at}`, 'answered', 'ms', performance.now() - begin);
    take(`metrics ${at}`, 'longest answer to another request meanwhile', 'ms', longest);
  }
  for (const [process, megabytes] of Object.entries(lab.resident())) {
    take(`memory ${at}`, `resident, ${process}`, 'MiB', megabytes);
  }
  take(`memory ${at}`, 'maps in the kernel', 'MiB', lab.mapBytes());
  await lab.stop();
  take(`restart ${at}`, 'from start to read back and told', 'ms', await lab.start());
  for (const [process, megabytes] of Object.entries(lab.resident())) {
    take(`memory after a restart ${at}`, `resident, ${process}`, 'MiB', megabytes);
  }
}
