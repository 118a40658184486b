/** From JSON Schema, as far as our own schemas use it, to words. Pure. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  allOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  format?: string;
  description?: string;
  default?: unknown;
  example?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
}

export interface Field {
  name: string;
  depth: number;
  type: string;
  /** Bounds and default, in words. */
  bounds: string;
  required: boolean;
  description: string;
}

const maxDepth = 4;

/** Follows `#/components/schemas/…`. */
export function resolve(schema: Schema, schemas: Record<string, Schema>): Schema {
  const name = schema.$ref?.replace('#/components/schemas/', '');
  const found = name === undefined ? undefined : schemas[name];
  return found === undefined ? schema : resolve(found, schemas);
}

/** The members of an object, nested ones below their parent. */
export function listFields(schema: Schema, schemas: Record<string, Schema>, depth = 0): Field[] {
  const { properties = {}, required = [] } = resolve(schema, schemas);
  return Object.entries(properties).flatMap(([name, given]) => {
    const member = resolve(given, schemas);
    const field: Field = {
      name,
      depth,
      type: typeOf(member, schemas),
      bounds: boundsOf(member),
      required: required.includes(name),
      description: member.description ?? '',
    };
    const inside = [member, member.items ?? {}, ...(member.anyOf ?? [])];
    return [field, ...(depth < maxDepth ? inside.flatMap((each) => listFields(each, schemas, depth + 1)) : [])];
  });
}

function typeOf(given: Schema, schemas: Record<string, Schema>): string {
  const schema = resolve(given, schemas);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map((each) => typeOf(each, schemas)))].join(' or ');
  if (schema.items !== undefined) return `array of ${typeOf(schema.items, schemas)}`;
  const types = [schema.type ?? 'any'].flat();
  return types
    .map((type) => (type === 'string' && schema.format !== undefined ? (formats[schema.format] ?? type) : type))
    .join(' or ');
}

const formats: Record<string, string> = { uuid: 'UUID', 'date-time': 'date and time', uri: 'URL' };

function boundsOf(schema: Schema): string {
  const parts = [
    rangeOf(schema.minimum, schema.maximum, ''),
    rangeOf(schema.minLength, schema.maxLength, ' characters'),
    rangeOf(schema.minItems, schema.maxItems, ' items'),
    schema.default === undefined ? '' : `default ${JSON.stringify(schema.default)}`,
  ];
  return parts.filter((part) => part !== '').join('; ');
}

function rangeOf(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return '';
  if (most === undefined) return `at least ${least}${unit}`;
  return least === undefined || (least === 0 && unit !== '') ? `at most ${most}${unit}` : `${least} to ${most}${unit}`;
}
