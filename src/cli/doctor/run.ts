/** Runs a connector's sequence against a server, step by step, and leaves nobody behind. */
import { reach } from '../client.ts';
import { isRow, parseJson, type Row } from '../json.ts';
import { visible } from '../print.ts';
import type { Habits, Subject } from './habits.ts';
import { cleanUpSteps, type Step, stepsOf } from './steps.ts';

export interface StepResult {
  step: string;
  ok: boolean;
  ms: number;
  /** The request, without its body. */
  request: string;
  status: number | null;
  /** What is wrong; only when something is. */
  why?: string;
}

export interface Examination {
  scimUrl: string;
  token: string;
  habits: Habits;
  /** A name that nobody has. */
  nonce: string;
  fetch: typeof fetch;
  /** Told of each step as it ends. */
  onStep: (result: StepResult) => void;
}

const timeoutMs = 60_000;

/** Stops at the first step that fails; what was made is deleted all the same. */
export async function examine(examination: Examination): Promise<StepResult[]> {
  const { nonce } = examination;
  const subject: Subject = {
    userName: `writ-doctor-${nonce}@example.invalid`,
    externalId: nonce,
    groupName: `writ-doctor-${nonce}`,
    groupExternalId: `group-${nonce}`,
    userId: '',
    groupId: '',
  };
  const results: StepResult[] = [];
  const run = async (step: Step): Promise<boolean> => {
    const result = await perform(examination, step, subject);
    results.push(result);
    examination.onStep(result);
    return result.ok;
  };
  for (const step of stepsOf(examination.habits)) if (!(await run(step))) break;
  for (const step of cleanUpSteps(subject)) await run(step);
  return results;
}

async function perform(examination: Examination, step: Step, subject: Subject): Promise<StepResult> {
  const { method, path, body } = step.call(subject);
  const request = `${method} ${decodeURIComponent(path)}`;
  const started = performance.now();
  const end = (status: number | null, why: string | null): StepResult => {
    const ms = Math.round(performance.now() - started);
    return { step: step.what, ok: why === null, ms, request, status, ...(why === null ? {} : { why }) };
  };
  try {
    const response = await reach(examination.fetch, `${examination.scimUrl}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${examination.token}`,
        accept: 'application/scim+json, application/json',
        'user-agent': examination.habits.userAgent,
        ...(body === undefined ? {} : { 'content-type': examination.habits.contentType }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    const parsed = parseJson(await response.text());
    const answer = isRow(parsed) ? parsed : {};
    return end(response.status, judge(step, response.status, answer, subject));
  } catch (error) {
    return end(null, error instanceof Error ? error.message : String(error));
  }
}

/** What is wrong with the answer; `null`: nothing. Takes the ids of what was made. */
function judge(step: Step, status: number, answer: Row, subject: Subject): string | null {
  if (!step.statuses.includes(status)) {
    const said = typeof answer.detail === 'string' ? `: ${visible(answer.detail)}` : '';
    return `${status} came back, and not ${step.statuses.join(' or ')}${said}`;
  }
  if (step.makes !== undefined) {
    if (typeof answer.id !== 'string' || answer.id === '') return 'the answer has no id';
    subject[step.makes] = answer.id;
  }
  if (step.ends !== undefined) subject[step.ends] = '';
  return step.check?.(answer, subject) ?? null;
}
