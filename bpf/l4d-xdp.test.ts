import { afterEach, describe, it } from 'vitest';
import { anyPortFixtures } from './fixtures/any-port.ts';
import { echoFixtures } from './fixtures/echo.ts';
import { ethernetFixtures } from './fixtures/ethernet.ts';
import { flowFixtures } from './fixtures/flows.ts';
import { forwardFixtures } from './fixtures/forward.ts';
import { icmpErrorFixtures } from './fixtures/icmp-errors.ts';
import { ipv4Fixtures } from './fixtures/ipv4.ts';
import { ipv6Fixtures } from './fixtures/ipv6.ts';
import { quicFixtures } from './fixtures/quic.ts';
import { resetFixtures } from './fixtures/reset.ts';
import { schedulerFixtures } from './fixtures/schedulers.ts';
import { sizeFixtures } from './fixtures/sizes.ts';
import { sourceClassFixtures } from './fixtures/source-class.ts';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import type { Fixture } from './testing/fixture.ts';
import { runFixture } from './testing/run-fixture.ts';

let plane: TestDataPlane | undefined;

afterEach(() => {
  plane?.close();
  plane = undefined;
});

const groups: ReadonlyArray<readonly [string, readonly Fixture[]]> = [
  ['ethernet', ethernetFixtures],
  ['forward', forwardFixtures],
  ['ipv4', ipv4Fixtures],
  ['ipv6', ipv6Fixtures],
  ['echo', echoFixtures],
  ['icmp errors', icmpErrorFixtures],
  ['flows', flowFixtures],
  ['schedulers', schedulerFixtures],
  ['quic', quicFixtures],
  ['reset', resetFixtures],
  ['any port', anyPortFixtures],
  ['source class', sourceClassFixtures],
  ['sizes', sizeFixtures],
];

describe.each(groups)('%s', (_group, fixtures) => {
  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane();
    runFixture(plane, fixture);
  });
});

describe("flows, where the kernel's tick is not known", () => {
  it.each(flowFixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane({ tick: 0 });
    runFixture(plane, fixture);
  });
});

describe('flows, with a table for each CPU', () => {
  const ofOneFamily = flowFixtures.filter(({ name }) => name.startsWith('ipv4'));
  it.each(ofOneFamily.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane({ tableByCpu: true });
    runFixture(plane, fixture);
  });
});
