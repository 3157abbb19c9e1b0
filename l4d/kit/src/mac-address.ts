/** An Ethernet address, six bytes. */
export type MacAddress = Uint8Array;

/** Parses `aa:bb:cc:dd:ee:ff`; undefined when it is not one. */
export function parseMacAddress(text: string): MacAddress | undefined {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** Lower-case colon notation. */
export function formatMacAddress(mac: MacAddress): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
