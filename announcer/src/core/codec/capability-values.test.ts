import { describe, expect, it } from 'vitest';
import type { Capability } from './capability.ts';
import {
  addPathReceivers,
  addPathSendCapability,
  extendedNextHopCapability,
  gracefulRestartCapability,
  gracefulRestartOf,
  longLivedCapability,
  longLivedOf,
  roleCapability,
  roleOf,
  takesExtendedNextHop,
} from './capability-values.ts';

const hex = ({ code, value }: Capability) => [code, Buffer.from(value).toString('hex')];
const capability = (code: number, text: string): Capability => ({
  code,
  value: Uint8Array.from(Buffer.from(text, 'hex')),
});
const ipv4 = { afi: 1, safi: 1 };
const ipv6 = { afi: 2, safi: 1 };

describe('graceful restart (RFC 4724 3, RFC 8538 2)', () => {
  const value = {
    restarted: true,
    notification: true,
    restartTimeSeconds: 120,
    families: [
      { ...ipv4, forwarding: true },
      { ...ipv6, forwarding: false },
    ],
  };

  it('is R, N, time and families with F', () => {
    expect(hex(gracefulRestartCapability(value))).toEqual([64, 'c0780001018000020100']);
    expect(gracefulRestartOf([capability(64, 'c0780001018000020100')])).toEqual(value);
  });

  it('counts the last of several, ignores a malformed one', () => {
    const found = gracefulRestartOf([capability(64, '0078'), capability(64, '8001')]);
    expect(found).toMatchObject({
      restarted: true,
      notification: false,
      restartTimeSeconds: 1,
      families: [],
    });
    expect(gracefulRestartOf([capability(64, '007800')])).toBeUndefined();
    expect(gracefulRestartOf([])).toBeUndefined();
  });
});

describe('long-lived graceful restart (RFC 9494 4.1)', () => {
  const families = [
    { ...ipv4, forwarding: true, staleTimeSeconds: 0xff_ffff },
    { ...ipv6, forwarding: false, staleTimeSeconds: 3600 },
  ];

  it('is families with F and 24 bits of seconds', () => {
    expect(hex(longLivedCapability(families))).toEqual([71, '00010180ffffff00020100000e10']);
    const restart = capability(64, '0078');
    expect(longLivedOf([restart, capability(71, '00010180ffffff00020100000e10')])).toEqual(families);
    // A helper that never restarts itself, as BIRD with "aware".
    expect(longLivedOf([restart, capability(71, '')])).toEqual([]);
  });

  it('is nothing without graceful restart, or malformed', () => {
    expect(longLivedOf([capability(71, '00010180ffffff')])).toBeUndefined();
    expect(longLivedOf([capability(64, '0078'), capability(71, '00010180ffff')])).toBeUndefined();
    expect(longLivedOf([capability(64, '0078')])).toBeUndefined();
  });
});

it('ADD-PATH: we send, the peer must receive (RFC 7911 4)', () => {
  expect(hex(addPathSendCapability([ipv4, ipv6]))).toEqual([69, '0001010200020102']);
  expect(addPathReceivers([capability(69, '0001010100020103')])).toEqual([ipv4, ipv6]);
  // Send alone; an undefined value; a length that is none.
  expect(addPathReceivers([capability(69, '0001010200020105'), capability(69, '000101')])).toEqual([]);
});

it('extended next hop: IPv4 unicast over IPv6 (RFC 8950 4)', () => {
  expect(hex(extendedNextHopCapability)).toEqual([5, '000100010002']);
  expect(takesExtendedNextHop([capability(5, '000100800002000100010002')])).toBe(true);
  expect(takesExtendedNextHop([capability(5, '000100800002'), capability(5, '00')])).toBe(false);
});

it('roles (RFC 9234 4)', () => {
  expect(hex(roleCapability('customer'))).toEqual([9, '03']);
  expect(roleOf([capability(9, '00'), capability(9, '00')])).toBe(0);
  expect(roleOf([capability(9, '00'), capability(9, '03')])).toBe('conflict');
  expect(roleOf([capability(9, '0000')])).toBeUndefined();
});
