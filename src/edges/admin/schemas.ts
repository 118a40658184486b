/**
 * Schemas that several calls share. Input is strict: an unknown member is refused, because a misspelt one that is
 * ignored does something else than was meant. Bounds are on everything.
 */
import { z } from '@hono/zod-openapi';
import { controls, controlsOfProse } from '../../platform/http/controls.ts';

/** One line of text for people. */
export const line = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.trim() !== '', { error: 'is empty', abort: true })
    .refine((text) => !controls.test(text), { error: 'holds control characters' });

/** Text for people, with line breaks; may be empty. */
export const prose = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => !controlsOfProse.test(text), { error: 'holds control characters' });

export const reason = prose(1000)
  .refine((text) => text.trim() !== '', { error: 'is empty' })
  .openapi({ description: 'Why, for the audit log.', minLength: 1 });

export const uuid = z.guid({ error: 'has to be a UUID' }).openapi({ format: 'uuid' });

function isKept(text: string): boolean {
  const year = new Date(text).getUTCFullYear();
  // What is no instant at all is told already.
  return Number.isNaN(year) || (year >= 1 && year <= 9999);
}

/** Of the years 1 to 9999 in UTC: what every reader after this one takes. */
export const instant = z.iso
  .datetime({ offset: true, error: 'has to be an RFC 3339 date and time with a time zone' })
  .refine(isKept, { error: 'is not an instant of the years 1 to 9999' });

export const environment = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, {
    error: 'has to be 1 to 32 lower-case letters, digits and hyphens, a letter first',
  })
  .openapi({ description: 'An agent gets tokens only for APIs of its own environment.', example: 'production' });

export const taskIntent = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_.:-]{0,127}$/, {
    error: 'has to be 1 to 128 letters, digits and any of _ . : -, a letter first',
  })
  .openapi({ example: 'incident_remediation.ticket_update' });

/** No item twice. */
export const distinct = <Item extends z.ZodType>(item: Item, bounds: { min: number; max: number }) =>
  z
    .array(item)
    .min(bounds.min)
    .max(bounds.max)
    .refine((items) => new Set(items).size === items.length, { error: 'names something twice' })
    .openapi({ uniqueItems: true });

/** `?cursor=&limit=`, for `z.strictObject({...paging, …filters})`. */
export const paging = {
  cursor: z.string().min(1).max(2000).optional().openapi({ description: '`nextCursor` of the page before.' }),
  limit: z
    .string()
    .regex(/^\d{1,3}$/, { error: 'has to be 1 to 500' })
    .transform(Number)
    .pipe(z.number().min(1, { error: 'has to be 1 to 500' }).max(500, { error: 'has to be 1 to 500' }))
    .default(50)
    .openapi({ type: 'integer', minimum: 1, maximum: 500, default: 50, description: 'Items on a page.' }),
};

/** The schema of a page of a list. */
export const pageOf = (item: z.ZodType) =>
  z.object({
    items: z.array(item),
    nextCursor: z.string().nullable().openapi({ description: '`null`: this is the last page.' }),
  });

export const problem = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int(),
    detail: z.string().openapi({ description: 'What was wrong with this request.' }),
    code: z
      .enum([
        'invalid_request',
        'unauthenticated',
        'forbidden',
        'not_found',
        'method_not_allowed',
        'conflict',
        'too_large',
        'unsupported_media_type',
        'rate_limited',
        'unavailable',
        'internal',
      ])
      .openapi({ description: 'Stable: programs rely on it.' }),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
    requestId: z.string().openapi({ description: 'Under which the log has more.' }),
  })
  .openapi('Problem', {
    example: {
      type: 'about:blank',
      title: 'Bad Request',
      status: 400,
      detail: 'name: is required',
      code: 'invalid_request',
      errors: [{ path: 'name', message: 'is required' }],
      requestId: '0b0e6d0e-3f5c-4a35-9a0a-6f0c6f0f7a11',
    },
  });

/** Instants of answers, as JSON writes a `Date`. */
export const answeredInstant = z.iso.datetime();

/** Ids of the examples, one a thing, so that the documentation tells one story. */
export const exampleIds = {
  directory: '5b2f6a0e-8f0a-4a6e-9d1b-5d4c0f6a1c01',
  person: '9e0c2a44-6d53-4b8f-8a3f-0d6b7f3e2a02',
  group: '7d3e9b15-4c2a-4f68-8b07-1e9f2a3b4c08',
  deputy: '2c9f4b7e-8d1a-4e35-b6c0-5a7d9e8f1b10',
  api: 'c4a7d1b2-1e6f-4c0d-b7a5-2f9e8d6c3b03',
  client: 'd81f0c5e-77a4-4e3b-9c1a-6b5d4e3f2a04',
  intent: 'e3b98f6a-2c4d-4f7e-8a9b-1c2d3e4f5a05',
  agent: 'f27c5d1e-9b3a-4d8c-a6e5-7f8091a2b306',
  handover: '4e8c1d7a-3b5f-4096-a2d4-9c0b1a2f3e09',
  offboarding: '0a6e4c2b-5d7f-4b1e-93c8-8a9b0c1d2e07',
  key: 'Qm9vay1vZi1rZXlzLTAx',
};
export const exampleInstant = '2026-11-25T09:30:00.000Z';
