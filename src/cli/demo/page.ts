/** How the demo looks: numbered steps, one line each with its time; what belongs to a step stands indented below it. */
import { AgentError } from '../../sdk/agent/agent.ts';
import { displayWidth, type Paint } from '../print.ts';
import { describeSpan } from '../time.ts';
import { Unexpected } from './checks.ts';

/** What a step says beyond its own line. */
export interface Telling {
  /** Lines below the step. */
  add(text: string): void;
  /** Another time than the whole step took. */
  took(ms: number): void;
}

export interface Page {
  print(text?: string): void;
  heading(text: string): void;
  /** Runs one step and prints it; a step that throws is printed as failed. */
  step<T>(what: string, act: (telling: Telling) => Promise<T>): Promise<T>;
  /** How many steps happened. */
  count(): number;
}

const width = 78;
const indent = '       ';

export const picture = `  corporate IdP              Writ                       CRM API
 ┌──────────────┐  SCIM  ┌────────────────┐  feed  ┌─────────────────────┐
 │ Okta, then   ├───────►│ with its own   ├───────►│ in its own process, │
 │ Entra ID     │        │ PostgreSQL     │        │ verifies offline    │
 └──────────────┘        └───────┬────────┘        └──────────▲──────────┘
                                 │ token for one task         │ call
                                 └──────────►  agents  ───────┘

    alice ── owns ──► triage ── made ──► helper        leaves by Okta
    bob ──── owns ──► billing                          stays
    carol ── owns ──► renewals ─ made ─► digest        leaves by Entra ID
    dave ─── owns ──► ledger                           stays`;

/** @param interrupted a step that fails because of it is not told as a failure */
export function createPage(stream: NodeJS.WriteStream, paint: Paint, interrupted: AbortSignal): Page {
  let number = 0;
  const print = (text = ''): void => void stream.write(`${text}\n`);
  const renderStep = (mark: string, what: string, time: string): string => {
    const line = `  ${String(number).padStart(2)} ${mark} ${what}`;
    const columns = Math.min(width, stream.columns ?? width);
    const gap = columns - 7 - displayWidth(what) - displayWidth(time);
    return time === '' ? line : `${line}${' '.repeat(Math.max(2, gap))}${paint('dim', time)}`;
  };
  return {
    print,
    heading: (text) => print(`\n  ${paint('bold', text)}\n`),
    count: () => number,
    async step(what, act) {
      number += 1;
      const below: string[] = [];
      const started = performance.now();
      let measured: number | undefined;
      const telling: Telling = {
        add: (text) => void below.push(...text.split('\n')),
        took: (ms) => {
          measured = ms;
        },
      };
      if (stream.isTTY) stream.write(renderStep(paint('dim', '·'), what, ''));
      const clear = stream.isTTY ? '\r\u001b[K' : '';
      try {
        const result = await act(telling);
        print(
          `${clear}${renderStep(paint('green', '✓'), what, describeTime(measured ?? performance.now() - started))}`,
        );
        for (const line of below) print(line === '' ? '' : `${indent}${line}`);
        return result;
      } catch (error) {
        if (interrupted.aborted) {
          print(`${clear}${renderStep(paint('dim', '·'), what, 'interrupted')}`);
          throw error;
        }
        print(`${clear}${renderStep(paint('red', '✗'), what, '')}`);
        for (const line of describeFailure(error).split('\n')) print(`${indent}${line}`);
        throw error;
      }
    },
  };
}

/** One decimal below ten milliseconds: there it matters. */
export const describeTime = (ms: number): string => (ms < 9.95 ? `${ms.toFixed(1)} ms` : describeSpan(ms));

function describeFailure(error: unknown): string {
  if (error instanceof Unexpected) return `expected  ${error.expected}\nbut came  ${error.came}`;
  const message = error instanceof Error ? error.message : String(error);
  const refusal = error instanceof AgentError ? ` (${error.reason ?? error.error ?? error.code})` : '';
  return `expected  what this line says\nbut came  ${message}${refusal}`;
}
