/** Items between which others wait: a few milliseconds of work. */
const itemsPerTurn = 100;

/** Gives whatever else waits its turn. */
function otherTurns(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * A JSON object in parts: the fields of `body`, then those of `lists`, whose items are made as they are taken, some at a
 * time; between them whatever else waits has its turn.
 */
export async function* jsonParts(
  body: Readonly<Record<string, unknown>>,
  lists: Readonly<Record<string, Iterable<unknown>>>,
): AsyncGenerator<string> {
  const fields = Object.entries(body).filter(([, value]) => value !== undefined);
  let text = `{${fields.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join()}`;
  let isFirst = fields.length === 0;
  for (const [name, items] of Object.entries(lists)) {
    text += `${isFirst ? '' : ','}${JSON.stringify(name)}:[`;
    isFirst = false;
    let count = 0;
    for (const item of items) {
      text += `${count === 0 ? '' : ','}${JSON.stringify(item)}`;
      count += 1;
      if (count % itemsPerTurn !== 0) continue;
      yield text;
      text = '';
      await otherTurns();
    }
    text += ']';
  }
  yield `${text}}`;
}
