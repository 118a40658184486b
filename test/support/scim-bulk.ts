/** Messages of RFC 7644 §3.7, and what is read off the answers. */
import { randomUUID } from 'node:crypto';
import type { ScimAnswer, ScimDirectory } from './scim.ts';

export const enterpriseUrn = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';

export const sendBulk = (directory: ScimDirectory, Operations: unknown, more: object = {}): Promise<ScimAnswer> =>
  directory.call('POST', '/Bulk', {
    schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkRequest'],
    Operations,
    ...more,
  });

export const resultsOf = ({ body }: ScimAnswer): Record<string, unknown>[] =>
  [body?.Operations].flat().map((result) => Object(result));
export const statusesOf = (answer: ScimAnswer): unknown[] => resultsOf(answer).map(({ status }) => status);
export const idOfResult = (result: Record<string, unknown> | undefined): string =>
  String(result?.location).split('/').at(-1) ?? '';

/** An operation that makes a user. */
export const userNamed = (bulkId: string, more: object = {}) => ({
  method: 'POST',
  path: '/Users',
  bulkId,
  data: { userName: `${randomUUID()}@example.com`, ...more },
});

/** The body of a PATCH by which somebody leaves. */
export const off = { Operations: [{ op: 'replace', value: { active: false } }] };
