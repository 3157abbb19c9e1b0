import { describe, expect, it } from 'vitest';
import { type BfdProcessSnapshot, decodeBfdSnapshot, encodeBfdSnapshot } from './bfd-snapshot.ts';

const session: BfdProcessSnapshot['engine']['sessions'][number] = {
  config: {
    peer: 'fe80::1%eth0',
    multihop: false,
    minTtl: 255,
    txIntervalMs: 50,
    rxIntervalMs: 50,
    multiplier: 3,
    echo: true,
    outliveMs: 0,
    auth: { type: 'meticulous-keyed-sha1', keyId: 3, key: 'k' },
  },
  machine: {
    localDiscriminator: 7,
    session: 'Up',
    diagnostic: 0,
    desiredMinTx: 50_000,
    requiredMinRx: 50_000,
    activeDesiredMinTx: 50_000,
    activeRequiredMinRx: 50_000,
    poll: 'running',
    remote: {
      session: 'Up',
      discriminator: 9,
      diagnostic: 0,
      desiredMinTx: 50_000,
      requiredMinRx: 50_000,
      requiredMinEchoRx: 0,
      multiplier: 3,
      demand: false,
      controlPlaneIndependent: false,
    },
    sendSequence: 0xffff_ffff,
    receivedSequence: 1,
    sentAgeMs: 12.5,
    sentContent: 'Up 0 9',
    armedInterval: 50_000,
  },
  timers: [
    { name: 'transmit', remainingMs: 31.25 },
    { name: 'detection', remainingMs: -3 },
  ],
  record: {
    verdict: 'up',
    flaps: 1,
    transitions: 4,
    packetsSent: 5,
    packetsReceived: 6,
    echoesReturned: 7,
    dropped: { 'wrong-ttl': 1 },
    sendErrors: {},
  },
  trail: { recent: [{ atMs: 1, direction: 'sent', hex: '20c0' }], following: 2 },
  sender: { descriptor: 1, sourcePort: 50_000 },
};

const whole: BfdProcessSnapshot = {
  handovers: 2,
  link: { descriptor: 0, unread: '{"kind', unsent: '7b' },
  verdicts: [{ peer: 'fe80::1%eth0', verdict: 'up' }],
  engine: {
    sessions: [session],
    leaving: [{ session, remainingMs: 100 }],
    receivers: [{ key: '6 singleHop', descriptor: 2, flood: true }],
    unassigned: { '6 singleHop': { 'no-session': 3 } },
    reflectors: [{ family: 6, packets: 3, silencer: 4 }],
  },
};

/** The text with one thing changed. */
const changed = (from: string, to: string) => encodeBfdSnapshot(whole).replace(from, to);

describe('the state of BFD', () => {
  it('is the same after its way', () => {
    expect(decodeBfdSnapshot(encodeBfdSnapshot(whole), 5)).toEqual({ ok: true, value: whole });
  });

  it.each([
    ['no JSON', '{', 'the state of BFD is not JSON'],
    ['another format', changed('"format":1', '"format":2'), 'is of format 2, this version reads 1'],
    ['nothing', 'null', 'is of format undefined'],
    [
      'a field that is missing',
      changed('"sendSequence":4294967295,', ''),
      'machine.sendSequence: must be a number',
    ],
    [
      'a state that there is not',
      changed('"session":"Up"', '"session":"Upper"'),
      'machine.session: must be one of',
    ],
    [
      'a count that is none',
      changed('"wrong-ttl":1', '"wrong-ttl":"1"'),
      'dropped.wrong-ttl: must be a number',
    ],
    ['a list that is none', changed('"verdicts":[', '"verdicts":{},"x":['), 'state.verdicts: must be a list'],
    ['a socket that is missing', changed('"silencer":4', '"silencer":5'), 'the socket 5 is missing'],
  ])('is refused with the reason: %s', (_what, text, reason) => {
    const decoded = decodeBfdSnapshot(text, 5);
    expect(decoded.ok ? '' : decoded.error).toContain(reason);
  });
});
