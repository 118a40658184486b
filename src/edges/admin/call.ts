/**
 * One call of the administration API as a value: how it is reached, what it takes, what it answers, and what it does.
 * The router (`admin.ts`), the OpenAPI document and the documentation pages are made from the same values, so that they
 * cannot disagree; and every call runs through the one pipeline of `answer.ts`, so that none can forget a check.
 */
import type { z } from '@hono/zod-openapi';
import type { Act } from '../../domain/audit/append.ts';

export type Tag =
  | 'Directories'
  | 'People'
  | 'Groups'
  | 'Offboardings'
  | 'APIs'
  | 'Intents'
  | 'Agents'
  | 'Environments'
  | 'Handovers'
  | 'Audit'
  | 'Keys';

export interface CallInput<Query, Body> {
  /** The path's `{id}` (a UUID), `{kid}` or `{name}`; empty when the path has none. */
  id: string;
  query: Query;
  body: Body;
  /** Who acts, for the audit log. */
  act: Act;
}

interface Description {
  method: 'get' | 'post' | 'put' | 'patch';
  /** As in OpenAPI: `/agents/{id}/suspend`. At most one parameter: `{id}`, `{kid}` or `{name}`. */
  path: string;
  operationId: string;
  tag: Tag;
  summary: string;
  description?: string;
  /** Of an answer that is lines rather than one object: `run` then answers an async iterable of text. */
  mediaType?: 'application/x-ndjson';
  /** 201: `Location` is the path and the answer's `id`. */
  status: 200 | 201;
  answer: z.ZodType;
  answerExample: object;
  /** Body of the example request; calls with a body have one. */
  example?: object;
  /** Refusals worth knowing, beside those that every call can answer with. */
  refusals?: Partial<Record<400 | 404 | 409, string>>;
}

export interface Call extends Description {
  query?: z.ZodType;
  body?: z.ZodType;
  run(input: CallInput<unknown, unknown>): Promise<object>;
}

type Output<Schema extends z.ZodType | undefined> = Schema extends z.ZodType ? z.output<Schema> : undefined;

/** Ties the types of `run` to the schemas beside it. */
export const call = <Query extends z.ZodType | undefined = undefined, Body extends z.ZodType | undefined = undefined>(
  definition: Description & {
    query?: Query;
    body?: Body;
    run(input: CallInput<Output<Query>, Output<Body>>): Promise<object>;
  },
): Call => definition as Call;
