import type { Ctl } from './ctl.ts';

/** How often what is watched is asked for, in milliseconds. */
const periodMs = 1000;

/** What is watched: an answer, its text, and a line for each thing in it. */
export interface Watched<Answer> {
  readonly ask: () => Promise<Answer>;
  readonly text: (answer: Answer, wide: boolean) => string;
  /** By the name of the thing; a line that differs from the one before is a change. */
  readonly lines: (answer: Answer) => ReadonlyMap<string, string>;
}

/**
 * Shows something and goes on as it changes, until it is interrupted: drawn anew on a terminal, a line a change where
 * the output goes elsewhere, an object a line with `-o json`.
 */
export async function watch<Answer>(ctl: Ctl, watched: Watched<Answer>): Promise<never> {
  const { env } = ctl;
  const isDrawn = env.isTerminal && ctl.format() !== 'json';
  let before: ReadonlyMap<string, string> | undefined;
  for (;;) {
    const answer = await watched.ask();
    const lines = watched.lines(answer);
    const time = new Date(env.now()).toISOString();
    if (isDrawn) env.stdout(`\u001b[H\u001b[2J${time}\n${watched.text(answer, ctl.format() === 'wide')}`);
    else if (before === undefined && ctl.format() !== 'json') {
      env.stdout(watched.text(answer, ctl.format() === 'wide'));
    } else
      for (const change of changes(before ?? new Map(), lines)) env.stdout(changeLine(ctl, time, change));
    before = lines;
    await env.sleep(periodMs);
  }
}

interface Change {
  readonly subject: string;
  readonly was?: string;
  readonly is?: string;
}

function changes(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): Change[] {
  const subjects = new Set([...before.keys(), ...now.keys()]);
  return [...subjects].flatMap((subject) => {
    const [was, is] = [before.get(subject), now.get(subject)];
    if (was === is) return [];
    return [{ subject, ...(was === undefined ? {} : { was }), ...(is === undefined ? {} : { is }) }];
  });
}

function changeLine(ctl: Ctl, time: string, change: Change): string {
  if (ctl.format() === 'json') return `${JSON.stringify({ time, ...change })}\n`;
  return `${time} ${change.subject}: ${change.was ?? 'new'} -> ${change.is ?? 'gone'}\n`;
}
