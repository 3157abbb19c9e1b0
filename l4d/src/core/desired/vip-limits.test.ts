import { expect, it } from 'vitest';
import { l7VipOnItsWay, problemsOfL7Vip } from '../testing/parse-l7-vip.ts';

it.each([
  [{ timeouts: { connect: '0s' } }, /timeouts\.connect: .*1ms to 10m/],
  [{ timeouts: { conect: '1s' } }, /timeouts\.conect: is not a known key \(allowed: handshake/],
  [{ timeouts: { response: '2m', request: '1m' } }, /timeouts\.request: is less than timeouts\.response/],
  [{ limits: { requestHeadBytes: 65_536 } }, /limits\.requestHeadBytes: .*256 to 49152/],
  [{ limits: { requestLineBytes: 20_000 } }, /requestLineBytes: 20000 is more than the whole head.*16384/],
  [{ limits: { minimumRate: -1 } }, /limits\.minimumRate: .*0 to /],
  [{ retries: { tries: 0 } }, /retries\.tries: .*1 to 10/],
  [{ retries: { budgetPercent: 101 } }, /retries\.budgetPercent: .*0 to 100/],
  [{ mode: 'tcp', limits: { requestFields: 5 } }, /limits: is for mode http/],
  [{ mode: 'tcp', timeouts: { response: '1s' } }, /timeouts\.response: is for mode http/],
  [
    { protocol: 'udp', timeouts: { connect: '1s' } },
    /timeouts\.connect: is of connections: mode udp has none/,
  ],
  [
    { mode: 'socks', backends: [], destinations: [{}], retries: { tries: 2 } },
    /retries: is for modes http, tcp and tls-passthrough/,
  ],
  [{ policy: 'forward', limits: { requestFields: 5 } }, /limits: is allowed for policy l7 only/],
  [{ policy: 'forward', timeouts: { connect: '1s' } }, /timeouts: is allowed for policy l7 only/],
  [{ policy: 'forward', retries: { tries: 2 } }, /retries: is allowed for policy l7 only/],
])('refused: %j', (vip, message) => {
  expect(problemsOfL7Vip(vip)).toMatch(message);
});

it.each([
  { mode: 'tcp', timeouts: { connect: '1s', handshake: '2s' }, retries: { tries: 2 } },
  { mode: 'tls-passthrough', timeouts: { handshake: '2s' }, retries: { budgetPercent: 0 } },
  { mode: 'connect', backends: [], destinations: [{}], timeouts: { connect: '1s' } },
])('allowed: %j', (vip) => {
  expect(problemsOfL7Vip(vip)).toBe('');
});

it('the proxy is told, takes it, and it is stored as it was written', () => {
  const limits = {
    ...{ requestLineBytes: 1000, requestHeadBytes: 2000, requestFields: 20 },
    ...{ answerHeadBytes: 3000, answerFields: 30, requestsPerConnection: 7, minimumRate: 10 },
  };
  const fields = {
    timeouts: {
      ...{ handshake: '1s', requestHead: '2s', connect: '3s', response: '4s' },
      ...{ request: '5s', tunnel: '6s', backendIdle: '7s' },
    },
    limits,
    retries: { tries: 2, budgetPercent: 5 },
  };
  const { stored, read } = l7VipOnItsWay(fields);
  expect(stored).toMatchObject(fields);
  const listener = {
    timeouts: {
      ...{ handshakeMs: 1000, headMs: 2000, connectMs: 3000, responseMs: 4000 },
      ...{ requestMs: 5000, tunnelMs: 6000, backendIdleMs: 7000, keepAliveMs: 15_000 },
    },
    limits,
    retries: fields.retries,
  };
  expect(read).toMatchObject({ ok: true, value: { listeners: [listener] } });
});

it('what is not declared is not said: a proxy of an older version takes a VIP that has nothing new', () => {
  const { told } = l7VipOnItsWay({});
  for (const name of ['limits', 'retries', 'via', 'clientSource', 'relay'])
    expect(told).not.toHaveProperty(name);
  expect(Object.keys(told.timeouts ?? {})).toEqual(['idleMs']);
});
