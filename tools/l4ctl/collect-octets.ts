/** All octets of a stream; rejects with a RangeError as soon as there are more than `most`. */
export async function collectOctets(stream: AsyncIterable<Uint8Array>, most: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > most) throw new RangeError(`more than ${most} octets`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
