import { ipAddress } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { foldChecksum, sumPseudoHeader, sumWords } from './checksum.ts';
import {
  decodeQuestion,
  encodeAnnouncement,
  encodeAnswer,
  encodeUnicastAnnouncement,
  solicitedNodeGroup,
} from './neighbour-message.ts';

const mac = Uint8Array.of(0, 0, 0x5e, 0, 1, 51);
const clientMac = Uint8Array.of(2, 0, 0, 0, 0, 7);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A neighbour solicitation for fd79::50, as a client sends it. */
function solicitation(source: string): Uint8Array {
  const destination = solicitedNodeGroup(ipAddress('fd79::50'));
  const message = new Uint8Array(32);
  message.set([135]);
  message.set(ipAddress('fd79::50').bytes, 8);
  message.set([1, 1, ...clientMac], 24);
  const from = ipAddress(source);
  const checksum = foldChecksum(sumWords(message, sumPseudoHeader(from, destination, 58, 32)));
  message.set([checksum >> 8, checksum & 255], 2);
  const header = [0x60, 0, 0, 0, 0, 32, 58, 255, ...from.bytes, ...destination.bytes];
  return Uint8Array.from([0x33, 0x33, 0xff, 0, 0, 0x50, ...clientMac, 0x86, 0xdd, ...header, ...message]);
}

const request = Buffer.from(
  'ffffffffffff020000000007080600010800060400010200000000070a4f00640000000000000a4f0032',
  'hex',
);

describe('questions', () => {
  it('are ARP requests', () => {
    expect(decodeQuestion(request)).toEqual({
      target: ipAddress('10.79.0.50'),
      client: ipAddress('10.79.0.100'),
      clientMac,
    });
    const reply = Uint8Array.from(request);
    reply[21] = 2;
    expect(decodeQuestion(reply)).toBeUndefined();
  });

  it('are neighbour solicitations with hop limit 255 and a right checksum', () => {
    const frame = solicitation('fd79::100');
    expect(decodeQuestion(frame)).toEqual({
      target: ipAddress('fd79::50'),
      client: ipAddress('fd79::100'),
      clientMac,
    });
    for (const at of [21, 62, 77]) {
      const broken = frame.slice();
      broken[at] = (broken[at] ?? 0) ^ 1;
      expect(decodeQuestion(broken), `octet ${at}`).toBeUndefined();
    }
  });

  it('never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 90 }), fc.boolean(), (bytes, isIpv6) => {
        const frame = Uint8Array.from(bytes);
        if (frame.length > 14) frame.set(isIpv6 ? [0x86, 0xdd] : [0x08, 0x06], 12);
        decodeQuestion(frame);
      }),
    );
  });
});

describe('answers', () => {
  it('are ARP replies to the one who asked', () => {
    const question = decodeQuestion(request);
    if (question === undefined) throw new Error('no question');
    expect(hex(encodeAnswer(question, mac, false))).toBe(
      '02000000000700005e00013308060001080006040002' + '00005e0001330a4f0032' + '0200000000070a4f0064',
    );
  });

  it('are solicited advertisements with R, S, O; unsolicited to an asker without an address, without O when shared', () => {
    const asked = decodeQuestion(solicitation('fd79::100'));
    const probe = decodeQuestion(solicitation('::'));
    if (asked === undefined || probe === undefined) throw new Error('no question');
    const answer = encodeAnswer(asked, mac, true);
    expect(answer[54]).toBe(136);
    expect(answer[58]).toBe(0xe0);
    expect(hex(answer.subarray(0, 6))).toBe(hex(clientMac));
    expect(encodeAnswer(probe, mac, false)[58]).toBe(0xa0);
    expect(encodeAnswer(probe, mac, true)[58]).toBe(0x80);
    expect(hex(encodeAnswer(probe, mac, true).subarray(0, 6))).toBe('333300000001');
    const pseudo = sumPseudoHeader(ipAddress('fd79::50'), ipAddress('fd79::100'), 58, 32);
    expect(foldChecksum(sumWords(answer.subarray(54), pseudo))).toBe(0);
  });
});

describe('announcements', () => {
  it('go to all, and to one', () => {
    const address = ipAddress('10.79.0.50');
    expect(hex(encodeAnnouncement(address, mac))).toBe(
      'ffffffffffff00005e00013308060001080006040001' + '00005e0001330a4f0032' + '0000000000000a4f0032',
    );
    const one = encodeUnicastAnnouncement(address, mac, ipAddress('10.79.0.100'), clientMac);
    expect(hex(one.subarray(0, 6))).toBe(hex(clientMac));
    expect(one[21]).toBe(2);
    expect(encodeAnnouncement(ipAddress('fd79::50'), mac)[58]).toBe(0xa0);
  });
});
