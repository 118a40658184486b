import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WritError } from '../../src/errors.ts';
import { parseForm, parseJson, readBody } from '../../src/platform/http/body.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (text: string): unknown => parseJson(encode(text));

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof WritError) return `${error.code}: ${error.detail}`;
    throw error;
  }
  return 'accepted';
}

describe('parseJson', () => {
  test('reads what JSON.parse reads, as JSON.parse reads it', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 12, noUnicodeString: false }), fc.nat(4), (text, indent) => {
        fc.pre(!text.includes('__proto__') && !/\\u0000/.test(text) && text.isWellFormed());
        const value: unknown = JSON.parse(text);
        expect(parse(text)).toStrictEqual(value);
        expect(parse(JSON.stringify(value, undefined, indent))).toStrictEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  test('accepts no text that JSON.parse refuses, and reads no other value', () => {
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '\\',
      '\\u0041',
      '1',
      '-',
      '0',
      '.5',
      'e3',
      'true',
      'nul',
    ];
    const text = fc.array(fc.constantFrom(...pieces, ' ', '\n', '\t', 'l', 'é', '😀', '\u0001', '\f'), {
      maxLength: 14,
    });
    fc.assert(
      fc.property(text, (parts) => {
        const candidate = parts.join('');
        if (refusal(() => parse(candidate)) === 'accepted') {
          expect(parse(candidate)).toStrictEqual(JSON.parse(candidate));
        }
      }),
      { numRuns: 5000 },
    );
  });

  test('a member given twice is refused wherever it stands', () => {
    const name = fc
      .string({ unit: 'grapheme', maxLength: 4 })
      .filter((text) => text.isWellFormed() && !text.includes('\0'));
    fc.assert(
      fc.property(name, fc.nat(5), (member, depth) => {
        fc.pre(member !== '__proto__');
        const key = JSON.stringify(member);
        const object = `{${key}:1,"other member":2,${key}:3}`;
        expect(refusal(() => parse('['.repeat(depth) + object + ']'.repeat(depth)))).toMatch(
          /^invalid_request: .*twice/,
        );
      }),
    );
  });

  test.each([
    ['equal after unescaping', '{"active":true,"\\u0061ctive":false}', /twice/],
    ['the name of a method', '{"toString":1,"toString":2}', /twice/],
    ['NUL, escaped', '["a\\u0000b"]', /NUL/],
    ['NUL, escaped, in a name', '{"a\\u0000":1}', /NUL/],
    ['NUL, raw', '["a\0b"]', /malformed/],
    ['the first half of a pair', '["\\ud83d"]', /surrogate/],
    ['the second half of a pair', '["\\ude00x"]', /surrogate/],
    ['a pair the wrong way round', '["\\ude00\\ud83d"]', /surrogate/],
    ['infinity', '[1e999]', /too large/],
    ['-infinity', '-1e999', /too large/],
    ['__proto__', '{"a":{"__proto__":{"admin":true}}}', /__proto__/],
    ['__proto__, escaped', '{"\\u005f_proto__":1}', /__proto__/],
    ['depth', `${'['.repeat(33)}${']'.repeat(33)}`, /too deep/],
    ['a byte order mark', '\ufeff{}', /malformed/],
    ['nothing', '', /ends early/],
    ['space', '  ', /ends early/],
    ['half a string', '"abc', /ends early/],
    ['half an escape', '"abc\\', /ends early/],
    ['an unknown escape', '"\\x41"', /escape/],
    ['a comma too many', '[1,]', /malformed/],
    ['a comment', '{/* */}', /malformed/],
    ['single quotes', "{'a':1}", /malformed/],
    ['NaN', 'NaN', /malformed/],
    ['a leading zero', '01', /malformed/],
    ['a plus sign', '+1', /malformed/],
    ['a tail', '{} {}', /malformed/],
  ])('refuses %s', (_what, text, message) => {
    expect(refusal(() => parse(text))).toMatch(message);
    expect(refusal(() => parse(text))).toMatch(/^invalid_request/);
  });

  test('a member named as a method is a member like any other', () => {
    const value = parse('{"constructor":1,"hasOwnProperty":2,"toString":3}');
    expect(value).toStrictEqual({ constructor: 1, hasOwnProperty: 2, toString: 3 });
  });

  test('depth 32 is allowed, and the limit can be set', () => {
    expect(refusal(() => parse(`${'['.repeat(32)}${']'.repeat(32)}`))).toBe('accepted');
    expect(refusal(() => parseJson(encode('[[1]]'), { depth: 1 }))).toMatch(/too deep/);
    expect(refusal(() => parseJson(encode('[{},{},[]]'), { depth: 2 }))).toBe('accepted');
  });

  test('refuses what is not UTF-8', () => {
    for (const bytes of [
      [0x22, 0xff, 0x22],
      [0x22, 0xc0, 0x80, 0x22],
      [0x22, 0xed, 0xa0, 0x80, 0x22],
      [0xe2, 0x82],
    ]) {
      expect(refusal(() => parseJson(Uint8Array.from(bytes)))).toBe('invalid_request: the body is not UTF-8');
    }
  });

  test('refuses what is too large before reading it', () => {
    expect(refusal(() => parseJson(new Uint8Array(1024 * 1024 + 1)))).toMatch(/^too_large/);
    expect(refusal(() => parseJson(encode('[1,2]'), { bytes: 4 }))).toMatch(/^too_large/);
  });

  test('takes linear time, whatever the text', () => {
    const size = 200_000;
    const texts = [
      '['.repeat(size),
      `{${Array.from({ length: size / 10 }, (_, index) => `"k${index}":1`).join(',')}}`,
      `"${'\\u0041'.repeat(size / 6)}"`,
      `"${'\\'.repeat(size)}`,
      `[${'1e'.repeat(size)}]`,
      `[${'1,'.repeat(size)}1]`,
      `[${'"a",'.repeat(size / 4)}1]`,
      `${' '.repeat(size)}1`,
      '-'.repeat(size),
      `1${'0'.repeat(size)}`,
    ];
    for (const text of texts) {
      const startedAt = performance.now();
      refusal(() => parse(text));
      expect(performance.now() - startedAt).toBeLessThan(500);
    }
  });
});

describe('parseForm', () => {
  test('reads what URLSearchParams writes', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => value.isWellFormed() && !value.includes('\0'));
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text)), (entries) => {
        expect(parseForm(encode(new URLSearchParams(entries).toString()))).toEqual(entries);
      }),
    );
  });

  test('keeps the order and the repetitions', () => {
    expect(parseForm(encode('a=1&b=2&a=3&c&d=&e=x=y'))).toEqual([
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
      ['c', ''],
      ['d', ''],
      ['e', 'x=y'],
    ]);
    expect(parseForm(encode(''))).toEqual([]);
  });

  test.each([
    ['NUL', 'a=%00', /NUL/],
    ['half an encoding', 'a=%4', /percent/],
    ['an encoding of no UTF-8', 'a=%ff', /percent/],
    ['an encoded surrogate', 'a=%ED%A0%80', /percent/],
    ['too many fields', 'a=1&'.repeat(2000), /fields/],
  ])('refuses %s', (_what, text, message) => {
    expect(refusal(() => parseForm(encode(text)))).toMatch(message);
  });
});

describe('readBody', () => {
  const post = (body: string | ReadableStream | null, headers: Record<string, string> = {}): Request =>
    new Request('http://localhost/', { method: 'POST', body, headers, duplex: 'half' } as RequestInit);

  test('gives the bytes', async () => {
    expect(Buffer.from(await readBody(post('héllo'), 100)).toString()).toBe('héllo');
    expect((await readBody(post(null), 100)).length).toBe(0);
    expect((await readBody(post('x'.repeat(100)), 100)).length).toBe(100);
  });

  test('stops at the limit, without waiting for the rest', async () => {
    let sent = 0;
    let isCancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        sent += 1000;
        controller.enqueue(new Uint8Array(1000));
      },
      cancel: () => {
        isCancelled = true;
      },
    });
    await expect(readBody(post(endless), 5000)).rejects.toMatchObject({ code: 'too_large' });
    expect(sent).toBeLessThan(10_000);
    expect(isCancelled).toBe(true);
  });

  test('believes a content-length that is too large', async () => {
    const request = post(new ReadableStream(), { 'content-length': '6000' });
    await expect(readBody(request, 5000)).rejects.toMatchObject({ code: 'too_large' });
  });

  test('a body that breaks off is the request’s fault', async () => {
    const broken = new ReadableStream({ pull: (controller) => controller.error(new Error('gone')) });
    await expect(readBody(post(broken), 5000)).rejects.toMatchObject({ code: 'invalid_request' });
  });
});
