import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { type DesiredState, parseDesiredState } from '../core/desired-state.ts';
import type { HostInterface } from '../io/host-interface.ts';
import { refuseOtherInterface } from './interface-choice.ts';

/** The one that is served; none of the names below is there any more. */
const on: HostInterface = {
  name: 'gone0',
  index: 4_000_000,
  mac: new Uint8Array(6) as HostInterface['mac'],
  up: true,
  kind: undefined,
  mtu: 1500,
  addresses: { ipv4: undefined, ipv6: undefined },
  ownAddresses: new Set(),
  subnets: [] as IpPrefix[],
};

function stateOn(host: object): DesiredState {
  const parsed = parseDesiredState({ version: 1, host });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value;
}

test('interfaces that are gone refuse no change of something else', async () => {
  const before = stateOn({ interface: 'gone0', interfaces: ['gone1'] });
  const next = stateOn({ interface: 'gone0', interfaces: ['gone1'], draining: true });
  expect(await refuseOtherInterface(before, next, on)).toBeUndefined();
});

test('an interface that is newly declared must be there', async () => {
  const before = stateOn({ interface: 'gone0' });
  const further = await refuseOtherInterface(
    before,
    stateOn({ interface: 'gone0', interfaces: ['no9'] }),
    on,
  );
  expect(further?.problems).toMatchObject([{ path: 'host.interfaces' }]);
  const other = await refuseOtherInterface(before, stateOn({ interface: 'no9' }), on);
  expect(other?.problems).toMatchObject([{ path: 'host.interface' }]);
});
