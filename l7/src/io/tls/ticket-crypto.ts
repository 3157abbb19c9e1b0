import { type FixedMemory, fixedMemory } from '@l4d/kit/ffi/event-socket.ts';
import { libssl } from '@l4d/kit/ffi/libssl.ts';
import { chooseTicketKey, type TicketKey } from '@l4d/kit/tls/ticket-keys.ts';
import koffi from 'koffi';

/*
 * Session tickets (RFC 5077, RFC 8446 section 4.6.1): OpenSSL asks by which key a ticket is made or read. Whoever
 * has the keys can read recorded TLS 1.2 connections and resume sessions, so they live short.
 */

/** Keys as the callback can name them to OpenSSL without making anything. */
export interface TicketKeyRing {
  readonly keys: readonly TicketKey[];
  readonly memory: FixedMemory;
}

/** MAC key 32 bytes, AES key 32 bytes, parameters of the MAC 3 x 40 bytes. */
const slotBytes = 64 + 120;
const parameterNames = fixedMemory(64);
parameterNames.bytes.latin1Write('key\0digest\0SHA256\0', 0);

/** Lays keys out in memory. */
export function ticketKeyRing(keys: readonly TicketKey[]): TicketKeyRing {
  const memory = fixedMemory(keys.length * slotBytes);
  const view = new DataView(memory.bytes.buffer);
  for (const [index, key] of keys.entries()) {
    const at = index * slotBytes;
    memory.bytes.set(key.macKey, at);
    memory.bytes.set(key.aesKey, at + 32);
    // struct ossl_param_st { key, data_type, data, data_size, return_size }, ended by a NULL key.
    const parameter = (place: number, name: number, type: number, data: number, size: number) => {
      view.setBigUint64(place, BigInt(parameterNames.address + name), true);
      view.setUint32(place + 8, type, true);
      view.setBigUint64(place + 16, BigInt(data), true);
      view.setBigUint64(place + 24, BigInt(size), true);
    };
    parameter(at + 64, 0, 5, memory.address + at, 32);
    parameter(at + 104, 4, 4, parameterNames.address + 11, 6);
  }
  return { keys, memory };
}

const types = {
  ticket: koffi.proto(
    'int l4d_ticket_key(uintptr_t ssl, uintptr_t name, uintptr_t iv, uintptr_t cipher, uintptr_t mac, int encrypt)',
  ),
};
const version13 = 0x304;
const nameMemory = fixedMemory(64);
const copy = koffi.load(null).func('void *memcpy(uintptr_t to, uintptr_t from, size_t size)') as (
  to: number,
  from: number,
  size: number,
) => unknown;

/** The callback of SSL_CTX_set_tlsext_ticket_key_evp_cb(3); `ringOf` finds the keys of a connection. */
export function ticketCallback(ringOf: (ssl: number) => TicketKeyRing | undefined) {
  const openssl = libssl();
  // Fetched once: by its name alone it would be looked for at every ticket.
  const aes = openssl.fetchCipher(0, 'AES-256-CBC', 0);
  const init = (
    ring: TicketKeyRing,
    index: number,
    iv: number,
    cipher: number,
    mac: number,
    encrypt: boolean,
  ) => {
    const slot = ring.memory.address + index * slotBytes;
    const start = encrypt ? openssl.encryptInit : openssl.decryptInit;
    return start(cipher, aes, 0, slot + 32, iv) === 1 && openssl.setMacParameters(mac, slot + 64) === 1;
  };
  return koffi.register(
    (ssl: number, name: number, iv: number, cipher: number, mac: number, encrypt: number): number => {
      const ring = ringOf(ssl);
      // 0: no ticket is made, or the ticket is not known and the handshake is a full one. -1: it fails.
      const newest = ring?.keys[0];
      if (ring === undefined || newest === undefined) return 0;
      if (encrypt === 1) {
        if (openssl.randomBytes(iv, 16) !== 1) return -1;
        nameMemory.bytes.latin1Write(newest.name, 0);
        copy(name, nameMemory.address, 16);
        return init(ring, 0, iv, cipher, mac, true) ? 1 : -1;
      }
      copy(nameMemory.address + 32, name, 16);
      const { verdict, index } = chooseTicketKey(ring.keys, nameMemory.bytes.latin1Slice(32, 48));
      if (verdict === 'unknown' || !init(ring, index, iv, cipher, mac, false)) return 0;
      // RFC 8446 appendix C.4: clients use a ticket once, so each resumption brings the next.
      return verdict === 'renew' || openssl.isVersion13(ssl) === version13 ? 2 : 1;
    },
    koffi.pointer(types.ticket),
  );
}
