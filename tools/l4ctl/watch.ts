import { OperatorError } from '@l4d/kit/errors.ts';
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
  const asked = patient(ctl, watched.ask);
  for (;;) {
    const answer = await (before === undefined ? watched.ask() : asked());
    if (answer === undefined) {
      await env.sleep(periodMs);
      continue;
    }
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

/**
 * What asks again and again, and gets `undefined` where there is no answer: while a daemon is started anew, whoever
 * watches does not leave. The reason goes to standard error, once for as long as it stays. For all but the first time:
 * what is not there to begin with is an error.
 */
export function patient<Answer>(ctl: Ctl, ask: () => Promise<Answer>): () => Promise<Answer | undefined> {
  let told: string | undefined;
  return async () => {
    try {
      const answer = await ask();
      told = undefined;
      return answer;
    } catch (error) {
      if (!(error instanceof OperatorError)) throw error;
      if (error.message !== told)
        ctl.env.stderr(`${new Date(ctl.env.now()).toISOString()} ${error.message}\n`);
      told = error.message;
      return undefined;
    }
  };
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
