import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { addressesOf, natSettings, sourceAddress } from './nat-settings.ts';

const addresses = { ipv4: '10.0.0.11', ipv6: 'fd00::11' };
const usual = { first: 32_768, last: 60_999 };

test("without a declaration: the interface's addresses, and the ports below those of the kernel", () => {
  expect(natSettings({}, { addresses, localPorts: usual })).toEqual({
    settings: {
      sources: { ipv4: ipPrefix('10.0.0.11'), ipv6: ipPrefix('fd00::11') },
      ports: { first: 10_240, last: 32_767 },
    },
  });
  const one = natSettings(
    {},
    { addresses: { ipv4: '10.0.0.11' }, localPorts: { first: 20_000, last: 60_999 } },
  );
  expect(one.settings).toEqual({
    sources: { ipv4: ipPrefix('10.0.0.11') },
    ports: { first: 10_240, last: 19_999 },
  });
});

test('what is declared goes before', () => {
  const declared = { sourceIpv4: ipPrefix('192.0.2.0/28'), ports: { first: 61_000, last: 65_535 } };
  expect(natSettings(declared, { addresses, localPorts: usual })).toEqual({
    settings: {
      sources: { ipv4: ipPrefix('192.0.2.0/28'), ipv6: ipPrefix('fd00::11') },
      ports: { first: 61_000, last: 65_535 },
    },
  });
});

test('ports that programs of this host get are never used', () => {
  for (const ports of [
    { first: 30_000, last: 32_768 },
    { first: 60_999, last: 61_000 },
    { first: 20_000, last: 65_000 },
    { first: 40_000, last: 41_000 },
  ]) {
    const { settings, problem } = natSettings({ ports }, { addresses, localPorts: usual });
    expect(settings.ports).toBeUndefined();
    expect(problem).toMatch(/^host\.nat\.ports \d+-\d+ overlaps .* 32768-60999 \(allowed: a range outside\)/);
  }
  for (const ports of [
    { first: 30_000, last: 32_767 },
    { first: 61_000, last: 61_000 },
  ]) {
    expect(natSettings({ ports }, { addresses, localPorts: usual }).problem).toBeUndefined();
  }
  const { settings, problem } = natSettings({}, { addresses, localPorts: { first: 1024, last: 65_535 } });
  expect(settings.ports).toBeUndefined();
  expect(problem).toMatch(/^NAT has no ports: the kernel gives 1024-65535 to programs of this host/);
});

test('addresses of a prefix', () => {
  expect(addressesOf(ipPrefix('192.0.2.16/28'))).toBe(16);
  expect(addressesOf(ipPrefix('fd00::11'))).toBe(1);
  expect(sourceAddress(ipPrefix('192.0.2.16/28'), 15)).toBe('192.0.2.31');
  expect(sourceAddress(ipPrefix('fd00::/120'), 255)).toBe('fd00::ff');
});
