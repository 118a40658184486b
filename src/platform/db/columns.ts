/** Kinds of columns that tables have in common (`schema.ts`). */
import { bigint, customType, timestamp, uuid } from 'drizzle-orm/pg-core';

export const bytea = customType<{ data: Buffer; driverData: Uint8Array }>({
  dataType: () => 'bytea',
  toDriver: (value) => value,
  fromDriver: (value) => Buffer.from(value),
});
export const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' });
export const count = (name: string) => bigint(name, { mode: 'number' });
export const createdAt = () => instant('created_at').notNull().defaultNow();
export const updatedAt = () => instant('updated_at').notNull().defaultNow();
export const id = () => uuid('id').primaryKey().defaultRandom();
